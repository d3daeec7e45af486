"""The nearest, and the k nearest, points to each query by comparing all: for so few points that trees would take longer to build.

Targets lie in blocks of BLOCK, x, y and z after each other; a cloud's last block is padded with infinity, which is never near.
They keep their order, so that of equal distances the one met first has the lower id. No fast-math: distances are those of the trees and of
the reference to the last bit.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .point_tree import NO_POINT, cloud_of
from .simd import WIDTH, bits, first_bit, lane, least, load, maximum, minimum, select, splat, splat_like, store
from .sorted_list import clear_list, insert, row_length

BLOCK = 2 * WIDTH


@kernel(fastmath=False)
def load_blocks(points, offsets, block_offsets, blocks):
    """Write the blocks of packed clouds `points` [N, 3], and where those of each cloud begin."""
    block_offsets[0] = 0
    for cloud in range(len(offsets) - 1):
        block_offsets[cloud + 1] = block_offsets[cloud] + (offsets[cloud + 1] - offsets[cloud] + BLOCK - 1) // BLOCK
        for block in range(block_offsets[cloud], block_offsets[cloud + 1]):
            first = offsets[cloud] + (block - block_offsets[cloud]) * BLOCK
            count = min(BLOCK, offsets[cloud + 1] - first)
            for axis in range(3):
                for k in range(BLOCK):
                    blocks[3 * BLOCK * block + BLOCK * axis + k] = points[first + k, axis] if k < count else np.inf


@kernel(fastmath=False, inline="llvm")
def _distances(blocks, start, x, y, z, manhattan):
    """Of eight points from a query: squared, or in the L1 norm."""
    dx, dy, dz = load(blocks, start) - x, load(blocks, start + BLOCK) - y, load(blocks, start + 2 * BLOCK) - z
    if manhattan:
        zero = splat_like(0, x)
        return maximum(dx, zero - dx) + maximum(dy, zero - dy) + maximum(dz, zero - dz)
    return dx * dx + dy * dy + dz * dz


@kernel(fastmath=False)
def nearest_of_all_range(begin, end, queries, query_offsets, blocks, block_offsets, offsets, manhattan, distance, index):
    """The nearest point to each of the queries [begin, end), and how far it is: squared, or in the L1 norm."""
    cloud = cloud_of(query_offsets, begin)
    for query in range(begin, end):
        while query >= query_offsets[cloud + 1]:
            cloud += 1
        x, y, z = splat(queries[query, 0]), splat(queries[query, 1]), splat(queries[query, 2])
        even, odd = splat_like(np.inf, x), splat_like(np.inf, x)  # of the first and the second half of blocks: two chains that do not wait
        even_at, odd_at = splat(np.int32(0)), splat(np.int32(0))  # the blocks that these are from
        for block in range(block_offsets[cloud], block_offsets[cloud + 1]):
            start = 3 * BLOCK * block
            place = splat(np.int32(block - block_offsets[cloud]))
            d, e = _distances(blocks, start, x, y, z, manhattan), _distances(blocks, start + WIDTH, x, y, z, manhattan)
            even_at, odd_at = select(d < even, place, even_at), select(e < odd, place, odd_at)
            even, odd = select(d < even, d, even), select(e < odd, e, odd)
        best, found = lane(even, 0), BLOCK * np.int64(lane(even_at, 0))
        for k in range(1, BLOCK):
            half = k // WIDTH
            d = lane(odd, k - WIDTH) if half else lane(even, k)
            candidate = BLOCK * np.int64(lane(odd_at, k - WIDTH) if half else lane(even_at, k)) + k
            if d < best or (d == best and candidate < found):
                best, found = d, candidate
        distance[query] = best
        index[query] = offsets[cloud] + found


@kernel(fastmath=False)
def _of_rank(values, rank):
    """The value of that rank in order of size, from 1."""
    infinity = values.dtype.type(np.inf)
    found, one, zero = splat(infinity), splat(values.dtype.type(1)), splat(values.dtype.type(0))
    for start in range(0, len(values), WIDTH):
        candidates, not_above = load(values, start), zero
        for i in range(len(values)):
            not_above = not_above + select(splat(values[i]) <= candidates, one, zero)
        found = select(not_above >= splat_like(rank, one), minimum(candidates, found), found)
    return least(found)


@kernel(fastmath=False)
def _least_distances(x, y, z, blocks, distances, parts):
    """Distances from a query to all points, and the least of each class: a class is a place of the blocks of one part of the cloud."""
    count = len(distances) // BLOCK
    for part in range(len(parts) // BLOCK):
        even, odd = splat_like(np.inf, x), splat_like(np.inf, x)
        for block in range(BLOCK * part * count // len(parts), BLOCK * (part + 1) * count // len(parts)):
            start = 3 * BLOCK * block
            d, e = _distances(blocks, start, x, y, z, False), _distances(blocks, start + WIDTH, x, y, z, False)
            store(distances, BLOCK * block, d)
            store(distances, BLOCK * block + WIDTH, e)
            even, odd = minimum(d, even), minimum(e, odd)
        store(parts, BLOCK * part, even)
        store(parts, BLOCK * part + WIDTH, odd)


@kernel(fastmath=False)
def k_nearest_of_all_range(begin, end, queries, query_offsets, blocks, block_offsets, offsets, exclude_same, squared_distance, index):
    """The nearest points to each of the queries [begin, end), as many as `index` [Q, K] has room for, in order.

    The points fall into classes, at least twice as many as are asked for. The k-th of the classes' least distances is a bound for the k
    nearest that few others keep.
    """
    k = index.shape[1]
    length, rank = row_length(k), k + (1 if exclude_same else 0)
    found, ids = np.empty(length, queries.dtype), np.empty(length, np.int32)
    parts = np.empty(BLOCK * ((2 * rank + BLOCK - 1) // BLOCK), queries.dtype)
    room = np.empty(_largest_cloud(block_offsets) * BLOCK, queries.dtype)
    cloud = cloud_of(query_offsets, begin)
    for query in range(begin, end):
        while query >= query_offsets[cloud + 1]:
            cloud += 1
        x, y, z = splat(queries[query, 0]), splat(queries[query, 1]), splat(queries[query, 2])
        distances = room[: BLOCK * (block_offsets[cloud + 1] - block_offsets[cloud])]
        _least_distances(x, y, z, blocks[3 * BLOCK * block_offsets[cloud] :], distances, parts)
        bound, same = splat(_of_rank(parts, rank)), query - offsets[cloud] if exclude_same else -1
        clear_list(found, ids, 0, length, NO_POINT)
        for item in range(0, len(distances), BLOCK):
            close = bits(load(distances, item) <= bound) + (bits(load(distances, item + WIDTH) <= bound) << WIDTH)
            while close != 0:
                candidate = item + first_bit(close)
                close &= close - 1
                if candidate != same and distances[candidate] < np.inf:
                    insert(found, ids, 0, length, distances[candidate], np.int32(offsets[cloud] + candidate))
        for i in range(k):
            squared_distance[query, i], index[query, i] = found[WIDTH + i], ids[WIDTH + i]


@kernel
def _largest_cloud(offsets):
    largest = 0
    for cloud in range(len(offsets) - 1):
        largest = max(largest, offsets[cloud + 1] - offsets[cloud])
    return largest
