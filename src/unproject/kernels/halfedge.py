"""Half-edge surface that changes: split, collapse and flip of an edge, and the checks before them.

Half-edge h = 3 f + i runs from corner i to corner i + 1 of face f. Every vertex has one fan of faces; a boundary vertex's `outgoing`
half-edge is the boundary one, from which the whole fan is reached counter-clockwise.
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
    m.outgoing[: m.counts[0]] = -1
    for h in range(3 * m.counts[1]):
        v = m.corners[h]
        if m.outgoing[v] < 0 or m.twins[h] < 0:
            m.outgoing[v] = h
    for v in range(m.counts[0]):
        m.valences[v] = 0
        h = m.outgoing[v]
        while h >= 0:
            m.valences[v] += 1
            before = prev_of(h)
            h = m.twins[before]
            if h < 0:
                m.valences[v] += 1
            if h == m.outgoing[v]:
                break


@kernel
def is_boundary(m, v):
    return m.twins[m.outgoing[v]] < 0


@kernel
def settle_outgoing(m, v, h):
    """Let v's half-edge be h, turned clockwise to the boundary if there is one."""
    start = h
    while m.twins[h] >= 0:
        h = next_of(m.twins[h])
        if h == start:
            break
    m.outgoing[v] = h


@kernel
def has_edge(m, a, b):
    """Whether an edge joins a and b."""
    start = m.outgoing[a]
    h = start
    while True:
        if m.corners[next_of(h)] == b:
            return True
        before = prev_of(h)
        h = m.twins[before]
        if h < 0:
            return m.corners[before] == b
        if h == start:
            return False


@kernel
def edge_length(m, h):
    a, b = m.corners[h], m.corners[next_of(h)]
    x, y, z = (
        m.positions[a, 0] - m.positions[b, 0],
        m.positions[a, 1] - m.positions[b, 1],
        m.positions[a, 2] - m.positions[b, 2],
    )
    return np.sqrt(x * x + y * y + z * z)


@kernel
def _corner_position(m, c, v, x, y, z):
    if c == v:
        return x, y, z
    return m.positions[c, 0], m.positions[c, 1], m.positions[c, 2]


@kernel
def face_normal(m, f, v, x, y, z):
    """Cross product of face f with vertex v (NOBODY for none) moved to (x, y, z), and the sum of its squared edges."""
    ax, ay, az = _corner_position(m, m.corners[3 * f], v, x, y, z)
    bx, by, bz = _corner_position(m, m.corners[3 * f + 1], v, x, y, z)
    cx, cy, cz = _corner_position(m, m.corners[3 * f + 2], v, x, y, z)
    ux, uy, uz, vx, vy, vz = bx - ax, by - ay, bz - az, cx - ax, cy - ay, cz - az
    wx, wy, wz = vx - ux, vy - uy, vz - uz
    squares = ux * ux + uy * uy + uz * uz + vx * vx + vy * vy + vz * vz + wx * wx + wy * wy + wz * wz
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx, squares


@kernel
def stays_upright(m, f, v, x, y, z, least_cosine, least_quality):
    """Whether face f keeps its side when v moves to (x, y, z), and does not become a needle worse than it was.

    Quality is 1 for an equilateral triangle and 0 for one without area. A face without area has no side to keep.
    """
    ox, oy, oz, old_squares = face_normal(m, f, NOBODY, 0.0, 0.0, 0.0)
    nx, ny, nz, new_squares = face_normal(m, f, v, x, y, z)
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
def link(m, h, t):
    m.twins[h] = t
    if t >= 0:
        m.twins[t] = h


@kernel
def split_edge(m, h):
    """Cut the edge of h in its middle; returns the new vertex. The caller has made room for a vertex and two faces."""
    t = m.twins[h]
    h1 = next_of(h)
    a, b = m.corners[h], m.corners[h1]
    new = m.counts[0]
    m.counts[0] += 1
    for i in range(3):
        m.positions[new, i] = 0.5 * (m.positions[a, i] + m.positions[b, i])
    m.sizes[new] = 0.5 * (m.sizes[a] + m.sizes[b])
    m.names[new] = -1
    m.kinds[new] = CURVE if t < 0 or m.marks[h] != FREE else SMOOTH
    first = _halve_face(m, h, new)
    m.outgoing[new] = first
    if m.outgoing[b] == h1:
        m.outgoing[b] = first + 1
    if t < 0:
        m.twins[first] = -1
        m.valences[new] = 3
        return new
    t1 = next_of(t)
    second = _halve_face(m, t, new)
    if m.outgoing[a] == t1:
        m.outgoing[a] = second + 1
    link(m, h, second)
    link(m, t, first)
    m.valences[new] = 4
    return new


@kernel
def _halve_face(m, h, new):
    """Face (a, b, c) of h = ab becomes (a, new, c), and a new face (new, b, c) is returned by its first half-edge."""
    h1, h2 = next_of(h), prev_of(h)
    b, c = m.corners[h1], m.corners[h2]
    first = 3 * m.counts[1]
    m.counts[1] += 1
    m.counts[2] += 1
    m.corners[first], m.corners[first + 1], m.corners[first + 2] = new, b, c
    m.corners[h1] = new
    m.marks[first], m.marks[first + 1], m.marks[first + 2] = m.marks[h], m.marks[h1], FREE
    m.marks[h1] = FREE
    link(m, first + 1, m.twins[h1])
    link(m, first + 2, h1)
    m.valences[c] += 1
    return first


@kernel
def can_flip(m, h):
    """Whether the edge may be turned: inside, unmarked, and its other diagonal not yet an edge."""
    t = m.twins[h]
    if t < 0 or m.marks[h] != FREE:
        return False
    c, d = m.corners[prev_of(h)], m.corners[prev_of(t)]
    return c != d and not has_edge(m, c, d)


@kernel
def flip_edge(m, h):
    """Turn the edge of h inside its two faces."""
    t = m.twins[h]
    h1, h2, t1, t2 = next_of(h), prev_of(h), next_of(t), prev_of(t)
    a, b, c, d = m.corners[h], m.corners[t], m.corners[h2], m.corners[t2]
    across_h1, across_t1 = m.twins[h1], m.twins[t1]
    mark_h1, mark_t1 = m.marks[h1], m.marks[t1]
    m.corners[h1], m.corners[t1] = d, c
    link(m, h, across_t1)
    link(m, t, across_h1)
    link(m, h1, t1)
    m.marks[h], m.marks[t], m.marks[h1], m.marks[t1] = mark_t1, mark_h1, FREE, FREE
    if m.outgoing[a] == t1:
        m.outgoing[a] = h
    if m.outgoing[b] == h1:
        m.outgoing[b] = t
    m.valences[a] -= 1
    m.valences[b] -= 1
    m.valences[c] += 1
    m.valences[d] += 1


@kernel
def can_collapse(m, h):
    """Whether merging the two ends of h leaves a manifold: the link condition, and no face or vertex left hanging."""
    t = m.twins[h]
    a, b = m.corners[h], m.corners[next_of(h)]
    if t >= 0 and is_boundary(m, a) and is_boundary(m, b):
        return False
    c, d = m.corners[prev_of(h)], -1
    if not _side_can_vanish(m, h):
        return False
    if t >= 0:
        d = m.corners[prev_of(t)]
        if c == d or not _side_can_vanish(m, t):
            return False
    start = m.outgoing[a]
    h = start
    while True:
        n = m.corners[next_of(h)]
        if n != b and n != c and n != d and has_edge(m, n, b):
            return False
        before = prev_of(h)
        h = m.twins[before]
        if h < 0:
            n = m.corners[before]
            return n in (b, c, d) or not has_edge(m, n, b)
        if h == start:
            return True


@kernel
def _side_can_vanish(m, h):
    h1, h2 = next_of(h), prev_of(h)
    if m.twins[h1] < 0 and m.twins[h2] < 0:
        return False
    c = m.corners[h2]
    return m.valences[c] > 3 or is_boundary(m, c)


@kernel
def collapse_edge(m, h):
    """Merge the start a of h into its end b, with its faces; b keeps its place. `can_collapse` has been asked."""
    t = m.twins[h]
    a, b = m.corners[h], m.corners[next_of(h)]
    m.valences[b] += m.valences[a] - (4 if t >= 0 else 3)
    start = m.outgoing[a]
    g = start
    while True:
        m.corners[g] = b
        g = m.twins[prev_of(g)]
        if g < 0 or g == start:
            break
    c, at_c, at_b = _remove_face(m, h)
    d, at_d = -1, -1
    if t >= 0:
        d, at_d, _ = _remove_face(m, t)
    m.outgoing[a] = -1
    settle_outgoing(m, b, at_b)
    settle_outgoing(m, c, at_c)
    if d >= 0:
        settle_outgoing(m, d, at_d)


@kernel
def _remove_face(m, h):
    """Take out the face of h and join what lies across its other two edges; returns its apex and half-edges at the apex and at b."""
    h1, h2 = next_of(h), prev_of(h)
    apex = m.corners[h2]
    x1, x2 = m.twins[h1], m.twins[h2]
    mark = max(m.marks[h1], m.marks[h2])
    for x, y in ((x1, x2), (x2, x1)):
        if x >= 0:
            m.twins[x] = y
            m.marks[x] = mark
    for g in (h, h1, h2):
        m.corners[g] = -1
        m.twins[g] = -1
    m.counts[2] -= 1
    m.valences[apex] -= 1
    if x1 >= 0:  # x1 leaves the apex and x2 leaves b, on either side of the edge
        return apex, x1, next_of(x1)
    return apex, next_of(x2), x2


@kernel
def compact(m, vertex_map, halfedge_map):
    """Renumber what is alive to the front, in order; the maps [V] and [3 F] get new numbers, or -1."""
    vertices = 0
    for v in range(m.counts[0]):
        vertex_map[v] = -1
        if m.outgoing[v] >= 0:
            vertex_map[v] = vertices
            for i in range(3):
                m.positions[vertices, i] = m.positions[v, i]
            m.kinds[vertices], m.names[vertices] = m.kinds[v], m.names[v]
            m.sizes[vertices], m.valences[vertices] = m.sizes[v], m.valences[v]
            vertices += 1
    faces = 0
    for f in range(m.counts[1]):
        alive = m.corners[3 * f] >= 0
        for i in range(3):
            halfedge_map[3 * f + i] = 3 * faces + i if alive else -1
        faces += 1 if alive else 0
    for h in range(3 * m.counts[1]):
        target = halfedge_map[h]
        if target >= 0:
            m.corners[target], m.marks[target] = vertex_map[m.corners[h]], m.marks[h]
            m.twins[target] = halfedge_map[m.twins[h]] if m.twins[h] >= 0 else -1
    for v in range(m.counts[0]):
        if m.outgoing[v] >= 0:
            m.outgoing[vertex_map[v]] = halfedge_map[m.outgoing[v]]
    m.counts[0], m.counts[1], m.counts[2] = vertices, faces, faces
