"""Twin of the alignment kernels: errors of matches and normal equations, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

THICKNESS = 1e-3


def match_errors(
    source: Tensor, source_normals: Tensor, match: Tensor, target: Tensor, directions: Tensor, offset: Tensor, pose: Tensor, kind: int
) -> Tensor:
    """See ops/align.py."""
    _, residual, information, found = _matched(source, source_normals, match, target, directions, offset, pose, kind)
    error = (residual[:, None] @ information @ residual[..., None])[:, 0, 0]
    return torch.where(found, error, 0).to(source.dtype)


def match_sums(
    source: Tensor,
    source_normals: Tensor,
    match: Tensor,
    target: Tensor,
    directions: Tensor,
    offset: Tensor,
    pose: Tensor,
    kind: int,
    weight: Tensor,
    centre: Tensor,
) -> Tensor:
    """See ops/align.py."""
    moved, residual, information, found = _matched(source, source_normals, match, target, directions, offset, pose, kind)
    weights = torch.where(found & (weight > 0), weight.to(torch.float64), 0)
    x, y, z = (moved - centre.to(moved)).unbind(1)
    zero = torch.zeros_like(x)
    turn = torch.stack([torch.stack([zero, z, -y], 1), torch.stack([-z, zero, x], 1), torch.stack([y, -x, zero], 1)], 1)
    jacobian = torch.cat([torch.eye(3).to(turn).expand_as(turn), turn], 2)
    half = weights[:, None, None] * (information @ jacobian)
    matrix = torch.einsum("nij,nik->jk", jacobian, half)
    vector = torch.einsum("nij,ni->j", half, residual)
    cost = (weights * (residual[:, None] @ information @ residual[..., None])[:, 0, 0]).sum()
    rows, columns = torch.triu_indices(6, 6)
    return torch.cat([matrix[rows, columns], vector, cost[None]])


def _matched(
    source: Tensor, source_normals: Tensor, match: Tensor, target: Tensor, directions: Tensor, offset: Tensor, pose: Tensor, kind: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Moved points, residuals [N, 3], information [N, 3, 3], whether there is a match; in float64."""
    pose = pose.to(device=source.device, dtype=torch.float64)
    found = match >= 0
    index = match.clamp_min(0)
    moved = source.to(torch.float64) @ pose[:3, :3].T + pose[:3, 3]
    residual = moved - target.to(torch.float64)[index] if len(target) else torch.zeros_like(moved)
    if kind == 0:
        return moved, residual, torch.eye(3).to(residual).expand(len(source), 3, 3), found
    direction = directions.to(torch.float64)[index] if len(target) else torch.zeros_like(moved)
    outer = direction[:, :, None] * direction[:, None]
    if kind == 1:
        length = direction.square().sum(1, keepdim=True)
        along = (direction * residual).sum(1, keepdim=True) + offset.to(torch.float64)[:, None]
        return moved, direction * along / length.where(length > 0, 1), outer, found
    normal = source_normals.to(torch.float64) @ pose[:3, :3].T
    total = 2 * torch.eye(3).to(normal) - (1 - THICKNESS) * (outer + normal[:, :, None] * normal[:, None])
    return moved, residual, 2 * THICKNESS * torch.linalg.inv(total), found
