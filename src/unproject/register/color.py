"""Brightness on a surface and how it changes along it: what coloured ICP compares."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.neighbors import knn
from .shape import Shape


def brightness(colors: Tensor) -> Tensor:
    """Mean of RGB [N], in [0, 1]."""
    return colors[:, :3].mean(1)


def color_gradients(shape: Shape, tone: Tensor, *, k: int = 20) -> Tensor:
    """Gradient [N, 3] of brightness within each point's tangent plane, per scene unit: least squares over k neighbours.

    Source: Park, Zhou and Koltun 2017, section 4.2.
    """
    assert shape.normals is not None
    near = knn(shape.index, shape.index, min(k, shape.point_count)).index
    offset = shape.points[near] - shape.points[:, None]
    normal = shape.normals[:, None]
    along = offset - (offset * normal).sum(-1, keepdim=True) * normal
    size = along.square().sum((-2, -1), keepdim=True).clamp_min(1e-30)
    # The row along the normal asks for no change across the surface; the small diagonal for a flat answer where neighbours are in a line.
    matrix = along.mT @ along / size + normal.mT @ normal + 1e-4 * torch.eye(3)
    vector = (along * (tone[near] - tone[:, None])[..., None]).sum(1) / size[:, 0]
    return torch.linalg.solve(matrix, vector)
