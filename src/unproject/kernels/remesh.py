"""Passes of isotropic remeshing over a half-edge surface: split, collapse, flip, smooth, move.

Each pass takes a range of half-edges or vertices, so that the caller can run it in short pieces.
"""

from __future__ import annotations

import numpy as np

from .halfedge import (
    CURVE,
    FIXED,
    FREE,
    LOCKED,
    NOBODY,
    SMOOTH,
    can_collapse,
    can_flip,
    collapse_edge,
    edge_length,
    face_normal,
    flip_edge,
    is_boundary,
    next_of,
    prev_of,
    split_edge,
    stays_upright,
)
from .jit import kernel

LONG, SHORT = 4 / 3, 4 / 5  # of the wanted length: halves of a long edge are not short, and merged short ones not long
LEAST_COSINE = 0.5  # faces turn by less than 60 degrees in one operation
LEAST_QUALITY = 0.1  # 1 is equilateral


@kernel
def _wanted(m, h):
    return min(m.sizes[m.corners[h]], m.sizes[m.corners[next_of(h)]])


@kernel
def _excess(m, h):
    """Length over wanted length."""
    return edge_length(m, h) / _wanted(m, h)


@kernel
def split_long(m, begin, end):
    """Split the edges of half-edges [begin, end) that are too long; returns where it stopped, which is before `end` if room ran out.

    Only an edge that is the longest of both its faces is split, so that angles never fall below half of what they were (Rivara 1984);
    the others have their turn in a later sweep. Beside a locked edge nothing gets shorter than that edge.
    """
    for h in range(begin, end):
        if m.corners[h] < 0 or m.twins[h] > h or m.marks[h] == LOCKED:
            continue
        excess, t = _excess(m, h), m.twins[h]
        longest = max(_excess(m, next_of(h)), _excess(m, prev_of(h)))
        if t >= 0:
            longest = max(longest, _excess(m, next_of(t)), _excess(m, prev_of(t)))
        if excess > LONG and excess >= 0.999 * longest:
            if m.counts[0] + 1 > m.outgoing.shape[0] or 3 * m.counts[1] + 6 > m.corners.shape[0]:
                return h
            split_edge(m, h)
    return end


@kernel
def collapse_short(m, begin, end):
    """Collapse the edges of half-edges [begin, end) that are too short; returns how many."""
    done = 0
    for h in range(begin, end):
        if m.corners[h] < 0 or m.twins[h] > h:
            continue
        if edge_length(m, h) < SHORT * _wanted(m, h) and try_collapse(m, h):
            done += 1
    return done


@kernel
def try_collapse(m, h):
    """Collapse one edge to its middle, or to the end that must stay, if nothing speaks against it."""
    a, b = m.corners[h], m.corners[next_of(h)]
    ka, kb = m.kinds[a], m.kinds[b]
    along_curve = m.twins[h] < 0 or m.marks[h] != FREE
    if m.marks[h] == LOCKED or (ka == FIXED and kb == FIXED) or (ka != SMOOTH and kb != SMOOTH and not along_curve):
        return False
    if not can_collapse(m, h):
        return False
    share = 0.5 if ka == kb else (0.0 if ka > kb else 1.0)
    x = m.positions[a, 0] + share * (m.positions[b, 0] - m.positions[a, 0])
    y = m.positions[a, 1] + share * (m.positions[b, 1] - m.positions[a, 1])
    z = m.positions[a, 2] + share * (m.positions[b, 2] - m.positions[a, 2])
    if not (fan_accepts(m, a, b, x, y, z, LONG) and fan_accepts(m, b, a, x, y, z, LONG)):
        return False
    size, kind = m.sizes[a] + share * (m.sizes[b] - m.sizes[a]), max(ka, kb)
    name = m.names[a] if ka > kb else m.names[b]
    collapse_edge(m, h)
    m.positions[b, 0], m.positions[b, 1], m.positions[b, 2] = x, y, z
    m.sizes[b], m.kinds[b], m.names[b] = size, kind, name
    return True


@kernel
def fan_accepts(m, v, other, x, y, z, longest):
    """Whether the faces of v without `other` stay upright and its edges short enough when v moves to (x, y, z)."""
    start = m.outgoing[v]
    h = start
    while True:
        n, before = m.corners[next_of(h)], prev_of(h)
        last = m.corners[before]
        if n != other and last != other and not stays_upright(m, h // 3, v, x, y, z, LEAST_COSINE, LEAST_QUALITY):
            return False
        if n != other and _too_far(m, v, n, x, y, z, longest):
            return False
        h = m.twins[before]
        if h < 0:
            return last == other or not _too_far(m, v, last, x, y, z, longest)
        if h == start:
            return True


@kernel
def _too_far(m, v, n, x, y, z, longest):
    dx, dy, dz = m.positions[n, 0] - x, m.positions[n, 1] - y, m.positions[n, 2] - z
    reach = longest * min(m.sizes[v], m.sizes[n])
    return dx * dx + dy * dy + dz * dz > reach * reach


@kernel
def flip_edges(m, begin, end):
    """Turn edges of half-edges [begin, end) where that evens out the valences, or keeps them and betters the faces; returns how many."""
    done = 0
    for h in range(begin, end):
        if m.corners[h] < 0 or m.twins[h] > h or not can_flip(m, h):
            continue
        t = m.twins[h]
        a, b, c, d = m.corners[h], m.corners[t], m.corners[prev_of(h)], m.corners[prev_of(t)]
        gain = 0
        for v, change in ((a, -1), (b, -1), (c, 1), (d, 1)):
            excess = m.valences[v] - (4 if is_boundary(m, v) else 6)
            gain += abs(excess) - abs(excess + change)
        if gain >= 0 and _flip_fits(m, h, a, b, c, d, gain > 0):
            flip_edge(m, h)
            done += 1
    return done


@kernel
def _flip_fits(m, h, a, b, c, d, better_valence):
    """Whether the two faces after a flip look where the two before looked, and are good enough."""
    n0x, n0y, n0z, s0 = face_normal(m, h // 3, NOBODY, 0.0, 0.0, 0.0)
    n1x, n1y, n1z, s1 = face_normal(m, m.twins[h] // 3, NOBODY, 0.0, 0.0, 0.0)
    p = m.positions
    # the new faces are (a, d, c) and (b, c, d): each old face with one corner moved to the other's apex
    m0x, m0y, m0z, r0 = face_normal(m, h // 3, b, p[d, 0], p[d, 1], p[d, 2])
    m1x, m1y, m1z, r1 = face_normal(m, m.twins[h] // 3, a, p[c, 0], p[c, 1], p[c, 2])
    l0, l1 = np.sqrt(n0x * n0x + n0y * n0y + n0z * n0z), np.sqrt(n1x * n1x + n1y * n1y + n1z * n1z)
    k0, k1 = np.sqrt(m0x * m0x + m0y * m0y + m0z * m0z), np.sqrt(m1x * m1x + m1y * m1y + m1z * m1z)
    if r0 == 0 or r1 == 0 or s0 == 0 or s1 == 0:
        return False
    scale = 2 * np.sqrt(3.0)
    before, after = scale * min(l0 / s0, l1 / s1), scale * min(k0 / r0, k1 / r1)
    if after <= 1.1 * before and not (better_valence and after > max(0.5 * before, LEAST_QUALITY)):
        return False
    if before < 1e-6:  # a face without area says nothing of the surface: let the other one speak
        ox, oy, oz = n0x + n1x, n0y + n1y, n0z + n1z
        length = np.sqrt(ox * ox + oy * oy + oz * oz)
        return (ox * m0x + oy * m0y + oz * m0z > LEAST_COSINE * length * k0) and (
            ox * m1x + oy * m1y + oz * m1z > LEAST_COSINE * length * k1
        )
    return (
        n0x * n1x + n0y * n1y + n0z * n1z > LEAST_COSINE * l0 * l1
        and n0x * m0x + n0y * m0y + n0z * m0z > LEAST_COSINE * l0 * k0
        and n0x * m1x + n0y * m1y + n0z * m1z > LEAST_COSINE * l0 * k1
        and n1x * m0x + n1y * m0y + n1z * m0z > LEAST_COSINE * l1 * k0
        and n1x * m1x + n1y * m1y + n1z * m1z > LEAST_COSINE * l1 * k1
    )


@kernel
def smooth_range(begin, end, m, wanted, normals):
    """Where each vertex should go, in its tangent plane or along its curve, and its normal."""
    for v in range(begin, end):
        for i in range(3):
            wanted[v, i], normals[v, i] = m.positions[v, i], 0.0
        if m.outgoing[v] < 0:
            continue
        gx, gy, gz, total = 0.0, 0.0, 0.0, 0.0
        nx, ny, nz = 0.0, 0.0, 0.0
        cx, cy, cz, on_curve = 0.0, 0.0, 0.0, 0
        h = m.outgoing[v]
        while True:
            before = prev_of(h)
            b, c = m.corners[next_of(h)], m.corners[before]
            fx, fy, fz, _ = face_normal(m, h // 3, NOBODY, 0.0, 0.0, 0.0)
            size = m.sizes[v] + m.sizes[b] + m.sizes[c]
            weight = np.sqrt(fx * fx + fy * fy + fz * fz) / (size * size)
            gx += weight * (m.positions[b, 0] + m.positions[c, 0] + m.positions[v, 0]) / 3
            gy += weight * (m.positions[b, 1] + m.positions[c, 1] + m.positions[v, 1]) / 3
            gz += weight * (m.positions[b, 2] + m.positions[c, 2] + m.positions[v, 2]) / 3
            total += weight
            nx, ny, nz = nx + fx, ny + fy, nz + fz
            if m.twins[h] < 0 or m.marks[h] != FREE:
                cx, cy, cz, on_curve = cx + m.positions[b, 0], cy + m.positions[b, 1], cz + m.positions[b, 2], on_curve + 1
            h = m.twins[before]
            if h < 0:
                cx, cy, cz, on_curve = cx + m.positions[c, 0], cy + m.positions[c, 1], cz + m.positions[c, 2], on_curve + 1
            if h < 0 or h == m.outgoing[v]:
                break
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        if length > 0:
            nx, ny, nz = nx / length, ny / length, nz / length
            normals[v, 0], normals[v, 1], normals[v, 2] = nx, ny, nz
        if m.kinds[v] == CURVE and on_curve == 2:
            wanted[v, 0] = 0.5 * m.positions[v, 0] + 0.25 * cx
            wanted[v, 1] = 0.5 * m.positions[v, 1] + 0.25 * cy
            wanted[v, 2] = 0.5 * m.positions[v, 2] + 0.25 * cz
        elif m.kinds[v] == SMOOTH and total > 0:
            dx, dy, dz = gx / total - m.positions[v, 0], gy / total - m.positions[v, 1], gz / total - m.positions[v, 2]
            rise = dx * nx + dy * ny + dz * nz
            wanted[v, 0] += dx - rise * nx
            wanted[v, 1] += dy - rise * ny
            wanted[v, 2] += dz - rise * nz


@kernel
def move_vertices(m, begin, end, wanted):
    """Move vertices [begin, end) to where they should be, one after the other: as far as no face around turns over."""
    for v in range(begin, end):
        if m.outgoing[v] < 0 or m.kinds[v] == FIXED:
            continue
        dx, dy, dz = wanted[v, 0] - m.positions[v, 0], wanted[v, 1] - m.positions[v, 1], wanted[v, 2] - m.positions[v, 2]
        step = 1.0
        for _ in range(3):
            x, y, z = m.positions[v, 0] + step * dx, m.positions[v, 1] + step * dy, m.positions[v, 2] + step * dz
            if fan_accepts(m, v, NOBODY, x, y, z, np.inf):
                m.positions[v, 0], m.positions[v, 1], m.positions[v, 2] = x, y, z
                break
            step *= 0.5
