"""Operators: the closest point of a cloud to each face; and the distance of a given point to a given face."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..reference.closest_point import closest_point_vjp
from .bvh import batch_index, curve_order, example_mesh
from .closest_point import closest_face_backward
from .dispatch import parallel_for
from .examples import example
from .operator import operator
from .point_tree import build_point_tree

_GRAIN = 128  # faces worth a thread


@operator("unproject::closest_to_face")
def closest_to_face(
    vertices: Tensor,
    faces: Tensor,
    face_offsets: Tensor,
    leaf_points: Tensor,
    ids: Tensor,
    boxes: Tensor,
    leaf_offsets: Tensor,
    target_offsets: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """For each face [F, 3]: index int64 [F] of the closest point of a tree of build_point_tree, barycentrics there, squared distance."""
    from ..kernels.closest_to_face import closest_to_face_range

    count = faces.shape[0]
    index, weights, squared = faces.new_empty(count), vertices.new_empty((count, 3)), vertices.new_empty(count)
    order = curve_order(vertices[faces[:, 0]], face_offsets)
    tree = (leaf_points.numpy().reshape(-1), ids.numpy(), boxes.numpy(), leaf_offsets.numpy(), target_offsets.numpy())
    results = (index.numpy(), weights.numpy(), squared.numpy())
    arrays = (order, vertices.numpy(), faces.numpy(), batch_index(face_offsets), *tree, *results)
    parallel_for(closest_to_face_range, count, *arrays, grain=_GRAIN)
    return index, weights, squared


@closest_to_face.register_fake
def _(vertices: Tensor, faces: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    count = faces.shape[0]
    return faces.new_empty(count), vertices.new_empty((count, 3)), vertices.new_empty(count)


@operator("unproject::distance_to_face")
def distance_to_face(points: Tensor, vertices: Tensor, faces: Tensor, face: Tensor, weights: Tensor) -> Tensor:
    """Squared distances [N] of points [N, 3] to the points of the faces [N] at the given barycentrics [N, 3], which are the closest ones.

    Gradient: points and vertices, as of the distance to the face: that the closest point slides is accounted for.
    """
    nearest = (weights.unsqueeze(-2) @ vertices[faces[face]]).squeeze(-2)
    return (nearest - points).square().sum(-1)


@distance_to_face.register_fake
def _(points: Tensor, vertices: Tensor, faces: Tensor, face: Tensor, weights: Tensor) -> Tensor:
    return points.new_empty(points.shape[0])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, pull: Tensor) -> tuple[Any, ...]:
    points, vertices, faces, face, weights = ctx.saved_tensors
    if torch.is_grad_enabled():
        points_grad, vertices_grad = closest_point_vjp(points, vertices, faces, face, weights, None, None, pull)
    else:
        arguments = (points, vertices, faces, face, weights, None, None, pull, ctx.needs_input_grad[1])
        points_grad, vertices_grad = closest_face_backward(*arguments)
    return points_grad, vertices_grad if ctx.needs_input_grad[1] else None, None, None, None


distance_to_face.register_autograd(_backward, setup_context=_setup)


@example(closest_to_face)
def _example(dtype: torch.dtype) -> tuple[Any, ...]:
    points = torch.linspace(-1, 1, 240, dtype=dtype).reshape(80, 3)
    offsets = torch.tensor([0, 60, 60, 80])
    leaf_points, ids, boxes, _, leaf_offsets = build_point_tree(points, offsets)
    return *example_mesh(dtype), leaf_points, ids, boxes, leaf_offsets, offsets


@example(distance_to_face)
def _distance_example(dtype: torch.dtype) -> tuple[Any, ...]:
    vertices, faces, _ = example_mesh(dtype)
    points = torch.linspace(-1, 1, 30, dtype=dtype).reshape(10, 3)
    weights = torch.full((10, 3), 1 / 3, dtype=dtype)
    return points.requires_grad_(), vertices.requires_grad_(), faces, torch.arange(10), weights
