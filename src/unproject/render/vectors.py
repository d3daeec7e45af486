"""Arithmetic of many short vectors. Sums of three numbers are products with ones: torch's sum of so short rows takes four times as long."""

from __future__ import annotations

import torch
from torch import Tensor


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products [..., 1] of vectors [..., C]."""
    product = a * b
    return product @ product.new_ones(product.shape[-1], 1)


def unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1; those near 0 stay, with a finite gradient."""
    return vectors * torch.rsqrt(dot(vectors, vectors).clamp_min(torch.finfo(vectors.dtype).tiny ** 0.5))


def unit_and_length(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors [..., C] and lengths [...]; zero vectors stay zero, with zero gradient."""
    square = dot(vectors, vectors)
    zero = square <= torch.finfo(vectors.dtype).tiny
    length = torch.sqrt(torch.where(zero, 1, square))
    return vectors * torch.where(zero, 0, 1 / length), torch.where(zero, 0, length)[..., 0]


def turned(vectors: Tensor, toward: Tensor) -> Tensor:
    """Vectors, reversed where they point away from `toward`."""
    away = dot(vectors.detach(), toward.detach()) < 0
    return vectors * torch.where(away, -1.0, 1.0).to(vectors.dtype)
