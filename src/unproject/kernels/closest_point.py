"""Closest face to a point: descent of the eight-wide tree, nearest child first, eight boxes or eight triangles at once."""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .simd import bits, first_bit, lane, least, load, maximum, minimum, multiply_add, select, splat, splat_like


@kernel
def _dot(ax, ay, az, bx, by, bz):
    return multiply_add(ax, bx, multiply_add(ay, by, az * bz))


@kernel
def _on_segment(ax, ay, az, ux, uy, uz, length, zero, one):
    """Of the segment from a along u of squared length `length`: the origin's nearest parameter, and its squared distance."""
    t = minimum(one, maximum((zero - _dot(ax, ay, az, ux, uy, uz)) / length, zero))  # 0 / 0 becomes 0
    qx, qy, qz = multiply_add(t, ux, ax), multiply_add(t, uy, ay), multiply_add(t, uz, az)
    return t, _dot(qx, qy, qz, qx, qy, qz)


@kernel
def closest_in_block(blocks, start, px, py, pz, flat):
    """Squared distances of a point to the eight triangles at `start`, and the weights of their second and third corners.

    The least of four candidates, each a point of the triangle: three edges, and the projection where it lies inside. Triangles whose
    squared area is below `flat` times the product of two squared edges have only their edges. NaN for empty places.
    """
    ax, ay, az = load(blocks, start) - px, load(blocks, start + 8) - py, load(blocks, start + 16) - pz
    bx, by, bz = load(blocks, start + 24) - px, load(blocks, start + 32) - py, load(blocks, start + 40) - pz
    cx, cy, cz = load(blocks, start + 48) - px, load(blocks, start + 56) - py, load(blocks, start + 64) - pz
    zero, one = splat_like(0, ax), splat_like(1, ax)
    ux, uy, uz = bx - ax, by - ay, bz - az
    vx, vy, vz = cx - ax, cy - ay, cz - az
    ex, ey, ez = cx - bx, cy - by, cz - bz
    uu, vv = _dot(ux, uy, uz, ux, uy, uz), _dot(vx, vy, vz, vx, vy, vz)
    s, distance = _on_segment(ax, ay, az, ux, uy, uz, uu, zero, one)
    t, other = _on_segment(ax, ay, az, vx, vy, vz, vv, zero, one)
    nearer = other < distance
    distance, s, t = select(nearer, other, distance), select(nearer, zero, s), select(nearer, t, zero)
    r, other = _on_segment(bx, by, bz, ex, ey, ez, _dot(ex, ey, ez, ex, ey, ez), zero, one)
    nearer = other < distance
    distance, s, t = select(nearer, other, distance), select(nearer, one - r, s), select(nearer, r, t)
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    nn = _dot(nx, ny, nz, nx, ny, nz)
    p = _dot(vy * az - vz * ay, vz * ax - vx * az, vx * ay - vy * ax, nx, ny, nz)
    q = _dot(ay * uz - az * uy, az * ux - ax * uz, ax * uy - ay * ux, nx, ny, nz)
    inside = (p >= zero) & (q >= zero) & (p + q <= nn) & (nn > flat * uu * vv)
    scale = one / nn
    p, q = p * scale, q * scale
    x, y, z = (
        multiply_add(p, ux, multiply_add(q, vx, ax)),
        multiply_add(p, uy, multiply_add(q, vy, ay)),
        multiply_add(p, uz, multiply_add(q, vz, az)),
    )
    other = _dot(x, y, z, x, y, z)
    nearer = inside & (other < distance)
    return select(nearer, other, distance), select(nearer, p, s), select(nearer, q, t)


@kernel
def box_distances(boxes, start, px, py, pz):
    """Squared distances of a point to the eight boxes at `start`; infinite for empty ones."""
    zero = splat_like(0, px)
    x = maximum(maximum(load(boxes, start) - px, px - load(boxes, start + 24)), zero)
    y = maximum(maximum(load(boxes, start + 8) - py, py - load(boxes, start + 32)), zero)
    z = maximum(maximum(load(boxes, start + 16) - pz, pz - load(boxes, start + 40)), zero)
    return _dot(x, y, z, x, y, z)


@kernel
def push_nearest_first(children, node, distances, reached, stack, keys, top):
    """Put the reached children on the stack so that the one of least distance is popped first. Returns the new top."""
    base = top
    while reached != 0:
        k = first_bit(reached)
        reached &= reached - 1
        key = lane(distances, k)
        place = top
        while place > base and keys[place - 1] < key:
            keys[place] = keys[place - 1]
            stack[place] = stack[place - 1]
            place -= 1
        keys[place] = key
        stack[place] = children[node, k]
        top += 1
    return top


@kernel
def _barycentrics_of(blocks, block, k, px, py, pz, flat):
    _, v, w = closest_in_block(blocks, 72 * block, px, py, pz, flat)
    return lane(v, k), lane(w, k)


@kernel
def closest_range(begin, end, order, points, batch, roots, boxes, children, blocks, block_items, depth, face, weights, squared):
    """For the points order[begin:end]: face, barycentrics and squared distance. `batch` has the tree of each point, or is empty."""
    dtype = points.dtype
    infinity = dtype.type(np.inf)
    flat = splat(dtype.type((16 * np.finfo(dtype).eps) ** 2))
    stack, keys = np.empty(8 * depth + 8, np.int32), np.empty(8 * depth + 8, dtype)
    last_tree, last_block, last_lane = np.int64(-1), np.int64(-1), np.int64(0)
    for place in range(begin, end):
        i = order[place]
        tree = batch[i] if len(batch) > 0 else 0
        px, py, pz = splat(points[i, 0]), splat(points[i, 1]), splat(points[i, 2])
        best, block, k = infinity, np.int64(-1), np.int64(0)
        if tree == last_tree and last_block >= 0:  # the face of the point before, which lies near: a good first bound
            distances, _, _ = closest_in_block(blocks, 72 * last_block, px, py, pz, flat)
            first = lane(distances, last_lane)
            if first < best:
                best, block, k = first, last_block, last_lane
        top = 0
        if roots[tree] >= 0:
            stack[0], keys[0] = roots[tree], 0
            top = 1
        while top > 0:
            top -= 1
            node = stack[top]
            if keys[top] >= best:
                continue
            if node < 0:
                distances, _, _ = closest_in_block(blocks, 72 * (-2 - np.int64(node)), px, py, pz, flat)
                distances = select(distances < splat(best), distances, splat(infinity))
                nearest = least(distances)
                if nearest < best:
                    best, block = nearest, -2 - np.int64(node)
                    k = first_bit(bits(distances == splat(nearest)))
            else:
                distances = box_distances(boxes, 48 * np.int64(node), px, py, pz)
                top = push_nearest_first(children, node, distances, bits(distances < splat(best)), stack, keys, top)
        squared[i] = best
        if block < 0:
            face[i] = -1
            weights[i, 0], weights[i, 1], weights[i, 2] = 0, 0, 0
        else:
            v, w = _barycentrics_of(blocks, block, k, px, py, pz, flat)
            face[i] = block_items[block, k]
            weights[i, 0], weights[i, 1], weights[i, 2] = 1 - v - w, v, w
            last_tree, last_block, last_lane = np.int64(tree), block, k
