"""A first signed distance from oriented points: the Poisson indicator's level set on a coarse grid, and the distance to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.neighbors import nearest
from ..geometry.point_index import PointIndex, build_index
from ..struct import TensorStruct
from .poisson import PoissonGrid, make_poisson_grid, poisson_indicator, sample_grid, screen_indicator

MARGIN = 0.15  # how far beyond the points the surface may go, in longest sides
_MISSED, _MISSED_SHARE = 2.0, 0.05  # cells from the surface, and share of such points: more is no mere noise or blur


@dataclass(frozen=True, kw_only=True)
class DistanceGuess(TensorStruct):
    """A surface on a coarse grid.

    Attributes:
        indicator: [X, Y, Z] Poisson's function, larger outside.
        level: its value on the surface.
        low: [3] position of grid point (0, 0, 0).
        spacing: of the grid.
        crossings: index of the points where the surface crosses the grid's edges.
    """

    indicator: Tensor
    level: float
    low: Tensor
    spacing: float
    crossings: PointIndex


def guess_distance(points: Tensor, normals: Tensor, areas: Tensor, *, resolution: int, trust_normals: bool) -> DistanceGuess:
    """Solve Poisson's equation for oriented points [N, 3] that stand for areas [N], on a grid with `resolution` cells a longest side.

    The screened equation keeps near sheets apart and does not drift where nothing was seen. Estimated normals may contradict each other
    in thin parts, though, and screening forces bubbles there; the plain solution then misses those points, which later solves can mend.
    """
    grid = make_poisson_grid(points, resolution=resolution, smoothing=1.5)
    indicator = poisson_indicator(grid, normals * areas[:, None])
    if not trust_normals:
        plain = _distance_guess(grid, indicator, points, areas)
        missed = nearest(points, plain.crossings).squared_distance > (_MISSED * grid.spacing) ** 2
        if float(missed.double().mean()) > _MISSED_SHARE:
            return plain
    return _distance_guess(grid, screen_indicator(grid, indicator, areas, _level(grid, indicator, areas)), points, areas)


def _distance_guess(grid: PoissonGrid, indicator: Tensor, points: Tensor, areas: Tensor) -> DistanceGuess:
    level = _level(grid, indicator, areas)
    indicator = indicator.clone()
    margin = MARGIN * float((points.amax(0) - points.amin(0)).max())
    for axis in range(3):  # what goes on into the void is closed there
        place = grid.low[axis] + grid.spacing * torch.arange(grid.size[axis], dtype=points.dtype)
        beyond = (place < points[:, axis].min() - margin) | (place > points[:, axis].max() + margin)
        indicator.index_fill_(axis, beyond.nonzero()[:, 0], float(indicator.max()))
    crossings = _crossings(indicator, level) * grid.spacing + grid.low
    return DistanceGuess(indicator=indicator, level=level, low=grid.low, spacing=grid.spacing, crossings=build_index(crossings))


def _level(grid: PoissonGrid, indicator: Tensor, areas: Tensor) -> float:
    """The value that the points have in the mean."""
    return float((sample_grid(grid, indicator).double() * areas).sum() / areas.double().sum())


def evaluate_guess(guess: DistanceGuess, points: Tensor) -> Tensor:
    """Signed distance [P] to the guessed surface, positive outside."""
    size = torch.tensor(guess.indicator.shape)
    units = ((points - guess.low) / guess.spacing).clamp(min=0)
    base = torch.minimum(units.floor().long(), size - 2)
    part = (units - base).clamp(max=1)
    value = torch.zeros_like(points[:, 0])
    for e in range(8):
        corner = torch.tensor([e >> 2, (e >> 1) & 1, e & 1])
        at = base + corner
        value += guess.indicator[at[:, 0], at[:, 1], at[:, 2]] * torch.where(corner.bool(), part, 1 - part).prod(1)
    distance = nearest(points, guess.crossings).squared_distance.sqrt()
    return torch.where(value > guess.level, distance, -distance)


def _crossings(values: Tensor, level: float) -> Tensor:
    """[C, 3] where the function crosses the level along edges, in grid units."""
    found = []
    for axis in range(3):
        first, second = values.narrow(axis, 0, values.shape[axis] - 1), values.narrow(axis, 1, values.shape[axis] - 1)
        edge = ((first > level) != (second > level)).nonzero()
        a, b = first[tuple(edge.T)], second[tuple(edge.T)]
        place = edge.to(values.dtype)
        place[:, axis] += (level - a) / (b - a)
        found.append(place)
    return torch.cat(found)
