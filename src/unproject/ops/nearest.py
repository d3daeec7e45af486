"""Operators: the nearest, and the k nearest, points of a cloud."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .operator import operator
from .point_tree import build_point_tree

_GRAIN = 128  # packets that are worth a thread


@operator("unproject::nearest")
def nearest(
    query: Tensor,
    target: Tensor,
    query_points: Tensor,
    query_ids: Tensor,
    query_leaf_offsets: Tensor,
    points: Tensor,
    ids: Tensor,
    boxes: Tensor,
    low_ids: Tensor,
    leaf_offsets: Tensor,
    manhattan: bool,
) -> tuple[Tensor, Tensor]:
    """Squared distance [Q], or L1 distance, and index int64 [Q] of the target nearest to each query; trees from build_point_tree."""
    from ..kernels.nearest import nearest_range

    distance = query.new_empty(query.shape[0])
    index = query.new_empty(query.shape[0], dtype=torch.int64)
    arrays = arrays_of(query_points, query_ids, query_leaf_offsets, points, ids, boxes, low_ids, leaf_offsets)
    parallel_for(nearest_range, int(query_leaf_offsets[-1]), *arrays, manhattan, distance.numpy(), index.numpy(), grain=_GRAIN)
    return distance, index


@nearest.register_fake
def _(query: Tensor, target: Tensor, *tree: Any) -> tuple[Tensor, Tensor]:
    return query.new_empty(query.shape[0]), query.new_empty(query.shape[0], dtype=torch.int64)


@operator("unproject::k_nearest")
def k_nearest(
    query: Tensor,
    target: Tensor,
    query_points: Tensor,
    query_ids: Tensor,
    query_leaf_offsets: Tensor,
    points: Tensor,
    ids: Tensor,
    boxes: Tensor,
    low_ids: Tensor,
    leaf_offsets: Tensor,
    k: int,
    exclude_same: bool,
) -> tuple[Tensor, Tensor]:
    """Squared distances [Q, K], ascending, and indices int64 [Q, K] of the k targets nearest to each query; target i is left out for
    query i if asked."""
    from ..kernels.nearest import k_nearest_range

    squared_distance = query.new_empty((query.shape[0], k))
    index = query.new_empty((query.shape[0], k), dtype=torch.int64)
    arrays = arrays_of(query_points, query_ids, query_leaf_offsets, points, ids, boxes, low_ids, leaf_offsets)
    outputs = (exclude_same, squared_distance.numpy(), index.numpy())
    parallel_for(k_nearest_range, int(query_leaf_offsets[-1]), *arrays, *outputs, grain=max(1, _GRAIN // (4 + k)))
    return squared_distance, index


@k_nearest.register_fake
def _(query: Tensor, target: Tensor, *tree: Any) -> tuple[Tensor, Tensor]:
    size = (query.shape[0], tree[-2])
    return query.new_empty(size), query.new_empty(size, dtype=torch.int64)


def arrays_of(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in tensors]


def save_pairs(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Keep query, target and index for `squared_distance_backward`."""
    ctx.save_for_backward(inputs[0], inputs[1], output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.other_inputs = len(inputs) - 2


def squared_distance_backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    """Of |query - target[index]|^2 with index [Q] or [Q, K], in torch, so that it can be differentiated again."""
    query, target, index = ctx.saved_tensors
    each = query if index.dim() == 1 else query.unsqueeze(1)
    flow = (2 * grad).unsqueeze(-1) * (each - target[index])
    grad_query = flow if index.dim() == 1 else flow.sum(1)
    grad_target = None
    if ctx.needs_input_grad[1]:
        grad_target = torch.zeros_like(target).index_add(0, index.flatten(), flow.reshape(-1, 3), alpha=-1)
    return grad_query, grad_target, *([None] * ctx.other_inputs)


def save_nearest(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    save_pairs(ctx, inputs, output)
    ctx.manhattan = inputs[-1]


def nearest_backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    if not ctx.manhattan:
        return squared_distance_backward(ctx, grad, _)
    query, target, index = ctx.saved_tensors
    flow = grad.unsqueeze(-1) * (query - target[index]).sign()
    return flow, torch.zeros_like(target).index_add(0, index, flow, alpha=-1), *([None] * ctx.other_inputs)


nearest.register_autograd(nearest_backward, setup_context=save_nearest)
k_nearest.register_autograd(squared_distance_backward, setup_context=save_pairs)


def example_trees(dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Arguments that all searches share: two small clouds and their trees."""
    query, target = torch.linspace(0, 1, 60, dtype=dtype).reshape(20, 3), torch.linspace(-1, 2, 75, dtype=dtype).reshape(25, 3) ** 2
    query_tree, tree = build_point_tree(query, torch.tensor([0, 12, 20])), build_point_tree(target, torch.tensor([0, 20, 25]))
    return query.requires_grad_(), target.requires_grad_(), *(query_tree[i] for i in (0, 1, 4)), *tree


@example(nearest)
def _nearest_example(dtype: torch.dtype) -> tuple[Any, ...]:
    return *example_trees(dtype), False


@example(nearest)
def _manhattan_example(dtype: torch.dtype) -> tuple[Any, ...]:
    return *example_trees(dtype), True


@example(k_nearest)
def _example(dtype: torch.dtype) -> tuple[Any, ...]:
    return *example_trees(dtype), 3, False
