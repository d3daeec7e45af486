"""Operator: barycentrics, depth and exponent of pairs of a pixel and a face near it, and their gradient."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .dispatch import for_each_slice, parallel_for, slice_count
from .examples import example
from .operator import operator

_GRAIN = 1024


@operator("unproject::fragment_terms")
def fragment_terms(
    points: Tensor, faces: Tensor, images: Tensor, pixel: Tensor, face: Tensor, exponents: Tensor, height: int, width: int,
    orthographic: bool, sigma: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """What soft blending computes for each pair that ops.soft_fragments.soft_fragments lists.

    Args:
        points, faces, images, exponents, sigma: as ops.soft_blend.soft_blend.
        pixel: int64 [P] rows of [B * height * width]. face: int64 [P] rows of `faces`.

    Returns:
        Barycentrics [P, 3], perspective-correct and clamped to the face, depth [P], and the logarithm of the weight
        coverage x exp(offset - slope depth) [P].
    """
    from ..kernels.fragment_terms import terms_range

    count = pixel.shape[0]
    weights, depth, power = points.new_empty((count, 3)), points.new_empty(count), points.new_empty(count)
    scene = (points.detach().numpy(), faces.numpy(), images.numpy(), pixel.numpy(), face.numpy(), exponents.numpy())
    view = ((height, width), orthographic, 1.0 / sigma)
    parallel_for(terms_range, count, *scene, *view, weights.numpy(), depth.numpy(), power.numpy(), grain=_GRAIN)
    return weights, depth, power


@operator("unproject::fragment_terms_backward")
def fragment_terms_backward(
    points: Tensor, faces: Tensor, images: Tensor, pixel: Tensor, face: Tensor, exponents: Tensor, height: int, width: int,
    orthographic: bool, sigma: float, of_weights: Tensor, of_depth: Tensor, of_power: Tensor,
) -> Tensor:  # fmt: skip
    """Gradient of points [N, 3] from those of the three results."""
    from ..kernels.fragment_terms import terms_gradient

    count = pixel.shape[0]
    slots = max(1, min(slice_count(count, _GRAIN), 8 * count // max(1, points.shape[0])))
    total = np.zeros((slots, *points.shape))
    scene = (points.detach().numpy(), faces.numpy(), images.numpy(), pixel.numpy(), face.numpy(), exponents.numpy())
    rest = ((height, width), orthographic, 1.0 / sigma, *(g.contiguous().numpy() for g in (of_weights, of_depth, of_power)))
    for_each_slice(lambda slot, begin, end: terms_gradient(begin, end, *scene, *rest, total[slot]), count, slices=slots)
    return torch.from_numpy(total.sum(0)).to(points.dtype)


@fragment_terms.register_fake
def _(points: Tensor, faces: Tensor, images: Tensor, pixel: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    count = pixel.shape[0]
    return points.new_empty((count, 3)), points.new_empty(count), points.new_empty(count)


@fragment_terms_backward.register_fake
def _(points: Tensor, *_: object) -> Tensor:
    return torch.empty_like(points)


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:6])
    ctx.view = inputs[6:]


def _backward(ctx, *flows: Tensor):
    return fragment_terms_backward(*ctx.saved_tensors, *ctx.view, *flows), *([None] * 9)


fragment_terms.register_autograd(_backward, setup_context=_save)


@example(fragment_terms)
def _example(dtype: torch.dtype) -> tuple:
    points = torch.tensor([[2.0, 3, 1], [30, 4, 1.5], [8, 28, 2], [1, 1, 1.2]], dtype=dtype, requires_grad=True)
    faces, images = torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.tensor([[0, 2, 0]])
    exponents = torch.tensor([[20.0, 10.0]], dtype=torch.float64)
    pixel, face = torch.tensor([26, 130, 205, 204, 331]), torch.tensor([0, 0, 0, 1, 1])
    return points, faces, images, pixel, face, exponents, 24, 20, False, 1.5


@example(fragment_terms_backward)
def _example_backward(dtype: torch.dtype) -> tuple:
    points, *scene = _example(dtype)
    flows = (torch.linspace(-1, 1, 15, dtype=dtype).view(5, 3), torch.ones(5, dtype=dtype), torch.linspace(0, 1, 5, dtype=dtype))
    return points.detach(), *scene, *flows
