"""Functions of lanes that simd.py does not have: exp, rounding to integers, and the sum of all lanes."""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

from .simd import WIDTH

# mantissa bits, exponent bias, terms of the series, largest |x|
_FORMATS = {32: (23, 127, 8, 87.0), 64: (52, 1023, 14, 708.0)}


@intrinsic
def exp(typingctx: Any, a: Any) -> Any:
    """e to each lane, a few units in the last place; lanes beyond the largest and smallest normal numbers are clamped to them."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        width = sig.args[0].dtype.bitwidth
        mantissa, bias, terms, largest = _FORMATS[width]
        vector, whole = args[0].type, ir.VectorType(ir.IntType(width), WIDTH)
        number = lambda value: ir.Constant(vector, [value] * WIDTH)
        integer = lambda value: ir.Constant(whole, [value] * WIDTH)
        intrinsic_of = lambda name, n: cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * n), f"llvm.{name}.v{WIDTH}f{width}"
        )
        multiply_add, nearest_integer = intrinsic_of("fmuladd", 3), intrinsic_of("rint", 1)
        x = builder.select(builder.fcmp_ordered("<", args[0], number(largest)), args[0], number(largest))
        x = builder.select(builder.fcmp_ordered(">", x, number(-largest)), x, number(-largest))
        rounded = builder.call(nearest_integer, [builder.fmul(x, number(1 / math.log(2)))])
        rest = builder.call(multiply_add, [rounded, number(-math.log(2)), x])
        series = number(1 / math.factorial(terms - 1))
        for k in reversed(range(terms - 1)):
            series = builder.call(multiply_add, [series, rest, number(1 / math.factorial(k))])
        shifted = builder.fadd(rounded, number(1.5 * 2.0**mantissa))  # the integer now stands in the low bits
        power = builder.add(builder.shl(builder.bitcast(shifted, whole), integer(mantissa)), integer(bias << mantissa))
        return builder.fmul(series, builder.bitcast(power, vector))

    return a(a), generate


def _call_llvm(name: str, a: Any) -> Any:
    """Signature and code of a call to LLVM's function of that name for each lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind, full_name = ir.FunctionType(args[0].type, [args[0].type]), f"llvm.{name}.v{WIDTH}f{sig.args[0].dtype.bitwidth}"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, full_name), args)

    return a(a), generate


@intrinsic
def round_down(typingctx: Any, a: Any) -> Any:
    """The greatest integer that is not above each lane."""
    return _call_llvm("floor", a)


@intrinsic
def round_up(typingctx: Any, a: Any) -> Any:
    """The least integer that is not below each lane."""
    return _call_llvm("ceil", a)


@intrinsic
def total(typingctx: Any, value: Any) -> Any:
    """The sum of all lanes as a scalar."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        current, width = args[0], WIDTH
        while width > 1:
            width //= 2
            orders = [ir.Constant(ir.VectorType(ir.IntType(32), width), list(range(s, s + width))) for s in (0, width)]
            halves = [builder.shuffle_vector(current, ir.Constant(current.type, ir.Undefined), order) for order in orders]
            current = builder.fadd(*halves)
        return builder.extract_element(current, ir.Constant(ir.IntType(32), 0))

    return value.dtype(value), generate
