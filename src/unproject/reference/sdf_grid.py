"""Distances of a lattice to a mesh from the faces closest to coarse points, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from .closest_point import closest_on_triangle

_CHUNK = 1 << 16


def corner_distances(matrix: Tensor) -> Tensor:
    """[64, 8] how far a coarse cell's lattice points (z fastest) are from its corners."""
    local, offset = torch.cartesian_prod(*[torch.arange(4)] * 3), _corner_offsets(torch.device("cpu"))
    return torch.linalg.vector_norm((local[:, None] - 4 * offset).double() @ matrix[:3, :3].double().cpu().mT, dim=-1)


def _corner_offsets(device: torch.device) -> Tensor:
    corner = torch.arange(8, device=device)
    return torch.stack([corner & 1, corner >> 1 & 1, corner >> 2], dim=1)


def coarse_distance(
    candidate: Tensor, distance: Tensor, matrix: Tensor, vertices: Tensor, faces: Tensor, size: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distance, lower bound and face [X, Y, Z] of the closest among eight candidates: see the operator."""
    lattice = torch.cartesian_prod(*[torch.arange(n, device=vertices.device) for n in size])
    apart = corner_distances(matrix).to(vertices)
    matrix = matrix.to(vertices.device)
    found = []
    for part in lattice.split(_CHUNK):
        coarse = (part // 4)[:, None] + _corner_offsets(vertices.device)
        face = candidate[coarse.unbind(-1)]  # [N, 8]
        local = part % 4
        bound = (distance[coarse.unbind(-1)] - apart[(local[:, 0] * 4 + local[:, 1]) * 4 + local[:, 2]]).amax(1)
        point = (part.double() @ matrix[:3, :3].mT + matrix[:3, 3]).to(vertices.dtype)[:, None].expand(-1, 8, -1)
        corners = vertices[faces[face]]
        nearest = (closest_on_triangle(point, corners).unsqueeze(-2) @ corners).squeeze(-2)
        squared, which = (nearest - point).square().sum(-1).min(1)
        found.append((squared, bound, torch.gather(face, 1, which[:, None])[:, 0]))
    squared, bound, face = (torch.cat(column).reshape(size) for column in zip(*found))
    return squared, bound, face
