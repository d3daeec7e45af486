"""All points within a radius of each query."""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .packets import fill, mark_hits, next_leaf, packet_box, pick_close, start_walk
from .point_tree import LEAF, NO_POINT, STACK, cloud_of


@kernel(fastmath=False)
def set_limits(limits, limit_ids, query_ids, squared_radius):
    """Every lane takes what lies within the radius, that included; padding takes nothing."""
    for lane in range(LEAF):
        limits[lane] = squared_radius if query_ids[lane] != NO_POINT else -1
        limit_ids[lane] = NO_POINT


@kernel(fastmath=False)
def count_close(lanes, points, ids, limits, counts):
    """Add to each lane how many points of a leaf are within its limit."""
    for item in range(LEAF):
        x, y, z = points[0, item], points[1, item], points[2, item]
        real = np.int32(ids[item] != NO_POINT)
        for lane in range(LEAF):
            dx, dy, dz = lanes[0, lane] - x, lanes[1, lane] - y, lanes[2, lane] - z
            counts[lane] += real & np.int32(dx * dx + dy * dy + dz * dz <= limits[lane])


@kernel(fastmath=False)
def radius_count_range(
    begin, end, queries, query_ids, query_leaf_offsets, points, ids, boxes, low_ids, leaf_offsets, squared_radius, counts
):
    """How many points are within the radius of each query of packets [begin, end)."""
    limits, limit_ids, lane_counts = np.empty(LEAF, queries.dtype), np.empty(LEAF, np.int32), np.empty(LEAF, np.int32)
    packet, stack, gaps = np.empty(6, queries.dtype), np.empty((STACK, 3), np.int32), np.empty(STACK, queries.dtype)
    cloud = cloud_of(query_leaf_offsets, begin)
    for group in range(begin, end):
        while group >= query_leaf_offsets[cloud + 1]:
            cloud += 1
        lanes = queries[group]
        set_limits(limits, limit_ids, query_ids[group], squared_radius)
        fill(lane_counts, 0)
        packet_box(lanes, packet)
        top = start_walk(stack, gaps, leaf_offsets, cloud)
        leaf, top = next_leaf(stack, gaps, top, squared_radius, packet, lanes, limits, limit_ids, boxes, low_ids, False)
        while leaf >= 0:
            count_close(lanes, points[leaf], ids[leaf], limits, lane_counts)
            leaf, top = next_leaf(stack, gaps, top, squared_radius, packet, lanes, limits, limit_ids, boxes, low_ids, False)
        for lane in range(LEAF):
            if query_ids[group, lane] != NO_POINT:
                counts[query_ids[group, lane]] = lane_counts[lane]


@kernel(fastmath=False)
def store_close(lanes, query_ids, points, ids, limits, marks, distances, items, place, squared_distance, index, owner):
    """Append the points of a leaf that are within a lane's limit at the lane's place."""
    mark_hits(lanes, limits, points, marks)
    for lane in range(LEAF):
        if marks[lane] == 0:
            continue
        count = pick_close(lanes[0, lane], lanes[1, lane], lanes[2, lane], limits[lane], points, distances, items)
        for i in range(count):
            item = items[i]
            if ids[item] != NO_POINT:
                squared_distance[place[lane]] = distances[item]
                index[place[lane]] = ids[item]
                owner[place[lane]] = query_ids[lane]
                place[lane] += 1


@kernel(fastmath=False)
def radius_fill_range(
    begin,
    end,
    queries,
    query_ids,
    query_leaf_offsets,
    points,
    ids,
    boxes,
    low_ids,
    leaf_offsets,
    squared_radius,
    offsets,
    squared_distance,
    index,
    owner,
):
    """The points within the radius of each query of packets [begin, end), at the places that `offsets` from radius_count_range give."""
    limits, limit_ids, place = np.empty(LEAF, queries.dtype), np.empty(LEAF, np.int32), np.empty(LEAF, np.int64)
    marks, distances, items = np.empty(LEAF, np.int32), np.empty(LEAF, queries.dtype), np.empty(LEAF + 1, np.int32)
    packet, stack, gaps = np.empty(6, queries.dtype), np.empty((STACK, 3), np.int32), np.empty(STACK, queries.dtype)
    cloud = cloud_of(query_leaf_offsets, begin)
    for group in range(begin, end):
        while group >= query_leaf_offsets[cloud + 1]:
            cloud += 1
        lanes = queries[group]
        set_limits(limits, limit_ids, query_ids[group], squared_radius)
        for lane in range(LEAF):
            place[lane] = offsets[query_ids[group, lane]] if query_ids[group, lane] != NO_POINT else 0
        packet_box(lanes, packet)
        top = start_walk(stack, gaps, leaf_offsets, cloud)
        leaf, top = next_leaf(stack, gaps, top, squared_radius, packet, lanes, limits, limit_ids, boxes, low_ids, False)
        while leaf >= 0:
            store_close(
                lanes, query_ids[group], points[leaf], ids[leaf], limits, marks, distances, items, place, squared_distance, index, owner
            )
            leaf, top = next_leaf(stack, gaps, top, squared_radius, packet, lanes, limits, limit_ids, boxes, low_ids, False)


@kernel(fastmath=False)
def insert_by_id(found, found_ids, distance, candidate):
    """Put a candidate into a list sorted by id, whose last entry drops out."""
    place = len(found) - 1
    while place > 0 and found_ids[place - 1] > candidate:
        found[place] = found[place - 1]
        found_ids[place] = found_ids[place - 1]
        place -= 1
    found[place] = distance
    found_ids[place] = candidate


@kernel(fastmath=False)
def scan_lowest(lanes, points, ids, limits, marks, distances, items, found, found_ids):
    """Offer the points of a leaf that are within a lane's limit to the lane's list of lowest ids."""
    last = found.shape[1] - 1
    mark_hits(lanes, limits, points, marks)
    for lane in range(LEAF):
        if marks[lane] == 0:
            continue
        count = pick_close(lanes[0, lane], lanes[1, lane], lanes[2, lane], limits[lane], points, distances, items)
        for i in range(count):
            if ids[items[i]] < found_ids[lane, last]:
                insert_by_id(found[lane], found_ids[lane], distances[items[i]], ids[items[i]])


@kernel(fastmath=False)
def ball_range(
    begin,
    end,
    queries,
    query_ids,
    query_leaf_offsets,
    points,
    ids,
    boxes,
    low_ids,
    leaf_offsets,
    squared_radius,
    squared_distance,
    index,
):
    """The first points by id within the radius of each query of packets [begin, end); where there are fewer, 0 and -1."""
    k = index.shape[1]
    found, found_ids = np.empty((LEAF, k), queries.dtype), np.empty((LEAF, k), np.int32)
    limits, limit_ids = np.empty(LEAF, queries.dtype), np.empty(LEAF, np.int32)
    marks, distances, items = np.empty(LEAF, np.int32), np.empty(LEAF, queries.dtype), np.empty(LEAF + 1, np.int32)
    packet, stack, gaps = np.empty(6, queries.dtype), np.empty((STACK, 3), np.int32), np.empty(STACK, queries.dtype)
    cloud = cloud_of(query_leaf_offsets, begin)
    for group in range(begin, end):
        while group >= query_leaf_offsets[cloud + 1]:
            cloud += 1
        lanes = queries[group]
        set_limits(limits, limit_ids, query_ids[group], squared_radius)
        for lane in range(LEAF):
            fill(found_ids[lane], NO_POINT)
        packet_box(lanes, packet)
        top = start_walk(stack, gaps, leaf_offsets, cloud)
        leaf, top = next_leaf(stack, gaps, top, squared_radius, packet, lanes, limits, limit_ids, boxes, low_ids, False)
        while leaf >= 0:
            scan_lowest(lanes, points[leaf], ids[leaf], limits, marks, distances, items, found, found_ids)
            leaf, top = next_leaf(stack, gaps, top, squared_radius, packet, lanes, limits, limit_ids, boxes, low_ids, False)
        for lane in range(LEAF):
            query = query_ids[group, lane]
            if query != NO_POINT:
                for i in range(k):
                    real = found_ids[lane, i] != NO_POINT
                    squared_distance[query, i] = found[lane, i] if real else 0
                    index[query, i] = found_ids[lane, i] if real else -1
