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
    """By trying all faces of the own mesh: face [N] first hit in [near, far] (-1: a miss), distance [N] (inf), barycentrics [N, 3] (0).

    A ray through a shared edge hits at least one of its faces: the edge functions of both are the same numbers. Source: Woop et al. 2013.
    """
    face = torch.full((origins.shape[0],), -1, dtype=torch.int64, device=origins.device)
    distance = origins.new_full((origins.shape[0],), torch.inf)
    barycentrics = origins.new_zeros((origins.shape[0], 3))
    queries, bounds = query_offsets.tolist(), face_offsets.tolist()
    for batch in range(len(queries) - 1):
        corners = vertices[faces[bounds[batch] : bounds[batch + 1]]]
        count = corners.shape[0]
        step = max(1, _PAIRS // max(count, 1))
        for begin in range(queries[batch], queries[batch + 1] if count else queries[batch], step):
            rows = slice(begin, min(begin + step, queries[batch + 1]))
            t, weights = _watertight(origins[rows], directions[rows], corners)
            t = torch.where((t >= near[rows, None]) & (t <= far[rows, None]), t, torch.inf)
            distance[rows], best = t.min(-1)
            face[rows] = torch.where(distance[rows].isinf(), -1, best + bounds[batch])
            barycentrics[rows] = weights[torch.arange(best.shape[0], device=best.device), best]
    barycentrics[face < 0] = 0
    return face, distance, barycentrics


def _watertight(origins: Tensor, directions: Tensor, corners: Tensor) -> tuple[Tensor, Tensor]:
    """Distance [N, F], infinite for a miss, and barycentrics [N, F, 3]."""
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
    weights = weights / torch.where(determinant == 0, 1, determinant).unsqueeze(-1)
    t = (weights * relative[..., 2]).sum(-1) / along[:, 2:]
    return torch.where(hit & t.isfinite(), t, torch.inf), weights
