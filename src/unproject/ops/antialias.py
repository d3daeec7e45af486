"""Operators: analytic antialiasing of a point-sampled image along the outlines of its meshes, and its gradient."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..reference.antialias import depth_tolerance
from .dispatch import parallel_for
from .examples import example
from .operator import operator
from .rasterize import rasterize

_EDGE_GRAIN = 8192  # edges worth a thread


@operator("unproject::antialias")
def antialias(
    image: Tensor, points: Tensor, faces: Tensor, images: Tensor, edges: Tensor, halfedge_offsets: Tensor, halfedges: Tensor, face: Tensor,
    depth: Tensor, near: float, orthographic: bool, cull: bool,
) -> Tensor:  # fmt: skip
    """Exchange colours across outlines by area.

    Args:
        image: [B, H, W, C] point-sampled, as `face` and `depth` [B, H, W], results of ops.rasterize.rasterize for `points` and `faces`.
        images: int64 [B, 4]: what to add to vertex indices, first edge, number of edges, and 0 for each image.
        edges, halfedge_offsets, halfedges: [E, 2], [E + 1], [H] as geometry.topology.Topology has them.

    Returns:
        [B, H, W, C].
    """
    result = image.clone()
    nothing = (points.new_empty((0, 3), dtype=torch.float64), image.new_empty((0, 0, 0, 0)))
    _run(image, points, faces, images, edges, halfedge_offsets, halfedges, face, depth, (near, orthographic, cull), result, nothing)
    return result


@operator("unproject::antialias_backward")
def antialias_backward(
    image: Tensor, points: Tensor, faces: Tensor, images: Tensor, edges: Tensor, halfedge_offsets: Tensor, halfedges: Tensor, face: Tensor,
    depth: Tensor, near: float, orthographic: bool, cull: bool, grad: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients of image and points. That of the points is the integral along the outlines of their motion times the contrast."""
    of_points, of_image = torch.zeros_like(points, dtype=torch.float64), grad.clone(memory_format=torch.contiguous_format)
    look, out = (near, orthographic, cull), (of_points, of_image)
    _run(image, points, faces, images, edges, halfedge_offsets, halfedges, face, depth, look, grad.contiguous(), out)
    return of_image, of_points.to(points.dtype)


def _run(
    image: Tensor, points: Tensor, faces: Tensor, images: Tensor, edges: Tensor, halfedge_offsets: Tensor, halfedges: Tensor, face: Tensor,
    depth: Tensor, look: tuple[float, bool, bool], result: Tensor, gradients: tuple[Tensor, Tensor],
) -> None:  # fmt: skip
    from ..kernels.antialias import antialias_range, outline_range

    table, count = images.numpy(), images.shape[0]
    near, orthographic, cull = look
    job_offsets = np.concatenate([[0], np.cumsum(table[:, 2])])
    bases = np.ascontiguousarray(table[:, [3, 0, 1]])
    corner, edge = points.detach().numpy(), edges.numpy()
    sides = np.empty(int(job_offsets[-1]), np.int8)
    topology = (edge, halfedge_offsets.numpy(), halfedges.numpy(), job_offsets)
    parallel_for(
        outline_range, len(sides), corner, faces.numpy(), bases, *topology, orthographic, float(near), cull, sides, grain=_EDGE_GRAIN
    )
    jobs = np.flatnonzero(sides)
    ranges = np.searchsorted(jobs, job_offsets)
    arrays = (
        corner,
        edge,
        bases,
        jobs,
        ranges,
        job_offsets,
        sides,
        face.numpy(),
        depth.detach().numpy(),
        float(near),
        orthographic,
        depth_tolerance(points),
    )
    backward = gradients[1].numel() > 0
    values = (image.detach().numpy(), backward, result.numpy(), *(g.numpy() for g in gradients))
    parallel_for(antialias_range, count, *arrays, *values, grain=2)


@antialias.register_fake
def _(image: Tensor, *_: object) -> Tensor:
    return torch.empty_like(image)


@antialias_backward.register_fake
def _(image: Tensor, points: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(image), torch.empty_like(points)


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:9])
    ctx.look = inputs[9:]


def _backward(ctx, grad: Tensor):
    return *antialias_backward(*ctx.saved_tensors, *ctx.look, grad), *([None] * 10)


antialias.register_autograd(_backward, setup_context=_save)


@example(antialias)
def _example(dtype: torch.dtype) -> tuple:
    points = torch.tensor([[2.0, 3, 1], [30, 4, 1.5], [8, 28, 2], [1, 1, -1]], dtype=dtype, requires_grad=True)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    _, depth, face = rasterize(points, faces, torch.tensor([[0, 2, 0]]), 24, 20, 0.1, 100.0, False, False)
    edges, offsets = torch.tensor([[0, 1], [0, 2], [0, 3], [1, 2], [2, 3]]), torch.tensor([0, 1, 3, 4, 5, 6])
    image = torch.linspace(0, 1, 24 * 20 * 2, dtype=dtype).reshape(1, 24, 20, 2).requires_grad_()
    halfedges = torch.tensor([0, 2, 3, 5, 1, 4])
    return image, points, faces, torch.tensor([[0, 0, 5, 0]]), edges, offsets, halfedges, face, depth.detach(), 0.1, False, False


@example(antialias_backward)
def _example_backward(dtype: torch.dtype) -> tuple:
    image, points, *rest = _example(dtype)
    return image.detach(), points.detach(), *rest, torch.ones_like(image).detach()
