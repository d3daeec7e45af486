"""Which faces take part in the softly blended colour of which pixels: pairs of pixel and face whose share is worth counting."""

import math

from .bands import open_band
from .jit import kernel
from .lane_math import exp
from .simd import WIDTH, bits, first_bit, load, ramp, select, splat
from .soft import lay_face, to_face
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
    _, _, radius, sharpness = look
    height, width, pitch = size
    real = weight.dtype.type
    centers = ramp(real(0.5))
    zero, one = splat(real(0)), splat(real(1))
    scale, reach, enough = splat(real(sharpness)), splat(real(radius * radius)), splat(real(least))
    hidden = splat(real(-math.log(least)))
    listed = len(items) > 0
    for b in range(begin, end):
        image, (row_begin, row_end), (first, last), first_face, base = open_band(b, band, height, images, job_offsets, offsets)
        offset, fall = exponents[image, 0], exponents[image, 1]
        start, slope = splat(real(offset)), splat(real(fall))
        slot, room = starts[b], starts[b + 1]
        for item in range(first, last):
            f = first_face + (items[item] if listed else item)
            (i, j, k), (ox, oy, edges, sign), columns, rows = lay_face(real, flat, faces, f, base, look, width, row_begin, row_end)
            if rows[0] >= rows[1]:
                continue
            (zi, zj, zk), nearness, least_depth = corner_depths(real, points, flat, (i, j, k), orthographic, sign)
            top, turn = splat(real(offset - fall * least_depth)), real(abs(sign))
            for y in range(rows[0], rows[1]):
                py = real(y + 0.5 - oy)
                for x in range(columns[0], columns[1], WIDTH):
                    all_weights = load(weight, (image * height + y) * pitch + x)
                    if bits(top > all_weights - hidden) == 0:
                        continue
                    px = splat(real(x - ox)) + centers
                    _, _, d, _, _, _, side_ab, side_bc, side_ca, inside = to_face(px, py, edges, turn, zero, one)
                    odds = exp(select(inside, d, zero - d) * scale)
                    u, v, w, _ = blend_weights(side_ab, side_bc, side_ca, nearness, zero, one)
                    power = start - slope * (u * zi + v * zj + w * zk)
                    share = odds / (one + odds) * exp(power - all_weights)
                    left = bits((share >= enough) & (inside | (d < reach)))
                    while left != 0:
                        if slot < room:
                            pixels[slot] = (image * height + y) * width + x + first_bit(left)
                            found[slot] = f
                        slot += 1
                        left &= left - 1
        counts[b] = slot - starts[b]
