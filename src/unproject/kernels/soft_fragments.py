"""Which faces take part in the softly blended colour of which pixels: pairs of pixel and face whose share is worth counting."""

import math

import numpy as np

from .bands import pixel_range
from .jit import kernel
from .lane_math import exp
from .simd import WIDTH, bits, first_bit, load, select, splat
from .soft import face_constants, seen, to_face
from .soft_blend import blend_weights, corner_depths


@kernel
def list_fragments(
    begin, end, flat, faces, images, job_offsets, offsets, items, band, points, orthographic, look, exponents, least, weight, size,
    starts, counts, pixels, found,
):  # fmt: skip
    """Count the fragments of the bands [begin, end) of all images, and list those for which there is room: by band, then face, then row.

    Args:
        look: (farthest nearness, cull, blur radius, 1 / sigma), lengths in pixels. exponents: as kernels.soft_blend.
        least: share of a pixel's sum of weights from which on a fragment is listed.
        weight: [B * H * pitch] logarithm of the sum of weights, rows of whole lanes; beyond the width it is infinite.
        size: (height, width, pitch).
        starts: [bands + 1] where the room of each band begins in the lists. counts: [bands] result.
        pixels, found: results, row of [B * H * W] and face.
    """
    farthest, cull, radius, sharpness = look
    height, width, pitch = size
    real = weight.dtype.type
    bands = (height + band - 1) // band
    centers = load((np.arange(WIDTH) + 0.5).astype(weight.dtype), 0)
    zero, one = splat(real(0)), splat(real(1))
    scale, reach, enough = splat(real(sharpness)), splat(real(radius * radius)), splat(real(least))
    hidden = splat(real(-math.log(least)))
    listed = len(offsets) > 0
    for b in range(begin, end):
        image = b // bands
        row_begin = (b % bands) * band
        row_end = min(height, row_begin + band)
        base, first_face = images[image, 1], images[image, 0] - job_offsets[image]
        offset, fall = exponents[image, 0], exponents[image, 1]
        start, slope = splat(real(offset)), splat(real(fall))
        slot, room = starts[b], starts[b + 1]
        for item in range(offsets[b] if listed else job_offsets[image], offsets[b + 1] if listed else job_offsets[image + 1]):
            f = first_face + (items[item] if listed else item)
            i, j, k = faces[f, 0] + base, faces[f, 1] + base, faces[f, 2] + base
            ox, oy, edges, bounds, sign = face_constants(real, flat, i, j, k)
            if not seen(flat, i, j, k, farthest, cull, sign):
                continue
            x_begin, x_end = pixel_range(bounds[0] - radius, bounds[1] + radius, width)
            y_begin, y_end = pixel_range(bounds[2] - radius, bounds[3] + radius, row_end)
            zi, zj, zk, ni, nj, nk, flat_weight = corner_depths(points, flat, i, j, k, orthographic, sign)
            top = splat(real(offset - fall * min(zi, min(zj, zk))))
            lane_zi, lane_zj, lane_zk = splat(real(zi)), splat(real(zj)), splat(real(zk))
            lane_ni, lane_nj, lane_nk = splat(real(ni)), splat(real(nj)), splat(real(nk))
            alone, turn = splat(real(flat_weight)), real(abs(sign))
            for y in range(max(y_begin, row_begin), y_end):
                py = real(y + 0.5 - oy)
                for x in range(x_begin & -WIDTH, x_end, WIDTH):
                    all_weights = load(weight, (image * height + y) * pitch + x)
                    if bits(top > all_weights - hidden) == 0:
                        continue
                    px = splat(real(x - ox)) + centers
                    _, _, d, _, _, _, side_ab, side_bc, side_ca, inside = to_face(px, py, edges, turn, zero, one)
                    odds = exp(select(inside, d, zero - d) * scale)
                    u, v, w, _ = blend_weights(side_ab, side_bc, side_ca, lane_ni, lane_nj, lane_nk, alone, zero, one)
                    power = start - slope * (u * lane_zi + v * lane_zj + w * lane_zk)
                    share = odds / (one + odds) * exp(power - all_weights)
                    left = bits((share >= enough) & (inside | (d < reach)))
                    while left != 0:
                        if slot < room:
                            pixels[slot] = (image * height + y) * width + x + first_bit(left)
                            found[slot] = f
                        slot += 1
                        left &= left - 1
        counts[b] = slot - starts[b]
