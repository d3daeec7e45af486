"""Kernels: the normal equations of a smooth function on sparse lattice nodes, which vanishes at points and has given gradients there.

Energy: sum over nodes of stiffness |Hessian|^2 + anchor (f - target)^2, plus sum over points of w f(p)^2 + v |grad f(p) - n|^2.
Differences are in node units. Only nodes with all 26 neighbours ("inner" ones) have a Hessian; all corners of cells with points are inner.
"""

import numpy as np

from .jit import kernel
from .sparse_nodes import exists, neighbor

ALL_PRESENT = np.int32((1 << 27) - 1)


@kernel
def hessian_rows(begin, end, f, columns, present, stiffness, hessian):
    """hessian [N, 6]: stiffness times (xx, yy, zz, xy, xz, yz) at inner nodes, 0 elsewhere."""
    quarter = f.dtype.type(0.25)
    for n in range(begin, end):
        if present[n] != ALL_PRESENT:
            for c in range(6):
                hessian[n, c] = 0
            continue
        w = stiffness[n]
        x0, x1, y0, y1 = columns[n, 1], columns[n, 7], columns[n, 3], columns[n, 5]
        twice = f[n] + f[n]
        hessian[n, 0] = w * (f[x0] + f[x1] - twice)
        hessian[n, 1] = w * (f[y0] + f[y1] - twice)
        hessian[n, 2] = w * (f[n - 1] + f[n + 1] - twice)
        w *= quarter
        hessian[n, 3] = w * (f[columns[n, 0]] + f[columns[n, 8]] - f[columns[n, 2]] - f[columns[n, 6]])
        hessian[n, 4] = w * (f[x0 - 1] + f[x1 + 1] - f[x0 + 1] - f[x1 - 1])
        hessian[n, 5] = w * (f[y0 - 1] + f[y1 + 1] - f[y0 + 1] - f[y1 - 1])


# How a node collects from its neighbours' Hessians: column, z + 1. Six along axes (xx, yy, zz), then xy, xz, yz: two added, two taken away.
_STRAIGHT = [(1, 1), (7, 1), (3, 1), (5, 1), (4, 0), (4, 2)]
_ACROSS = [(0, 1), (8, 1), (2, 1), (6, 1), (1, 0), (7, 2), (1, 2), (7, 0), (3, 0), (5, 2), (3, 2), (5, 0)]
_COLLECT = np.array([*_STRAIGHT, *_ACROSS], dtype=np.int64)


@kernel
def border_rows(begin, end, border, columns, present, sources):
    """sources [B, 18]: whose Hessians a node of `border` [B] collects, in the order of _COLLECT; N, which has none, for missing ones."""
    for r in range(begin, end):
        n = border[r]
        for q in range(18):
            c, d = _COLLECT[q, 0], _COLLECT[q, 1]
            sources[r, q] = neighbor(columns, present, n, c, d) if exists(present, n, c, d) else len(columns)


@kernel
def product_rows(begin, end, slot, f, hessian, columns, sources, anchor, row_of, stencils, product, dots):
    """product = (system matrix) f, given hessian [N + 1, 6] = stiffness Hessian(f); dots[slot] = their inner product over the range.

    row_of [N]: an inner node's row of stencils, -1 for none; -2 - r for the border node with row r of sources.
    """
    half = f.dtype.type(0.5)
    total = 0.0
    h = hessian
    for n in range(begin, end):
        row = row_of[n]
        if row > -2:
            x0, x1, y0, y1 = columns[n, 1], columns[n, 7], columns[n, 3], columns[n, 5]
            s = h[x0, 0] + h[x1, 0] + h[y0, 1] + h[y1, 1] + h[n - 1, 2] + h[n + 1, 2]
            t = h[columns[n, 0], 3] + h[columns[n, 8], 3] - h[columns[n, 2], 3] - h[columns[n, 6], 3]
            t += h[x0 - 1, 4] + h[x1 + 1, 4] - h[x0 + 1, 4] - h[x1 - 1, 4]
            t += h[y0 - 1, 5] + h[y1 + 1, 5] - h[y0 + 1, 5] - h[y1 - 1, 5]
            s += half * t
            if row >= 0:
                for c in range(9):
                    m = columns[n, c]
                    s += stencils[row, 3 * c] * f[m - 1] + stencils[row, 3 * c + 1] * f[m] + stencils[row, 3 * c + 2] * f[m + 1]
        else:
            near = sources[-2 - row]
            s = h[near[0], 0] + h[near[1], 0] + h[near[2], 1] + h[near[3], 1] + h[near[4], 2] + h[near[5], 2]
            t = h[near[6], 3] + h[near[7], 3] - h[near[8], 3] - h[near[9], 3]
            t += h[near[10], 4] + h[near[11], 4] - h[near[12], 4] - h[near[13], 4]
            t += h[near[14], 5] + h[near[15], 5] - h[near[16], 5] - h[near[17], 5]
            s += half * t
        trace = h[n, 0] + h[n, 1] + h[n, 2]
        s += anchor[n] * f[n] - (trace + trace)
        product[n] = s
        total += np.float64(s) * np.float64(f[n])
    dots[slot] = total


@kernel
def diagonal_rows(begin, end, stiffness, columns, present, anchor, data_row, stencils, diagonal):
    """The system matrix's diagonal."""
    unit, eighth, twelve = stiffness.dtype.type(1), stiffness.dtype.type(0.125), stiffness.dtype.type(12)
    for n in range(begin, end):
        s = twelve * stiffness[n] + anchor[n]
        for c in range(9):
            for d in range(3):
                kind = abs(c // 3 - 1) + abs(c % 3 - 1) + abs(d - 1)
                if (kind == 1 or kind == 2) and exists(present, n, c, d):
                    s += stiffness[neighbor(columns, present, n, c, d)] * (unit if kind == 1 else eighth)
        if data_row[n] >= 0:
            s += stencils[data_row[n], 13]
        diagonal[n] = s


@kernel
def update_rows(begin, end, slot, step, direction, product, diagonal, solution, residual, dots):
    """x += step d; r -= step A d; dots[slot] = r . (r / diagonal)."""
    total = 0.0
    for n in range(begin, end):
        solution[n] += step * direction[n]
        r = residual[n] - step * product[n]
        residual[n] = r
        total += np.float64(r) * np.float64(r / diagonal[n])
    dots[slot] = total


@kernel
def direction_rows(begin, end, factor, residual, diagonal, direction):
    """d = r / diagonal + factor d."""
    for n in range(begin, end):
        direction[n] = residual[n] / diagonal[n] + factor * direction[n]


@kernel
def stencil_rows(begin, end, data_nodes, nodes, columns, present, starts, points, normals, value_weight, slope_weight, stencils, right):
    """The points' part of the system: 27 coefficients and the right side for each data node.

    points [P, 3] are in node units and sorted by the index of their cell's lowest node; those of node n are starts[n] to starts[n + 1].
    """
    unit, zero = points.dtype.type(1), points.dtype.type(0)
    b, gx, gy, gz = np.empty(8, points.dtype), np.empty(8, points.dtype), np.empty(8, points.dtype), np.empty(8, points.dtype)
    for r in range(begin, end):
        n = data_nodes[r]
        for t in range(27):
            stencils[r, t] = zero
        total = zero
        for corner in range(8):
            ci, cj, ck = corner >> 2, (corner >> 1) & 1, corner & 1
            column, d = (1 - ci) * 3 + 1 - cj, 1 - ck
            if not exists(present, n, column, d):
                continue
            low = neighbor(columns, present, n, column, d)
            for p in range(starts[low], starts[low + 1]):
                x = points[p, 0] - points.dtype.type(nodes[low, 0])
                y = points[p, 1] - points.dtype.type(nodes[low, 1])
                z = points[p, 2] - points.dtype.type(nodes[low, 2])
                for e in range(8):
                    wx = x if e >> 2 else unit - x
                    wy = y if (e >> 1) & 1 else unit - y
                    wz = z if e & 1 else unit - z
                    b[e] = wx * wy * wz
                    gx[e] = wy * wz if e >> 2 else -wy * wz
                    gy[e] = wx * wz if (e >> 1) & 1 else -wx * wz
                    gz[e] = wx * wy if e & 1 else -wx * wy
                w, v = value_weight[p], slope_weight[p]
                total += v * (gx[corner] * normals[p, 0] + gy[corner] * normals[p, 1] + gz[corner] * normals[p, 2])
                for e in range(8):
                    t = ((1 - ci + (e >> 2)) * 3 + 1 - cj + ((e >> 1) & 1)) * 3 + 1 - ck + (e & 1)
                    slope = gx[corner] * gx[e] + gy[corner] * gy[e] + gz[corner] * gz[e]
                    stencils[r, t] += w * b[corner] * b[e] + v * slope
        right[r] = total
