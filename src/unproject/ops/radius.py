"""Operators: all points within a radius, as ragged lists or as the first k."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .nearest import arrays_of, example_trees, save_pairs
from .operator import operator

_GRAIN = 32  # packets that are worth a thread


@operator("unproject::radius_count")
def radius_count(
    query: Tensor,
    query_points: Tensor,
    query_ids: Tensor,
    query_leaf_offsets: Tensor,
    points: Tensor,
    ids: Tensor,
    boxes: Tensor,
    low_ids: Tensor,
    leaf_offsets: Tensor,
    squared_radius: float,
) -> Tensor:
    """How many targets lie within the radius of each query: int64 [Q]. Trees from build_point_tree."""
    from ..kernels.radius import radius_count_range

    counts = query.new_empty(query.shape[0], dtype=torch.int64)
    arrays = arrays_of(query_points, query_ids, query_leaf_offsets, points, ids, boxes, low_ids, leaf_offsets)
    limit = arrays[0].dtype.type(squared_radius)
    parallel_for(radius_count_range, int(query_leaf_offsets[-1]), *arrays, limit, counts.numpy(), grain=_GRAIN)
    return counts


@radius_count.register_fake
def _(query: Tensor, *_: Any) -> Tensor:
    return query.new_empty(query.shape[0], dtype=torch.int64)


@operator("unproject::radius_fill")
def radius_fill(
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
    squared_radius: float,
    offsets: Tensor,
    total: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distance, target and query of all `total` pairs within the radius; those of query q begin at offsets[q], the sum of the
    radius_count before it."""
    from ..kernels.radius import radius_fill_range

    squared_distance = query.new_empty(total)
    index, owner = offsets.new_empty(total), offsets.new_empty(total)
    arrays = arrays_of(query_points, query_ids, query_leaf_offsets, points, ids, boxes, low_ids, leaf_offsets)
    limit = arrays[0].dtype.type(squared_radius)
    outputs = (offsets.numpy(), squared_distance.numpy(), index.numpy(), owner.numpy())
    parallel_for(radius_fill_range, int(query_leaf_offsets[-1]), *arrays, limit, *outputs, grain=_GRAIN)
    return squared_distance, index, owner


@radius_fill.register_fake
def _(query: Tensor, target: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    offsets, total = others[-2:]
    return query.new_empty(total), offsets.new_empty(total), offsets.new_empty(total)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(inputs[0], inputs[1], output[1], output[2])
    ctx.mark_non_differentiable(output[1], output[2])
    ctx.other_inputs = len(inputs) - 2


def _backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    query, target, index, owner = ctx.saved_tensors
    return *_pair_gradients(query, target, owner, index, grad), *([None] * ctx.other_inputs)


def _pair_gradients(query: Tensor, target: Tensor, owner: Tensor, index: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Of |query[owner] - target[index]|^2, in torch, so that it can be differentiated again."""
    flow = (2 * grad).unsqueeze(-1) * (query[owner] - target[index])
    grad_query = torch.zeros_like(query).index_add(0, owner, flow)
    grad_target = torch.zeros_like(target).index_add(0, index, flow, alpha=-1)
    return grad_query, grad_target


radius_fill.register_autograd(_backward, setup_context=_save)


@operator("unproject::ball_query")
def ball_query(
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
    squared_radius: float,
    k: int,
) -> tuple[Tensor, Tensor]:
    """Squared distances [Q, K] and indices int64 [Q, K] of the first k targets, by index, within the radius; 0 and -1 where fewer."""
    from ..kernels.radius import ball_range

    squared_distance = query.new_empty((query.shape[0], k))
    index = query.new_empty((query.shape[0], k), dtype=torch.int64)
    arrays = arrays_of(query_points, query_ids, query_leaf_offsets, points, ids, boxes, low_ids, leaf_offsets)
    limit = arrays[0].dtype.type(squared_radius)
    parallel_for(ball_range, int(query_leaf_offsets[-1]), *arrays, limit, squared_distance.numpy(), index.numpy(), grain=_GRAIN)
    return squared_distance, index


@ball_query.register_fake
def _(query: Tensor, target: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    size = (query.shape[0], others[-1])
    return query.new_empty(size), query.new_empty(size, dtype=torch.int64)


def _ball_backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    """Padding has no gradient, whatever the cotangent says."""
    query, target, index = ctx.saved_tensors
    owner, rank = (index >= 0).nonzero(as_tuple=True)
    return *_pair_gradients(query, target, owner, index[owner, rank], grad[owner, rank]), *([None] * ctx.other_inputs)


ball_query.register_autograd(_ball_backward, setup_context=save_pairs)


@example(radius_count)
def _count_example(dtype: torch.dtype) -> tuple[Any, ...]:
    query, _, *trees = example_trees(dtype)
    return query.detach(), *trees, 0.1


@example(radius_fill)
def _fill_example(dtype: torch.dtype) -> tuple[Any, ...]:
    arguments = example_trees(dtype)
    offsets = torch.nn.functional.pad(radius_count(arguments[0].detach(), *arguments[2:], 0.1).cumsum(0), (1, 0))
    return *arguments, 0.1, offsets, int(offsets[-1])


@example(ball_query)
def _ball_example(dtype: torch.dtype) -> tuple[Any, ...]:
    return *example_trees(dtype), 0.1, 4
