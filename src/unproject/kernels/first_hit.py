"""First face on each ray, with many rays under way at once.

What a ray does next cannot be foretold, and a processor that guesses wrong throws its work away: rays followed one by one spend almost half
of their time so. Here every ray under way does one step a round, and a loop without branches does the same step for all rays that need it:
choose what comes next, test the eight boxes of a node, or the eight triangles of a leaf. Such steps do not wait for each other, so that
their arithmetic overlaps, and what they fetch.

A ray under way has a slot: 16 numbers, 16 words and a stack of rows, one for each level of the tree, with the keys (`lane_keys`) of the
children that wait there and which these are. The lowest row is a guard: one child, which is always near enough, and ends the ray.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .lane_keys import keys_of, lane_of, last_key
from .raycast import box_margin, entries_of_boxes, hits_in_block, is_ray, limit_of
from .simd import bits, element, first_bit, least, load, set_element, splat, store

_SLOTS = 64
_INVERSE, _WIDER, _SHEAR, _NEAR, _BEST, _REACH = 3, 6, 9, 12, 13, 14  # numbers, after minus the origin; reach is best times box_margin
_AXES, _RAY, _CHILD, _LEVEL, _ITEM = 6, 9, 10, 11, 12  # words, after rows of boxes; that after the item is what it was worse than
_END = -(1 << 31)  # the child of a guard
_DONE, _BLOCKS = 2, 3  # queues, and 0 for nodes: the upper two bits of a child. The other four take rays that have nothing to do


def _make_rows():
    """For each z axis of the sheared frame and each octant: rows of boxes that rays meet first, and last; axes x, y, z."""
    table = np.full((3, 8, 16), -1, np.int32)
    for z_axis in range(3):
        for octant in range(8):
            for axis in range(3):
                forward = octant >> axis & 1
                table[z_axis, octant, axis] = 8 * axis + (0 if forward else 24)
                table[z_axis, octant, 3 + axis] = 8 * axis + (24 if forward else 0)
                table[z_axis, octant, _AXES + axis] = (z_axis + 1 + axis) % 3
    return table.reshape(-1)


_ROWS = _make_rows()


@kernel(inline="llvm")
def _word(words, place):
    return np.int64(element(words, place))


@kernel(inline="llvm", fastmath=False)
def _put_ray(numbers, words, slot, origins, directions, i, near, far):
    """What both tests need of a ray."""
    dtype = origins.dtype
    one, wider, farthest = dtype.type(1), box_margin(origins), dtype.type(0.99 * np.finfo(dtype).max)  # below the key of what does not wait
    dx, dy, dz = element(directions, 3 * i), element(directions, 3 * i + 1), element(directions, 3 * i + 2)
    x, y, z = abs(dx), abs(dy), abs(dz)
    z_axis = (2 - np.int64(y >= z)) * (1 - (np.int64(x >= y) & np.int64(x >= z)))
    ix, iy, iz = one / dx, one / dy, one / dz  # of either sign where a direction is zero
    row = 128 * z_axis + 16 * (np.int64(ix > 0) + 2 * np.int64(iy > 0) + 4 * np.int64(iz > 0))
    store(words, slot, load(_ROWS, row))
    store(words, slot + 8, load(_ROWS, row + 8))
    set_element(numbers, slot, -element(origins, 3 * i))
    set_element(numbers, slot + 1, -element(origins, 3 * i + 1))
    set_element(numbers, slot + 2, -element(origins, 3 * i + 2))
    set_element(numbers, slot + _INVERSE, ix)
    set_element(numbers, slot + _INVERSE + 1, iy)
    set_element(numbers, slot + _INVERSE + 2, iz)
    set_element(numbers, slot + _WIDER, ix * wider)
    set_element(numbers, slot + _WIDER + 1, iy * wider)
    set_element(numbers, slot + _WIDER + 2, iz * wider)
    along = element(directions, 3 * i + z_axis)
    set_element(numbers, slot + _SHEAR, element(directions, 3 * i + _word(_ROWS, row + _AXES)) / along)
    set_element(numbers, slot + _SHEAR + 1, element(directions, 3 * i + _word(_ROWS, row + _AXES + 1)) / along)
    set_element(numbers, slot + _SHEAR + 2, one / along)
    best = min(limit_of(far, i), farthest)
    set_element(numbers, slot + _NEAR, max(limit_of(near, i), dtype.type(0)))
    set_element(numbers, slot + _BEST, best)
    set_element(numbers, slot + _REACH, best * wider)


@kernel
def _choose(slots, numbers, words, keys, waiting, queues):
    """Let each ray take the nearest child from its uppermost row, and put it into a queue. Returns their lengths, a byte each."""
    lengths = np.int64(0)
    for slot in range(0, slots, 16):
        row = _word(words, slot + _LEVEL)
        candidates = load(keys, row)
        near_enough = bits(candidates <= splat(element(numbers, slot + _REACH)))
        k = lane_of(least(candidates))
        child = _word(waiting, row + k)
        set_element(keys, row + k, last_key(k, element(numbers, slot)))
        set_element(words, slot + _CHILD, child)
        set_element(words, slot + _LEVEL, row - 8 * np.int64((near_enough & (near_enough - 1)) == 0))
        queue = ((child >> 30) & 3) + 4 * np.int64(near_enough == 0)
        set_element(queues, _SLOTS * queue + ((lengths >> (8 * queue)) & 0xFF), slot)
        lengths += np.int64(1) << (8 * queue)
    return lengths


@kernel
def _finish(queues, first, last, numbers, words, kept, face, weights, distance):
    """Write what rays have hit."""
    for place in range(first, last):
        slot = _word(queues, place)
        i, item = _word(words, slot + _RAY), _word(words, slot + _ITEM)
        if i < 0:
            continue
        set_element(face, i, item)
        if len(distance) == 0:
            continue
        v, w, t = distance.dtype.type(0), distance.dtype.type(0), distance.dtype.type(np.inf)
        u = v
        if item >= 0:
            v, w, t = element(kept, slot), element(kept, slot + 2), element(numbers, slot + _BEST)
            u = 1 - v - w
        set_element(distance, i, t)
        set_element(weights, 3 * i, u)
        set_element(weights, 3 * i + 1, v)
        set_element(weights, 3 * i + 2, w)


@kernel
def _begin(queues, first, last, node_count, numbers, words, keys, stride, origins, directions, near, far, batch, roots, later, end):
    """Give slots to the rays [later, end), and put these into the queue for nodes.

    Returns the new length of that queue, the ray to begin next, and how many slots are left without one.
    """
    idle = 0
    for place in range(first, last):
        slot = _word(queues, place)
        guard = (slot >> 4) * stride
        set_element(keys, guard, -np.inf)
        set_element(words, slot + _LEVEL, guard)
        set_element(words, slot + _RAY, -1)
        if later >= end:
            idle += 1
            continue
        root = _word(roots, _word(batch, later) if len(batch) > 0 else 0)
        if root >= 0 and is_ray(origins, directions, later) and limit_of(near, later) <= limit_of(far, later):
            _put_ray(numbers, words, slot, origins, directions, later, near, far)
            set_element(words, slot + _LEVEL, guard)
            set_element(words, slot + _CHILD, root)
            set_element(queues, node_count, slot)
            node_count += 1
        set_element(words, slot + _RAY, later)
        set_element(words, slot + _ITEM, -1)
        later += 1
    return node_count, later, idle


@kernel
def _meet_boxes(queues, last, numbers, words, boxes, children, keys, waiting):
    """Put the children of a node that a ray meets into the row above."""
    for place in range(last):
        n = _word(queues, place)
        node, row = _word(words, n + _CHILD), _word(words, n + _LEVEL)
        origin = splat(element(numbers, n)), splat(element(numbers, n + 1)), splat(element(numbers, n + 2))
        ix, iy, iz = splat(element(numbers, n + 3)), splat(element(numbers, n + 4)), splat(element(numbers, n + 5))
        wx, wy, wz = splat(element(numbers, n + 6)), splat(element(numbers, n + 7)), splat(element(numbers, n + 8))
        rows = _word(words, n), _word(words, n + 1), _word(words, n + 2), _word(words, n + 3), _word(words, n + 4), _word(words, n + 5)
        near, reach = splat(element(numbers, n + _NEAR)), splat(element(numbers, n + _REACH))
        t, met = entries_of_boxes(boxes, 48 * node, origin, (ix, iy, iz, wx, wy, wz), rows, near, reach)
        store(keys, row + 8, keys_of(met, t))
        store(waiting, row + 8, load(children, 8 * node))
        set_element(words, n + _LEVEL, row + 8 * np.int64(bits(met) != 0))


@kernel
def _meet_blocks(queues, first, last, numbers, words, blocks, hits):
    """Where rays hit the triangles of a leaf: distances and weights, three rows of eight each."""
    for place in range(first, last):
        n = _word(queues, place)
        x, y, z = _word(words, n + _AXES), _word(words, n + _AXES + 1), _word(words, n + _AXES + 2)
        sx, sy, sz = splat(element(numbers, n + 9)), splat(element(numbers, n + 10)), splat(element(numbers, n + 11))
        origin = splat(element(numbers, n + x)), splat(element(numbers, n + y)), splat(element(numbers, n + z))
        near, best = splat(element(numbers, n + _NEAR)), splat(element(numbers, n + _BEST))
        t, v, w = hits_in_block(blocks, 72 * (-2 - _word(words, n + _CHILD)), (x, y, z, sx, sy, sz), origin, near, best)
        start = 24 * (place - first)
        store(hits, start, t)
        store(hits, start + 8, v)
        store(hits, start + 16, w)


@kernel
def _keep_nearest(queues, first, last, numbers, words, hits, kept, block_items):
    """Remember hits that are nearer than those before; what is worse goes to a place beside, so that there is nothing to branch for."""
    for place in range(first, last):
        slot, start = _word(queues, place), 24 * (place - first)
        t, best = load(hits, start), element(numbers, slot + _BEST)
        nearest = least(t)
        k = first_bit(bits(t == splat(nearest)))
        item = element(block_items, 8 * (-2 - _word(words, slot + _CHILD)) + k)
        is_worse = 1 - np.int64((nearest < best) | ((nearest == best) & (_word(words, slot + _ITEM) < 0)))
        best = min(nearest, best)
        set_element(numbers, slot + _BEST, best)
        set_element(numbers, slot + _REACH, best * box_margin(numbers))
        set_element(words, slot + _ITEM + is_worse, item)
        set_element(kept, slot + is_worse, element(hits, start + 8 + k))
        set_element(kept, slot + 2 + is_worse, element(hits, start + 16 + k))


@kernel
def _end_hit(queues, first, last, words, stride):
    """Let rays that have hit something go on at their guards, which end them; what they have hit is the block."""
    for place in range(first, last):
        slot = _word(queues, place)
        level, is_hit = _word(words, slot + _LEVEL), np.int64(_word(words, slot + _ITEM) >= 0)
        set_element(words, slot + _LEVEL, level + ((slot >> 4) * stride - level) * is_hit)
        set_element(words, slot + _ITEM + 1 - is_hit, -2 - _word(words, slot + _CHILD))


@kernel
def first_hit_range(
    begin, end, origins, directions, near, far, batch, roots, boxes, children, blocks, block_items, depth, face, weights, distance
):
    """For the rays [begin, end): first face hit, or -1, barycentrics, distance. `batch` has the tree of each ray, or is empty.

    Without room for distances, rays end at anything that they hit, and `face` has its block of faces.
    """
    dtype = origins.dtype
    stride, slot_count, ends_early = 8 * (depth + 1), min(_SLOTS, end - begin), len(distance) == 0
    numbers, words = np.zeros(16 * slot_count, dtype), np.full(16 * slot_count, -1, np.int32)
    keys, waiting = np.empty(stride * slot_count, dtype), np.full(stride * slot_count, _END, np.int32)
    queues, hits, kept = np.empty(8 * _SLOTS, np.int32), np.empty(24 * slot_count, dtype), np.empty(16 * slot_count, dtype)
    for slot in range(slot_count):  # all are done at first
        words[16 * slot + _LEVEL] = slot * stride
        keys[slot * stride] = -np.inf
        for k in range(1, 8):
            keys[slot * stride + k] = last_key(k, dtype.type(0))
    rays = (origins, directions, near, far, batch, roots)
    later, idle = begin, 0
    while idle < slot_count:
        lengths = _choose(16 * slot_count, numbers, words, keys, waiting, queues)
        node_count = lengths & 0xFF
        done, last_done = _DONE * _SLOTS, _DONE * _SLOTS + ((lengths >> 8 * _DONE) & 0xFF)
        leaf, last_leaf = _BLOCKS * _SLOTS, _BLOCKS * _SLOTS + ((lengths >> 8 * _BLOCKS) & 0xFF)
        _finish(queues, done, last_done, numbers, words, kept, face, weights, distance)
        node_count, later, idle = _begin(queues, done, last_done, node_count, numbers, words, keys, stride, *rays, later, end)
        _meet_boxes(queues, node_count, numbers, words, boxes, children, keys, waiting)
        _meet_blocks(queues, leaf, last_leaf, numbers, words, blocks, hits)
        _keep_nearest(queues, leaf, last_leaf, numbers, words, hits, kept, block_items)
        if ends_early:
            _end_hit(queues, leaf, last_leaf, words, stride)
