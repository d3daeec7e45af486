"""Lanes as sortable keys: a number that is not negative, its lane in the three lowest bits, so that the least tells where it came from."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .simd import WIDTH

_LANES = list(range(WIDTH))
_GREATEST = {32: 0x7F7FFFF8, 64: 0x7FEFFFFFFFFFFFF8}  # the greatest finite number, but for the three bits


@intrinsic
def keys_of(typingctx: Any, mask: Any, value: Any) -> Any:
    """Keys of the lanes where the mask is set, the greatest of all elsewhere."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        width = sig.args[1].dtype.bitwidth
        vector = ir.VectorType(ir.IntType(width), WIDTH)
        number = builder.bitcast(args[1], vector)
        number = builder.select(args[0], number, ir.Constant(vector, [_GREATEST[width]] * WIDTH))
        key = builder.or_(builder.and_(number, ir.Constant(vector, [-WIDTH] * WIDTH)), ir.Constant(vector, _LANES))
        return builder.bitcast(key, args[1].type)

    return value(mask, value), generate


@intrinsic
def lane_of(typingctx: Any, key: Any) -> Any:
    """The lane that a key came from."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        number = builder.bitcast(args[0], ir.IntType(sig.args[0].bitwidth))
        number = builder.and_(number, ir.Constant(number.type, WIDTH - 1))
        return builder.zext(number, ir.IntType(64)) if sig.args[0].bitwidth == 32 else number

    return types.int64(key), generate


@intrinsic
def last_key(typingctx: Any, lane: Any, like: Any) -> Any:
    """The greatest key of a lane, in the type of `like`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        integer = ir.IntType(sig.args[1].bitwidth)
        number = builder.trunc(args[0], integer) if sig.args[1].bitwidth == 32 else args[0]
        number = builder.or_(number, ir.Constant(integer, _GREATEST[sig.args[1].bitwidth]))
        return builder.bitcast(number, args[1].type)

    return like(lane, like), generate
