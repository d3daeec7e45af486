"""Affine maps of points in plain torch."""

from __future__ import annotations

from torch import Tensor


def map_affine(points: Tensor, matrices: Tensor) -> Tensor:
    """Each matrix [B, 3, 4] times (x, y, z, 1) for points [B, N, 3], or [1, N, 3] for all: [B, N, 3]."""
    return (points @ matrices[..., :3].mT).add_(matrices[..., None, :, 3])  # in place: there may be millions
