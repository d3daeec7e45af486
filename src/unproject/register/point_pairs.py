"""Where a model may lie in a scene: votes of pairs of oriented points, gathered to a list of motions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.neighbors import radius_search
from ..ops.point_pairs import ANGLES, model_pairs, pair_votes
from ..reference.point_pairs import local_frames
from .shape import Shape

_PEAKS = 3  # of each scene point
_MOST_ALIKE = 150  # pairs of one number that vote; of more, an even choice, since planes have them by the ten thousand and they say little


@dataclass(frozen=True, kw_only=True)
class PairTable:
    """All pairs of a model's points, sorted by their numbers.

    Attributes:
        points, normals: [N, 3] of the model.
        step: width of a bin of distances, scene units.
        lengths: bins of distances.
        starts, firsts, turns, weights: what `pair_votes` looks up.
    """

    points: Tensor
    normals: Tensor
    step: float
    lengths: int
    starts: Tensor
    firsts: Tensor
    turns: Tensor
    weights: Tensor


def make_pair_table(points: Tensor, normals: Tensor, step: float) -> PairTable:
    """The table of a model of some hundred evenly spaced points.

    A vote by a pair of which the model has many alike (two points of one plane) says less: it counts by the inverse root of their number.
    """
    reach = float(torch.cdist(points, points).max()) if len(points) else 0.0
    lengths = max(2, int(reach / step) + 1)
    keys, turns = model_pairs(points.contiguous(), normals.contiguous(), step, lengths)
    flat = keys.reshape(-1)
    order = flat.argsort(stable=True)
    order = order[int((flat < 0).sum()) :]
    alike = torch.bincount(flat[order], minlength=lengths * ANGLES**3)
    rank = torch.arange(len(order)) - (alike.cumsum(0) - alike)[flat[order]]
    total = alike[flat[order]]
    order = order[(rank * _MOST_ALIKE) % total.clamp_min(_MOST_ALIKE) < _MOST_ALIKE]
    counts = torch.bincount(flat[order], minlength=lengths * ANGLES**3)
    return PairTable(
        points=points,
        normals=normals,
        step=step,
        lengths=lengths,
        starts=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
        firsts=(order // len(points)).to(torch.int32),
        turns=turns.reshape(-1)[order].contiguous(),
        weights=alike.clamp_min(1).to(points.dtype).rsqrt(),
    )


def vote(table: PairTable, scene: Shape, *, references: int) -> tuple[Tensor, Tensor]:
    """Motions [K, 4, 4] scene_from_model, and their votes [K], from evenly chosen scene points, some for each.

    Args:
        scene: with normals, thinned to about the spacing of the table's points.
        references: how many scene points vote at most.

    Source: Drost, Ulrich, Navab and Ilic 2010; neighbouring bins after Hinterstoisser et al. 2016.
    """
    assert scene.normals is not None
    chosen = torch.linspace(0, scene.point_count - 1, min(references, scene.point_count)).long()
    near = radius_search(scene.points[chosen], scene.index, table.step * table.lengths)
    peaks = pair_votes(
        scene.points, scene.normals, chosen, near.offsets, near.index, table.step, table.lengths,
        table.starts, table.firsts, table.turns, table.weights, len(table.points), _PEAKS,
    )  # fmt: skip
    row, turn, votes = peaks.reshape(-1, 3).unbind(1)
    place = chosen.repeat_interleave(_PEAKS)
    motions = _motions(table, scene, place, row.long(), turn)
    return motions[votes > 0], votes[votes > 0]


def _motions(table: PairTable, scene: Shape, place: Tensor, row: Tensor, turn: Tensor) -> Tensor:
    """Motions that bring model points to scene points, normals to normals, with a turn about them."""
    assert scene.normals is not None
    cosine, sine, zero = turn.double().cos(), turn.double().sin(), torch.zeros(len(turn), dtype=torch.float64)
    swing = torch.stack([zero + 1, zero, zero, zero, cosine, -sine, zero, sine, cosine], 1).view(-1, 3, 3)
    rotation = local_frames(scene.normals[place]).mT @ swing @ local_frames(table.normals[row])
    motions = torch.eye(4, dtype=torch.float64).repeat(len(turn), 1, 1)
    motions[:, :3, :3] = rotation
    motions[:, :3, 3] = scene.points[place].double() - (rotation @ table.points[row].double()[..., None])[..., 0]
    return motions


def gather(
    motions: Tensor, votes: Tensor, centre: Tensor, *, distance: float, angle: float = 0.35, most: int = 500
) -> tuple[Tensor, Tensor]:
    """Motions that stand for groups alike, by the sum of the group's votes.

    Args:
        centre: [3] of the model; motions are alike whose centres lie within `distance` and whose rotations within `angle` (radians).
        most: groups kept.
    """
    if len(motions) == 0:
        return motions, votes
    order = votes.argsort(descending=True, stable=True)[: 8 * most]
    motions, votes = motions[order], votes[order].double()
    centres = (motions[:, :3, :3] @ centre.double()) + motions[:, :3, 3]
    rotations = motions[:, :3, :3].reshape(-1, 9)
    threshold = 1 + 2 * float(torch.tensor(angle).cos())  # of the trace of R_a^T R_b
    alike = (torch.cdist(centres, centres) <= distance) & (rotations @ rotations.T >= threshold)
    support = (alike * votes).sum(1)
    left = torch.ones(len(motions), dtype=torch.bool)
    chosen: list[int] = []
    for i in support.argsort(descending=True, stable=True).tolist():
        if left[i]:
            chosen.append(i)
            left &= ~alike[i]
            if len(chosen) == most:
                break
    return motions[chosen], support[chosen]
