"""Procedural scans: on the surface without noise, scattered along the ray with it, repeatable."""

from __future__ import annotations

import pytest
import torch

from unproject.errors import ArgumentError, DataError
from unproject.geometry.mesh import make_mesh
from unproject.geometry.primitives import icosphere
from unproject.geometry.scan import scan_mesh


def test_points_lie_on_the_surface_with_its_normals() -> None:
    scan = scan_mesh(icosphere(4), points=500, views=6)
    assert scan.point_count == 500 and scan.normals is not None
    torch.testing.assert_close(scan.positions.norm(dim=1), torch.ones(500), atol=3e-3, rtol=0)
    assert bool(((scan.positions * scan.normals).sum(1) > 0.99).all())


def test_noise_outliers_and_seed() -> None:
    make = lambda seed: scan_mesh(icosphere(3), points=2000, views=6, noise=0.01, outliers=0.1, seed=seed)
    scan = make(3)
    assert scan.point_count == 2200
    scatter = scan.positions[:2000].norm(dim=1).sub(1).std()
    assert 0.01 < float(scatter) < 0.03  # 0.02 along the ray, less across it
    assert torch.equal(scan.positions, make(3).positions)
    assert not torch.equal(scan.positions, make(4).positions)


def test_errors() -> None:
    with pytest.raises(ArgumentError, match="noise"):
        scan_mesh(icosphere(1), noise=-1.0)
    with pytest.raises(DataError, match="no ray"):
        scan_mesh(make_mesh([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]], [[0, 1, 2]]), points=10)
