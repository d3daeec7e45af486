"""Whether anything lies on each ray: one by one while that can be foretold, then many at once."""

from __future__ import annotations

import numpy as np

from .first_hit import first_hit_range
from .jit import kernel
from .raycast import entries_of_boxes, hits_in_block, is_ray, ray_lanes
from .simd import bits, element, first_bit, least, set_element

_SHORT = 5  # steps of a ray that can be foretold
_LUCK = 32  # so many more rays may take longer than not


@kernel
def any_hit_range(begin, end, origins, directions, near, far, batch, roots, boxes, children, blocks, block_items, depth, block):
    """For the rays [begin, end): a block of faces that each hits, or -1. `batch` has the tree of each ray, or is empty.

    Where rays lie side by side, as those of a camera or to a lamp, most end at the block that the one before has hit, or miss everything at
    once: a loop over them is foreseen, and nothing is faster. Once too many of a slice do not, the rest is traced side by side.
    """
    dtype = origins.dtype
    stack, nothing = np.empty(8 * depth + 9, np.int32), np.empty(0, dtype)
    guess, guess_tree, luck = np.int64(-1), np.int64(-1), _LUCK
    for i in range(begin, end):
        tree = np.int64(batch[i]) if len(batch) > 0 else 0
        block[i] = -1
        if roots[tree] < 0 or not is_ray(origins, directions, i):
            continue
        top, steps = 1, 0
        stack[0] = roots[tree]
        if guess >= 0 and guess_tree == tree:
            stack[1], top = -2 - guess, 2
        frame, permuted, origin, inverse, rows, first, limit, reach = ray_lanes(origins, directions, near, far, i)
        while top > 0:
            top -= 1
            steps += 1
            node = np.int64(element(stack, top))
            if node < 0:
                t, _, _ = hits_in_block(blocks, 72 * (-2 - node), frame, permuted, first, limit)
                if least(t) < np.inf:
                    guess, guess_tree = -2 - node, tree
                    block[i] = guess
                    break
            else:
                _, inside = entries_of_boxes(boxes, 48 * node, origin, inverse, rows, first, reach)
                met = bits(inside)
                while met != 0:
                    set_element(stack, top, element(children, 8 * node + first_bit(met)))
                    met &= met - 1
                    top += 1
        luck = min(luck + 1, _LUCK) if steps <= _SHORT else luck - 1
        if luck < 0:
            first_hit_range(
                i + 1,
                end,
                origins,
                directions,
                near,
                far,
                batch,
                roots,
                boxes,
                children,
                blocks,
                block_items,
                depth,
                block,
                nothing,
                nothing,
            )
            return
