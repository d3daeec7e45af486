"""Kernels: a small grey image of a part of an image, without its slow changes, at three resolutions; and points where it has texture."""

import math

import numpy as np

from .jit import kernel
from .track_terms import fill_point, sample_level

BEHIND = 1e-3  # weight of what is not the object in the mean around a pixel


@kernel
def average_line(start, scale, count, size, n, weights):
    """First source pixel and number of them that pixel n of a line covers, with the weights; beyond the border the last one counts."""
    low, high = start + n / scale, start + (n + 1) / scale
    first = min(max(math.floor(low), 0), size - 1)
    last = min(max(math.ceil(high) - 1, first), size - 1)
    for i in range(first, last + 1):
        lower = low if i == 0 else max(low, float(i))
        upper = high if i == size - 1 else min(high, i + 1.0)
        weights[i - first] = (upper - lower) * scale
    return first, last - first + 1


@kernel
def resample_grey(image, corner, scale, out):
    """Mean of the channels over each pixel of the part, whose pixels are 1 / scale >= 1 pixels of the image wide."""
    height, width = out.shape
    weights = np.empty(int(1 / scale) + 3)
    rows = np.zeros((image.shape[0], width), np.float32)
    top = min(max(math.floor(corner[1]), 0), image.shape[0] - 1)
    bottom = min(max(math.ceil(corner[1] + height / scale), top + 1), image.shape[0])
    for j in range(width):
        first, count = average_line(corner[0], scale, width, image.shape[1], j, weights)
        for y in range(top, bottom):
            total = 0.0
            for a in range(count):
                total += weights[a] * (float(image[y, first + a, 0]) + float(image[y, first + a, 1]) + float(image[y, first + a, 2]))
            rows[y, j] = total / 3.0
    for i in range(height):
        first, count = average_line(corner[1], scale, height, image.shape[0], i, weights)
        for j in range(width):
            total = 0.0
            for a in range(count):
                total += weights[a] * rows[first + a, j]
            out[i, j] = total


@kernel
def paint_over(part, paint):
    """Replace what `paint` [h, w] (negative: nothing) covers, made as bright as it on average."""
    under, over, count = 0.0, 0.0, 0
    height, width = part.shape
    for i in range(height):
        for j in range(width):
            if paint[i, j] >= 0:
                under += part[i, j]
                over += paint[i, j]
                count += 1
    if count == 0:
        return
    gain = under / max(over, float(count))
    for i in range(height):
        for j in range(width):
            if paint[i, j] >= 0:
                part[i, j] = min(gain * paint[i, j], 255.0)


@kernel
def box_mean(source, radius, out):
    """Mean over a square window as far as it lies inside, by running sums."""
    height, width = source.shape
    rows = np.empty((height, width))
    for i in range(height):
        total = 0.0
        for j in range(min(radius, width)):
            total += source[i, j]
        for j in range(width):
            if j + radius < width:
                total += source[i, j + radius]
            if j - radius - 1 >= 0:
                total -= source[i, j - radius - 1]
            rows[i, j] = total / (min(j + radius, width - 1) - max(j - radius, 0) + 1)
    sums = np.zeros(width)
    for i in range(min(radius, height)):
        for j in range(width):
            sums[j] += rows[i, j]
    for i in range(height):
        count = min(i + radius, height - 1) - max(i - radius, 0) + 1
        for j in range(width):
            if i + radius < height:
                sums[j] += rows[i + radius, j]
            if i - radius - 1 >= 0:
                sums[j] -= rows[i - radius - 1, j]
            out[i, j] = sums[j] / count


@kernel
def halve(part):
    """Mean of each 2 x 2 pixels; what lies beyond the border does not count."""
    height, width = part.shape
    out = np.empty(((height + 1) // 2, (width + 1) // 2), part.dtype)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total, count = 0.0, 0
            for y in range(2 * i, min(2 * i + 2, height)):
                for x in range(2 * j, min(2 * j + 2, width)):
                    total += part[y, x]
                    count += 1
            out[i, j] = total / count
    return out


@kernel
def fill_level(part, out):
    """Smoothed values, and their derivatives along x and y."""
    box_mean(part, 1, out[0])
    height, width = part.shape
    for i in range(height):
        for j in range(width):
            out[1, i, j] = 0.5 * (out[0, i, min(j + 1, width - 1)] - out[0, i, max(j - 1, 0)])
            out[2, i, j] = 0.5 * (out[0, min(i + 1, height - 1), j] - out[0, max(i - 1, 0), j])


@kernel
def grey_pyramid_once(begin, end, image, corner, scale, face, paint, radius, whole, half, quarter):
    """image: uint8 [H, W, 3]; corner: [2]; face: [h, w]; paint: [h, w] or empty; outputs [3, h_l, w_l].

    radius: of the window whose mean over pixels that show the object is taken off, so that what is behind it does not matter.
    """
    part = np.empty((whole.shape[1], whole.shape[2]), np.float32)
    resample_grey(image, corner, scale, part)
    if paint.size > 0:
        paint_over(part, paint)
    height, width = part.shape
    shown, cover, slow = np.empty_like(part), np.empty_like(part), np.empty_like(part)
    for i in range(height):
        for j in range(width):
            cover[i, j] = 1.0 if face[i, j] >= 0 else BEHIND
            shown[i, j] = part[i, j] * cover[i, j]
    box_mean(shown, radius, slow)
    box_mean(cover, radius, shown)
    for i in range(height):
        for j in range(width):
            part[i, j] -= slow[i, j] / shown[i, j]
    fill_level(part, whole)
    part = halve(part)
    fill_level(part, half)
    fill_level(halve(part), quarter)


@kernel
def is_inner(face, i, j, margin):
    """Whether all pixels around one show the object."""
    if i < margin or j < margin or i >= face.shape[0] - margin or j >= face.shape[1] - margin:
        return False
    for y in range(i - margin, i + margin + 1):
        for x in range(j - margin, j + margin + 1):
            if face[y, x] < 0:
                return False
    return True


@kernel
def texture_points_once(begin, end, whole, half, quarter, face, depth, inverse, pose, cell, margin, weakest, rows, number):
    """Rows [C, 6]: in each cell of the image the point of the object where it changes most, and its values at the three resolutions.

    Points nearer than `margin` to what is not the object, or where the image changes by less than `weakest` a pixel, are left out.
    """
    height, width = face.shape
    n = 0
    for top in range(0, height, cell):
        for left in range(0, width, cell):
            best, bi, bj = weakest, -1, -1
            for i in range(top, min(top + cell, height)):
                for j in range(left, min(left + cell, width)):
                    strength = math.sqrt(whole[1, i, j] * whole[1, i, j] + whole[2, i, j] * whole[2, i, j])
                    if strength > best and is_inner(face, i, j, margin):
                        best, bi, bj = strength, i, j
            if bi < 0:
                continue
            x, y, z = bj + 0.5, bi + 0.5, depth[bi, bj]
            fill_point(rows[n], inverse, pose, x, y, z)
            rows[n, 3] = sample_level(whole, x, y)[0]
            rows[n, 4] = sample_level(half, 0.5 * x, 0.5 * y)[0]
            rows[n, 5] = sample_level(quarter, 0.25 * x, 0.25 * y)[0]
            n += 1
    number[0] = n
