"""Operator: the closest face to each point, and where on it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..reference.closest_point import closest_point_vjp
from .bvh import batch_index, build_face_bvh, curve_order, example_mesh, rows_or_none
from .dispatch import for_each_slice, parallel_for, slice_count
from .examples import example
from .operator import operator

_GRAIN = 128  # points worth a thread
_BACKWARD_GRAIN = 8192


@operator("unproject::closest_face")
def closest_face(
    points: Tensor,
    vertices: Tensor,
    faces: Tensor,
    query_offsets: Tensor,
    boxes: Tensor,
    children: Tensor,
    blocks: Tensor,
    block_items: Tensor,
    roots: Tensor,
    depth: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of the mesh that build_face_bvh built the tree for, for each point [N, 3]: barycentrics, nearest point, squared distance, face.

    Face is int64, -1 where there is none; then weights are 0 and the others infinite.
    """
    from ..kernels.closest_point import closest_range

    count = points.shape[0]
    face = points.new_empty(count, dtype=torch.int64)
    weights, nearest, squared = points.new_empty((count, 3)), points.new_empty((count, 3)), points.new_empty(count)
    tree = (roots.numpy(), boxes.numpy().reshape(-1), children.numpy(), blocks.numpy().reshape(-1), block_items.numpy(), depth)
    order = curve_order(points, query_offsets)
    results = (face.numpy(), weights.numpy(), nearest.numpy(), squared.numpy())
    parallel_for(closest_range, count, order, points.numpy(), batch_index(query_offsets), *tree, *results, grain=_GRAIN)
    return weights, nearest, squared, face


@closest_face.register_fake
def _(points: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    count = points.shape[0]
    return torch.empty_like(points), torch.empty_like(points), points.new_empty(count), points.new_empty(count, dtype=torch.int64)


@operator("unproject::closest_face_backward")
def closest_face_backward(
    points: Tensor,
    vertices: Tensor,
    faces: Tensor,
    face: Tensor,
    weights: Tensor,
    weights_pull: Tensor | None,
    nearest_pull: Tensor | None,
    squared_pull: Tensor | None,
    with_vertices: bool,
) -> tuple[Tensor, Tensor]:
    """Cotangents of points and vertices (without rows unless wanted) from those of barycentrics, nearest point and squared distance."""
    from ..kernels.closest_point import closest_backward_range

    count = points.shape[0]
    slices = min(slice_count(count, _BACKWARD_GRAIN), 2 * torch.get_num_threads())
    points_grad = torch.empty_like(points)
    slots = vertices.new_zeros((slices, vertices.shape[0] if with_vertices else 0, 3))
    pulls = [rows_or_none(pull, points, tail) for pull, tail in ((weights_pull, (3,)), (nearest_pull, (3,)), (squared_pull, ()))]
    arrays = (points.numpy(), vertices.numpy(), faces.numpy(), face.numpy(), weights.numpy(), *pulls, points_grad.numpy())
    accumulators = slots.numpy()
    for_each_slice(lambda slot, begin, end: closest_backward_range(begin, end, *arrays, accumulators[slot]), count, slices=slices)
    return points_grad, (slots[0] if slices == 1 else slots.sum(0))


@closest_face_backward.register_fake
def _(points: Tensor, vertices: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(points), vertices.new_empty((vertices.shape[0] if arguments[-1] else 0, 3))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs[:3], output[3], output[0])


def _backward(ctx: Any, weights_pull: Tensor | None, nearest_pull: Tensor | None, squared_pull: Tensor | None, _: None) -> tuple[Any, ...]:
    points, vertices, faces, face, weights = ctx.saved_tensors
    nothing = (None,) * 8
    pulls = (weights_pull, nearest_pull, squared_pull)
    if all(pull is None for pull in pulls):
        return None, None, *nothing
    if torch.is_grad_enabled():
        return *closest_point_vjp(points, vertices, faces, face, weights, *pulls), *nothing
    points_grad, vertices_grad = closest_face_backward(points, vertices, faces, face, weights, *pulls, ctx.needs_input_grad[1])
    return points_grad, vertices_grad if ctx.needs_input_grad[1] else None, *nothing


closest_face.register_autograd(_backward, setup_context=_setup)


def _example_query(dtype: torch.dtype) -> tuple[Any, ...]:
    vertices, faces, offsets = example_mesh(dtype)
    boxes, children, blocks, block_items, roots, depth = build_face_bvh(vertices, faces, offsets)
    points = torch.linspace(-1, 1, 240, dtype=dtype).reshape(80, 3)
    return points, vertices, faces, torch.tensor([0, 70, 75, 80]), boxes, children, blocks, block_items, roots, int(depth)


@example(closest_face)
def _example(dtype: torch.dtype) -> tuple[Any, ...]:
    return _example_query(dtype)


@example(closest_face)
def _differentiable_example(dtype: torch.dtype) -> tuple[Any, ...]:
    points, vertices, *rest = _example_query(dtype)
    return points.requires_grad_(), vertices.requires_grad_(), *rest


@example(closest_face_backward)
def _backward_example(dtype: torch.dtype) -> tuple[Any, ...]:
    points, vertices, faces, *rest = _example_query(dtype)
    weights, _, squared, face = closest_face(points, vertices, faces, *rest)
    return points, vertices, faces, face, weights, weights, points, squared, True
