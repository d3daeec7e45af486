"""Operators: the errors of matched points, and the normal equations that lessen them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..reference import align as reference
from .dispatch import for_each_slice, parallel_for, slice_count
from .examples import example
from .operator import operator

POINT, DIRECTION, GENERALIZED = 0, 1, 2  # kinds of error, as in kernels/align.py
_GRAIN = 2048
_OTHER = ["cuda", "mps", "xpu"]


@operator("unproject::match_errors")
def match_errors(
    source: Tensor, source_normals: Tensor, match: Tensor, target: Tensor, directions: Tensor, offset: Tensor, pose: Tensor, kind: int
) -> Tensor:
    """Squared error [N] of each match of a moved source point.

    Args:
        source: [N, 3].
        source_normals: [N, 3] unit vectors for GENERALIZED; else what fits, [0, 3].
        match: int64 [N] index of the target, -1 for none (error 0).
        target: [M, 3].
        directions: [M, 3] unit normals, or the directions that count with their lengths for DIRECTION; [0, 3] for POINT.
        offset: [N] added to the distance along the direction, for DIRECTION; else [0].
        pose: [4, 4] float64 on the CPU, target_from_source.
        kind: POINT, DIRECTION or GENERALIZED.
    """
    from ..kernels.align import errors_range

    errors = source.new_empty(source.shape[0])
    arrays = [t.detach().numpy() for t in (source, source_normals, match, target, directions, offset)]
    parallel_for(errors_range, source.shape[0], *arrays, pose[:3].contiguous().numpy(), kind, errors.numpy(), grain=_GRAIN)
    return errors


@match_errors.register_fake
def _(source: Tensor, *others: Any) -> Tensor:
    return source.new_empty(source.shape[0])


@operator("unproject::match_sums")
def match_sums(
    source: Tensor,
    source_normals: Tensor,
    match: Tensor,
    target: Tensor,
    directions: Tensor,
    offset: Tensor,
    pose: Tensor,
    kind: int,
    weight: Tensor,
    centre: Tensor,
) -> Tensor:
    """[28] float64: J^T W J (21, upper triangle by rows), J^T W r (6) and the weighted cost, over all matches.

    Args:
        weight: [N], not negative.
        centre: [3] float64; the small motion (translation, rotation) turns about it and is applied on the left of the pose.
        others: as for `match_errors`.
    """
    from ..kernels.align import SUMS, sums_range

    count = source.shape[0]
    slices = slice_count(count, _GRAIN)
    sums = np.zeros((slices, SUMS))
    arrays = [t.detach().numpy() for t in (source, source_normals, match, target, directions, offset)]
    fixed = (pose[:3].contiguous().numpy(), kind, weight.detach().numpy(), centre.numpy())

    def run(slot: int, begin: int, end: int) -> None:
        sums_range(begin, end, *arrays, *fixed, sums[slot])

    for_each_slice(run, count, slices=slices)
    return torch.from_numpy(sums.sum(0))


@match_sums.register_fake
def _(source: Tensor, *others: Any) -> Tensor:
    return source.new_empty(28, dtype=torch.float64)


match_errors.register_kernel(_OTHER)(reference.match_errors)
match_sums.register_kernel(_OTHER)(reference.match_sums)


def example_matches(dtype: torch.dtype, kind: int) -> tuple[Any, ...]:
    """Arguments of `match_errors`: nine points, one without a match."""
    source = torch.linspace(0, 1, 27, dtype=dtype).reshape(9, 3) ** torch.tensor([1, 2, 3])
    normals = torch.nn.functional.normalize(torch.linspace(-1, 2, 27, dtype=dtype).reshape(9, 3).sin(), dim=1)
    match = torch.tensor([0, 1, 2, -1, 4, 5, 6, 6, 7])
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 3] = torch.tensor([0.1, 0.05, -0.02])
    target, offset = source.flip(0) + 0.1, torch.linspace(-0.1, 0.1, 9, dtype=dtype)
    return source, normals, match, target, normals.roll(1, 0), offset, pose, kind


@example(match_errors)
def _errors_example(dtype: torch.dtype) -> tuple[Any, ...]:
    return example_matches(dtype, GENERALIZED)


@example(match_sums)
def _sums_example(dtype: torch.dtype) -> tuple[Any, ...]:
    return *example_matches(dtype, DIRECTION), torch.linspace(0, 1, 9, dtype=dtype), torch.zeros(3, dtype=torch.float64)
