"""Operators: the nearest, and the k nearest, points of a cloud."""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .point_tree import build_point_tree

_GRAIN = 32  # packets worth a thread


@torch.library.custom_op("unproject::nearest", mutates_args=(), device_types="cpu")
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
) -> tuple[Tensor, Tensor]:
    """Squared distance [Q] and index int64 [Q] of the target [N, 3] nearest to each query [Q, 3], both as built by build_point_tree."""
    from ..kernels.nearest import nearest_range

    squared_distance = query.new_empty(query.shape[0])
    index = query.new_empty(query.shape[0], dtype=torch.int64)
    arrays = [t.detach().numpy() for t in (query_points, query_ids, query_leaf_offsets, points, ids, boxes, low_ids, leaf_offsets)]
    parallel_for(nearest_range, int(query_leaf_offsets[-1]), *arrays, squared_distance.numpy(), index.numpy(), grain=_GRAIN)
    return squared_distance, index


@nearest.register_fake
def _(query: Tensor, target: Tensor, *tree: Tensor) -> tuple[Tensor, Tensor]:
    return query.new_empty(query.shape[0]), query.new_empty(query.shape[0], dtype=torch.int64)


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(inputs[0], inputs[1], output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.tree_inputs = len(inputs) - 2


def _backward(ctx, grad: Tensor, _grad_index: Tensor):
    """From the points and the index, in torch: so it can be differentiated again."""
    query, target, index = ctx.saved_tensors
    grad_query, grad_target = squared_distance_gradient(query, target, index, grad, ctx.needs_input_grad[1])
    return grad_query, grad_target, *([None] * ctx.tree_inputs)


def squared_distance_gradient(query: Tensor, target: Tensor, index: Tensor, grad: Tensor, of_target: bool) -> tuple[Tensor, Tensor | None]:
    """Gradients of |query - target[index]|^2 with cotangent `grad` [Q] or [Q, K]."""
    each = query if index.dim() == 1 else query.unsqueeze(1)
    flow = (2 * grad).unsqueeze(-1) * (each - target[index])
    grad_target = torch.zeros_like(target).index_add(0, index.flatten(), flow.reshape(-1, 3), alpha=-1) if of_target else None
    return (flow if index.dim() == 1 else flow.sum(1)), grad_target


nearest.register_autograd(_backward, setup_context=_save)


@example(nearest)
def _example(dtype: torch.dtype) -> tuple[Tensor, ...]:
    query, target = torch.linspace(0, 1, 60, dtype=dtype).reshape(20, 3), torch.linspace(-1, 2, 75, dtype=dtype).reshape(25, 3) ** 2
    query_tree, tree = build_point_tree(query, torch.tensor([0, 12, 20])), build_point_tree(target, torch.tensor([0, 20, 25]))
    return query.requires_grad_(), target.requires_grad_(), *(query_tree[i] for i in (0, 1, 4)), *tree
