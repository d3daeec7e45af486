"""Points with a search tree over them: made once, searched by every function of neighbours.

A tree takes about 3 ms for 100k points and stays right for as long as the points stay. Functions that take points or an index turn
either into an index here, which is also where their arguments are checked.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import ArgumentError, check_shape, describe
from ..ops.point_tree import build_point_tree
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
    if has_kernels(index.points):
        with suppress(ArgumentError):  # which says less than the check below
            return replace(index, tree=tuple(build_point_tree(in_space(index.points.detach()), index.offsets)))
    check_shape(index.points, ["N", "D"], name=name, where=where, finite=True)
    return index


def has_kernels(points: Tensor) -> bool:
    return points.is_cpu and 1 <= points.shape[1] <= 3 and points.dtype in (torch.float32, torch.float64)


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


def in_space(points: Tensor) -> Tensor:
    """Points of one to three dimensions as contiguous [N, 3], with zeros for what is missing."""
    if points.shape[1] < 3:
        points = torch.nn.functional.pad(points, (0, 3 - points.shape[1]))
    return points.contiguous()
