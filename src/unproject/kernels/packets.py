"""Walking a point tree by packets: LEAF queries that lie together go as one, a lane each.

No fast-math: the distance to a box is never above that to a point in it, also in rounded arithmetic, so that pruning is exact and results
are those of brute force to the last bit. Equal distances go to the lower id.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .point_tree import LEAF


@kernel(fastmath=False)
def fill(values, value):
    for i in range(len(values)):
        values[i] = value


@kernel(fastmath=False)
def packet_box(lanes, box):
    """The box [low, high] around the queries of a packet."""
    for axis in range(3):
        low = high = lanes[axis, 0]
        for lane in range(LEAF):
            low, high = min(low, lanes[axis, lane]), max(high, lanes[axis, lane])
        box[axis], box[axis + 3] = low, high


@kernel(fastmath=False)
def box_gap(box, other, manhattan):
    """Distance between two boxes: squared, or in the L1 norm."""
    zero = box.dtype.type(0)
    dx = max(other[0] - box[3], box[0] - other[3], zero)
    dy = max(other[1] - box[4], box[1] - other[4], zero)
    dz = max(other[2] - box[5], box[2] - other[5], zero)
    return dx + dy + dz if manhattan else dx * dx + dy * dy + dz * dz


@kernel(fastmath=False)
def count_hits(lanes, limits, limit_ids, box, low_id, manhattan):
    """How many lanes could still take a point from a box: nearer than their limit, or as near with a lower id."""
    x0, y0, z0, x1, y1, z1 = box[0], box[1], box[2], box[3], box[4], box[5]
    zero = lanes.dtype.type(0)
    hits = np.int32(0)
    for lane in range(LEAF):
        dx = max(x0 - lanes[0, lane], lanes[0, lane] - x1, zero)
        dy = max(y0 - lanes[1, lane], lanes[1, lane] - y1, zero)
        dz = max(z0 - lanes[2, lane], lanes[2, lane] - z1, zero)
        d = dx + dy + dz if manhattan else dx * dx + dy * dy + dz * dz
        hits += np.int32((d < limits[lane]) | ((d == limits[lane]) & (low_id < limit_ids[lane])))
    return hits


@kernel(fastmath=False)
def start_walk(stack, gaps, leaf_offsets, cloud):
    """Put a cloud's root on the stack of [first leaf, leaf end, node]; returns the stack's height."""
    stack[0, 0], stack[0, 1], stack[0, 2] = leaf_offsets[cloud], leaf_offsets[cloud + 1], 2 * leaf_offsets[cloud] - cloud
    gaps[0] = 0
    return 1 if leaf_offsets[cloud + 1] > leaf_offsets[cloud] else 0


@kernel(fastmath=False)
def next_leaf(stack, gaps, top, bound, packet, lanes, limits, limit_ids, boxes, low_ids, manhattan):
    """The next leaf, near ones first, that some lane needs, and the stack's height; -1 when there is none. `bound` is the largest limit."""
    while top > 0:
        top -= 1
        if gaps[top] > bound:
            continue
        a, b, node = stack[top, 0], stack[top, 1], stack[top, 2]
        if count_hits(lanes, limits, limit_ids, boxes[node], low_ids[node], manhattan) == 0:
            continue
        if b - a == 1:
            return a, top
        middle = (a + b) // 2
        right = node + 2 * (middle - a)
        left_gap, right_gap = box_gap(packet, boxes[node + 1], manhattan), box_gap(packet, boxes[right], manhattan)
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
def mark_hits(lanes, limits, points, marks):
    """Mark the lanes that lie within their limit of the box around a leaf's points."""
    x0 = x1 = points[0, 0]
    y0 = y1 = points[1, 0]
    z0 = z1 = points[2, 0]
    zero = lanes.dtype.type(0)
    for item in range(LEAF):
        x, y, z = points[0, item], points[1, item], points[2, item]
        x0, x1 = min(x0, x), max(x1, x)
        y0, y1 = min(y0, y), max(y1, y)
        z0, z1 = min(z0, z), max(z1, z)
    for lane in range(LEAF):
        dx = max(x0 - lanes[0, lane], lanes[0, lane] - x1, zero)
        dy = max(y0 - lanes[1, lane], lanes[1, lane] - y1, zero)
        dz = max(z0 - lanes[2, lane], lanes[2, lane] - z1, zero)
        marks[lane] = np.int32(dx * dx + dy * dy + dz * dz <= limits[lane])


@kernel(fastmath=False)
def pick_close(x, y, z, limit, points, distances, items):
    """Squared distances from one query to the points of a leaf, and which items are within its limit; returns how many those are."""
    for item in range(LEAF):
        dx, dy, dz = x - points[0, item], y - points[1, item], z - points[2, item]
        distances[item] = dx * dx + dy * dy + dz * dz
    count = 0
    for item in range(LEAF):
        items[count] = item
        count += 1 if distances[item] <= limit else 0
    return count
