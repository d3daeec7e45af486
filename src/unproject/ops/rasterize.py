"""Operators: the nearest face at every pixel centre with its barycentrics and depth, and layers behind it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..reference.rasterize import interpolate_corners
from .dispatch import for_each_slice, parallel_for, slice_count
from .examples import example

_ROWS_A_BAND = 16
_JOB_GRAIN = 4096  # faces worth a thread
_SLOTS = 8  # gradient accumulators of one image
NOISE = {torch.float32: 1e-7, torch.float64: 1e-14}


@torch.library.custom_op("unproject::rasterize", mutates_args=(), device_types="cpu")
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


@torch.library.custom_op("unproject::rasterize_behind", mutates_args=(), device_types="cpu")
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
    from ..kernels import rasterize as kernels

    (height, width), count = size, images.shape[0]
    face = points.new_empty((count, height, width), dtype=torch.int64)
    barycentrics, depth = points.new_empty((count, height, width, 3)), points.new_empty((count, height, width))
    nearness = points.new_empty((count, height, width) if keep else (0, 0, 0), dtype=torch.float64)
    table = images.numpy()
    job_offsets = np.concatenate([[0], np.cumsum(table[:, 1])])
    bases = np.ascontiguousarray(table[:, ::2])
    near, far = planes
    limits = (float(near), -far if orthographic else 1.0 / far)
    corner, triangles = points.detach().numpy(), faces.numpy()
    flat = np.empty((points.shape[0], 3))
    parallel_for(kernels.flatten_range, points.shape[0], corner, float(near), orthographic, flat, grain=20_000)
    scene = (corner, flat, triangles, bases, job_offsets)
    view = (size, limits, orthographic, cull)
    threads = torch.get_num_threads()
    listed = count < 4 * threads and int(job_offsets[-1]) > 0 and (threads > 1 or int(job_offsets[-1]) > 100_000)
    band = _ROWS_A_BAND if listed else max(height, 1)
    offsets, items = _bands(scene, view, band) if listed else (np.empty(0, np.int64), np.empty(0, np.int32))
    out = (behind_face.numpy(), behind_nearness.numpy(), nearness.numpy(), face.numpy(), barycentrics.numpy(), depth.numpy())
    tasks = count * -(-height // band)
    work = height * width * count + 4 * int(job_offsets[-1])
    slices = 1 if tasks == 1 or work < 20_000 else min(tasks, max(8 * threads, work // 4_000_000))
    parallel_for(kernels.draw_bands, tasks, *scene, offsets, items, *view, band, *out, slices=slices)
    return barycentrics, depth, face, nearness


def _bands(scene: tuple, view: tuple, band: int) -> tuple[np.ndarray, np.ndarray]:
    """Jobs of every band of every image, in ascending order: offsets [B * bands + 1] and items."""
    from ..kernels import rasterize as kernels

    *_, bases, job_offsets = scene
    bands = -(-view[0][0] // band)
    jobs = int(job_offsets[-1])
    slices = min(slice_count(jobs, _JOB_GRAIN), 64)
    rows = np.empty((jobs, 2), np.int32)
    counts = np.zeros((slices, len(bases) * bands), np.int64)
    for_each_slice(lambda s, begin, end: kernels.count_rows(begin, end, *scene, *view, band, rows, counts[s]), jobs, slices=slices)
    totals = np.concatenate([[0], np.cumsum(counts.sum(0))])
    cursor = totals[:-1] + np.cumsum(counts, 0) - counts
    items = np.empty(int(totals[-1]), np.int32)
    fill = (rows, job_offsets, band, bands)
    for_each_slice(lambda s, begin, end: kernels.fill_bands(begin, end, *fill, cursor[s], items), jobs, slices=slices)
    return totals, items


@torch.library.custom_op("unproject::rasterize_backward", mutates_args=(), device_types="cpu")
def rasterize_backward(
    points: Tensor, faces: Tensor, images: Tensor, face: Tensor, orthographic: bool, grad_barycentrics: Tensor, grad_depth: Tensor
) -> Tensor:
    """Gradient [N, 3] of the points from those of barycentrics and depth; the faces are held fixed."""
    from ..kernels.rasterize import backward_rows

    rows = face.shape[0] * face.shape[1]
    work = face.numel()
    slots = 1 if work < 20_000 else max(1, min(_SLOTS, 40_000_000 // max(points.numel(), 1)))
    total = np.zeros((slots, *points.shape))
    arrays = (points.detach().numpy(), faces.numpy(), np.ascontiguousarray(images.numpy()[:, ::2]), face.numpy(), orthographic)
    grads = (grad_barycentrics.contiguous().numpy(), grad_depth.contiguous().numpy())
    for_each_slice(lambda s, begin, end: backward_rows(begin, end, *arrays, *grads, NOISE[points.dtype], total[s]), rows, slices=slots)
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
    """The second derivative, by differentiating the torch twin twice."""
    points, faces, images, face, *grads = ctx.saved_tensors
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in (points, *grads)]
        results = interpolate_corners(leaves[0], faces, images, face, ctx.orthographic)
        (first,) = torch.autograd.grad(results, leaves[0], leaves[1:], create_graph=True)
        second = torch.autograd.grad(first, leaves, cotangent, allow_unused=True)
    return second[0], None, None, None, None, second[1], second[2]


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
