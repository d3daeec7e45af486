"""Chamfer distance: how far two point sets are from each other, by the nearest neighbours in both directions.

Every set may be a tensor or, where it is the same in many calls, an index of it from `build_index`. In a batch each set is packed, with
offsets; the result is the mean over the clouds, and a cloud without points adds 0 from its side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import check_shape
from ..geometry.neighbors import Neighbors, nearest
from ..geometry.point_index import PointIndex, index_pair
from ..struct import TensorStruct
from .robust import Penalty, squared


@dataclass(frozen=True, kw_only=True)
class ChamferTerms(TensorStruct):
    """Two losses of one neighbour search, to be weighted by the caller.

    Attributes:
        distance: [], as chamfer_distance.
        normals: [], sum of both directions' mean 1 - |cosine| between normals of neighbours.
    """

    distance: Tensor
    normals: Tensor


def chamfer_distance(
    x: Float[Tensor, "N 3"] | PointIndex,
    y: Float[Tensor, "M 3"] | PointIndex,
    *,
    penalty: Penalty = squared,
    norm: int = 2,
    x_weights: Float[Tensor, "N"] | None = None,
    y_weights: Float[Tensor, "M"] | None = None,
    x_offsets: Int[Tensor, "B+1"] | None = None,
    y_offsets: Int[Tensor, "B+1"] | None = None,
) -> Float[Tensor, ""]:
    """Sum of both directions' mean penalties of the nearest-neighbour distances.

    Args:
        x, y: [N, 3] and [M, 3] points, or indices of them.
        penalty: function of squared distances: `squared`, `unsquared`, `huber(threshold)`, `cauchy(scale)`, ... of losses/robust.py.
        norm: 2 for Euclidean distances, 1 for sums of absolute differences (neighbours are then the nearest in that norm).
        x_weights, y_weights: [N], [M] not negative; means are weighted by them.
        x_offsets, y_offsets: int64 [B + 1] of packed batches; an index has its own.

    Returns:
        [] mean over the batch.

    Raises:
        ArgumentError: shapes, NaN, or a cloud that is empty on one side only.

    Gradient: x and y, almost everywhere (neighbours are held fixed); finite at distance zero. Source: Fan et al. 2017, eq. 1.
    """
    x, y = index_pair(x, y, x_offsets, y_offsets, names=("x", "y"), where="chamfer_distance", few=True)
    forward, backward = nearest(x, y, norm=norm), nearest(y, x, norm=norm)
    return _mean(penalty(forward.squared_distance), x, x_weights, "x_weights") + _mean(
        penalty(backward.squared_distance), y, y_weights, "y_weights"
    )


def one_sided_chamfer_distance(
    x: Float[Tensor, "N 3"] | PointIndex,
    y: Float[Tensor, "M 3"] | PointIndex,
    *,
    penalty: Penalty = squared,
    norm: int = 2,
    weights: Float[Tensor, "N"] | None = None,
    x_offsets: Int[Tensor, "B+1"] | None = None,
    y_offsets: Int[Tensor, "B+1"] | None = None,
) -> Float[Tensor, ""]:
    """Mean penalty of the distance from each x to its nearest y: for x that covers only a part of y.

    Args:
        x, y: [N, 3] and [M, 3] points, or indices of them.
        penalty, norm: as in chamfer_distance.
        weights: [N] not negative; the mean is weighted by them.
        x_offsets, y_offsets: int64 [B + 1] of packed batches; an index has its own.

    Returns:
        [] mean over the batch.

    Raises:
        ArgumentError: shapes, NaN, or a cloud with x but no y.

    Gradient: x and y, almost everywhere (neighbours are held fixed); finite at distance zero.
    """
    x, y = index_pair(x, y, x_offsets, y_offsets, names=("x", "y"), where="one_sided_chamfer_distance", few=True)
    return _mean(penalty(nearest(x, y, norm=norm).squared_distance), x, weights, "weights")


def chamfer_terms(
    x: Float[Tensor, "N 3"] | PointIndex,
    y: Float[Tensor, "M 3"] | PointIndex,
    x_normals: Float[Tensor, "N 3"],
    y_normals: Float[Tensor, "M 3"],
    *,
    penalty: Penalty = squared,
    norm: int = 2,
    x_weights: Float[Tensor, "N"] | None = None,
    y_weights: Float[Tensor, "M"] | None = None,
    x_offsets: Int[Tensor, "B+1"] | None = None,
    y_offsets: Int[Tensor, "B+1"] | None = None,
) -> ChamferTerms:
    """Chamfer distance and the disagreement of the neighbours' normals, whose orientation does not matter.

    Args:
        x, y: [N, 3] and [M, 3] points, or indices of them.
        x_normals, y_normals: [N, 3], [M, 3] unit vectors.
        penalty, norm: as in chamfer_distance.
        x_weights, y_weights: [N], [M] not negative; means are weighted by them.
        x_offsets, y_offsets: int64 [B + 1] of packed batches; an index has its own.

    Raises:
        ArgumentError: shapes, NaN, or a cloud that is empty on one side only.

    Gradient: x, y and normals, almost everywhere (neighbours are held fixed).
    """
    x, y = index_pair(x, y, x_offsets, y_offsets, names=("x", "y"), where="chamfer_terms", few=True)
    check_shape(x_normals, [x.point_count, 3], name="x_normals", where="chamfer_terms")
    check_shape(y_normals, [y.point_count, 3], name="y_normals", where="chamfer_terms")

    def sides(
        found: Neighbors, queries: PointIndex, own: Tensor, other: Tensor, weights: Tensor | None, name: str
    ) -> tuple[Tensor, Tensor]:
        disagreement = 1 - (own * other[found.index]).sum(1).abs()
        distance = _mean(penalty(found.squared_distance), queries, weights, name)
        return distance, _mean(disagreement, queries, weights, name)

    x_distance, x_normal = sides(nearest(x, y, norm=norm), x, x_normals, y_normals, x_weights, "x_weights")
    y_distance, y_normal = sides(nearest(y, x, norm=norm), y, y_normals, x_normals, y_weights, "y_weights")
    return ChamferTerms(distance=x_distance + y_distance, normals=x_normal + y_normal)


def _mean(values: Tensor, points: PointIndex, weights: Tensor | None, name: str) -> Tensor:
    """Mean over clouds of the (weighted) means in each; of an empty cloud, or one without weight, 0."""
    if weights is not None:
        check_shape(weights, [points.point_count], name=name, where="chamfer_distance")
    clouds = len(points.offsets) - 1
    if clouds == 1 and weights is None:
        return values.mean() if len(values) else values.sum()
    weight = torch.ones_like(values) if weights is None else weights
    owner = torch.repeat_interleave(torch.arange(clouds, device=values.device), points.offsets.diff())
    zero = values.new_zeros(clouds)
    total, mass = zero.index_add(0, owner, values * weight), zero.index_add(0, owner, weight)
    return torch.where(mass > 0, total / torch.where(mass > 0, mass, 1), 0).sum() / max(clouds, 1)
