"""Bounding volume hierarchy: a binary tree by binned surface-area heuristic, collapsed to eight children a node.

A record is eight numbers: least x, y, z, unused, minus greatest x, y, z, unused; the union of boxes is then one lane-wise minimum.
The subtree over records [begin, end) that starts at node `base` uses nodes base ... base + 2 (end - begin) - 2 at most, its left child
lies at base + 1: threads build subtrees without asking each other.

Wide tree: `boxes` has six rows of eight a node (least x, y, z, greatest x, y, z of each child; an empty child is inside out, so that
nothing reaches it), `children` the child's node, or -2 - block for a leaf, -1 for none. Leaves are blocks of up to eight items:
`block_items` their indices (-1 for none), `blocks` their coordinates, one row of eight each; infinite for none. Children lie behind
parents.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .simd import load, minimum, splat, store

LEAF = 8
_BINS = 16
_DEEPEST = 48  # below it ranges are halved, so that the depth is bounded for any input


@kernel
def face_records(begin, end, vertices, faces, records, items):
    """Records of faces."""
    for f in range(begin, end):
        items[f] = f
        for axis in range(3):
            a, b, c = vertices[faces[f, 0], axis], vertices[faces[f, 1], axis], vertices[faces[f, 2], axis]
            records[8 * f + axis] = min(a, b, c)
            records[8 * f + 4 + axis] = -max(a, b, c)
        records[8 * f + 3] = 0
        records[8 * f + 7] = 0


@kernel
def point_records(begin, end, points, records, items):
    """Records of points."""
    for p in range(begin, end):
        items[p] = p
        for axis in range(3):
            records[8 * p + axis] = points[p, axis]
            records[8 * p + 4 + axis] = -points[p, axis]
        records[8 * p + 3] = 0
        records[8 * p + 7] = 0


@kernel
def _half_surface(boxes, start):
    x, y, z = -boxes[start + 4] - boxes[start], -boxes[start + 5] - boxes[start + 1], -boxes[start + 6] - boxes[start + 2]
    return x * y + y * z + z * x


@kernel(fastmath=False)
def _bin_of(records, i, axis, low, scale, bins):
    """Which bin a record's doubled centre falls into. Exact order of operations: binning and partition must agree."""
    return max(0, min(bins - 1, np.int64((records[8 * i + axis] - records[8 * i + 4 + axis] - low) * scale)))


@kernel
def _measure(records, begin, end, node_boxes, base, low, high):
    """Write the box of a range to node `base`, and the bounds of its doubled centres to `low` and `high`."""
    box = load(records, 8 * begin)
    infinity = records.dtype.type(np.inf)
    lx, ly, lz, hx, hy, hz = infinity, infinity, infinity, -infinity, -infinity, -infinity
    for i in range(begin, end):
        box = minimum(box, load(records, 8 * i))
        x, y, z = (
            records[8 * i] - records[8 * i + 4],
            records[8 * i + 1] - records[8 * i + 5],
            records[8 * i + 2] - records[8 * i + 6],
        )
        lx, ly, lz, hx, hy, hz = min(lx, x), min(ly, y), min(lz, z), max(hx, x), max(hy, y), max(hz, z)
    low[0], low[1], low[2], high[0], high[1], high[2] = lx, ly, lz, hx, hy, hz
    store(node_boxes, 8 * base, box)


@kernel
def workspace(records):
    """Low, high and scale of the centres by axis; boxes and counts of bins; costs of right sides; a box."""
    dtype = records.dtype
    return (
        np.empty(3, dtype),
        np.empty(3, dtype),
        np.empty(3, dtype),
        np.empty(24 * _BINS, dtype),
        np.empty(3 * _BINS, np.int32),
        np.empty(_BINS, dtype),
        np.empty(8, dtype),
    )


@kernel
def _best_split(records, begin, end, bins, space):
    """Axis and first bin of the right side of the cheapest split by surface times blocks; axis -1 where none is found."""
    low, high, scale, bin_boxes, bin_counts, right_costs, side = space
    infinity = records.dtype.type(np.inf)
    for axis in range(3):
        scale[axis] = bins / (high[axis] - low[axis]) if high[axis] > low[axis] else 0
    for k in range(3 * bins):
        store(bin_boxes, 8 * k, splat(infinity))
        bin_counts[k] = 0
    for i in range(begin, end):
        box = load(records, 8 * i)
        for axis in range(3):
            k = axis * bins + _bin_of(records, i, axis, low[axis], scale[axis], bins)
            bin_counts[k] += 1
            store(bin_boxes, 8 * k, minimum(load(bin_boxes, 8 * k), box))
    best_axis, best_bin, best_cost = -1, 0, infinity
    for axis in range(3):
        if scale[axis] == 0:
            continue
        box, count = splat(infinity), 0
        for k in range(bins - 1, 0, -1):
            box = minimum(box, load(bin_boxes, 8 * (axis * bins + k)))
            count += bin_counts[axis * bins + k]
            store(side, 0, box)
            right_costs[k] = _half_surface(side, 0) * ((count + LEAF - 1) // LEAF) if count > 0 else infinity
        box, count = splat(infinity), 0
        for k in range(1, bins):
            box = minimum(box, load(bin_boxes, 8 * (axis * bins + k - 1)))
            count += bin_counts[axis * bins + k - 1]
            if count == 0:
                continue
            store(side, 0, box)
            cost = records.dtype.type(_half_surface(side, 0) * ((count + LEAF - 1) // LEAF) + right_costs[k])
            if cost < best_cost:
                best_axis, best_bin, best_cost = axis, k, cost
    return best_axis, best_bin


@kernel
def _partition(records, items, begin, end, axis, low, scale, bins, first_right):
    left, right = begin, end - 1
    while left <= right:
        if _bin_of(records, left, axis, low, scale, bins) < first_right:
            left += 1
        else:
            a, b = load(records, 8 * left), load(records, 8 * right)
            store(records, 8 * left, b)
            store(records, 8 * right, a)
            items[left], items[right] = items[right], items[left]
            right -= 1
    return left


@kernel
def split_node(records, items, begin, end, base, depth, node_boxes, node_right, node_range, space):
    """Write node `base` over records [begin, end) and sort these by child. Returns where the right child begins, -1 for a leaf."""
    low, high, scale = space[0], space[1], space[2]
    _measure(records, begin, end, node_boxes, base, low, high)
    node_range[base, 0] = begin
    node_range[base, 1] = end
    node_right[base] = -1
    count = end - begin
    if count <= LEAF:
        return np.int64(-1)
    middle = np.int64(begin)
    if depth < _DEEPEST:
        bins = min(_BINS, 4 + count // 16)
        axis, first_right = _best_split(records, begin, end, bins, space)
        if axis >= 0:
            middle = np.int64(_partition(records, items, begin, end, axis, low[axis], scale[axis], bins, first_right))
    if middle <= begin or middle >= end:
        middle = np.int64(begin + count // 2)
    node_right[base] = base + 2 * (middle - begin)
    return middle


@kernel
def build_subtrees(first, last, tasks, records, items, node_boxes, node_right, node_range):
    """Whole subtrees of the tasks [first, last): rows of begin, end, base, depth."""
    space = workspace(records)
    stack = np.empty((2 * 64 + 2 * _DEEPEST, 4), np.int64)
    for task in range(first, last):
        stack[0] = tasks[task]
        top = 1
        while top > 0:
            top -= 1
            begin, end, base, depth = stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3]
            middle = split_node(records, items, begin, end, base, depth, node_boxes, node_right, node_range, space)
            if middle < 0:
                continue
            stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3] = middle, end, base + 2 * (middle - begin), depth + 1
            stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2], stack[top + 1, 3] = begin, middle, base + 1, depth + 1
            top += 2


@kernel
def collapse(starts, node_boxes, node_right, node_range, items, boxes, children, block_items, roots, totals):
    """The wide trees of binary trees that start at the nodes `starts` (-1: empty). Totals: nodes, blocks, greatest depth."""
    infinity = node_boxes.dtype.type(np.inf)
    nodes, blocks, deepest = 0, 0, 0
    kids = np.empty(8, np.int64)
    stack = np.empty((8 * (64 + _DEEPEST), 3), np.int64)
    for tree in range(len(starts)):
        roots[tree] = -1
        if starts[tree] < 0:
            continue
        roots[tree] = nodes
        stack[0, 0], stack[0, 1], stack[0, 2] = starts[tree], nodes, 1
        nodes += 1
        top = 1
        while top > 0:
            top -= 1
            binary, wide, depth = stack[top, 0], stack[top, 1], stack[top, 2]
            deepest = max(deepest, depth)
            kids[0] = binary
            count = 1
            while count < 8:
                widest, most = -1, -infinity
                for k in range(count):
                    if node_right[kids[k]] >= 0:
                        surface = _half_surface(node_boxes, 8 * kids[k])
                        if widest < 0 or surface > most:
                            widest, most = k, surface
                if widest < 0:
                    break
                kids[count] = node_right[kids[widest]]
                kids[widest] += 1
                count += 1
            for k in range(8):
                for axis in range(3):
                    boxes[48 * wide + 8 * axis + k] = node_boxes[8 * kids[k] + axis] if k < count else infinity
                    boxes[48 * wide + 24 + 8 * axis + k] = -node_boxes[8 * kids[k] + 4 + axis] if k < count else -infinity
                if k >= count:
                    children[wide, k] = -1
                elif node_right[kids[k]] >= 0:
                    children[wide, k] = nodes
                    stack[top, 0], stack[top, 1], stack[top, 2] = kids[k], nodes, depth + 1
                    top += 1
                    nodes += 1
                else:
                    children[wide, k] = -2 - blocks
                    begin, end = node_range[kids[k], 0], node_range[kids[k], 1]
                    for j in range(8):
                        block_items[blocks, j] = items[begin + j] if begin + j < end else -1
                    blocks += 1
    totals[0], totals[1], totals[2] = nodes, blocks, deepest


@kernel
def fill_face_blocks(begin, end, vertices, faces, block_items, blocks, block_boxes):
    """Corner coordinates of each block's faces, nine rows of eight, and the box around them."""
    for block in range(begin, end):
        for axis in range(3):
            low, high = vertices.dtype.type(np.inf), vertices.dtype.type(-np.inf)
            for corner in range(3):
                for k in range(8):
                    item = block_items[block, k]
                    value = vertices[faces[max(item, 0), corner], axis] if item >= 0 else vertices.dtype.type(np.inf)
                    blocks[72 * block + 8 * (3 * corner + axis) + k] = value
                    if item >= 0:
                        low, high = min(low, value), max(high, value)
            block_boxes[block, axis] = low
            block_boxes[block, 3 + axis] = high


@kernel
def fill_point_blocks(begin, end, points, block_items, blocks, block_boxes):
    """Coordinates of each block's points, three rows of eight, and the box around them."""
    for block in range(begin, end):
        for axis in range(3):
            low, high = points.dtype.type(np.inf), points.dtype.type(-np.inf)
            for k in range(8):
                item = block_items[block, k]
                value = points[max(item, 0), axis] if item >= 0 else points.dtype.type(np.inf)
                blocks[24 * block + 8 * axis + k] = value
                if item >= 0:
                    low, high = min(low, value), max(high, value)
            block_boxes[block, axis] = low
            block_boxes[block, 3 + axis] = high


@kernel
def refit_nodes(children, block_boxes, boxes):
    """Boxes of all nodes from the boxes of the blocks, children before parents."""
    for node in range(len(children) - 1, -1, -1):
        for k in range(8):
            child = children[node, k]
            if child < -1:
                for axis in range(3):
                    boxes[48 * node + 8 * axis + k] = block_boxes[-2 - child, axis]
                    boxes[48 * node + 24 + 8 * axis + k] = block_boxes[-2 - child, 3 + axis]
            elif child >= 0:
                for axis in range(3):
                    low, high = boxes[48 * child + 8 * axis], boxes[48 * child + 24 + 8 * axis]
                    for j in range(1, 8):
                        low = min(low, boxes[48 * child + 8 * axis + j])
                        high = max(high, boxes[48 * child + 24 + 8 * axis + j])
                    boxes[48 * node + 8 * axis + k] = low
                    boxes[48 * node + 24 + 8 * axis + k] = high
            else:
                for axis in range(3):
                    boxes[48 * node + 8 * axis + k] = np.inf
                    boxes[48 * node + 24 + 8 * axis + k] = -np.inf
