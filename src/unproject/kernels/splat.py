"""Soft discs and spheres: attributes of all that lie near a pixel, blended by coverage and depth, and the way back.

A disc is (u, v, z, R, bulge): pixel, depth, radius in pixels, and how much nearer its middle is than its rim (0 for flat ones).
"""

import math

import numpy as np

from .jit import kernel
from .rasterize import pixel_range

NOTHING = -1e30  # logarithm of a weight of 0
RIM = 0.01  # of a sphere's height squared, where it no longer falls


@kernel
def count_disc_rows(begin, end, discs, per_image, height, width, planes, soft, shift, rows, counts):
    """Row range [M, 2] of every disc, and how many discs each band of 2^shift rows of each image gets from this slice."""
    bands = ((height - 1) >> shift) + 1
    near, far = planes
    for m in range(begin, end):
        u, v, z = np.float64(discs[m, 0]), np.float64(discs[m, 1]), discs[m, 2]
        reach = np.float64(discs[m, 3]) + 0.5 * soft
        x_first, x_last = pixel_range(u - reach, u + reach, width)
        first, last = pixel_range(v - reach, v + reach, height)
        if z < near or z > far or x_first >= x_last or first >= last:
            first, last = 0, 0
        rows[m, 0] = first
        rows[m, 1] = last
        if first < last:
            for b in range(first >> shift, ((last - 1) >> shift) + 1):
                counts[m // per_image * bands + b] += 1


@kernel(inline="llvm")
def disc_terms(dx, dy, radius, soft):
    """Distance from the middle, its square over that of the radius, place on the soft edge in [0, 1], coverage."""
    squared = dx * dx + dy * dy
    d = math.sqrt(squared)
    t = min(1.0, max(0.0, (radius - d) / soft + 0.5))
    return d, squared / max(radius * radius, 1e-12), t, t * t * (3.0 - 2.0 * t)


@kernel
def splat_bands(
    begin, end, discs, attributes, per_image, shared, offsets, items, exponents, soft, shift, least, hides, blended, depth, transmittance,
    weight,
):  # fmt: skip
    """Blend the bands [begin, end) of all images.

    Args:
        attributes: [per_image, C] if `shared`, else [M, C].
        exponents: [B, 2] offset and slope: at depth z the weight is coverage x exp(offset - slope z).
        least: transmittance that no longer counts. hides: one whose exponent is this much greater hides a disc.
        blended, depth, transmittance, weight: [B, H, W, C], [B, H, W] three times; weight is the logarithm of the sum of all weights.
    """
    height, width, channels = blended.shape[1:]
    bands = ((height - 1) >> shift) + 1
    sums = np.empty((1 << shift, width, 2 + channels))  # of weights, of depths, of each channel
    best, left = np.empty((1 << shift, width)), np.empty((1 << shift, width))
    for b in range(begin, end):
        image, row_begin = b // bands, (b % bands) << shift
        row_end = min(height, row_begin + (1 << shift))
        offset, slope = exponents[image, 0], exponents[image, 1]
        sums[:] = 0.0
        best[:] = NOTHING
        left[:] = 1.0
        for item in range(offsets[b], offsets[b + 1]):
            m = items[item]
            u, v, z = np.float64(discs[m, 0]), np.float64(discs[m, 1]), np.float64(discs[m, 2])
            radius, bulge = np.float64(discs[m, 3]), np.float64(discs[m, 4])
            at = m - image * per_image if shared else m
            top = offset - slope * (z - bulge)
            reach = radius + 0.5 * soft
            x_begin, x_end = pixel_range(u - reach, u + reach, width)
            y_begin, y_end = pixel_range(v - reach, v + reach, row_end)
            for y in range(max(y_begin, row_begin), y_end):
                r = y - row_begin
                for x in range(x_begin, x_end):
                    blends = top > best[r, x] - hides
                    if not blends and not left[r, x] > least:
                        continue
                    _, share_squared, _, coverage = disc_terms(x + 0.5 - u, y + 0.5 - v, radius, soft)
                    if not coverage > 0.0:
                        continue
                    left[r, x] = max(1e-6 * least, left[r, x] * (1.0 - coverage))
                    if not blends:
                        continue
                    near = z - bulge * math.sqrt(max(1.0 - share_squared, RIM))
                    power = offset - slope * near
                    if power > best[r, x]:
                        fade = math.exp(max(best[r, x] - power, -700.0))
                        for c in range(2 + channels):
                            sums[r, x, c] *= fade
                        best[r, x] = power
                    share = coverage * math.exp(max(power - best[r, x], -700.0))
                    sums[r, x, 0] += share
                    sums[r, x, 1] += share * near
                    for c in range(channels):
                        sums[r, x, 2 + c] += share * attributes[at, c]
        for y in range(row_begin, row_end):
            for x in range(width):
                r = y - row_begin
                total = sums[r, x, 0]
                inverse = 1.0 / total if total > 0.0 else 0.0
                transmittance[image, y, x] = left[r, x]
                weight[image, y, x] = best[r, x] + math.log(total) if total > 0.0 else NOTHING
                depth[image, y, x] = sums[r, x, 1] * inverse
                for c in range(channels):
                    blended[image, y, x, c] = sums[r, x, 2 + c] * inverse


@kernel
def splat_gradient(
    begin, end, discs, attributes, per_image, shared, offsets, items, exponents, soft, shift, least, hides, flow, of_values, gradient,
    attribute_gradient,
):  # fmt: skip
    """Add gradients of discs [M, 5] and attributes from the bands [begin, end) of all images.

    Args:
        flow: [B, H, W, 4] for each pixel: gradient of the transmittance times it (0 where it does not count), logarithm of the sum of
            weights (-NOTHING where there is nothing), gradient of depth, what all gradients give together for a mean fragment.
        of_values: [B, H, W, C].
    """
    height, width, channels = of_values.shape[1:]
    bands = ((height - 1) >> shift) + 1
    for b in range(begin, end):
        image, row_begin = b // bands, (b % bands) << shift
        row_end = min(height, row_begin + (1 << shift))
        offset, slope = exponents[image, 0], exponents[image, 1]
        for item in range(offsets[b], offsets[b + 1]):
            m = items[item]
            u, v, z = np.float64(discs[m, 0]), np.float64(discs[m, 1]), np.float64(discs[m, 2])
            radius, bulge = np.float64(discs[m, 3]), np.float64(discs[m, 4])
            at = m - image * per_image if shared else m
            top = offset - slope * (z - bulge)
            reach = radius + 0.5 * soft
            x_begin, x_end = pixel_range(u - reach, u + reach, width)
            y_begin, y_end = pixel_range(v - reach, v + reach, row_end)
            for y in range(max(y_begin, row_begin), y_end):
                for x in range(x_begin, x_end):
                    through, all_weights = np.float64(flow[image, y, x, 0]), np.float64(flow[image, y, x, 1])
                    blends = top > all_weights - hides
                    if not blends and through == 0.0:
                        continue
                    dx, dy = x + 0.5 - u, y + 0.5 - v
                    d, share_squared, t, coverage = disc_terms(dx, dy, radius, soft)
                    if not coverage > 0.0:
                        continue
                    of_coverage = -through / (1.0 - coverage) if coverage < 1.0 else 0.0
                    of_depth = 0.0
                    falls = 1.0 - share_squared > RIM
                    up = math.sqrt(max(1.0 - share_squared, RIM))
                    if blends:
                        near = z - bulge * up
                        # at most the whole weight: the sum may be rounded, which matters where the slope is steep
                        each = min(math.exp(min(max(offset - slope * near - all_weights, -700.0), 700.0)), 1.0 / coverage)
                        of_near = np.float64(flow[image, y, x, 2])
                        common = of_near * near - flow[image, y, x, 3]
                        for c in range(channels):
                            g = of_values[image, y, x, c]
                            common += g * attributes[at, c]
                            attribute_gradient[at, c] += coverage * each * g
                        of_coverage += each * common
                        of_depth = coverage * each * (of_near - slope * common)
                    along = of_coverage * 6.0 * t * (1.0 - t) / soft
                    gradient[m, 2] += of_depth
                    gradient[m, 3] += along
                    gradient[m, 4] -= of_depth * up
                    pull = along / d if d > 0.0 else 0.0
                    if falls:
                        of_squared = of_depth * bulge * 0.5 / up
                        gradient[m, 3] -= of_squared * 2.0 * share_squared / max(radius, 1e-6)
                        pull -= of_squared * 2.0 / max(radius * radius, 1e-12)
                    gradient[m, 0] += pull * dx
                    gradient[m, 1] += pull * dy
