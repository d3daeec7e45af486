"""Aligning matched points: the error of each match, and the normal equations of one Gauss-Newton step.

Three kinds of error, all squared lengths: between points; along a direction of the target (its normal, or a colour gradient with the
difference in colour as offset); and between two small planes, each of which may slide in itself (generalized).
"""

from __future__ import annotations

import numpy as np

from .jit import kernel

SUMS = 28  # 21 of J^T W J (upper triangle by rows), 6 of J^T W r, cost
POINT, DIRECTION, GENERALIZED = 0, 1, 2
THICKNESS = 1e-3  # variance of a small plane along its normal, for 1 within it


@kernel
def plane_pair_information(a, b, matrix):
    """2 t (2 I - (1 - t)(a a^T + b b^T))^-1 of two unit normals: about 1 along them and t within the planes."""
    share = 1.0 - THICKNESS
    xx, yy, zz = 2 - share * (a[0] * a[0] + b[0] * b[0]), 2 - share * (a[1] * a[1] + b[1] * b[1]), 2 - share * (a[2] * a[2] + b[2] * b[2])
    xy, xz, yz = -share * (a[0] * a[1] + b[0] * b[1]), -share * (a[0] * a[2] + b[0] * b[2]), -share * (a[1] * a[2] + b[1] * b[2])
    m00, m01, m02 = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    scale = 2 * THICKNESS / (xx * m00 + xy * m01 + xz * m02)
    matrix[0, 0], matrix[0, 1], matrix[0, 2] = scale * m00, scale * m01, scale * m02
    matrix[1, 1], matrix[1, 2], matrix[2, 2] = scale * (xx * zz - xz * xz), scale * (xy * xz - xx * yz), scale * (xx * yy - xy * xy)
    matrix[1, 0], matrix[2, 0], matrix[2, 1] = matrix[0, 1], matrix[0, 2], matrix[1, 2]


@kernel
def move(pose, point, moved):
    for i in range(3):
        moved[i] = pose[i, 0] * point[0] + pose[i, 1] * point[1] + pose[i, 2] * point[2]


@kernel
def weigh(i, j, source, source_normals, target, directions, offset, pose, kind, point, residual, normal, matrix):
    """The moved point, its residual, and the information matrix of match (i, j); returns the squared error."""
    move(pose, source[i], point)
    for axis in range(3):
        point[axis] += pose[axis, 3]
        residual[axis] = point[axis] - target[j, axis]
    if kind == DIRECTION:
        d = directions[j]
        along = d[0] * residual[0] + d[1] * residual[1] + d[2] * residual[2] + offset[i]
        for axis in range(3):
            residual[axis] = d[axis] * along
        return along * along
    if kind == GENERALIZED:
        move(pose, source_normals[i], normal)
        plane_pair_information(normal, directions[j], matrix)
        x, y, z = residual[0], residual[1], residual[2]
        for axis in range(3):
            residual[axis] = matrix[axis, 0] * x + matrix[axis, 1] * y + matrix[axis, 2] * z
        return x * residual[0] + y * residual[1] + z * residual[2]
    return residual[0] * residual[0] + residual[1] * residual[1] + residual[2] * residual[2]


@kernel
def errors_range(begin, end, source, source_normals, match, target, directions, offset, pose, kind, errors):
    """Squared error of each match; 0 without one."""
    point, residual, normal, matrix = np.empty(3), np.empty(3), np.empty(3), np.empty((3, 3))
    for i in range(begin, end):
        j = match[i]
        errors[i] = 0
        if j >= 0:
            errors[i] = weigh(i, j, source, source_normals, target, directions, offset, pose, kind, point, residual, normal, matrix)


@kernel
def sums_range(begin, end, source, source_normals, match, target, directions, offset, pose, kind, weight, centre, sums):
    """Add the normal equations of a small motion (translation, rotation) about `centre`, applied on the left of the pose."""
    point, residual, normal, matrix = np.empty(3), np.empty(3), np.empty(3), np.empty((3, 3))
    jacobian, half = np.zeros((3, 6)), np.empty((3, 6))
    for axis in range(3):
        for other in range(3):
            matrix[axis, other] = 1.0 if axis == other else 0.0
        jacobian[axis, axis] = 1
    for i in range(begin, end):
        j = match[i]
        w = float(weight[i])
        if j < 0 or not w > 0:
            continue
        error = weigh(i, j, source, source_normals, target, directions, offset, pose, kind, point, residual, normal, matrix)
        if kind == DIRECTION:
            for axis in range(3):
                for other in range(3):
                    matrix[axis, other] = directions[j, axis] * directions[j, other]
        x, y, z = point[0] - centre[0], point[1] - centre[1], point[2] - centre[2]
        jacobian[0, 4], jacobian[0, 5] = z, -y
        jacobian[1, 3], jacobian[1, 5] = -z, x
        jacobian[2, 3], jacobian[2, 4] = y, -x
        for axis in range(3):
            for column in range(6):
                total = 0.0
                for other in range(3):
                    total += matrix[axis, other] * jacobian[other, column]
                half[axis, column] = w * total
        place = 0
        for row in range(6):
            for column in range(row, 6):
                sums[place] += jacobian[0, row] * half[0, column] + jacobian[1, row] * half[1, column] + jacobian[2, row] * half[2, column]
                place += 1
            flow = jacobian[0, row] * residual[0] + jacobian[1, row] * residual[1] + jacobian[2, row] * residual[2]
            sums[21 + row] += w * flow
        sums[27] += w * error
