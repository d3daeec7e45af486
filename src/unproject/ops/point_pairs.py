"""Operators: numbers of all pairs of a model's points, and a scene's votes for where the model lies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..reference import point_pairs as reference
from .dispatch import parallel_for
from .examples import example
from .operator import operator

ANGLES = 15  # bins of each angle, as in kernels/point_pairs.py
_OTHER = ["cuda", "mps", "xpu"]


@operator("unproject::model_pairs")
def model_pairs(points: Tensor, normals: Tensor, step: float, lengths: int) -> tuple[Tensor, Tensor]:
    """Key int64 [N, N] of each pair of oriented points, below lengths * ANGLES^3, and its turn [N, N] about the first one's normal.

    Args:
        points, normals: [N, 3].
        step: width of a bin of distances.
        lengths: bins of distances; longer pairs, and a point with itself, have the key -1.
    """
    from ..kernels.point_pairs import model_pairs_range

    count = points.shape[0]
    keys, turns = points.new_empty((count, count), dtype=torch.int64), points.new_empty((count, count))
    arrays = points.detach().numpy(), normals.detach().numpy()
    parallel_for(model_pairs_range, count, *arrays, step, lengths, keys.numpy(), turns.numpy(), grain=4)
    return keys, turns


@model_pairs.register_fake
def _(points: Tensor, normals: Tensor, step: float, lengths: int) -> tuple[Tensor, Tensor]:
    size = (points.shape[0], points.shape[0])
    return points.new_empty(size, dtype=torch.int64), points.new_empty(size)


@operator("unproject::pair_votes")
def pair_votes(
    points: Tensor,
    normals: Tensor,
    references: Tensor,
    offsets: Tensor,
    neighbors: Tensor,
    step: float,
    lengths: int,
    starts: Tensor,
    firsts: Tensor,
    turns: Tensor,
    weights: Tensor,
    model_count: int,
    peak_count: int,
) -> Tensor:
    """Peaks [R, P, 3] of votes of scene points: model point, turn about the normal, votes.

    Args:
        points, normals: [N, 3] of the scene.
        references: int64 [R] scene points that vote, by their pairs with neighbors[offsets[r] : offsets[r + 1]].
        step, lengths: as for `model_pairs`.
        starts: int64 [lengths * ANGLES^3 + 1], where each key's model pairs begin in `firsts` int32 (their first points) and `turns`.
        weights: [lengths * ANGLES^3] of a vote by a key.
        model_count: model points.
        peak_count: peaks of each scene point.
    """
    from ..kernels.point_pairs import vote_range

    peaks = points.new_empty((references.shape[0], peak_count, 3))
    arrays = [t.detach().numpy() for t in (points, normals, references, offsets, neighbors)]
    table = [t.detach().numpy() for t in (starts, firsts, turns, weights)]
    parallel_for(vote_range, references.shape[0], *arrays, step, lengths, *table, model_count, peaks.numpy(), grain=1)
    return peaks


@pair_votes.register_fake
def _(points: Tensor, normals: Tensor, references: Tensor, *others: Any) -> Tensor:
    return points.new_empty((references.shape[0], others[-1], 3))


model_pairs.register_kernel(_OTHER)(reference.model_pairs)
pair_votes.register_kernel(_OTHER)(reference.pair_votes)


def example_cloud(dtype: torch.dtype, count: int = 8) -> tuple[Tensor, Tensor]:
    """A few points with normals, no two pairs of them alike."""
    points = torch.linspace(0.1, 1, 3 * count, dtype=dtype).reshape(count, 3) ** torch.tensor([1, 2, 3])
    normals = torch.nn.functional.normalize(torch.linspace(-1, 7, 3 * count, dtype=dtype).reshape(count, 3).sin(), dim=1)
    return points, normals


@example(model_pairs)
def _pairs_example(dtype: torch.dtype) -> tuple[Any, ...]:
    return *example_cloud(dtype), 0.2, 6


@example(pair_votes)
def _votes_example(dtype: torch.dtype) -> tuple[Any, ...]:
    points, normals = example_cloud(dtype)
    keys, turns = reference.model_pairs(points, normals, 0.2, 6)
    pair = (keys.reshape(-1) >= 0).nonzero()[:, 0]
    order = pair[keys.reshape(-1)[pair].argsort(stable=True)]
    size = 6 * ANGLES**3
    counts = torch.bincount(keys.reshape(-1)[order], minlength=size)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    table = starts, (order // len(points)).to(torch.int32), turns.reshape(-1)[order], torch.ones(size, dtype=dtype)
    lists = torch.tensor([0, 4]), torch.tensor([0, 8, 16]), torch.arange(8).repeat(2)
    return points, normals, *lists, 0.2, 6, *table, 8, 2
