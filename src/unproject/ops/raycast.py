"""Operators: the first face on each ray, and whether there is any."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .bvh import batch_index, build_face_bvh, example_mesh
from .dispatch import parallel_for
from .examples import example

_GRAIN = 256  # rays worth a thread


@torch.library.custom_op("unproject::first_hit", mutates_args=(), device_types="cpu")
def first_hit(
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
) -> tuple[Tensor, Tensor, Tensor]:
    """Face int64 [N] (-1: a miss), barycentrics [N, 3], distance [N] of rays [N, 3] within near and far [N]; a tree of build_face_bvh."""
    from ..kernels.raycast import first_hit_range

    count = origins.shape[0]
    face = origins.new_empty(count, dtype=torch.int64)
    weights, distance = origins.new_empty((count, 3)), origins.new_empty(count)
    rays = (origins.numpy(), directions.numpy(), near.numpy(), far.numpy(), batch_index(query_offsets))
    tree = (roots.numpy(), boxes.numpy().reshape(-1), children.numpy(), blocks.numpy().reshape(-1), block_items.numpy(), depth)
    parallel_for(first_hit_range, count, *rays, *tree, face.numpy(), weights.numpy(), distance.numpy(), grain=_GRAIN)
    return face, weights, distance


@first_hit.register_fake
def _(origins: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    count = origins.shape[0]
    return origins.new_empty(count, dtype=torch.int64), torch.empty_like(origins), origins.new_empty(count)


@torch.library.custom_op("unproject::any_hit", mutates_args=(), device_types="cpu")
def any_hit(
    origins: Tensor,
    directions: Tensor,
    near: Tensor,
    far: Tensor,
    query_offsets: Tensor,
    boxes: Tensor,
    children: Tensor,
    blocks: Tensor,
    roots: Tensor,
    depth: int,
) -> Tensor:
    """Whether any face lies on the rays within near and far: bool [N]."""
    from ..kernels.raycast import any_hit_range

    hit = origins.new_empty(origins.shape[0], dtype=torch.bool)
    rays = (origins.numpy(), directions.numpy(), near.numpy(), far.numpy(), batch_index(query_offsets))
    tree = (roots.numpy(), boxes.numpy().reshape(-1), children.numpy(), blocks.numpy().reshape(-1), depth)
    parallel_for(any_hit_range, origins.shape[0], *rays, *tree, hit.numpy(), grain=_GRAIN)
    return hit


@any_hit.register_fake
def _(origins: Tensor, *arguments: Any) -> Tensor:
    return origins.new_empty(origins.shape[0], dtype=torch.bool)


def _example_rays(dtype: torch.dtype) -> tuple[Tensor, ...]:
    directions = torch.linspace(-1, 1, 60, dtype=dtype).reshape(20, 3)
    near, far = torch.zeros(20, dtype=dtype), torch.full((20,), torch.inf, dtype=dtype)
    return directions * 0.1, directions, near, far, torch.tensor([0, 15, 16, 20])


@example(first_hit)
def _first_example(dtype: torch.dtype) -> tuple[Any, ...]:
    boxes, children, blocks, block_items, roots, depth = build_face_bvh(*example_mesh(dtype))
    return *_example_rays(dtype), boxes, children, blocks, block_items, roots, int(depth)


@example(any_hit)
def _any_example(dtype: torch.dtype) -> tuple[Any, ...]:
    boxes, children, blocks, _, roots, depth = build_face_bvh(*example_mesh(dtype))
    return *_example_rays(dtype), boxes, children, blocks, roots, int(depth)
