"""Operator: the closest face to each point."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .bvh import batch_index, build_face_bvh, curve_order, example_mesh
from .dispatch import parallel_for
from .examples import example

_GRAIN = 128  # points worth a thread


@torch.library.custom_op("unproject::closest_face", mutates_args=(), device_types="cpu")
def closest_face(
    points: Tensor,
    query_offsets: Tensor,
    boxes: Tensor,
    children: Tensor,
    blocks: Tensor,
    block_items: Tensor,
    roots: Tensor,
    depth: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Face int64 [N] (-1: none), barycentrics [N, 3] and squared distance [N] for points [N, 3] and a tree of build_face_bvh."""
    from ..kernels.closest_point import closest_range

    count = points.shape[0]
    face = points.new_empty(count, dtype=torch.int64)
    weights, squared = points.new_empty((count, 3)), points.new_empty(count)
    tree = (roots.numpy(), boxes.numpy().reshape(-1), children.numpy(), blocks.numpy().reshape(-1), block_items.numpy(), depth)
    order = curve_order(points, query_offsets)
    results = (face.numpy(), weights.numpy(), squared.numpy())
    parallel_for(closest_range, count, order, points.numpy(), batch_index(query_offsets), *tree, *results, grain=_GRAIN)
    return face, weights, squared


@closest_face.register_fake
def _(points: Tensor, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    return points.new_empty(points.shape[0], dtype=torch.int64), torch.empty_like(points), points.new_empty(points.shape[0])


@example(closest_face)
def _example(dtype: torch.dtype) -> tuple[Any, ...]:
    boxes, children, blocks, block_items, roots, depth = build_face_bvh(*example_mesh(dtype))
    points = torch.linspace(-1, 1, 240, dtype=dtype).reshape(80, 3)
    return points, torch.tensor([0, 70, 75, 80]), boxes, children, blocks, block_items, roots, int(depth)
