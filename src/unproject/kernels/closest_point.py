"""Closest face to a point: descent of the eight-wide tree, nearest child first, eight boxes or eight triangles at once."""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .simd import bits, first_bit, lane, least, load, maximum, minimum, multiply_add, select, splat, splat_like


@kernel
def _dot(ax, ay, az, bx, by, bz):
    return multiply_add(ax, bx, multiply_add(ay, by, az * bz))


@kernel
def _on_segment(ax, ay, az, ux, uy, uz, length, tolerance, zero, one):
    """Of the segment from a along u of squared length `length`: the origin's nearest parameter, its squared distance, and that as a rank.

    Ranks of ends are worse by `tolerance`.
    """
    t = minimum(one, maximum((zero - _dot(ax, ay, az, ux, uy, uz)) / length, zero))  # 0 / 0 becomes 0
    qx, qy, qz = multiply_add(t, ux, ax), multiply_add(t, uy, ay), multiply_add(t, uz, az)
    distance = _dot(qx, qy, qz, qx, qy, qz)
    return t, distance, select((t > zero) & (t < one), distance, multiply_add(tolerance, distance, distance))


@kernel
def closest_in_block(blocks, start, px, py, pz, tolerance):
    """Squared distances of a point to the eight triangles at `start`, and the weights of their corners there; NaN for empty places."""
    ax, ay, az = load(blocks, start) - px, load(blocks, start + 8) - py, load(blocks, start + 16) - pz
    bx, by, bz = load(blocks, start + 24) - px, load(blocks, start + 32) - py, load(blocks, start + 40) - pz
    cx, cy, cz = load(blocks, start + 48) - px, load(blocks, start + 56) - py, load(blocks, start + 64) - pz
    return closest_to_origin(ax, ay, az, bx, by, bz, cx, cy, cz, tolerance)


@kernel
def closest_to_origin(ax, ay, az, bx, by, bz, cx, cy, cz, tolerance):
    """Squared distances of eight triangles abc to the origin, and the weights of their corners there.

    The least of four candidates, each a point of the triangle: three edges, and the projection where it lies inside. Where their distances
    agree up to the relative `tolerance`, near an edge or a corner, the weights are those of the face rather than of an edge, and of an edge
    rather than of a corner. Triangles have only their edges where their height, by the same tolerance, is nothing.
    """
    zero, one = splat_like(0, ax), splat_like(1, ax)
    ux, uy, uz = bx - ax, by - ay, bz - az
    vx, vy, vz = cx - ax, cy - ay, cz - az
    ex, ey, ez = cx - bx, cy - by, cz - bz
    uu, vv, ee = _dot(ux, uy, uz, ux, uy, uz), _dot(vx, vy, vz, vx, vy, vz), _dot(ex, ey, ez, ex, ey, ez)
    on_u, distance_u, rank = _on_segment(ax, ay, az, ux, uy, uz, uu, tolerance, zero, one)
    on_v, distance_v, rank_v = _on_segment(ax, ay, az, vx, vy, vz, vv, tolerance, zero, one)
    on_e, distance_e, rank_e = _on_segment(bx, by, bz, ex, ey, ez, ee, tolerance, zero, one)
    distance = minimum(minimum(distance_u, distance_v), distance_e)
    better = rank_v < rank
    rank, r, s, t = select(better, rank_v, rank), one - select(better, on_v, on_u), select(better, zero, on_u), select(better, on_v, zero)
    better = rank_e < rank
    r, s, t = select(better, zero, r), select(better, one - on_e, s), select(better, on_e, t)
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    nn = _dot(nx, ny, nz, nx, ny, nz)
    p = _dot(vy * az - vz * ay, vz * ax - vx * az, vx * ay - vy * ax, nx, ny, nz)
    q = _dot(ay * uz - az * uy, az * ux - ax * uz, ax * uy - ay * ux, nx, ny, nz)
    inside = (p >= zero) & (q >= zero) & (p + q <= nn) & (nn > tolerance * tolerance * uu * vv)
    scale = one / nn
    p, q = p * scale, q * scale
    x = multiply_add(p, ux, multiply_add(q, vx, ax))
    y = multiply_add(p, uy, multiply_add(q, vy, ay))
    z = multiply_add(p, uz, multiply_add(q, vz, az))
    within = _dot(x, y, z, x, y, z)
    inside = inside & (within <= multiply_add(tolerance, distance, distance))
    distance = select(inside, minimum(within, distance), distance)
    return distance, select(inside, maximum(one - p - q, zero), r), select(inside, p, s), select(inside, q, t)


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
def _barycentrics_of(blocks, block, k, px, py, pz, tolerance):
    _, u, v, w = closest_in_block(blocks, 72 * block, px, py, pz, tolerance)
    return lane(u, k), lane(v, k), lane(w, k)


@kernel
def closest_range(begin, end, order, points, batch, roots, boxes, children, blocks, block_items, depth, face, weights, nearest, squared):
    """For the points order[begin:end]: face, barycentrics, nearest point, squared distance. `batch` has each point's tree, or is empty."""
    dtype = points.dtype
    infinity = dtype.type(np.inf)
    tolerance = splat(dtype.type(16 * np.finfo(dtype).eps))
    stack, keys = np.empty(8 * depth + 8, np.int32), np.empty(8 * depth + 8, dtype)
    last_tree, last_block, last_lane = np.int64(-1), np.int64(-1), np.int64(0)
    for place in range(begin, end):
        i = order[place]
        tree = batch[i] if len(batch) > 0 else 0
        px, py, pz = splat(points[i, 0]), splat(points[i, 1]), splat(points[i, 2])
        best, block, k = infinity, np.int64(-1), np.int64(0)
        if tree == last_tree and last_block >= 0:  # the face of the point before, which lies near: a good first bound
            distances, _, _, _ = closest_in_block(blocks, 72 * last_block, px, py, pz, tolerance)
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
                distances, _, _, _ = closest_in_block(blocks, 72 * (-2 - np.int64(node)), px, py, pz, tolerance)
                distances = select(distances < splat(best), distances, splat(infinity))
                least_distance = least(distances)
                if least_distance < best:
                    best, block = least_distance, -2 - np.int64(node)
                    k = first_bit(bits(distances == splat(least_distance)))
            else:
                distances = box_distances(boxes, 48 * np.int64(node), px, py, pz)
                top = push_nearest_first(children, node, distances, bits(distances < splat(best)), stack, keys, top)
        squared[i] = best
        if block < 0:
            face[i] = -1
            for axis in range(3):
                weights[i, axis], nearest[i, axis] = 0, infinity
        else:
            u, v, w = _barycentrics_of(blocks, block, k, px, py, pz, tolerance)
            face[i] = block_items[block, k]
            weights[i, 0], weights[i, 1], weights[i, 2] = u, v, w
            for axis in range(3):
                start = 72 * block + 8 * axis + k
                nearest[i, axis] = u * blocks[start] + v * blocks[start + 24] + w * blocks[start + 48]
            last_tree, last_block, last_lane = np.int64(tree), block, k


@kernel
def _multipliers(corners, weights, pull, result):
    """Solve the normal equations of the corners with positive weight for the cotangent `pull` of the weights; `result` sums to 0."""
    result[0], result[1], result[2] = 0, 0, 0
    a, b, c = weights[0] > 0, weights[1] > 0, weights[2] > 0
    if a and b and c:
        ux, uy, uz = corners[1, 0] - corners[0, 0], corners[1, 1] - corners[0, 1], corners[1, 2] - corners[0, 2]
        vx, vy, vz = corners[2, 0] - corners[0, 0], corners[2, 1] - corners[0, 1], corners[2, 2] - corners[0, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        uu, uv, vv = ux * ux + uy * uy + uz * uz, ux * vx + uy * vy + uz * vz, vx * vx + vy * vy + vz * vz
        determinant = nx * nx + ny * ny + nz * nz
        p, q = pull[1] - pull[0], pull[2] - pull[0]
        if determinant > 0:
            result[1], result[2] = (vv * p - uv * q) / determinant, (uu * q - uv * p) / determinant
            result[0] = -result[1] - result[2]
    elif (a and b) or (b and c) or (c and a):
        i, j = (0, 1) if a and b else ((1, 2) if b and c else (2, 0))
        ex, ey, ez = corners[j, 0] - corners[i, 0], corners[j, 1] - corners[i, 1], corners[j, 2] - corners[i, 2]
        length = ex * ex + ey * ey + ez * ez
        if length > 0:
            result[j] = (pull[j] - pull[i]) / length
            result[i] = -result[j]


@kernel
def closest_backward_range(
    begin, end, points, vertices, faces, face, weights, weights_pull, nearest_pull, squared_pull, points_grad, vertices_grad
):
    """Cotangents of points and vertices for the points [begin, end) from those of weights, nearest point and squared distance.

    With residual r = nearest - point and multipliers m (`_multipliers`), y = sum of m_k corner_k: the point receives y, corner k receives
    weight_k (pull of nearest - y) - m_k r; the squared distance adds -2 r and 2 weight_k r. Arrays without rows count as zero.
    """
    dtype = points.dtype
    corners, pull, multipliers = np.empty((3, 3), dtype), np.empty(3, dtype), np.empty(3, dtype)
    residual, shift, pulled = np.empty(3, dtype), np.empty(3, dtype), np.empty(3, dtype)
    for i in range(begin, end):
        if face[i] < 0:
            for axis in range(3):
                points_grad[i, axis] = 0
            continue
        for axis in range(3):
            nearest = dtype.type(0)
            for k in range(3):
                corners[k, axis] = vertices[faces[face[i], k], axis] - points[i, axis]
                nearest += weights[i, k] * corners[k, axis]
            residual[axis] = nearest
            pulled[axis] = nearest_pull[i, axis] if len(nearest_pull) > 0 else 0
        for k in range(3):
            pull[k] = weights_pull[i, k] if len(weights_pull) > 0 else 0
            pull[k] += pulled[0] * corners[k, 0] + pulled[1] * corners[k, 1] + pulled[2] * corners[k, 2]
        if len(weights_pull) > 0 or len(nearest_pull) > 0:
            _multipliers(corners, weights[i], pull, multipliers)
        else:
            multipliers[0], multipliers[1], multipliers[2] = 0, 0, 0
        double = 2 * squared_pull[i] if len(squared_pull) > 0 else dtype.type(0)
        for axis in range(3):
            shift[axis] = multipliers[0] * corners[0, axis] + multipliers[1] * corners[1, axis] + multipliers[2] * corners[2, axis]
            points_grad[i, axis] = shift[axis] - double * residual[axis]
        if len(vertices_grad) > 0:
            for k in range(3):
                vertex = faces[face[i], k]
                for axis in range(3):
                    direct = weights[i, k] * (pulled[axis] - shift[axis] + double * residual[axis])
                    vertices_grad[vertex, axis] += direct - multipliers[k] * residual[axis]
