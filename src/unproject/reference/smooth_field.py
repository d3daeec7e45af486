"""The smooth implicit function's normal equations in plain torch, as dense matrices: for small lattices."""

from __future__ import annotations

import torch
from torch import Tensor

from .sparse_nodes import neighbors, trilinear


def hessian_matrix(nodes: Tensor, dtype: torch.dtype) -> Tensor:
    """[6, N, N]: second differences xx, yy, zz, xy, xz, yz at nodes with all neighbours, 0 rows at others."""
    near = neighbors(nodes)
    inner = (near >= 0).all(1).nonzero()[:, 0]
    at = lambda x, y, z: near[inner, (x + 1) * 9 + (y + 1) * 3 + z + 1]
    unit = torch.eye(3, dtype=torch.int64).tolist()
    result = torch.zeros(6, len(nodes), len(nodes), dtype=dtype)
    for axis, (x, y, z) in enumerate(unit):
        result[axis, inner, inner] = -2.0
        result[axis, inner, at(x, y, z)] = 1.0
        result[axis, inner, at(-x, -y, -z)] = 1.0
    for row, (a, b) in enumerate(((0, 1), (0, 2), (1, 2)), start=3):
        for s in (-1, 1):
            for t in (-1, 1):
                place = [0, 0, 0]
                place[a], place[b] = s, t
                result[row, inner, at(*place)] = 0.25 * s * t
    return result


def field_system(
    nodes: Tensor, points: Tensor, normals: Tensor, value_weight: Tensor, slope_weight: Tensor, stiffness: Tensor, anchor: Tensor
) -> tuple[Tensor, Tensor]:
    """Matrix [N, N] and the points' part of the right side [N]; points in node units, stiffness and anchor [N] a node."""
    dtype, count = points.dtype, len(nodes)
    corner, weight, slope = trilinear(points, nodes)
    value_rows = torch.zeros(len(points), count, dtype=dtype).scatter(1, corner, weight)
    slope_rows = torch.zeros(3, len(points), count, dtype=dtype)
    for axis in range(3):
        slope_rows[axis].scatter_(1, corner, slope[:, :, axis])
    matrix = torch.diag(anchor) + value_rows.T @ (value_weight[:, None] * value_rows)
    right = torch.zeros(count, dtype=dtype)
    for axis in range(3):
        weighted = slope_weight[:, None] * slope_rows[axis]
        matrix += slope_rows[axis].T @ weighted
        right += weighted.T @ normals[:, axis]
    factor = torch.tensor([1.0, 1.0, 1.0, 2.0, 2.0, 2.0], dtype=dtype)
    for scale, rows in zip(factor, hessian_matrix(nodes, dtype)):
        matrix += scale * rows.T @ (stiffness[:, None] * rows)
    return matrix, right


def bending(values: Tensor, nodes: Tensor) -> Tensor:
    """[N] Frobenius norm of the second differences."""
    second = hessian_matrix(nodes, values.dtype) @ values
    return (second[:3].square().sum(0) + 2 * second[3:].square().sum(0)).sqrt()
