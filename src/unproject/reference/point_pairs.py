"""Twin of the point-pair kernels, in plain torch: one scene point after the other."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

ANGLES, TURNS, EDGE = 15, 30, 0.25


def local_frames(normals: Tensor) -> Tensor:
    """Rotations [N, 3, 3] that bring unit normals [N, 3] to the x axis."""
    x, y, z = normals.to(torch.float64).unbind(-1)
    plus = x > -0.999
    s = 1 / torch.where(plus, 1 + x, 1 - x)
    one = torch.stack([x, y, z, -y, 1 - s * y * y, -s * y * z, -z, -s * y * z, 1 - s * z * z], -1)
    two = torch.stack([x, y, z, y, s * y * y - 1, s * y * z, z, s * y * z, s * z * z - 1], -1)
    return torch.where(plus[:, None], one, two).reshape(-1, 3, 3)


def _places(points: Tensor, normals: Tensor, i: int, others: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """[K, 5] places of pairs (i, others) as the kernel's pair_place, and which of them are pairs."""
    place, direction = points.to(torch.float64), normals.to(torch.float64)
    d = place[others] - place[i]
    length = d.norm(dim=1)
    good = length > 1e-6 * step
    unit = d / length.where(good, 1)[:, None]
    angle = lambda cosine: cosine.clamp(-1, 1).arccos() * (ANGLES / math.pi)
    turned = d @ local_frames(normals[i : i + 1])[0].T
    columns = [
        length / step,
        angle(unit @ direction[i]),
        angle((unit * direction[others]).sum(1)),
        angle(direction[others] @ direction[i]),
        torch.atan2(turned[:, 2], turned[:, 1]),
    ]
    return torch.stack(columns, 1), good


def model_pairs(points: Tensor, normals: Tensor, step: float, lengths: int) -> tuple[Tensor, Tensor]:
    """See ops/point_pairs.py."""
    count = len(points)
    keys = torch.full((count, count), -1, dtype=torch.int64, device=points.device)
    turns = points.new_zeros(count, count)
    everyone = torch.arange(count, device=points.device)
    for i in range(count):
        place, good = _places(points, normals, i, everyone, step)
        good &= (everyone != i) & (place[:, 0] < lengths)
        bins = place[:, :4].long()
        bins[:, 1:] = bins[:, 1:].clamp(max=ANGLES - 1)
        key = ((bins[:, 0] * ANGLES + bins[:, 1]) * ANGLES + bins[:, 2]) * ANGLES + bins[:, 3]
        keys[i], turns[i] = torch.where(good, key, -1), torch.where(good, place[:, 4], 0).to(points)
    return keys, turns


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
    """See ops/point_pairs.py."""
    peaks = points.new_zeros(len(references), peak_count, 3)
    for item, i in enumerate(references.tolist()):
        others = neighbors[offsets[item] : offsets[item + 1]]
        place, good = _places(points, normals, i, others, step)
        place = place[good & (others != i) & (place[:, 0] < lengths)]
        votes = torch.zeros(model_count * TURNS, dtype=torch.float64, device=points.device)
        for bins, chosen in _near_bins(place, lengths):
            key = ((bins[:, 0] * ANGLES + bins[:, 1]) * ANGLES + bins[:, 2]) * ANGLES + bins[:, 3]
            count = starts[key + 1] - starts[key]
            pair = torch.repeat_interleave(torch.arange(len(key), device=points.device), count)
            entry = starts[key][pair] + torch.arange(len(pair), device=points.device) - (count.cumsum(0) - count)[pair]
            at = (place[chosen, 4][pair] - turns[entry]) * (TURNS / (2 * math.pi)) + 2 * TURNS
            low, weight = at.long(), weights[key][pair].to(torch.float64)
            row = firsts[entry].long() * TURNS
            votes.index_add_(0, row + low % TURNS, weight * (1 - (at - low)))
            votes.index_add_(0, row + (low + 1) % TURNS, weight * (at - low))
        _take_peaks(votes.view(model_count, TURNS), peaks[item])
    return peaks


def _near_bins(place: Tensor, lengths: int):
    """Bins [K, 4] and the pairs that they belong to, for each of the sixteen choices of neighbours."""
    top = torch.tensor([lengths, ANGLES, ANGLES, ANGLES], device=place.device) - 1
    first = place[:, :4].long().clamp_min(0).minimum(top)
    rest = place[:, :4] - first
    side = torch.where((rest < EDGE) & (first > 0), -1, torch.where((rest > 1 - EDGE) & (first < top), 1, 0))
    for choice in itertools.product((0, 1), repeat=4):
        beside = torch.tensor(choice, device=place.device) == 1
        chosen = ((side != 0) | ~beside).all(1)
        yield (first + side * beside)[chosen], chosen


def _take_peaks(votes: Tensor, peaks: Tensor) -> None:
    for peak in peaks:
        row, column = divmod(int(votes.argmax()), TURNS)
        ring = torch.tensor([column - 1, column, column + 1], device=votes.device) % TURNS
        before, best, after = votes[row, ring].tolist()
        total = before + best + after
        peak[0], peak[1], peak[2] = row, (column + (after - before) / max(total, 1e-9)) * (2 * math.pi / TURNS), total
        votes[row, ring] = 0
