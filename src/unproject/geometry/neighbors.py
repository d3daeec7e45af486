"""Neighbours among points: the nearest, the k nearest, all within a radius, and farthest-point samples.

One search tree per set of points, `PointIndex`, is built by `build_index` (about 3 ms for 100k points) and can be reused for as long as the
points stay; every function here takes one in place of a tensor. Answers are exact, equal distances go to the lower index, and they do
not depend on the number of threads. Batches are packed points with offsets [B + 1]; indices count in the packed target.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import ArgumentError, check_shape, describe
from ..ops import all_pairs as all_pairs_ops
from ..ops import farthest as farthest_ops
from ..ops import nearest as nearest_ops
from ..ops import radius as radius_ops
from ..ops.point_tree import build_point_tree
from ..reference import farthest as farthest_reference
from ..reference import nearest as reference
from ..struct import TensorStruct
from .bvh import check_offsets


@dataclass(frozen=True, kw_only=True)
class PointIndex(TensorStruct):
    """Points and the search tree over them. Make one with `build_index`.

    Attributes:
        points: [N, D], as given; gradients flow into them.
        offsets: int64 [B + 1] of the clouds in `points`.
        tree: what the operators search: leaf points, leaf ids, boxes, lowest ids, leaf offsets. Empty where there is no kernel (another
            device than the CPU, more than three dimensions); then search is by brute force.
    """

    points: Tensor
    offsets: Tensor
    tree: tuple[Tensor, ...]

    @property
    def point_count(self) -> int:
        return self.points.shape[0]

    def __getitem__(self, index: object) -> PointIndex:
        raise ArgumentError("PointIndex: a part of an index is not an index; call build_index on the part of the points")


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


def build_index(points: Float[Tensor, "N D"], offsets: Int[Tensor, "B+1"] | None = None) -> PointIndex:
    """The search structure of a set of points, for use in place of it in nearest, knn, radius_search and ball_query.

    Args:
        points: [N, D] finite points; for D up to 3 on the CPU a k-d tree is built.
        offsets: int64 [B + 1] where each cloud of a packed batch begins; None for one cloud.

    Raises:
        ArgumentError: shapes, NaN or infinity.
    """
    return index_of(points, offsets, name="points", where="build_index")


def index_of(points: Tensor | PointIndex, offsets: Tensor | None, *, name: str, where: str) -> PointIndex:
    """An index as it is, or that of an argument which error messages call `name` of `where`: for functions that take either.

    Raises:
        ArgumentError: shapes, NaN or infinity, offsets beside an index.
    """
    return _with_tree(_without_tree(points, offsets, name=name, where=where), name=name, where=where)


def _without_tree(points: Tensor | PointIndex, offsets: Tensor | None, *, name: str, where: str) -> PointIndex:
    """An index as it is; of points one that has no tree yet, and whose values are not checked yet."""
    offsets_name = "offsets" if name == "points" else f"{name}_offsets"
    if isinstance(points, PointIndex):
        if offsets is not None:
            raise ArgumentError(f"{where}: `{name}` is an index and has offsets of its own; leave `{offsets_name}` out")
        return points
    check_shape(points, ["N", "D"], name=name, where=where)
    offsets = check_offsets(offsets, points.shape[0], name=offsets_name, where=where, device=points.device)
    return PointIndex(points=points, offsets=offsets, tree=())


def _with_tree(index: PointIndex, *, name: str, where: str) -> PointIndex:
    """The index with a tree where there are kernels. Refuses NaN and infinity."""
    if index.tree:
        return index
    if _has_kernels(index.points):
        with suppress(ArgumentError):  # which says less than the check below
            return replace(index, tree=tuple(build_point_tree(_in_space(index.points.detach()), index.offsets)))
    check_shape(index.points, ["N", "D"], name=name, where=where, finite=True)
    return index


def _has_kernels(points: Tensor) -> bool:
    return points.is_cpu and 1 <= points.shape[1] <= 3 and points.dtype in (torch.float32, torch.float64)


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
        search: Callable[..., tuple[Tensor, Tensor]] = all_pairs_ops.nearest_of_all if _has_kernels(queries.points) else reference.nearest
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
            all_pairs_ops.k_nearest_of_all if _has_kernels(queries.points) else reference.k_nearest
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
    return farthest_ops.farthest_points(_in_space(index.points.detach()), leaf_points, ids, boxes, leaf_offsets, starts, k)


def _check_radius(radius: float, *, where: str) -> None:
    if not 0 <= radius < float("inf"):
        raise ArgumentError(f"{where}: `radius` must be finite and not negative, got {radius}")


def _offsets_of(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def index_pair(
    query: Tensor | PointIndex,
    target: Tensor | PointIndex,
    query_offsets: Tensor | None,
    target_offsets: Tensor | None,
    *,
    where: str,
    names: tuple[str, str] = ("query", "target"),
    few: bool = False,
) -> tuple[PointIndex, PointIndex]:
    """Indices of arguments that error messages call `names` of `where`: for functions that take points or indices.

    Args:
        few: whether so few points may go without trees that to compare all of them takes less time. `nearest` and `knn` can do so.

    Raises:
        ArgumentError: shapes, NaN or infinity, offsets beside an index, dimensions, types or numbers of clouds that differ.
    """
    query_name, target_name = names
    targets = _without_tree(target, target_offsets, name=target_name, where=where)
    shared = query is target and (query_offsets is None or query_offsets is target_offsets)
    queries = targets if shared else _without_tree(query, query_offsets, name=query_name, where=where)
    a, b = queries.points, targets.points
    if a.shape[1] != b.shape[1] or a.dtype != b.dtype or a.device != b.device:
        raise ArgumentError(
            f"{where}: `{query_name}` and `{target_name}` must have the same dimension, type and device, "
            f"got {describe(a)} on {a.device} and {describe(b)} on {b.device}"
        )
    if queries.offsets.shape != targets.offsets.shape:
        raise ArgumentError(
            f"{where}: `{query_name}` and `{target_name}` must have as many clouds, "
            f"got {len(queries.offsets) - 1} and {len(targets.offsets) - 1}"
        )
    if few and not (queries.tree and targets.tree) and _are_few(queries, targets):
        for index, name in ((queries, query_name), (targets, target_name)):
            check_shape(index.points, ["N", "D"], name=name, where=where, finite=not index.tree)
        return queries, targets
    targets = _with_tree(targets, name=target_name, where=where)
    return targets if shared else _with_tree(queries, name=query_name, where=where), targets


def _are_few(queries: PointIndex, targets: PointIndex) -> bool:
    """Whether to compare all pairs, a sixth of a nanosecond each, takes less time than to build trees and to search them.

    These take about 0.15 ms for any number of points, which are 2^20 pairs on one thread and twice as many on two, and 80 ns a point.
    """
    pairs = queries.point_count * targets.point_count
    if len(targets.offsets) != 2:
        pairs = int(queries.offsets.diff() @ targets.offsets.diff())
    return pairs <= (1 << 21) + 512 * (queries.point_count + targets.point_count)


def _check_counts(queries: PointIndex, targets: PointIndex, least: int, *, where: str) -> None:
    if len(targets.offsets) == 2:
        if queries.point_count > 0 and targets.point_count < least:
            raise ArgumentError(f"{where}: {least} targets are needed, `target` has {targets.point_count}")
        return
    lacking = (queries.offsets.diff() > 0) & (targets.offsets.diff() < least)
    if bool(lacking.any()):
        cloud = int(lacking.nonzero()[0])
        raise ArgumentError(f"{where}: {least} targets are needed, cloud {cloud} of `target` has {int(targets.offsets.diff()[cloud])}")


def _in_space(points: Tensor) -> Tensor:
    """Points of one to three dimensions as contiguous [N, 3], with zeros for what is missing."""
    if points.shape[1] < 3:
        points = torch.nn.functional.pad(points, (0, 3 - points.shape[1]))
    return points.contiguous()


def _op_arguments(queries: PointIndex, targets: PointIndex) -> tuple[Tensor, ...]:
    query_points, query_ids, _, _, query_leaf_offsets = queries.tree
    return _in_space(queries.points), _in_space(targets.points), query_points, query_ids, query_leaf_offsets, *targets.tree


def _pair_arguments(queries: PointIndex, targets: PointIndex) -> tuple[Tensor, ...]:
    points = (queries.points, targets.points)
    if _has_kernels(queries.points):
        points = (_in_space(queries.points), _in_space(targets.points))
    return *points, queries.offsets, targets.offsets
