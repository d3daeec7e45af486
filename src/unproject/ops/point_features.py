"""Operator: histograms of how normals turn around points."""

from __future__ import annotations

import torch
from torch import Tensor

from ..reference import point_features as reference
from .dispatch import parallel_for
from .examples import example
from .operator import operator

BINS = 11  # of each angle, as in kernels/point_features.py


@operator("unproject::normal_histograms")
def normal_histograms(points: Tensor, normals: Tensor, query: Tensor, offsets: Tensor, index: Tensor, signed: bool) -> Tensor:
    """Of points query [Q] with neighbours index[offsets[q] : offsets[q + 1]]: shares [Q, 33] of three angles in 11 bins each.

    Args:
        points, normals: [N, 3]; normals of unit length.
        query, offsets, index: int64.
        signed: whether the normals' signs mean something; else each neighbour's is turned to the side of the point's own.
    """
    from ..kernels.point_features import histogram_range

    result = points.new_empty((query.shape[0], 3 * BINS))
    arrays = [t.detach().numpy() for t in (points, normals, query, offsets, index)]
    parallel_for(histogram_range, query.shape[0], *arrays, signed, result.numpy(), grain=64)
    return result


@normal_histograms.register_fake
def _(points: Tensor, normals: Tensor, query: Tensor, offsets: Tensor, index: Tensor, signed: bool) -> Tensor:
    return points.new_empty((query.shape[0], 3 * BINS))


normal_histograms.register_kernel(["cuda", "mps", "xpu"])(reference.normal_histograms)


@example(normal_histograms)
def _example(dtype: torch.dtype) -> tuple[Tensor | bool, ...]:
    points = torch.linspace(0, 1, 30, dtype=dtype).reshape(10, 3) ** torch.tensor([1, 2, 3])
    normals = torch.nn.functional.normalize(torch.linspace(-1, 2, 30, dtype=dtype).reshape(10, 3).sin(), dim=1)
    return points, normals, torch.tensor([0, 3, 9]), torch.tensor([0, 4, 4, 7]), torch.tensor([0, 1, 2, 5, 8, 7, 9]), False
