"""Powers of five and ten as 128-bit significands: what exact conversion between decimal text and binary numbers multiplies with."""

from __future__ import annotations

import numpy as np

SMALLEST_EXPONENT, LARGEST_EXPONENT = -342, 308


def _significand(exponent: int) -> int:
    """The leading 128 bits of 5 ** exponent: rounded down for positive exponents, up for negative ones."""
    if exponent >= 0:
        power = 5**exponent
        shift = 128 - power.bit_length()
        return power << shift if shift >= 0 else power >> -shift
    power = 5**-exponent
    bits = (power - 1).bit_length() + (127 if exponent >= -27 else power.bit_length() + 129)
    quotient = (1 << bits) // power + 1
    return quotient >> max(quotient.bit_length() - 128, 0)


def _table() -> np.ndarray:
    values = [_significand(e) for e in range(SMALLEST_EXPONENT, LARGEST_EXPONENT + 1)]
    return np.array([(v >> 64, v & (2**64 - 1)) for v in values], dtype=np.uint64)


FIVES = _table()
"""[651, 2] high and low words of 5 ** (row + SMALLEST_EXPONENT)."""

TENS = np.array([10**k for k in range(20)], dtype=np.uint64)
EXACT_TENS = np.array([10.0**k for k in range(23)], dtype=np.float64)
"""The powers of ten that float64 holds exactly."""

SHORTEST_SMALLEST, SHORTEST_LARGEST = -292, 324


def _rounded_up(exponent: int, bits: int) -> int:
    """10 ** exponent scaled to `bits` bits, rounded down, plus one."""
    if exponent >= 0:
        power = 10**exponent
        shift = bits - power.bit_length()
        return (power << shift if shift >= 0 else power >> -shift) + 1
    power = 10**-exponent
    quotient = (1 << (power.bit_length() + bits)) // power
    return (quotient >> (quotient.bit_length() - bits)) + 1


def _shortest_table() -> np.ndarray:
    values = [_rounded_up(e, 128) for e in range(SHORTEST_SMALLEST, SHORTEST_LARGEST + 1)]
    return np.array([(v >> 64, v & (2**64 - 1)) for v in values], dtype=np.uint64)


SHORTEST = _shortest_table()
"""[617, 2] high and low words of 10 ** (row + SHORTEST_SMALLEST) in 128 bits, for printing float64."""

SHORTEST_SINGLE = np.array([_rounded_up(e, 64) for e in range(-31, 46)], dtype=np.uint64)
"""[77] 10 ** (row - 31) in 64 bits, for printing float32."""
