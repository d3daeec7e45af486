"""Polygons to triangles: convex ones by a fan, others by clipping ears in their best-fitting plane.

Source: the ear-clipping method of G. Meisters, "Polygons have ears" (1975); the normal of M. Newell.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel


@kernel(fastmath=False)
def turn(px, py, a, b, c):
    """Twice the signed area of three projected corners: positive where the boundary turns left."""
    return (px[b] - px[a]) * (py[c] - py[a]) - (py[b] - py[a]) * (px[c] - px[a])


@kernel(fastmath=False)
def project(vertices, corners, first, count, px, py):
    """Project a polygon along the greatest component of its normal, counter-clockwise. False: it has no normal."""
    nx, ny, nz = np.float64(0), np.float64(0), np.float64(0)
    o = corners[first]
    ox, oy, oz = np.float64(vertices[o, 0]), np.float64(vertices[o, 1]), np.float64(vertices[o, 2])
    for k in range(count):
        i, j = corners[first + k], corners[first + (k + 1) % count]
        xi, yi, zi = vertices[i, 0] - ox, vertices[i, 1] - oy, vertices[i, 2] - oz
        xj, yj, zj = vertices[j, 0] - ox, vertices[j, 1] - oy, vertices[j, 2] - oz
        nx += (yi - yj) * (zi + zj)
        ny += (zi - zj) * (xi + xj)
        nz += (xi - xj) * (yi + yj)
    size = max(abs(nx), abs(ny), abs(nz))
    if not (size > 0.0 and size < np.inf):
        return False
    axis, sign = 2, nz > 0
    if abs(nx) == size:
        axis, sign = 0, nx > 0
    elif abs(ny) == size:
        axis, sign = 1, ny > 0
    u, v = (axis + 1) % 3, (axis + 2) % 3
    if not sign:
        u, v = v, u
    for k in range(count):
        i = corners[first + k]
        px[k] = np.float64(vertices[i, u]) - np.float64(vertices[o, u])
        py[k] = np.float64(vertices[i, v]) - np.float64(vertices[o, v])
    return True


@kernel(fastmath=False)
def is_convex(px, py, count):
    """Whether the boundary turns left at every corner and goes around once."""
    winding = np.float64(0)
    for k in range(count):
        i, j = (k + 1) % count, (k + 2) % count
        if turn(px, py, k, i, j) <= 0.0:
            return False
        ax, ay, bx, by = px[i] - px[k], py[i] - py[k], px[j] - px[i], py[j] - py[i]
        winding += np.arctan2(ax * by - ay * bx, ax * bx + ay * by)
    return winding < 3 * np.pi


@kernel(fastmath=False)
def is_ear(px, py, following, reflex, a, b, c):
    """Whether no other reflex corner lies in the triangle a b c or on its border."""
    if turn(px, py, a, b, c) <= 0.0:
        return False
    x0, x1 = min(px[a], px[b], px[c]), max(px[a], px[b], px[c])
    y0, y1 = min(py[a], py[b], py[c]), max(py[a], py[b], py[c])
    p = following[c]
    while p != a:
        x, y = px[p], py[p]
        if reflex[p] and x >= x0 and x <= x1 and y >= y0 and y <= y1:
            corner = (x == px[a] and y == py[a]) or (x == px[b] and y == py[b]) or (x == px[c] and y == py[c])
            if not corner and turn(px, py, a, b, p) >= 0.0 and turn(px, py, b, c, p) >= 0.0 and turn(px, py, c, a, p) >= 0.0:
                return False
        p = following[p]
    return True


@kernel(fastmath=False)
def clip_ears(px, py, count, following, previous, reflex, first, out, slot):
    """Write the count - 2 triangles of one polygon."""
    for k in range(count):
        following[k], previous[k] = (k + 1) % count, (k + count - 1) % count
    for k in range(count):
        reflex[k] = turn(px, py, previous[k], k, following[k]) <= 0.0
    b, left, failed = 0, count, 0
    while left > 3:
        a, c = previous[b], following[b]
        if failed > 2 * left:  # crossing or degenerate boundary: cut the widest corner, so that all of it is covered
            best, widest = b, -np.inf
            p = b
            for _ in range(left):
                area = turn(px, py, previous[p], p, following[p])
                if area > widest:
                    best, widest = p, area
                p = following[p]
            a, b, c = previous[best], best, following[best]
        elif reflex[b] or not is_ear(px, py, following, reflex, a, b, c):
            failed += 1
            b = c
            continue
        out[slot, 0], out[slot, 1], out[slot, 2] = first + a, first + b, first + c
        slot += 1
        following[a], previous[c] = c, a
        reflex[a] = turn(px, py, previous[a], a, c) <= 0.0
        reflex[c] = turn(px, py, a, c, following[c]) <= 0.0
        left -= 1
        failed = 0
        b = following[c]
    out[slot, 0], out[slot, 1], out[slot, 2] = first + previous[b], first + b, first + following[b]


@kernel(fastmath=False)
def triangulate_range(begin, stop, vertices, corners, offsets, slots, longest, most_clipped, out, too_long):
    """Triangulate polygons.

    Args:
        corners: vertex indices of all polygons, one after the other; offsets: [P + 1] where each begins.
        slots: [P + 1] the row of `out` of each polygon's first triangle.
        longest: corners of the longest polygon.
        most_clipped: longest polygon that ears are clipped off; of a longer, not convex one the index goes to too_long[0].
        out: [T, 3] indices into `corners`.
    """
    room = longest if stop > begin else 0
    px, py = np.empty(room), np.empty(room)
    following, previous, reflex = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.bool_)
    for p in range(begin, stop):
        first, count, slot = offsets[p], offsets[p + 1] - offsets[p], slots[p]
        if count < 3:
            continue
        fan = count == 3 or not project(vertices, corners, first, count, px, py)
        if not fan:
            fan = is_convex(px, py, count)
        if count == 4 and not fan:  # the diagonal goes through the reflex or flat corner
            across = 0 if turn(px, py, 3, 0, 1) <= 0.0 or turn(px, py, 1, 2, 3) <= 0.0 else 1
            out[slot, 0], out[slot, 1], out[slot, 2] = first + across, first + across + 1, first + across + 2
            out[slot + 1, 0], out[slot + 1, 1], out[slot + 1, 2] = first + across, first + across + 2, first + (across + 3) % 4
            continue
        if not fan and count > most_clipped:
            too_long[0] = p
            return
        if fan:
            for k in range(count - 2):
                out[slot + k, 0], out[slot + k, 1], out[slot + k, 2] = first, first + k + 1, first + k + 2
        else:
            clip_ears(px, py, count, following, previous, reflex, first, out, slot)
