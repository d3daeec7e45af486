"""Operator: the search tree over packed point clouds."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentError
from .dispatch import for_each_slice, parallel_for
from .examples import example
from .operator import operator

LEAF = 16  # points a leaf, as in kernels/point_tree.py
_GRAIN = 512  # leaves that are worth a thread to build
_LOAD_GRAIN = 1 << 13  # leaves that are worth a thread to load
_LARGEST_TASK = 1 << 15  # leaves; keeps a slice below 0.1 s


@operator("unproject::build_point_tree")
def build_point_tree(points: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Trees over clouds of points [N, 3] with offsets [B + 1], all of which have room for `leaf_capacity` leaves.

    Returns:
        Leaf points [L, 3, LEAF], leaf ids int32 [L, LEAF], node boxes [2 L, 6], lowest id of each node int32 [2 L],
        leaf offsets int64 [B + 1].
    """
    from ..kernels import point_tree as kernels

    capacity = leaf_capacity(points.shape[0], offsets.shape[0] - 1)
    starts = np.zeros(offsets.shape[0], np.int64)
    np.cumsum((np.diff(offsets.numpy()) + (LEAF - 1)) // LEAF, out=starts[1:])
    dtype = points.numpy().dtype
    tree = (
        np.zeros((capacity, 3, LEAF), dtype),
        np.zeros((capacity, LEAF), np.int32),
        np.zeros((2 * capacity, 6), dtype),
        np.zeros(2 * capacity, np.int32),
    )
    leaf_count = int(starts[-1])
    if leaf_count > 0:
        rows, doubtful = np.empty((leaf_count * LEAF, 4), dtype), np.zeros(1, np.int64)
        row_ids = rows.view(np.int32 if rows.itemsize == 4 else np.int64)
        parallel_for(kernels.load_rows, leaf_count, points.numpy(), offsets.numpy(), starts, rows, row_ids, doubtful, grain=_LOAD_GRAIN)
        if doubtful[0] and not np.isfinite(points.numpy()).all():
            raise ArgumentError("build_point_tree: a point is NaN or infinite")
        _build(kernels, _root_tasks(starts), leaf_count, rows, row_ids, tree)
    leaf_points, ids, boxes, low_ids = (torch.from_numpy(array) for array in tree)
    return leaf_points, ids, boxes, low_ids, torch.from_numpy(starts)


@build_point_tree.register_fake
def _(points: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    capacity = leaf_capacity(points.shape[0], offsets.shape[0] - 1)
    return (
        points.new_empty((capacity, 3, LEAF)),
        points.new_empty((capacity, LEAF), dtype=torch.int32),
        points.new_empty((2 * capacity, 6)),
        points.new_empty(2 * capacity, dtype=torch.int32),
        torch.empty_like(offsets),
    )


def leaf_capacity(point_count: int, cloud_count: int) -> int:
    """The most leaves that so many points in so many clouds can fill, each cloud's last one perhaps in part."""
    return point_count // LEAF + cloud_count


def _root_tasks(leaf_offsets: np.ndarray) -> np.ndarray:
    """One task [first leaf, leaf end, node] a cloud that has points."""
    tasks = np.empty((len(leaf_offsets) - 1, 3), np.int64)
    tasks[:, 0], tasks[:, 1] = leaf_offsets[:-1], leaf_offsets[1:]
    tasks[:, 2] = 2 * tasks[:, 0] - np.arange(len(tasks))
    return tasks[tasks[:, 1] > tasks[:, 0]]


def _build(
    kernels: object, tasks: np.ndarray, leaf_count: int, rows: np.ndarray, row_ids: np.ndarray, tree: tuple[np.ndarray, ...]
) -> None:
    """Split the largest tasks, level by level, until there is enough for all threads; build the subtrees; join them upwards."""
    if leaf_count <= _GRAIN:
        kernels.build_tasks(0, len(tasks), tasks, rows, row_ids, *tree)  # type: ignore[attr-defined]
        return
    threads = torch.get_num_threads()
    largest = min(_LARGEST_TASK, max(_GRAIN, leaf_count // (2 * threads) + 1)) if threads > 1 else _LARGEST_TASK
    small, levels = [], []
    while len(tasks):
        big = tasks[:, 1] - tasks[:, 0] > largest
        small.append(tasks[~big])
        tasks = tasks[big]
        if len(tasks):
            parallel_for(kernels.split_tasks, len(tasks), tasks, rows, grain=1)  # type: ignore[attr-defined]
            levels.append(tasks)
            a, b, node = tasks.T
            middle = (a + b) // 2
            tasks = np.concatenate([np.stack([a, middle, node + 1], 1), np.stack([middle, b, node + 2 * (middle - a)], 1)])
    subtrees = np.concatenate(small)

    def build(slot: int, begin: int, end: int) -> None:
        kernels.build_tasks(begin, end, subtrees, rows, row_ids, *tree)  # type: ignore[attr-defined]

    for_each_slice(build, len(subtrees), slices=min(len(subtrees), 16 * threads))
    for level in reversed(levels):
        kernels.join_tasks(0, len(level), level, tree[2], tree[3])  # type: ignore[attr-defined]


@example(build_point_tree)
def _example(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    points = torch.linspace(0, 1, 120, dtype=dtype).reshape(40, 3)
    return points, torch.tensor([0, 35, 35, 40])
