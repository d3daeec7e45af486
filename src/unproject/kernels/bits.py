"""Memory by address and 128-bit words, for the readers and writers of files.

Their kernels take addresses (int64) instead of arrays: Numba counts references of an array at every call, and a call for each
number of a file would spend most of its time there. The caller keeps the arrays alive, and every address inside of them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_I128 = ir.IntType(128)


def _loader(bits: int, result: Any) -> Any:
    word = ir.IntType(bits)

    def load(_context: Any, address: Any) -> Any:
        def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:
            return builder.load(builder.inttoptr(values[0], word.as_pointer()), align=1)

        return result(types.int64), generate

    return intrinsic(load)


def _storer(bits: int, argument: Any) -> Any:
    word = ir.IntType(bits)

    def store(_context: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
            builder.store(values[1], builder.inttoptr(values[0], word.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, argument), generate

    return intrinsic(store)


load8, load16, load32, load64 = (_loader(t.bitwidth, t) for t in (types.uint8, types.uint16, types.uint32, types.uint64))
store8, store16, store32, store64 = (_storer(t.bitwidth, t) for t in (types.uint8, types.uint16, types.uint32, types.uint64))


@intrinsic
def product128(_context: Any, a: Any, b: Any) -> Any:
    """(low, high) words of the 128-bit product of two uint64."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        product = builder.mul(builder.zext(values[0], _I128), builder.zext(values[1], _I128))
        low = builder.trunc(product, ir.IntType(64))
        high = builder.trunc(builder.lshr(product, ir.Constant(_I128, 64)), ir.IntType(64))
        return context.make_tuple(builder, signature.return_type, [low, high])

    return types.UniTuple(types.uint64, 2)(types.uint64, types.uint64), generate


@intrinsic
def trailing_zeros(_context: Any, word: Any) -> Any:
    """Trailing zero bits of a uint64; 64 for zero."""

    def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic
def leading_zeros(_context: Any, word: Any) -> Any:
    """Leading zero bits of a uint64; 64 for zero."""

    def generate(_: Any, builder: Any, __: Any, values: Any) -> Any:
        return builder.ctlz(values[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate
