"""Bounding volume hierarchy: a binary tree by binned surface-area heuristic, collapsed to eight children a node at least cost.

A record is eight numbers: least x, y, z, unused, minus greatest x, y, z, unused; the union of boxes is then one lane-wise minimum.
The subtree over records [begin, end) that starts at node `base` uses nodes base ... base + 2 (end - begin) - 2 at most, its left child
lies at base + 1: threads build subtrees without asking each other.

Wide tree: `boxes` has six rows of eight a node (least x, y, z, greatest x, y, z of each child; an empty child is inside out, so that
nothing reaches it), `children` the child's node, or -2 - block for a leaf, -1 for none. Leaves are blocks of up to eight items:
`block_items` their indices (-1 for none), `blocks` their coordinates, one row of eight each; infinite for none. Children lie behind
parents.

Source of the collapse: Ylitie, Karras, Laine, Efficient incoherent ray traversal on GPUs through compressed wide BVHs, 2017.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .simd import least, load, minimum, splat, splat_like, store

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
def _best_split(records, begin, end, bins, low, high, scale, bin_boxes, bin_counts):
    """Axis and first bin of the right side of the cheapest split by surface times blocks; axis -1 where none is found."""
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
    costs, side = np.empty(_BINS, records.dtype), np.empty(8, records.dtype)
    for axis in range(3):
        if scale[axis] == 0:
            continue
        for sweep in range(2):  # right sides, then left sides, of a split before bin k
            box, count = splat(infinity), 0
            for step in range(1, bins):
                k = bins - step if sweep == 0 else step
                added = axis * bins + (k if sweep == 0 else k - 1)
                box = minimum(box, load(bin_boxes, 8 * added))
                count += bin_counts[added]
                store(side, 0, box)
                cost = _half_surface(side, 0) * ((count + LEAF - 1) // LEAF) if count > 0 else infinity
                costs[k] = cost if sweep == 0 else costs[k] + cost
        for k in range(1, bins):
            if costs[k] < best_cost:
                best_axis, best_bin, best_cost = axis, k, costs[k]
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
def build_subtrees(first, last, tasks, smallest, rest, records, items, node_boxes, node_right, node_range):
    """Subtrees of the tasks [first, last), rows of begin, end, base, depth; sorts records and items by leaf.

    Ranges of at most `smallest` items, unless these are a leaf, are written to `rest` as tasks for later. Returns how many.
    """
    dtype = records.dtype
    low, high, scale = np.empty(3, dtype), np.empty(3, dtype), np.empty(3, dtype)
    bin_boxes, bin_counts = np.empty(24 * _BINS, dtype), np.empty(3 * _BINS, np.int32)
    stack = np.empty((2 * 64 + 2 * _DEEPEST, 4), np.int64)
    left_out = 0
    for task in range(first, last):
        for column in range(4):
            stack[0, column] = tasks[task, column]
        top = 1
        while top > 0:
            top -= 1
            begin, end, base, depth = stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3]
            count = end - begin
            if LEAF < count <= smallest:
                for column in range(4):
                    rest[left_out, column] = stack[top, column]
                left_out += 1
                continue
            _measure(records, begin, end, node_boxes, base, low, high)
            node_range[base, 0] = begin
            node_range[base, 1] = end
            node_right[base] = -1
            if count <= LEAF:
                continue
            middle = begin
            if depth < _DEEPEST:
                bins = min(_BINS, 4 + count // 16)
                axis, first_right = _best_split(records, begin, end, bins, low, high, scale, bin_boxes, bin_counts)
                if axis >= 0:
                    middle = np.int64(_partition(records, items, begin, end, axis, low[axis], scale[axis], bins, first_right))
            if middle <= begin or middle >= end:
                middle = begin + count // 2
            right = base + 2 * (middle - begin)
            node_right[base] = right
            stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3] = middle, end, right, depth + 1
            stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2], stack[top + 1, 3] = begin, middle, base + 1, depth + 1
            top += 2
    return left_out


@kernel
def plan_collapse(node_boxes, node_right, costs, shares):
    """For every node of binary trees, how m slots of a wide node are best shared by its children, m = 1 ... 8.

    The cost of a wide tree is the surface of its nodes; leaves are the same in all.

    Args:
        node_right: -1 for a leaf, -2 for no node.
        costs: [8 N] the least cost of a subtree in at most m slots, to be written.
        shares: int8 [8 N] slots for the left child, to be written; 0 where one slot less does as well. A subtree in one slot is a node of
            its own, whose eight are shared as said there.
    """
    for node in range(len(node_right) - 1, -1, -1):
        right = np.int64(node_right[node])
        if right < 0:
            for m in range(8 if right == -1 else 0):
                costs[8 * node + m] = 0
                shares[8 * node + m] = 0
            continue
        a, b, start = 8 * node + 8, 8 * right, 8 * node
        for m in range(1, 8):
            cost, share = node_boxes.dtype.type(np.inf), (m + 1) // 2  # also where surfaces are infinite
            for k in range(m):
                both = costs[a + k] + costs[b + m - 1 - k]
                if both < cost:
                    cost, share = both, k + 1
            costs[start + m] = cost
            shares[start + m] = share
        costs[start] = costs[start + 7] + _half_surface(node_boxes, start)
        shares[start] = shares[start + 7]
        for m in range(1, 8):
            if costs[start + m - 1] < costs[start + m]:
                costs[start + m] = costs[start + m - 1]
                shares[start + m] = 0


@kernel
def collapse(starts, node_right, node_range, shares, children, block_range, roots, totals):
    """The wide trees of binary trees that start at the nodes `starts` (-1: empty), as planned. Totals: nodes, blocks, greatest depth.

    Args:
        children: filled with -1.
        block_range: the records of each block, to be written.
    """
    nodes, blocks, deepest = 0, 0, 0
    used = np.zeros(len(children), np.int8)
    stack = np.empty((2 * (64 + _DEEPEST), 4), np.int64)  # binary node, slots it may take, of which wide node, its depth
    for tree in range(len(starts)):
        roots[tree] = -1
        if starts[tree] < 0:
            continue
        roots[tree] = nodes
        stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = starts[tree], 1, -1, 0
        if node_right[starts[tree]] < 0:  # a leaf needs a node above it
            stack[0, 2], stack[0, 3] = nodes, 1
            nodes += 1
        top = 1
        while top > 0:
            top -= 1
            binary, slots, wide, depth = stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3]
            while slots > 1 and shares[8 * binary + slots - 1] == 0:
                slots -= 1
            share = shares[8 * binary + slots - 1]
            if slots == 1:
                is_leaf = node_right[binary] < 0
                if wide >= 0:
                    children[wide, used[wide]] = -2 - blocks if is_leaf else nodes
                    used[wide] += 1
                if is_leaf:
                    block_range[blocks, 0], block_range[blocks, 1] = node_range[binary, 0], node_range[binary, 1]
                    blocks += 1
                    deepest = max(deepest, depth)
                    continue
                wide, slots, depth = nodes, 8, depth + 1
                nodes += 1
            stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3] = node_right[binary], slots - share, wide, depth
            stack[top + 1, 0], stack[top + 1, 1], stack[top + 1, 2], stack[top + 1, 3] = binary + 1, share, wide, depth
            top += 2
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
    infinity = boxes.dtype.type(np.inf)
    for node in range(len(children) - 1, -1, -1):
        for k in range(8):
            child = np.int64(children[node, k])
            for axis in range(3):
                low, high = infinity, -infinity
                if child < -1:
                    low, high = block_boxes[-2 - child, axis], block_boxes[-2 - child, 3 + axis]
                elif child >= 0:
                    lows, highs = load(boxes, 48 * child + 8 * axis), load(boxes, 48 * child + 24 + 8 * axis)
                    low, high = least(lows), -least(splat_like(0, highs) - highs)
                boxes[48 * node + 8 * axis + k] = low
                boxes[48 * node + 24 + 8 * axis + k] = high
