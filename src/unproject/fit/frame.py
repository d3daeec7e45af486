"""The frame a fit works in: the scan centred and scaled to a longest side of 1, in float32, from and to any unit and place in float64."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import ArgumentError, DataError, check_shape
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud
from ..struct import TensorStruct


@dataclass(frozen=True, kw_only=True)
class Frame(TensorStruct):
    """p_world = centre + scale * p_local.

    Attributes:
        centre: float64 [3].
        scale: float64 [], the scan's longest side.
    """

    centre: Tensor
    scale: Tensor

    def to_local(self, positions: Tensor) -> Tensor:
        """[N, 3] of any dtype, in the world -> float32 [N, 3]."""
        return ((positions.double() - self.centre) / self.scale).float()

    def to_world(self, positions: Tensor, dtype: torch.dtype) -> Tensor:
        """[N, 3] local -> [N, 3] of `dtype`, in the world."""
        return (self.centre + self.scale * positions.double()).to(dtype)

    def mesh_to_world(self, mesh: Mesh, dtype: torch.dtype) -> Mesh:
        """The mesh with its vertices in the world."""
        return replace(mesh, vertices=self.to_world(mesh.vertices, dtype))


def scan_frame(points: PointCloud, *, where: str) -> Frame:
    """The frame of a scan that a surface can be fitted to.

    Raises:
        ArgumentError: positions that are not [N, 3] floats, or NaN or infinite ones (the message names the first).
        DataError: fewer than 4 points, all in one place, or all on one line.
    """
    positions = check_shape(points.positions, ["N", 3], name="positions", where=where, finite=True).double()
    if positions.shape[0] < 4:
        raise DataError(f"{where}: a surface needs at least 4 points, got {positions.shape[0]}")
    low, high = positions.amin(0), positions.amax(0)
    scale = (high - low).max()
    centre = (low + high) / 2
    if not bool(scale > 0):
        raise DataError(f"{where}: all {positions.shape[0]} points are in one place")
    if not bool(torch.isfinite(scale)):
        raise ArgumentError(f"{where}: the points span more than float64 holds")
    spread = torch.linalg.svdvals(((positions - centre) / scale)[:: max(1, positions.shape[0] // 100_000)])
    if float(spread[1]) < 1e-7 * float(spread[0]):
        raise DataError(f"{where}: all {positions.shape[0]} points lie on one line")
    return Frame(centre=centre, scale=scale)
