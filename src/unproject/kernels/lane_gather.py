"""Lanes that look up tables: eight elements of an array at eight indices, and what an index or a packed colour needs."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .simd import WIDTH, Lanes

_INT32 = Lanes(types.int32)


@intrinsic
def pixel_index(typingctx: Any, column: Any, row: Any, width: Any, mask: Any) -> Any:
    """floor(row) * width + floor(column) as int32 lanes for non-negative float lanes; 0 where the mask is not set."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = ir.VectorType(ir.IntType(32), WIDTH)
        zero = ir.Constant(vector, [0] * WIDTH)
        # Outside of the mask a conversion could be undefined: select before it.
        column, row = (builder.select(args[3], value, ir.Constant(value.type, [0.0] * WIDTH)) for value in args[:2])
        narrow = context.cast(builder, args[2], sig.args[2], types.int32)
        splat = builder.insert_element(ir.Constant(vector, ir.Undefined), narrow, ir.Constant(ir.IntType(32), 0))
        splat = builder.shuffle_vector(splat, ir.Constant(vector, ir.Undefined), zero)
        return builder.add(builder.mul(builder.fptosi(row, vector), splat), builder.fptosi(column, vector))

    return _INT32(column, row, width, mask), generate


@intrinsic
def gather(typingctx: Any, array: Any, index: Any) -> Any:
    """array[index] for each lane of an int32 index into a contiguous one-dimensional array."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        element = context.get_value_type(sig.args[0].dtype)
        result = ir.Constant(ir.VectorType(element, WIDTH), ir.Undefined)
        for lane in range(WIDTH):
            place = ir.Constant(ir.IntType(32), lane)
            offset = builder.zext(builder.extract_element(args[1], place), ir.IntType(64))
            result = builder.insert_element(result, builder.load(builder.gep(data, [offset], inbounds=True)), place)
        return result

    return Lanes(array.dtype)(array, index), generate


@intrinsic
def packed_byte(typingctx: Any, packed: Any, which: Any) -> Any:
    """Byte 0 (lowest) to 3 of each int32 lane, as float32 lanes of 0 to 255. `which` is a literal number."""
    if not isinstance(which, types.IntegerLiteral):
        return None
    shift = 8 * which.literal_value

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = args[0].type
        moved = builder.lshr(args[0], ir.Constant(vector, [shift] * WIDTH))
        byte = builder.and_(moved, ir.Constant(vector, [255] * WIDTH))
        return builder.sitofp(byte, ir.VectorType(ir.FloatType(), WIDTH))

    return Lanes(types.float32)(packed, which), generate
