"""Half-edge surface that changes: split, collapse and flip of an edge, and the checks before them.

Half-edge h = 3 f + i runs from corner i to corner i + 1 of face f. Every vertex has one fan of faces; a boundary vertex's `outgoing`
half-edge is the boundary one, from which the whole fan is reached counter-clockwise.

Inner functions take the arrays that they read, outer ones the whole surface: Numba counts a reference for every `m.name` that it meets,
which in a loop costs many times the work.
"""

from __future__ import annotations

from collections import namedtuple

import numpy as np

from .jit import kernel

Surface = namedtuple("Surface", "corners twins marks outgoing valences kinds names positions sizes counts")
"""corners, twins: int64 [3 F]; -1 in a removed face, and for no twin. marks: uint8 [3 F], FREE, FEATURE or LOCKED edges.
outgoing: int64 [V], -1 for a removed vertex. valences: int64 [V] neighbours. kinds: uint8 [V], SMOOTH, CURVE (on a feature or boundary) or
FIXED. names: int64 [V] the input vertex that a FIXED vertex is. positions: float64 [V, 3]. sizes: float64 [V] wanted edge length.
counts: int64 [3] vertices, faces (removed ones included), faces alive."""

NOBODY = np.int64(-1)
FREE, FEATURE, LOCKED = 0, 1, 2
SMOOTH, CURVE, FIXED = 0, 1, 2


@kernel
def next_of(h):
    return h + 1 if h % 3 != 2 else h - 2


@kernel
def prev_of(h):
    return h - 1 if h % 3 != 0 else h + 2


@kernel
def label_fans(corners, twins, labels):
    """Number the fans of corners that are joined across twins; returns how many there are."""
    count = 0
    labels[:] = -1
    for start in range(corners.shape[0]):
        if labels[start] >= 0:
            continue
        h = start
        while twins[h] >= 0:  # clockwise to the end of an open fan, or around
            h = next_of(twins[h])
            if h == start:
                break
        first = h
        while True:
            labels[h] = count
            h = twins[prev_of(h)]
            if h < 0 or h == first:
                break
        count += 1
    return count


@kernel
def connect(m):
    """Fill `outgoing` and `valences` from corners and twins."""
    corners, twins, outgoing, valences = m.corners, m.twins, m.outgoing, m.valences
    outgoing[: m.counts[0]] = -1
    for h in range(3 * m.counts[1]):
        v = corners[h]
        if outgoing[v] < 0 or twins[h] < 0:
            outgoing[v] = h
    for v in range(m.counts[0]):
        valences[v] = 0
        h = outgoing[v]
        while h >= 0:
            valences[v] += 1
            h = twins[prev_of(h)]
            if h < 0:
                valences[v] += 1
            if h == outgoing[v]:
                break


@kernel
def is_boundary(twins, outgoing, v):
    return twins[outgoing[v]] < 0


@kernel
def settle_outgoing(twins, outgoing, v, h):
    """Let v's half-edge be h, turned clockwise to the boundary if there is one."""
    start = h
    while twins[h] >= 0:
        h = next_of(twins[h])
        if h == start:
            break
    outgoing[v] = h


@kernel
def has_edge(corners, twins, outgoing, a, b):
    """Whether an edge joins a and b."""
    start = outgoing[a]
    h = start
    while True:
        if corners[next_of(h)] == b:
            return True
        before = prev_of(h)
        h = twins[before]
        if h < 0:
            return corners[before] == b
        if h == start:
            return False


@kernel
def edge_length(corners, positions, h):
    a, b = corners[h], corners[next_of(h)]
    x, y, z = positions[a, 0] - positions[b, 0], positions[a, 1] - positions[b, 1], positions[a, 2] - positions[b, 2]
    return np.sqrt(x * x + y * y + z * z)


@kernel
def face_normal(corners, positions, f, v, x, y, z):
    """Cross product of face f with vertex v (NOBODY for none) moved to (x, y, z), and the sum of its squared edges."""
    a, b, c = corners[3 * f], corners[3 * f + 1], corners[3 * f + 2]
    ax, ay, az = positions[a, 0], positions[a, 1], positions[a, 2]
    bx, by, bz = positions[b, 0], positions[b, 1], positions[b, 2]
    cx, cy, cz = positions[c, 0], positions[c, 1], positions[c, 2]
    if a == v:
        ax, ay, az = x, y, z
    if b == v:
        bx, by, bz = x, y, z
    if c == v:
        cx, cy, cz = x, y, z
    ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
    wx, wy, wz = vx - ux, vy - uy, vz - uz
    squares = ux * ux + uy * uy + uz * uz + vx * vx + vy * vy + vz * vz + wx * wx + wy * wy + wz * wz
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx, squares


@kernel
def stays_upright(corners, positions, f, v, x, y, z, least_cosine, least_quality):
    """Whether face f keeps its side when v moves to (x, y, z), and does not become a needle worse than it was.

    Quality is 1 for an equilateral triangle and 0 for one without area. A face without area has no side to keep.
    """
    ox, oy, oz, old_squares = face_normal(corners, positions, f, NOBODY, 0.0, 0.0, 0.0)
    nx, ny, nz, new_squares = face_normal(corners, positions, f, v, x, y, z)
    old, new = np.sqrt(ox * ox + oy * oy + oz * oz), np.sqrt(nx * nx + ny * ny + nz * nz)
    scale = 2 * np.sqrt(3.0)
    old_quality = scale * old / old_squares if old_squares > 0 else 0.0
    new_quality = scale * new / new_squares if new_squares > 0 else 0.0
    if new_quality < least_quality and new_quality < old_quality:
        return False
    if old_quality < 1e-6:
        return True
    return ox * nx + oy * ny + oz * nz > least_cosine * old * new


@kernel
def link(twins, h, t):
    twins[h] = t
    if t >= 0:
        twins[t] = h


@kernel
def split_edge(m, h):
    """Cut the edge of h in its middle; returns the new vertex. The caller has made room for a vertex and two faces."""
    corners, twins, outgoing, positions, counts = m.corners, m.twins, m.outgoing, m.positions, m.counts
    valences, marks = m.valences, m.marks
    t, h1 = twins[h], next_of(h)
    a, b = corners[h], corners[h1]
    new = counts[0]
    counts[0] += 1
    for i in range(3):
        positions[new, i] = 0.5 * (positions[a, i] + positions[b, i])
    m.sizes[new] = 0.5 * (m.sizes[a] + m.sizes[b])
    m.names[new] = -1
    m.kinds[new] = CURVE if t < 0 or marks[h] != FREE else SMOOTH
    first = _halve_face(corners, twins, marks, valences, counts, h, new)
    outgoing[new] = first
    if outgoing[b] == h1:
        outgoing[b] = first + 1
    if t < 0:
        twins[first] = -1
        valences[new] = 3
        return new
    t1 = next_of(t)
    second = _halve_face(corners, twins, marks, valences, counts, t, new)
    if outgoing[a] == t1:
        outgoing[a] = second + 1
    link(twins, h, second)
    link(twins, t, first)
    valences[new] = 4
    return new


@kernel
def _halve_face(corners, twins, marks, valences, counts, h, new):
    """Face (a, b, c) of h = ab becomes (a, new, c), and a new face (new, b, c) is returned by its first half-edge."""
    h1, h2 = next_of(h), prev_of(h)
    b, c = corners[h1], corners[h2]
    first = 3 * counts[1]
    counts[1] += 1
    counts[2] += 1
    corners[first], corners[first + 1], corners[first + 2] = new, b, c
    corners[h1] = new
    marks[first], marks[first + 1], marks[first + 2] = marks[h], marks[h1], FREE
    marks[h1] = FREE
    link(twins, first + 1, twins[h1])
    link(twins, first + 2, h1)
    valences[c] += 1
    return first


@kernel
def can_flip(m, h):
    """Whether the edge may be turned: inside, unmarked, and its other diagonal not yet an edge."""
    corners, twins = m.corners, m.twins
    t = twins[h]
    if t < 0 or m.marks[h] != FREE:
        return False
    c, d = corners[prev_of(h)], corners[prev_of(t)]
    return c != d and not has_edge(corners, twins, m.outgoing, c, d)


@kernel
def flip_edge(m, h):
    """Turn the edge of h inside its two faces."""
    corners, twins, marks, outgoing, valences = m.corners, m.twins, m.marks, m.outgoing, m.valences
    t = twins[h]
    h1, h2, t1, t2 = next_of(h), prev_of(h), next_of(t), prev_of(t)
    a, b, c, d = corners[h], corners[t], corners[h2], corners[t2]
    across_h1, across_t1 = twins[h1], twins[t1]
    mark_h1, mark_t1 = marks[h1], marks[t1]
    corners[h1], corners[t1] = d, c
    link(twins, h, across_t1)
    link(twins, t, across_h1)
    link(twins, h1, t1)
    marks[h], marks[t], marks[h1], marks[t1] = mark_t1, mark_h1, FREE, FREE
    if outgoing[a] == t1:
        outgoing[a] = h
    if outgoing[b] == h1:
        outgoing[b] = t
    valences[a] -= 1
    valences[b] -= 1
    valences[c] += 1
    valences[d] += 1


@kernel
def can_collapse(m, h):
    """Whether merging the two ends of h leaves a manifold: the link condition, and no face or vertex left hanging."""
    corners, twins, outgoing, valences = m.corners, m.twins, m.outgoing, m.valences
    t = twins[h]
    a, b = corners[h], corners[next_of(h)]
    if t >= 0 and is_boundary(twins, outgoing, a) and is_boundary(twins, outgoing, b):
        return False
    c, d = corners[prev_of(h)], NOBODY
    if not _side_can_vanish(corners, twins, outgoing, valences, h):
        return False
    if t >= 0:
        d = corners[prev_of(t)]
        if c == d or not _side_can_vanish(corners, twins, outgoing, valences, t):
            return False
    start = outgoing[a]
    h = start
    while True:
        n = corners[next_of(h)]
        if n != b and n != c and n != d and has_edge(corners, twins, outgoing, n, b):
            return False
        before = prev_of(h)
        h = twins[before]
        if h < 0:
            n = corners[before]
            return n in (b, c, d) or not has_edge(corners, twins, outgoing, n, b)
        if h == start:
            return True


@kernel
def _side_can_vanish(corners, twins, outgoing, valences, h):
    h1, h2 = next_of(h), prev_of(h)
    if twins[h1] < 0 and twins[h2] < 0:
        return False
    c = corners[h2]
    return valences[c] > 3 or is_boundary(twins, outgoing, c)


@kernel
def collapse_edge(m, h):
    """Merge the start a of h into its end b, with its faces; b keeps its place. `can_collapse` has been asked."""
    corners, twins, marks, outgoing, valences, counts = m.corners, m.twins, m.marks, m.outgoing, m.valences, m.counts
    t = twins[h]
    a, b = corners[h], corners[next_of(h)]
    valences[b] += valences[a] - (4 if t >= 0 else 3)
    start = outgoing[a]
    g = start
    while True:
        corners[g] = b
        g = twins[prev_of(g)]
        if g < 0 or g == start:
            break
    c, at_c, at_b = _remove_face(corners, twins, marks, valences, counts, h)
    d, at_d = NOBODY, NOBODY
    if t >= 0:
        d, at_d, _ = _remove_face(corners, twins, marks, valences, counts, t)
    outgoing[a] = -1
    settle_outgoing(twins, outgoing, b, at_b)
    settle_outgoing(twins, outgoing, c, at_c)
    if d >= 0:
        settle_outgoing(twins, outgoing, d, at_d)


@kernel
def _remove_face(corners, twins, marks, valences, counts, h):
    """Take out the face of h and join what lies across its other two edges; returns its apex and half-edges at the apex and at b."""
    h1, h2 = next_of(h), prev_of(h)
    apex = corners[h2]
    x1, x2 = twins[h1], twins[h2]
    mark = max(marks[h1], marks[h2])
    for x, y in ((x1, x2), (x2, x1)):
        if x >= 0:
            twins[x] = y
            marks[x] = mark
    for g in (h, h1, h2):
        corners[g] = -1
        twins[g] = -1
    counts[2] -= 1
    valences[apex] -= 1
    if x1 >= 0:  # x1 leaves the apex and x2 leaves b, on either side of the edge
        return apex, x1, next_of(x1)
    return apex, next_of(x2), x2


@kernel
def compact(m, vertex_map, halfedge_map):
    """Renumber what is alive to the front, in order; the maps [V] and [3 F] get new numbers, or -1."""
    corners, twins, marks, outgoing, positions = m.corners, m.twins, m.marks, m.outgoing, m.positions
    kinds, names, sizes, valences = m.kinds, m.names, m.sizes, m.valences
    vertices = 0
    for v in range(m.counts[0]):
        vertex_map[v] = -1
        if outgoing[v] >= 0:
            vertex_map[v] = vertices
            for i in range(3):
                positions[vertices, i] = positions[v, i]
            kinds[vertices], names[vertices], sizes[vertices], valences[vertices] = kinds[v], names[v], sizes[v], valences[v]
            vertices += 1
    faces = 0
    for f in range(m.counts[1]):
        alive = corners[3 * f] >= 0
        for i in range(3):
            halfedge_map[3 * f + i] = 3 * faces + i if alive else -1
        faces += 1 if alive else 0
    for h in range(3 * m.counts[1]):
        target = halfedge_map[h]
        if target >= 0:
            corners[target], marks[target] = vertex_map[corners[h]], marks[h]
            twins[target] = halfedge_map[twins[h]] if twins[h] >= 0 else -1
    for v in range(m.counts[0]):
        if outgoing[v] >= 0:
            outgoing[vertex_map[v]] = halfedge_map[outgoing[v]]
    m.counts[0], m.counts[1], m.counts[2] = vertices, faces, faces
