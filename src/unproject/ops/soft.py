"""Operators: soft silhouettes of meshes, and their gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from .bands import far_nearness, plan_bands
from .examples import example
from .operator import operator

LANES = 8
SMALLEST = {torch.float32: 1e-8, torch.float64: 1e-20}  # transmittance that no longer counts


@operator("unproject::soft_silhouette")
def soft_silhouette(
    points: Tensor, faces: Tensor, images: Tensor, height: int, width: int, near: float, far: float, orthographic: bool, cull: bool,
    sigma: float, radius: float,
) -> Tensor:  # fmt: skip
    """Transmittance [B, H, W]: the product over all faces of 1 - coverage.

    Args:
        points, faces, images: as ops.rasterize.rasterize; faces that reach before the near plane are left out.
        sigma: square pixels. radius: pixels around a face within which it counts.
    """
    from ..kernels.soft import silhouette_bands

    transmittance = points.new_empty((images.shape[0], height, width))
    view = {"size": (height, width), "planes": (near, far), "orthographic": orthographic, "cull": cull, "radius": radius}
    bands = plan_bands(points, faces, images, **view)
    look = (far_nearness(far, orthographic), cull, float(radius), SMALLEST[points.dtype], 1.0 / sigma)
    bands.draw(silhouette_bands, *bands.lists, look, transmittance.numpy())
    return transmittance


@operator("unproject::soft_silhouette_backward")
def soft_silhouette_backward(
    points: Tensor, faces: Tensor, images: Tensor, near: float, far: float, orthographic: bool, cull: bool, sigma: float, radius: float,
    transmittance: Tensor, grad: Tensor,
) -> Tensor:  # fmt: skip
    """Gradient [N, 3] of the points."""
    from ..kernels.soft import silhouette_gradient

    count, height, width = transmittance.shape
    smallest = SMALLEST[points.dtype]
    flow = points.new_zeros((count, height, -(-width // LANES) * LANES))
    flow[..., :width] = torch.where(transmittance > smallest, grad * transmittance, 0)
    view = {"size": (height, width), "planes": (near, far), "orthographic": orthographic, "cull": cull, "radius": radius}
    bands = plan_bands(points, faces, images, **view)
    look = (far_nearness(far, orthographic), cull, float(radius), smallest, 1.0 / sigma)
    args = (*bands.lists, look, flow.view(-1).numpy(), (height, width, flow.shape[2]))
    return bands.unflatten(*bands.accumulate(lambda begin, end, total: silhouette_gradient(begin, end, *args, total), (points.shape, True)))


@soft_silhouette.register_fake
def _(points: Tensor, faces: Tensor, images: Tensor, height: int, width: int, *_: object) -> Tensor:
    return points.new_empty((images.shape[0], height, width))


@soft_silhouette_backward.register_fake
def _(points: Tensor, *_: object) -> Tensor:
    return torch.empty_like(points)


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:3], output)
    ctx.view = inputs[5:]


def _backward(ctx, grad: Tensor):
    *scene, transmittance = ctx.saved_tensors
    return soft_silhouette_backward(*scene, *ctx.view, transmittance, grad.contiguous()), *([None] * 10)


soft_silhouette.register_autograd(_backward, setup_context=_save)


@example(soft_silhouette)
def _example(dtype: torch.dtype) -> tuple:
    points = torch.tensor([[2.0, 3, 1], [30, 4, 1.5], [8, 28, 2], [1, 1, 1.2]], dtype=dtype, requires_grad=True)
    faces, images = torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.tensor([[0, 2, 0]])
    return points, faces, images, 24, 20, 0.1, 100.0, False, False, 1.5, 4.0


@example(soft_silhouette_backward)
def _example_backward(dtype: torch.dtype) -> tuple:
    points, faces, images, height, width, *view = _example(dtype)
    transmittance = soft_silhouette(points, faces, images, height, width, *view).detach()
    return points.detach(), faces, images, *view, transmittance, torch.ones_like(transmittance)
