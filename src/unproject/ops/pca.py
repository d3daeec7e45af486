"""Operator: principal axes of neighbourhoods."""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .operator import operator


@operator("unproject::neighborhood_pca")
def neighborhood_pca(points: Tensor, index: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the points index[offsets[q] : offsets[q + 1]]: mean [Q, 3], the covariance's ascending eigenvalues [Q, 3] and unit axes [Q, 3, 3]
    as rows."""
    from ..kernels.pca import pca_range

    count = offsets.shape[0] - 1
    mean, eigenvalues, axes = points.new_empty((count, 3)), points.new_empty((count, 3)), points.new_empty((count, 3, 3))
    inputs = (points.detach().numpy(), index.numpy(), offsets.numpy())
    parallel_for(pca_range, count, *inputs, mean.numpy(), eigenvalues.numpy(), axes.numpy(), grain=512)
    return mean, eigenvalues, axes


@neighborhood_pca.register_fake
def _(points: Tensor, index: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    count = offsets.shape[0] - 1
    return points.new_empty((count, 3)), points.new_empty((count, 3)), points.new_empty((count, 3, 3))


@example(neighborhood_pca)
def _example(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    points = torch.linspace(0, 1, 30, dtype=dtype).reshape(10, 3) ** torch.tensor([1, 2, 3])
    return points, torch.tensor([0, 1, 2, 3, 9, 8, 7]), torch.tensor([0, 4, 4, 7])
