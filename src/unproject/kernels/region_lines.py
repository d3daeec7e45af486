"""Kernel: where a contour lies along short lines across it, from the probabilities of foreground and background colours."""

import math

import numpy as np

from .jit import kernel

AMPLITUDE = 0.43  # a pixel inside of the contour shows the background with probability 0.5 - AMPLITUDE: never quite certain
SLOPE = 0.6  # segments: width of the smoothed step


@kernel
def region_lines_range(begin, end, image, table, shift, centers, normals, reach, step, segments, offsets, out):
    """out [L, 3]: mean and variance of the contour's distance from each centre along its outward normal, in pixels, and the share of data.

    image: uint8 [H, W, 3]; table [bins^3]: probability that a colour is foreground, indexed by the channels' upper bits (`>> shift`).
    A line has segments k = -segments .. segments, each of `step` pixels; reach [L, 2] limits how many of them inside and outside show
    what is expected there. Candidates for the distance are the edges -offsets .. offsets between segments.
    """
    height, width = image.shape[0], image.shape[1]
    bits = 8 - shift
    count = 2 * segments + 1
    fore_share = np.empty(count, np.float32)
    back_share = np.empty(count, np.float32)
    prior = np.empty(2 * count + 1, np.float32)
    for n in range(2 * count + 1):  # of a segment at signed distance (n - count) segments outside of the contour
        prior[n] = np.float32(0.5 - AMPLITUDE * math.tanh((n - count) / (2 * SLOPE)))
    for line in range(begin, end):
        known = 0
        for k in range(count):
            at = k - segments
            fore, back = np.float32(1), np.float32(1)
            pixels = 0
            if -reach[line, 0] <= at <= reach[line, 1]:
                for s in range(step):
                    t = np.float32(at * step + s) - np.float32(0.5 * (step - 1))
                    x = math.floor(centers[line, 0] + t * normals[line, 0])
                    y = math.floor(centers[line, 1] + t * normals[line, 1])
                    if 0 <= x < width and 0 <= y < height:
                        r, g, b = int(image[y, x, 0]) >> shift, int(image[y, x, 1]) >> shift, int(image[y, x, 2]) >> shift
                        p = table[(((r << bits) | g) << bits) | b]
                        fore *= p
                        back *= np.float32(1) - p
                        pixels += 1
            total = fore + back
            if pixels == 0 or not total > np.float32(0):
                fore_share[k] = back_share[k] = np.float32(0.5)
            else:
                fore_share[k], back_share[k] = fore / total, back / total
                known += 1
        weight, first, second = 0.0, 0.0, 0.0
        for d in range(-offsets, offsets + 1):
            likelihood = 1.0  # a product of numbers above 0.07: no logarithms are needed
            for k in range(count):
                h = prior[k - segments - d + count]
                likelihood *= np.float64(h * fore_share[k] + (np.float32(1) - h) * back_share[k])
            weight += likelihood
            first += likelihood * d
            second += likelihood * d * d
        mean = first / weight
        out[line, 0] = mean * np.float32(step)
        out[line, 1] = (second / weight - mean * mean) * np.float32(step * step)
        out[line, 2] = np.float32(known) / np.float32(count)
