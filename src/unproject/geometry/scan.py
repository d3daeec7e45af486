"""Procedural scans: points on a mesh as a depth camera would see them, with noise, occlusion and outliers. For samples and tests."""

from __future__ import annotations

import torch
from torch import Tensor

from ..camera.viewpoints import fibonacci_directions
from ..errors import ArgumentError, DataError
from .bvh import build_bvh
from .mesh import Mesh
from .normals import face_normals
from .points import PointCloud
from .query import ray_cast

_GRAZING = 0.15  # cosine below which a depth sensor returns nothing


def scan_mesh(mesh: Mesh, *, points: int = 50_000, views: int = 12, noise: float = 0.0, outliers: float = 0.0, seed: int = 0) -> PointCloud:
    """Points of a mesh seen from around it, with the normals of the faces they lie on.

    Args:
        mesh: what is scanned.
        points: most points of the result, outliers not counted.
        views: cameras on a Fibonacci sphere, 2.5 longest sides from the centre. Few leave parts unseen.
        noise: standard deviation along the viewing ray, in longest sides of the mesh.
        outliers: share of further points, uniform in the box grown by 20 %, with random normals.
        seed: of all random choices.

    Raises:
        ArgumentError: an argument out of range.
        DataError: no ray met the mesh.
    """
    if points < 1 or views < 1 or noise < 0 or outliers < 0:
        raise ArgumentError(f"scan_mesh: need points, views >= 1 and noise, outliers >= 0, got {points}, {views}, {noise}, {outliers}")
    generator = torch.Generator().manual_seed(seed)
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    centre, extent = (low + high) / 2, high - low
    size = float(extent.max())
    normals = face_normals(mesh.vertices, mesh.faces)
    tree = build_bvh(mesh.vertices, mesh.faces)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for eye in centre + 2.5 * size * fibonacci_directions(views).to(mesh.vertices):
        aims = centre + (torch.rand(max(4 * points // views, 200), 3, generator=generator).to(extent) - 0.5) * 1.1 * extent
        directions = torch.nn.functional.normalize(aims - eye, dim=1)
        hit = ray_cast(eye.expand_as(directions).contiguous(), directions, mesh, bvh=tree)
        cosine = (normals[hit.face.clamp_min(0)] * directions).sum(1)
        seen = (hit.face >= 0) & (cosine.abs() > _GRAZING)
        facing = torch.where(cosine[seen] > 0, -1.0, 1.0)[:, None] * normals[hit.face[seen]]
        found.append((eye + hit.distance[seen, None] * directions[seen], facing, directions[seen]))
    position, normal, ray = (torch.cat(parts) for parts in zip(*found))
    if len(position) == 0:
        raise DataError("scan_mesh: no ray met the mesh")
    chosen = torch.randperm(len(position), generator=generator)[:points]
    scatter = torch.randn(len(chosen), 1, generator=generator).to(position)
    position, normal = position[chosen] + ray[chosen] * (noise * size * scatter), normal[chosen]
    extra = int(outliers * len(position))
    stray = centre + (torch.rand(extra, 3, generator=generator).to(extent) - 0.5) * 1.2 * extent
    stray_normal = torch.nn.functional.normalize(torch.randn(extra, 3, generator=generator).to(extent), dim=1)
    return PointCloud(positions=torch.cat([position, stray]), normals=torch.cat([normal, stray_normal]))
