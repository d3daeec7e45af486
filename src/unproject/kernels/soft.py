"""Soft silhouettes: what all faces together leave uncovered of every pixel, and the way back to the vertices.

The coverage of a face at a pixel is sigmoid(+-d^2 / sigma), d the distance from the pixel's centre to the face's edge, + inside the face.
Faces lie in lists by bands of rows; a band's transmittance stays in the cache while its faces pass. Pixels that nothing shines
through any more are skipped, in the gradient too.
"""

import math

import numpy as np

from .bands import open_band, pixel_range
from .jit import kernel
from .lane_math import exp, total
from .simd import WIDTH, bits, load, maximum, minimum, multiply_add, ramp, select, splat, store

FLAT = 1e-12  # an area (square pixels) below this, or below this share of its two terms, is none


@kernel(inline="llvm")
def edge_constants(real, ax, ay, bx, by, sign):
    """What an edge a to b needs for all pixels: its start, its run, the run over its squared length, the run turned by `sign`."""
    ux, uy = bx - ax, by - ay
    inverse = 1.0 / max(ux * ux + uy * uy, 1e-30)
    return real(ax), real(ay), real(ux), real(uy), real(ux * inverse), real(uy * inverse), real(sign * ux), real(sign * uy)


@kernel(inline="llvm")
def sign_of_area(ux, uy, vx, vy):
    """Of the triangle 0, u, v; 0 where its area is rounding."""
    area, least = ux * vy - uy * vx, FLAT * (abs(ux * vy) + abs(uy * vx) + 1.0)
    return 1.0 if area > least else (-1.0 if area < -least else 0.0)


@kernel(inline="llvm")
def face_constants(real, flat, i, j, k):
    """A face's pixel origin, its three edges relative to that, its bounds (x, x, y, y), and the sign of its area (0 for none)."""
    ax, ay, bx, by, cx, cy = flat[i, 0], flat[i, 1], flat[j, 0], flat[j, 1], flat[k, 0], flat[k, 1]
    ox, oy = math.floor(ax), math.floor(ay)
    bounds = min(ax, min(bx, cx)), max(ax, max(bx, cx)), min(ay, min(by, cy)), max(ay, max(by, cy))
    ax, ay, bx, by, cx, cy = ax - ox, ay - oy, bx - ox, by - oy, cx - ox, cy - oy
    sign = sign_of_area(bx - ax, by - ay, cx - ax, cy - ay)
    ab = edge_constants(real, ax, ay, bx, by, sign)
    bc = edge_constants(real, bx, by, cx, cy, sign)
    ca = edge_constants(real, cx, cy, ax, ay, sign)
    return ox, oy, (ab, bc, ca), bounds, sign


@kernel(inline="llvm")
def to_edge(px, py, edge, zero, one):
    """From pixels of a row to an edge: offset (x, y) from its closest point, squared distance, its place in [0, 1], side (+ inside)."""
    ax, ay, ux, uy, along_x, along_y, side_x, side_y = edge
    qx, qy = px - splat(ax), py - ay
    t = minimum(one, maximum(zero, multiply_add(qx, splat(along_x), splat(qy * along_y))))
    rx = qx - t * splat(ux)
    ry = splat(qy) - t * splat(uy)
    return rx, ry, multiply_add(rx, rx, ry * ry), t, splat(side_x * qy) - qx * splat(side_y)


@kernel(inline="llvm")
def to_face(px, py, edges, sign, zero, one):
    """From pixels of a row to a face: offset from and squared distance to the closest point of its outline, weights of the
    corners there, sides of the edges ab, bc, ca (areas, + inside), and whether the pixel is inside."""
    rx, ry, d, t, side_ab = to_edge(px, py, edges[0], zero, one)
    rx1, ry1, d1, t1, side_bc = to_edge(px, py, edges[1], zero, one)
    rx2, ry2, d2, t2, side_ca = to_edge(px, py, edges[2], zero, one)
    u, v, w = one - t, t, zero
    closer = d1 < d
    rx, ry, d = select(closer, rx1, rx), select(closer, ry1, ry), select(closer, d1, d)
    u, v, w = select(closer, zero, u), select(closer, one - t1, v), select(closer, t1, w)
    closer = d2 < d
    rx, ry, d = select(closer, rx2, rx), select(closer, ry2, ry), select(closer, d2, d)
    u, v, w = select(closer, t2, u), select(closer, zero, v), select(closer, one - t2, w)
    inside = (minimum(side_ab, minimum(side_bc, side_ca)) >= zero) & (splat(sign) > zero)
    return rx, ry, d, u, v, w, side_ab, side_bc, side_ca, inside


@kernel(inline="llvm")
def lay_face(real, flat, faces, f, base, look, width, row_begin, row_end):
    """Where a face lies in a band of rows: its corners, pixel origin and edges, the sign of its area, and the pixels that it may
    reach, columns and rows; no rows if it is not drawn (beyond the near or far plane, or turned away).

    Args:
        look: (farthest nearness, cull, blur radius, ...).
    """
    farthest, cull, radius = look[0], look[1], look[2]
    i, j, k = faces[f, 0] + base, faces[f, 1] + base, faces[f, 2] + base
    ox, oy, edges, bounds, sign = face_constants(real, flat, i, j, k)
    an, bn, cn = flat[i, 2], flat[j, 2], flat[k, 2]
    drawn = not (math.isnan(an) or math.isnan(bn) or math.isnan(cn)) and max(an, max(bn, cn)) >= farthest and not (cull and sign > 0.0)
    x_begin, x_end = pixel_range(bounds[0] - radius, bounds[1] + radius, width)
    y_begin, y_end = pixel_range(bounds[2] - radius, bounds[3] + radius, row_end)
    return (i, j, k), (ox, oy, edges, sign), (x_begin & -WIDTH, x_end), (max(y_begin, row_begin), y_end if drawn else 0)


@kernel(inline="llvm")
def pull_corners(sums, u, v, w, gx, gy):
    """Add the flow (gx, gy) of pixels of a row to the sums (x, y) of the three corners, by the weights u, v, w."""
    ax, ay, bx, by, cx, cy = sums
    ax, ay = multiply_add(u, gx, ax), multiply_add(u, gy, ay)
    bx, by = multiply_add(v, gx, bx), multiply_add(v, gy, by)
    return ax, ay, bx, by, multiply_add(w, gx, cx), multiply_add(w, gy, cy)


@kernel(inline="llvm")
def add_corners(gradient, corners, sums, factor):
    """Add the sums of all lanes, times a factor, to the gradient of pixels of a face's corners."""
    ax, ay, bx, by, cx, cy = sums
    i, j, k = corners
    gradient[i, 0] += factor * total(ax)
    gradient[i, 1] += factor * total(ay)
    gradient[j, 0] += factor * total(bx)
    gradient[j, 1] += factor * total(by)
    gradient[k, 0] += factor * total(cx)
    gradient[k, 1] += factor * total(cy)


@kernel
def silhouette_bands(begin, end, flat, faces, images, job_offsets, offsets, items, band, look, transmittance):
    """Transmittance [B, H, W] of the bands [begin, end) of all images.

    Args:
        look: (farthest nearness, cull, blur radius, smallest transmittance that counts, 1 / sigma), lengths in pixels.
    """
    _, _, radius, smallest, sharpness = look
    height, width = transmittance.shape[1:]
    real = transmittance.dtype.type
    pitch = (width + WIDTH - 1) // WIDTH * WIDTH
    buffer = np.empty(band * pitch, transmittance.dtype)
    centers = ramp(real(0.5))
    zero, one, least, floor = splat(real(0)), splat(real(1)), splat(real(smallest)), splat(real(smallest * 1e-6))
    scale, reach = splat(real(sharpness)), splat(real(radius * radius))
    listed = len(items) > 0
    for b in range(begin, end):
        image, (row_begin, row_end), (first, last), first_face, base = open_band(b, band, height, images, job_offsets, offsets)
        for p in range(len(buffer)):
            buffer[p] = real(1)
        for item in range(first, last):
            f = first_face + (items[item] if listed else item)
            _, (ox, oy, edges, sign), columns, rows = lay_face(real, flat, faces, f, base, look, width, row_begin, row_end)
            if rows[0] >= rows[1]:
                continue
            turn = real(abs(sign))
            for y in range(rows[0], rows[1]):
                py = real(y + 0.5 - oy)
                row = (y - row_begin) * pitch
                for x in range(columns[0], columns[1], WIDTH):
                    left = load(buffer, row + x)
                    if bits(left > least) == 0:
                        continue
                    px = splat(real(x - ox)) + centers
                    _, _, d, _, _, _, _, _, _, inside = to_face(px, py, edges, turn, zero, one)
                    q = one / (one + exp(select(inside, d, zero - d) * scale))
                    store(buffer, row + x, maximum(floor, select(inside | (d < reach), left * q, left)))
        for y in range(row_begin, row_end):
            row = (y - row_begin) * pitch
            for x in range(width):
                transmittance[image, y, x] = buffer[row + x]


@kernel
def silhouette_gradient(begin, end, flat, faces, images, job_offsets, offsets, items, band, look, flow, size, gradient):
    """Add the gradient of pixel positions from the bands [begin, end) of all images.

    Args:
        flow: [B * H * pitch] gradient of the transmittance times the transmittance, rows of whole lanes, 0 where it does not count.
        size: (height, width, pitch).
        gradient: [N, 3] float64, of pixels and nearness (which has none here).
    """
    _, _, radius, _, sharpness = look
    height, width, pitch = size
    real = flow.dtype.type
    centers = ramp(real(0.5))
    zero, one, scale, reach = splat(real(0)), splat(real(1)), splat(real(sharpness)), splat(real(radius * radius))
    listed = len(items) > 0
    for b in range(begin, end):
        image, (row_begin, row_end), (first, last), first_face, base = open_band(b, band, height, images, job_offsets, offsets)
        for item in range(first, last):
            f = first_face + (items[item] if listed else item)
            corners, (ox, oy, edges, sign), columns, rows = lay_face(real, flat, faces, f, base, look, width, row_begin, row_end)
            if rows[0] >= rows[1]:
                continue
            turn = real(abs(sign))
            sums = zero, zero, zero, zero, zero, zero
            for y in range(rows[0], rows[1]):
                py = real(y + 0.5 - oy)
                for x in range(columns[0], columns[1], WIDTH):
                    g = load(flow, (image * height + y) * pitch + x)
                    if bits((g > zero) | (g < zero)) == 0:
                        continue
                    px = splat(real(x - ox)) + centers
                    rx, ry, d, u, v, w, _, _, _, inside = to_face(px, py, edges, turn, zero, one)
                    coverage = one / (one + exp(select(inside, zero - d, d) * scale))
                    g = select(inside | (d < reach), g, zero) * coverage  # in this order: subnormal products are slow
                    g = select(inside, g, zero - g)
                    sums = pull_corners(sums, u, v, w, g * rx, g * ry)
            # a corner that moves towards a pixel lessens d^2, of which more leaves less uncovered inside
            add_corners(gradient, corners, sums, 2.0 * sharpness)


@kernel
def unflatten_range(begin, end, points, near, orthographic, of_flat, gradient):
    """From the gradient of pixel and depth [N, 3] to that of homogeneous image coordinates [N, 3]."""
    for v in range(begin, end):
        gx, gy, gz = of_flat[v, 0], of_flat[v, 1], of_flat[v, 2]
        z = np.float64(points[v, 2])
        if orthographic or not z >= near:  # what is not in front has no gradient, and maybe no pixel
            gradient[v, 0] = gx
            gradient[v, 1] = gy
            gradient[v, 2] = gz
        else:
            gradient[v, 0] = gx / z
            gradient[v, 1] = gy / z
            gradient[v, 2] = gz - (gx * points[v, 0] + gy * points[v, 1]) / (z * z)
