"""Decimation: collapse the edge that costs least, until enough faces are gone.

The cost of an edge is the least squared distance of a point to the planes of the faces merged so far (Garland and Heckbert 1997), weighted
by area. A quadric holds the ten numbers of v^T A v + 2 b^T v + c: xx xy xz yy yz zz, bx by bz, c.
"""

from __future__ import annotations

import numpy as np

from .halfedge import (
    FIXED,
    FREE,
    LOCKED,
    NOBODY,
    SMOOTH,
    can_collapse,
    collapse_edge,
    face_normal,
    next_of,
    prev_of,
)
from .jit import kernel
from .remesh import fan_accepts

BORDER_WEIGHT = 10.0  # of the plane that stands on a boundary or feature edge
STAY_WEIGHT = 1e-6  # of the distance to the two ends themselves: decides where planes do not, and takes short edges first


@kernel
def _add_plane(q, v, nx, ny, nz, d, weight):
    q[v, 0] += weight * nx * nx
    q[v, 1] += weight * nx * ny
    q[v, 2] += weight * nx * nz
    q[v, 3] += weight * ny * ny
    q[v, 4] += weight * ny * nz
    q[v, 5] += weight * nz * nz
    q[v, 6] += weight * nx * d
    q[v, 7] += weight * ny * d
    q[v, 8] += weight * nz * d
    q[v, 9] += weight * d * d


@kernel
def build_quadrics(m, quadrics):
    """Quadrics of all vertices: a third of each face's area times its plane, and border planes."""
    corners, twins, marks, p = m.corners, m.twins, m.marks, m.positions
    for f in range(m.counts[1]):
        nx, ny, nz, _ = face_normal(corners, p, f, NOBODY, 0.0, 0.0, 0.0)
        length = np.sqrt(nx * nx + ny * ny + nz * nz)
        if length == 0:
            continue
        nx, ny, nz = nx / length, ny / length, nz / length
        a = corners[3 * f]
        d = -(nx * p[a, 0] + ny * p[a, 1] + nz * p[a, 2])
        for i in range(3):
            h = 3 * f + i
            v, w = corners[h], corners[next_of(h)]
            _add_plane(quadrics, v, nx, ny, nz, d, length / 6)
            if twins[h] < 0 or marks[h] != FREE:
                ex, ey = p[w, 0] - p[v, 0], p[w, 1] - p[v, 1]
                ez = p[w, 2] - p[v, 2]
                bx, by, bz = ey * nz - ez * ny, ez * nx - ex * nz, ex * ny - ey * nx
                square = bx * bx + by * by + bz * bz
                if square > 0:
                    edge = np.sqrt(square)
                    bx, by, bz = bx / edge, by / edge, bz / edge
                    rise = -(bx * p[v, 0] + by * p[v, 1] + bz * p[v, 2])
                    _add_plane(quadrics, v, bx, by, bz, rise, BORDER_WEIGHT * square)
                    _add_plane(quadrics, w, bx, by, bz, rise, BORDER_WEIGHT * square)


@kernel
def _value(q, x, y, z):
    return x * (q[0] * x + 2 * (q[1] * y + q[2] * z + q[6])) + y * (q[3] * y + 2 * (q[4] * z + q[7])) + z * (q[5] * z + 2 * q[8]) + q[9]


@kernel
def _best_place(corners, twins, marks, kinds, positions, quadrics, h, q):
    """Cost of collapsing h and where to; infinite where the edge may not be collapsed. `q` is room for ten numbers."""
    a, b = corners[h], corners[next_of(h)]
    ka, kb = kinds[a], kinds[b]
    along_curve = twins[h] < 0 or marks[h] != FREE
    if marks[h] == LOCKED or (ka == FIXED and kb == FIXED) or (ka != SMOOTH and kb != SMOOTH and not along_curve):
        return np.inf, 0.0, 0.0, 0.0
    for i in range(10):
        q[i] = quadrics[a, i] + quadrics[b, i]
    ax, ay, az = positions[a, 0], positions[a, 1], positions[a, 2]
    bx, by, bz = positions[b, 0], positions[b, 1], positions[b, 2]
    stay = STAY_WEIGHT * (q[0] + q[3] + q[5])
    q[0] += stay
    q[3] += stay
    q[5] += stay
    q[6] -= 0.5 * stay * (ax + bx)
    q[7] -= 0.5 * stay * (ay + by)
    q[8] -= 0.5 * stay * (az + bz)
    q[9] += 0.5 * stay * (ax * ax + ay * ay + az * az + bx * bx + by * by + bz * bz)
    c0, c1, c2 = q[3] * q[5] - q[4] * q[4], q[2] * q[4] - q[1] * q[5], q[1] * q[4] - q[2] * q[3]
    determinant = q[0] * c0 + q[1] * c1 + q[2] * c2
    if ka != kb:
        x, y, z = (ax, ay, az) if ka > kb else (bx, by, bz)
    elif determinant > 0:
        c3, c4, c5 = q[0] * q[5] - q[2] * q[2], q[1] * q[2] - q[0] * q[4], q[0] * q[3] - q[1] * q[1]
        x = -(c0 * q[6] + c1 * q[7] + c2 * q[8]) / determinant
        y = -(c1 * q[6] + c3 * q[7] + c4 * q[8]) / determinant
        z = -(c2 * q[6] + c4 * q[7] + c5 * q[8]) / determinant
    else:  # faces without area only
        x, y, z = 0.5 * (ax + bx), 0.5 * (ay + by), 0.5 * (az + bz)
    return max(_value(q, x, y, z), 0.0), x, y, z


@kernel
def _edge_of(twins, h):
    """One half-edge for the edge."""
    return h if twins[h] < h else twins[h]


@kernel
def _sift_up(heap, place, costs, i):
    item = heap[i]
    cost = costs[item]
    while i > 0:
        parent = (i - 1) // 2
        if costs[heap[parent]] <= cost:
            break
        heap[i] = heap[parent]
        place[heap[i]] = i
        i = parent
    heap[i] = item
    place[item] = i


@kernel
def _sift_down(heap, place, costs, i, count):
    item = heap[i]
    cost = costs[item]
    while True:
        child = 2 * i + 1
        if child >= count:
            break
        if child + 1 < count and costs[heap[child + 1]] < costs[heap[child]]:
            child += 1
        if costs[heap[child]] >= cost:
            break
        heap[i] = heap[child]
        place[heap[i]] = i
        i = child
    heap[i] = item
    place[item] = i


@kernel
def _put(heap, place, costs, count, item):
    """Insert an item, or move it to where its new cost belongs; `count[0]` items."""
    i = place[item]
    if i < 0:
        i = count[0]
        heap[i] = item
        count[0] += 1
        _sift_up(heap, place, costs, i)
    else:
        _sift_up(heap, place, costs, i)
        _sift_down(heap, place, costs, place[item], count[0])


@kernel
def _take_out(heap, place, costs, count, item):
    i = place[item]
    if i < 0:
        return
    place[item] = -1
    count[0] -= 1
    last = heap[count[0]]
    if last == item:
        return
    heap[i] = last
    place[last] = i
    _sift_up(heap, place, costs, i)
    _sift_down(heap, place, costs, place[last], count[0])


@kernel
def fill_heap(m, quadrics, heap, place, costs, count, scratch):
    """All edges into the heap, in linear time."""
    corners, twins, marks, kinds, positions = m.corners, m.twins, m.marks, m.kinds, m.positions
    count[0] = 0
    for h in range(3 * m.counts[1]):
        place[h] = -1
        if corners[h] >= 0 and _edge_of(twins, h) == h:
            costs[h] = _best_place(corners, twins, marks, kinds, positions, quadrics, h, scratch)[0]
            if costs[h] < np.inf:
                heap[count[0]] = h
                place[h] = count[0]
                count[0] += 1
    for i in range(count[0] // 2 - 1, -1, -1):
        _sift_down(heap, place, costs, i, count[0])


@kernel
def decimate(m, quadrics, heap, place, costs, count, scratch, target, most_steps):
    """Up to `most_steps` collapses, cheapest first, while more than `target` faces are left. Returns whether there is more to do."""
    corners, twins, marks, kinds, positions = m.corners, m.twins, m.marks, m.kinds, m.positions
    outgoing, sizes = m.outgoing, m.sizes
    for _ in range(most_steps):
        if m.counts[2] <= target or count[0] == 0:
            return False
        h = heap[0]
        _take_out(heap, place, costs, count, h)
        _, x, y, z = _best_place(corners, twins, marks, kinds, positions, quadrics, h, scratch)
        a, b = corners[h], corners[next_of(h)]
        if not can_collapse(m, h):
            continue
        if not fan_accepts(corners, twins, outgoing, positions, sizes, a, b, x, y, z, np.inf):
            continue
        if not fan_accepts(corners, twins, outgoing, positions, sizes, b, a, x, y, z, np.inf):
            continue
        _forget_sides(twins, heap, place, costs, count, h)
        for i in range(10):
            quadrics[b, i] += quadrics[a, i]
        kind, name = max(kinds[a], kinds[b]), m.names[a] if kinds[a] > kinds[b] else m.names[b]
        collapse_edge(m, h)
        positions[b, 0], positions[b, 1], positions[b, 2] = x, y, z
        kinds[b], m.names[b] = kind, name
        h = outgoing[b]
        while True:  # new costs for the edges of b
            _renew_edge(corners, twins, marks, kinds, positions, quadrics, heap, place, costs, count, h, scratch)
            before = prev_of(h)
            h = twins[before]
            if h < 0:
                _renew_edge(corners, twins, marks, kinds, positions, quadrics, heap, place, costs, count, before, scratch)
            if h < 0 or h == outgoing[b]:
                break
    return True


@kernel
def _forget_sides(twins, heap, place, costs, count, h):
    """Take the other edges of the faces of h out of the heap: a collapse joins them two by two."""
    for side in (h, twins[h]):
        if side >= 0:
            _take_out(heap, place, costs, count, _edge_of(twins, next_of(side)))
            _take_out(heap, place, costs, count, _edge_of(twins, prev_of(side)))


@kernel
def _renew_edge(corners, twins, marks, kinds, positions, quadrics, heap, place, costs, count, h, scratch):
    e = _edge_of(twins, h)
    cost = _best_place(corners, twins, marks, kinds, positions, quadrics, e, scratch)[0]
    if cost < np.inf:
        costs[e] = cost
        _put(heap, place, costs, count, e)
    else:
        _take_out(heap, place, costs, count, e)
