"""The surface around each point of a cloud, by principal component analysis of its neighbourhood: normals and how flat it is there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..ops import pca as ops
from ..reference import pca as reference
from ..struct import TensorStruct
from .neighbors import Neighbors, RaggedNeighbors, knn, radius_search
from .point_index import PointIndex, build_index, index_of

_SIZES = (24, 48, 96, 192)  # of neighbourhoods, smallest first
_FLAT = 0.01  # surface variation that needs no larger neighbourhood: scatter of a tenth of its width
_LARGE, _MOST = 100_000, 48  # of more points, large neighbourhoods are thinned to this many
_CHUNK = 1 << 17  # points at once, for memory


@dataclass(frozen=True, kw_only=True)
class LocalPca(TensorStruct):
    """Mean and covariance of each neighbourhood, by principal axes.

    Attributes:
        mean: [N, 3].
        eigenvalues: [N, 3] variances along the axes, ascending, never negative; squared scene units.
        axes: [N, 3, 3], axes[i, j] is the unit direction of eigenvalues[i, j], with its largest component positive.
    """

    mean: Tensor
    eigenvalues: Tensor
    axes: Tensor


@dataclass(frozen=True, kw_only=True)
class PointNormals(TensorStruct):
    """Normals of a point cloud, not oriented.

    Attributes:
        normals: [N, 3] unit vectors, each one or the other of the two directions.
        variation: [N] surface variation: the share of the variance along the normal, 0 on a plane or line, 1/3 where there is no surface.
    """

    normals: Tensor
    variation: Tensor


def estimate_normals(
    points: Float[Tensor, "N 3"] | PointIndex,
    *,
    k: int = 16,
    radius: float | None = None,
    offsets: Int[Tensor, "B+1"] | None = None,
) -> PointNormals:
    """Unoriented normals: the direction in which each point's neighbourhood is thinnest.

    Args:
        points: [N, 3] points or an index of them.
        k: size of a neighbourhood, the point itself included; of fewer points, all.
        radius: neighbourhoods are what lies within it instead of the k nearest; in scene units.
        offsets: int64 [B + 1] of a packed batch. Not with an index, which has its own.

    Returns:
        PointNormals. Where the neighbours do not span a plane (fewer than three, or in a line), any direction across them.

    Raises:
        ArgumentError: shapes, NaN, k or radius out of range.

    Gradient: none.
    Source: Hoppe et al. 1992, section 3.2; surface variation: Pauly et al. 2002, section 3.
    """
    index = index_of(points, offsets, name="points", where="estimate_normals")
    if radius is not None:
        result = local_pca(index.points, radius_search(index, index, radius))
    else:
        sizes = index.offsets.diff()
        smallest = int(sizes[sizes > 0].min()) if bool((sizes > 0).any()) else k
        result = local_pca(index.points, knn(index, index, min(k, smallest)))
    return PointNormals(normals=result.axes[:, 0].contiguous(), variation=_variation(result))


def adaptive_normals(points: Float[Tensor, "N 3"]) -> PointNormals:
    """Unoriented normals from neighbourhoods as large as the noise asks for, at each point.

    A neighbourhood hardly wider than the scatter of the points is as thick as it is wide, and its thinnest direction is chance. So it
    grows as long as that makes it flatter in proportion, which ends where the surface bends or another sheet comes in. Of more than
    100,000 points, neighbourhoods of more than 48 are thinned to that many, evenly in the order of the points.

    Args:
        points: [N, 3].

    Returns:
        PointNormals, with the variation in the neighbourhood chosen.

    Raises:
        ArgumentError: shapes or NaN.

    Gradient: none.
    Source: the balance of noise and curvature: Mitra and Nguyen 2003; surface variation over scales: Pauly et al. 2003.
    """
    check_shape(points, ["N", 3], name="points", where="adaptive_normals", finite=True)
    if points.shape[0] == 0:
        return PointNormals(normals=points.detach().clone(), variation=points.new_zeros(0))
    points = points.detach()
    most = _MOST if points.shape[0] > _LARGE else _SIZES[-1]
    thinned = [max(1, size // most) for size in _SIZES]
    indices = {thin: build_index(points[::thin]) for thin in set(thinned)}
    searches = [(size // thin, indices[thin]) for size, thin in zip(_SIZES, thinned)]
    chunks = [_flattest(chunk, searches) for chunk in points.split(_CHUNK)]
    return PointNormals(normals=torch.cat([c.normals for c in chunks]), variation=torch.cat([c.variation for c in chunks]))


def _flattest(points: Tensor, searches: list[tuple[int, PointIndex]]) -> PointNormals:
    normals, variation = torch.zeros_like(points), torch.full_like(points[:, 0], torch.inf)
    growing = torch.arange(points.shape[0], device=points.device)
    for size, index in searches:
        pca = local_pca(index.points, knn(points[growing], index, min(size, index.point_count)))
        found = _variation(pca)
        flatter = found < variation[growing]
        growing = growing[flatter]
        normals[growing], variation[growing] = pca.axes[flatter, 0], found[flatter]
        growing = growing[variation[growing] > _FLAT]
        if len(growing) == 0 or size >= index.point_count:
            break
    return PointNormals(normals=normals, variation=variation)


def _variation(pca: LocalPca) -> Tensor:
    total = pca.eigenvalues.sum(1)
    return torch.where(total > 0, pca.eigenvalues[:, 0] / total.where(total > 0, 1), 0)


def local_pca(points: Float[Tensor, "N 3"], neighbors: Neighbors | RaggedNeighbors) -> LocalPca:
    """Principal axes of neighbourhoods that a search has found.

    Args:
        points: [N, 3], what the search had for a target.
        neighbors: of Q queries, from knn or radius_search.

    Returns:
        LocalPca of Q entries; zero eigenvalues and mean for a query without neighbours.

    Raises:
        ArgumentError: shapes.

    Gradient: none.
    """
    check_shape(points, ["N", 3], name="points", where="local_pca")
    if isinstance(neighbors, RaggedNeighbors):
        offsets = neighbors.offsets
    elif neighbors.index.dim() == 2:
        count, k = neighbors.index.shape
        offsets = torch.arange(count + 1, device=points.device) * k
    else:
        raise ArgumentError("local_pca: `neighbors` must come from knn or radius_search, got one neighbour a query")
    operator = ops.neighborhood_pca if points.device.type == "cpu" else reference.neighborhood_pca
    mean, eigenvalues, axes = operator(points.detach().contiguous(), neighbors.index.reshape(-1), offsets)
    return LocalPca(mean=mean, eigenvalues=eigenvalues, axes=axes)
