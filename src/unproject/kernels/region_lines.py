"""Kernel: where a contour lies along lines across it, from the colours on both sides."""

import math

import numpy as np

from .jit import kernel


@kernel
def region_lines_range(begin, end, image, odds, shift, centers, normals, reach, stride, length, offsets, trust, out):
    """out [L, 3]: mean and variance of the contour's distance from each centre along its outward normal, in pixels, and the share of data.

    image: uint8 [H, W, 3]; odds [bins^3]: log odds that a colour is the object's, by its channels' upper bits (`>> shift`). A line has
    samples every `stride` pixels, `length` inside and as many outside of the centre; reach [L, 2] limits how many of them show what is
    expected there. Candidates are the gaps between samples, `offsets` on both sides. trust: how much of a pixel's odds counts, since
    neighbouring pixels are alike.
    """
    height, width = image.shape[0], image.shape[1]
    bits = 8 - shift
    count = 2 * length
    evidence = np.empty(count, np.float32)
    for line in range(begin, end):
        known = 0
        for j in range(count):
            at = j - length
            evidence[j] = np.float32(0)
            if -reach[line, 0] <= at < reach[line, 1]:
                t = (np.float32(at) + np.float32(0.5)) * np.float32(stride)
                x = math.floor(centers[line, 0] + t * normals[line, 0])
                y = math.floor(centers[line, 1] + t * normals[line, 1])
                if 0 <= x < width and 0 <= y < height:
                    r, g, b = int(image[y, x, 0]) >> shift, int(image[y, x, 1]) >> shift, int(image[y, x, 2]) >> shift
                    evidence[j] = odds[(((r << bits) | g) << bits) | b] * trust
                    known += 1
        total = np.float32(0)  # log likelihood of an edge there, up to a constant
        best = np.float32(-np.inf)
        for d in range(-offsets, offsets + 1):
            best = max(best, total)
            total += evidence[d + length]
        weight, first, second = np.float32(0), np.float32(0), np.float32(0)
        total = np.float32(0)
        for d in range(-offsets, offsets + 1):
            w = np.float32(math.exp(total - best))
            weight += w
            first += w * np.float32(d)
            second += w * np.float32(d * d)
            total += evidence[d + length]
        mean = first / weight
        out[line, 0] = mean * np.float32(stride)
        out[line, 1] = (second / weight - mean * mean) * np.float32(stride * stride)
        out[line, 2] = np.float32(known) / np.float32(count)
