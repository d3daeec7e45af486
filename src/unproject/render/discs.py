"""Point clouds as small discs, to be rendered like a mesh."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import ArgumentError
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud
from .points import point_radii, prepare_points

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
    whole = prepare_points(cloud, neighbors=neighbors)
    positions, normals, count = whole.positions, whole.normals, whole.point_count
    if count == 0 or normals is None:
        raise ArgumentError("discs_from_points: `cloud` has no finite point")
    if radius is None:
        radius = point_radii(positions, neighbor=1)
    else:
        radius = torch.as_tensor(radius, dtype=positions.dtype, device=positions.device)
        radius = radius[torch.isfinite(cloud.positions).all(1)] if radius.dim() else radius
    u, v = _across(normals)
    angles = torch.arange(_CORNERS, dtype=positions.dtype, device=positions.device) * (2 * math.pi / _CORNERS)
    ring = angles.cos()[:, None] * u[:, None] + angles.sin()[:, None] * v[:, None]
    vertices = (positions[:, None] + radius.reshape(-1, 1, 1) * ring).reshape(-1, 3)
    fan = torch.tensor([[0, i, i + 1] for i in range(1, _CORNERS - 1)], device=positions.device)
    faces = (torch.arange(count, device=positions.device)[:, None, None] * _CORNERS + fan).reshape(-1, 3)
    colors = None if whole.colors is None else whole.colors[:, :3].repeat_interleave(_CORNERS, 0)
    return Mesh(vertices=vertices, faces=faces, vertex_normals=normals.repeat_interleave(_CORNERS, 0), vertex_colors=colors)


def _across(normals: Tensor) -> tuple[Tensor, Tensor]:
    """Two unit vectors across each normal, such that u, v, normal turn counter-clockwise."""
    length = normals.norm(dim=-1, keepdim=True)
    up = normals.new_tensor([0.0, 0.0, 1.0])
    n = torch.where(length > 0, normals / torch.where(length > 0, length, 1), up)
    axis = torch.where(n[:, :1].abs() < 0.7, normals.new_tensor([1.0, 0.0, 0.0]), normals.new_tensor([0.0, 1.0, 0.0]))
    u = torch.linalg.cross(axis, n)
    u = u / u.norm(dim=-1, keepdim=True)
    return u, torch.linalg.cross(n, u)
