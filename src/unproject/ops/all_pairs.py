"""Operators: the nearest, and the k nearest, points of a small cloud, without trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .nearest import nearest_backward, save_nearest, save_pairs, squared_distance_backward
from .operator import operator

_BLOCK = 16  # points a block, as in kernels/all_pairs.py
_GRAIN = 1 << 18  # pairs that are worth a thread


@operator("unproject::nearest_of_all")
def nearest_of_all(query: Tensor, target: Tensor, query_offsets: Tensor, target_offsets: Tensor, manhattan: bool) -> tuple[Tensor, Tensor]:
    """Squared distance [Q], or L1 distance, and index int64 [Q] of the target nearest to each query; both contiguous and [N, 3]."""
    from ..kernels.all_pairs import nearest_of_all_range

    distance, index = query.new_empty(query.shape[0]), query.new_empty(query.shape[0], dtype=torch.int64)
    arguments = _arguments(query, target, query_offsets, target_offsets)
    parallel_for(nearest_of_all_range, len(query), *arguments, manhattan, distance.numpy(), index.numpy(), grain=_grain(target, 1))
    return distance, index


@nearest_of_all.register_fake
def _(query: Tensor, target: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    return query.new_empty(query.shape[0]), query.new_empty(query.shape[0], dtype=torch.int64)


@operator("unproject::k_nearest_of_all")
def k_nearest_of_all(
    query: Tensor, target: Tensor, query_offsets: Tensor, target_offsets: Tensor, k: int, exclude_same: bool
) -> tuple[Tensor, Tensor]:
    """Squared distances [Q, K], ascending, and indices int64 [Q, K] of the k targets nearest to each query; target i is left out for
    query i if asked."""
    from ..kernels.all_pairs import k_nearest_of_all_range

    squared_distance, index = query.new_empty((query.shape[0], k)), query.new_empty((query.shape[0], k), dtype=torch.int64)
    arguments = _arguments(query, target, query_offsets, target_offsets)
    outputs = (exclude_same, squared_distance.numpy(), index.numpy())
    parallel_for(k_nearest_of_all_range, len(query), *arguments, *outputs, grain=_grain(target, 2 + k // 8))
    return squared_distance, index


@k_nearest_of_all.register_fake
def _(query: Tensor, target: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    size = (query.shape[0], others[-2])
    return query.new_empty(size), query.new_empty(size, dtype=torch.int64)


nearest_of_all.register_autograd(nearest_backward, setup_context=save_nearest)
k_nearest_of_all.register_autograd(squared_distance_backward, setup_context=save_pairs)


def _arguments(query: Tensor, target: Tensor, query_offsets: Tensor, target_offsets: Tensor) -> tuple[np.ndarray, ...]:
    """What both kernels take: queries and their offsets; blocks of targets, their offsets, and the offsets of the targets."""
    from ..kernels.all_pairs import load_blocks

    points, offsets = target.detach().numpy(), target_offsets.numpy()
    block_offsets = np.empty(len(offsets), np.int64)
    blocks = np.empty((len(points) // _BLOCK + len(offsets) - 1) * 3 * _BLOCK, points.dtype)
    load_blocks(points, offsets, block_offsets, blocks)
    return query.detach().numpy(), query_offsets.numpy(), blocks, block_offsets, offsets


def _grain(target: Tensor, work: int) -> int:
    """Queries that are worth a thread, where one with a pair takes `work` times as long as the nearest."""
    return max(1, _GRAIN // (work * max(1, target.shape[0])))


def _clouds(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    query, target = torch.linspace(0, 1, 60, dtype=dtype).reshape(20, 3), torch.linspace(-1, 2, 75, dtype=dtype).reshape(25, 3) ** 2
    return query.requires_grad_(), target.requires_grad_(), torch.tensor([0, 12, 20]), torch.tensor([0, 20, 25])


@example(nearest_of_all)
def _nearest_example(dtype: torch.dtype) -> tuple[Any, ...]:
    return *_clouds(dtype), False


@example(nearest_of_all)
def _manhattan_example(dtype: torch.dtype) -> tuple[Any, ...]:
    return *_clouds(dtype), True


@example(k_nearest_of_all)
def _example(dtype: torch.dtype) -> tuple[Any, ...]:
    return *_clouds(dtype), 3, False
