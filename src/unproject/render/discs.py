"""Point clouds as small discs, to be rendered like a mesh."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import ArgumentError
from ..geometry.mesh import Mesh
from ..geometry.neighbors import knn
from ..geometry.pca import estimate_normals
from ..geometry.points import PointCloud

_CORNERS = 6


def discs_from_points(cloud: PointCloud, *, radius: float | Tensor | None = None, neighbors: int = 16) -> Mesh:
    """A mesh of one hexagon for each point, across its normal, with its colour.

    Args:
        cloud: points that are not finite are left out. Without normals, they are estimated from the neighbours (either side may be outside:
            shade them two-sided).
        radius: of the discs, scene units, one for all or [N]; None: 0.8 of the distance to the nearest neighbour, about.
        neighbors: for the estimation of normals.

    Raises:
        ArgumentError: no finite point.

    Gradient: positions, normals and colours.
    """
    keep = torch.isfinite(cloud.positions).all(1)
    positions = cloud.positions[keep]
    count = positions.shape[0]
    if count == 0:
        raise ArgumentError("discs_from_points: `cloud` has no finite point")
    if radius is None:
        radius = _spacing(positions)
    radius = torch.as_tensor(radius, dtype=positions.dtype, device=positions.device)
    radius = radius[keep] if radius.dim() else radius
    if cloud.normals is not None:
        normals = cloud.normals[keep].nan_to_num(0.0)
    elif count >= 4:
        normals = estimate_normals(positions.detach(), k=min(neighbors, count)).normals
    else:
        normals = positions.new_tensor([0.0, 0.0, 1.0]).expand(count, 3)
    u, v = _across(normals)
    angles = torch.arange(_CORNERS, dtype=positions.dtype, device=positions.device) * (2 * math.pi / _CORNERS)
    ring = angles.cos()[:, None] * u[:, None] + angles.sin()[:, None] * v[:, None]
    vertices = (positions[:, None] + radius.reshape(-1, 1, 1) * ring).reshape(-1, 3)
    fan = torch.tensor([[0, i, i + 1] for i in range(1, _CORNERS - 1)], device=positions.device)
    faces = (torch.arange(count, device=positions.device)[:, None, None] * _CORNERS + fan).reshape(-1, 3)
    colors = None if cloud.colors is None else cloud.colors[keep][:, :3].repeat_interleave(_CORNERS, 0)
    return Mesh(vertices=vertices, faces=faces, vertex_normals=normals.repeat_interleave(_CORNERS, 0), vertex_colors=colors)


def _spacing(positions: Tensor) -> Tensor:
    if positions.shape[0] < 2:
        return positions.new_tensor(1.0)
    found = knn(positions.detach(), positions.detach(), 1, exclude_self=True)
    nearest = found.squared_distance[:, 0].sqrt()
    usual = nearest.median()
    return (0.8 * nearest).clamp(0.4 * usual, 2 * usual)


def _across(normals: Tensor) -> tuple[Tensor, Tensor]:
    """Two unit vectors across each normal, such that u, v, normal turn counter-clockwise."""
    length = normals.norm(dim=-1, keepdim=True)
    up = normals.new_tensor([0.0, 0.0, 1.0])
    n = torch.where(length > 0, normals / torch.where(length > 0, length, 1), up)
    axis = torch.where(n[:, :1].abs() < 0.7, normals.new_tensor([1.0, 0.0, 0.0]), normals.new_tensor([0.0, 1.0, 0.0]))
    u = torch.linalg.cross(axis, n)
    u = u / u.norm(dim=-1, keepdim=True)
    return u, torch.linalg.cross(n, u)
