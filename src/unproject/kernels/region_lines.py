"""Kernel: where a contour lies along lines across it, from the colours on both sides."""

import math

import numpy as np

from .jit import kernel


@kernel
def edge_along_line(image, odds, shift, u, v, nx, ny, reach_in, reach_out, stride, length, offsets, trust, evidence):
    """Mean and variance of the contour's distance from (u, v) along the outward normal (nx, ny), in pixels, and the share of data.

    image: uint8 [H, W, 3]; odds [bins^3]: log odds that a colour is the object's, by its channels' upper bits (`>> shift`). The line has
    samples every `stride` pixels, `length` inside and as many outside of the centre, of which `reach_in` and `reach_out` show what is
    expected there. Candidates are the gaps between samples, `offsets` on both sides. trust: how much of a pixel's odds counts, since
    neighbouring pixels are alike. evidence: scratch [2 length].
    """
    height, width = image.shape[0], image.shape[1]
    bits = 8 - shift
    known = 0
    for j in range(2 * length):
        at = j - length
        evidence[j] = np.float32(0)
        if -reach_in <= at < reach_out:
            t = (np.float32(at) + np.float32(0.5)) * np.float32(stride)
            x = math.floor(u + t * nx)
            y = math.floor(v + t * ny)
            if 0 <= x < width and 0 <= y < height:
                r, g, b = int(image[y, x, 0]) >> shift, int(image[y, x, 1]) >> shift, int(image[y, x, 2]) >> shift
                evidence[j] = odds[(((r << bits) | g) << bits) | b] * np.float32(trust)
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
    variance = (second / weight - mean * mean) * np.float32(stride * stride)
    return mean * np.float32(stride), variance, np.float32(known) / np.float32(2 * length)


@kernel
def region_lines_range(begin, end, image, odds, shift, centers, normals, reach, stride, length, offsets, trust, out):
    """out [L, 3]: `edge_along_line` for each centre [L, 2] with its normal [L, 2] and reach [L, 2]."""
    evidence = np.empty(2 * length, np.float32)
    for line in range(begin, end):
        u, v, nx, ny = centers[line, 0], centers[line, 1], normals[line, 0], normals[line, 1]
        mean, variance, known = edge_along_line(
            image, odds, shift, u, v, nx, ny, reach[line, 0], reach[line, 1], stride, length, offsets, trust, evidence
        )
        out[line, 0], out[line, 1], out[line, 2] = mean, variance, known
