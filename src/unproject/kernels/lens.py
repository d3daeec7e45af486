"""Undistortion by Newton's method, per point in float64 whatever the arrays hold. Formulas as in reference/lens.py."""

import math

import numpy as np

from .jit import kernel

NEWTON_STEPS = 30
TOLERANCE = 4e-16


@kernel(fastmath=False)
def undistort_range(begin, end, points, points_per_lens, lenses, limits, result):
    """lenses are [L, 12] k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4, zero where a model is shorter."""
    for i in range(begin, end):
        c = lenses[i // points_per_lens]
        limit = limits[i // points_per_lens]
        u, v = np.float64(points[i, 0]), np.float64(points[i, 1])
        scale = within(u, v, limit)
        x, y = u * scale, v * scale
        for _ in range(NEWTON_STEPS):
            dx, dy = newton_step(x, y, u, v, c)
            x1, y1 = x - dx, y - dy
            scale = within(x1, y1, limit)
            x1, y1 = x1 * scale, y1 * scale
            done = abs(x1 - x) <= TOLERANCE * (1.0 + abs(x1)) and abs(y1 - y) <= TOLERANCE * (1.0 + abs(y1))
            x, y = x1, y1
            if done:
                break
        result[i, 0], result[i, 1] = x, y


@kernel(fastmath=False)
def within(x, y, limit):
    """What brings a point back to a radius."""
    length = math.sqrt(x * x + y * y)
    return limit / length if length > limit else 1.0


@kernel(fastmath=False)
def newton_step(x, y, u, v, c):
    """J^-1 (distort(x, y) - (u, v)), zero where J is singular."""
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9], c[10], c[11]
    r2 = x * x + y * y
    top, bottom = 1.0 + r2 * (k1 + r2 * (k2 + r2 * k3)), 1.0 + r2 * (k4 + r2 * (k5 + r2 * k6))
    top_slope, bottom_slope = k1 + r2 * (2.0 * k2 + 3.0 * r2 * k3), k4 + r2 * (2.0 * k5 + 3.0 * r2 * k6)
    radial, slope = top / bottom, 2.0 * (top_slope * bottom - top * bottom_slope) / (bottom * bottom)
    du = x * radial + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x) + r2 * (s1 + r2 * s2) - u
    dv = y * radial + p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y + r2 * (s3 + r2 * s4) - v
    a, b = 2.0 * s1 + 4.0 * r2 * s2, 2.0 * s3 + 4.0 * r2 * s4
    mixed = x * y * slope + 2.0 * p1 * x + 2.0 * p2 * y
    ux, uy = radial + x * x * slope + 2.0 * p1 * y + 6.0 * p2 * x + a * x, mixed + a * y
    vx, vy = mixed + b * x, radial + y * y * slope + 6.0 * p1 * y + 2.0 * p2 * x + b * y
    determinant = ux * vy - uy * vx
    if not abs(determinant) > 1e-6:
        return 0.0, 0.0
    return (vy * du - uy * dv) / determinant, (ux * dv - vx * du) / determinant


@kernel(fastmath=False)
def fisheye_angles_range(begin, end, distorted, points_per_lens, lenses, limits, result):
    """theta from theta_d; lenses are [L, 4]."""
    for i in range(begin, end):
        c = lenses[i // points_per_lens]
        limit = limits[i // points_per_lens]
        target = np.float64(distorted[i])
        theta = min(target, limit)
        for _ in range(NEWTON_STEPS):
            s = theta * theta
            factor = 1.0 + s * (c[0] + s * (c[1] + s * (c[2] + s * c[3])))
            slope = 1.0 + s * (3.0 * c[0] + s * (5.0 * c[1] + s * (7.0 * c[2] + s * 9.0 * c[3])))
            step = (theta * factor - target) / (slope if abs(slope) > 1e-6 else 1.0)
            new = min(max(theta - step, 0.0), limit)
            done = abs(new - theta) <= TOLERANCE
            theta = new
            if done:
                break
        result[i] = theta
