"""The points that a surface is fitted to, their own scales, and the lattices and smoothing lengths that follow from those."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import DataError
from ..geometry.neighbors import knn
from ..geometry.point_index import build_index
from ..struct import TensorStruct

_FINEST = 1 / 1500  # cells, in longest sides
_LENGTHS = tuple(0.7 * 2 ** (k / 2) for k in range(14))  # smoothing lengths to choose from, in point spacings
_CELLS = 1.4  # smallest smoothing length of a lattice coarser than the points, in cells


@dataclass(frozen=True, kw_only=True)
class Scene(TensorStruct):
    """Points without outliers, in the frame of the fit.

    Attributes:
        points: [P, 3].
        neighbors: int64 [P, K], the nearest others, nearest first.
        areas: [P] what each point stands for.
        spacing: distance between neighbouring points.
        cell: smallest cell of a lattice.
        coarse: cell of the first lattice.
        fixed: whether `cell` was asked for; then all of the last lattices have it.
    """

    points: Tensor
    neighbors: Tensor
    areas: Tensor
    spacing: float
    cell: float
    coarse: float
    fixed: bool

    @property
    def lengths(self) -> list[float]:
        """Smoothing lengths worth a trial, descending."""
        return [factor * self.spacing for factor in reversed(_LENGTHS)]

    @property
    def first_length(self) -> int:
        """Index of the length to begin with: where the first lattice stops being needlessly fine, or 1.4 spacings."""
        fit = [i for i, length in enumerate(self.lengths) if length <= self.coarse * _CELLS]
        return min([*fit, len(_LENGTHS) - 3])

    def cell_of(self, length: float) -> float:
        """The lattice that a smoothing length needs: a surface smoother than the points are close has coarser cells."""
        return self.cell if self.fixed else min(max(self.cell, length / _CELLS), max(self.coarse, self.cell))

    def levels(self, length: float) -> list[float]:
        """Cell sizes from coarse to fine that lead to the lattice of a smoothing length."""
        cells = [self.cell_of(length)]
        while cells[-1] * 2 < 1.3 * self.coarse:
            cells.append(cells[-1] * 2)
        return cells[::-1]


def make_scene(points: Tensor, *, resolution: float | None, where: str) -> Scene:
    """Measure points [P, 3]; `resolution` is a cell size, or None for the distance between points."""
    index = build_index(points)
    found = knn(index, index, min(13, points.shape[0]))
    reach = min(10, points.shape[0] - 1)
    areas = torch.pi * found.squared_distance[:, reach] / reach
    usual = float(areas.median())
    if not usual > 0:
        usual = float(areas.mean())
    if not usual > 0:
        raise DataError(f"{where}: most points lie on one another; remove duplicates")
    spacing = usual**0.5
    cell = spacing if resolution is None else resolution
    longest = float((points.amax(0) - points.amin(0)).max())
    return Scene(
        points=points,
        neighbors=found.index[:, 1:].contiguous(),
        areas=areas.clamp(max=10 * usual),
        spacing=spacing,
        cell=max(cell, _FINEST * longest),
        coarse=longest / min(max(int(1.2 * longest / max(spacing, cell)), 32), 96),
        fixed=resolution is not None,
    )
