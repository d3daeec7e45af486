"""Neighbours by packets: LEAF queries that lie together walk the target's tree as one, a lane each.

No fast-math: the distance to a box is never above that to a point in it, also in rounded arithmetic, so that pruning is exact
and the result is that of brute force to the last bit. Equal distances go to the lower id.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .point_tree import LEAF, NO_POINT, STACK


@kernel(fastmath=False)
def cloud_of(leaf_offsets, leaf):
    return np.searchsorted(leaf_offsets, leaf, side="right") - 1


@kernel(fastmath=False)
def packet_box(lanes, box):
    """The box [low, high] around the queries of a packet."""
    for axis in range(3):
        low = high = lanes[axis, 0]
        for lane in range(LEAF):
            low, high = min(low, lanes[axis, lane]), max(high, lanes[axis, lane])
        box[axis], box[axis + 3] = low, high


@kernel(fastmath=False)
def box_gap(box, other):
    """Squared distance between two boxes."""
    zero = box[0] * 0
    dx = max(other[0] - box[3], box[0] - other[3], zero)
    dy = max(other[1] - box[4], box[1] - other[4], zero)
    dz = max(other[2] - box[5], box[2] - other[5], zero)
    return dx * dx + dy * dy + dz * dz


@kernel(fastmath=False)
def count_hits(lanes, limits, limit_ids, box, low_id):
    """How many lanes could still take a point from a box: nearer than their limit, or as near with a lower id."""
    x0, y0, z0, x1, y1, z1 = box[0], box[1], box[2], box[3], box[4], box[5]
    zero = x0 * 0
    hits = np.int32(0)
    for lane in range(LEAF):
        dx = max(x0 - lanes[0, lane], lanes[0, lane] - x1, zero)
        dy = max(y0 - lanes[1, lane], lanes[1, lane] - y1, zero)
        dz = max(z0 - lanes[2, lane], lanes[2, lane] - z1, zero)
        d = dx * dx + dy * dy + dz * dz
        hits += np.int32((d < limits[lane]) | ((d == limits[lane]) & (low_id < limit_ids[lane])))
    return hits


@kernel(fastmath=False)
def start_walk(stack, gaps, leaf_offsets, cloud):
    """Put a cloud's root on the stack of [first leaf, leaf end, node]; returns the stack's height."""
    stack[0, 0], stack[0, 1], stack[0, 2] = leaf_offsets[cloud], leaf_offsets[cloud + 1], 2 * leaf_offsets[cloud] - cloud
    gaps[0] = 0
    return 1 if leaf_offsets[cloud + 1] > leaf_offsets[cloud] else 0


@kernel(fastmath=False)
def next_leaf(stack, gaps, top, bound, packet, lanes, limits, limit_ids, boxes, low_ids):
    """The next leaf, near ones first, that some lane needs, and the stack's height; -1 when there is none. `bound` is the largest limit."""
    while top > 0:
        top -= 1
        if gaps[top] > bound:
            continue
        a, b, node = stack[top, 0], stack[top, 1], stack[top, 2]
        if count_hits(lanes, limits, limit_ids, boxes[node], low_ids[node]) == 0:
            continue
        if b - a == 1:
            return a, top
        middle = (a + b) // 2
        right = node + 2 * (middle - a)
        left_gap, right_gap = box_gap(packet, boxes[node + 1]), box_gap(packet, boxes[right])
        near = top + 1 if left_gap <= right_gap else top
        far = 2 * top + 1 - near
        stack[near, 0], stack[near, 1], stack[near, 2], gaps[near] = a, middle, node + 1, left_gap
        stack[far, 0], stack[far, 1], stack[far, 2], gaps[far] = middle, b, right, right_gap
        top += 2
    return -1, 0


@kernel(fastmath=False)
def largest(values):
    result = values[0]
    for lane in range(LEAF):
        result = max(result, values[lane])
    return result


@kernel(fastmath=False)
def scan_nearest(lanes, best, best_ids, points, ids):
    """Offer each point of a leaf to all lanes."""
    for item in range(LEAF):
        x, y, z, candidate = points[0, item], points[1, item], points[2, item], ids[item]
        for lane in range(LEAF):
            dx, dy, dz = lanes[0, lane] - x, lanes[1, lane] - y, lanes[2, lane] - z
            d = dx * dx + dy * dy + dz * dz
            closer = (d < best[lane]) | ((d == best[lane]) & (candidate < best_ids[lane]))
            best[lane] = d if closer else best[lane]
            best_ids[lane] = candidate if closer else best_ids[lane]


@kernel(fastmath=False)
def nearest_range(begin, end, queries, query_ids, query_leaf_offsets, points, ids, boxes, low_ids, leaf_offsets, squared_distance, index):
    """The nearest point to each query of packets [begin, end)."""
    best, best_ids = np.empty(LEAF, queries.dtype), np.empty(LEAF, np.int32)
    packet, stack, gaps = np.empty(6, queries.dtype), np.empty((STACK, 3), np.int32), np.empty(STACK, queries.dtype)
    cloud = cloud_of(query_leaf_offsets, begin)
    for group in range(begin, end):
        while group >= query_leaf_offsets[cloud + 1]:
            cloud += 1
        lanes = queries[group]
        best[:] = np.inf
        best_ids[:] = NO_POINT
        packet_box(lanes, packet)
        top = start_walk(stack, gaps, leaf_offsets, cloud)
        leaf, top = next_leaf(stack, gaps, top, best[0], packet, lanes, best, best_ids, boxes, low_ids)
        while leaf >= 0:
            scan_nearest(lanes, best, best_ids, points[leaf], ids[leaf])
            leaf, top = next_leaf(stack, gaps, top, largest(best), packet, lanes, best, best_ids, boxes, low_ids)
        for lane in range(LEAF):
            query = query_ids[group, lane]
            if query != NO_POINT:
                squared_distance[query] = best[lane]
                index[query] = best_ids[lane]
