"""Texture lookup: bilinear within a level, linear between levels, with wrapping; and its adjoints."""

from __future__ import annotations

import numpy as np

from .jit import kernel

# How a coordinate outside [0, 1] is brought back, as in ops/texture.py: 0 repeats, 1 clamps, 2 mirrors.


@kernel(inline="llvm")
def _place(t, one, size, wrap, nearest):
    """Lower texel, upper texel, fraction between them, and the sign of the coordinate's direction, for t in units of the whole image."""
    half = one / 2
    sign = one
    if wrap == 0:
        t -= np.floor(t)
    elif wrap == 1:
        t = min(max(t, one - one), one)
    else:
        t -= 2 * np.floor(t * half)
        if t > one:
            t, sign = 2 * one - t, -one
    if not (t >= 0 and t <= 1):
        t = one - one  # NaN and infinity
    x = t * size - half
    low = np.int64(np.floor(x))
    fraction = x - low
    if nearest:
        fraction, sign = (one if fraction >= half else one - one), one - one
    high = low + 1
    if wrap == 0:
        low, high = (low + size if low < 0 else low), (high - size if high >= size else high)
    else:
        low, high = max(low, 0), min(high, size - 1)
    return low, min(high, size - 1), fraction, sign


@kernel(inline="llvm")
def _span(level, one, count):
    """First level and fraction to the next for a level of detail."""
    level = min(max(level, one - one), one * (count - 1)) if level == level else one - one
    first = min(np.int64(level), max(count - 2, 0))
    return first, level - first


@kernel
def texture_range(begin, end, texels, sizes, uvs, level, wrap_u, wrap_v, nearest, out):
    """out[p] = the texture at uvs[p]; level [P], or empty for the first."""
    one = uvs.dtype.type(1)
    channels, count = texels.shape[1], sizes.shape[0]
    for p in range(begin, end):
        first, mix = np.int64(0), one - one
        if level.shape[0] > 0:
            first, mix = _span(level[p], one, count)
        for c in range(channels):
            out[p, c] = 0
        for step in range(2 if mix > 0 else 1):
            start, height, width = sizes[first + step, 0], sizes[first + step, 1], sizes[first + step, 2]
            share = mix if step else one - mix
            x0, x1, fx, _ = _place(uvs[p, 0], one, width, wrap_u, nearest)
            y0, y1, fy, _ = _place(one - uvs[p, 1], one, height, wrap_v, nearest)
            a, b = start + y0 * width, start + y1 * width
            w00, w01 = share * (one - fx) * (one - fy), share * fx * (one - fy)
            w10, w11 = share * (one - fx) * fy, share * fx * fy
            for c in range(channels):
                out[p, c] += w00 * texels[a + x0, c] + w01 * texels[a + x1, c] + w10 * texels[b + x0, c] + w11 * texels[b + x1, c]


@kernel
def texels_range(begin, end, sizes, uvs, level, wrap_u, wrap_v, nearest, grad, out):
    """Gradient of the texels [begin, end): each range goes through all pixels and adds to its own texels, in the pixels' order."""
    one = uvs.dtype.type(1)
    channels, count = grad.shape[1], sizes.shape[0]
    for p in range(uvs.shape[0]):
        first, mix = np.int64(0), one - one
        if level.shape[0] > 0:
            first, mix = _span(level[p], one, count)
        for step in range(2 if mix > 0 else 1):
            start, height, width = sizes[first + step, 0], sizes[first + step, 1], sizes[first + step, 2]
            if start >= end or start + height * width <= begin:
                continue
            share = mix if step else one - mix
            x0, x1, fx, _ = _place(uvs[p, 0], one, width, wrap_u, nearest)
            y0, y1, fy, _ = _place(one - uvs[p, 1], one, height, wrap_v, nearest)
            for corner in range(4):
                row = start + (y1 if corner & 2 else y0) * width + (x1 if corner & 1 else x0)
                if row >= begin and row < end:
                    weight = share * (fx if corner & 1 else one - fx) * (fy if corner & 2 else one - fy)
                    for c in range(channels):
                        out[row, c] += weight * grad[p, c]


@kernel
def uvs_range(begin, end, texels, sizes, uvs, level, wrap_u, wrap_v, nearest, grad, out):
    """Gradient of the coordinates."""
    one = uvs.dtype.type(1)
    channels, count = texels.shape[1], sizes.shape[0]
    for p in range(begin, end):
        first, mix = np.int64(0), one - one
        if level.shape[0] > 0:
            first, mix = _span(level[p], one, count)
        gu, gv = one - one, one - one
        for step in range(2 if mix > 0 else 1):
            start, height, width = sizes[first + step, 0], sizes[first + step, 1], sizes[first + step, 2]
            share = mix if step else one - mix
            x0, x1, fx, sx = _place(uvs[p, 0], one, width, wrap_u, nearest)
            y0, y1, fy, sy = _place(one - uvs[p, 1], one, height, wrap_v, nearest)
            a, b = start + y0 * width, start + y1 * width
            for c in range(channels):
                p00, p01, p10, p11 = texels[a + x0, c], texels[a + x1, c], texels[b + x0, c], texels[b + x1, c]
                flow = share * grad[p, c]
                gu += flow * sx * width * ((one - fy) * (p01 - p00) + fy * (p11 - p10))
                gv -= flow * sy * height * ((one - fx) * (p10 - p00) + fx * (p11 - p01))
        out[p, 0], out[p, 1] = gu, gv
