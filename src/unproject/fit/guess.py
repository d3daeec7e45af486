"""A first signed distance from oriented points: the Poisson indicator's level set on a coarse grid, and the distance to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.neighbors import PointIndex, build_index, nearest
from ..struct import TensorStruct
from .poisson import make_poisson_grid, poisson_indicator, sample_grid

MARGIN = 0.15  # how far beyond the points the surface may go, in longest sides


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


def guess_distance(points: Tensor, normals: Tensor, areas: Tensor, *, resolution: int) -> DistanceGuess:
    """Solve Poisson's equation for oriented points [N, 3] that stand for areas [N], on a grid with `resolution` cells a longest side."""
    grid = make_poisson_grid(points, resolution=resolution, smoothing=1.5)
    indicator = poisson_indicator(grid, normals * areas[:, None])
    span = resolution * grid.spacing
    level = float((sample_grid(grid, indicator).double() * areas).sum() / areas.double().sum())
    for axis in range(3):  # what goes on into the void is closed there
        place = grid.low[axis] + grid.spacing * torch.arange(grid.size[axis], dtype=points.dtype)
        beyond = (place < points[:, axis].min() - MARGIN * span) | (place > points[:, axis].max() + MARGIN * span)
        indicator.index_fill_(axis, beyond.nonzero()[:, 0], float(indicator.max()))
    crossings = _crossings(indicator, level) * grid.spacing + grid.low
    return DistanceGuess(indicator=indicator, level=level, low=grid.low, spacing=grid.spacing, crossings=build_index(crossings))


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
