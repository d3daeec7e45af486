"""Turning the faces of a fitted surface to the normals that a scan came with: edges and flat parts become what the sensor saw.

A lattice rounds what is finer than its cells; normals at the points know it. Each face gets the mean of the normals near that point its
way, and the vertices follow.
Source: Sun et al. 2007, "Fast and effective feature-preserving mesh denoising" (the update of the vertices).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.intersect import self_intersections
from ..geometry.mesh import Mesh
from ..geometry.neighbors import knn
from ..geometry.normals import face_normals
from ..geometry.point_index import build_index
from ..geometry.topology import unique_edges
from ..geometry.untangle import spread_marks

_NEIGHBORS = 8
_ALIKE = 0.6  # length of the difference from the face's own normal at which a normal counts e^-1/2
_UPDATES = 10
_RETREATS = 4  # rounds in which crossing faces go back


def turn_faces(mesh: Mesh, points: Tensor, normals: Tensor, *, reach: float) -> Mesh:
    """Move vertices [V, 3] so that faces look along the measured unit normals [P, 3] of the points [P, 3] near.

    How far they turn depends on how much the mean normals tell: from how much neighbouring normals differ follows the error of their mean,
    from how much the means differ from the faces the error of both.

    Args:
        reach: faces farther than that from all points stay as they are.
    """
    if mesh.face_count == 0 or points.shape[0] < 2 * _NEIGHBORS:
        return mesh
    own = face_normals(mesh.vertices, mesh.faces)
    mean, seen = _mean_normals(mesh.vertices[mesh.faces].mean(1), own, points, normals, reach)
    if not bool(seen.any()):
        return mesh
    share = _share(_discord(points, normals), float((mean - own)[seen].square().sum(1).median()))
    wanted = torch.where(seen[:, None], torch.nn.functional.normalize(torch.lerp(own, mean, share), dim=1), own)
    return _without_crossings(mesh, _follow(mesh.vertices, mesh.faces, wanted))


def _without_crossings(mesh: Mesh, vertices: Tensor) -> Mesh:
    """The mesh with moved vertices, but back where they were, and partly around that, where faces would go through each other."""
    edges = unique_edges(mesh.faces, mesh.vertex_count)
    for _ in range(_RETREATS):
        crossing = self_intersections(Mesh(vertices=vertices, faces=mesh.faces))
        if len(crossing) == 0:
            break
        marked = torch.zeros_like(vertices[:, 0])
        marked[mesh.faces[crossing.flatten().unique()].flatten()] = 1
        vertices = torch.lerp(vertices, mesh.vertices, spread_marks(marked, edges, 2)[:, None])
    return Mesh(vertices=vertices, faces=mesh.faces)


def _mean_normals(middles: Tensor, own: Tensor, points: Tensor, normals: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """[F, 3] unit means of the normals of the nearest points, those that differ much left out, and bool [F] whether there are any."""
    found = knn(middles, points, _NEIGHBORS)
    weight = torch.exp(-2 * found.squared_distance / found.squared_distance[:, -1:].clamp_min(1e-20))
    near = normals[found.index]
    weight = weight * torch.exp((near - own[:, None]).square().sum(2) / (-2 * _ALIKE**2))
    total = (weight[:, :, None] * near).sum(1)
    length = total.norm(dim=1)
    seen = (length > 0.05) & (found.squared_distance[:, 0] < reach**2)
    return total / length.clamp_min(1e-9)[:, None], seen


def _discord(points: Tensor, normals: Tensor) -> float:
    """Usual variance of a normal, all components together, as its nearest neighbour tells."""
    index = build_index(points)
    nearest = knn(index, index, 1, exclude_self=True).index[:, 0]
    return 0.5 * float((normals - normals[nearest]).square().sum(1).median())


def _share(variance: float, difference: float) -> float:
    """Share of the mean normals in the best mixture with the faces' own: the inverse ratio of the variances of both."""
    return max(0.0, 1 - variance / _NEIGHBORS / max(difference, 1e-12))


def _follow(vertices: Tensor, faces: Tensor, wanted: Tensor) -> Tensor:
    """Move vertices along the wanted normals [F, 3] of their faces towards the planes through the faces' middles."""
    corners = vertices[faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1)
    weight = torch.zeros_like(vertices[:, 0]).index_add(0, faces.reshape(-1), area.repeat_interleave(3)).clamp_min(1e-30)[:, None]
    for _ in range(_UPDATES):
        corners = vertices[faces]
        height = ((corners.mean(1, keepdim=True) - corners) * wanted[:, None]).sum(2)
        move = (area[:, None] * height)[:, :, None] * wanted[:, None]
        vertices = vertices + torch.zeros_like(vertices).index_add(0, faces.reshape(-1), move.reshape(-1, 3)) / weight
    return vertices
