"""Pairs of triangles of one mesh that intersect: leaves of the tree against the tree, then exact signs."""

from __future__ import annotations

import numpy as np

from .bands import greater, lesser
from .jit import kernel
from .orientation_sign import area_sign, volume_sign
from .simd import bits, element, first_bit, load, maximum, minimum, splat


@kernel
def _load_triangle(blocks, block, k, points, row):
    for corner in range(3):
        for axis in range(3):
            points[row + corner, axis] = element(blocks, 72 * block + 8 * (3 * corner + axis) + k)


@kernel
def _same(points, i, j):
    return points[i, 0] == points[j, 0] and points[i, 1] == points[j, 1] and points[i, 2] == points[j, 2]


@kernel(fastmath=False)
def _flat_axes(points, row):
    """The two axes on which the triangle at `row` appears largest, and whether it has any area."""
    best, drop = 0.0, 0
    for axis in range(3):
        x, y = (axis + 1) % 3, (axis + 2) % 3
        u = (points[row + 1, x] - points[row, x]) * (points[row + 2, y] - points[row, y])
        v = (points[row + 1, y] - points[row, y]) * (points[row + 2, x] - points[row, x])
        if abs(u - v) > best:
            best, drop = abs(u - v), axis
    return (drop + 1) % 3, (drop + 2) % 3, best > 0


@kernel
def _within(points, p, a, b, axis):
    start, at, end = points[a, axis], points[p, axis], points[b, axis]
    return (start <= at <= end) or (end <= at <= start)


@kernel
def _edges_cross(points, p, q, r, s, x, y):
    """Whether the segments pq and rs, seen on the axes x and y, share a point."""
    product, crossing = 1, True
    for n in range(4):  # r and s against pq, then p and q against rs
        a, b = (p, q) if n < 2 else (r, s)
        c = (r if n == 0 else s) if n < 2 else (p if n == 2 else q)
        sign = area_sign(points, a, b, c, x, y)
        if sign == 0 and _within(points, c, a, b, x) and _within(points, c, a, b, y):
            return True
        if n % 2 == 1:
            crossing &= sign * product < 0
        product = sign
    return crossing


@kernel
def _corner_inside(points, p, row, x, y):
    """Whether p, seen on the axes x and y, lies in the triangle at `row` or on its border."""
    left, right = False, False
    for k in range(3):
        sign = area_sign(points, row + k, row + (k + 1) % 3, p, x, y)
        left |= sign > 0
        right |= sign < 0
    return not (left and right)


@kernel
def _meets_in_plane(points, p, q, row):
    """Whether the segment pq, which lies in the plane of the triangle at `row`, shares a point with it."""
    x, y, _ = _flat_axes(points, row)
    for k in range(3):
        if _edges_cross(points, p, q, row + k, row + (k + 1) % 3, x, y):
            return True
    return _corner_inside(points, p, row, x, y)


@kernel
def _meets_through_plane(points, p, q, row):
    """Whether the segment pq, which crosses or touches the plane of the triangle at `row`, shares a point with it."""
    left, right = False, False
    for k in range(3):
        sign = volume_sign(points, p, q, row + k, row + (k + 1) % 3)
        left |= sign > 0
        right |= sign < 0
    return not (left and right)


@kernel
def _folded_flat(points, signs, lone_first, lone_second):
    """Whether triangles that share an edge, with the other corners given, lie on each other."""
    if signs[lone_second] != 0:
        return False
    x, y, _ = _flat_axes(points, 0)
    product = 1
    for n in range(2):
        lone = lone_first if n == 0 else lone_second
        product *= area_sign(points, (lone_first + 1) % 3, (lone_first + 2) % 3, lone, x, y)
    return product > 0


@kernel
def triangles_intersect(points, signs):
    """Whether the triangles of rows 0 to 2 and 3 to 5 share more than the corners, or the edge, that they have in common.

    `signs` is space for six integers.
    """
    shared, first, second, lone_first, lone_second = 0, 0, 3, 3, 12
    for i in range(3):
        for j in range(3, 6):
            if _same(points, i, j):
                shared += 1
                first, second, lone_first, lone_second = i, j, lone_first - i, lone_second - j
    for row in range(0, 6, 3):
        if not _flat_axes(points, row)[2]:
            return False
    if shared >= 3:
        return True
    for side in range(2):  # of each corner against the plane of the other triangle
        before, behind = True, True
        for k in range(3):
            sign = volume_sign(points, 3 - 3 * side, 4 - 3 * side, 5 - 3 * side, 3 * side + k)
            signs[3 * side + k] = sign
            if shared == 0 or k != (first if side == 0 else second - 3):
                before &= sign > 0
                behind &= sign < 0
        if shared < 2 and (before or behind):
            return False
    if shared == 2:
        return _folded_flat(points, signs, lone_first, lone_second)
    for k in range(3):
        for side in range(2):
            p, q, row = 3 * side + k, 3 * side + (k + 1) % 3, 3 - 3 * side
            touches = shared == 1 and (p in (first, second) or q in (first, second))
            if touches or signs[p] * signs[q] > 0:  # edges at the shared corner meet there only
                continue
            if signs[p] == 0 and signs[q] == 0:
                if _meets_in_plane(points, p, q, row):
                    return True
            elif _meets_through_plane(points, p, q, row):
                return True
    return False


@kernel
def _lane_boxes(blocks, start):
    """Boxes of the eight triangles at `start`."""
    ax, ay, az = load(blocks, start), load(blocks, start + 8), load(blocks, start + 16)
    bx, by, bz = load(blocks, start + 24), load(blocks, start + 32), load(blocks, start + 40)
    cx, cy, cz = load(blocks, start + 48), load(blocks, start + 56), load(blocks, start + 64)
    low = minimum(minimum(ax, bx), cx), minimum(minimum(ay, by), cy), minimum(minimum(az, bz), cz)
    high = maximum(maximum(ax, bx), cx), maximum(maximum(ay, by), cy), maximum(maximum(az, bz), cz)
    return low, high


@kernel
def _overlaps(low, high, box):
    """Bits of the lanes whose boxes share a point with box [6]."""
    x = (low[0] <= splat(box[3])) & (high[0] >= splat(box[0]))
    y = (low[1] <= splat(box[4])) & (high[1] >= splat(box[1]))
    z = (low[2] <= splat(box[5])) & (high[2] >= splat(box[2]))
    return bits(x & y & z)


@kernel
def _triangle_box(blocks, block, k, box):
    for axis in range(3):
        start = 72 * block + 8 * axis + k
        a, b, c = element(blocks, start), element(blocks, start + 24), element(blocks, start + 48)
        box[axis] = lesser(a, lesser(b, c))
        box[3 + axis] = greater(a, greater(b, c))


@kernel
def _test_blocks(blocks, block_items, block, other, box, points, signs, found, count):
    """Append the intersecting pairs of two blocks (or of one with itself), the lower face first. Returns the pairs and their count."""
    low, high = _lane_boxes(blocks, 72 * other)
    for k in range(8):
        if block_items[block, k] < 0:
            continue
        _triangle_box(blocks, block, k, box)
        near = _overlaps(low, high, box)
        while near != 0:
            j = first_bit(near)
            near &= near - 1
            if other == block and j <= k:
                continue
            _load_triangle(blocks, block, k, points, 0)
            _load_triangle(blocks, other, j, points, 3)
            if triangles_intersect(points, signs):
                if count == len(found):
                    larger = np.empty((2 * count, 2), np.int64)
                    for n in range(count):
                        larger[n, 0], larger[n, 1] = found[n, 0], found[n, 1]
                    found = larger
                a, b = block_items[block, k], block_items[other, j]
                found[count, 0], found[count, 1] = (a, b) if a < b else (b, a)
                count += 1
    return found, count


@kernel
def self_pairs(begin, end, trees, roots, boxes, children, blocks, block_items, depth):
    """Pairs that have their first triangle in the blocks [begin, end) and their second in the same or a later block.

    `trees` has the tree of each block.

    Returns:
        int64 [more than N, 2] and the number of pairs N.
    """
    stack = np.empty(8 * depth + 8, np.int32)
    box, around, points = np.empty(6, blocks.dtype), np.empty(6, blocks.dtype), np.empty((6, 3))
    signs = np.empty(6, np.int64)
    found, count = np.empty((64, 2), np.int64), np.int64(0)
    for block in range(begin, end):
        for k in range(8):
            if block_items[block, k] >= 0:
                _triangle_box(blocks, block, k, box)
                for axis in range(3):
                    if k == 0 or box[axis] < around[axis]:
                        around[axis] = box[axis]
                    if k == 0 or box[3 + axis] > around[3 + axis]:
                        around[3 + axis] = box[3 + axis]
        stack[0] = roots[trees[block]]
        top = 1
        while top > 0:
            top -= 1
            node = np.int64(stack[top])
            if node < 0:
                other = -2 - node
                if other >= block:
                    found, count = _test_blocks(blocks, block_items, block, other, box, points, signs, found, count)
                continue
            start = 48 * node
            low = load(boxes, start), load(boxes, start + 8), load(boxes, start + 16)
            high = load(boxes, start + 24), load(boxes, start + 32), load(boxes, start + 40)
            near = _overlaps(low, high, around)
            while near != 0:
                stack[top] = children[node, first_bit(near)]
                near &= near - 1
                top += 1
    return found, count
