"""How often a surface without a rim goes around a point: what a ray from it crosses, counted by direction.

The sign of an edge function is never wrong, only zero where it is not, since rounding keeps order: with the corners taken relative to the
point and sheared, each point of the plane lies in as many triangles as it should. Where an edge function is zero, or the point as near to
a face as rounding, the answer is left open. Source of the frame: Woop, Benthin, Wald, Watertight ray/triangle intersection, 2013.
"""

from __future__ import annotations

import numpy as np

from .jit import kernel
from .raycast import box_margin, entries_of_boxes, push_children, sheared_corners
from .simd import bits, element, maximum, minimum, splat, splat_like

_SHEAR_X, _SHEAR_Y = 0.0318309886, 0.0154508497  # of all rays, which run almost along an axis, but not in the planes that people build in
_ROUNDING = 32  # units in the last place
OPEN = -(1 << 30)  # the number where it is left open


@kernel(fastmath=False)
def _way_out(points, i, bounds, item):
    """Axis and direction of the nearest side of a box [low, high]."""
    axis, forward, least = 0, 1, np.inf
    for k in range(3):
        if points[i, k] - bounds[item, k] < least:
            axis, forward, least = k, -1, points[i, k] - bounds[item, k]
        if bounds[item, 3 + k] - points[i, k] < least:
            axis, forward, least = k, 1, bounds[item, 3 + k] - points[i, k]
    return axis, forward


@kernel(fastmath=False)
def _crossings_in_block(blocks, start, axes, origin, along, rounding):
    """Of eight triangles, as bits: which the ray leaves through, which it enters through, and which it may or may not cross."""
    shear_x, shear_y = splat_like(_SHEAR_X, origin[0]), splat_like(_SHEAR_Y, origin[0])
    ax, ay, az, bx, by, bz, cx, cy, cz = sheared_corners(blocks, start, axes, origin, shear_x, shear_y)
    u, v, w = bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx
    zero = splat_like(0, ax)
    low, high = minimum(minimum(u, v), w), maximum(maximum(u, v), w)
    p, q, r = u * az, v * bz, w * cz
    t = (p + q + r) * along  # its distance times the area, which is negative where the triangle looks the other way
    margin = (maximum(p, zero - p) + maximum(q, zero - q) + maximum(r, zero - r)) * rounding
    rising, falling = low > zero, high < zero
    is_open = ((rising | falling) & (maximum(t, zero - t) <= margin)) | (((low >= zero) | (high <= zero)) & ~(rising | falling))
    return bits(rising & (t > margin)), bits(falling & (t < zero - margin)), bits(is_open)


@kernel(fastmath=False)
def _number_of(bit_set):
    count = 0
    while bit_set != 0:
        bit_set &= bit_set - 1
        count += 1
    return count


@kernel(fastmath=False)
def crossing_range(begin, end, order, points, batch, bounds, roots, boxes, children, blocks, depth, number):
    """For the points order[begin:end] how often the faces are crossed by a ray to the nearest side of the bounds, less how often against
    their direction; or OPEN. `batch` has the tree of each point, or is empty.
    """
    dtype = points.dtype
    eps, wider, one = dtype.type(np.finfo(dtype).eps), box_margin(points), dtype.type(1)
    rounding, zero, infinity = splat(dtype.type(_ROUNDING) * eps), splat(dtype.type(0)), splat(dtype.type(np.inf))
    stack, slopes = np.empty(8 * depth + 8, np.int32), np.empty(3, dtype)
    for place in range(begin, end):
        i = order[place]
        tree = np.int64(batch[i]) if len(batch) > 0 else 0
        number[i] = 0
        if roots[tree] < 0:
            continue
        z, forward = _way_out(points, i, bounds, tree)
        x, y = (z + 1) % 3, (z + 2) % 3
        along = dtype.type(forward)
        slopes[x], slopes[y], slopes[z] = along * dtype.type(_SHEAR_X), along * dtype.type(_SHEAR_Y), along
        ix, iy, iz = one / slopes[0], one / slopes[1], one / slopes[2]
        inverse = splat(ix), splat(iy), splat(iz), splat(ix * wider), splat(iy * wider), splat(iz * wider)
        nx, ny, nz = 0 if ix > 0 else 24, 8 if iy > 0 else 32, 16 if iz > 0 else 40
        rows = nx, ny, nz, 24 - nx, 40 - ny, 56 - nz
        origin = splat(-points[i, 0]), splat(-points[i, 1]), splat(-points[i, 2])
        permuted = splat(-points[i, x]), splat(-points[i, y]), splat(-points[i, z])
        stack[0], top, total = roots[tree], 1, 0
        while top > 0:
            top -= 1
            node = np.int64(element(stack, top))
            if node < 0:
                rising, falling, is_open = _crossings_in_block(blocks, 72 * (-2 - node), (x, y, z), permuted, splat(along), rounding)
                total += _number_of(rising) - _number_of(falling)
                if is_open != 0:
                    total = OPEN
                    break
            else:
                _, inside = entries_of_boxes(boxes, 48 * node, origin, inverse, rows, zero, infinity)
                top = push_children(stack, top, children, node, bits(inside))
        number[i] = total if total == OPEN else forward * total
