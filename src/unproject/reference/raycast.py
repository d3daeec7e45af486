"""Rays against triangles in plain torch: the differentiable formula, and the first hit by brute force."""

from __future__ import annotations

import torch
from torch import Tensor

_PAIRS = 1 << 19  # ray-triangle pairs held at once


def intersect_plane(origins: Tensor, directions: Tensor, corners: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays meet the planes of triangles: distance [...] in lengths of the direction, and barycentrics [..., 3].

    Args:
        origins, directions: [..., 3].
        corners: [..., 3, 3]. A ray within the plane, or a triangle without area, gives zeros.

    Gradient: all three. Source: Moeller and Trumbore 1997.
    """
    a, b, c = corners.unbind(-2)
    ab, ac, from_a = b - a, c - a, origins - a
    p = torch.linalg.cross(directions, ac)
    determinant = (ab * p).sum(-1)
    parallel = determinant == 0
    scale = torch.where(parallel, 0, 1 / torch.where(parallel, 1, determinant))
    q = torch.linalg.cross(from_a, ab)
    v = (from_a * p).sum(-1) * scale
    w = (directions * q).sum(-1) * scale
    return (ac * q).sum(-1) * scale, torch.stack([1 - v - w, v, w], dim=-1)


def ray_vjp(
    directions: Tensor,
    vertices: Tensor,
    faces: Tensor,
    face: Tensor,
    weights: Tensor,
    distance: Tensor,
    weights_pull: Tensor | None,
    distance_pull: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Cotangents of origins, directions and vertices from those of barycentrics and distance: the kernel's formula in plain torch.

    Differentiable itself where weights and distance are. Arguments as there: face -1 for a miss, pulls None for zero.
    """
    hit = face >= 0
    triangles = faces[face.clamp_min(0)]
    a, b, c = vertices[triangles].unbind(-2)
    u, v = b - a, c - a
    normal = torch.linalg.cross(u, v)
    determinant = (directions * normal).sum(-1)
    hit = (hit & (determinant != 0)).unsqueeze(-1)
    solution = torch.zeros_like(directions) if distance_pull is None else distance_pull.unsqueeze(-1) * normal
    if weights_pull is not None:
        p, q = (weights_pull[:, 1:] - weights_pull[:, :1]).unsqueeze(-1).unbind(1)
        solution = solution + p * torch.linalg.cross(directions, v) + q * torch.linalg.cross(u, directions)
    solution = torch.where(hit, solution / torch.where(hit, determinant.unsqueeze(-1), 1), 0)
    t = torch.where(hit, distance.unsqueeze(-1), 0)
    onto = weights.unsqueeze(-1) * solution.unsqueeze(-2)
    return -solution, -t * solution, torch.zeros_like(vertices).index_add(0, triangles.reshape(-1), onto.reshape(-1, 3))


def ray_cast(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    vertices: Tensor,
    faces: Tensor,
    query_offsets: Tensor,
    face_offsets: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """By trying all faces of the own mesh: barycentrics [N, 3] (0), distance [N] (inf), face [N] first hit in [near, far] (-1: a miss).

    Gradient: origins, directions and vertices, through all but the face.
    """
    face = first_face(origins.detach(), directions.detach(), near, far, vertices.detach(), faces, query_offsets, face_offsets)
    if faces.shape[0] == 0:
        return torch.zeros_like(origins), origins.new_full(face.shape, torch.inf), face
    hit = face >= 0
    t, weights = intersect_plane(origins, directions, vertices[faces[face.clamp_min(0)]])
    return torch.where(hit.unsqueeze(-1), weights, 0), torch.where(hit, t, torch.inf), face


def first_face(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    vertices: Tensor,
    faces: Tensor,
    query_offsets: Tensor,
    face_offsets: Tensor,
) -> Tensor:
    """Index int64 [N] of the first face of the own mesh hit in [near, far], -1 for a miss.

    A ray through a shared edge hits at least one of its faces: the edge functions of both are the same numbers. Source: Woop et al. 2013.
    """
    near, far = near.expand(origins.shape[0]), far.expand(origins.shape[0])
    face = torch.full((origins.shape[0],), -1, dtype=torch.int64, device=origins.device)
    queries, bounds = query_offsets.tolist(), face_offsets.tolist()
    for batch in range(len(queries) - 1):
        corners = vertices[faces[bounds[batch] : bounds[batch + 1]]]
        count = corners.shape[0]
        step = max(1, _PAIRS // max(count, 1))
        for begin in range(queries[batch], queries[batch + 1] if count else queries[batch], step):
            rows = slice(begin, min(begin + step, queries[batch + 1]))
            t = _watertight(origins[rows], directions[rows], corners)
            nearest, best = torch.where((t >= near[rows, None]) & (t <= far[rows, None]), t, torch.inf).min(-1)
            face[rows] = torch.where(nearest.isinf(), -1, best + bounds[batch])
    return face


def _watertight(origins: Tensor, directions: Tensor, corners: Tensor) -> Tensor:
    """Distances [N, F], infinite for a miss."""
    major = directions.abs().argmax(-1, keepdim=True)
    axes = (major + torch.arange(1, 4, device=major.device)) % 3  # x and y of the sheared frame, and the major axis
    along = directions.gather(-1, axes)
    shear = (along[:, :2] / along[:, 2:])[:, None, None]
    relative = (corners - origins[:, None, None]).gather(-1, axes[:, None, None].expand(-1, *corners.shape[:2], 3))
    x, y = (relative[..., :2] - shear * relative[..., 2:]).unbind(-1)
    weights = torch.stack([x[..., 2] * y[..., 1] - y[..., 2] * x[..., 1],
                           x[..., 0] * y[..., 2] - y[..., 0] * x[..., 2],
                           x[..., 1] * y[..., 0] - y[..., 1] * x[..., 0]], dim=-1)  # fmt: skip
    determinant = weights.sum(-1)
    hit = ((weights >= 0).all(-1) | (weights <= 0).all(-1)) & (determinant != 0)
    t = (weights * relative[..., 2]).sum(-1) / torch.where(determinant == 0, 1, determinant) / along[:, 2:]
    return torch.where(hit & t.isfinite(), t, torch.inf)
