"""Affine maps of points."""

import numpy as np

from .jit import kernel


@kernel
def affine_range(begin, end, points, matrices, mapped):
    """Rows [begin, end) of `mapped` [B, N, 3], all images in a row: the image's matrix [3, 4] times (x, y, z, 1).

    Args:
        points: [B, N, 3], or [1, N, 3] for all images.
    """
    count = mapped.shape[1]
    while begin < end:
        image = begin // count
        own, m = points[image if len(points) > 1 else 0], matrices[image]
        a, b, c, d = m[0, 0], m[0, 1], m[0, 2], m[0, 3]
        e, f, g, h = m[1, 0], m[1, 1], m[1, 2], m[1, 3]
        p, q, r, s = m[2, 0], m[2, 1], m[2, 2], m[2, 3]
        stop = min(end, (image + 1) * count)
        for i in range(np.uint64(begin - image * count), np.uint64(stop - image * count)):
            x, y, z = own[i, 0], own[i, 1], own[i, 2]
            mapped[image, i, 0] = a * x + b * y + c * z + d
            mapped[image, i, 1] = e * x + f * y + g * z + h
            mapped[image, i, 2] = p * x + q * y + r * z + s
        begin = stop
