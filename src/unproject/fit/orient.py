"""Consistent orientation of normals over a whole cloud, also where sheets lie close together.

Of a closed surface the winding number says where outside is, at once and everywhere; it separates the sides of parts that are thinner than
their points are apart, or than they scatter. Of an open sheet it says nothing: there, normals are oriented by patches. Which of both a scan
is shows in the result: the winding number is 1/2 at the points of a closed surface, and neighbours agree.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .patch_normals import follow_members, orient_by_patches, safe_edges
from .winding_normals import outward_normals

_MEMBERS = 50_000  # points of a large cloud that decide about all
_CLOSED = 0.3  # mean winding number at the points
_AGREEING = 0.9  # share of safe neighbours: a sheet's noise can be taken for two sides, but not smoothly


def orient_normals(points: Tensor, normals: Tensor, neighbors: Tensor, areas: Tensor) -> Tensor:
    """Turn unit normals [N, 3] so that they agree and point out of the surface.

    Args:
        points: [N, 3].
        neighbors: int64 [N, K], the K nearest others of each point, nearest first.
        areas: [N] the area that each point stands for.

    Returns:
        [N, 3] the same normals, some of them negated; on thin parts of a closed surface new ones, that do not mix its sides. Out of an open
        surface is where its convex side is.
    """
    stride = -(-points.shape[0] // _MEMBERS)
    members, weight = points[::stride].contiguous(), areas[::stride] * stride
    outward, winding = outward_normals(members, normals[::stride], weight)
    if winding > _CLOSED:
        if stride > 1:
            outward = follow_members(points, normals, members, outward, weight)
        signed = torch.where((outward * normals).sum(1, keepdim=True) < 0, -normals, normals)
        if agreement(points, signed, neighbors) > _AGREEING:
            return outward
    return orient_by_patches(points, normals, neighbors, areas)


def agreement(points: Tensor, normals: Tensor, neighbors: Tensor) -> float:
    """Share of safe pairs of neighbours whose normals are on the same side: 1 for a consistent orientation, 1/2 for a random one."""
    first, second, _, safe = safe_edges(points, normals, neighbors)
    dot = (normals[first[safe]] * normals[second[safe]]).sum(1)
    return float((dot > 0).to(torch.float32).mean()) if dot.numel() else 1.0


__all__ = ["agreement", "orient_normals"]
