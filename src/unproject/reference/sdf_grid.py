"""Distances of a lattice to a mesh from the faces closest to coarse points, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from .closest_point import closest_on_triangle

_CHUNK = 1 << 16


def coarse_distance(candidate: Tensor, matrix: Tensor, vertices: Tensor, faces: Tensor, size: list[int]) -> tuple[Tensor, Tensor]:
    """Squared distance [X, Y, Z] and face of the closest among eight candidates: see the operator."""
    lattice = torch.cartesian_prod(*[torch.arange(n, device=vertices.device) for n in size])
    corner = torch.arange(8, device=vertices.device)
    offset = torch.stack([corner & 1, corner >> 1 & 1, corner >> 2], dim=1)
    matrix = matrix.to(vertices.device)
    found = []
    for part in lattice.split(_CHUNK):
        coarse = (part // 4)[:, None] + offset
        face = candidate[coarse[..., 0], coarse[..., 1], coarse[..., 2]]  # [N, 8]
        point = (part.double() @ matrix[:3, :3].mT + matrix[:3, 3]).to(vertices.dtype)[:, None].expand(-1, 8, -1)
        corners = vertices[faces[face]]
        nearest = (closest_on_triangle(point, corners).unsqueeze(-2) @ corners).squeeze(-2)
        squared, which = (nearest - point).square().sum(-1).min(1)
        found.append((squared, torch.gather(face, 1, which[:, None])[:, 0]))
    return torch.cat([s for s, _ in found]).reshape(size), torch.cat([f for _, f in found]).reshape(size)
