"""Kernels: Gauss-Newton steps of a pose, from outlines, texture and depth. One call for some of them: each is small.

A step (rho, phi) moves X to exp(phi) (X - o) + o + rho in the camera frame, o being where the object's centre is. `out` [43]: 36 entries of
the Hessian, 6 of the gradient, and the support.
"""

import math

import numpy as np

from .jit import kernel
from .region_lines import edge_along_line


@kernel
def place_point(points, n, pose):
    """A point of the object in the camera frame."""
    x, y, z = points[n, 0], points[n, 1], points[n, 2]
    return (
        pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * z + pose[0, 3],
        pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * z + pose[1, 3],
        pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * z + pose[2, 3],
    )


@kernel
def fill_point(row, inverse, pose, x, y, z):
    """The point in the object's frame that pixel (x, y) shows at depth z, into the row's first three; inverse: of the intrinsics."""
    row[0] = row[1] = row[2] = 0
    for b in range(3):
        placed = (inverse[b, 0] * x + inverse[b, 1] * y + inverse[b, 2]) * z - pose[b, 3]
        for a in range(3):
            row[a] += pose[b, a] * placed


@kernel
def project_point(k, x, y, z):
    """Pixel of a point."""
    return (k[0, 0] * x + k[0, 1] * y) / z + k[0, 2], (k[1, 0] * x + k[1, 1] * y) / z + k[1, 2]


@kernel
def fill_row(row, k, u, v, x, y, z, du, dv, ox, oy, oz):
    """The derivative of du u + dv v with respect to a step about the centre (ox, oy, oz)."""
    gx = (du * k[0, 0] + dv * k[1, 0]) / z
    gy = (du * k[0, 1] + dv * k[1, 1]) / z
    gz = (du * (k[0, 2] - u) + dv * (k[1, 2] - v)) / z
    rx, ry, rz = x - ox, y - oy, z - oz
    row[0], row[1], row[2] = gx, gy, gz
    row[3] = gz * ry - gy * rz
    row[4] = gx * rz - gz * rx
    row[5] = gy * rx - gx * ry


@kernel
def add_row(out, row, residual, weight):
    """Add a weighted row to the normal equations."""
    for i in range(6):
        for j in range(6):
            out[6 * i + j] += weight * row[i] * row[j]
        out[36 + i] += weight * row[i] * residual


@kernel
def median_of(values, count):
    """The lower median of the first `count` values, which it puts in another order. Source: Hoare 1961, Algorithm 65: find."""
    wanted, low, high = (count - 1) // 2, 0, count - 1
    while low < high:
        pivot, i, j = values[wanted], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if j < wanted:
            low = i
        if wanted < i:
            high = j
    return values[wanted]


@kernel
def solve6(equations, x):
    """x = H^-1 g by Cholesky's method, `equations` [42] being H and g; False (and x = 0) if H is not positive definite."""
    low = np.empty((6, 6))
    for i in range(6):
        x[i] = 0.0
    for i in range(6):
        for j in range(i + 1):
            total = equations[6 * i + j]
            for m in range(j):
                total -= low[i, m] * low[j, m]
            if i == j:
                if not total > 1e-12 * abs(equations[7 * i]):
                    return False
                low[i, i] = math.sqrt(total)
            else:
                low[i, j] = total / low[j, j]
    for i in range(6):
        total = equations[36 + i]
        for m in range(i):
            total -= low[i, m] * x[m]
        x[i] = total / low[i, i]
    for i in range(5, -1, -1):
        total = x[i]
        for m in range(i + 1, 6):
            total -= low[m, i] * x[m]
        x[i] = total / low[i, i]
    return True


@kernel
def add_outline(image, odds, shift, contour, k, pose, stride, length, offsets, trust, doubt, alike, out):
    """Outlines: contour [L, 7] of points, outward normals, and reach in pixels. Lines that disagree with most weigh less, the more so the
    larger `doubt`, and all of them weigh less if they scatter more than they say, or few agree, as over surroundings of like colours."""
    count = len(contour)
    evidence = np.empty(2 * length, np.float32)
    rows = np.empty((count, 6))
    distance, variance = np.empty(count), np.empty(count)
    usable = np.zeros(count, np.bool_)
    away = np.empty(count)
    asked, used = 0, 0
    flat = stride * stride * offsets * (offsets + 1) / 3.0
    for n in range(count):
        x, y, z = place_point(contour, n, pose)
        if z <= 0:
            continue
        u, v = project_point(k, x, y, z)
        nx, ny = contour[n, 3], contour[n, 4]
        inward, outward = max(int(contour[n, 5]) // stride, 1), max(int(contour[n, 6]) // stride, 1)
        d, s, known = edge_along_line(
            image, odds, shift, np.float32(u), np.float32(v), nx, ny, inward, outward, stride, length, offsets, trust, evidence
        )
        if known <= 0.6:
            continue
        asked += 1
        if s < 0.5 * flat and abs(d) + math.sqrt(max(s, np.float32(0))) < 0.9 * offsets * stride:
            usable[n] = True
            distance[n], variance[n] = d, s + 0.5 * stride * stride
            away[used] = abs(d)
            used += 1
            fill_row(rows[n], k, u, v, x, y, z, nx, ny, pose[0, 3], pose[1, 3], pose[2, 3])
    if used == 0:
        return
    typical = median_of(away, used) + 0.5 * stride
    agreeing, energy, expected = 0.0, 0.0, 0.0
    for n in range(count):
        if usable[n]:
            robust = (1.0 + (distance[n] / typical) ** 2) ** -doubt
            weight = robust / (variance[n] * alike)
            add_row(out, rows[n], distance[n], weight)
            energy += weight * distance[n] * distance[n]
            expected += robust / alike
            agreeing += 1.0 / (1.0 + (distance[n] / (1.5 * stride + 0.5)) ** 2)
    step = np.empty(6)
    scale = min((agreeing / (0.5 * asked)) ** 2, 1.0)
    if solve6(out, step):
        for i in range(6):
            energy -= step[i] * out[36 + i]
        scale /= max(energy / expected, 1.0)
    for i in range(42):
        out[i] *= scale
    if asked >= 0.25 * count:
        out[42] = agreeing / asked


@kernel
def sample_level(level, x, y):
    """Bilinear value and derivatives of level [3, h, w] at (x, y), pixels of the level from its corner."""
    height, width = level.shape[1], level.shape[2]
    x, y = min(max(x - 0.5, 0.0), width - 1.0), min(max(y - 0.5, 0.0), height - 1.0)
    i, j = min(int(y), max(height - 2, 0)), min(int(x), max(width - 2, 0))
    i1, j1 = min(i + 1, height - 1), min(j + 1, width - 1)
    b, a = y - i, x - j
    w00, w01, w10, w11 = (1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b
    value = w00 * level[0, i, j] + w01 * level[0, i, j1] + w10 * level[0, i1, j] + w11 * level[0, i1, j1]
    along_x = w00 * level[1, i, j] + w01 * level[1, i, j1] + w10 * level[1, i1, j] + w11 * level[1, i1, j1]
    along_y = w00 * level[2, i, j] + w01 * level[2, i, j1] + w10 * level[2, i1, j] + w11 * level[2, i1, j1]
    return value, along_x, along_y


@kernel
def add_texture(level, corner, scale, samples, k, pose, noise, alike, out):
    """Texture: samples [N, 4] of points of the object and values expected in `level` [3, h, w], whose pixels are `scale` of the image's.

    What does not look as expected is wrong in patches, not pixel by pixel, and weighs less by the square of the correlation.
    """
    count = len(samples)
    rows = np.empty((count, 6))
    seen, expected, sizes = np.empty(count), np.empty(count), np.empty(count)
    used = 0
    for n in range(count):
        x, y, z = place_point(samples, n, pose)
        if z <= 0:
            continue
        u, v = project_point(k, x, y, z)
        px, py = (u - corner[0]) * scale, (v - corner[1]) * scale
        if 0.5 <= px <= level.shape[2] - 0.5 and 0.5 <= py <= level.shape[1] - 0.5:
            value, along_x, along_y = sample_level(level, px, py)
            seen[used], expected[used] = value, samples[n, 3]
            fill_row(rows[used], k, u, v, x, y, z, along_x * scale, along_y * scale, pose[0, 3], pose[1, 3], pose[2, 3])
            used += 1
    if used < 8:
        return
    for n in range(used):
        sizes[n] = abs(seen[n])
    contrast = median_of(sizes, used)
    for n in range(used):
        sizes[n] = abs(expected[n])
    before = median_of(sizes, used)
    gain = min(max(contrast / max(before, 1.0), 0.3), 3.0)
    for n in range(used):
        sizes[n] = abs(gain * expected[n] - seen[n])
    cut = 4.7 * max(1.5 * median_of(sizes, used), noise)
    sigma = cut / 4.7
    both, one, other = 0.0, 0.0, 0.0
    for n in range(used):
        residual = gain * expected[n] - seen[n]
        robust = max(1.0 - (residual / cut) ** 2, 0.0)
        add_row(out, rows[n], residual, robust * robust / (sigma * sigma * alike))
        p, q = math.tanh(seen[n] / (2 * max(contrast, 1.0))), math.tanh(expected[n] / (2 * max(before, 1.0)))
        both += p * q
        one += p * p
        other += q * q
    out[42] = both / max(math.sqrt(one * other), 1e-6)
    likeness = max(out[42], 0.0) ** 2
    for i in range(42):
        out[i] *= likeness


@kernel
def add_depth(depth, surface, k, pose, reach, alike, out):
    """Depth [H, W], 0 for none: distances along normals from surface [N, 6] of the object to what is measured where it is seen.

    Measurements farther away than `reach` along the line of sight are of something else.
    """
    rows = np.empty((len(surface), 6))
    away, sizes = np.empty(len(surface)), np.empty(len(surface))
    known, used = 0, 0
    for n in range(len(surface)):
        x, y, z = place_point(surface, n, pose)
        if z <= 0:
            continue
        u, v = project_point(k, x, y, z)
        if not (0 <= u < depth.shape[1] and 0 <= v < depth.shape[0]):
            continue
        measured = depth[int(v), int(u)]
        if not measured > 0:
            continue
        known += 1
        if abs(measured - z) >= reach:
            continue
        a, b, c = surface[n, 3], surface[n, 4], surface[n, 5]
        nx = pose[0, 0] * a + pose[0, 1] * b + pose[0, 2] * c
        ny = pose[1, 0] * a + pose[1, 1] * b + pose[1, 2] * c
        nz = pose[2, 0] * a + pose[2, 1] * b + pose[2, 2] * c
        away[used] = (measured / z - 1.0) * (nx * x + ny * y + nz * z)
        sizes[used] = abs(away[used])
        rx, ry, rz = x - pose[0, 3], y - pose[1, 3], z - pose[2, 3]
        row = rows[used]
        row[0], row[1], row[2] = nx, ny, nz
        row[3], row[4], row[5] = ry * nz - rz * ny, rz * nx - rx * nz, rx * ny - ry * nx
        used += 1
    if used < 10:
        return
    sigma = max(1.5 * median_of(sizes, used), 0.01 * reach)
    for n in range(used):
        robust = max(1.0 - (away[n] / (4.7 * sigma)) ** 2, 0.0)
        add_row(out, rows[n], away[n], robust * robust / (sigma * sigma * alike))
    out[42] = used / known


@kernel
def turn_pose(pose, x):
    """Apply a step [6]: the object turns about its centre, which shifts."""
    a, b, c = x[3], x[4], x[5]
    angle = math.sqrt(a * a + b * b + c * c)
    s, t = 1.0, 0.5
    if angle > 1e-6:
        s, t = math.sin(angle) / angle, 2.0 * (math.sin(0.5 * angle) / angle) ** 2
    for j in range(3):
        p, q, r = pose[0, j], pose[1, j], pose[2, j]
        u, v, w = b * r - c * q, c * p - a * r, a * q - b * p
        pose[0, j] = p + s * u + t * (b * w - c * v)
        pose[1, j] = q + s * v + t * (c * u - a * w)
        pose[2, j] = r + s * w + t * (a * v - b * u)
    for i in range(3):
        pose[i, 3] += x[i]


@kernel
def fit_pose_once(
    begin, end, image, odds, shift, contour, line, level, corner, scale, texture, paint, grey, depth, surface, reach, k, prior, limits,
    alike, steps, pose, moved, out,
):  # fmt: skip
    """`steps` steps of `pose` [4, 4], which has moved by `moved` [6] from where it was expected, with the equations after them.

    line: (stride, length, offsets, trust, doubt); grey: least standard deviation of grey values; prior [6]: precision of `moved`; limits:
    longest shift and turn of a step; alike: for outline, texture and depth, how many data know what one does. out [4, 43]: outline,
    texture, paint, depth.
    """
    total, x = np.empty(42), np.empty(6)
    for step in range(steps + 1):
        out[:] = 0.0
        if len(contour) > 0:
            add_outline(image, odds, shift, contour, k, pose, line[0], line[1], line[2], line[3], line[4], alike[0], out[0])
        if len(texture) > 0:
            add_texture(level, corner, scale, texture, k, pose, grey, alike[1], out[1])
        if len(paint) > 0:
            add_texture(level, corner, scale, paint, k, pose, grey, alike[1], out[2])
        if len(surface) > 0:
            add_depth(depth, surface, k, pose, reach, alike[2], out[3])
        if step == steps:
            return
        for i in range(42):
            total[i] = out[0, i] + out[1, i] + out[2, i] + out[3, i]
        for i in range(6):
            total[7 * i] += prior[i]
            total[36 + i] -= prior[i] * moved[i]
        if not solve6(total, x):
            return
        longest = 1.0
        for i in range(6):
            longest = max(longest, abs(x[i]) / (limits[0] if i < 3 else limits[1]))
        for i in range(6):
            x[i] /= longest
            moved[i] += x[i]
        turn_pose(pose, x)
