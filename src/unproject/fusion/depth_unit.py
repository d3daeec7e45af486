"""Whether depth and poses are in one unit: pairs of images agree about where the surface is at one scale of depth only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import UnprojectError
from ..lie.se3 import se3_inverse
from .trajectory import LoadFrame

_PAIRS, _PIXELS = 6, 3000
_STEPS = 10  # powers of two on either side
_CAP = 0.2  # a larger relative difference is another surface
_IN_VIEW = 0.2


def depth_factor(load: LoadFrame, count: int, intrinsics: Float[Tensor, "3 3"], poses: Sequence[Tensor | None]) -> float | None:
    """What depth is to be multiplied with, roughly, so that it fits the poses; None where it fits as it is, or nothing can be said.

    Looks at six pairs of frames. Factors below 4 are not told from noise.

    Args:
        load: frame index to (depth [H, W], rgb); frames that cannot be read are skipped.
        poses: camera_from_world [4, 4] of each frame or None.
    """
    known = [i for i in range(count) if poses[i] is not None and bool(torch.isfinite(poses[i]).all())]  # type: ignore[union-attr, arg-type]
    gap = max(1, len(known) // 5)
    starts = sorted({round(k * (len(known) - 1 - gap) / (_PAIRS - 1)) for k in range(_PAIRS)}) if len(known) > gap else []
    powers = torch.arange(-2 * _STEPS, 2 * _STEPS + 1) / 2
    costs = []
    for start in starts:
        first, second = known[start], known[start + gap]
        try:
            one, other = load(first)[0].double(), load(second)[0].double()
        except (UnprojectError, OSError):
            continue
        second_from_first = poses[second].double() @ se3_inverse(poses[first].double())  # type: ignore[union-attr]
        costs.append(torch.tensor([_disagreement(one, other, intrinsics.double(), second_from_first, 2.0 ** float(p)) for p in powers]))
    if not costs:
        return None
    cost = torch.stack(costs).mean(0)
    best = int(cost.argmin())
    sure = float(cost[best]) < 0.3 * _CAP and float(cost[best]) < 0.5 * float(cost[2 * _STEPS])
    return 2.0 ** float(powers[best]) if sure and abs(float(powers[best])) >= 2 else None


def _disagreement(one: Tensor, other: Tensor, k: Tensor, second_from_first: Tensor, factor: float) -> float:
    """Mean relative difference, at most _CAP, between where one image puts its points and what the other one sees there."""
    rows, columns = torch.nonzero(torch.isfinite(one) & (one > 0), as_tuple=True)
    if rows.numel() == 0:
        return _CAP
    pick = torch.linspace(0, rows.numel() - 1, min(_PIXELS, rows.numel())).long()
    rows, columns = rows[pick], columns[pick]
    z = factor * one[rows, columns]
    points = torch.stack([(columns + 0.5 - k[0, 2]) / k[0, 0] * z, (rows + 0.5 - k[1, 2]) / k[1, 1] * z, z], dim=1)
    moved = points @ second_from_first[:3, :3].mT + second_from_first[:3, 3]
    u, v = (k[i, i] * moved[:, i] / moved[:, 2] + k[i, 2] for i in range(2))
    inside = (moved[:, 2] > 0) & (u >= 0) & (v >= 0) & (u < other.shape[1]) & (v < other.shape[0])
    seen = factor * other[v[inside].long(), u[inside].long()]
    ahead, seen = moved[inside, 2][seen > 0], seen[seen > 0]
    if seen.numel() < _IN_VIEW * len(pick):
        return _CAP
    return float(((ahead - seen).abs() / seen).clamp_max(_CAP).mean())
