"""Soft discs and spheres: attributes of all that lie near a pixel, blended by coverage and depth, and the way back.

A disc is (u, v, z, R, bulge): pixel, depth, radius in pixels, and how much nearer its middle is than its rim (0 for flat ones).

Discs lie in lists by cells, bands of rows cut into slabs of depth: a band is drawn from front to back, more or less. Any order is right,
but what lies behind costs less then. Eight pixels go at once, four of a row and four of the next, from where the disc begins; its coverage
is 0 where it has ended. The planes of a band have row pairs side by side: pixel (row, x) is at `(row // 2 * pitch + x) * 2 + row % 2`.
"""

import math

import numpy as np

from .bands import pixel_range
from .jit import kernel
from .lane_math import exp, round_down, total
from .simd import bits, element, load, maximum, minimum, prefetch, ramp, select, splat, square_root, store

NOTHING = -1e30  # logarithm of a weight of 0
RIM = 0.01  # of a sphere's height squared, where it no longer falls
SLABS = 32
_FAR = 1e30  # depth where there is nothing yet
_LONG, _HIGH = 4, 2  # pixels that go at once
_AHEAD = 8  # discs that are fetched early
_RISE = 16.0  # exponents that a disc may lie before the reference depth
_LEFT, _FRONT, _WEIGHTS, _CHANNELS = 0, 1, 2, 4  # planes of a band: transmittance, reference depth, sums of weights, depths, channels


@kernel(inline="llvm")
def lane_centers(real):
    """Pixel centres, across and down, of the pixels that go at once from pixel (0, 0); `real` is their type."""
    number, high, half = ramp(real(0)), splat(real(_HIGH)), splat(real(0.5))
    column = round_down(number / high)
    return column + half, number - column * high + half


@kernel
def find_cells(begin, end, discs, per_image, height, width, planes, slabs, soft, shift, cells, counts):
    """First cell and number of bands [M, 2] of every disc, and how many discs each cell of each image gets from this slice.

    Args:
        planes: depths (near, far). slabs: (where the first slab begins, slabs a unit of depth).
    """
    bands = ((height - 1) >> shift) + 1
    near, far = planes
    first_slab, per_depth = slabs
    for m in range(begin, end):
        u, v, z = np.float64(discs[m, 0]), np.float64(discs[m, 1]), np.float64(discs[m, 2])
        reach = np.float64(discs[m, 3]) + 0.5 * soft
        x_first, x_last = pixel_range(u - reach, u + reach, width)
        first, last = pixel_range(v - reach, v + reach, height)
        cells[m, 1] = 0
        if z >= near and z <= far and x_first < x_last and first < last:
            slab = np.int64(max(0.0, min(SLABS - 1.0, (z - first_slab) * per_depth)))
            cell = (m // per_image * bands + (first >> shift)) * SLABS + slab
            count = ((last - 1) >> shift) - (first >> shift) + 1
            cells[m, 0] = cell
            cells[m, 1] = count
            for _ in range(count):
                counts[cell] += 1
                cell += SLABS


@kernel
def fill_cells(begin, end, cells, cursor, items):
    """List the discs of every cell in ascending order; `cursor` is where this slice's lists begin."""
    for m in range(begin, end):
        cell = cells[m, 0]
        for _ in range(cells[m, 1]):
            slot = cursor[cell]
            items[slot] = m
            cursor[cell] = slot + 1
            cell += SLABS


@kernel(inline="llvm")
def fetch(discs, attributes, m, first, channels):
    """Ask for a disc and its attributes early: they lie anywhere."""
    prefetch(discs, m)
    prefetch(discs[:, 4:], m)
    prefetch(attributes, (m - first) * channels)


@kernel(inline="llvm")
def disc_lanes(dx, dy, reach, sharpness, zero, one):
    """For pixels of a row: squared distance from the middle, its root, place on the soft edge in [0, 1], coverage."""
    squared = dx * dx + dy * dy
    d = square_root(squared)
    t = minimum(one, maximum(zero, (reach - d) * sharpness))
    return squared, d, t, t * t * (one + one + one - t - t)


@kernel(inline="llvm")
def bring_forward(planes, p, size, channels, rises, nearest, slope):
    """Move the reference depth of the lanes `rises` to `nearest`; what they have summed fades accordingly."""
    front = load(planes, p + _FRONT * size)
    moved = select(rises, nearest, front)
    fade = exp(slope * (moved - front))
    store(planes, p + _FRONT * size, moved)
    for plane in range(_WEIGHTS, _CHANNELS + channels):
        store(planes, p + plane * size, load(planes, p + plane * size) * fade)
    return moved


@kernel
def splat_bands(
    begin, end, discs, attributes, per_image, shared, offsets, items, exponents, soft, shift, least, hides, blended, depth, transmittance,
    weight,
):  # fmt: skip
    """Blend the bands [begin, end) of all images.

    Args:
        attributes: flat [per_image * C] if `shared`, else [M * C].
        exponents: [B, 2] offset and slope: at depth z the weight is coverage x exp(offset - slope z).
        least: transmittance that no longer counts. hides: one whose exponent is this much greater hides a disc.
        blended, depth, transmittance, weight: [B, H, W, C], [B, H, W] three times; weight is the logarithm of the sum of all weights.
    """
    height, width, channels = blended.shape[1:]
    real = discs.dtype.type
    bands = ((height - 1) >> shift) + 1
    pitch = width + _LONG  # lanes may begin at any pixel
    size = pitch << shift
    planes = np.empty((_CHANNELS + channels) * size, discs.dtype)
    across, down = lane_centers(real)
    zero, one, rim = splat(real(0)), splat(real(1)), splat(real(RIM))
    lane_least, floor, behind, before = splat(real(least)), splat(real(1e-6 * least)), splat(real(-hides)), splat(real(_RISE))
    sharpness = splat(real(1.0 / soft))
    for b in range(begin, end):
        image, row_begin = b // bands, (b % bands) << shift
        row_end = min(height, row_begin + (1 << shift))
        slope = splat(real(min(exponents[image, 1], _FAR)))
        planes[:size] = real(1)
        planes[size : 2 * size] = real(_FAR)
        planes[2 * size :] = real(0)
        for item in range(offsets[b * SLABS], offsets[(b + 1) * SLABS]):
            fetch(discs, attributes, items[min(item + _AHEAD, len(items) - 1)], image * per_image if shared else 0, channels)
            m = items[item]
            u, v, z = np.float64(discs[m, 0]), np.float64(discs[m, 1]), discs[m, 2]
            radius, bulge = discs[m, 3], discs[m, 4]
            at = (m - image * per_image if shared else np.int64(m)) * channels
            reach = radius + 0.5 * soft
            x_begin, x_end = pixel_range(u - reach, u + reach, width)
            y_begin, y_end = pixel_range(v - reach, v + reach, row_end)
            lane_reach, lane_z, lane_bulge = splat(real(reach)), splat(z), splat(bulge)
            steepness = splat(real(1.0 / max(radius * radius, 1e-12)))
            for y in range(max(y_begin & -_HIGH, row_begin), y_end, _HIGH):
                dy = splat(real(y - v)) + down
                for x in range(x_begin, x_end, _LONG):
                    p = (y - row_begin) * pitch + 2 * x
                    squared, _, _, coverage = disc_lanes(splat(real(x - u)) + across, dy, lane_reach, sharpness, zero, one)
                    bump = zero
                    if bulge != 0:
                        bump = lane_bulge * square_root(maximum(one - squared * steepness, rim))
                    left, front = load(planes, p), load(planes, p + size)
                    power = slope * ((front - lane_z) + bump)  # in this order: differences of depths are exact
                    counts = coverage > zero
                    blends = counts & (power > behind)
                    if bits(blends | (counts & (left > lane_least))) == 0:
                        continue
                    store(planes, p, maximum(floor, left * (one - coverage)))
                    if bits(blends) == 0:
                        continue
                    near, rises = lane_z - bump, blends & (power > before)
                    if bits(rises) != 0:
                        front = bring_forward(planes, p, size, channels, rises, near, slope)
                        power = slope * ((front - lane_z) + bump)
                    share = select(blends, coverage, zero) * exp(power)
                    q = p + _WEIGHTS * size
                    store(planes, q, load(planes, q) + share)
                    store(planes, q + size, load(planes, q + size) + share * near)
                    for c in range(channels):
                        q = p + (_CHANNELS + c) * size
                        store(planes, q, load(planes, q) + share * splat(element(attributes, at + c)))
        for y in range(row_begin, row_end):
            for x in range(width):
                p = (((y - row_begin) >> 1) * pitch + x) * 2 + (y & 1)
                summed = planes[p + 2 * size]
                inverse = 1.0 / summed if summed > 0 else 0.0
                transmittance[image, y, x] = planes[p]
                level = exponents[image, 0] - exponents[image, 1] * planes[p + size]
                weight[image, y, x] = level + math.log(np.float64(summed)) if summed > 0 else NOTHING
                depth[image, y, x] = planes[p + 3 * size] * inverse
                for c in range(channels):
                    blended[image, y, x, c] = planes[p + (4 + c) * size] * inverse


@kernel
def splat_gradient(
    begin, end, discs, attributes, per_image, shared, offsets, items, exponents, soft, shift, least, hides, flow, of_values, gradient,
    attribute_gradient,
):  # fmt: skip
    """Add gradients of discs [M, 5] and attributes (flat) from the bands [begin, end) of all images. All in float64.

    Args:
        flow: [B, H, W, 4] for each pixel: gradient of the transmittance times it (0 where it does not count), logarithm of the sum of
            weights (-NOTHING where there is nothing), gradient of depth, what all gradients give together for a mean fragment.
        of_values: [B, H, W, C].
    """
    height, width, channels = of_values.shape[1:]
    bands = ((height - 1) >> shift) + 1
    pitch = width + _LONG
    size = pitch << shift
    planes = np.zeros((4 + channels) * size)
    across, down = lane_centers(np.float64)
    zero, one, six, behind, rim = splat(0.0), splat(1.0), splat(6.0), splat(-np.float64(hides)), splat(RIM)
    sharpness = splat(1.0 / soft)
    for b in range(begin, end):
        image, row_begin = b // bands, (b % bands) << shift
        row_end = min(height, row_begin + (1 << shift))
        offset, slope = exponents[image, 0], splat(exponents[image, 1])
        for y in range(row_begin, row_end):
            for x in range(width):
                p = (((y - row_begin) >> 1) * pitch + x) * 2 + (y & 1)
                for plane in range(4):
                    planes[p + plane * size] = flow[image, y, x, plane]
                for c in range(channels):
                    planes[p + (4 + c) * size] = of_values[image, y, x, c]
        for item in range(offsets[b * SLABS], offsets[(b + 1) * SLABS]):
            fetch(discs, attributes, items[min(item + _AHEAD, len(items) - 1)], image * per_image if shared else 0, channels)
            prefetch(gradient, items[min(item + _AHEAD, len(items) - 1)])
            m = items[item]
            u, v, z = np.float64(discs[m, 0]), np.float64(discs[m, 1]), np.float64(discs[m, 2])
            radius, bulge = np.float64(discs[m, 3]), np.float64(discs[m, 4])
            at = (m - image * per_image if shared else np.int64(m)) * channels
            reach = radius + 0.5 * soft
            x_begin, x_end = pixel_range(u - reach, u + reach, width)
            y_begin, y_end = pixel_range(v - reach, v + reach, row_end)
            lane_reach, lane_z, lane_bulge, top = splat(reach), splat(z), splat(bulge), splat(offset)
            steepness = splat(1.0 / max(radius * radius, 1e-12))
            to_radius = splat(-1.0 / max(radius, 1e-6))
            gu = gv = gz = gr = gb = zero
            for y in range(max(y_begin & -_HIGH, row_begin), y_end, _HIGH):
                dy = splat(y - v) + down
                for x in range(x_begin, x_end, _LONG):
                    p = (y - row_begin) * pitch + 2 * x
                    dx = splat(x - u) + across
                    squared, d, t, coverage = disc_lanes(dx, dy, lane_reach, sharpness, zero, one)
                    through, weights = load(planes, p), load(planes, p + size)
                    share_squared = squared * steepness
                    above = one - share_squared
                    up = square_root(maximum(above, rim))
                    near = lane_z - lane_bulge * up
                    power = top - slope * near - weights
                    counts = coverage > zero
                    blends = counts & (power > behind)
                    if bits(blends | (counts & ((through > zero) | (through < zero)))) == 0:
                        continue
                    of_coverage = select(coverage < one, (zero - through) / (one - coverage), zero)
                    of_depth = zero
                    if bits(blends) != 0:
                        # at most the whole weight: the sum may be rounded, which matters where the slope is steep
                        each = select(blends, minimum(exp(power), one / coverage), zero)
                        weight = coverage * each
                        of_near = load(planes, p + 2 * size)
                        common = of_near * near - load(planes, p + 3 * size)
                        for c in range(channels):
                            g = load(planes, p + (4 + c) * size)
                            common = common + g * splat(np.float64(element(attributes, at + c)))
                            attribute_gradient[at + c] += total(weight * g)
                        of_coverage = of_coverage + each * common
                        of_depth = weight * (of_near - slope * common)
                    along = of_coverage * six * t * (one - t) * sharpness
                    gz, gr, gb = gz + of_depth, gr + along, gb - of_depth * up
                    pull = select(d > zero, along / d, zero)
                    if bulge != 0.0:
                        of_squared = select(above > rim, of_depth * lane_bulge / up, zero)
                        gr = gr + of_squared * share_squared * to_radius
                        pull = pull - of_squared * steepness
                    gu, gv = gu + pull * dx, gv + pull * dy
            gradient[m, 0] += total(gu)
            gradient[m, 1] += total(gv)
            gradient[m, 2] += total(gz)
            gradient[m, 3] += total(gr)
            gradient[m, 4] += total(gb)
