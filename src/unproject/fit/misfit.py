"""Where a smooth surface misses its points in common: there it is smoother than they want.

Noise puts as many points before a surface as behind it. Where those of a neighbourhood lie on one side, by more than noise explains,
the surface has cut a corner: at the tip of a horn, along an edge, in a narrow groove. There, and only there, it wants a shorter length.
Source: the choice of local bandwidths by significant bias, Lepski 1990.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.neighbors import knn
from ..geometry.point_index import build_index
from .implicit import interpolate
from .smoothing import LevelProblem, LevelState

_AROUND = 24  # points that are asked together
_SURE = 3.0  # standard errors of their mean distance: beyond is more than chance
_SHORTER = 0.4  # factor of the smoothing length
_FLATTEST = 0.3  # least slope by which a value is divided for a distance
_FAR = 3.0  # standard deviations that a distance counts at most
_CHUNK = 1 << 16


def factors_where_missed(problem: LevelProblem, state: LevelState, tellers: Tensor) -> Tensor:
    """Factors [P] of the smoothing length at the points: 1, and down to 0.4 around those where a neighbourhood is missed.

    A neighbour of such a place gets a shorter length as far as its own neighbourhood is missed, too.

    Args:
        tellers: bool [P], the points that are off the surface independently of each other.
    """
    value, slope = interpolate(problem.lattice, state.values, problem.points)
    steep = slope.norm(dim=1)
    limit = _FAR * state.noise
    height = (value / steep.clamp(min=_FLATTEST)).nan_to_num(0).clamp(-limit, limit)
    normals = slope.nan_to_num(0) / steep.nan_to_num(0).clamp(min=1e-6)[:, None]
    feet = problem.points - height[:, None] * normals  # of the points themselves, those next to a high one would be high, too
    index, count = build_index(feet), min(_AROUND, feet.shape[0])
    around = torch.cat([knn(some, index, count).index.int() for some in feet.split(_CHUNK)])
    weight = state.weight * tellers
    errors = [
        _common_error(normals[begin : begin + _CHUNK], normals, height, weight, found.long())
        for begin, found in zip(range(0, feet.shape[0], _CHUNK), around.split(_CHUNK))
    ]
    missed = (torch.cat(errors) / (_SURE * max(state.noise, 1e-12))).clamp(max=1)
    sure = missed >= 1
    if not bool(sure.any()):
        return torch.ones_like(missed)
    near = torch.cat([sure[found.long()].any(1) for found in around.split(_CHUNK)])
    return _SHORTER ** (missed * near)


def _common_error(own: Tensor, normals: Tensor, height: Tensor, weight: Tensor, around: Tensor) -> Tensor:
    """[Q] mean of the heights [P] around [Q, K], over its standard error if their variance is 1.

    Points of another side, by the surface's normals own [Q, 3] and normals [P, 3], do not count.
    """
    share = (own[:, None] * normals[around]).sum(2).clamp(min=0) * weight[around]
    return (share * height[around]).sum(1).abs() / share.square().sum(1).sqrt().clamp(min=1e-9)


__all__ = ["factors_where_missed"]
