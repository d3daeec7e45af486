"""Motions that many matches agree on, though most matches may be wrong: by the lengths that a motion must keep."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..geometry.umeyama import umeyama

_MOST_MATCHES = 2500
_ROUNDS = 4  # of motions of a symmetric shape


def consensus_motions(
    source: Float[Tensor, "N 3"], target: Float[Tensor, "N 3"], *, tolerance: float, seeds: int = 200, group: int = 30
) -> tuple[Float[Tensor, "K 4 4"], Float[Tensor, "K"]]:
    """Candidates for target_from_source from matched points, the most agreed on first.

    Two right matches keep the distance between their points. A match that shares many such partners with its own partners is likely right;
    each of the best begins a group, which gives a motion, which is refined by graduated non-convexity on all matches.

    Args:
        source, target: matched rows, most of which may be wrong.
        tolerance: how far a right match may be off, scene units.
        seeds: groups to begin.
        group: matches a group.

    Returns:
        Motions [K, 4, 4], none close to another, and how many matches agree with each.

    Gradient: none. Source: Leordeanu and Hebert 2005; Chen et al. 2022 (second-order compatibility); Yang et al. 2020 (graduated
    non-convexity, truncated least squares).
    """
    count = len(source)
    if count < 3:
        return source.new_empty(0, 4, 4), source.new_empty(0)
    if count > _MOST_MATCHES:
        chosen = torch.linspace(0, count - 1, _MOST_MATCHES).long()
        part_source, part_target = source[chosen], target[chosen]
    else:
        part_source, part_target = source, target
    agree = _keeps_length(part_source, part_target, tolerance)
    support = agree * (agree @ agree)
    order = _local_maxima(support.sum(1), part_source, seeds, 2 * tolerance)
    size = min(group, len(part_source))
    partners = support[order].topk(size, dim=1)
    weights = partners.values / partners.values.amax(1, keepdim=True).clamp_min(1e-9)
    weights[:, 0] = weights[:, 0].clamp_min(1e-3)
    members = partners.indices
    members[:, -1], weights[:, -1] = order, 1.0
    motions = umeyama(part_source[members], part_target[members], weights)
    kept = _counts(motions, source, target, tolerance).topk(min(len(motions), 40)).indices
    motions = graduated_motions(motions[kept], source, target, tolerance)
    counts = _counts(motions, source, target, tolerance)
    chosen = distinct(motions, counts, source, 2 * tolerance)
    return motions[chosen], counts[chosen]


def motions_in_rounds(source: Tensor, target: Tensor, *, tolerance: float) -> tuple[Tensor, Tensor]:
    """Motions [K, 4, 4] that matches agree on and how many do; then those of the matches that disagree, while they are half as many.

    All groups of a symmetric shape's matches end in the same motion, as only then most matches agree: the others come in later rounds.
    """
    motions, counts = consensus_motions(source, target, tolerance=tolerance)
    found, agreed, last = [motions[:24]], [counts[:24]], motions
    while len(last) and len(found) <= _ROUNDS:
        left = _residuals(last[:1], source, target)[0] > (2 * tolerance) ** 2
        source, target = source[left], target[left]
        last, support = consensus_motions(source, target, tolerance=tolerance, seeds=60)
        if len(last) == 0 or support[0] < 0.5 * counts[0]:
            break
        found.append(last[:2])
        agreed.append(support[:2])
    return torch.cat(found), torch.cat(agreed)


def graduated_motions(motions: Tensor, source: Tensor, target: Tensor, tolerance: float, *, rounds: int = 12) -> Tensor:
    """Motions [K, 4, 4] refined on all matches: least squares whose outliers fade, from a wide tolerance to the given one."""
    control = 0.05
    for _ in range(rounds):
        squared = _residuals(motions, source, target) / tolerance**2
        low, high = control / (control + 1), (control + 1) / control
        fading = (control * (control + 1) / squared.clamp_min(1e-12)).sqrt() - control
        weights = torch.where(squared <= low, 1.0, torch.where(squared >= high, 0.0, fading))
        enough = (weights > 0).sum(1) >= 3
        weights = torch.where(enough[:, None], weights, 1.0)
        better = umeyama(source, target, weights)
        motions = torch.where(enough[:, None, None], better, motions)
        control *= 1.5
    return motions


def distinct(motions: Tensor, scores: Tensor, points: Tensor, distance: float) -> Tensor:
    """Indices of motions in the order of their scores, without those that move the points nearly as a better one does."""
    low, high = points.amin(0), points.amax(0)
    corners = torch.stack([low, high, *(torch.where(torch.arange(3) == axis, high, low) for axis in range(3))])
    moved = corners @ motions[:, :3, :3].mT + motions[:, None, :3, 3]
    chosen: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        apart = (moved[chosen] - moved[i]).norm(dim=2).amax(1) if chosen else moved.new_full((1,), float("inf"))
        if float(apart.min()) > distance:
            chosen.append(i)
    return torch.tensor(chosen, dtype=torch.int64)


def _keeps_length(source: Tensor, target: Tensor, tolerance: float) -> Tensor:
    """[N, N] 1 where a pair of matches keeps its distance, falling to 0 at twice the tolerance; 0 where its points lie together."""
    before, after = torch.cdist(source, source), torch.cdist(target, target)
    agree = (1 - ((before - after) / (2 * tolerance)).square()).clamp_min(0)
    return torch.where(torch.minimum(before, after) > 2 * tolerance, agree, 0)


def _local_maxima(score: Tensor, points: Tensor, count: int, distance: float) -> Tensor:
    """Up to `count` indices of high scores, at most three of which lie within a distance of each other."""
    order = score.argsort(descending=True)[: 4 * count]
    near = torch.cdist(points[order], points[order]) < distance
    earlier = (near & (torch.arange(len(order))[None] < torch.arange(len(order))[:, None])).sum(1)
    return torch.cat([order[earlier < 3], order[earlier >= 3]])[:count]


def _residuals(motions: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Squared [K, N]."""
    return (source @ motions[:, :3, :3].mT + motions[:, None, :3, 3] - target).square().sum(-1)


def _counts(motions: Tensor, source: Tensor, target: Tensor, tolerance: float) -> Tensor:
    return (_residuals(motions, source, target) <= tolerance**2).sum(1).to(source.dtype)
