"""Numbers as ASCII text: the shortest decimal that reads back as the same float.

Source: R. Giulietti, "The Schubfach way to render doubles" (2020), sections 8 and 9.
Places are addresses; there must be room for 32 bytes.
"""

from __future__ import annotations

import numpy as np

from .bits import product128, store8
from .jit import kernel
from .powers import SHORTEST, SHORTEST_SINGLE, SHORTEST_SMALLEST, TENS

_U = np.uint64


@kernel(fastmath=False)
def scaled_single(row, value):
    """10**k * value in units of 2**64 (row = k + 31), rounded to odd: the last bit says whether anything was cut off."""
    low, high = product128(SHORTEST_SINGLE[row], value)
    return high | (_U(1) if (low >> _U(32)) > _U(1) else _U(0))


@kernel(fastmath=False)
def scaled_double(row, value):
    """The same with 128-bit powers (row = k - SHORTEST_SMALLEST)."""
    _, carry = product128(SHORTEST[row, 1], value)
    low, high = product128(SHORTEST[row, 0], value)
    low += carry
    if low < carry:
        high += _U(1)
    return high | (_U(1) if low > _U(1) else _U(0))


@kernel(fastmath=False)
def shortest(c, q, irregular, single):
    """(digits, power of ten) of the shortest decimal in the rounding interval of c * 2**q, the nearest of those."""
    odd = c & _U(1)
    k = (q * 1262611 - (524031 if irregular else 0)) >> 22
    h = _U(q + ((-k * 1741647) >> 19) + 1)
    below = (_U(4) * c - (_U(1) if irregular else _U(2))) << h
    middle, above = (_U(4) * c) << h, (_U(4) * c + _U(2)) << h
    if single:
        lower, value, upper = scaled_single(31 - k, below), scaled_single(31 - k, middle), scaled_single(31 - k, above)
    else:
        row = -k - SHORTEST_SMALLEST
        lower, value, upper = scaled_double(row, below), scaled_double(row, middle), scaled_double(row, above)
    lower += odd
    upper -= odd
    s = value >> _U(2)
    if s >= _U(10):
        tens = s // _U(10)
        down, up = lower <= _U(40) * tens, _U(40) * tens + _U(40) <= upper
        if down != up:
            return tens + (_U(1) if up else _U(0)), k + 1
    down, up = lower <= _U(4) * s, _U(4) * s + _U(4) <= upper
    if down != up:
        return s + (_U(1) if up else _U(0)), k
    half = _U(4) * s + _U(2)
    rounds_up = value > half or (value == half and (s & _U(1)) == _U(1))
    return s + (_U(1) if rounds_up else _U(0)), k


@kernel(fastmath=False)
def digit_count(value):
    count = 1
    while count < 20 and value >= TENS[count]:
        count += 1
    return count


@kernel(fastmath=False)
def write_digits(pos, value, count):
    """The last `count` digits of `value`; returns the place behind them."""
    at = pos + count
    while at > pos:
        at -= 1
        rest = value // _U(10)
        store8(at, np.uint8(48 + np.int64(value - rest * _U(10))))
        value = rest
    return pos + count


@kernel(fastmath=False)
def write_zeros(pos, count):
    for _ in range(count):
        store8(pos, np.uint8(48))
        pos += 1
    return pos


@kernel(fastmath=False)
def write_integer(pos, value):
    """An int64; returns the place behind it."""
    if value < 0:
        store8(pos, np.uint8(45))
        pos += 1
    size = _U(value) if value >= 0 else ~_U(value) + _U(1)
    return write_digits(pos, size, digit_count(size))


@kernel(fastmath=False)
def write_decimal(pos, digits, k):
    """digits * 10**k in the shorter of the plain and the scientific notation."""
    while digits >= _U(10) and digits % _U(10) == _U(0):
        digits = digits // _U(10)
        k += 1
    count = digit_count(digits)
    point = count + k
    if k >= 0 and point <= 9:
        return write_zeros(write_digits(pos, digits, count), k)
    if point > 0 and k < 0:
        pos = write_digits(pos, digits // TENS[-k], point)
        store8(pos, np.uint8(46))
        return write_digits(pos + 1, digits, -k)
    if point > -4 and k < 0:
        store8(pos, np.uint8(48))
        store8(pos + 1, np.uint8(46))
        return write_digits(write_zeros(pos + 2, -point), digits, count)
    pos = write_digits(pos, digits // TENS[count - 1], 1)
    if count > 1:
        store8(pos, np.uint8(46))
        pos = write_digits(pos + 1, digits, count - 1)
    store8(pos, np.uint8(101))
    return write_integer(pos + 1, point - 1)


@kernel(fastmath=False)
def write_special(pos, is_nan, negative):
    """nan, inf or -inf."""
    if negative and not is_nan:
        store8(pos, np.uint8(45))
        pos += 1
    store8(pos, np.uint8(110 if is_nan else 105))
    store8(pos + 1, np.uint8(97 if is_nan else 110))
    store8(pos + 2, np.uint8(110 if is_nan else 102))
    return pos + 3


@kernel(fastmath=False)
def write_float(pos, bits, single):
    """A float32 (`single`) or float64 by its bits (uint64); returns the place behind it."""
    size, top = (23, 0xFF) if single else (52, 0x7FF)
    negative = (bits >> _U(31 if single else 63)) != _U(0)
    exponent = np.int64(bits >> _U(size)) & top
    fraction = bits & ((_U(1) << _U(size)) - _U(1))
    if exponent == top:
        return write_special(pos, fraction != _U(0), negative)
    if negative:
        store8(pos, np.uint8(45))
        pos += 1
    if exponent == 0 and fraction == _U(0):
        store8(pos, np.uint8(48))
        return pos + 1
    c = fraction | (_U(1) << _U(size)) if exponent != 0 else fraction
    q = max(exponent, 1) - (150 if single else 1075)
    if q <= 0 and -q <= size and (c & ((_U(1) << _U(-q)) - _U(1))) == _U(0):  # a small integer
        return write_decimal(pos, c >> _U(-q), 0)
    digits, k = shortest(c, q, fraction == _U(0) and exponent > 1, single)
    return write_decimal(pos, digits, k)
