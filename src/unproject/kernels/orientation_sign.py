"""Signs of orientation determinants, right also where rounding would decide: a filter in double, then double-double.

For coordinates that came from float32 the second stage is exact (75 bits of 106) unless they differ by more than 2^9 in magnitude; for
float64 a determinant below 2^-98 of its terms counts as zero. Source: Shewchuk 1997 (filter), Dekker 1971 (double-double).
"""

from __future__ import annotations

from .jit import kernel

_UNIT = 2.0**-53
_FILTER = 8 * _UNIT
_ZERO = 2.0**-98
_SPLIT = 134217729.0  # 2^27 + 1


@kernel(fastmath=False)
def _two_sum(a, b):
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


@kernel(fastmath=False)
def _two_product(a, b):
    p = a * b
    c, d = _SPLIT * a, _SPLIT * b
    ah, bh = c - (c - a), d - (d - b)
    al, bl = a - ah, b - bh
    return p, al * bl - (((p - ah * bh) - al * bh) - ah * bl)


@kernel(fastmath=False)
def _add(a, b):
    s, e = _two_sum(a[0], b[0])
    t, f = _two_sum(a[1], b[1])
    s, e = _two_sum(s, e + t)
    return _two_sum(s, e + f)


@kernel(fastmath=False)
def _multiply(a, b):
    p, e = _two_product(a[0], b[0])
    return _two_sum(p, e + (a[0] * b[1] + a[1] * b[0]))


@kernel(fastmath=False)
def _minor(a, b, c, d):
    """a d - b c of double-doubles."""
    p = _multiply(b, c)
    return _add(_multiply(a, d), (-p[0], -p[1]))


@kernel(fastmath=False)
def _exact_volume(points, a, b, c, d):
    u0, u1, u2 = (
        _two_sum(points[a, 0], -points[d, 0]),
        _two_sum(points[a, 1], -points[d, 1]),
        _two_sum(points[a, 2], -points[d, 2]),
    )
    v0, v1, v2 = (
        _two_sum(points[b, 0], -points[d, 0]),
        _two_sum(points[b, 1], -points[d, 1]),
        _two_sum(points[b, 2], -points[d, 2]),
    )
    w0, w1, w2 = (
        _two_sum(points[c, 0], -points[d, 0]),
        _two_sum(points[c, 1], -points[d, 1]),
        _two_sum(points[c, 2], -points[d, 2]),
    )
    x = _multiply(u0, _minor(v1, v2, w1, w2))
    y = _multiply(u1, _minor(v2, v0, w2, w0))
    z = _multiply(u2, _minor(v0, v1, w0, w1))
    return _add(_add(x, y), z)[0]


@kernel(fastmath=False)
def volume_sign(points, a, b, c, d):
    """Sign (-1, 0, 1) of (a - d) . ((b - d) x (c - d)) of four rows of `points` float64 [N, 3]."""
    u0, u1, u2 = points[a, 0] - points[d, 0], points[a, 1] - points[d, 1], points[a, 2] - points[d, 2]
    v0, v1, v2 = points[b, 0] - points[d, 0], points[b, 1] - points[d, 1], points[b, 2] - points[d, 2]
    w0, w1, w2 = points[c, 0] - points[d, 0], points[c, 1] - points[d, 1], points[c, 2] - points[d, 2]
    x0, x1, y0, y1, z0, z1 = v1 * w2, v2 * w1, v2 * w0, v0 * w2, v0 * w1, v1 * w0
    value = u0 * (x0 - x1) + u1 * (y0 - y1) + u2 * (z0 - z1)
    size = abs(u0) * (abs(x0) + abs(x1)) + abs(u1) * (abs(y0) + abs(y1)) + abs(u2) * (abs(z0) + abs(z1))
    if abs(value) <= _FILTER * size:
        value = _exact_volume(points, a, b, c, d)
        if abs(value) <= _ZERO * size:
            return 0
    return 1 if value > 0 else -1


@kernel(fastmath=False)
def area_sign(points, a, b, c, x, y):
    """Sign (-1, 0, 1) of the area of the triangle abc seen on the axes x and y; rows of `points` float64 [N, 3]."""
    u0, u1 = points[a, x] - points[c, x], points[a, y] - points[c, y]
    v0, v1 = points[b, x] - points[c, x], points[b, y] - points[c, y]
    left, right = u0 * v1, u1 * v0
    value = left - right
    size = abs(left) + abs(right)
    if abs(value) <= _FILTER * size:
        p, q = _two_sum(points[a, x], -points[c, x]), _two_sum(points[a, y], -points[c, y])
        r, s = _two_sum(points[b, x], -points[c, x]), _two_sum(points[b, y], -points[c, y])
        value = _minor(p, q, r, s)[0]
        if abs(value) <= _ZERO * size:
            return 0
    return 1 if value > 0 else -1
