"""Generalized winding number: far clusters of the eight-wide tree by their multipole moments, near ones exactly.

Source: Barill, Dickson, Schmidt, Levin, Jacobson, Fast winding numbers for soups and clouds, 2018. The field n.R / |R|^3 is the gradient of
a harmonic function, so that of each moment only the symmetric part without trace counts: 3 + 6 + 10 numbers, to second order.

A moment is 24 numbers: centre (3), area, radius about the centre, dipole (3), first moment xx yy zz xy xz yz, second moment in the order of
_TRIPLES. Its field rows are 23 of eight lanes: centre, squared radius, dipole, -3 times the first and 7.5 times the second moment, both
without trace and times their multiplicity.
"""

from __future__ import annotations

import math

import numpy as np

from .jit import kernel
from .simd import bits, first_bit, lane, load, multiply_add, select, splat, splat_like, square_root

MOMENT = 24
FIELD = 23
_PAIRS = np.array([[0, 0], [1, 1], [2, 2], [0, 1], [0, 2], [1, 2]])
_TRIPLES = np.array([[0, 0, 0], [1, 1, 1], [2, 2, 2], [0, 0, 1], [0, 0, 2], [1, 1, 0], [1, 1, 2], [2, 2, 0], [2, 2, 1], [0, 1, 2]])
_PAIR_AT = np.array([[0, 3, 4], [3, 1, 5], [4, 5, 2]])  # where pair (i, j) lies in a first moment


@kernel
def _add_second(moment, a, q, factor):
    """Add to the second moment the symmetric part of vector a times symmetric matrix q (six numbers)."""
    for n in range(10):
        i, j, k = _TRIPLES[n, 0], _TRIPLES[n, 1], _TRIPLES[n, 2]
        moment[14 + n] += factor / 3 * (a[i] * q[_PAIR_AT[j, k]] + a[j] * q[_PAIR_AT[i, k]] + a[k] * q[_PAIR_AT[i, j]])


@kernel
def _add_first(moment, a, d):
    """Add to the first moment the symmetric part of a times d."""
    for n in range(6):
        i, j = _PAIRS[n, 0], _PAIRS[n, 1]
        moment[8 + n] += (a[i] * d[j] + a[j] * d[i]) / 2


@kernel
def _clear(moment):
    for n in range(MOMENT):
        moment[n] = 0


@kernel
def face_moments(begin, end, blocks, moments):
    """Moments of the blocks of faces [begin, end), rows of `moments`."""
    corners, area, d, q = np.empty((3, 3)), np.empty(3), np.empty(3), np.empty(6)
    for block in range(begin, end):
        moment = moments[block]
        _clear(moment)
        count = 0
        for stage in range(2):
            for k in range(8):
                start = 72 * block + k
                if not blocks[start] < np.inf:
                    continue
                for c in range(3):
                    for axis in range(3):
                        corners[c, axis] = np.float64(blocks[start + 8 * (3 * c + axis)]) - (moment[axis] if stage == 1 else 0.0)
                for axis in range(3):
                    i, j = (axis + 1) % 3, (axis + 2) % 3
                    u, v = corners[1, i] - corners[0, i], corners[1, j] - corners[0, j]
                    area[axis] = 0.5 * (u * (corners[2, j] - corners[0, j]) - v * (corners[2, i] - corners[0, i]))
                    d[axis] = (corners[0, axis] + corners[1, axis] + corners[2, axis]) / 3
                size = math.sqrt(area[0] ** 2 + area[1] ** 2 + area[2] ** 2) + 1e-300
                if stage == 0:
                    moment[3] += size
                    for axis in range(3):
                        moment[5 + axis] += size * d[axis]
                    count += 1
                    continue
                for c in range(3):
                    moment[4] = max(moment[4], math.sqrt(corners[c, 0] ** 2 + corners[c, 1] ** 2 + corners[c, 2] ** 2))
                for n in range(6):
                    i, j = _PAIRS[n, 0], _PAIRS[n, 1]
                    q[n] = 9 * d[i] * d[j]
                    for c in range(3):
                        q[n] += corners[c, i] * corners[c, j]
                    q[n] /= 12
                for axis in range(3):
                    moment[5 + axis] += area[axis]
                _add_first(moment, area, d)
                _add_second(moment, area, q, 1.0)
            if stage == 0:
                for axis in range(3):
                    moment[axis] = moment[5 + axis] / moment[3]
                    moment[5 + axis] = 0


@kernel
def point_moments(begin, end, blocks, block_items, vector_areas, moments):
    """Moments of the blocks of points [begin, end) with vector areas (area times normal) [N, 3]."""
    area, d, q = np.empty(3), np.empty(3), np.empty(6)
    for block in range(begin, end):
        moment = moments[block]
        _clear(moment)
        for stage in range(2):
            for k in range(8):
                item = block_items[block, k]
                if item < 0:
                    continue
                for axis in range(3):
                    area[axis] = vector_areas[item, axis]
                    d[axis] = np.float64(blocks[24 * block + 8 * axis + k]) - (moment[axis] if stage == 1 else 0.0)
                size = math.sqrt(area[0] ** 2 + area[1] ** 2 + area[2] ** 2) + 1e-300
                if stage == 0:
                    moment[3] += size
                    for axis in range(3):
                        moment[5 + axis] += size * d[axis]
                    continue
                moment[4] = max(moment[4], math.sqrt(d[0] ** 2 + d[1] ** 2 + d[2] ** 2))
                for n in range(6):
                    q[n] = d[_PAIRS[n, 0]] * d[_PAIRS[n, 1]]
                for axis in range(3):
                    moment[5 + axis] += area[axis]
                _add_first(moment, area, d)
                _add_second(moment, area, q, 1.0)
            if stage == 0:
                for axis in range(3):
                    moment[axis] = moment[5 + axis] / moment[3]
                    moment[5 + axis] = 0


@kernel
def _add_shifted(total, part, shift, q):
    """Add a moment whose centre lies at `shift` from that of `total`."""
    for axis in range(3):
        total[5 + axis] += part[5 + axis]
    for n in range(6):
        total[8 + n] += part[8 + n]
        q[n] = shift[_PAIRS[n, 0]] * shift[_PAIRS[n, 1]]
    for n in range(10):
        total[14 + n] += part[14 + n]
    _add_first(total, part[5:8], shift)
    _add_second(total, shift, part[8:14], 2.0)
    _add_second(total, part[5:8], q, 1.0)


@kernel
def _write_field(moment, field, start, k):
    """The rows of one child, in lane k."""
    for axis in range(3):
        field[start + 8 * axis + k] = moment[axis]
        field[start + 32 + 8 * axis + k] = moment[5 + axis]
    field[start + 24 + k] = moment[4] ** 2
    trace = (moment[8] + moment[9] + moment[10]) / 3
    for n in range(6):
        field[start + 56 + 8 * n + k] = -3 * (moment[8 + n] - trace) if n < 3 else -6 * moment[8 + n]
    for n in range(10):
        i, j = _TRIPLES[n, 0], _TRIPLES[n, 2]  # what is left of a doubled or tripled index is j
        value = moment[14 + n]
        if n < 9:
            t = j  # the trace vector's component that this entry takes part in
            trace = moment[14 + _LINE[t, 0]] + moment[14 + _LINE[t, 1]] + moment[14 + _LINE[t, 2]]
            value -= trace * (0.6 if i == j else 0.2)
        multiplicity = 1.0 if n < 3 else (3.0 if n < 9 else 6.0)
        field[start + 104 + 8 * n + k] = 7.5 * multiplicity * value


_LINE = np.array([[0, 5, 7], [3, 1, 8], [4, 6, 2]])  # entries i i t for i = 0, 1, 2 of a second moment, by t


@kernel
def fill_field(children, block_moments, node_moments, field):
    """Moments of all nodes from those of the blocks, children before parents, and the field rows of each node's children."""
    shift, q = np.empty(3), np.empty(6)
    infinity = field.dtype.type(np.inf)
    for node in range(len(children) - 1, -1, -1):
        total = node_moments[node]
        _clear(total)
        for k in range(8):
            child = children[node, k]
            if child == -1:
                for row in range(FIELD):
                    field[8 * (FIELD * node + row) + k] = 0
                field[8 * (FIELD * node + 3) + k] = infinity  # never far
                continue
            part = node_moments[child] if child >= 0 else block_moments[-2 - child]
            _write_field(part, field, 8 * FIELD * node, k)
            total[3] += part[3]
            for axis in range(3):
                total[axis] += part[3] * part[axis]
        for axis in range(3):
            total[axis] /= total[3]
        for k in range(8):
            child = children[node, k]
            if child == -1:
                continue
            part = node_moments[child] if child >= 0 else block_moments[-2 - child]
            for axis in range(3):
                shift[axis] = part[axis] - total[axis]
            total[4] = max(total[4], part[4] + math.sqrt(shift[0] ** 2 + shift[1] ** 2 + shift[2] ** 2))
            _add_shifted(total, part, shift, q)


@kernel
def _dot(ax, ay, az, bx, by, bz):
    return multiply_add(ax, bx, multiply_add(ay, by, az * bz))


@kernel
def _far_field(field, start, px, py, pz, accuracy):
    """Sum of n.R / |R|^3 of each far child of a node, and the bits of those that are near."""
    x, y, z = load(field, start) - px, load(field, start + 8) - py, load(field, start + 16) - pz
    squared = _dot(x, y, z, x, y, z)
    far = squared > accuracy * load(field, start + 24)
    one = splat_like(1, x)
    inverse = one / square_root(squared)
    inverse_square = inverse * inverse
    dipole = _dot(x, y, z, load(field, start + 32), load(field, start + 40), load(field, start + 48))
    xx, yy, zz, xy, xz, yz = x * x, y * y, z * z, x * y, x * z, y * z
    first = _dot(xx, yy, zz, load(field, start + 56), load(field, start + 64), load(field, start + 72))
    first = first + _dot(xy, xz, yz, load(field, start + 80), load(field, start + 88), load(field, start + 96))
    second_x = _dot(xx, xy, xz, load(field, start + 104), load(field, start + 128), load(field, start + 136))
    second_y = _dot(yy, xy, yz, load(field, start + 112), load(field, start + 144), load(field, start + 152))
    second_z = _dot(zz, xz, yz, load(field, start + 120), load(field, start + 160), load(field, start + 168))
    second = multiply_add(xy * z, load(field, start + 176), _dot(x, y, z, second_x, second_y, second_z))
    value = multiply_add(inverse_square, multiply_add(inverse_square, second, first), dipole) * inverse_square * inverse
    return select(far, value, splat_like(0, x)), bits(far) ^ 255


@kernel
def _turn(re, im, turns, cosine, sine):
    """Add angles, as numbers on the complex plane, to the angles (re, im) plus `turns` whole turns."""
    zero, one = splat_like(0, re), splat_like(1, re)
    real, imaginary = re * cosine - im * sine, re * sine + im * cosine
    forward = (im >= zero) & (sine >= zero) & (imaginary < zero)
    backward = (im < zero) & (sine < zero) & (imaginary >= zero)
    turns = turns + select(forward, one, zero) - select(backward, one, zero)
    size = select(real < zero, zero - real, real) + select(imaginary < zero, zero - imaginary, imaginary)
    scale = one / size
    usable = size > zero  # not so for NaN (an empty place) and where a corner meets the point
    return select(usable, real * scale, re), select(usable, imaginary * scale, im), select(usable, turns, turns)


@kernel
def _half_angles(blocks, start, px, py, pz):
    """Half the solid angles of eight triangles as cosine and sine, up to a common factor. Source: van Oosterom and Strackee 1983."""
    ax, ay, az = load(blocks, start) - px, load(blocks, start + 8) - py, load(blocks, start + 16) - pz
    bx, by, bz = load(blocks, start + 24) - px, load(blocks, start + 32) - py, load(blocks, start + 40) - pz
    cx, cy, cz = load(blocks, start + 48) - px, load(blocks, start + 56) - py, load(blocks, start + 64) - pz
    a = square_root(_dot(ax, ay, az, ax, ay, az))
    b = square_root(_dot(bx, by, bz, bx, by, bz))
    c = square_root(_dot(cx, cy, cz, cx, cy, cz))
    sine = _dot(ax, ay, az, by * cz - bz * cy, bz * cx - bx * cz, bx * cy - by * cx)
    cosine = a * b * c + _dot(_dot(ax, ay, az, bx, by, bz), _dot(bx, by, bz, cx, cy, cz), _dot(cx, cy, cz, ax, ay, az), c, a, b)
    return cosine, sine


@kernel
def _sum_of_angles(re, im, turns):
    """The angles of all lanes together, in radians: added as by `_turn`, for one arc tangent instead of eight."""
    real, imaginary, whole = 1.0, 0.0, 0.0
    for k in range(8):
        cosine, sine = np.float64(lane(re, k)), np.float64(lane(im, k))
        before = imaginary
        real, imaginary = real * cosine - imaginary * sine, real * sine + imaginary * cosine
        whole += lane(turns, k)
        whole += 1.0 if before >= 0 and sine >= 0 and imaginary < 0 else (-1.0 if before < 0 and sine < 0 and imaginary >= 0 else 0.0)
    return math.atan2(imaginary, real) + 2 * math.pi * whole


@kernel
def face_winding_range(begin, end, order, points, batch, roots, field, children, blocks, depth, accuracy, winding):
    """Winding numbers of the faces about the points order[begin:end]. `batch` has each point's tree, or is empty."""
    dtype = points.dtype
    limit = splat(dtype.type(accuracy * accuracy))
    stack = np.empty(8 * depth + 8, np.int32)
    for place in range(begin, end):
        i = order[place]
        tree = batch[i] if len(batch) > 0 else 0
        px, py, pz = splat(points[i, 0]), splat(points[i, 1]), splat(points[i, 2])
        far_sum = splat(dtype.type(0))
        re, im, turns = splat(dtype.type(1)), splat(dtype.type(0)), splat(dtype.type(0))
        top = 0
        if roots[tree] >= 0:
            stack[0] = roots[tree]
            top = 1
        exact = False
        while top > 0:
            top -= 1
            node = np.int64(stack[top])
            value, near = _far_field(field, 8 * FIELD * node, px, py, pz, limit)
            far_sum = far_sum + value
            while near != 0:
                child = np.int64(children[node, first_bit(near)])
                near &= near - 1
                if child >= 0:
                    stack[top] = child
                    top += 1
                elif child < -1:
                    cosine, sine = _half_angles(blocks, 72 * (-2 - child), px, py, pz)
                    re, im, turns = _turn(re, im, turns, cosine, sine)
                    exact = True
        total = 2 * _sum_of_angles(re, im, turns) if exact else 0.0
        for k in range(8):
            total += lane(far_sum, k)
        winding[i] = total / (4 * math.pi)


@kernel
def point_winding_range(begin, end, order, points, batch, roots, field, children, blocks, block_areas, depth, accuracy, winding):
    """Winding numbers of oriented points with vector areas (blocks like the coordinates) about the points order[begin:end]."""
    dtype = points.dtype
    limit = splat(dtype.type(accuracy * accuracy))
    zero, one, none = splat(dtype.type(0)), splat(dtype.type(1)), splat(dtype.type(np.inf))
    stack = np.empty(8 * depth + 8, np.int32)
    for place in range(begin, end):
        i = order[place]
        tree = batch[i] if len(batch) > 0 else 0
        px, py, pz = splat(points[i, 0]), splat(points[i, 1]), splat(points[i, 2])
        total = zero
        top = 0
        if roots[tree] >= 0:
            stack[0] = roots[tree]
            top = 1
        while top > 0:
            top -= 1
            node = np.int64(stack[top])
            value, near = _far_field(field, 8 * FIELD * node, px, py, pz, limit)
            total = total + value
            while near != 0:
                child = np.int64(children[node, first_bit(near)])
                near &= near - 1
                if child >= 0:
                    stack[top] = child
                    top += 1
                elif child < -1:
                    start = 24 * (-2 - child)
                    x, y, z = load(blocks, start) - px, load(blocks, start + 8) - py, load(blocks, start + 16) - pz
                    squared = _dot(x, y, z, x, y, z)
                    inverse = one / square_root(squared)
                    dipole = _dot(x, y, z, load(block_areas, start), load(block_areas, start + 8), load(block_areas, start + 16))
                    total = total + select((squared > zero) & (squared < none), dipole * inverse * inverse * inverse, zero)
        value = 0.0
        for k in range(8):
            value += lane(total, k)
        winding[i] = value / (4 * math.pi)
