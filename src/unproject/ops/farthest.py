"""Operator: farthest-point sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .dispatch import for_each_slice
from .examples import example
from .nearest import arrays_of
from .operator import operator
from .point_tree import build_point_tree

_VISITS = 1 << 22  # points that one kernel call may visit; keeps it below 0.1 s


@operator("unproject::farthest_points")
def farthest_points(positions: Tensor, points: Tensor, ids: Tensor, boxes: Tensor, leaf_offsets: Tensor, starts: Tensor, k: int) -> Tensor:
    """Indices int64 [B * K] of k samples of each cloud that has points, from starts [B] on, each farthest from those before."""
    from ..kernels.farthest import farthest_range

    arrays = arrays_of(positions, leaf_offsets, points, ids, boxes)
    samples = starts.new_empty((starts.shape[0], k))
    distances = np.full(tuple(ids.shape), np.inf, arrays[0].dtype)
    farthest = np.full(2 * ids.shape[0], np.inf, arrays[0].dtype)
    farthest_ids = np.empty(2 * ids.shape[0], np.int32)
    step = max(1, _VISITS // max(positions.shape[0], 1))

    def run(slot: int, begin: int, end: int) -> None:
        for cloud in range(begin, end):
            row = samples[cloud].numpy()
            row[0] = starts[cloud]
            for sample in range(0, k, step):
                farthest_range(sample, min(sample + step, k), cloud, *arrays, distances, farthest, farthest_ids, row)

    if k > 0:
        for_each_slice(run, starts.shape[0], slices=starts.shape[0])
    return samples.reshape(-1)


@farthest_points.register_fake
def _(positions: Tensor, points: Tensor, ids: Tensor, boxes: Tensor, leaf_offsets: Tensor, starts: Tensor, k: int) -> Tensor:
    return starts.new_empty(starts.shape[0] * k)


@example(farthest_points)
def _example(dtype: torch.dtype) -> tuple[Any, ...]:
    positions = torch.linspace(-1, 2, 120, dtype=dtype).reshape(40, 3) ** 2
    points, ids, boxes, _, leaf_offsets = build_point_tree(positions, torch.tensor([0, 35, 40]))
    return positions, points, ids, boxes, leaf_offsets, torch.tensor([3, 35]), 4
