"""Lanes that are written as another type, or three side by side."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .simd import WIDTH


def _convert(context: Any, builder: Any, value: Any, dtype: Any) -> Any:
    """Float lanes as lanes of another type."""
    vector = ir.VectorType(context.get_value_type(dtype), value.type.count)
    if isinstance(dtype, types.Integer):
        return builder.fptosi(value, vector)
    return value if vector == value.type else builder.fptrunc(value, vector)


def _store(context: Any, builder: Any, array_type: Any, array: Any, index: Any, value: Any) -> None:
    data = context.make_array(array_type)(context, builder, array).data
    pointer = builder.bitcast(builder.gep(data, [index], inbounds=True), value.type.as_pointer())
    builder.store(value, pointer, align=context.get_abi_sizeof(context.get_value_type(array_type.dtype)))


@intrinsic
def store_as(typingctx: Any, array: Any, start: Any, value: Any) -> Any:
    """Write eight float64 lanes to elements start ... start + 7 of a contiguous array, in its type."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        _store(context, builder, sig.args[0], args[0], index, _convert(context, builder, args[2], sig.args[0].dtype))
        return context.get_dummy_value()

    return types.void(array, start, value), generate


@intrinsic
def store_threes(typingctx: Any, array: Any, row: Any, a: Any, b: Any, c: Any) -> Any:
    """Write eight float64 lanes each of a, b, c to rows row ... row + 7 of a contiguous array [N, 3], in its type."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        dtype = sig.args[0].dtype
        a, b, c = (_convert(context, builder, value, dtype) for value in args[2:])
        shuffle = lambda x, y, order: builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), order))
        pairs = shuffle(a, b, list(range(2 * WIDTH)))
        longer = shuffle(c, ir.Constant(c.type, ir.Undefined), list(range(WIDTH)) * 2)
        threes = shuffle(pairs, longer, [lane + plane * WIDTH for lane in range(WIDTH) for plane in range(3)])
        index = builder.mul(context.cast(builder, args[1], sig.args[1], types.intp), ir.Constant(ir.IntType(64), 3))
        _store(context, builder, sig.args[0], args[0], index, threes)
        return context.get_dummy_value()

    return types.void(array, row, a, b, c), generate
