"""Neighbours among points: the nearest, the k nearest, all within a radius, and farthest-point samples.

Every function takes a `PointIndex`, made by `build_index`, in place of a tensor. Answers are exact, equal distances go to the lower index,
and they do not depend on the number of threads. Batches are packed points with offsets [B + 1]; indices count in the packed target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import ArgumentError
from ..ops import all_pairs as all_pairs_ops
from ..ops import farthest as farthest_ops
from ..ops import nearest as nearest_ops
from ..ops import radius as radius_ops
from ..reference import farthest as farthest_reference
from ..reference import nearest as reference
from ..struct import TensorStruct
from .point_index import PointIndex, has_kernels, in_space, index_of, index_pair


@dataclass(frozen=True, kw_only=True)
class Neighbors(TensorStruct):
    """Neighbours of each query.

    Attributes:
        squared_distance: [Q] or [Q, K], ascending along K; differentiable.
        index: int64 [Q] or [Q, K], into the packed target.
    """

    squared_distance: Tensor
    index: Tensor


@dataclass(frozen=True, kw_only=True)
class RaggedNeighbors(TensorStruct):
    """As many neighbours of each query as there are: those of query q are entries offsets[q] to offsets[q + 1].

    Attributes:
        squared_distance: [M]; differentiable.
        index: int64 [M], into the packed target.
        query: int64 [M], the query that each entry belongs to.
        offsets: int64 [Q + 1].
    """

    squared_distance: Tensor
    index: Tensor
    query: Tensor
    offsets: Tensor

    def __getitem__(self, index: object) -> RaggedNeighbors:
        raise ArgumentError("RaggedNeighbors: select entries by `offsets`, they are not one a query")


def nearest(
    query: Float[Tensor, "Q D"] | PointIndex,
    target: Float[Tensor, "N D"] | PointIndex,
    *,
    norm: int = 2,
    query_offsets: Int[Tensor, "B+1"] | None = None,
    target_offsets: Int[Tensor, "B+1"] | None = None,
) -> Neighbors:
    """The nearest target of each query.

    Args:
        query: [Q, D] points. An index of them makes queries in several calls cheaper: it holds them in a good order.
        target: [N, D] points or an index of them.
        norm: 2 for Euclidean distances, 1 for sums of absolute differences.
        query_offsets, target_offsets: int64 [B + 1]; queries of cloud b search in target cloud b. Only with tensors; an index has its own.

    Returns:
        Neighbors with squared_distance [Q] and index [Q].

    Raises:
        ArgumentError: shapes, NaN, another norm, or queries in a cloud without targets.

    Gradient: of squared_distance to query and target, with the index held fixed; zero, not NaN, at distance zero.
    """
    queries, targets = index_pair(query, target, query_offsets, target_offsets, where="nearest", few=True)
    _check_counts(queries, targets, 1, where="nearest")
    if norm not in (1, 2):
        raise ArgumentError(f"nearest: `norm` must be 1 or 2, got {norm!r}")
    if queries.tree and targets.tree:
        distance, index = nearest_ops.nearest(*_op_arguments(queries, targets), norm == 1)
    else:
        search: Callable[..., tuple[Tensor, Tensor]] = all_pairs_ops.nearest_of_all if has_kernels(queries.points) else reference.nearest
        distance, index = search(*_pair_arguments(queries, targets), norm == 1)
    return Neighbors(squared_distance=distance.square() if norm == 1 else distance, index=index)


def knn(
    query: Float[Tensor, "Q D"] | PointIndex,
    target: Float[Tensor, "N D"] | PointIndex,
    k: int,
    *,
    exclude_self: bool = False,
    query_offsets: Int[Tensor, "B+1"] | None = None,
    target_offsets: Int[Tensor, "B+1"] | None = None,
) -> Neighbors:
    """The k nearest targets of each query, nearest first.

    Args:
        query: [Q, D] points or an index of them. The same object as `target` costs one tree instead of two.
        target: [N, D] points or an index of them.
        k: at least 1.
        exclude_self: leave out target i for query i; for neighbours within one set of points.
        query_offsets, target_offsets: int64 [B + 1]; queries of cloud b search in target cloud b. Only with tensors; an index has its own.

    Returns:
        Neighbors with squared_distance [Q, k] and index [Q, k].

    Raises:
        ArgumentError: shapes, NaN, or a cloud with queries that has fewer than k targets (k + 1 with exclude_self).

    Gradient: of squared_distance to query and target, with the indices held fixed.
    """
    queries, targets = index_pair(query, target, query_offsets, target_offsets, where="knn", few=True)
    if k < 1:
        raise ArgumentError(f"knn: `k` must be at least 1, got {k}")
    if exclude_self and queries.point_count != targets.point_count:
        raise ArgumentError(
            f"knn: `exclude_self` is for one set of points, got {queries.point_count} queries and {targets.point_count} targets"
        )
    _check_counts(queries, targets, k + int(exclude_self), where="knn")
    if k == 1 and not exclude_self:
        found = nearest(queries, targets)
        return Neighbors(squared_distance=found.squared_distance.unsqueeze(1), index=found.index.unsqueeze(1))
    if queries.tree and targets.tree:
        squared_distance, index = nearest_ops.k_nearest(*_op_arguments(queries, targets), k, exclude_self)
    else:
        search: Callable[..., tuple[Tensor, Tensor]] = (
            all_pairs_ops.k_nearest_of_all if has_kernels(queries.points) else reference.k_nearest
        )
        squared_distance, index = search(*_pair_arguments(queries, targets), k, exclude_self)
    return Neighbors(squared_distance=squared_distance, index=index)


def radius_search(
    query: Float[Tensor, "Q D"] | PointIndex,
    target: Float[Tensor, "N D"] | PointIndex,
    radius: float,
    *,
    query_offsets: Int[Tensor, "B+1"] | None = None,
    target_offsets: Int[Tensor, "B+1"] | None = None,
) -> RaggedNeighbors:
    """All targets within a radius of each query, however many; the query itself too where it is a target.

    Args:
        query: [Q, D] points or an index of them. The same object as `target` costs one tree instead of two.
        target: [N, D] points or an index of them.
        radius: in scene units, inclusive.
        query_offsets, target_offsets: int64 [B + 1]; queries of cloud b search in target cloud b. Only with tensors; an index has its own.

    Returns:
        RaggedNeighbors; the order within a query is repeatable but not sorted.

    Raises:
        ArgumentError: shapes, NaN, a radius that is negative or not finite.

    Gradient: of squared_distance to query and target, with the indices held fixed.
    """
    queries, targets = index_pair(query, target, query_offsets, target_offsets, where="radius_search")
    _check_radius(radius, where="radius_search")
    if not (queries.tree and targets.tree):
        owner, index = reference.radius_pairs(queries.points, targets.points, radius, queries.offsets, targets.offsets)
        offsets = _offsets_of(torch.bincount(owner, minlength=queries.point_count))
        squared_distance = reference.pair_squared_distance(queries.points[owner], targets.points, index)
    else:
        arguments = _op_arguments(queries, targets)
        offsets = _offsets_of(radius_ops.radius_count(arguments[0].detach(), *arguments[2:], radius * radius))
        squared_distance, index, owner = radius_ops.radius_fill(*arguments, radius * radius, offsets, int(offsets[-1]))
    return RaggedNeighbors(squared_distance=squared_distance, index=index, query=owner, offsets=offsets)


def ball_query(
    query: Float[Tensor, "Q D"] | PointIndex,
    target: Float[Tensor, "N D"] | PointIndex,
    radius: float,
    k: int,
    *,
    query_offsets: Int[Tensor, "B+1"] | None = None,
    target_offsets: Int[Tensor, "B+1"] | None = None,
) -> Neighbors:
    """Up to k targets within a radius of each query: the first by index, not the nearest, as PointNet++ groups points.

    Args:
        query: [Q, D] points or an index of them. The same object as `target` costs one tree instead of two.
        target: [N, D] points or an index of them.
        radius: in scene units, inclusive.
        k: at least 1.
        query_offsets, target_offsets: int64 [B + 1]; queries of cloud b search in target cloud b. Only with tensors; an index has its own.

    Returns:
        Neighbors with squared_distance [Q, k] and index [Q, k], by ascending index; where there are fewer, index is -1 and the distance 0.

    Raises:
        ArgumentError: shapes, NaN, a radius that is negative or not finite.

    Gradient: of squared_distance to query and target, with the indices held fixed.
    Source: Qi et al. 2017, PointNet++, section 3.2.
    """
    queries, targets = index_pair(query, target, query_offsets, target_offsets, where="ball_query")
    _check_radius(radius, where="ball_query")
    if k < 1:
        raise ArgumentError(f"ball_query: `k` must be at least 1, got {k}")
    if not (queries.tree and targets.tree):
        result = reference.first_in_radius(queries.points, targets.points, radius, k, queries.offsets, targets.offsets)
    else:
        result = radius_ops.ball_query(*_op_arguments(queries, targets), radius * radius, k)
    squared_distance, index = result
    return Neighbors(squared_distance=squared_distance, index=index)


def farthest_points(
    points: Float[Tensor, "N D"] | PointIndex,
    k: int,
    *,
    start: int | Int[Tensor, "B"] = 0,
    offsets: Int[Tensor, "B+1"] | None = None,
) -> Int[Tensor, "B*k"]:
    """Farthest-point samples: each is the point farthest from those chosen before it. Exact, no point twice.

    Args:
        points: [N, D] points or an index of them.
        k: samples of each cloud.
        start: the first sample of every cloud, counted within the cloud; or [B], one for each.
        offsets: int64 [B + 1] of a packed batch. Not with an index, which has its own.

    Returns:
        int64 [B * k], indices into the packed points, cloud after cloud, in the order of choice.

    Raises:
        ArgumentError: shapes, NaN, a cloud with fewer than k points, a start outside of its cloud.

    Gradient: none. Source: Eldar et al. 1997; Gonzalez 1985 (within twice of the best cover).
    """
    index = index_of(points, offsets, name="points", where="farthest_points")
    sizes = index.offsets.diff()
    smallest = int(sizes.min()) if len(sizes) else k
    if not 0 <= k <= smallest:
        raise ArgumentError(f"farthest_points: `k` must lie in 0 to {smallest}, the size of the smallest cloud, got {k}")
    starts = torch.as_tensor(start, dtype=torch.int64, device=sizes.device).expand(sizes.shape)
    if k > 0 and bool(((starts < 0) | (starts >= sizes)).any()):
        raise ArgumentError(f"farthest_points: `start` must lie within its cloud, got {start} for sizes {sizes.tolist()[:8]}")
    starts = index.offsets[:-1] + starts
    if not index.tree:
        return farthest_reference.farthest_points(index.points, index.offsets, starts, k)
    leaf_points, ids, boxes, _, leaf_offsets = index.tree
    return farthest_ops.farthest_points(in_space(index.points.detach()), leaf_points, ids, boxes, leaf_offsets, starts, k)


def _check_radius(radius: float, *, where: str) -> None:
    if not 0 <= radius < float("inf"):
        raise ArgumentError(f"{where}: `radius` must be finite and not negative, got {radius}")


def _offsets_of(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _check_counts(queries: PointIndex, targets: PointIndex, least: int, *, where: str) -> None:
    if len(targets.offsets) == 2:
        if queries.point_count > 0 and targets.point_count < least:
            raise ArgumentError(f"{where}: {least} targets are needed, `target` has {targets.point_count}")
        return
    lacking = (queries.offsets.diff() > 0) & (targets.offsets.diff() < least)
    if bool(lacking.any()):
        cloud = int(lacking.nonzero()[0])
        raise ArgumentError(f"{where}: {least} targets are needed, cloud {cloud} of `target` has {int(targets.offsets.diff()[cloud])}")


def _op_arguments(queries: PointIndex, targets: PointIndex) -> tuple[Tensor, ...]:
    query_points, query_ids, _, _, query_leaf_offsets = queries.tree
    return in_space(queries.points), in_space(targets.points), query_points, query_ids, query_leaf_offsets, *targets.tree


def _pair_arguments(queries: PointIndex, targets: PointIndex) -> tuple[Tensor, ...]:
    points = (queries.points, targets.points)
    if has_kernels(queries.points):
        points = (in_space(queries.points), in_space(targets.points))
    return *points, queries.offsets, targets.offsets
