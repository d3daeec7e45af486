"""What single pairs of a pixel and a face near it have to do with each other, and the way back to the vertices."""

import math

from .jit import kernel
from .soft import sign_of_area


@kernel(inline="llvm")
def corner_pixel(points, row, orthographic):
    """Pixel and depth of a vertex."""
    z = float(points[row, 2])
    scale = 1.0 if orthographic else 1.0 / z
    return points[row, 0] * scale, points[row, 1] * scale, z


@kernel(inline="llvm")
def cross(ax, ay, bx, by):
    return ax * by - ay * bx


@kernel(inline="llvm")
def to_segment(ax, ay, bx, by):
    """From the origin to the segment a b: place of the closest point in [0, 1], the offset from it, the squared distance."""
    ux, uy = bx - ax, by - ay
    t = min(1.0, max(0.0, -(ax * ux + ay * uy) / max(ux * ux + uy * uy, 1e-30)))
    rx, ry = -(ax + t * ux), -(ay + t * uy)
    return t, rx, ry, rx * rx + ry * ry


@kernel(inline="llvm")
def to_outline(ax, ay, bx, by, cx, cy):
    """From the origin to the outline of a triangle: weights of the corners at the closest point, offset from it, squared distance."""
    t, rx, ry, d = to_segment(ax, ay, bx, by)
    u, v, w = 1.0 - t, t, 0.0
    t1, rx1, ry1, d1 = to_segment(bx, by, cx, cy)
    if d1 < d:
        u, v, w, rx, ry, d = 0.0, 1.0 - t1, t1, rx1, ry1, d1
    t2, rx2, ry2, d2 = to_segment(cx, cy, ax, ay)
    if d2 < d:
        u, v, w, rx, ry, d = t2, 0.0, 1.0 - t2, rx2, ry2, d2
    return u, v, w, rx, ry, d


@kernel(inline="llvm")
def relate(points, faces, images, pixel, face, size, orthographic):
    """A pixel and a face: its corners' rows, their offsets (x, y) from the pixel, and their depths; whether the pixel lies inside; the
    areas opposite of the corners (+ inside), their sign; factors that turn areas into weights, and the weights before and after they are
    divided by their sum.
    """
    height, width = size
    image, within = divmod(pixel, height * width)
    base = images[image, 2]
    px, py = within % width + 0.5, within // width + 0.5
    rows = i, j, k = faces[face, 0] + base, faces[face, 1] + base, faces[face, 2] + base
    ax, ay, az = corner_pixel(points, i, orthographic)
    bx, by, bz = corner_pixel(points, j, orthographic)
    cx, cy, cz = corner_pixel(points, k, orthographic)
    offsets = ax, ay, bx, by, cx, cy = ax - px, ay - py, bx - px, by - py, cx - px, cy - py
    sign = sign_of_area(bx - ax, by - ay, cx - ax, cy - ay)
    areas = of_a, of_b, of_c = sign * cross(bx, by, cx, cy), sign * cross(cx, cy, ax, ay), sign * cross(ax, ay, bx, by)
    inside = sign != 0.0 and min(of_a, min(of_b, of_c)) >= 0.0
    scales = su, sv, sw = (1.0, 1.0, 1.0) if orthographic else (1.0 / az, 1.0 / bz, 1.0 / cz)
    u, v, w = max(of_a, 0.0) * su, max(of_b, 0.0) * sv, max(of_c, 0.0) * sw
    if sign == 0.0:
        u = v = w = 1.0
    inverse = 1.0 / (u + v + w)
    return image, rows, offsets, (az, bz, cz), inside, areas, sign, scales, (u, v, w), (u * inverse, v * inverse, w * inverse), inverse


@kernel
def terms_range(begin, end, points, faces, images, pixel, face, exponents, size, orthographic, sharpness, weights, depth, power):
    """Barycentrics, depth and exponent of the pairs [begin, end).

    Args:
        size: (height, width). sharpness: 1 / sigma.
        weights, depth, power: results [P, 3], [P], [P].
    """
    for p in range(begin, end):
        related = relate(points, faces, images, pixel[p], face[p], size, orthographic)
        image, _, (ax, ay, bx, by, cx, cy), (az, bz, cz), inside, _, _, _, _, (u, v, w), _ = related
        _, _, _, _, _, d = to_outline(ax, ay, bx, by, cx, cy)
        z = u * az + v * bz + w * cz
        logit = (d if inside else -d) * sharpness
        weights[p, 0], weights[p, 1], weights[p, 2], depth[p] = u, v, w, z
        power[p] = min(logit, 0.0) - math.log1p(math.exp(-abs(logit))) + exponents[image, 0] - exponents[image, 1] * z


@kernel(inline="llvm")
def add_corner(gradient, points, row, orthographic, gx, gy, gz):
    """Add the gradient of a vertex from that of its pixel and depth."""
    if not orthographic:
        z = float(points[row, 2])
        gx, gy = gx / z, gy / z
        gz -= (gx * points[row, 0] + gy * points[row, 1]) / z
    gradient[row, 0] += gx
    gradient[row, 1] += gy
    gradient[row, 2] += gz


@kernel
def terms_gradient(
    begin, end, points, faces, images, pixel, face, exponents, size, orthographic, sharpness, of_weights, of_depth, of_power, gradient
):
    """Add the gradient of the vertices [N, 3] from the pairs [begin, end): `gradient` belongs to this range alone."""
    for p in range(begin, end):
        related = relate(points, faces, images, pixel[p], face[p], size, orthographic)
        image, (i, j, k), (ax, ay, bx, by, cx, cy), (az, bz, cz), inside, areas, sign, scales, undivided, (u, v, w), inverse = related
        (of_a, of_b, of_c), (su, sv, sw) = areas, scales
        gz = of_depth[p] - exponents[image, 1] * of_power[p]
        gu, gv, gw = of_weights[p, 0] + gz * az, of_weights[p, 1] + gz * bz, of_weights[p, 2] + gz * cz
        mean = gu * u + gv * v + gw * w
        gu, gv, gw = (gu - mean) * inverse, (gv - mean) * inverse, (gw - mean) * inverse  # of the weights before they were divided
        gaz, gbz, gcz = u * gz, v * gz, w * gz
        if not orthographic and sign != 0.0:
            gaz, gbz, gcz = gaz - gu * undivided[0] * su, gbz - gv * undivided[1] * sv, gcz - gw * undivided[2] * sw
        gu = gu * su * sign if of_a >= 0.0 else 0.0  # of the areas
        gv = gv * sv * sign if of_b >= 0.0 else 0.0
        gw = gw * sw * sign if of_c >= 0.0 else 0.0

        cu, cv, cw, rx, ry, d = to_outline(ax, ay, bx, by, cx, cy)
        logit = (d if inside else -d) * sharpness
        flow = of_power[p] / (1.0 + math.exp(min(logit, 700.0))) * sharpness * (2.0 if inside else -2.0)
        gx, gy = -flow * rx, -flow * ry  # of the closest point
        gax, gay = gv * -cy + gw * by + cu * gx, gv * cx - gw * bx + cu * gy
        gbx, gby = gu * cy + gw * -ay + cv * gx, gu * -cx + gw * ax + cv * gy
        gcx, gcy = gu * -by + gv * ay + cw * gx, gu * bx + gv * -ax + cw * gy
        add_corner(gradient, points, i, orthographic, gax, gay, gaz)
        add_corner(gradient, points, j, orthographic, gbx, gby, gbz)
        add_corner(gradient, points, k, orthographic, gcx, gcy, gcz)
