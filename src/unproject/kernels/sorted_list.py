"""Short lists of candidates sorted by (distance, id), into which one more is put without a branch: where it belongs cannot be foretold.

A list lies at a multiple of `row_length(k)` in two flat arrays, of distances and of ids: eight guards, before which nothing is put, and
then its k entries, filled up to a multiple of eight.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from .jit import kernel
from .simd import WIDTH, load, select, splat, store


@kernel
def row_length(k):
    """What a list of k entries takes."""
    return WIDTH * ((k + WIDTH - 1) // WIDTH + 1)


@kernel(fastmath=False)
def clear_list(found, ids, start, length, no_id):
    """An empty list: its entries are infinitely far, with an id that loses every tie."""
    infinity, nothing = splat(found.dtype.type(np.inf)), splat(no_id)
    store(found, start, splat(found.dtype.type(-np.inf)))
    store(ids, start, nothing)
    for place in range(start + WIDTH, start + length, WIDTH):
        store(found, place, infinity)
        store(ids, place, nothing)


@intrinsic
def _shifted(typingctx: Any, before: Any, value: Any) -> Any:
    """Each lane's predecessor: the last lane of `before`, then all but the last of `value`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        order = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), list(range(WIDTH - 1, 2 * WIDTH - 1)))
        return builder.shuffle_vector(args[0], args[1], order)

    return value(before, value), generate


@kernel(fastmath=False, inline="llvm")
def insert(found, ids, start, length, distance, candidate):
    """Put a candidate where it belongs; the last entry, or the candidate, drops out."""
    d, i = splat(distance), splat(candidate)
    value, id_ = load(found, start + length - WIDTH), load(ids, start + length - WIDTH)
    for place in range(start + length - WIDTH, start, -WIDTH):
        before, id_before = load(found, place - WIDTH), load(ids, place - WIDTH)
        shifted, id_shifted = _shifted(before, value), _shifted(id_before, id_)
        is_after = (value > d) | ((value == d) & (id_ > i))
        shifted_is_after = (shifted > d) | ((shifted == d) & (id_shifted > i))
        store(found, place, select(shifted_is_after, shifted, select(is_after, d, value)))
        store(ids, place, select(shifted_is_after, id_shifted, select(is_after, i, id_)))
        value, id_ = before, id_before
