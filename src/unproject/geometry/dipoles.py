"""Potentials and fields of many charges or dipoles at points, among themselves: all pairs in N log N."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import check_shape
from ..ops import softened_fields as ops
from ..struct import TensorStruct

_LEAF = 16  # points at most
_OPENING = 0.5  # radius over distance below which a block of points acts as one: errors of about 3 %


@dataclass(frozen=True, kw_only=True)
class DipoleTree(TensorStruct):
    """Points in blocks of a complete binary tree. Make one with `build_dipole_tree`.

    Fields are those of 1 / sqrt(r^2 + softening^2) instead of 1 / r, with softening > 0, and without the factor 1 / (4 pi).

    Attributes:
        order: int64 [T] the points of each leaf in turn; numbers from N on stand for no point, to fill leaves up.
        places: [2 L - 1 + T, 3] centres of the nodes, by levels from the root on, then the points in that order.
        starts, sources: int64 [L + 1] and int32 [S], what acts on each leaf; see ops/softened_fields.py.
        point_count: N.
    """

    order: Int[Tensor, "T"]
    places: Tensor
    starts: Tensor
    sources: Tensor
    point_count: int

    def potential(self, moments: Float[Tensor, "N 3"], softening: float) -> Float[Tensor, "N"]:
        """At the points, of dipoles at the points: of a closed surface with moments of its outward normals times area, 4 pi inside."""
        return self._back(ops.dipole_potential(self.places, *self._arguments(moments, softening)))

    def charge_field(self, charges: Float[Tensor, "N"], softening: float) -> Float[Tensor, "N 3"]:
        """At the points, of charges at the points: the transpose of `potential`."""
        return self._back(ops.softened_charge_field(self.places, *self._arguments(charges[:, None], softening)))

    def field(self, moments: Float[Tensor, "N 3"], softening: float) -> Float[Tensor, "N 3"]:
        """The negative gradient of `potential`, at the points."""
        return self._back(ops.dipole_field(self.places, *self._arguments(moments, softening)))

    def _arguments(self, values: Tensor, softening: float) -> tuple[Tensor, Tensor, Tensor, float]:
        filled = torch.nn.functional.pad(values, (0, 0, 0, len(self.order) - self.point_count))[self.order]
        sums = filled.reshape(len(self.starts) - 1, -1, values.shape[1]).sum(1)
        levels = [sums]
        while len(sums) > 1:
            sums = sums.reshape(len(sums) // 2, 2, -1).sum(1)
            levels.append(sums)
        return torch.cat([*levels[::-1], filled]), self.starts, self.sources, softening

    def _back(self, found: Tensor) -> Tensor:
        return torch.empty_like(found).index_copy(0, self.order, found)[: self.point_count]


def build_dipole_tree(points: Float[Tensor, "N 3"]) -> DipoleTree:
    """The tree over N > 0 points.

    Raises:
        ArgumentError: shapes, NaN or infinity.
    """
    check_shape(points, ["N", 3], name="points", where="build_dipole_tree", finite=True)
    count = points.shape[0]
    depth = max(0, math.ceil(math.log2(max(count, 1) / _LEAF)))
    fill = -count % (1 << depth)
    points = torch.cat([points, points[:fill]]).contiguous()
    order = _sorted_blocks(points, depth)
    points = points[order].contiguous()
    blocks = [points.reshape(1 << level, -1, 3) for level in range(depth + 1)]
    centers = [block.mean(1) for block in blocks]
    radii = torch.cat([(block - center[:, None]).norm(dim=2).amax(1) for block, center in zip(blocks, centers)])
    centers = torch.cat(centers)
    starts, sources = ops.block_sources(centers, radii, _OPENING)
    return DipoleTree(order=order, places=torch.cat([centers, points]), starts=starts, sources=sources, point_count=count)


def _sorted_blocks(points: Tensor, depth: int) -> Tensor:
    """int64 [T], an order in which the 2^depth blocks of equal size, and the unions of successive ones, are compact."""
    order = torch.arange(points.shape[0])
    for level in range(depth):
        order = order.reshape(1 << level, -1)
        blocks = points[order]
        widest = (blocks.amax(1) - blocks.amin(1)).argmax(1)
        along = blocks.gather(2, widest[:, None, None].expand(-1, blocks.shape[1], 1))[:, :, 0]
        order = order.gather(1, along.argsort(dim=1, stable=True))
    return order.reshape(-1)


__all__ = ["DipoleTree", "build_dipole_tree"]
