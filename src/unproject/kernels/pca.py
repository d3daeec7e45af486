"""Principal axes of the neighbourhoods of points: covariance and 3x3 eigen-decomposition at once, in float64."""

from __future__ import annotations

import numpy as np

from .jit import kernel

SWEEPS = 12  # of Jacobi rotations; five are enough for float64, the rest is for what is nearly degenerate


@kernel
def rotate_axes(matrix, vectors, p, q):
    """One Jacobi rotation: make matrix[p, q] zero, and turn the rows p and q of `vectors` with it."""
    off = matrix[p, q]
    if off == 0:
        return
    theta = (matrix[q, q] - matrix[p, p]) / (2 * off)
    t = (1.0 if theta >= 0 else -1.0) / (abs(theta) + np.sqrt(theta * theta + 1))
    c = 1 / np.sqrt(t * t + 1)
    s = t * c
    r = 3 - p - q
    matrix[p, p] -= t * off
    matrix[q, q] += t * off
    matrix[p, q] = matrix[q, p] = 0
    a, b = matrix[r, p], matrix[r, q]
    matrix[r, p] = matrix[p, r] = c * a - s * b
    matrix[r, q] = matrix[q, r] = s * a + c * b
    for axis in range(3):
        a, b = vectors[p, axis], vectors[q, axis]
        vectors[p, axis], vectors[q, axis] = c * a - s * b, s * a + c * b


@kernel
def diagonalize(matrix, vectors):
    """Turn a symmetric 3x3 matrix into its eigenvalues (on the diagonal), the rows of `vectors` into its unit eigenvectors."""
    for row in range(3):
        for column in range(3):
            vectors[row, column] = 1.0 if row == column else 0.0
    for _ in range(SWEEPS):
        off = abs(matrix[0, 1]) + abs(matrix[0, 2]) + abs(matrix[1, 2])
        if not off > 1e-17 * (abs(matrix[0, 0]) + abs(matrix[1, 1]) + abs(matrix[2, 2])):
            return
        rotate_axes(matrix, vectors, 0, 1)
        rotate_axes(matrix, vectors, 0, 2)
        rotate_axes(matrix, vectors, 1, 2)


@kernel
def gather_covariance(points, index, begin, end, origin, mean, matrix):
    """Mean of the listed points, relative to an origin among them, and their covariance; sums lose nothing far from zero."""
    x = y = z = xx = xy = xz = yy = yz = zz = 0.0
    for i in range(begin, end):
        j = index[i]
        u, v, w = points[j, 0] - origin[0], points[j, 1] - origin[1], points[j, 2] - origin[2]
        x, y, z = x + u, y + v, z + w
        xx, xy, xz = xx + u * u, xy + u * v, xz + u * w
        yy, yz, zz = yy + v * v, yz + v * w, zz + w * w
    n = 1.0 / (end - begin)
    x, y, z = x * n, y * n, z * n
    mean[0], mean[1], mean[2] = x, y, z
    matrix[0, 0], matrix[1, 1], matrix[2, 2] = xx * n - x * x, yy * n - y * y, zz * n - z * z
    matrix[0, 1] = matrix[1, 0] = xy * n - x * y
    matrix[0, 2] = matrix[2, 0] = xz * n - x * z
    matrix[1, 2] = matrix[2, 1] = yz * n - y * z


@kernel
def store_axes(matrix, vectors, eigenvalues, axes):
    """Eigenvalues in ascending order, none negative, and their axes as rows; each axis' largest component is positive."""
    a, b, c = 0, 1, 2
    if matrix[b, b] < matrix[a, a]:
        a, b = b, a
    if matrix[c, c] < matrix[b, b]:
        b, c = c, b
    if matrix[b, b] < matrix[a, a]:
        a, b = b, a
    for rank in range(3):
        source = a if rank == 0 else (b if rank == 1 else c)
        eigenvalues[rank] = max(matrix[source, source], 0.0)
        x, y, z = vectors[source, 0], vectors[source, 1], vectors[source, 2]
        largest = x if abs(x) >= abs(y) and abs(x) >= abs(z) else (y if abs(y) >= abs(z) else z)
        sign = 1.0 if largest >= 0 else -1.0
        axes[rank, 0], axes[rank, 1], axes[rank, 2] = sign * x, sign * y, sign * z


@kernel
def pca_range(begin, end, points, index, offsets, mean, eigenvalues, axes):
    """Mean, eigenvalues and axes of the points that each of the lists [begin, end) names in index[offsets[i] : offsets[i + 1]]."""
    origin, centre = np.empty(3), np.empty(3)
    matrix, vectors = np.empty((3, 3)), np.empty((3, 3))
    for item in range(begin, end):
        first, last = offsets[item], offsets[item + 1]
        if last > first:
            for axis in range(3):
                origin[axis] = points[index[first], axis]
            gather_covariance(points, index, first, last, origin, centre, matrix)
        else:
            for axis in range(3):
                origin[axis] = centre[axis] = 0
                for other in range(3):
                    matrix[axis, other] = 0
        diagonalize(matrix, vectors)
        store_axes(matrix, vectors, eigenvalues[item], axes[item])
        for axis in range(3):
            mean[item, axis] = origin[axis] + centre[axis]
