"""How well a surface is recovered: Chamfer, F-score, normal consistency and Hausdorff distance between samples of two surfaces."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..geometry.mesh import Mesh
from ..geometry.neighbors import nearest
from ..geometry.normals import face_normals
from ..geometry.point_index import PointIndex, build_index
from ..geometry.sample import sample_surface


@dataclass(frozen=True, kw_only=True)
class SurfaceMetrics:
    """Distances between a result and the truth, in scene units, and shares in [0, 1].

    Attributes:
        chamfer: mean of both directions' mean distances (the field's L1 Chamfer).
        accuracy: mean distance from the result to the truth.
        completeness: mean distance from the truth to the result.
        precision: share of the result closer than `threshold` to the truth.
        recall: share of the truth closer than `threshold` to the result.
        f_score: harmonic mean of precision and recall.
        normal_consistency: mean of both directions' mean |cosine| between normals of neighbours; None without normals.
        hausdorff: the largest distance of both directions.
        hausdorff_percentile: the `percentile`-th percentile of the distances of both directions together: Hausdorff without stray samples.
        threshold: tau of the F-score.
        percentile: in (0, 100].
    """

    chamfer: float
    accuracy: float
    completeness: float
    precision: float
    recall: float
    f_score: float
    normal_consistency: float | None
    hausdorff: float
    hausdorff_percentile: float
    threshold: float
    percentile: float


def surface_metrics(
    result: Mesh, truth: Mesh, *, threshold: float | None = None, samples: int = 100_000, percentile: float = 99.9, seed: int = 0
) -> SurfaceMetrics:
    """Compare two meshes by points sampled uniformly by area on each, with the faces' normals.

    Args:
        result, truth: meshes in the same frame.
        threshold: tau of the F-score, in scene units; None for 1 % of the longest box side of the truth.
        samples: points on each mesh.
        percentile: of the robust Hausdorff distance.
        seed: of the samples.

    Raises:
        DataError: a mesh without area.
    """
    generator = torch.Generator(device=result.vertices.device).manual_seed(seed)
    with torch.no_grad():
        x, y = sample_surface(result, samples, generator=generator), sample_surface(truth, samples, generator=generator)
        if threshold is None:
            corners = truth.vertices[truth.faces.flatten()]
            threshold = 0.01 * float((corners.amax(0) - corners.amin(0)).max())
        return point_metrics(
            x.positions,
            y.positions,
            threshold=threshold,
            result_normals=face_normals(result.vertices, result.faces)[x.faces],
            truth_normals=face_normals(truth.vertices, truth.faces)[y.faces],
            percentile=percentile,
        )


def point_metrics(
    result: Float[Tensor, "N 3"] | PointIndex,
    truth: Float[Tensor, "M 3"] | PointIndex,
    *,
    threshold: float,
    result_normals: Float[Tensor, "N 3"] | None = None,
    truth_normals: Float[Tensor, "M 3"] | None = None,
    percentile: float = 99.9,
) -> SurfaceMetrics:
    """Compare samples of two surfaces.

    Args:
        result, truth: [N, 3] and [M, 3] points, evenly sampled; or indices of them.
        threshold: tau of the F-score, in scene units; 1 % of the longest box side is customary.
        result_normals, truth_normals: unit vectors, both or none; their orientation does not matter.
        percentile: of the robust Hausdorff distance.

    Raises:
        ArgumentError: shapes, NaN, an empty set, only one set of normals.

    Source: Knapitsch et al. 2017 (F-score); Mescheder et al. 2019 (normal consistency); Peng et al. 2021 (protocol).
    """
    if (result_normals is None) != (truth_normals is None):
        raise ArgumentError("point_metrics: normals are needed of both sets or of none")
    if not (threshold > 0 and 0 < percentile <= 100):
        raise ArgumentError(f"point_metrics: `threshold` must be above 0 and `percentile` in (0, 100], got {threshold} and {percentile}")
    with torch.no_grad():
        x, y = (points if isinstance(points, PointIndex) else build_index(points) for points in (result, truth))
        if x.point_count == 0 or y.point_count == 0:
            raise ArgumentError(f"point_metrics: both sets need points, got {x.point_count} and {y.point_count}")
        forward, backward = nearest(x, y), nearest(y, x)
        there, back = forward.squared_distance.double().sqrt(), backward.squared_distance.double().sqrt()
        consistency = None
        if result_normals is not None and truth_normals is not None:
            check_shape(result_normals, [x.point_count, 3], name="result_normals", where="point_metrics")
            check_shape(truth_normals, [y.point_count, 3], name="truth_normals", where="point_metrics")
            cosine = (
                _mean_cosine(result_normals, truth_normals, forward.index),
                _mean_cosine(truth_normals, result_normals, backward.index),
            )
            consistency = sum(cosine) / 2
        precision, recall = float((there < threshold).double().mean()), float((back < threshold).double().mean())
        both = torch.cat([there, back])
        return SurfaceMetrics(
            chamfer=0.5 * float(there.mean() + back.mean()),
            accuracy=float(there.mean()),
            completeness=float(back.mean()),
            precision=precision,
            recall=recall,
            f_score=2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0,
            normal_consistency=consistency,
            hausdorff=float(both.max()),
            hausdorff_percentile=_percentile(both, percentile),
            threshold=float(threshold),
            percentile=float(percentile),
        )


def _mean_cosine(normals: Tensor, others: Tensor, index: Tensor) -> float:
    return float((normals * others[index]).sum(1).abs().double().mean())


def _percentile(values: Tensor, percentile: float) -> float:
    """Linear between the two nearest ranks, as numpy.percentile; torch.quantile refuses large inputs."""
    place = percentile / 100 * (len(values) - 1)
    low = int(place)
    lower = values.kthvalue(low + 1).values
    upper = values.kthvalue(min(low + 2, len(values))).values
    return float(lower + (place - low) * (upper - lower))
