"""Kernels: normal equations of a step of a pose, from outlines and from texture. One call each: they are small.

A step (rho, phi) moves X to exp(phi) (X - o) + o + rho in the camera frame. `out` [43]: 36 entries of the Hessian, 6 of the gradient,
and the support.
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
    """The lower median of the first `count` values, which are sorted in place."""
    part = values[:count]
    part.sort()
    return part[(count - 1) // 2]


@kernel
def outline_equations_once(
    begin, end, image, odds, shift, points, normals, reach, k, pose, center, stride, length, offsets, trust, alike, out
):
    """Outlines: points [L, 3] of the object, outward normals [L, 2], reach [L, 2] in samples. Lines that disagree with most weigh less."""
    count = len(points)
    evidence = np.empty(2 * length, np.float32)
    rows = np.empty((count, 6))
    distance, variance = np.empty(count), np.empty(count)
    usable = np.zeros(count, np.bool_)
    away = np.empty(count)
    asked, used = 0, 0
    flat = stride * stride * offsets * (offsets + 1) / 3.0
    for n in range(count):
        x, y, z = place_point(points, n, pose)
        if z <= 0:
            continue
        u, v = project_point(k, x, y, z)
        nx, ny = normals[n, 0], normals[n, 1]
        d, s, known = edge_along_line(
            image, odds, shift, np.float32(u), np.float32(v), nx, ny, reach[n, 0], reach[n, 1], stride, length, offsets, trust, evidence
        )
        if known <= 0.6:
            continue
        asked += 1
        if s < 0.5 * flat and abs(d) + math.sqrt(max(s, np.float32(0))) < 0.9 * offsets * stride:
            usable[n] = True
            distance[n], variance[n] = d, s + 0.5 * stride * stride
            away[used] = abs(d)
            used += 1
            fill_row(rows[n], k, u, v, x, y, z, nx, ny, center[0], center[1], center[2])
    if used == 0:
        return
    typical = median_of(away, used) + 0.5 * stride
    agreeing = 0
    for n in range(count):
        if usable[n]:
            robust = 1.0 / (1.0 + (distance[n] / typical) ** 2)
            add_row(out, rows[n], distance[n], robust * robust / (variance[n] * alike))
            agreeing += abs(distance[n]) < 2 * stride + 1
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
def texture_equations_once(begin, end, level, corner, scale, points, values, k, pose, center, noise, alike, out):
    """Texture: points [N, 3] of the object and their expected values [N] in `level` [3, h, w], whose pixels are `scale` of the image's."""
    count = len(points)
    rows = np.empty((count, 6))
    seen, expected, sizes = np.empty(count), np.empty(count), np.empty(count)
    used = 0
    for n in range(count):
        x, y, z = place_point(points, n, pose)
        if z <= 0:
            continue
        u, v = project_point(k, x, y, z)
        px, py = (u - corner[0]) * scale, (v - corner[1]) * scale
        if 0.5 <= px <= level.shape[2] - 0.5 and 0.5 <= py <= level.shape[1] - 0.5:
            value, along_x, along_y = sample_level(level, px, py)
            seen[used], expected[used] = value, values[n]
            fill_row(rows[used], k, u, v, x, y, z, along_x * scale, along_y * scale, center[0], center[1], center[2])
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
