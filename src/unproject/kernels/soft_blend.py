"""Soft colours: attributes of all faces near a pixel blended by coverage and depth, and the way back.

The weight of a face is its coverage times exp(nearness / gamma), normalized over all faces. A running maximum of the exponents
keeps the sums in range; faces far behind the nearest so far are passed by before their colour is looked at.
"""

import math

import numpy as np

from .bands import pixel_range
from .jit import kernel
from .lane_math import exp, total
from .simd import WIDTH, bits, load, maximum, multiply_add, select, splat, store
from .soft import face_constants, seen, to_face

NOTHING = -1e30  # logarithm of a weight of 0


@kernel(inline="llvm")
def corner_depths(points, flat, i, j, k, orthographic, sign):
    """Depths of a face's corners, what turns their screen weights into weights in space, and a weight for faces without area."""
    zi, zj, zk = np.float64(points[i, 2]), np.float64(points[j, 2]), np.float64(points[k, 2])
    ni = 1.0 if orthographic else flat[i, 2]
    nj = 1.0 if orthographic else flat[j, 2]
    nk = 1.0 if orthographic else flat[k, 2]
    return zi, zj, zk, ni, nj, nk, (0.0 if abs(sign) > 0.0 else 1.0)


@kernel(inline="llvm")
def blend_weights(side_ab, side_bc, side_ca, ni, nj, nk, flat_weight, zero, one):
    """Barycentrics from areas, clamped to the face and perspective-correct, and what they were divided by (inverted)."""
    p = multiply_add(maximum(side_bc, zero), ni, flat_weight)
    q = multiply_add(maximum(side_ca, zero), nj, flat_weight)
    r = multiply_add(maximum(side_ab, zero), nk, flat_weight)
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
    farthest, cull, radius, smallest, sharpness = look
    height, width = transmittance.shape[1:]
    channels = attributes.shape[1]
    real = transmittance.dtype.type
    bands = (height + band - 1) // band
    pitch = (width + WIDTH - 1) // WIDTH * WIDTH
    size = band * pitch
    left_buffer, best_buffer = np.empty(size, transmittance.dtype), np.empty(size, transmittance.dtype)
    sums = np.empty((2 + channels) * size, transmittance.dtype)  # of weights, of depths, of each channel
    centers = load((np.arange(WIDTH) + 0.5).astype(transmittance.dtype), 0)
    zero, one, least, floor = splat(real(0)), splat(real(1)), splat(real(smallest)), splat(real(smallest * 1e-6))
    scale, reach = splat(real(sharpness)), splat(real(radius * radius))
    hidden, nothing = splat(real(hides)), splat(real(NOTHING))
    listed = len(offsets) > 0
    for b in range(begin, end):
        image = b // bands
        row_begin = (b % bands) * band
        row_end = min(height, row_begin + band)
        base, first_face = images[image, 1], images[image, 0] - job_offsets[image]
        more, offset, fall = attribute_bases[image], exponents[image, 0], exponents[image, 1]
        start, slope = splat(real(offset)), splat(real(fall))
        for p in range(size):
            left_buffer[p] = 1
            best_buffer[p] = NOTHING
        for p in range(len(sums)):
            sums[p] = 0
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
            i, j, k = faces[f, 0] + more, faces[f, 1] + more, faces[f, 2] + more
            for y in range(max(y_begin, row_begin), y_end):
                py = real(y + 0.5 - oy)
                row = (y - row_begin) * pitch
                for x in range(x_begin & -WIDTH, x_end, WIDTH):
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
                    u, v, w, _ = blend_weights(side_ab, side_bc, side_ca, lane_ni, lane_nj, lane_nk, alone, zero, one)
                    z = u * lane_zi + v * lane_zj + w * lane_zk
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
    farthest, cull, radius, _, sharpness = look
    count, height, width, pitch = size
    channels = attributes.shape[1]
    planes = count * height * pitch
    real = flow.dtype.type
    bands = (height + band - 1) // band
    centers = load((np.arange(WIDTH) + 0.5).astype(flow.dtype), 0)
    zero, one = splat(real(0)), splat(real(1))
    scale, reach = splat(real(sharpness)), splat(real(radius * radius))
    hidden = splat(real(hides))
    corner_sums = np.empty(3 * channels * WIDTH, flow.dtype)
    listed = len(offsets) > 0
    for b in range(begin, end):
        image = b // bands
        row_begin = (b % bands) * band
        row_end = min(height, row_begin + band)
        base, first_face = images[image, 1], images[image, 0] - job_offsets[image]
        more, offset, fall = attribute_bases[image], exponents[image, 0], exponents[image, 1]
        start, slope = splat(real(offset)), splat(real(fall))
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
            curve = zero if orthographic else one
            ai, aj, ak = faces[f, 0] + more, faces[f, 1] + more, faces[f, 2] + more
            ax = ay = bx = by = cx = cy = zero  # of corners, from the distance
            az = bz = cz = zero
            ab = ab_x = ab_y = bc = bc_x = bc_y = ca = ca_x = ca_y = zero  # moments of the gradient of each side
            for p in range(len(corner_sums)):
                corner_sums[p] = 0
            colored = False
            for y in range(max(y_begin, row_begin), y_end):
                py = real(y + 0.5 - oy)
                lane_py = splat(py)
                for x in range(x_begin & -WIDTH, x_end, WIDTH):
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
                        bu, bv, bw, inverse = blend_weights(side_ab, side_bc, side_ca, lane_ni, lane_nj, lane_nk, alone, zero, one)
                        z = bu * lane_zi + bv * lane_zj + bw * lane_zk
                        power = start - slope * z
                        share = coverage * select(counts, exp(power - weight), zero)
                        gz = load(flow, 2 * planes + at)
                        gu = gv = gw = zero  # of the barycentrics, over share
                        su, sv, sw = share * bu, share * bv, share * bw
                        for c in range(channels):
                            gc = load(flow, (4 + c) * planes + at)
                            gu = multiply_add(gc, splat(attributes[ai, c]), gu)
                            gv = multiply_add(gc, splat(attributes[aj, c]), gv)
                            gw = multiply_add(gc, splat(attributes[ak, c]), gw)
                            slot = 3 * c * WIDTH
                            store(corner_sums, slot, multiply_add(su, gc, load(corner_sums, slot)))
                            store(corner_sums, slot + WIDTH, multiply_add(sv, gc, load(corner_sums, slot + WIDTH)))
                            store(corner_sums, slot + 2 * WIDTH, multiply_add(sw, gc, load(corner_sums, slot + 2 * WIDTH)))
                        common = share * (gz * z + bu * gu + bv * gv + bw * gw - load(flow, 3 * planes + at))
                        flows = flows + common * q
                        dz = gz * share - common * slope
                        gu = multiply_add(share, gu, dz * lane_zi)
                        gv = multiply_add(share, gv, dz * lane_zj)
                        gw = multiply_add(share, gw, dz * lane_zk)
                        mean = bu * gu + bv * gv + bw * gw
                        gu, gv, gw = (gu - mean) * inverse, (gv - mean) * inverse, (gw - mean) * inverse
                        az = az + dz * bu - curve * maximum(side_bc, zero) * gu * lane_ni * lane_ni
                        bz = bz + dz * bv - curve * maximum(side_ca, zero) * gv * lane_nj * lane_nj
                        cz = cz + dz * bw - curve * maximum(side_ab, zero) * gw * lane_nk * lane_nk
                        gu = select(side_bc > zero, gu * lane_ni, zero)
                        gv = select(side_ca > zero, gv * lane_nj, zero)
                        gw = select(side_ab > zero, gw * lane_nk, zero)
                        bc, bc_x, bc_y = bc + gu, multiply_add(gu, px, bc_x), multiply_add(gu, lane_py, bc_y)
                        ca, ca_x, ca_y = ca + gv, multiply_add(gv, px, ca_x), multiply_add(gv, lane_py, ca_y)
                        ab, ab_x, ab_y = ab + gw, multiply_add(gw, px, ab_x), multiply_add(gw, lane_py, ab_y)
                    flows = select(inside, zero - flows, flows)  # d^2 grows the exponent inside; and falls as a corner comes closer
                    gx, gy = flows * rx, flows * ry
                    ax, ay = multiply_add(u, gx, ax), multiply_add(u, gy, ay)
                    bx, by = multiply_add(v, gx, bx), multiply_add(v, gy, by)
                    cx, cy = multiply_add(w, gx, cx), multiply_add(w, gy, cy)
            factor = 2.0 * sharpness
            gax, gay, gbx, gby = factor * total(ax), factor * total(ay), factor * total(bx), factor * total(by)
            gcx, gcy = factor * total(cx), factor * total(cy)
            if colored:
                for c in range(channels):
                    slot = 3 * c * WIDTH
                    attribute_gradient[ai, c] += total(load(corner_sums, slot))
                    attribute_gradient[aj, c] += total(load(corner_sums, slot + WIDTH))
                    attribute_gradient[ak, c] += total(load(corner_sums, slot + 2 * WIDTH))
                gradient[i, 2] += total(az)
                gradient[j, 2] += total(bz)
                gradient[k, 2] += total(cz)
                x0, y0, x1, y1, x2, y2 = (
                    flat[i, 0] - ox,
                    flat[i, 1] - oy,
                    flat[j, 0] - ox,
                    flat[j, 1] - oy,
                    flat[k, 0] - ox,
                    flat[k, 1] - oy,
                )
                m, mx, my = sign * total(ab), sign * total(ab_x), sign * total(ab_y)
                gax, gay, gbx, gby = gax + y1 * m - my, gay + mx - x1 * m, gbx + my - y0 * m, gby + x0 * m - mx
                m, mx, my = sign * total(bc), sign * total(bc_x), sign * total(bc_y)
                gbx, gby, gcx, gcy = gbx + y2 * m - my, gby + mx - x2 * m, gcx + my - y1 * m, gcy + x1 * m - mx
                m, mx, my = sign * total(ca), sign * total(ca_x), sign * total(ca_y)
                gcx, gcy, gax, gay = gcx + y0 * m - my, gcy + mx - x0 * m, gax + my - y2 * m, gay + x2 * m - mx
            gradient[i, 0] += gax
            gradient[i, 1] += gay
            gradient[j, 0] += gbx
            gradient[j, 1] += gby
            gradient[k, 0] += gcx
            gradient[k, 1] += gcy
