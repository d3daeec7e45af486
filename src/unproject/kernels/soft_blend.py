"""Soft colours: attributes of all faces near a pixel blended by coverage and depth, and the way back.

The weight of a face is its coverage times exp(nearness / gamma), normalized over all faces. A running maximum of the exponents
keeps the sums in range; faces far behind the nearest so far are passed by before their colour is looked at.
"""

import math

import numpy as np

from .bands import open_band
from .jit import kernel
from .lane_math import exp, total
from .simd import WIDTH, bits, load, maximum, multiply_add, ramp, select, splat, store
from .soft import add_corners, lay_face, pull_corners, to_face

NOTHING = -1e30  # logarithm of a weight of 0


@kernel(inline="llvm")
def corner_depths(real, points, flat, corners, orthographic, sign):
    """In all lanes: depths of a face's corners, what turns their screen weights into weights in space, and a weight for faces without
    area. Then the least of the depths."""
    i, j, k = corners
    zi, zj, zk = np.float64(points[i, 2]), np.float64(points[j, 2]), np.float64(points[k, 2])
    ni = 1.0 if orthographic else flat[i, 2]
    nj = 1.0 if orthographic else flat[j, 2]
    nk = 1.0 if orthographic else flat[k, 2]
    alone = splat(real(0.0 if abs(sign) > 0.0 else 1.0))
    depths = splat(real(zi)), splat(real(zj)), splat(real(zk))
    return depths, (splat(real(ni)), splat(real(nj)), splat(real(nk)), alone), min(zi, min(zj, zk))


@kernel(inline="llvm")
def blend_weights(side_ab, side_bc, side_ca, nearness, zero, one):
    """Barycentrics from areas, clamped to the face and perspective-correct, and what they were divided by (inverted)."""
    ni, nj, nk, alone = nearness
    p = multiply_add(maximum(side_bc, zero), ni, alone)
    q = multiply_add(maximum(side_ca, zero), nj, alone)
    r = multiply_add(maximum(side_ab, zero), nk, alone)
    inverse = one / (p + q + r)
    return p * inverse, q * inverse, r * inverse, inverse


@kernel
def blend_bands(
    begin, end, flat, faces, images, job_offsets, offsets, items, band, points, attributes, attribute_bases, orthographic, look,
    exponents, hides, blended, depth, transmittance, weight,
):  # fmt: skip
    """Blend the bands [begin, end) of all images.

    Args:
        attributes: [R, C] of vertices; attribute_bases: [B] what to add to a vertex index for its row.
        look: (farthest nearness, cull, blur radius, smallest transmittance that counts, 1 / sigma), lengths in pixels.
        exponents: [B, 2] float64 offset and slope: a fragment at depth z has the exponent offset - slope z.
        hides: one whose exponent is this much greater hides it.
        blended, depth, transmittance, weight: [B, H, W, C], [B, H, W] three times; weight is the logarithm of the sum of all weights.
    """
    _, _, radius, smallest, sharpness = look
    height, width = transmittance.shape[1:]
    channels = attributes.shape[1]
    real = transmittance.dtype.type
    pitch = (width + WIDTH - 1) // WIDTH * WIDTH
    size = band * pitch
    left_buffer, best_buffer = np.empty(size, transmittance.dtype), np.empty(size, transmittance.dtype)
    sums = np.empty((2 + channels) * size, transmittance.dtype)  # of weights, of depths, of each channel
    centers = ramp(real(0.5))
    zero, one, least, floor = splat(real(0)), splat(real(1)), splat(real(smallest)), splat(real(smallest * 1e-6))
    scale, reach = splat(real(sharpness)), splat(real(radius * radius))
    hidden, nothing = splat(real(hides)), splat(real(NOTHING))
    listed = len(items) > 0
    for b in range(begin, end):
        image, (row_begin, row_end), (first, last), first_face, base = open_band(b, band, height, images, job_offsets, offsets)
        more, offset, fall = attribute_bases[image], exponents[image, 0], exponents[image, 1]
        start, slope = splat(real(offset)), splat(real(fall))
        for p in range(size):
            left_buffer[p] = 1
            best_buffer[p] = NOTHING
        for p in range(len(sums)):
            sums[p] = 0
        for item in range(first, last):
            f = first_face + (items[item] if listed else item)
            (i, j, k), (ox, oy, edges, sign), columns, rows = lay_face(real, flat, faces, f, base, look, width, row_begin, row_end)
            if rows[0] >= rows[1]:
                continue
            (zi, zj, zk), nearness, least_depth = corner_depths(real, points, flat, (i, j, k), orthographic, sign)
            top, turn = splat(real(offset - fall * least_depth)), real(abs(sign))
            i, j, k = faces[f, 0] + more, faces[f, 1] + more, faces[f, 2] + more
            for y in range(rows[0], rows[1]):
                py = real(y + 0.5 - oy)
                row = (y - row_begin) * pitch
                for x in range(columns[0], columns[1], WIDTH):
                    left, best = load(left_buffer, row + x), load(best_buffer, row + x)
                    blends = bits(top > best - hidden) != 0
                    if not blends and bits(left > least) == 0:
                        continue
                    px = splat(real(x - ox)) + centers
                    _, _, d, _, _, _, side_ab, side_bc, side_ca, inside = to_face(px, py, edges, turn, zero, one)
                    counts = inside | (d < reach)
                    if bits(counts) == 0:
                        continue
                    odds = exp(select(inside, d, zero - d) * scale)
                    q = one / (one + odds)
                    store(left_buffer, row + x, maximum(floor, select(counts, left * q, left)))
                    if not blends:
                        continue
                    u, v, w, _ = blend_weights(side_ab, side_bc, side_ca, nearness, zero, one)
                    z = u * zi + v * zj + w * zk
                    power = start - slope * z
                    peak = maximum(best, select(counts, power, nothing))
                    fade = exp(best - peak)
                    share = select(counts, odds * q * exp(power - peak), zero)
                    store(best_buffer, row + x, peak)
                    store(sums, row + x, multiply_add(load(sums, row + x), fade, share))
                    store(sums, size + row + x, multiply_add(load(sums, size + row + x), fade, share * z))
                    su, sv, sw = share * u, share * v, share * w
                    for c in range(channels):
                        at = (2 + c) * size + row + x
                        value = su * splat(attributes[i, c]) + sv * splat(attributes[j, c]) + sw * splat(attributes[k, c])
                        store(sums, at, multiply_add(load(sums, at), fade, value))
        for y in range(row_begin, row_end):
            for x in range(width):
                at = (y - row_begin) * pitch + x
                transmittance[image, y, x] = left_buffer[at]
                found = sums[at] > 0
                inverse = real(1) / sums[at] if found else real(0)
                weight[image, y, x] = best_buffer[at] + math.log(sums[at]) if found else NOTHING
                depth[image, y, x] = sums[size + at] * inverse
                for c in range(channels):
                    blended[image, y, x, c] = sums[(2 + c) * size + at] * inverse


@kernel(inline="llvm")
def channel_flow(flow, at, planes, channels, share, barycentrics, attributes, corners, corner_sums, zero):
    """Gradient of the barycentrics, over `share`, from that of the blended channels; that of the attributes is added to corner_sums.

    Args:
        flow: as blend_gradient's, the first channel at the index `at`. corner_sums: [3 * C * WIDTH].
    """
    bu, bv, bw = barycentrics
    i, j, k = corners
    su, sv, sw = share * bu, share * bv, share * bw
    gu = gv = gw = zero
    for c in range(channels):
        g = load(flow, at + c * planes)
        gu = multiply_add(g, splat(attributes[i, c]), gu)
        gv = multiply_add(g, splat(attributes[j, c]), gv)
        gw = multiply_add(g, splat(attributes[k, c]), gw)
        slot = 3 * c * WIDTH
        store(corner_sums, slot, multiply_add(su, g, load(corner_sums, slot)))
        store(corner_sums, slot + WIDTH, multiply_add(sv, g, load(corner_sums, slot + WIDTH)))
        store(corner_sums, slot + 2 * WIDTH, multiply_add(sw, g, load(corner_sums, slot + 2 * WIDTH)))
    return gu, gv, gw


@kernel(inline="llvm")
def add_moments(moments, g, px, py):
    """Add the gradient of an edge's side at pixels of a row to its sum and first moments."""
    m, mx, my = moments
    return m + g, multiply_add(g, px, mx), multiply_add(g, py, my)


@kernel(inline="llvm")
def add_edge(gradient, a, b, flat, ox, oy, sign, moments):
    """Add to the gradient of pixels of the ends a and b of an edge what comes from its side."""
    ax, ay, bx, by = flat[a, 0] - ox, flat[a, 1] - oy, flat[b, 0] - ox, flat[b, 1] - oy
    m, mx, my = sign * total(moments[0]), sign * total(moments[1]), sign * total(moments[2])
    gradient[a, 0] += by * m - my
    gradient[a, 1] += mx - bx * m
    gradient[b, 0] += my - ay * m
    gradient[b, 1] += ax * m - mx


@kernel(inline="llvm")
def add_attributes(attribute_gradient, corners, channels, corner_sums):
    """Add to the gradient of the attributes of a face's corners what channel_flow has summed."""
    for c in range(channels):
        slot = 3 * c * WIDTH
        attribute_gradient[corners[0], c] += total(load(corner_sums, slot))
        attribute_gradient[corners[1], c] += total(load(corner_sums, slot + WIDTH))
        attribute_gradient[corners[2], c] += total(load(corner_sums, slot + 2 * WIDTH))


@kernel
def blend_gradient(
    begin, end, flat, faces, images, job_offsets, offsets, items, band, points, attributes, attribute_bases, orthographic, look,
    exponents, hides, size, flow, gradient, attribute_gradient,
):  # fmt: skip
    """Add gradients of pixel and depth [N, 3] and of attributes [R, C] from the bands [begin, end) of all images.

    Args:
        size: (B, height, width, pitch).
        flow: [(4 + C) * B * H * pitch] for each pixel, rows of whole lanes: gradient of the transmittance times it (0 where it does
            not count); logarithm of the sum of weights (-NOTHING where nothing is blended); gradient of depth; what the gradients of
            blended, depth and weight give together for a mean fragment; gradient of each blended channel.
    """
    _, _, radius, _, sharpness = look
    count, height, width, pitch = size
    channels = attributes.shape[1]
    planes = count * height * pitch
    real = flow.dtype.type
    centers = ramp(real(0.5))
    zero, one = splat(real(0)), splat(real(1))
    scale, reach = splat(real(sharpness)), splat(real(radius * radius))
    hidden = splat(real(hides))
    corner_sums = np.empty(3 * channels * WIDTH, flow.dtype)
    listed = len(items) > 0
    for b in range(begin, end):
        image, (row_begin, row_end), (first, last), first_face, base = open_band(b, band, height, images, job_offsets, offsets)
        more, offset, fall = attribute_bases[image], exponents[image, 0], exponents[image, 1]
        start, slope = splat(real(offset)), splat(real(fall))
        for item in range(first, last):
            f = first_face + (items[item] if listed else item)
            corners, (ox, oy, edges, sign), columns, rows = lay_face(real, flat, faces, f, base, look, width, row_begin, row_end)
            if rows[0] >= rows[1]:
                continue
            (zi, zj, zk), nearness, least_depth = corner_depths(real, points, flat, corners, orthographic, sign)
            top, turn = splat(real(offset - fall * least_depth)), real(abs(sign))
            curve = zero if orthographic else one
            rows_of, (ni, nj, nk, _) = (faces[f, 0] + more, faces[f, 1] + more, faces[f, 2] + more), nearness
            sums = zero, zero, zero, zero, zero, zero  # of corners, from the distance
            az = bz = cz = zero
            ab, bc, ca = (zero, zero, zero), (zero, zero, zero), (zero, zero, zero)  # moments of the gradient of each side
            for p in range(len(corner_sums)):
                corner_sums[p] = 0
            colored = False
            for y in range(rows[0], rows[1]):
                py = real(y + 0.5 - oy)
                lane_py = splat(py)
                for x in range(columns[0], columns[1], WIDTH):
                    at = (image * height + y) * pitch + x
                    g, weight = load(flow, at), load(flow, planes + at)
                    blends = bits(top > weight - hidden) != 0
                    if not blends and bits((g > zero) | (g < zero)) == 0:
                        continue
                    px = splat(real(x - ox)) + centers
                    rx, ry, d, u, v, w, side_ab, side_bc, side_ca, inside = to_face(px, py, edges, turn, zero, one)
                    counts = inside | (d < reach)
                    if bits(counts) == 0:
                        continue
                    odds = exp(select(inside, d, zero - d) * scale)
                    q = one / (one + odds)
                    coverage = odds * q
                    flows = zero - select(counts, g, zero) * coverage
                    if blends:
                        colored = True
                        bu, bv, bw, inverse = blend_weights(side_ab, side_bc, side_ca, nearness, zero, one)
                        z = bu * zi + bv * zj + bw * zk
                        power = start - slope * z
                        share = coverage * select(counts, exp(power - weight), zero)
                        gz, first = load(flow, 2 * planes + at), 4 * planes + at
                        gu, gv, gw = channel_flow(
                            flow, first, planes, channels, share, (bu, bv, bw), attributes, rows_of, corner_sums, zero
                        )
                        common = share * (gz * z + bu * gu + bv * gv + bw * gw - load(flow, 3 * planes + at))
                        flows = flows + common * q
                        dz = gz * share - common * slope
                        gu = multiply_add(share, gu, dz * zi)
                        gv = multiply_add(share, gv, dz * zj)
                        gw = multiply_add(share, gw, dz * zk)
                        mean = bu * gu + bv * gv + bw * gw
                        gu, gv, gw = (gu - mean) * inverse, (gv - mean) * inverse, (gw - mean) * inverse
                        az = az + dz * bu - curve * maximum(side_bc, zero) * gu * ni * ni
                        bz = bz + dz * bv - curve * maximum(side_ca, zero) * gv * nj * nj
                        cz = cz + dz * bw - curve * maximum(side_ab, zero) * gw * nk * nk
                        bc = add_moments(bc, select(side_bc > zero, gu * ni, zero), px, lane_py)
                        ca = add_moments(ca, select(side_ca > zero, gv * nj, zero), px, lane_py)
                        ab = add_moments(ab, select(side_ab > zero, gw * nk, zero), px, lane_py)
                    flows = select(inside, zero - flows, flows)  # d^2 grows the exponent inside; and falls as a corner comes closer
                    sums = pull_corners(sums, u, v, w, flows * rx, flows * ry)
            add_corners(gradient, corners, sums, 2.0 * sharpness)
            if colored:
                add_attributes(attribute_gradient, rows_of, channels, corner_sums)
                gradient[corners[0], 2] += total(az)
                gradient[corners[1], 2] += total(bz)
                gradient[corners[2], 2] += total(cz)
                add_edge(gradient, corners[0], corners[1], flat, ox, oy, sign, ab)
                add_edge(gradient, corners[1], corners[2], flat, ox, oy, sign, bc)
                add_edge(gradient, corners[2], corners[0], flat, ox, oy, sign, ca)
