"""Numbers in ASCII text, exactly rounded. Eight digits at a time; decimal to binary by the method of Lemire.

Source: D. Lemire, "Number parsing at a gigabyte per second", Software: Practice and Experience 51 (2021), sections 5 and 6;
N. Mushtak, D. Lemire, "Fast number parsing without fallback" (2022).

Places are addresses. The text must be followed by a line break and eight more bytes, so that no scan runs over its end.
"""

from __future__ import annotations

import numpy as np

from .bits import leading_zeros, load8, load64, product128, trailing_zeros
from .jit import kernel
from .powers import EXACT_TENS, FIVES, SMALLEST_EXPONENT, TENS

OK, HARD, BAD = 0, 1, 2
"""A number; one of more than 19 digits that needs exact arithmetic; not a number."""

_ZEROS = np.uint64(0x3030303030303030)
_SEVEN_BITS = np.uint64(0x7F7F7F7F7F7F7F7F)
_BEYOND_NINE = np.uint64(0x7676767676767676)
_TOP_BITS = np.uint64(0x8080808080808080)
_U = np.uint64


@kernel(fastmath=False)
def leading_digits(word):
    """(value, count) of the decimal digits that the 8 characters of `word` begin with."""
    x = word ^ _ZEROS
    marks = (((x & _SEVEN_BITS) + _BEYOND_NINE) | x) & _TOP_BITS
    count = trailing_zeros(marks) >> 3
    shift = _U((8 - count) * 4)
    x = (x << shift) << shift
    x = ((x & _U(0x0F0F0F0F0F0F0F0F)) * _U(2561)) >> _U(8)
    x = ((x & _U(0x00FF00FF00FF00FF)) * _U(6553601)) >> _U(16)
    return ((x & _U(0x0000FFFF0000FFFF)) * _U(42949672960001)) >> _U(32), count


@kernel(fastmath=False)
def digit_run(pos, value, count):
    """Read digits on from `pos` into `value` (which wraps beyond 19 digits); returns value, the digit count, and the next place."""
    more = 8
    while more == 8:
        word, more = leading_digits(load64(pos))
        value = value * TENS[more] + word
        count += more
        pos += more
    return value, count, pos


@kernel(fastmath=False)
def scan_exponent(pos):
    """An exponent part at `pos` if there is one: (exponent, next place). Fortran's "d" counts as "e"."""
    letter = load8(pos) | np.uint8(32)
    if letter != 101 and letter != 100:
        return 0, pos
    at = pos + 1
    negative = load8(at) == 45
    if negative or load8(at) == 43:
        at += 1
    value, count, end = digit_run(at, _U(0), 0)
    if count == 0:
        return 0, pos
    exponent = np.int64(99999) if count > 17 else min(np.int64(value), np.int64(99999))
    return (-exponent if negative else exponent), end


@kernel(fastmath=False)
def scan_decimal(pos):
    """(significand, power of ten, digits cut off?, next place) of an unsigned decimal at `pos`; next place == pos: none there."""
    value, count, at = digit_run(pos, _U(0), 0)
    power = np.int64(0)
    if load8(at) == 46:
        before = count
        value, count, after = digit_run(at + 1, value, count)
        if count == 0:
            return _U(0), power, False, pos
        power = np.int64(before - count)
        at = after
    if count == 0:
        return _U(0), power, False, pos
    cut = False
    if count > 19:
        value, power, cut = _scan_long(pos, at)
    exponent, end = scan_exponent(at)
    return value, power + exponent, cut, end


@kernel(fastmath=False)
def _scan_long(pos, end):
    """The first 19 significant digits of a long decimal, its power of ten, and whether a nonzero digit was cut off."""
    value, power, cut = _U(0), np.int64(0), False
    count, after_point = 0, False
    for at in range(pos, end):
        if load8(at) == 46:
            after_point = True
            continue
        digit = _U(load8(at) - 48)
        if count < 19:
            value = value * _U(10) + digit
            count += 1 if value != _U(0) else 0
            power -= 1 if after_point else 0
        else:
            cut = cut or digit != _U(0)
            power += 0 if after_point else 1
    return value, power, cut


@kernel(fastmath=False)
def binary_from_decimal(w, q, mantissa_bits, exponent_bias, infinite, smallest, largest, even_low, even_high):
    """Bits of the float nearest to w * 10**q, ties to even, for the format described by the other arguments (without sign)."""
    if w == _U(0) or q < smallest:
        return _U(0)
    if q > largest:
        return _U(infinite) << _U(mantissa_bits)
    zeros = leading_zeros(w)
    w = w << _U(zeros)
    row = q - SMALLEST_EXPONENT
    low, high = product128(w, FIVES[row, 0])
    mask = (~_U(0)) >> _U(mantissa_bits + 3)
    if (high & mask) == mask:
        _, more = product128(w, FIVES[row, 1])
        low += more
        if more > low:
            high += _U(1)
    upper = np.int64(high >> _U(63))
    shift = upper + 64 - mantissa_bits - 3
    mantissa = high >> _U(shift)
    power = (((152170 + 65536) * q) >> 16) + 63 + upper - zeros + exponent_bias
    if power <= 0:
        if 1 - power >= 64:
            return _U(0)
        mantissa = mantissa >> _U(1 - power)
        mantissa = (mantissa + (mantissa & _U(1))) >> _U(1)
        return mantissa  # reaching the first normal number sets the exponent bit by itself
    if low <= _U(1) and q >= even_low and q <= even_high and (mantissa & _U(3)) == _U(1) and (mantissa << _U(shift)) == high:
        mantissa &= ~_U(1)
    mantissa = (mantissa + (mantissa & _U(1))) >> _U(1)
    if mantissa >= (_U(2) << _U(mantissa_bits)):
        mantissa = _U(1) << _U(mantissa_bits)
        power += 1
    if power >= infinite:
        return _U(infinite) << _U(mantissa_bits)
    return (mantissa & ~(_U(1) << _U(mantissa_bits))) | (_U(power) << _U(mantissa_bits))


@kernel(fastmath=False)
def float64_bits(w, q):
    return binary_from_decimal(w, q, 52, 1023, 0x7FF, -342, 308, -4, 23)


@kernel(fastmath=False)
def float32_bits(w, q):
    return binary_from_decimal(w, q, 23, 127, 0xFF, -65, 38, -17, 10)


@kernel(fastmath=False)
def is_word(pos, a, b, c):
    """Whether three letters (given in lower case) stand at `pos`."""
    return (load8(pos) | 32) == a and (load8(pos + 1) | 32) == b and (load8(pos + 2) | 32) == c


@kernel(fastmath=False)
def parse_special(pos):
    """nan, inf, infinity, nan(...), and Microsoft's 1.#IND, 1.#QNAN, 1.#INF (without sign): (value, next place), or next place == pos."""
    value = np.float64(0)
    end = pos
    if is_word(pos, 110, 97, 110):
        value, end = np.nan, pos + 3
        if load8(end) == 40:
            at = end + 1
            while load8(at) != 41 and load8(at) > 32:
                at += 1
            end = at + 1 if load8(at) == 41 else end
    elif is_word(pos, 105, 110, 102):
        value, end = np.inf, pos + 3
        if is_word(end, 105, 110, 105) and is_word(end + 2, 105, 116, 121):
            end += 5
    elif load8(pos) == 49 and load8(pos + 1) == 46 and load8(pos + 2) == 35:
        letter = load8(pos + 4) | 32  # #I_N_D, #I_N_F, #Q_NAN, #S_NAN
        value = np.inf if letter == 110 and (load8(pos + 5) | 32) == 102 else np.nan
        end = pos + 3
        while (97 <= (load8(end) | 32) <= 122) or 48 <= load8(end) <= 57:
            end += 1
    return value, end


@kernel(fastmath=False)
def parse_float64(pos):
    """(value, next place, OK | HARD | BAD) of the number at `pos`, correctly rounded; a HARD one within one unit of the last place."""
    at = pos
    negative = load8(at) == 45
    if negative or load8(at) == 43:
        at += 1
    w, q, cut, end = scan_decimal(at)
    if end == at or load8(end) == 35:
        value, end = parse_special(at)
        return (-value if negative else value), end, (OK if end > at else BAD)
    if not cut and w < _U(1 << 53) and -22 <= q <= 22:
        value = np.float64(np.int64(w))
        value = value / EXACT_TENS[-q] if q < 0 else value * EXACT_TENS[q]
        return (-value if negative else value), end, OK
    bits = float64_bits(w, q)
    status = HARD if cut and bits != float64_bits(w + _U(1), q) else OK
    value = np.uint64(bits).view(np.float64)
    return (-value if negative else value), end, status


@kernel(fastmath=False)
def parse_float32(pos):
    """As parse_float64, rounded once, to float32."""
    at = pos
    negative = load8(at) == 45
    if negative or load8(at) == 43:
        at += 1
    w, q, cut, end = scan_decimal(at)
    if end == at or load8(end) == 35:
        special, end = parse_special(at)
        return np.float32(-special if negative else special), end, (OK if end > at else BAD)
    if not cut and w < _U(1 << 53) and -22 <= q <= 22:
        exact = np.float64(np.int64(w))
        exact = exact / EXACT_TENS[-q] if q < 0 else exact * EXACT_TENS[q]
        # Rounding to float64 first is harmless unless that fell on the middle between two float32, or below the normal ones.
        if (np.float64(exact).view(np.uint64) & _U(0x1FFFFFFF)) != _U(0x10000000) and (exact > 1.2e-38 or w == _U(0)):
            return np.float32(-exact if negative else exact), end, OK
    bits = float32_bits(w, q)
    status = HARD if cut and bits != float32_bits(w + _U(1), q) else OK
    value = np.uint32(bits).view(np.float32)
    return (-value if negative else value), end, status


@kernel(fastmath=False)
def parse_integer(pos):
    """(value, next place, OK | BAD) of the integer at `pos`; "3.0" and "1e3" are integers too."""
    at = pos
    negative = load8(at) == 45
    if negative or load8(at) == 43:
        at += 1
    value, count, end = digit_run(at, _U(0), 0)
    following = load8(end)
    too_large = count > 19 or value > _U(0x7FFFFFFFFFFFFFFF) + (_U(1) if negative else _U(0))
    if count == 0 or too_large or following == 46 or (following | 32) == 101:
        real, end, status = parse_float64(pos)
        if status == BAD or not abs(real) < 9.2e18 or real != np.floor(real):
            return np.int64(0), pos, BAD
        return np.int64(real), end, OK
    return (-np.int64(value) if negative else np.int64(value)), end, OK
