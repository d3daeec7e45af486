"""Operators: the first face on each ray, and whether there is any."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..reference.raycast import intersect_plane, ray_vjp
from .bvh import batch_index, build_face_bvh, example_mesh, rows_or_none
from .dispatch import for_each_slice, parallel_for, slice_count
from .examples import example
from .operator import operator

_GRAIN = 256  # rays worth a thread
_BACKWARD_GRAIN = 8192


@operator("unproject::first_hit")
def first_hit(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    vertices: Tensor,
    faces: Tensor,
    query_offsets: Tensor,
    boxes: Tensor,
    children: Tensor,
    blocks: Tensor,
    block_items: Tensor,
    roots: Tensor,
    depth: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the mesh that the tree was built for by build_face_bvh, for rays [N, 3] within near and far ([N] or [1]): barycentrics, distance,
    face.

    Face is int64, -1 for a miss; then weights are 0 and the distance infinite.
    """
    from ..kernels.first_hit import first_hit_range

    count = origins.shape[0]
    face = origins.new_empty(count, dtype=torch.int64)
    weights, distance = origins.new_empty((count, 3)), origins.new_empty(count)
    rays = (origins.numpy(), directions.numpy(), near.numpy(), far.numpy(), batch_index(query_offsets))
    tree = (roots.numpy(), boxes.numpy().reshape(-1), children.numpy().reshape(-1), blocks.numpy().reshape(-1), block_items.numpy(), depth)
    parallel_for(first_hit_range, count, *rays, *tree, face.numpy(), weights.numpy().reshape(-1), distance.numpy(), grain=_GRAIN)
    return weights, distance, face


@first_hit.register_fake
def _(origins: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    count = origins.shape[0]
    return torch.empty_like(origins), origins.new_empty(count), origins.new_empty(count, dtype=torch.int64)


@operator("unproject::first_hit_backward")
def first_hit_backward(
    directions: Tensor,
    vertices: Tensor,
    faces: Tensor,
    face: Tensor,
    weights: Tensor,
    distance: Tensor,
    weights_pull: Tensor | None,
    distance_pull: Tensor | None,
    with_vertices: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Cotangents of origins, directions and vertices (without rows unless wanted) from those of barycentrics and distance."""
    from ..kernels.raycast import ray_backward_range

    count = directions.shape[0]
    slices = min(slice_count(count, _BACKWARD_GRAIN), 2 * torch.get_num_threads())
    origins_grad, directions_grad = torch.empty_like(directions), torch.empty_like(directions)
    slots = vertices.new_zeros((slices, vertices.shape[0] if with_vertices else 0, 3))
    pulls = [rows_or_none(weights_pull, directions, (3,)), rows_or_none(distance_pull, directions, ())]
    found = (face.numpy(), weights.numpy(), distance.numpy())
    arrays = (directions.numpy(), vertices.numpy(), faces.numpy(), *found, *pulls, origins_grad.numpy(), directions_grad.numpy())
    accumulators = slots.numpy()
    for_each_slice(lambda slot, begin, end: ray_backward_range(begin, end, *arrays, accumulators[slot]), count, slices=slices)
    return origins_grad, directions_grad, (slots[0] if slices == 1 else slots.sum(0))


@first_hit_backward.register_fake
def _(directions: Tensor, vertices: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(directions), torch.empty_like(directions), vertices.new_empty((vertices.shape[0] if arguments[-1] else 0, 3))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(inputs[0], inputs[1], inputs[4], inputs[5], *output)


def _backward(ctx: Any, weights_pull: Tensor | None, distance_pull: Tensor | None, _: None) -> tuple[Any, ...]:
    origins, directions, vertices, faces, weights, distance, face = ctx.saved_tensors
    nothing = (None,) * 8
    if weights_pull is None and distance_pull is None:
        return (None,) * 13
    if torch.is_grad_enabled():
        hit = face >= 0
        t, b = intersect_plane(origins, directions, vertices[faces[face.clamp_min(0)]])
        weights, distance = torch.where(hit.unsqueeze(-1), b, 0), torch.where(hit, t, 0)
        origins_grad, directions_grad, vertices_grad = ray_vjp(
            directions, vertices, faces, face, weights, distance, weights_pull, distance_pull
        )
    else:
        origins_grad, directions_grad, vertices_grad = first_hit_backward(
            directions, vertices, faces, face, weights, distance, weights_pull, distance_pull, ctx.needs_input_grad[4]
        )
    return origins_grad, directions_grad, None, None, vertices_grad if ctx.needs_input_grad[4] else None, *nothing


first_hit.register_autograd(_backward, setup_context=_setup)


@operator("unproject::any_hit")
def any_hit(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    query_offsets: Tensor,
    boxes: Tensor,
    children: Tensor,
    blocks: Tensor,
    block_items: Tensor,
    roots: Tensor,
    depth: int,
) -> Tensor:
    """Whether any face lies on the rays within near and far, [N] or [1]: bool [N]."""
    from ..kernels.any_hit import any_hit_range

    block = origins.new_empty(origins.shape[0], dtype=torch.int64)
    rays = (origins.numpy(), directions.numpy(), near.numpy(), far.numpy(), batch_index(query_offsets))
    tree = (roots.numpy(), boxes.numpy().reshape(-1), children.numpy().reshape(-1), blocks.numpy().reshape(-1), block_items.numpy(), depth)
    parallel_for(any_hit_range, origins.shape[0], *rays, *tree, block.numpy(), grain=_GRAIN)
    return block >= 0


@any_hit.register_fake
def _(origins: Tensor, *arguments: Any) -> Tensor:
    return origins.new_empty(origins.shape[0], dtype=torch.bool)


def _example_rays(dtype: torch.dtype) -> tuple[Tensor, ...]:
    directions = torch.linspace(-1, 1, 60, dtype=dtype).reshape(20, 3)
    near, far = torch.zeros(20, dtype=dtype), torch.full((20,), torch.inf, dtype=dtype)
    return directions * 0.1, directions, near, far


def _example_query(dtype: torch.dtype) -> tuple[Any, ...]:
    vertices, faces, offsets = example_mesh(dtype)
    boxes, children, blocks, block_items, roots, depth = build_face_bvh(vertices, faces, offsets)
    rays, query_offsets = _example_rays(dtype), torch.tensor([0, 15, 16, 20])
    return *rays, vertices, faces, query_offsets, boxes, children, blocks, block_items, roots, int(depth)


@example(first_hit)
def _first_example(dtype: torch.dtype) -> tuple[Any, ...]:
    return _example_query(dtype)


@example(first_hit)
def _differentiable_example(dtype: torch.dtype) -> tuple[Any, ...]:
    origins, directions, near, far, vertices, *rest = _example_query(dtype)
    return origins.requires_grad_(), directions.requires_grad_(), near, far, vertices.requires_grad_(), *rest


@example(first_hit_backward)
def _backward_example(dtype: torch.dtype) -> tuple[Any, ...]:
    arguments = _example_query(dtype)
    weights, distance, face = first_hit(*arguments)
    return *arguments[1:2], *arguments[4:6], face, weights, distance, weights, torch.ones_like(distance), True


@example(any_hit)
def _any_example(dtype: torch.dtype) -> tuple[Any, ...]:
    origins, directions, near, far, _, _, offsets, *tree = _example_query(dtype)
    return origins, directions, near, far, offsets, *tree
