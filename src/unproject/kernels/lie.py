"""Exponentials and logarithms of SO(3) and SE(3) with their adjoints, per item in float64 whatever the arrays hold.

`backward` kernels take the gradient of the result and give that of the argument. Formulas as in reference/lie.py.
"""

import math

import numpy as np

from .jit import kernel

# Taylor coefficients of c_5, c_6 and arctan(u)/u, highest power first; constants of the machine code.
C5 = tuple((-1) ** n / math.factorial(2 * n + 5) for n in reversed(range(9)))
C6 = tuple((-1) ** n / math.factorial(2 * n + 6) for n in reversed(range(9)))


@kernel(fastmath={"contract"})
def stumpff(x):
    """c_1 ... c_6 at x >= 0: a series downwards below 1, closed forms upwards above."""
    if x < 1.0:
        c5 = C5[0]
        c6 = C6[0]
        for n in range(1, 9):
            c5 = c5 * x + C5[n]
            c6 = c6 * x + C6[n]
        c4, c3 = 1.0 / 24.0 - x * c6, 1.0 / 6.0 - x * c5
        c2, c1 = 0.5 - x * c4, 1.0 - x * c3
    else:
        t = math.sqrt(x)
        s = math.sin(0.5 * t)
        c1, c2 = math.sin(t) / t, 2.0 * s * s / x
        c3, c4 = (1.0 - c1) / x, (0.5 - c2) / x
        c5, c6 = (1.0 / 6.0 - c3) / x, (1.0 / 24.0 - c4) / x
    return c1, c2, c3, c4, c5, c6


@kernel(fastmath=False)
def arctan_ratio(y):
    """T(y) = arctan(u)/u with u = sqrt(y), and its derivative."""
    if y < 0.05:
        value, slope = 0.0, 0.0
        for n in range(14, 0, -1):
            slope = -n / (2.0 * n + 1.0) - y * slope
            value = 1.0 / (2.0 * n + 1.0) - y * value
        # The slope's series is sum of m (-1)^m y^(m-1) / (2m + 1): Horner's sum above alternates in the same way.
        return 1.0 - y * value, slope
    root = math.sqrt(y)
    value = math.atan(root) / root
    return value, 0.5 * (1.0 / (1.0 + y) - value) / y


@kernel(fastmath=False)
def cross(ax, ay, az, bx, by, bz):
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


@kernel(fastmath=False)
def rotation_entries(x, y, z, out):
    """Rodrigues' formula into out[:3, :3]; gives the c_2 and c_3 that a translation needs."""
    s = x * x + y * y + z * z
    c1, c2, c3, _, _, _ = stumpff(s)
    out[0, 0], out[0, 1], out[0, 2] = 1.0 - c2 * (y * y + z * z), c2 * x * y - c1 * z, c2 * x * z + c1 * y
    out[1, 0], out[1, 1], out[1, 2] = c2 * x * y + c1 * z, 1.0 - c2 * (x * x + z * z), c2 * y * z - c1 * x
    out[2, 0], out[2, 1], out[2, 2] = c2 * x * z - c1 * y, c2 * y * z + c1 * x, 1.0 - c2 * (x * x + y * y)
    return c2, c3


@kernel(fastmath=False)
def turn_gradient(rotation, gradient):
    """The vector m with <gradient, hat(a) R> = m . a."""
    m0 = m1 = m2 = 0.0
    for j in range(3):
        m0 += gradient[2, j] * rotation[1, j] - gradient[1, j] * rotation[2, j]
        m1 += gradient[0, j] * rotation[2, j] - gradient[2, j] * rotation[0, j]
        m2 += gradient[1, j] * rotation[0, j] - gradient[0, j] * rotation[1, j]
    return m0, m1, m2


@kernel(fastmath=False)
def so3_exp_range(begin, end, omega, rotation):
    work = np.empty((3, 3))
    for i in range(begin, end):
        rotation_entries(np.float64(omega[i, 0]), np.float64(omega[i, 1]), np.float64(omega[i, 2]), work)
        for r in range(3):
            for c in range(3):
                rotation[i, r, c] = work[r, c]


@kernel(fastmath=False)
def so3_exp_backward_range(begin, end, omega, gradient, result):
    work = np.empty((3, 3))
    for i in range(begin, end):
        x, y, z = np.float64(omega[i, 0]), np.float64(omega[i, 1]), np.float64(omega[i, 2])
        c2, c3 = rotation_entries(x, y, z, work)
        m0, m1, m2 = turn_gradient(work, gradient[i])
        # The left Jacobian's transpose: I - c2 W + c3 W W.
        a0, a1, a2 = cross(x, y, z, m0, m1, m2)
        b0, b1, b2 = cross(x, y, z, a0, a1, a2)
        result[i, 0] = m0 - c2 * a0 + c3 * b0
        result[i, 1] = m1 - c2 * a1 + c3 * b1
        result[i, 2] = m2 - c2 * a2 + c3 * b2


@kernel(fastmath=False)
def se3_exp_range(begin, end, xi, motion):
    work = np.empty((3, 3))
    for i in range(begin, end):
        p0, p1, p2 = np.float64(xi[i, 0]), np.float64(xi[i, 1]), np.float64(xi[i, 2])
        x, y, z = np.float64(xi[i, 3]), np.float64(xi[i, 4]), np.float64(xi[i, 5])
        c2, c3 = rotation_entries(x, y, z, work)
        a0, a1, a2 = cross(x, y, z, p0, p1, p2)
        b0, b1, b2 = cross(x, y, z, a0, a1, a2)
        for r in range(3):
            for c in range(3):
                motion[i, r, c] = work[r, c]
            motion[i, 3, r] = 0.0
        motion[i, 0, 3] = p0 + c2 * a0 + c3 * b0
        motion[i, 1, 3] = p1 + c2 * a1 + c3 * b1
        motion[i, 2, 3] = p2 + c2 * a2 + c3 * b2
        motion[i, 3, 3] = 1.0


@kernel(fastmath=False)
def se3_exp_backward_range(begin, end, xi, gradient, result):
    work = np.empty((3, 3))
    for i in range(begin, end):
        p0, p1, p2 = np.float64(xi[i, 0]), np.float64(xi[i, 1]), np.float64(xi[i, 2])
        x, y, z = np.float64(xi[i, 3]), np.float64(xi[i, 4]), np.float64(xi[i, 5])
        g0, g1, g2 = np.float64(gradient[i, 0, 3]), np.float64(gradient[i, 1, 3]), np.float64(gradient[i, 2, 3])
        rotation_entries(x, y, z, work)
        _, c2, c3, c4, c5, _ = stumpff(x * x + y * y + z * z)
        m0, m1, m2 = turn_gradient(work, gradient[i])
        # d(exp) = hat(J d) exp with the left Jacobian J = [[V, Q], [0, V]]; V's transpose to the translation's gradient:
        a0, a1, a2 = cross(x, y, z, g0, g1, g2)
        aa0, aa1, aa2 = cross(x, y, z, a0, a1, a2)
        result[i, 0] = g0 - c2 * a0 + c3 * aa0
        result[i, 1] = g1 - c2 * a1 + c3 * aa1
        result[i, 2] = g2 - c2 * a2 + c3 * aa2
        # t x g, with t = V p, added to the rotation's part.
        u0, u1, u2 = cross(x, y, z, p0, p1, p2)
        v0, v1, v2 = cross(x, y, z, u0, u1, u2)
        n0, n1, n2 = cross(p0 + c2 * u0 + c3 * v0, p1 + c2 * u1 + c3 * v1, p2 + c2 * u2 + c3 * v2, g0, g1, g2)
        m0, m1, m2 = m0 + n0, m1 + n1, m2 + n2
        u0, u1, u2 = cross(x, y, z, m0, m1, m2)
        v0, v1, v2 = cross(x, y, z, u0, u1, u2)
        # Q's transpose to g, Q's terms in the order of reference/lie.py.
        b0, b1, b2 = cross(p0, p1, p2, g0, g1, g2)
        wb0, wb1, wb2 = cross(x, y, z, b0, b1, b2)
        wwb0, wwb1, wwb2 = cross(x, y, z, wb0, wb1, wb2)
        pa0, pa1, pa2 = cross(p0, p1, p2, a0, a1, a2)
        wpa0, wpa1, wpa2 = cross(x, y, z, pa0, pa1, pa2)
        wwpa0, wwpa1, wwpa2 = cross(x, y, z, wpa0, wpa1, wpa2)
        paa0, paa1, paa2 = cross(p0, p1, p2, aa0, aa1, aa2)
        wpaa0, wpaa1, wpaa2 = cross(x, y, z, paa0, paa1, paa2)
        d = 0.5 * (c4 - 3.0 * c5)
        q0 = -0.5 * b0 + c3 * (pa0 + wb0 - wpa0) + c4 * (3.0 * wpa0 - paa0 - wwb0) + d * (wwpa0 + wpaa0)
        q1 = -0.5 * b1 + c3 * (pa1 + wb1 - wpa1) + c4 * (3.0 * wpa1 - paa1 - wwb1) + d * (wwpa1 + wpaa1)
        q2 = -0.5 * b2 + c3 * (pa2 + wb2 - wpa2) + c4 * (3.0 * wpa2 - paa2 - wwb2) + d * (wwpa2 + wpaa2)
        result[i, 3] = m0 - c2 * u0 + c3 * v0 + q0
        result[i, 4] = m1 - c2 * u1 + c3 * v1 + q1
        result[i, 5] = m2 - c2 * u2 + c3 * v2 + q2


@kernel(fastmath=False)
def quaternion_row(r, table):
    """4 q q^T of a rotation matrix into the table; the index of its row with the largest diagonal."""
    r00, r11, r22 = np.float64(r[0, 0]), np.float64(r[1, 1]), np.float64(r[2, 2])
    table[0, 0], table[1, 1] = 1.0 + r22 + (r00 + r11), 1.0 - r22 + (r00 - r11)
    table[2, 2], table[3, 3] = 1.0 - r22 - (r00 - r11), 1.0 + r22 - (r00 + r11)
    table[0, 1] = table[1, 0] = np.float64(r[2, 1]) - np.float64(r[1, 2])
    table[0, 2] = table[2, 0] = np.float64(r[0, 2]) - np.float64(r[2, 0])
    table[0, 3] = table[3, 0] = np.float64(r[1, 0]) - np.float64(r[0, 1])
    table[1, 2] = table[2, 1] = np.float64(r[1, 0]) + np.float64(r[0, 1])
    table[1, 3] = table[3, 1] = np.float64(r[0, 2]) + np.float64(r[2, 0])
    table[2, 3] = table[3, 2] = np.float64(r[2, 1]) + np.float64(r[1, 2])
    largest = 0
    for k in range(1, 4):
        if table[k, k] > table[largest, largest]:
            largest = k
    return largest


@kernel(fastmath=False)
def rotation_log(r, table):
    """Rotation vector of a matrix, through tan(angle / 4)."""
    row = table[quaternion_row(r, table)]
    w, x, y, z = row[0], row[1], row[2], row[3]
    sign = -1.0 if w < 0.0 else 1.0
    scale = sign / (math.sqrt(w * w + x * x + y * y + z * z) + sign * w)
    x, y, z = x * scale, y * scale, z * scale
    ratio, _ = arctan_ratio(x * x + y * y + z * z)
    return 4.0 * ratio * x, 4.0 * ratio * y, 4.0 * ratio * z


@kernel(fastmath=False)
def rotation_log_backward(r, table, g0, g1, g2, result):
    """Add the gradient of `rotation_log` to result[:3, :3]."""
    largest = quaternion_row(r, table)
    w, x, y, z = table[largest, 0], table[largest, 1], table[largest, 2], table[largest, 3]
    sign = -1.0 if w < 0.0 else 1.0
    length = math.sqrt(w * w + x * x + y * y + z * z)
    scale = sign / (length + sign * w)
    x, y, z = x * scale, y * scale, z * scale
    ratio, slope = arctan_ratio(x * x + y * y + z * z)
    along = 8.0 * slope * (x * g0 + y * g1 + z * g2)
    d0, d1, d2 = 4.0 * ratio * g0 + along * x, 4.0 * ratio * g1 + along * y, 4.0 * ratio * g2 + along * z
    inner = -(x * d0 + y * d1 + z * d2) * sign * scale  # with respect to the divisor
    gw = inner * sign + inner * w / length
    gx = d0 * scale + inner * table[largest, 1] / length
    gy = d1 * scale + inner * table[largest, 2] / length
    gz = d2 * scale + inner * table[largest, 3] / length
    if largest == 0:
        result[0, 0] += gw
        result[1, 1] += gw
        result[2, 2] += gw
        add_differences(result, gx, gy, gz)
    elif largest == 1:
        add_differences(result, gw, 0.0, 0.0)
        add_diagonal(result, gx, -gx, -gx)
        add_sums(result, gy, gz, 0.0)
    elif largest == 2:
        add_differences(result, 0.0, gw, 0.0)
        add_diagonal(result, -gy, gy, -gy)
        add_sums(result, gx, 0.0, gz)
    else:
        add_differences(result, 0.0, 0.0, gw)
        add_diagonal(result, -gz, -gz, gz)
        add_sums(result, 0.0, gx, gy)


@kernel(fastmath=False)
def add_diagonal(result, a, b, c):
    result[0, 0] += a
    result[1, 1] += b
    result[2, 2] += c


@kernel(fastmath=False)
def add_differences(result, a, b, c):
    """wx = r21 - r12, wy = r02 - r20, wz = r10 - r01."""
    result[2, 1] += a
    result[1, 2] -= a
    result[0, 2] += b
    result[2, 0] -= b
    result[1, 0] += c
    result[0, 1] -= c


@kernel(fastmath=False)
def add_sums(result, a, b, c):
    """xy = r10 + r01, xz = r02 + r20, yz = r21 + r12."""
    result[1, 0] += a
    result[0, 1] += a
    result[0, 2] += b
    result[2, 0] += b
    result[2, 1] += c
    result[1, 2] += c


@kernel(fastmath=False)
def so3_log_range(begin, end, rotation, omega):
    table = np.empty((4, 4))
    for i in range(begin, end):
        omega[i, 0], omega[i, 1], omega[i, 2] = rotation_log(rotation[i], table)


@kernel(fastmath=False)
def so3_log_backward_range(begin, end, rotation, gradient, result):
    table = np.empty((4, 4))
    for i in range(begin, end):
        result[i] = 0.0
        g0, g1, g2 = np.float64(gradient[i, 0]), np.float64(gradient[i, 1]), np.float64(gradient[i, 2])
        rotation_log_backward(rotation[i], table, g0, g1, g2, result[i])


@kernel(fastmath=False)
def inverse_factor(s):
    """b(s) of V^-1 = I - W/2 + b W W, and its derivative."""
    _, c2, c3, c4, c5, c6 = stumpff(s)
    d2, d3, d4 = 0.5 * (2.0 * c4 - c3), 0.5 * (3.0 * c5 - c4), 0.5 * (4.0 * c6 - c5)
    factor = (c3 - 2.0 * c4) / (2.0 * c2)
    return factor, (d3 - 2.0 * d4 - 2.0 * d2 * factor) / (2.0 * c2)


@kernel(fastmath=False)
def se3_log_range(begin, end, motion, xi):
    table = np.empty((4, 4))
    for i in range(begin, end):
        x, y, z = rotation_log(motion[i], table)
        t0, t1, t2 = np.float64(motion[i, 0, 3]), np.float64(motion[i, 1, 3]), np.float64(motion[i, 2, 3])
        a0, a1, a2 = cross(x, y, z, t0, t1, t2)
        b0, b1, b2 = cross(x, y, z, a0, a1, a2)
        factor, _ = inverse_factor(x * x + y * y + z * z)
        xi[i, 0] = t0 - 0.5 * a0 + factor * b0
        xi[i, 1] = t1 - 0.5 * a1 + factor * b1
        xi[i, 2] = t2 - 0.5 * a2 + factor * b2
        xi[i, 3], xi[i, 4], xi[i, 5] = x, y, z


@kernel(fastmath=False)
def se3_log_backward_range(begin, end, motion, gradient, result):
    table = np.empty((4, 4))
    for i in range(begin, end):
        result[i] = 0.0
        x, y, z = rotation_log(motion[i], table)
        t0, t1, t2 = np.float64(motion[i, 0, 3]), np.float64(motion[i, 1, 3]), np.float64(motion[i, 2, 3])
        g0, g1, g2 = np.float64(gradient[i, 0]), np.float64(gradient[i, 1]), np.float64(gradient[i, 2])
        s = x * x + y * y + z * z
        factor, slope = inverse_factor(s)
        a0, a1, a2 = cross(x, y, z, g0, g1, g2)
        b0, b1, b2 = cross(x, y, z, a0, a1, a2)
        result[i, 0, 3] = g0 + 0.5 * a0 + factor * b0
        result[i, 1, 3] = g1 + 0.5 * a1 + factor * b1
        result[i, 2, 3] = g2 + 0.5 * a2 + factor * b2
        # g . W W t = (w . t)(w . g) - s (t . g), and g . W t = w . (t x g).
        wt, wg, tg = x * t0 + y * t1 + z * t2, x * g0 + y * g1 + z * g2, t0 * g0 + t1 * g1 + t2 * g2
        n0, n1, n2 = cross(t0, t1, t2, g0, g1, g2)
        along = 2.0 * slope * (wt * wg - s * tg) - 2.0 * factor * tg
        h0 = np.float64(gradient[i, 3]) - 0.5 * n0 + along * x + factor * (wg * t0 + wt * g0)
        h1 = np.float64(gradient[i, 4]) - 0.5 * n1 + along * y + factor * (wg * t1 + wt * g1)
        h2 = np.float64(gradient[i, 5]) - 0.5 * n2 + along * z + factor * (wg * t2 + wt * g2)
        rotation_log_backward(motion[i], table, h0, h1, h2, result[i])


@kernel(fastmath=False)
def stumpff_series(x, k):
    """c_k(x) for k >= 0 and x below 1 or (k + 1)(k + 2)/4, where its terms fall from the first on."""
    value = 0.0
    for n in range(13, -1, -1):
        value = 1.0 - value * x / ((2 * n + k + 1) * (2 * n + k + 2))
    for n in range(2, k + 1):
        value /= n
    return value


@kernel(fastmath=False)
def stumpff_range(begin, end, x, first, values):
    """values[j, i] = c_(first + j)(x[i])."""
    count = values.shape[0]
    for i in range(begin, end):
        s = np.float64(x[i])
        t = math.sqrt(s)
        half = math.sin(0.5 * t)
        even, odd = math.cos(t), math.sin(t) / t  # c_k and c_(k + 1), k even; upwards by x c_(k + 2) = 1/k! - c_k
        factorial = 1.0  # k!
        for k in range(0, first + count, 2):
            if k == 2:
                even = 2.0 * half * half / s
            for j in range(k, k + 2):
                if first <= j < first + count:
                    small = s < max(1.0, 0.25 * (j + 1) * (j + 2))
                    values[j - first, i] = stumpff_series(s, j) if small else (even if j == k else odd)
            even, odd = (1.0 / factorial - even) / s, (1.0 / (factorial * (k + 1)) - odd) / s
            factorial *= (k + 1) * (k + 2)
