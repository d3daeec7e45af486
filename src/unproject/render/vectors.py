"""Arithmetic of many short vectors. Sums of three numbers are products with ones: torch's sum of so short rows takes four times as long."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import check_shape
from ..ops import shade as ops
from ..reference import shade as reference


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Scalar products [..., 1] of vectors [..., C]."""
    product = a * b
    return product @ product.new_ones(product.shape[-1], 1)


def unit_vectors(vectors: Tensor) -> Tensor:
    """Vectors [..., 3] of length 1, such as interpolated normals; zero vectors stay zero.

    Raises:
        ArgumentError: not [..., 3].

    Gradient: vectors, twice; 0 at zero vectors.
    """
    check_shape(vectors, [..., 3], name="vectors", where="unit_vectors")
    return unit_and_length(vectors)[0]


def unit_and_length(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors [..., 3] and lengths [...]; zero vectors stay zero, with zero gradient."""
    run = ops.unit_vectors if vectors.device.type == "cpu" else reference.unit_vectors
    units, lengths = run(vectors.reshape(-1, 3))
    return units.view(vectors.shape), lengths.view(vectors.shape[:-1])


def turned(vectors: Tensor, toward: Tensor) -> Tensor:
    """Vectors, reversed where they point away from `toward`."""
    away = dot(vectors.detach(), toward.detach()) < 0
    return vectors * torch.where(away, -1.0, 1.0).to(vectors.dtype)
