"""Neighbour search in plain torch, by brute force over blocks of bounded memory: the oracle of the kernels, and what other devices run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

_BLOCK = 1 << 24  # distances held at once


def nearest(query: Tensor, target: Tensor, query_offsets: Tensor, target_offsets: Tensor, manhattan: bool = False) -> tuple[Tensor, Tensor]:
    """Twin of ops.nearest.nearest, for points of any dimension."""
    if manhattan:
        index = query.new_zeros(query.shape[0], dtype=torch.int64)
        for rows, first, block in blocks(query.detach(), target.detach(), query_offsets, target_offsets, Tensor.abs):
            index[rows] = block.sort(dim=1, stable=True).indices[:, 0] + first
        return _sum_in_order((query - target[index]).abs()), index
    squared_distance, index = k_nearest(query, target, query_offsets, target_offsets, 1, False)
    return squared_distance[:, 0], index[:, 0]


def k_nearest(
    query: Tensor, target: Tensor, query_offsets: Tensor, target_offsets: Tensor, k: int, exclude_same: bool
) -> tuple[Tensor, Tensor]:
    """Twin of ops.nearest.k_nearest: [Q, K] squared distances in ascending order, and indices; equal ones by index."""
    index = query.new_zeros((query.shape[0], k), dtype=torch.int64)
    for rows, first, block in blocks(query.detach(), target.detach(), query_offsets, target_offsets):
        if exclude_same:
            same = torch.arange(rows.start, rows.stop, device=query.device)
            block[same - rows.start, same - first] = float("inf")
        index[rows] = block.sort(dim=1, stable=True).indices[:, :k] + first
    return pair_squared_distance(query, target, index), index


def radius_pairs(query: Tensor, target: Tensor, radius: float, query_offsets: Tensor, target_offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Twin of ops.radius.radius_fill: every (query, target) within the radius, in ascending order."""
    queries, targets = [], []
    for rows, first, block in blocks(query.detach(), target.detach(), query_offsets, target_offsets):
        i, j = (block <= radius * radius).nonzero(as_tuple=True)
        queries.append(i + rows.start)
        targets.append(j + first)
    empty = query.new_zeros(0, dtype=torch.int64)
    return torch.cat([empty, *queries]), torch.cat([empty, *targets])


def first_in_radius(
    query: Tensor, target: Tensor, radius: float, k: int, query_offsets: Tensor, target_offsets: Tensor
) -> tuple[Tensor, Tensor]:
    """Twin of ops.radius.ball_query."""
    index = query.new_full((query.shape[0], k), -1, dtype=torch.int64)
    for rows, first, block in blocks(query.detach(), target.detach(), query_offsets, target_offsets):
        inside = block <= radius * radius
        rank = inside.cumsum(1) - 1
        i, j = (inside & (rank < k)).nonzero(as_tuple=True)
        index[i + rows.start, rank[i, j]] = j + first
    if target.shape[0] == 0:
        return query.new_zeros(index.shape), index
    return pair_squared_distance(query, target, index.clamp(min=0)).where(index >= 0, 0), index


def pair_squared_distance(query: Tensor, target: Tensor, index: Tensor) -> Tensor:
    """|query - target[index]|^2 for index [Q] or [Q, K], differentiable, summed in the order of the coordinates as the kernels do."""
    each = query if index.dim() == 1 else query.unsqueeze(1)
    return _sum_in_order((each - target[index]).square())


def _sum_in_order(terms: Tensor) -> Tensor:
    total, *others = terms.unbind(-1)
    for term in others:
        total = total + term
    return total


def blocks(
    query: Tensor, target: Tensor, query_offsets: Tensor, target_offsets: Tensor, cost: Callable[[Tensor], Tensor] = Tensor.square
) -> Iterator[tuple[slice, int, Tensor]]:
    """(rows of the queries, first target, distances [rows, targets of the same cloud]) until all queries are covered; squared ones."""
    for q0, q1, t0, t1 in zip(*(o.tolist() for o in (query_offsets[:-1], query_offsets[1:], target_offsets[:-1], target_offsets[1:]))):
        step = max(1, _BLOCK // max(1, t1 - t0))
        for begin in range(q0, q1, step):
            end = min(q1, begin + step)
            yield slice(begin, end), t0, _sum_in_order(cost(query[begin:end, None] - target[None, t0:t1]))
