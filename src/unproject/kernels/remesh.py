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
def _excess(corners, positions, sizes, h):
    """Length over wanted length."""
    return edge_length(corners, positions, h) / min(sizes[corners[h]], sizes[corners[next_of(h)]])


@kernel
def split_long(m, begin, end):
    """Split the edges of half-edges [begin, end) that are too long; returns where it stopped, which is before `end` if room ran out.

    Only an edge that is the longest of both its faces is split, so that angles never fall below half of what they were (Rivara 1984);
    the others have their turn in a later sweep. Beside a locked edge nothing gets shorter than that edge.
    """
    corners, twins, marks, positions, sizes = m.corners, m.twins, m.marks, m.positions, m.sizes
    for h in range(begin, end):
        if corners[h] < 0 or twins[h] > h or marks[h] == LOCKED:
            continue
        excess, t = _excess(corners, positions, sizes, h), twins[h]
        if excess <= LONG:
            continue
        longest = max(_excess(corners, positions, sizes, next_of(h)), _excess(corners, positions, sizes, prev_of(h)))
        if t >= 0:
            others = max(_excess(corners, positions, sizes, next_of(t)), _excess(corners, positions, sizes, prev_of(t)))
            longest = max(longest, others)
        if excess >= 0.999 * longest:
            if m.counts[0] + 1 > sizes.shape[0] or 3 * m.counts[1] + 6 > corners.shape[0]:
                return h
            split_edge(m, h)
    return end


@kernel
def collapse_short(m, begin, end):
    """Collapse the edges of half-edges [begin, end) that are too short; returns how many."""
    corners, twins, positions, sizes = m.corners, m.twins, m.positions, m.sizes
    done = 0
    for h in range(begin, end):
        if corners[h] < 0 or twins[h] > h:
            continue
        if _excess(corners, positions, sizes, h) < SHORT and try_collapse(m, h):
            done += 1
    return done


@kernel
def try_collapse(m, h):
    """Collapse one edge to its middle, or to the end that must stay, if nothing speaks against it."""
    corners, twins, outgoing, positions, sizes = m.corners, m.twins, m.outgoing, m.positions, m.sizes
    kinds, names = m.kinds, m.names
    a, b, mark = corners[h], corners[next_of(h)], m.marks[h]
    ka, kb = kinds[a], kinds[b]
    along_curve = twins[h] < 0 or mark != FREE
    if mark == LOCKED or (ka == FIXED and kb == FIXED) or (ka != SMOOTH and kb != SMOOTH and not along_curve):
        return False
    if not can_collapse(m, h):
        return False
    share = 0.5 if ka == kb else (0.0 if ka > kb else 1.0)
    x = positions[a, 0] + share * (positions[b, 0] - positions[a, 0])
    y = positions[a, 1] + share * (positions[b, 1] - positions[a, 1])
    z = positions[a, 2] + share * (positions[b, 2] - positions[a, 2])
    if not fan_accepts(corners, twins, outgoing, positions, sizes, a, b, x, y, z, LONG):
        return False
    if not fan_accepts(corners, twins, outgoing, positions, sizes, b, a, x, y, z, LONG):
        return False
    size, kind, name = sizes[a] + share * (sizes[b] - sizes[a]), max(ka, kb), names[a] if ka > kb else names[b]
    collapse_edge(m, h)
    positions[b, 0], positions[b, 1], positions[b, 2] = x, y, z
    sizes[b], kinds[b], names[b] = size, kind, name
    return True


@kernel
def fan_accepts(corners, twins, outgoing, positions, sizes, v, other, x, y, z, longest):
    """Whether the faces of v without `other` stay upright and its edges short enough when v moves to (x, y, z)."""
    start = outgoing[v]
    h = start
    while True:
        n, before = corners[next_of(h)], prev_of(h)
        last = corners[before]
        if n != other and last != other and not stays_upright(corners, positions, h // 3, v, x, y, z, LEAST_COSINE, LEAST_QUALITY):
            return False
        if n != other and _too_far(positions, sizes, v, n, x, y, z, longest):
            return False
        h = twins[before]
        if h < 0:
            return last == other or not _too_far(positions, sizes, v, last, x, y, z, longest)
        if h == start:
            return True


@kernel
def _too_far(positions, sizes, v, n, x, y, z, longest):
    dx, dy, dz = positions[n, 0] - x, positions[n, 1] - y, positions[n, 2] - z
    reach = longest * min(sizes[v], sizes[n])
    return dx * dx + dy * dy + dz * dz > reach * reach


@kernel
def flip_edges(m, begin, end):
    """Turn edges of half-edges [begin, end) where that evens out the valences, or keeps them and betters the faces; returns how many."""
    corners, twins, outgoing, valences, positions = m.corners, m.twins, m.outgoing, m.valences, m.positions
    done = 0
    for h in range(begin, end):
        t = twins[h]
        if corners[h] < 0 or t > h or t < 0:
            continue
        a, b, c, d = corners[h], corners[t], corners[prev_of(h)], corners[prev_of(t)]
        gain = _valence_gain(twins, outgoing, valences, a, -1) + _valence_gain(twins, outgoing, valences, b, -1)
        gain += _valence_gain(twins, outgoing, valences, c, 1) + _valence_gain(twins, outgoing, valences, d, 1)
        if gain >= 0 and _flip_fits(corners, positions, h, t, a, b, c, d, gain > 0) and can_flip(m, h):
            flip_edge(m, h)
            done += 1
    return done


@kernel
def _valence_gain(twins, outgoing, valences, v, change):
    """How much nearer to 6 (4 on a boundary) the valence of v comes."""
    excess = valences[v] - (4 if is_boundary(twins, outgoing, v) else 6)
    return abs(excess) - abs(excess + change)


@kernel
def _flip_fits(corners, positions, h, t, a, b, c, d, better_valence):
    """Whether the two faces after a flip look where the two before looked, and are good enough."""
    p = positions
    n0x, n0y, n0z, s0 = face_normal(corners, p, h // 3, NOBODY, 0.0, 0.0, 0.0)
    n1x, n1y, n1z, s1 = face_normal(corners, p, t // 3, NOBODY, 0.0, 0.0, 0.0)
    # the new faces are (a, d, c) and (b, c, d): each old face with one corner moved to the other's apex
    m0x, m0y, m0z, r0 = face_normal(corners, p, h // 3, b, p[d, 0], p[d, 1], p[d, 2])
    m1x, m1y, m1z, r1 = face_normal(corners, p, t // 3, a, p[c, 0], p[c, 1], p[c, 2])
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
    corners, twins, marks, outgoing, positions, sizes = m.corners, m.twins, m.marks, m.outgoing, m.positions, m.sizes
    kinds = m.kinds
    for v in range(begin, end):
        for i in range(3):
            wanted[v, i], normals[v, i] = positions[v, i], 0.0
        if outgoing[v] < 0:
            continue
        gx, gy, gz, total = 0.0, 0.0, 0.0, 0.0
        nx, ny, nz = 0.0, 0.0, 0.0
        cx, cy, cz, on_curve = 0.0, 0.0, 0.0, 0
        h = outgoing[v]
        while True:
            before = prev_of(h)
            b, c = corners[next_of(h)], corners[before]
            fx, fy, fz, _ = face_normal(corners, positions, h // 3, NOBODY, 0.0, 0.0, 0.0)
            size = sizes[v] + sizes[b] + sizes[c]
            weight = np.sqrt(fx * fx + fy * fy + fz * fz) / (size * size)
            gx += weight * (positions[b, 0] + positions[c, 0] + positions[v, 0]) / 3
            gy += weight * (positions[b, 1] + positions[c, 1] + positions[v, 1]) / 3
            gz += weight * (positions[b, 2] + positions[c, 2] + positions[v, 2]) / 3
            total += weight
            nx, ny, nz = nx + fx, ny + fy, nz + fz
            if twins[h] < 0 or marks[h] != FREE:
                cx, cy, cz, on_curve = cx + positions[b, 0], cy + positions[b, 1], cz + positions[b, 2], on_curve + 1
            h = twins[before]
            if h < 0:
                cx, cy, cz, on_curve = cx + positions[c, 0], cy + positions[c, 1], cz + positions[c, 2], on_curve + 1
            if h < 0 or h == outgoing[v]:
                break
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        if length > 0:
            nx, ny, nz = nx / length, ny / length, nz / length
            normals[v, 0], normals[v, 1], normals[v, 2] = nx, ny, nz
        if kinds[v] == CURVE and on_curve == 2:
            wanted[v, 0] = 0.5 * positions[v, 0] + 0.25 * cx
            wanted[v, 1] = 0.5 * positions[v, 1] + 0.25 * cy
            wanted[v, 2] = 0.5 * positions[v, 2] + 0.25 * cz
        elif kinds[v] == SMOOTH and total > 0:
            dx, dy, dz = gx / total - positions[v, 0], gy / total - positions[v, 1], gz / total - positions[v, 2]
            rise = dx * nx + dy * ny + dz * nz
            wanted[v, 0] += dx - rise * nx
            wanted[v, 1] += dy - rise * ny
            wanted[v, 2] += dz - rise * nz


@kernel
def move_vertices(m, begin, end, wanted):
    """Move vertices [begin, end) to where they should be, one after the other: as far as no face around turns over."""
    corners, twins, outgoing, positions, sizes, kinds = m.corners, m.twins, m.outgoing, m.positions, m.sizes, m.kinds
    for v in range(begin, end):
        if outgoing[v] < 0 or kinds[v] == FIXED:
            continue
        dx, dy, dz = wanted[v, 0] - positions[v, 0], wanted[v, 1] - positions[v, 1], wanted[v, 2] - positions[v, 2]
        step = 1.0
        for _ in range(3):
            x, y, z = positions[v, 0] + step * dx, positions[v, 1] + step * dy, positions[v, 2] + step * dz
            if fan_accepts(corners, twins, outgoing, positions, sizes, v, NOBODY, x, y, z, np.inf):
                positions[v, 0], positions[v, 1], positions[v, 2] = x, y, z
                break
            step *= 0.5
