"""What rays test, eight boxes or eight triangles at once; derivatives of where a triangle is hit.

Source of the triangle test: Woop, Benthin, Wald, Watertight ray/triangle intersection, 2013. Its edge functions must not be fused: the two
faces of an edge then compute the same number up to the sign, and none of them can miss a ray between them.
Source of the margin of the box test: Ize, Robust BVH ray traversal, 2013.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .simd import element, first_bit, load, maximum, minimum, select, set_element, splat, splat_like


@kernel(fastmath=False)
def ray_frame(direction_x, direction_y, direction_z, one):
    """Axes x, y and z of the sheared frame (z the direction's greatest), and the shear."""
    x, y, z = abs(direction_x), abs(direction_y), abs(direction_z)
    if x >= y and x >= z:
        return 1, 2, 0, direction_y / direction_x, direction_z / direction_x, one / direction_x
    if y >= z:
        return 2, 0, 1, direction_z / direction_y, direction_x / direction_y, one / direction_y
    return 0, 1, 2, direction_x / direction_z, direction_y / direction_z, one / direction_z


@kernel(fastmath=False, inline="llvm")
def sheared_corners(blocks, start, axes, origin, shear_x, shear_y):
    """Corners (x, y, z) of the eight triangles at `start`, relative to a ray's origin, sheared so that the ray runs along z.

    Args:
        origin: minus the ray's, in the order of the axes: adding reads a block from memory in the same instruction.
    """
    x_axis, y_axis, z_axis = axes
    ox, oy, oz = origin
    az = load(blocks, start + 8 * z_axis) + oz
    bz = load(blocks, start + 24 + 8 * z_axis) + oz
    cz = load(blocks, start + 48 + 8 * z_axis) + oz
    ax = (load(blocks, start + 8 * x_axis) + ox) - shear_x * az
    ay = (load(blocks, start + 8 * y_axis) + oy) - shear_y * az
    bx = (load(blocks, start + 24 + 8 * x_axis) + ox) - shear_x * bz
    by = (load(blocks, start + 24 + 8 * y_axis) + oy) - shear_y * bz
    cx = (load(blocks, start + 48 + 8 * x_axis) + ox) - shear_x * cz
    cy = (load(blocks, start + 48 + 8 * y_axis) + oy) - shear_y * cz
    return ax, ay, az, bx, by, bz, cx, cy, cz


@kernel(fastmath=False)
def hits_in_block(blocks, start, frame, origin, near, far):
    """Distances to the eight triangles at `start`, infinite outside of [near, far], and the weights of the second and third corners.

    Args:
        origin: as sheared_corners, in the order of the frame's axes.
    """
    x_axis, y_axis, z_axis, shear_x, shear_y, shear_z = frame
    ax, ay, az, bx, by, bz, cx, cy, cz = sheared_corners(blocks, start, (x_axis, y_axis, z_axis), origin, shear_x, shear_y)
    u, v, w = cx * by - cy * bx, ax * cy - ay * cx, bx * ay - by * ax
    zero = splat_like(0, ax)
    determinant = u + v + w
    scale = splat_like(1, ax) / determinant
    t = (u * az + v * bz + w * cz) * scale * shear_z
    hit = (minimum(minimum(u, v), w) >= zero) | (maximum(maximum(u, v), w) <= zero)
    hit = hit & (t >= near) & (t <= far)  # t is NaN or infinite where the determinant is 0 or a corner is infinite
    return select(hit, t, splat_like(np.inf, ax)), v * scale, w * scale


@kernel
def limit_of(limits, i):
    """The limit of a ray, or that of all."""
    return limits[i if len(limits) > 1 else 0]


@kernel
def is_ray(origins, directions, i):
    """Whether all numbers of a ray are finite and its direction is not zero."""
    x, y, z = directions[i, 0], directions[i, 1], directions[i, 2]
    total = abs(x) + abs(y) + abs(z) + abs(origins[i, 0]) + abs(origins[i, 1]) + abs(origins[i, 2])
    return total < np.inf and not (x == 0 and y == 0 and z == 0)


@kernel
def box_margin(numbers):
    """How many times as far a box reaches than computed, for rounding."""
    return numbers.dtype.type(1 + 8 * 1.2e-7) if numbers.itemsize == 4 else numbers.dtype.type(1 + 8 * 2.3e-16)


@kernel
def ray_lanes(origins, directions, near, far, i):
    """A ray for the test of boxes: minus the origin, inverse direction, rows of boxes in their order, where it begins and ends."""
    one, wider = origins.dtype.type(1), box_margin(origins)
    origin = splat(-origins[i, 0]), splat(-origins[i, 1]), splat(-origins[i, 2])
    ix, iy, iz = one / directions[i, 0], one / directions[i, 1], one / directions[i, 2]  # of either sign where a direction is zero
    inverse = splat(ix), splat(iy), splat(iz), splat(ix * wider), splat(iy * wider), splat(iz * wider)
    nx, ny, nz = 0 if ix > 0 else 24, 8 if iy > 0 else 32, 16 if iz > 0 else 40
    first, reach = splat(max(limit_of(near, i), origins.dtype.type(0))), splat(limit_of(far, i) * wider)
    return origin, inverse, (nx, ny, nz, 24 - nx, 40 - ny, 56 - nz), first, reach


@kernel(inline="llvm")
def push_children(stack, top, children, node, met):
    """Put the children of a node whose bits are set on a stack that ends at `top`; where it ends then."""
    while met != 0:
        set_element(stack, top, element(children, 8 * node + first_bit(met)))
        met &= met - 1
        top += 1
    return top


@kernel
def entries_of_boxes(boxes, start, origin, inverse, rows, first, limit):
    """Where a ray enters the eight boxes at `start`, and which of them it meets between `first` and `limit`.

    Args:
        origin: minus the ray's. inverse: one over the direction, and the same times `box_margin`. limit: times `box_margin` as well.
        rows: of the boxes' sides, which it meets first along x, y, z, and which it meets last.
    """
    ox, oy, oz = origin
    ix, iy, iz, wx, wy, wz = inverse
    nx, ny, nz, fx, fy, fz = rows
    t0 = maximum((load(boxes, start + nx) + ox) * ix, first)  # 0 * inf is NaN, which leaves the other one
    t0 = maximum((load(boxes, start + ny) + oy) * iy, t0)
    t0 = maximum((load(boxes, start + nz) + oz) * iz, t0)
    t1 = minimum((load(boxes, start + fx) + ox) * wx, limit)
    t1 = minimum((load(boxes, start + fy) + oy) * wy, t1)
    t1 = minimum((load(boxes, start + fz) + oz) * wz, t1)
    return t0, t0 <= t1


@kernel
def ray_backward_range(
    begin,
    end,
    directions,
    vertices,
    faces,
    face,
    weights,
    distance,
    weights_pull,
    distance_pull,
    origins_grad,
    directions_grad,
    vertices_grad,
):
    """Cotangents of origins, directions and vertices for the rays [begin, end) from those of weights and distance.

    From origin + t direction = sum of weight_k corner_k: with m the solution of m.direction = pull of t, m.(corner_0 - corner_k) = pull of
    weight_k - pull of weight_0, the origin receives -m, the direction -t m, corner k weight_k m. Arrays without rows count as zero.
    """
    for i in range(begin, end):
        a, b, c = np.int64(0), np.int64(0), np.int64(0)
        mx, my, mz = directions.dtype.type(0), directions.dtype.type(0), directions.dtype.type(0)
        t = directions.dtype.type(0)
        if face[i] >= 0:
            a, b, c = faces[face[i], 0], faces[face[i], 1], faces[face[i], 2]
            dx, dy, dz = directions[i, 0], directions[i, 1], directions[i, 2]
            ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
            vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
            nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
            determinant = dx * nx + dy * ny + dz * nz
            if determinant != 0:
                t = distance[i]
                pull = distance_pull[i] if len(distance_pull) > 0 else directions.dtype.type(0)
                p, q = directions.dtype.type(0), directions.dtype.type(0)
                if len(weights_pull) > 0:
                    p, q = weights_pull[i, 1] - weights_pull[i, 0], weights_pull[i, 2] - weights_pull[i, 0]
                mx = (pull * nx + p * (dy * vz - dz * vy) + q * (uy * dz - uz * dy)) / determinant
                my = (pull * ny + p * (dz * vx - dx * vz) + q * (uz * dx - ux * dz)) / determinant
                mz = (pull * nz + p * (dx * vy - dy * vx) + q * (ux * dy - uy * dx)) / determinant
        origins_grad[i, 0], origins_grad[i, 1], origins_grad[i, 2] = -mx, -my, -mz
        directions_grad[i, 0], directions_grad[i, 1], directions_grad[i, 2] = -t * mx, -t * my, -t * mz
        if len(vertices_grad) > 0 and face[i] >= 0:
            for axis in range(3):
                m = mx if axis == 0 else (my if axis == 1 else mz)
                vertices_grad[a, axis] += weights[i, 0] * m
                vertices_grad[b, axis] += weights[i, 1] * m
                vertices_grad[c, axis] += weights[i, 2] * m
