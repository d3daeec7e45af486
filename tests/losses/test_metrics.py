"""Surface metrics against their formulas and known shapes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from unproject.errors import ArgumentError
from unproject.geometry.mesh import make_mesh
from unproject.geometry.point_index import build_index
from unproject.losses.metrics import point_metrics, surface_metrics


def test_equals_the_formulas() -> None:
    random = np.random.default_rng(0)
    p, q = random.random((500, 3)), random.random((400, 3)) + np.array([0.1, 0, 0])
    n, m = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (random.normal(size=(500, 3)), random.normal(size=(400, 3))))
    a, i = cKDTree(q).query(p)
    b, j = cKDTree(p).query(q)
    x, y, u, v = (torch.from_numpy(t) for t in (p, q, n, m))
    found = point_metrics(x, build_index(y), threshold=0.05, result_normals=u, truth_normals=v, percentile=97.5)
    precision, recall = (a < 0.05).mean(), (b < 0.05).mean()
    assert found.chamfer == pytest.approx((a.mean() + b.mean()) / 2)
    assert found.accuracy == pytest.approx(a.mean())
    assert found.completeness == pytest.approx(b.mean())
    assert found.precision == pytest.approx(precision)
    assert found.recall == pytest.approx(recall)
    assert found.f_score == pytest.approx(2 * precision * recall / (precision + recall))
    assert found.normal_consistency == pytest.approx(0.5 * (np.abs((n * m[i]).sum(1)).mean() + np.abs((m * n[j]).sum(1)).mean()))
    assert found.hausdorff == pytest.approx(max(a.max(), b.max()))
    assert found.hausdorff_percentile == pytest.approx(np.percentile(np.concatenate([a, b]), 97.5))
    assert point_metrics(x, y, threshold=0.05).normal_consistency is None


def square(height: float) -> object:
    return make_mesh([[0.0, 0, height], [1, 0, height], [1, 1, height], [0, 1, height]], [[0, 1, 2], [0, 2, 3]])


def test_parallel_squares() -> None:
    found = surface_metrics(square(0.005), square(0.0), samples=20_000)
    assert found.threshold == pytest.approx(0.01)
    assert found.chamfer == pytest.approx(0.005, rel=0.35)
    assert found.chamfer >= 0.005
    assert found.normal_consistency == pytest.approx(1)
    assert found.f_score > 0.6
    far = surface_metrics(square(2.0), square(0.0), samples=1000)
    assert far.f_score == 0
    assert far.hausdorff == pytest.approx(2.0, rel=0.01)
    assert far == surface_metrics(square(2.0), square(0.0), samples=1000)


def test_missing_half_costs_recall_only() -> None:
    half = make_mesh([[0.0, 0, 0], [1, 0, 0], [1, 1, 0]], [[0, 1, 2]])
    found = surface_metrics(half, square(0.0), samples=50_000)
    assert found.precision > 0.999
    assert found.recall == pytest.approx(0.5 + 0.01 * math.sqrt(2), abs=0.01)
    assert found.completeness > 10 * found.accuracy


def test_errors() -> None:
    x = torch.rand(4, 3)
    with pytest.raises(ArgumentError, match="normals are needed of both sets or of none"):
        point_metrics(x, x, threshold=0.1, result_normals=x)
    with pytest.raises(ArgumentError, match="both sets need points, got 0 and 4"):
        point_metrics(x[:0], x, threshold=0.1)
    with pytest.raises(ArgumentError, match="`threshold` must be above 0"):
        point_metrics(x, x, threshold=0.0)
