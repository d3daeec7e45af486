"""Kernel: how often colours occur in an object and around it."""

import math

import numpy as np

from .jit import kernel


@kernel
def shows_any(face, i, j, margin):
    """Whether any pixel around one shows the object."""
    for y in range(max(i - margin, 0), min(i + margin + 1, face.shape[0])):
        for x in range(max(j - margin, 0), min(j + margin + 1, face.shape[1])):
            if face[y, x] >= 0:
                return True
    return False


@kernel
def shows_all(face, i, j, margin):
    """Whether all pixels around one show the object; there is none beyond the border."""
    for y in range(i - margin, i + margin + 1):
        for x in range(j - margin, j + margin + 1):
            if not (0 <= y < face.shape[0] and 0 <= x < face.shape[1]) or face[y, x] < 0:
                return False
    return True


@kernel
def widen(counts, outer, side, inner):
    """Add to each of `side` bins along one axis its neighbours; the axis lies between `outer` and `inner` others."""
    source = counts.copy()
    for a in range(outer):
        for b in range(1, side):
            low, high = (a * side + b - 1) * inner, (a * side + b) * inner
            for c in range(inner):
                counts[high + c] += source[low + c]
                counts[low + c] += source[high + c]


@kernel
def color_counts_once(begin, end, image, face, corner, scale, box, step, bits, out):
    """out [2, 8^bits]: shares of colours of the object, and of what is around it in the box (x0, y0, x1, y1) of the image.

    face: [h, w] of a part of the image from `corner` on, `scale` of its pixels a pixel of the image; pixels at the outline do not count.
    Each colour counts for its neighbours too, by a window (1, 2, 3, 2, 1) along each channel.
    """
    height, width = face.shape
    shift, side = 8 - bits, 1 << bits
    for y in range(box[1], box[3], step):
        i = math.floor((y + 0.5 - corner[1]) * scale)
        for x in range(box[0], box[2], step):
            j = math.floor((x + 0.5 - corner[0]) * scale)
            r, g, b = int(image[y, x, 0]) >> shift, int(image[y, x, 1]) >> shift, int(image[y, x, 2]) >> shift
            color = (((r << bits) | g) << bits) | b
            if 0 <= i < height and 0 <= j < width and face[i, j] >= 0:
                if shows_all(face, i, j, 2):
                    out[0, color] += 1
            elif not shows_any(face, i, j, 2):
                out[1, color] += 1
    for part in range(2):
        for _ in range(2):
            widen(out[part], 1, side, side * side)
            widen(out[part], side, side, side)
            widen(out[part], side * side, side, 1)
        total = np.float32(0)
        for n in range(out.shape[1]):
            total += out[part, n]
        for n in range(out.shape[1]):
            out[part, n] /= max(total, np.float32(1e-12))
