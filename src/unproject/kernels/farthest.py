"""Farthest-point sampling on a point tree: a new sample only visits the nodes that have a point nearer to it than to all samples before."""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .point_tree import LEAF, NO_POINT, STACK


@kernel(fastmath=False)
def point_gap(x, y, z, box):
    """Squared distance of a point to a box."""
    zero = box.dtype.type(0)
    dx, dy, dz = max(box[0] - x, x - box[3], zero), max(box[1] - y, y - box[4], zero), max(box[2] - z, z - box[5], zero)
    return dx * dx + dy * dy + dz * dz


@kernel(fastmath=False)
def update_leaf(x, y, z, sample, points, ids, distances):
    """Lower a leaf's distances to a new sample, which itself gets -1; returns the largest and the lowest id that has it."""
    for lane in range(LEAF):
        dx, dy, dz = points[0, lane] - x, points[1, lane] - y, points[2, lane] - z
        distances[lane] = min(distances[lane], dx * dx + dy * dy + dz * dz)
    largest, largest_id = distances.dtype.type(-1), NO_POINT
    for lane in range(LEAF):
        if ids[lane] == sample or ids[lane] == NO_POINT:
            distances[lane] = -1
        elif distances[lane] > largest or (distances[lane] == largest and ids[lane] < largest_id):
            largest, largest_id = distances[lane], ids[lane]
    return largest, largest_id


@kernel(fastmath=False)
def join_farthest(node, right, farthest, farthest_ids):
    """A node's largest distance, and the lowest id that has it, from its children's."""
    left = node + 1
    better = left
    if farthest[right] > farthest[left] or (farthest[right] == farthest[left] and farthest_ids[right] < farthest_ids[left]):
        better = right
    farthest[node], farthest_ids[node] = farthest[better], farthest_ids[better]


@kernel(fastmath=False)
def add_sample(first, last, x, y, z, sample, points, ids, boxes, distances, farthest, farthest_ids, stack, inner):
    """Bring the tree over leaves [first, last), whose root is node stack[0, 2], up to date with a new sample."""
    stack[0, 0], stack[0, 1] = first, last
    root = stack[0, 2]
    top, count = 1, 0
    while top > 0:
        top -= 1
        a, b, node = stack[top, 0], stack[top, 1], stack[top, 2]
        gap = point_gap(x, y, z, boxes[node])
        if gap >= farthest[node] and gap > 0:
            continue
        if b - a == 1:
            farthest[node], farthest_ids[node] = update_leaf(x, y, z, sample, points[a], ids[a], distances[a])
            continue
        middle = (a + b) // 2
        right = node + 2 * (middle - a)
        inner[count, 0], inner[count, 1] = node, right
        count += 1
        stack[top, 0], stack[top, 1], stack[top, 2] = middle, b, right
        stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2] = a, middle, node + 1
        top += 2
    for i in range(count - 1, -1, -1):
        join_farthest(inner[i, 0], inner[i, 1], farthest, farthest_ids)
    stack[0, 2] = root


@kernel(fastmath=False)
def farthest_range(begin, end, cloud, positions, leaf_offsets, points, ids, boxes, distances, farthest, farthest_ids, samples):
    """Samples [begin, end) of a cloud, where samples[begin] is given; goes on from the state that the call for those before has left."""
    first, last = leaf_offsets[cloud], leaf_offsets[cloud + 1]
    root = 2 * first - cloud
    stack = np.empty((STACK, 3), np.int64)
    inner = np.empty((last - first, 2), np.int64)
    stack[0, 2] = root
    for i in range(begin, end):
        sample = samples[i]
        x, y, z = positions[sample, 0], positions[sample, 1], positions[sample, 2]
        add_sample(first, last, x, y, z, sample, points, ids, boxes, distances, farthest, farthest_ids, stack, inner)
        if i + 1 < len(samples):
            samples[i + 1] = farthest_ids[root]
