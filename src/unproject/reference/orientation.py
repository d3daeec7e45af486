"""Patches of consistent normals and the field energy between patches, in plain torch and Python."""

from __future__ import annotations

import torch
from torch import Tensor


def orient_patches(normals: Tensor, first: Tensor, second: Tensor, order: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """A patch number [N] and the sign [N] of each normal in it; numbers and overall signs of patches are arbitrary."""
    patch, sign = torch.arange(len(normals)), torch.ones(len(normals), dtype=torch.int8)
    for edge in order.tolist():
        a, b = int(first[edge]), int(second[edge])
        mine, other = patch == patch[a], patch == patch[b]
        if patch[a] == patch[b] or int(mine.sum() + other.sum()) > limit:
            continue
        turn = sign[a] * sign[b] * (1 if float(normals[a] @ normals[b]) >= 0 else -1)
        sign[other] *= turn
        patch[other] = patch[a].clone()
    return patch, sign


def dipole_energy(points: Tensor, moments: Tensor, starts: Tensor, softening: float) -> Tensor:
    """float64 [P, P], 0 on the diagonal."""
    p, m = points.double(), moments.double()
    step = p[:, None] - p[None]
    q = 1 / (step.square().sum(-1) + softening**2)
    along = (m[:, None] * step).sum(-1) * (m[None] * step).sum(-1)
    pairs = q.pow(1.5) * (m @ m.T - 3 * q * along)
    patch = torch.arange(len(starts) - 1).repeat_interleave(starts.diff())
    member = torch.nn.functional.one_hot(patch, len(starts) - 1).double()
    energy = member.T @ pairs @ member
    return energy - torch.diag(energy.diagonal())
