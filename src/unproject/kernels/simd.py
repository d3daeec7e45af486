"""Lanes: eight numbers that a kernel computes with at once, as one LLVM vector. For loops that LLVM does not vectorize by itself.

Inside a kernel, `load(array, start)` reads eight consecutive elements of a flat contiguous array and `splat(x)` repeats a scalar;
`+ - * /` of floats and comparisons work lane by lane, between equal types. A comparison gives a mask; `& | ~` combine masks.
No operation here is reassociated or fused, except `multiply_add`, so that formulas which rely on exact rounding may use them.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

WIDTH = 8


class Lanes(types.Type):
    """WIDTH values of a scalar Numba type; of booleans, a mask."""

    def __init__(self, dtype: Any):
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")


MASK = Lanes(types.boolean)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Lanes):
        element = ir.IntType(1) if fe_type.dtype is types.boolean else manager.lookup(fe_type.dtype).get_value_type()
        super().__init__(manager, fe_type, ir.VectorType(element, WIDTH))


def _is_float(value: Any) -> bool:
    return isinstance(value, Lanes) and isinstance(value.dtype, types.Float)


def _is_integer(value: Any) -> bool:
    return isinstance(value, Lanes) and isinstance(value.dtype, types.Integer)


def _define_binary(op: Any, method: str, comparison: str | None) -> None:
    class Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and args[0] == args[1] and (_is_float(args[0]) or (comparison and _is_integer(args[0]))):
                return signature(MASK if comparison else args[0], *args)
            return None

    infer_global(op)(Typing)

    @lower_builtin(op, Lanes, Lanes)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if comparison is None:
            return getattr(builder, method)(*args)
        return builder.fcmp_ordered(comparison, *args) if _is_float(sig.args[0]) else builder.icmp_signed(comparison, *args)


def _define_mask_binary(op: Any, method: str) -> None:
    class Typing(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            return signature(MASK, MASK, MASK) if len(args) == 2 and args[0] == args[1] == MASK else None

    infer_global(op)(Typing)

    @lower_builtin(op, MASK, MASK)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, method)(*args)


for _op, _method in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv")):
    _define_binary(_op, _method, None)
for _op, _symbol in ((operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="), (operator.eq, "==")):
    _define_binary(_op, "", _symbol)
for _op, _method in ((operator.and_, "and_"), (operator.or_, "or_")):
    _define_mask_binary(_op, _method)


@infer_global(operator.invert)
class _InvertTyping(AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        return signature(MASK, MASK) if args == (MASK,) else None


@lower_builtin(operator.invert, MASK)
def _lower_invert(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.not_(args[0])


def _repeat(builder: Any, scalar: Any) -> Any:
    vector = ir.VectorType(scalar.type, WIDTH)
    single = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
    order = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
    return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), order)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, start: Any) -> Any:
    """To element `start` of a flat array, as a pointer to a vector."""
    data = context.make_array(array_type)(context, builder, array).data
    element = context.get_value_type(array_type.dtype)
    address = builder.gep(data, [start], inbounds=True)
    return builder.bitcast(address, ir.VectorType(element, WIDTH).as_pointer()), context.get_abi_sizeof(element)


@intrinsic
def load(typingctx: Any, array: Any, start: Any) -> Any:
    """Elements start ... start + 7 of a contiguous one-dimensional array."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        pointer, align = _pointer(context, builder, sig.args[0], args[0], index)
        return builder.load(pointer, align=align)

    return Lanes(array.dtype)(array, start), generate


@intrinsic
def store(typingctx: Any, array: Any, start: Any, value: Any) -> Any:
    """Write eight lanes to elements start ... start + 7 of a contiguous one-dimensional array."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        pointer, align = _pointer(context, builder, sig.args[0], args[0], index)
        builder.store(args[2], pointer, align=align)
        return context.get_dummy_value()

    return types.void(array, start, value), generate


@intrinsic
def element(typingctx: Any, array: Any, index: Any) -> Any:
    """Element number `index` of a contiguous array of any shape, without the test for a negative index that Numba makes."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return builder.load(builder.gep(data, [context.cast(builder, args[1], sig.args[1], types.intp)], inbounds=True))

    return array.dtype(array, index), generate


@intrinsic
def set_element(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """Write element number `index`, as `element`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        converted = context.cast(builder, args[2], sig.args[2], sig.args[0].dtype)
        builder.store(converted, builder.gep(data, [context.cast(builder, args[1], sig.args[1], types.intp)], inbounds=True))
        return context.get_dummy_value()

    return types.void(array, index, value), generate


@intrinsic
def prefetch(typingctx: Any, array: Any, row: Any) -> Any:
    """Ask for the memory where a row of a contiguous array begins, before it is needed."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        view = context.make_array(sig.args[0])(context, builder, args[0])
        number = context.cast(builder, args[1], sig.args[1], types.intp)
        stride = cgutils.unpack_tuple(builder, view.strides)[0]
        pointer = builder.gep(builder.bitcast(view.data, cgutils.voidptr_t), [builder.mul(number, stride)])
        flags = [ir.Constant(ir.IntType(32), value) for value in (0, 3, 1)]  # to read, to stay, data
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t] + [flag.type for flag in flags])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0"), [pointer, *flags])
        return context.get_dummy_value()

    return types.void(array, row), generate


@intrinsic
def splat(typingctx: Any, value: Any) -> Any:
    """A scalar in every lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _repeat(builder, args[0])

    return Lanes(value)(value), generate


@intrinsic
def ramp(typingctx: Any, first: Any) -> Any:
    """A float scalar and those after it, each greater by one: first ... first + 7."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        every = _repeat(builder, args[0])
        return builder.fadd(every, ir.Constant(every.type, [float(n) for n in range(WIDTH)]))

    return Lanes(first)(first), generate


@intrinsic
def splat_like(typingctx: Any, value: Any, like: Any) -> Any:
    """A scalar, converted to the type of other lanes, in every lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _repeat(builder, context.cast(builder, args[0], sig.args[0], sig.args[1].dtype))

    return like(value, like), generate


@intrinsic
def lane(typingctx: Any, value: Any, index: Any) -> Any:
    """One lane as a scalar."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = context.cast(builder, args[1], sig.args[1], types.int32)
        return builder.extract_element(args[0], place)

    return value.dtype(value, index), generate


@intrinsic
def select(typingctx: Any, mask: Any, yes: Any, no: Any) -> Any:
    """`yes` where the mask is set, else `no`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(*args)

    return yes(mask, yes, no), generate


@intrinsic
def minimum(typingctx: Any, a: Any, b: Any) -> Any:
    """The lesser of each lane; `b` where either is NaN."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return a(a, b), generate


@intrinsic
def maximum(typingctx: Any, a: Any, b: Any) -> Any:
    """The greater of each lane; `b` where either is NaN."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return a(a, b), generate


@intrinsic
def multiply_add(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, in one rounding where the machine can do so cheaply."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        name = f"llvm.fmuladd.v{WIDTH}f{sig.args[0].dtype.bitwidth}"
        vector = args[0].type
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        return builder.call(function, args)

    return a(a, b, c), generate


@intrinsic
def multiply_subtract(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b - c, as `multiply_add`."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        name = f"llvm.fmuladd.v{WIDTH}f{sig.args[0].dtype.bitwidth}"
        vector = args[0].type
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
        return builder.call(function, [args[0], args[1], builder.fneg(args[2])])

    return a(a, b, c), generate


@intrinsic
def square_root(typingctx: Any, a: Any) -> Any:
    """The square root of each lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        name = f"llvm.sqrt.v{WIDTH}f{sig.args[0].dtype.bitwidth}"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(args[0].type, [args[0].type]), name)
        return builder.call(function, args)

    return a(a), generate


@intrinsic
def least(typingctx: Any, value: Any) -> Any:
    """The least of all lanes as a scalar; lanes must not be NaN."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        current, width = args[0], WIDTH
        while width > 1:
            width //= 2
            orders = [ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(s, s + width))) for s in (0, width)]
            halves = [builder.shuffle_vector(current, ir.Constant(current.type, ir.Undefined), order) for order in orders]
            current = builder.select(builder.fcmp_ordered("<", *halves), *halves)
        return builder.extract_element(current, ir.Constant(ir.IntType(32), 0))

    return value.dtype(value), generate


@intrinsic
def bits(typingctx: Any, mask: Any) -> Any:
    """A mask as an integer: bit i is lane i."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.zext(builder.bitcast(args[0], ir.IntType(WIDTH)), ir.IntType(64))

    return types.int64(mask), generate


@intrinsic
def first_bit(typingctx: Any, value: Any) -> Any:
    """Index of the lowest set bit of an int64 that is not zero."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(value), generate
