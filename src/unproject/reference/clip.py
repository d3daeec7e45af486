"""Cutting triangles at the near plane, in torch, with gradients through the new corners."""

from __future__ import annotations

import torch
from torch import Tensor

# What is left of a face (i, j, k), by which of its corners lie in front (bit 0: i, bit 1: j, bit 2: k): polygon corners (a, b), each the
# corner a itself (a = b), or the cut of the edge from a, in front, to b.
_POLYGONS = {
    0b001: ((0, 0), (0, 1), (0, 2)),
    0b010: ((1, 0), (1, 1), (1, 2)),
    0b100: ((2, 1), (2, 2), (2, 0)),
    0b011: ((0, 0), (1, 1), (1, 2), (0, 2)),
    0b110: ((1, 0), (1, 1), (2, 2), (2, 0)),
    0b101: ((0, 0), (0, 1), (2, 1), (2, 2)),
    0b111: ((0, 0), (1, 1), (2, 2)),
}


def clip_near(points: Tensor, faces: Tensor, near: float) -> tuple[Tensor, Tensor, Tensor]:
    """Triangles of a list with everything nearer than the near plane cut off.

    Args:
        points: [N, 3] homogeneous image coordinates (X, Y, z).
        faces: [F, 3] rows of `points`.

    Returns:
        Points [N + C, 3], the given ones first; triangles [T, 3]; and the face [T] that each triangle is a part of, ascending.
    """
    front = points[:, 2] >= near
    code = (front[faces].to(torch.int64) * faces.new_tensor([1, 2, 4])).sum(-1)
    if bool((code == 7).all()):
        return points, faces, torch.arange(faces.shape[0], device=faces.device)
    triangles, parents, cuts, cut_count = [], [], [], 0
    for mask, polygon in _POLYGONS.items():
        rows = (code == mask).nonzero()[:, 0]
        corners = []
        for a, b in polygon:
            if a == b:
                corners.append(faces[rows, a])
                continue
            corners.append(points.shape[0] + cut_count + torch.arange(rows.shape[0], device=faces.device))
            cuts.append(_cut(points[faces[rows, a]], points[faces[rows, b]], near))
            cut_count += rows.shape[0]
        for c in range(2, len(polygon)):
            triangles.append(torch.stack([corners[0], corners[c - 1], corners[c]], -1))
            parents.append(rows)
    parent, order = torch.cat(parents).sort(stable=True)
    return torch.cat([points, *cuts]), torch.cat(triangles)[order], parent


def _cut(front: Tensor, back: Tensor, near: float) -> Tensor:
    """Where edges from points in front of the near plane to points that are not meet it."""
    s = (near - front[:, 2:]) / (back[:, 2:] - front[:, 2:])
    return torch.cat([front[:, :2] + s * (back[:, :2] - front[:, :2]), torch.full_like(s, near)], -1)
