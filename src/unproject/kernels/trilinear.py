"""Trilinear interpolation: where a point lies in a dense or blocked lattice, and sums over the eight corners of its cell."""

from __future__ import annotations

import numpy as np

from .block_hash import find_block
from .jit import kernel


@kernel
def cell_of(coordinate, size):
    """The lower corner of the cell that a coordinate lies in or nearest to, so that the upper corner is inside as well."""
    return np.int64(min(max(np.floor(coordinate), 0.0), float(max(size - 2, 0))))


@kernel
def locate_dense_range(begin, end, points, size_x, size_y, size_z, index, fraction):
    """Corner indices [N, 8] of each point's cell, and where in the cell it lies; points outside of the grid move to its border."""
    for n in range(begin, end):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        if not (np.isfinite(x) and np.isfinite(y) and np.isfinite(z)):
            x, y, z = points.dtype.type(0), points.dtype.type(0), points.dtype.type(0)
        i, j, k = cell_of(x, size_x), cell_of(y, size_y), cell_of(z, size_z)
        fraction[n, 0] = min(max(x - i, 0.0), 1.0)
        fraction[n, 1] = min(max(y - j, 0.0), 1.0)
        fraction[n, 2] = min(max(z - k, 0.0), 1.0)
        for c in range(8):
            cx, cy, cz = min(i + (c & 1), size_x - 1), min(j + (c >> 1 & 1), size_y - 1), min(k + (c >> 2), size_z - 1)
            index[n, c] = (cx * size_y + cy) * size_z + cz


@kernel
def snapped(coordinate, tolerance):
    """A lattice coordinate that rounding has moved off its lattice point goes back to it."""
    whole = np.floor(coordinate + 0.5)
    return whole if abs(coordinate - whole) <= tolerance * (1.0 + abs(coordinate)) else np.float64(coordinate)


@kernel
def locate_blocks_range(begin, end, points, keys, slots, tolerance, index, fraction):
    """The same in blocks of 8^3 found by their hash table; corner indices are -1 where a corner's block does not exist.

    On a lattice point, line or plane, corners off it have no weight and may be missing: the ones on it stand in for them.
    """
    for n in range(begin, end):
        x, y, z = snapped(points[n, 0], tolerance), snapped(points[n, 1], tolerance), snapped(points[n, 2], tolerance)
        known = abs(x) < 8000000.0 and abs(y) < 8000000.0 and abs(z) < 8000000.0  # within 2^20 blocks; false for NaN
        if not known:
            x, y, z = 0.0, 0.0, 0.0
        i, j, k = np.int64(np.floor(x)), np.int64(np.floor(y)), np.int64(np.floor(z))
        fraction[n, 0], fraction[n, 1], fraction[n, 2] = x - i, y - j, z - k
        needed = (1 if x > i else 0) | (2 if y > j else 0) | (4 if z > k else 0)
        first = find_block(keys, slots, i >> 3, j >> 3, k >> 3) if known else np.int64(-1)
        for c in range(8):
            point = np.int64(-1)
            if known:
                point = block_point(first, keys, slots, i, j, k, c)
                if point < 0 and c & needed != c:
                    point = block_point(first, keys, slots, i, j, k, c & needed)
            index[n, c] = point


@kernel
def block_point(first, keys, slots, i, j, k, c):
    """The sample at corner c of cell (i, j, k), whose lower corner is in block `first`; -1 without one."""
    ci, cj, ck = i + (c & 1), j + (c >> 1 & 1), k + (c >> 2)
    owner = first
    if ci >> 3 != i >> 3 or cj >> 3 != j >> 3 or ck >> 3 != k >> 3:
        owner = find_block(keys, slots, ci >> 3, cj >> 3, ck >> 3)
    return np.int64(-1) if owner < 0 else owner * 512 + (ci & 7) * 64 + (cj & 7) * 8 + (ck & 7)


@kernel
def corner_weights(fraction, n, weight):
    one = fraction.dtype.type(1)
    x, y, z = fraction[n, 0], fraction[n, 1], fraction[n, 2]
    for c in range(8):
        weight[c] = (x if c & 1 else one - x) * (y if c & 2 else one - y) * (z if c & 4 else one - z)


@kernel
def gather_range(begin, end, values, index, fraction, out):
    """out[n] = sum of the corner values by their weights; 0 where a corner is missing."""
    weight = np.empty(8, values.dtype)
    channels = values.shape[1]
    for n in range(begin, end):
        corner_weights(fraction, n, weight)
        for d in range(channels):
            out[n, d] = 0
        whole = True
        for c in range(8):
            whole &= index[n, c] >= 0
        if whole:
            for c in range(8):
                row, w = index[n, c], weight[c]
                for d in range(channels):
                    out[n, d] += w * values[row, d]


@kernel
def fraction_gradient_range(begin, end, values, index, fraction, grad, out):
    """Gradient with respect to the position in the cell."""
    one = fraction.dtype.type(1)
    zero = fraction.dtype.type(0)
    for n in range(begin, end):
        x, y, z = fraction[n, 0], fraction[n, 1], fraction[n, 2]
        gx, gy, gz, whole = zero, zero, zero, True
        for c in range(8):
            whole &= index[n, c] >= 0
        if whole:
            for c in range(8):
                row, flow = index[n, c], zero
                for d in range(values.shape[1]):
                    flow += grad[n, d] * values[row, d]
                wx, wy, wz = (x if c & 1 else one - x), (y if c & 2 else one - y), (z if c & 4 else one - z)
                gx += flow * wy * wz if c & 1 else -flow * wy * wz
                gy += flow * wx * wz if c & 2 else -flow * wx * wz
                gz += flow * wx * wy if c & 4 else -flow * wx * wy
        out[n, 0], out[n, 1], out[n, 2] = gx, gy, gz


@kernel
def scatter_range(begin, end, index, fraction, grad, out):
    """Gradient with respect to the values of rows [begin, end): each slice owns its rows, so that no two threads add to one."""
    weight = np.empty(8, grad.dtype)
    for n in range(index.shape[0]):
        mine, whole = False, True
        for c in range(8):
            row = index[n, c]
            whole &= row >= 0
            mine |= (row >= begin) & (row < end)
        if not (mine and whole):
            continue
        corner_weights(fraction, n, weight)
        for c in range(8):
            row = index[n, c]
            if row >= begin and row < end:
                for d in range(grad.shape[1]):
                    out[row, d] += weight[c] * grad[n, d]
