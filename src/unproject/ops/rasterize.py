"""Operators: the nearest face at every pixel centre with its barycentrics and depth, and layers behind it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..reference.rasterize import interpolate_corners
from .bands import far_nearness, plan_bands
from .dispatch import for_each_slice, slice_count
from .examples import example
from .operator import operator
from .twice import differentiate_twice

_SLOTS = 8  # gradient accumulators of one image
NOISE = {torch.float32: 1e-7, torch.float64: 1e-14}


@operator("unproject::rasterize")
def rasterize(
    points: Tensor, faces: Tensor, images: Tensor, height: int, width: int, near: float, far: float, orthographic: bool, cull: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Nearest faces.

    Args:
        points: [N, 3] homogeneous image coordinates (X, Y, z): the pixel is (X, Y) / z, or (X, Y) if `orthographic`.
        faces: [F, 3] int64. images: [B, 3] int64: first face, number of faces, and what to add to vertex indices, for each image.

    Returns:
        Barycentrics [B, H, W, 3] and depth [B, H, W] (0 for none), and face int64 [B, H, W] (a row of `faces`, -1 for none).
    """
    empty = (points.new_empty((0, 0, 0), dtype=torch.int64), points.new_empty((0, 0, 0), dtype=torch.float64))
    return _draw(points, faces, images, (height, width), (near, far), orthographic, cull, *empty, keep=False)[:3]


@operator("unproject::rasterize_behind")
def rasterize_behind(
    points: Tensor,
    faces: Tensor,
    images: Tensor,
    height: int,
    width: int,
    near: float,
    far: float,
    orthographic: bool,
    cull: bool,
    face: Tensor,
    nearness: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The next layer: like `rasterize`, behind the layer (`face`, `nearness`), or the first one if both have no elements.

    Returns:
        Barycentrics, depth, face, and nearness [B, H, W] float64; the last two are what the next call takes.
    """
    return _draw(points, faces, images, (height, width), (near, far), orthographic, cull, face, nearness, keep=True)


def _draw(
    points: Tensor,
    faces: Tensor,
    images: Tensor,
    size: tuple[int, int],
    planes: tuple[float, float],
    orthographic: bool,
    cull: bool,
    behind_face: Tensor,
    behind_nearness: Tensor,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from ..kernels.rasterize import draw_bands

    (height, width), count = size, images.shape[0]
    face = points.new_empty((count, height, width), dtype=torch.int64)
    barycentrics, depth = points.new_empty((count, height, width, 3)), points.new_empty((count, height, width))
    nearness = points.new_empty((count, height, width) if keep else (0, 0, 0), dtype=torch.float64)
    bands = plan_bands(points, faces, images, size=size, planes=planes, orthographic=orthographic, cull=cull)
    view = (size, (float(planes[0]), far_nearness(planes[1], orthographic)), orthographic, cull, bands.band)
    out = (behind_face.numpy(), behind_nearness.numpy(), nearness.numpy(), face.numpy(), barycentrics.numpy(), depth.numpy())
    bands.draw(draw_bands, *bands.scene, bands.offsets, bands.items, *view, *out)
    return barycentrics, depth, face, nearness


@operator("unproject::rasterize_backward")
def rasterize_backward(
    points: Tensor, faces: Tensor, images: Tensor, face: Tensor, orthographic: bool, grad_barycentrics: Tensor, grad_depth: Tensor
) -> Tensor:
    """Gradient [N, 3] of the points from those of barycentrics and depth; the faces are held fixed."""
    from ..kernels.rasterize import backward_rows

    count, height = face.shape[:2]
    whole = count >= _SLOTS  # slices of whole images, which have own points, or of rows, each slice with its own sum
    slots = 1 if whole or face.numel() < 20_000 else max(1, min(_SLOTS, 40_000_000 // max(points.numel(), 1)))
    total = np.zeros((slots, *points.shape))
    arrays = (points.detach().numpy(), faces.numpy(), np.ascontiguousarray(images.numpy()[:, ::2]), face.numpy(), orthographic)
    grads = (grad_barycentrics.contiguous().numpy(), grad_depth.contiguous().numpy(), NOISE[points.dtype])
    if whole:
        draw = lambda _, begin, end: backward_rows(begin * height, end * height, *arrays, *grads, total[0])
        for_each_slice(draw, count, slices=slice_count(count, 1))
    else:
        draw = lambda s, begin, end: backward_rows(begin, end, *arrays, *grads, total[s])
        for_each_slice(draw, count * height, slices=slots)
    return torch.from_numpy(total.sum(0) if slots > 1 else total[0]).to(points.dtype)


@rasterize.register_fake
def _(points: Tensor, faces: Tensor, images: Tensor, height: int, width: int, *_: object) -> tuple[Tensor, Tensor, Tensor]:
    shape = (images.shape[0], height, width)
    return points.new_empty((*shape, 3)), points.new_empty(shape), points.new_empty(shape, dtype=torch.int64)


@rasterize_behind.register_fake
def _(points: Tensor, faces: Tensor, images: Tensor, height: int, width: int, *_: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape = (images.shape[0], height, width)
    first = points.new_empty((*shape, 3)), points.new_empty(shape), points.new_empty(shape, dtype=torch.int64)
    return *first, points.new_empty(shape, dtype=torch.float64)


@rasterize_backward.register_fake
def _(points: Tensor, *_: object) -> Tensor:
    return torch.empty_like(points)


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:3], output[2])
    ctx.orthographic, ctx.input_count = inputs[7], len(inputs)
    ctx.mark_non_differentiable(*output[2:])


def _backward(ctx, grad_barycentrics: Tensor, grad_depth: Tensor, *_: Tensor):
    points, faces, images, face = ctx.saved_tensors
    grad = rasterize_backward(points, faces, images, face, ctx.orthographic, grad_barycentrics, grad_depth)
    return grad, *([None] * (ctx.input_count - 1))


def _save_backward(ctx, inputs, output) -> None:
    points, faces, images, face, ctx.orthographic, grad_barycentrics, grad_depth = inputs
    ctx.save_for_backward(points, faces, images, face, grad_barycentrics, grad_depth)


def _backward_again(ctx, cotangent: Tensor):
    points, faces, images, face, *grads = ctx.saved_tensors
    twin = lambda corners: interpolate_corners(corners, faces, images, face, ctx.orthographic)
    of_points, of_barycentrics, of_depth = differentiate_twice(twin, [points], grads, [cotangent])
    return of_points, None, None, None, None, of_barycentrics, of_depth


rasterize.register_autograd(_backward, setup_context=_save)
rasterize_backward.register_autograd(_backward_again, setup_context=_save_backward)
rasterize_behind.register_autograd(_backward, setup_context=_save)


def _scene(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    points = torch.tensor([[2.0, 3, 1], [30, 4, 1.5], [8, 28, 2], [1, 1, -1]], dtype=dtype, requires_grad=True)
    return points, torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.tensor([[0, 2, 0]])


@example(rasterize)
def _example(dtype: torch.dtype) -> tuple:
    return *_scene(dtype), 24, 20, 0.1, 100.0, False, False


@example(rasterize_behind)
def _example_behind(dtype: torch.dtype) -> tuple:
    view = (*_scene(dtype), 24, 20, 0.1, 100.0, False, False)
    none = torch.empty((0, 0, 0), dtype=torch.int64)
    _, _, face, nearness = rasterize_behind(*view, none, none.double())
    return *view, face, nearness


@example(rasterize_backward)
def _example_backward(dtype: torch.dtype) -> tuple:
    points, faces, images = _scene(dtype)
    barycentrics, depth, face = rasterize(points, faces, images, 24, 20, 0.1, 100.0, False, False)
    return points.detach(), faces, images, face, False, torch.ones_like(barycentrics).detach(), torch.ones_like(depth).detach()
