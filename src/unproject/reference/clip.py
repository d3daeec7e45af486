"""Cutting triangles at the near plane, in torch, with gradients through the new corners."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, kw_only=True)
class Clipped:
    """Triangles in front of the near plane.

    Attributes:
        points: [N + C, 3] homogeneous image coordinates, the given ones first, then the new corners.
        triangles: [T, 3] rows of `points`.
        parent: [T] the face that each is a part of, ascending.
        front, back: [C] the two given points between which each new corner lies. share: [C, 1] how far it is from front to back.
    """

    points: Tensor
    triangles: Tensor
    parent: Tensor
    front: Tensor
    back: Tensor
    share: Tensor

    def extend(self, values: Tensor) -> Tensor:
        """Values [N, ...] of the given points with those of the new corners [N + C, ...]. Linear in space, not on the screen."""
        share = self.share.reshape(-1, *[1] * (values.dim() - 1))
        return torch.cat([values, (1 - share) * values[self.front] + share * values[self.back]])


def clip_near(points: Tensor, faces: Tensor, near: float) -> Clipped:
    """Triangles of a list with everything nearer than the near plane cut off.

    Args:
        points: [N, 3] homogeneous image coordinates (X, Y, z).
        faces: [F, 3] rows of `points`.
    """
    before = points[:, 2] >= near
    code = (before[faces].to(torch.int64) * faces.new_tensor([1, 2, 4])).sum(-1)
    triangles, parents, fronts, backs, cut_count = [], [], [], [], 0
    for mask, polygon in _POLYGONS.items():
        rows = (code == mask).nonzero()[:, 0]
        corners = []
        for a, b in polygon:
            if a == b:
                corners.append(faces[rows, a])
                continue
            corners.append(points.shape[0] + cut_count + torch.arange(rows.shape[0], device=faces.device))
            fronts.append(faces[rows, a])
            backs.append(faces[rows, b])
            cut_count += rows.shape[0]
        for c in range(2, len(polygon)):
            triangles.append(torch.stack([corners[0], corners[c - 1], corners[c]], -1))
            parents.append(rows)
    parent, order = torch.cat(parents).sort(stable=True)
    front, back = torch.cat(fronts), torch.cat(backs)
    p, q = points[front], points[back]
    share = (near - p[:, 2:]) / (q[:, 2:] - p[:, 2:])
    cut = torch.cat([p[:, :2] + share * (q[:, :2] - p[:, :2]), torch.full_like(share, near)], -1)
    return Clipped(
        points=torch.cat([points, cut]), triangles=torch.cat(triangles)[order], parent=parent, front=front, back=back, share=share
    )
