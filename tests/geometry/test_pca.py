"""Local PCA against numpy's eigh, and what normals come out of planes, lines, spheres and heaps of equal points."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unproject.errors import ArgumentError
from unproject.geometry.neighbors import RaggedNeighbors, knn, nearest, radius_search
from unproject.geometry.pca import adaptive_normals, estimate_normals, local_pca
from unproject.geometry.point_index import build_index
from unproject.reference import pca as reference


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float64, 1e-11)])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_equals_eigh(dtype: torch.dtype, tolerance: float, offset: float) -> None:
    random = torch.Generator().manual_seed(0)
    points = (torch.randn(300, 3, dtype=torch.float64, generator=random) * torch.tensor([3.0, 1.0, 0.3]) + offset).to(dtype)
    found = knn(points, points, 14)
    pca = local_pca(points, found)
    for i in range(0, 300, 17):
        rows = points[found.index[i]].double().numpy()
        values, vectors = np.linalg.eigh(np.cov(rows.T, bias=True))
        assert np.allclose(pca.eigenvalues[i].double(), values, atol=tolerance * values[-1])
        assert np.allclose(np.abs((pca.axes[i].double().numpy() * vectors.T).sum(1)), 1, atol=tolerance)
        assert np.allclose(pca.mean[i].double(), rows.mean(0), atol=tolerance * max(1, offset))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_reference(dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(1)
    points = torch.rand(200, 3, dtype=dtype, generator=random)
    found = radius_search(points, points, 0.25)
    pca = local_pca(points, found)
    mean, eigenvalues, axes = reference.neighborhood_pca(points, found.index, found.offsets)
    torch.testing.assert_close(pca.mean, mean)
    torch.testing.assert_close(pca.eigenvalues, eigenvalues)
    generic = (eigenvalues.diff(dim=1) > 0.01 * eigenvalues[:, 2:]).all(1)
    assert int(generic.sum()) > 150
    torch.testing.assert_close(pca.axes[generic], axes[generic], rtol=1e-3, atol=1e-3)


def test_axes_are_orthonormal_for_any_spread() -> None:
    random = torch.Generator().manual_seed(2)
    points = torch.randn(400, 3, dtype=torch.float64, generator=random) * torch.tensor([1.0, 1e-4, 1e-9], dtype=torch.float64)
    pca = local_pca(points, knn(points, points, 20))
    torch.testing.assert_close(pca.axes @ pca.axes.transpose(1, 2), torch.eye(3, dtype=torch.float64).expand(400, 3, 3), rtol=0, atol=1e-12)
    assert bool((pca.eigenvalues.diff(dim=1) >= 0).all())
    assert bool((pca.eigenvalues >= 0).all())


def test_normals_of_a_sphere() -> None:
    points = torch.nn.functional.normalize(torch.randn(4000, 3, generator=torch.Generator().manual_seed(3)), dim=1)
    for found in (estimate_normals(points, k=12), estimate_normals(build_index(points + 100), radius=0.12)):
        assert float((found.normals * points).sum(1).abs().mean()) > 0.998
        assert float(found.variation.max()) < 0.02


def test_variation_tells_a_plane_from_a_ball() -> None:
    random = torch.Generator().manual_seed(4)
    ball, flat = torch.randn(200, 3, generator=random), torch.randn(200, 3, generator=random) * torch.tensor([1.0, 1.0, 0.0])
    result = estimate_normals(torch.cat([ball, flat]), k=200, offsets=torch.tensor([0, 200, 400]))
    assert float(result.variation[:200].min()) > 0.2
    assert float(result.variation[200:].max()) < 1e-6
    torch.testing.assert_close(result.normals[200:], torch.tensor([0.0, 0.0, 1.0]).expand(200, 3))


@pytest.mark.parametrize(
    "points",
    [
        torch.zeros(5, 3),
        torch.ones(1, 3),
        torch.arange(6.0)[:, None] * torch.tensor([[1.0, -2.0, 0.5]]),
        torch.tensor([[0.0] * 3, [1e-30] * 3]),
    ],
    ids=["same", "single", "line", "tiny"],
)
def test_degenerate_neighbourhoods_give_unit_normals_and_no_variation(points: torch.Tensor) -> None:
    result = estimate_normals(points)
    torch.testing.assert_close(result.normals.norm(dim=1), torch.ones(len(points)))
    assert float(result.variation.abs().max()) < 1e-6
    if len(points) == 6:
        torch.testing.assert_close(result.normals @ torch.tensor([1.0, -2.0, 0.5]), torch.zeros(6), atol=1e-5, rtol=0)


def test_empty() -> None:
    assert estimate_normals(torch.zeros(0, 3)).normals.shape == (0, 3)
    nobody = RaggedNeighbors(
        squared_distance=torch.zeros(0),
        index=torch.zeros(0, dtype=torch.int64),
        query=torch.zeros(0, dtype=torch.int64),
        offsets=torch.tensor([0, 0]),
    )
    assert local_pca(torch.zeros(0, 3), nobody).eigenvalues.tolist() == [[0.0, 0.0, 0.0]]


def test_errors() -> None:
    points = torch.zeros(4, 3)
    with pytest.raises(ArgumentError, match="one neighbour a query"):
        local_pca(points, nearest(points, points))
    with pytest.raises(ArgumentError, match="`k` must be at least 1, got 0"):
        estimate_normals(points, k=0)
    with pytest.raises(ArgumentError, match=r"`points` must be \[N, 3\]"):
        estimate_normals(torch.zeros(4, 2))


def test_adaptive_normals_grow_with_the_noise_and_stay_small_without() -> None:
    random = torch.Generator().manual_seed(4)
    truth = torch.nn.functional.normalize(torch.randn(6000, 3, generator=random), dim=1)
    off = lambda normals: float((1 - (normals * truth).sum(1).abs()).mean())
    noisy = truth + 0.06 * torch.randn(truth.shape, generator=random)  # the points are 0.046 apart
    assert off(adaptive_normals(noisy).normals) < 0.5 * off(estimate_normals(noisy, k=24).normals)
    torch.testing.assert_close(adaptive_normals(truth).normals, estimate_normals(truth, k=24).normals, atol=0, rtol=0)


def test_adaptive_normals_do_not_reach_over_to_another_sheet() -> None:
    random = torch.Generator().manual_seed(5)
    plane = 2 * torch.rand(3000, 3, generator=random) - 1
    plane[:, 2] = torch.where(plane[:, 2] > 0, 0.15, -0.15) + 0.02 * torch.randn(3000, generator=random)
    inner = (plane[:, :2].abs() < 0.8).all(1)
    assert float((adaptive_normals(plane).normals[inner, 2].abs() > 0.9).float().mean()) > 0.97


@pytest.mark.parametrize("points", [torch.zeros(0, 3), torch.rand(1, 3), torch.ones(40, 3), torch.rand(5, 3)])
def test_adaptive_normals_of_few_or_equal_points(points: torch.Tensor) -> None:
    normals = adaptive_normals(points).normals
    assert normals.shape == points.shape and bool(torch.isfinite(normals).all())
    assert len(points) == 0 or float((normals.norm(dim=1) - 1).abs().max()) < 1e-5
