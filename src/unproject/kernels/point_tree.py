"""Balanced k-d trees over packed point clouds: exact median splits down to full leaves of LEAF points.

A tree over leaves [a, b) is stored in preorder: its root's left child follows it and covers [a, (a + b) // 2), the right child follows the
left subtree. Nothing but the boxes of the nodes need be stored, and an outlier or a dense cluster costs no more than any other point.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel

LEAF = 16
SAMPLE = 256
STACK = 96  # twice the depth that 2^31 points can have, and some
NO_POINT = np.int32(2147483647)  # the id of padding, and of "none found": loses every tie


@kernel(fastmath=False)
def cloud_of(leaf_offsets, leaf):
    """The cloud that a leaf belongs to: the last one that begins at or before it."""
    low, high = 0, len(leaf_offsets) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if leaf_offsets[middle] <= leaf:
            low = middle
        else:
            high = middle
    return low


@kernel(fastmath=False)
def load_rows(begin, end, points, offsets, leaf_offsets, rows, row_ids, doubtful):
    """Rows [x, y, z, id] of leaves [begin, end); the last leaf of a cloud is padded with copies of its last point, as NO_POINT.

    Sets doubtful[0] where a point is not finite, or so large that a sum of its coordinates is not.
    """
    cloud = cloud_of(leaf_offsets, begin)
    for leaf in range(begin, end):
        while leaf >= leaf_offsets[cloud + 1]:
            cloud += 1
        first = offsets[cloud] + (leaf - leaf_offsets[cloud]) * LEAF
        last = offsets[cloud + 1] - 1
        for lane in range(LEAF):
            row = leaf * LEAF + lane
            source = min(first + lane, last)
            x, y, z = points[source, 0], points[source, 1], points[source, 2]
            rows[row, 0], rows[row, 1], rows[row, 2] = x, y, z
            row_ids[row, 3] = source if first + lane <= last else NO_POINT
            if not abs(x) + abs(y) + abs(z) < np.inf:
                doubtful[0] = 1


@kernel(fastmath=False)
def swap_rows(rows, i, j):
    a, b, c, d = rows[i, 0], rows[i, 1], rows[i, 2], rows[i, 3]
    rows[i, 0], rows[i, 1], rows[i, 2], rows[i, 3] = rows[j, 0], rows[j, 1], rows[j, 2], rows[j, 3]
    rows[j, 0], rows[j, 1], rows[j, 2], rows[j, 3] = a, b, c, d


@kernel(fastmath=False)
def partition_rows(rows, low, high, axis, pivot):
    """Rows below the pivot first, without branches; returns where the others begin."""
    split = low
    for i in range(low, high):
        below = rows[i, axis] < pivot
        swap_rows(rows, i, split)
        split += 1 if below else 0
    return split


@kernel(fastmath=False)
def partition_equal_rows(rows, low, high, axis, pivot):
    split = low
    for i in range(low, high):
        equal = rows[i, axis] <= pivot
        swap_rows(rows, i, split)
        split += 1 if equal else 0
    return split


@kernel(fastmath=False)
def choose_pivot(rows, low, high, axis, nth, sample):
    """A value near the nth of [low, high): a quantile of a sample that aims to leave the nth in the smaller part."""
    count = high - low
    size = min(len(sample), max(3, int(np.sqrt(count))))
    for i in range(size):
        value = rows[low + (2 * i + 1) * count // (2 * size), axis]
        j = i
        while j > 0 and sample[j - 1] > value:
            sample[j] = sample[j - 1]
            j -= 1
        sample[j] = value
    slack = 0.4 * np.sqrt(size)
    rank = (nth - low) * size / count
    rank += slack if 2 * (nth - low) < count else -slack
    return sample[min(size - 1, max(0, int(rank)))]


@kernel(fastmath=False)
def select_rows(rows, low, high, axis, nth, sample):
    """Order rows [low, high) so that those before `nth` are not above, and those from it on not below, the nth value of an axis."""
    while high - low > 1:
        pivot = choose_pivot(rows, low, high, axis, nth, sample)
        split = partition_rows(rows, low, high, axis, pivot)
        if nth < split:
            high = split
        elif nth == split and split > low:
            return
        elif split > low:
            low = split
        else:  # the pivot is the minimum: take all of its equals out
            low = partition_equal_rows(rows, low, high, axis, pivot)
            if nth <= low:
                return


@kernel(fastmath=False)
def widest_axis(rows, low, high, step):
    x0, x1 = rows[low, 0], rows[low, 0]
    y0, y1 = rows[low, 1], rows[low, 1]
    z0, z1 = rows[low, 2], rows[low, 2]
    for i in range(low, high, step):
        x, y, z = rows[i, 0], rows[i, 1], rows[i, 2]
        x0, x1 = min(x0, x), max(x1, x)
        y0, y1 = min(y0, y), max(y1, y)
        z0, z1 = min(z0, z), max(z1, z)
    x1 -= x0
    y1 -= y0
    z1 -= z0
    axis = 0 if x1 >= y1 and x1 >= z1 else (1 if y1 >= z1 else 2)
    return axis, max(x1, y1, z1)


@kernel(fastmath=False)
def split_leaves(rows, a, b, sample):
    """Split leaves [a, b) at their middle, across the widest side of their box."""
    low, high = a * LEAF, b * LEAF
    axis, extent = widest_axis(rows, low, high, max(1, (high - low) // SAMPLE))
    if extent == 0:
        axis, extent = widest_axis(rows, low, high, 1)
    if extent > 0:
        select_rows(rows, low, high, axis, (a + b) // 2 * LEAF, sample)


@kernel(fastmath=False)
def split_tasks(begin, end, tasks, rows):
    """Split each task [first leaf, leaf end, node] once; its halves are the tasks of the next level."""
    sample = np.empty(SAMPLE, rows.dtype)
    for task in range(begin, end):
        split_leaves(rows, tasks[task, 0], tasks[task, 1], sample)


@kernel(fastmath=False)
def store_leaf(leaf, node, rows, row_ids, points, ids, boxes, low_ids):
    """Write a leaf's points as [3, LEAF] lanes, its box [low, high] and its lowest id."""
    low_id = NO_POINT
    for lane in range(LEAF):
        row = leaf * LEAF + lane
        ids[leaf, lane] = row_ids[row, 3]
        low_id = min(low_id, ids[leaf, lane])
        for axis in range(3):
            points[leaf, axis, lane] = rows[row, axis]
    for axis in range(3):
        low = high = points[leaf, axis, 0]
        for lane in range(LEAF):
            low, high = min(low, points[leaf, axis, lane]), max(high, points[leaf, axis, lane])
        boxes[node, axis], boxes[node, axis + 3] = low, high
    low_ids[node] = low_id


@kernel(fastmath=False)
def join_children(node, right, boxes, low_ids):
    """The box and lowest id of a node from those of its children."""
    for axis in range(3):
        boxes[node, axis] = min(boxes[node + 1, axis], boxes[right, axis])
        boxes[node, axis + 3] = max(boxes[node + 1, axis + 3], boxes[right, axis + 3])
    low_ids[node] = min(low_ids[node + 1], low_ids[right])


@kernel(fastmath=False)
def join_tasks(begin, end, tasks, boxes, low_ids):
    for task in range(begin, end):
        a, b, node = tasks[task, 0], tasks[task, 1], tasks[task, 2]
        join_children(node, node + 2 * ((a + b) // 2 - a), boxes, low_ids)


@kernel(fastmath=False)
def build_tasks(begin, end, tasks, rows, row_ids, points, ids, boxes, low_ids):
    """Build the whole subtree of each task [first leaf, leaf end, node]."""
    sample = np.empty(SAMPLE, rows.dtype)
    stack = np.empty((STACK, 3), np.int64)
    for task in range(begin, end):
        for i in range(3):
            stack[0, i] = tasks[task, i]
        top = 1
        inner = np.empty((tasks[task, 1] - tasks[task, 0], 2), np.int64)
        count = 0
        while top > 0:
            top -= 1
            a, b, node = stack[top, 0], stack[top, 1], stack[top, 2]
            if b - a == 1:
                store_leaf(a, node, rows, row_ids, points, ids, boxes, low_ids)
                continue
            split_leaves(rows, a, b, sample)
            middle = (a + b) // 2
            right = node + 2 * (middle - a)
            inner[count, 0], inner[count, 1] = node, right
            stack[top, 0], stack[top, 1], stack[top, 2] = middle, b, right
            stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2] = a, middle, node + 1
            count += 1
            top += 2
        for i in range(count - 1, -1, -1):
            join_children(inner[i, 0], inner[i, 1], boxes, low_ids)
