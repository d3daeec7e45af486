"""The nearest, and the k nearest, points to each query."""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .packets import fill, largest, mark_hits, next_leaf, packet_box, pick_close, start_walk
from .point_tree import LEAF, NO_POINT, STACK, cloud_of
from .simd import WIDTH
from .sorted_list import clear_list, insert, row_length

_SHORT = 4  # lists of so few hardly change while a leaf is scanned: a branch is foreseen


@kernel(fastmath=False)
def scan_nearest(lanes, best, best_ids, points, ids, manhattan):
    """Offer each point of a leaf to all lanes."""
    for item in range(LEAF):
        x, y, z, candidate = points[0, item], points[1, item], points[2, item], ids[item]
        for lane in range(LEAF):
            dx, dy, dz = lanes[0, lane] - x, lanes[1, lane] - y, lanes[2, lane] - z
            d = abs(dx) + abs(dy) + abs(dz) if manhattan else dx * dx + dy * dy + dz * dz
            closer = (d < best[lane]) | ((d == best[lane]) & (candidate < best_ids[lane]))
            best[lane] = d if closer else best[lane]
            best_ids[lane] = candidate if closer else best_ids[lane]


@kernel(fastmath=False)
def nearest_range(
    begin, end, queries, query_ids, query_leaf_offsets, points, ids, boxes, low_ids, leaf_offsets, manhattan, distance, index
):
    """The nearest point to each query of packets [begin, end), and how far it is: squared, or in the L1 norm."""
    best, best_ids = np.empty(LEAF, queries.dtype), np.empty(LEAF, np.int32)
    packet, stack, gaps = np.empty(6, queries.dtype), np.empty((STACK, 3), np.int32), np.empty(STACK, queries.dtype)
    cloud = cloud_of(query_leaf_offsets, begin)
    for group in range(begin, end):
        while group >= query_leaf_offsets[cloud + 1]:
            cloud += 1
        lanes = queries[group]
        fill(best, np.inf)
        fill(best_ids, NO_POINT)
        packet_box(lanes, packet)
        top = start_walk(stack, gaps, leaf_offsets, cloud)
        leaf, top = next_leaf(stack, gaps, top, best[0], packet, lanes, best, best_ids, boxes, low_ids, manhattan)
        while leaf >= 0:
            scan_nearest(lanes, best, best_ids, points[leaf], ids[leaf], manhattan)
            leaf, top = next_leaf(stack, gaps, top, largest(best), packet, lanes, best, best_ids, boxes, low_ids, manhattan)
        for lane in range(LEAF):
            query = query_ids[group, lane]
            if query != NO_POINT:
                distance[query] = best[lane]
                index[query] = best_ids[lane]


@kernel(fastmath=False)
def scan_k_nearest(lanes, own_ids, points, ids, found, found_ids, k, limits, limit_ids, marks, distances, items):
    """Offer the points of a leaf to each lane's sorted list; the lanes' limits become their k-th entries."""
    length = row_length(k)
    mark_hits(lanes, limits, points, marks)
    for lane in range(LEAF):
        if marks[lane] == 0:
            continue
        last = length * lane + WIDTH + k - 1
        count = pick_close(lanes[0, lane], lanes[1, lane], lanes[2, lane], limits[lane], points, distances, items)
        for i in range(count):
            distance, candidate = distances[items[i]], ids[items[i]]
            if candidate == NO_POINT or candidate == own_ids[lane]:
                continue
            if k > _SHORT or distance <= found[last]:
                insert(found, found_ids, length * lane, length, distance, candidate)
        limits[lane], limit_ids[lane] = found[last], found_ids[last]


@kernel(fastmath=False)
def k_nearest_range(
    begin, end, queries, query_ids, query_leaf_offsets, points, ids, boxes, low_ids, leaf_offsets, exclude_same, squared_distance, index
):
    """The nearest points to each query of packets [begin, end), as many as `index` [Q, K] has room for, in order."""
    k = index.shape[1]
    length = row_length(k)
    found, found_ids = np.empty(LEAF * length, queries.dtype), np.empty(LEAF * length, np.int32)
    limits, limit_ids, own_ids = np.empty(LEAF, queries.dtype), np.empty(LEAF, np.int32), np.empty(LEAF, np.int32)
    marks, distances, items = np.empty(LEAF, np.int32), np.empty(LEAF, queries.dtype), np.empty(LEAF + 1, np.int32)
    packet, stack, gaps = np.empty(6, queries.dtype), np.empty((STACK, 3), np.int32), np.empty(STACK, queries.dtype)
    cloud = cloud_of(query_leaf_offsets, begin)
    for group in range(begin, end):
        while group >= query_leaf_offsets[cloud + 1]:
            cloud += 1
        lanes = queries[group]
        fill(limit_ids, NO_POINT)
        for lane in range(LEAF):
            clear_list(found, found_ids, length * lane, length, NO_POINT)
            limits[lane] = np.inf if query_ids[group, lane] != NO_POINT else -1
            own_ids[lane] = query_ids[group, lane] if exclude_same else -1
        packet_box(lanes, packet)
        top = start_walk(stack, gaps, leaf_offsets, cloud)
        leaf, top = next_leaf(stack, gaps, top, largest(limits), packet, lanes, limits, limit_ids, boxes, low_ids, False)
        while leaf >= 0:
            scan_k_nearest(lanes, own_ids, points[leaf], ids[leaf], found, found_ids, k, limits, limit_ids, marks, distances, items)
            leaf, top = next_leaf(stack, gaps, top, largest(limits), packet, lanes, limits, limit_ids, boxes, low_ids, False)
        for lane in range(LEAF):
            query = query_ids[group, lane]
            if query != NO_POINT:
                for i in range(k):
                    squared_distance[query, i] = found[length * lane + WIDTH + i]
                    index[query, i] = found_ids[length * lane + WIDTH + i]
