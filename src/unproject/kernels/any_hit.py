"""Whether anything lies on each ray: one by one while that can be foretold, then many at once."""

from __future__ import annotations

import numpy as np

from .first_hit import first_hit_range
from .jit import kernel
from .raycast import entries_of_boxes, hits_in_block, is_ray, limit_of, push_children, ray_frame, ray_lanes
from .simd import bits, element, least, splat

_SHORT = 5  # steps of a ray that can be foretold
_LUCK = 32  # so many more rays may take longer than not


@kernel(inline="llvm")
def _hits_block(i, block, origins, directions, near, far, blocks):
    """Whether a ray hits any of the eight faces of a block."""
    x, y, z, sx, sy, sz = ray_frame(directions[i, 0], directions[i, 1], directions[i, 2], origins.dtype.type(1))
    frame = x, y, z, splat(sx), splat(sy), splat(sz)
    origin = splat(-origins[i, x]), splat(-origins[i, y]), splat(-origins[i, z])
    first, last = splat(max(limit_of(near, i), origins.dtype.type(0))), splat(limit_of(far, i))
    t, _, _ = hits_in_block(blocks, 72 * block, frame, origin, first, last)
    return least(t) < np.inf


@kernel(inline="llvm")
def _find_block(i, root, origins, directions, near, far, boxes, children, blocks, stack):
    """A block that a ray hits, or -1, and how many steps it took to know."""
    origin, inverse, rows, first, reach = ray_lanes(origins, directions, near, far, i)
    stack[0], top, steps = root, 1, 0
    while top > 0:
        top -= 1
        steps += 1
        node = np.int64(element(stack, top))
        if node < 0:
            if _hits_block(i, -2 - node, origins, directions, near, far, blocks):
                return -2 - node, steps
        else:
            _, inside = entries_of_boxes(boxes, 48 * node, origin, inverse, rows, first, reach)
            top = push_children(stack, top, children, node, bits(inside))
    return np.int64(-1), steps


@kernel
def any_hit_range(begin, end, origins, directions, near, far, batch, roots, boxes, children, blocks, block_items, depth, block):
    """For the rays [begin, end): a block of faces that each hits, or -1. `batch` has the tree of each ray, or is empty.

    Where rays lie side by side, as those of a camera or to a lamp, most end at the block that the one before has hit, or miss everything at
    once: a loop over them is foreseen, and nothing is faster. Once too many of a slice do not, the rest is traced side by side.
    """
    stack, nothing = np.empty(8 * depth + 8, np.int32), np.empty(0, origins.dtype)
    rays, guess, guess_tree, luck = (origins, directions, near, far), np.int64(-1), np.int64(-1), _LUCK
    for i in range(begin, end):
        tree = np.int64(batch[i]) if len(batch) > 0 else 0
        block[i] = -1
        if roots[tree] < 0 or not is_ray(origins, directions, i):
            continue
        if guess >= 0 and guess_tree == tree and _hits_block(i, guess, *rays, blocks):
            block[i] = guess
            luck = min(luck + 1, _LUCK)
            continue
        block[i], steps = _find_block(i, roots[tree], *rays, boxes, children, blocks, stack)
        if block[i] >= 0:
            guess, guess_tree = block[i], tree
        luck = min(luck + 1, _LUCK) if steps < _SHORT else luck - 1
        if luck < 0:
            tree_arrays = (boxes, children, blocks, block_items, depth)
            first_hit_range(i + 1, end, *rays, batch, roots, *tree_arrays, block, nothing, nothing)
            return
