"""Closest point of a cloud to each triangle: descent of the cloud's k-d tree, sixteen points at once."""

from __future__ import annotations

import numpy as np

from .closest_point import closest_to_origin
from .jit import kernel
from .point_tree import LEAF, NO_POINT, STACK
from .simd import bits, first_bit, lane, least, load, select, splat


@kernel
def _gap(low_x, low_y, low_z, high_x, high_y, high_z, boxes, node):
    """Squared distance between the box of a triangle and that of a node."""
    zero = boxes.dtype.type(0)
    x = max(boxes[node, 0] - high_x, low_x - boxes[node, 3], zero)
    y = max(boxes[node, 1] - high_y, low_y - boxes[node, 4], zero)
    z = max(boxes[node, 2] - high_z, low_z - boxes[node, 5], zero)
    return x * x + y * y + z * z


@kernel
def _measure(points, start, corners, tolerance):
    """Squared distances of eight points to a triangle, and the weights of its corners at each."""
    x, y, z = load(points, start), load(points, start + LEAF), load(points, start + 2 * LEAF)
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = corners
    return closest_to_origin(ax - x, ay - y, az - z, bx - x, by - y, bz - z, cx - x, cy - y, cz - z, tolerance)


@kernel
def _corner(vertices, v):
    return splat(vertices[v, 0]), splat(vertices[v, 1]), splat(vertices[v, 2])


@kernel
def closest_to_face_range(
    begin, end, order, vertices, faces, batch, points, ids, boxes, leaf_offsets, target_offsets, index, weights, squared
):
    """For the faces order[begin:end]: the closest point of the own cloud, the face's barycentrics there, and the squared distance.

    `batch` has each face's cloud, or is empty. `points` are the leaves' [L, 3, LEAF], tolerance. A face whose cloud is empty gets index -1.
    """
    dtype = vertices.dtype
    infinity = dtype.type(np.inf)
    tolerance = splat(dtype.type(16 * np.finfo(dtype).eps))
    stack, gaps = np.empty((STACK, 3), np.int64), np.empty(STACK, dtype)
    last_cloud, last_start = np.int64(-1), np.int64(-1)
    for place in range(begin, end):
        f = order[place]
        cloud = np.int64(batch[f]) if len(batch) > 0 else np.int64(0)
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        corners = _corner(vertices, a), _corner(vertices, b), _corner(vertices, c)
        lx, hx = min(vertices[a, 0], vertices[b, 0], vertices[c, 0]), max(vertices[a, 0], vertices[b, 0], vertices[c, 0])
        ly, hy = min(vertices[a, 1], vertices[b, 1], vertices[c, 1]), max(vertices[a, 1], vertices[b, 1], vertices[c, 1])
        lz, hz = min(vertices[a, 2], vertices[b, 2], vertices[c, 2]), max(vertices[a, 2], vertices[b, 2], vertices[c, 2])
        best, best_start = infinity, np.int64(-1)
        if cloud == last_cloud and last_start >= 0:  # where the face before found its point
            distances, _, _, _ = _measure(points, last_start, corners, tolerance)
            best, best_start = least(distances), last_start
        first, last = leaf_offsets[cloud], leaf_offsets[cloud + 1]
        stack[0, 0], stack[0, 1], stack[0, 2], gaps[0] = first, last, 2 * first - cloud, 0
        top = 1 if last > first else 0
        while top > 0:
            top -= 1
            if gaps[top] >= best:
                continue
            first, last, node = stack[top, 0], stack[top, 1], stack[top, 2]
            if last - first == 1:
                for half in range(0, LEAF, 8):
                    start = 3 * LEAF * first + half
                    distances, _, _, _ = _measure(points, start, corners, tolerance)
                    nearest = least(select(distances < splat(best), distances, splat(infinity)))
                    if nearest < best:
                        best, best_start = nearest, start
                continue
            middle = (first + last) // 2
            right = node + 2 * (middle - first)
            left_gap, right_gap = _gap(lx, ly, lz, hx, hy, hz, boxes, node + 1), _gap(lx, ly, lz, hx, hy, hz, boxes, right)
            near = top + 1 if left_gap <= right_gap else top
            far = 2 * top + 1 - near
            stack[near, 0], stack[near, 1], stack[near, 2], gaps[near] = first, middle, node + 1, left_gap
            stack[far, 0], stack[far, 1], stack[far, 2], gaps[far] = middle, last, right, right_gap
            top += 2
        index[f], squared[f] = -1, best
        weights[f, 0], weights[f, 1], weights[f, 2] = 0, 0, 0
        if best_start >= 0:
            distances, u, v, w = _measure(points, best_start, corners, tolerance)
            k = first_bit(bits(distances == splat(least(distances))))
            index[f] = ids[best_start // (3 * LEAF), best_start % (3 * LEAF) + k]
            if index[f] == NO_POINT:  # padding is a copy of the cloud's last point
                index[f] = target_offsets[cloud + 1] - 1
            weights[f, 0], weights[f, 1], weights[f, 2] = lane(u, k), lane(v, k), lane(w, k)
            squared[f] = lane(distances, k)
            last_cloud, last_start = cloud, best_start
