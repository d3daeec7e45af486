"""Order of points along a Morton curve: neighbours in the order lie near each other in space, so that queries share what they read."""

from __future__ import annotations

import numpy as np

from .jit import kernel

_CELLS = 1024  # along the longest side of each set
_DIGIT = 1024  # sorted by, three times
_SMALL = 64


@kernel
def _spread(x):
    """Ten bits, two zeros between each."""
    x = (x | (x << 16)) & 0x030000FF
    x = (x | (x << 8)) & 0x0300F00F
    x = (x | (x << 4)) & 0x030C30C3
    return (x | (x << 2)) & 0x09249249


@kernel
def _cell(value, low, scale):
    return max(0, min(_CELLS - 1, np.int64((value - low) * scale)))  # also where NaN came in


@kernel
def _sort_digit(begin, end, shift, source, source_codes, target, target_codes, counts):
    for k in range(_DIGIT + 1):
        counts[k] = 0
    for i in range(begin, end):
        counts[((source_codes[i] >> shift) & (_DIGIT - 1)) + 1] += 1
    for k in range(_DIGIT):
        counts[k + 1] += counts[k]
    for i in range(begin, end):
        digit = (source_codes[i] >> shift) & (_DIGIT - 1)
        place = begin + counts[digit]
        counts[digit] += 1
        target[place] = source[i]
        target_codes[place] = source_codes[i]


@kernel
def curve_order(points, offsets, order, codes, spare_order, spare_codes):
    """Write to `order` the indices of the points of each set along its own curve: a radix sort, stable. Small sets stay as they are."""
    infinity = points.dtype.type(np.inf)
    counts = np.empty(_DIGIT + 1, np.int64)
    for item in range(len(offsets) - 1):
        begin, end = offsets[item], offsets[item + 1]
        lx, ly, lz, hx, hy, hz = infinity, infinity, infinity, -infinity, -infinity, -infinity
        for i in range(begin, end):
            order[i] = i
            x, y, z = points[i, 0], points[i, 1], points[i, 2]
            if abs(x) < infinity and abs(y) < infinity and abs(z) < infinity:
                lx, ly, lz, hx, hy, hz = min(lx, x), min(ly, y), min(lz, z), max(hx, x), max(hy, y), max(hz, z)
        extent = max(hx - lx, hy - ly, hz - lz)
        if end - begin < _SMALL or not extent > 0:
            continue
        scale = points.dtype.type(_CELLS / extent)
        for i in range(begin, end):
            x, y, z = _cell(points[i, 0], lx, scale), _cell(points[i, 1], ly, scale), _cell(points[i, 2], lz, scale)
            codes[i] = np.int32(_spread(x) | (_spread(y) << 1) | (_spread(z) << 2))
        _sort_digit(begin, end, 0, order, codes, spare_order, spare_codes, counts)
        _sort_digit(begin, end, 10, spare_order, spare_codes, order, codes, counts)
        _sort_digit(begin, end, 20, order, codes, spare_order, spare_codes, counts)
        for i in range(begin, end):
            order[i] = spare_order[i]
