"""Patches and dipole energies against plain torch; orientation of whole clouds."""

from __future__ import annotations

import pytest
import torch

from unproject.fit import patch_normals
from unproject.fit.orient import agreement
from unproject.fit.patch_normals import orient_by_patches
from unproject.fit.scene import make_scene
from unproject.geometry.neighbors import knn
from unproject.geometry.pca import adaptive_normals, estimate_normals
from unproject.geometry.point_index import build_index
from unproject.ops.orientation import dipole_energy, orient_patches
from unproject.reference import orientation as reference


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("limit", [1, 6, 1000])
def test_patches_agree_with_reference(dtype: torch.dtype, limit: int) -> None:
    normals = torch.nn.functional.normalize(torch.randn(40, 3, dtype=dtype), dim=1)
    first, second = torch.randint(40, (2, 150))
    order = torch.randperm(150)[:120]
    patch, sign = orient_patches(normals, first, second, order, limit)
    expected_patch, expected_sign = reference.orient_patches(normals, first, second, order, limit)
    together = patch[:, None] == patch[None]
    assert torch.equal(together, expected_patch[:, None] == expected_patch[None])
    assert int(torch.bincount(patch).max()) <= limit
    same, expected_same = sign[:, None] * sign[None], expected_sign[:, None] * expected_sign[None]
    assert torch.equal(same[together], expected_same[together])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dipole_energy_agrees_with_reference(dtype: torch.dtype) -> None:
    points, moments = torch.randn(50, 3, dtype=dtype), torch.randn(50, 3, dtype=dtype)
    starts = torch.tensor([0, 7, 7, 30, 50])
    found = dipole_energy(points, moments, starts, 0.3)
    expected = reference.dipole_energy(points, moments, starts, 0.3)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))
    assert dipole_energy(points[:0], moments[:0], torch.tensor([0]), 0.3).shape == (0, 0)


def test_opposite_sides_of_a_plate_attract_opposite_normals() -> None:
    side = torch.cartesian_prod(torch.linspace(-1, 1, 9), torch.linspace(-1, 1, 9), torch.zeros(1))
    points = torch.cat([side, side + torch.tensor([0.0, 0.0, 0.4])])
    up = torch.tensor([0.0, 0.0, 1.0]).expand(81, 3)
    energy = dipole_energy(points, torch.cat([up, up]), torch.tensor([0, 81, 162]), 0.1)
    assert float(energy[0, 1]) < 0


def two_plates() -> tuple[torch.Tensor, torch.Tensor]:
    """A box of 2 x 2 x 0.12, its sides sampled at distances of about 0.04, with true normals."""
    half = torch.tensor([1.0, 1.0, 0.06])
    points, normals = [], []
    for axis in range(3):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        count = int(4 * half[a] * half[b] / 0.04**2)
        for s in (-1.0, 1.0):
            p = (torch.rand(count, 3) * 2 - 1) * half
            p[:, axis] = s * half[axis]
            points.append(p)
            normals.append(s * torch.eye(3)[axis].expand(count, 3))
    return torch.cat(points), torch.cat(normals)


def test_thin_plate_is_oriented_outwards() -> None:
    points, truth = two_plates()
    points = points + 0.003 * torch.randn_like(points)
    index = build_index(points)
    found = knn(index, index, 13)
    neighbors = found.index[:, 1:].contiguous()
    estimated = estimate_normals(index, k=16).normals
    areas = torch.pi * found.squared_distance[:, 10] / 10
    oriented = orient_by_patches(points, estimated, neighbors, areas)
    right = ((oriented * truth).sum(1) > 0).float().mean()
    assert float(right) > 0.985
    assert agreement(points, oriented, neighbors) > agreement(points, estimated, neighbors)


@pytest.mark.parametrize("members", [100_000, 3000])
def test_sides_that_lie_five_deviations_of_noise_apart_face_away_from_each_other(members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_normals, "_MEMBERS", members)
    generator = torch.Generator().manual_seed(0)
    side = torch.where(torch.rand(6000, generator=generator) < 0.5, 1.0, -1.0)
    points = 2 * torch.rand(6000, 3, generator=generator) - 1
    points[:, 2] = 0.05 * side + 0.02 * torch.randn(6000, generator=generator)
    scene = make_scene(points, resolution=None, where="test")
    up = orient_by_patches(points, adaptive_normals(points).normals, scene.neighbors, scene.areas)[:, 2]
    assert float((up * side > 0).float().mean()) > 0.95
