"""Points of thin parts go back to the side that their normals tell, and all others stay."""

from __future__ import annotations

import torch
from torch import Tensor

from unproject.fit.sides import scatter, separate_sides
from unproject.fit.surface import surface_from_points
from unproject.geometry.points import PointCloud

NOISE = 0.02
COUNT = 6000


def noisy_plate(thickness: float) -> tuple[Tensor, Tensor]:
    """Both sides of a square plate of width 2, with noise along the normals."""
    generator = torch.Generator().manual_seed(0)
    side = torch.where(torch.rand(COUNT, generator=generator) < 0.5, 1.0, -1.0)
    flat = 2 * torch.rand(COUNT, 2, generator=generator) - 1
    height = side * thickness / 2 + NOISE * torch.randn(COUNT, generator=generator)
    return torch.cat([flat, height[:, None]], dim=1), torch.stack([torch.zeros(COUNT), torch.zeros(COUNT), side], dim=1)


def noisy_rod(radius: float) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    angle, along = 2 * torch.pi * torch.rand(COUNT, generator=generator), 3 * torch.rand(COUNT, generator=generator)
    normals = torch.stack([angle.cos(), angle.sin(), torch.zeros(COUNT)], dim=1)
    reach = radius + NOISE * torch.randn(COUNT, generator=generator)
    return normals * reach[:, None] + torch.stack([torch.zeros(COUNT), torch.zeros(COUNT), along], dim=1), normals


def test_the_noise_along_normals() -> None:
    assert abs(scatter(*noisy_plate(0.5)) / NOISE - 1) < 0.1


def test_details_of_a_shape_are_no_noise() -> None:
    generator = torch.Generator().manual_seed(2)
    flat = 2 * torch.rand(COUNT, 2, generator=generator) - 1
    waves = 12 * flat
    height = 0.05 * waves.sin().sum(1)  # within the distance of many neighbours points are as much higher and lower
    points = torch.cat([flat, height[:, None]], dim=1)
    slope = 0.6 * waves.cos()
    normals = torch.nn.functional.normalize(torch.cat([-slope, torch.ones(COUNT, 1)], dim=1), dim=1)
    assert scatter(points, normals) < 0.002
    moved = points + NOISE * torch.randn(COUNT, 1, generator=generator) * normals
    assert abs(scatter(moved, normals) / NOISE - 1) < 0.25


def test_mixed_sides_of_a_plate_come_apart() -> None:
    points, normals = noisy_plate(2 * NOISE)
    moved = separate_sides(points, normals, 0.03)
    inner = (points[:, :2].abs() < 0.9).all(1)
    height = (moved * normals).sum(1)[inner]
    assert float((height - NOISE).abs().mean()) < 0.25 * NOISE
    assert torch.equal(moved[:, :2], points[:, :2])


def test_a_thin_rod_hardly_shrinks() -> None:
    points, normals = noisy_rod(1.6 * NOISE)
    moved = separate_sides(points, normals, 0.01)
    middle = (points[:, 2] - 1.5).abs() < 1.3
    radius = (moved * normals).sum(1)[middle]
    assert abs(float(radius.mean()) / (1.6 * NOISE) - 1) < 0.12
    assert float(radius.std()) < 0.15 * NOISE


def test_sides_that_noise_does_not_mix_stay() -> None:
    points, normals = noisy_plate(6 * NOISE)
    assert torch.equal(separate_sides(points, normals, 0.03), points)


def test_a_plate_as_thin_as_its_noise_has_two_sides() -> None:
    points, normals = noisy_plate(2 * NOISE)
    mesh = surface_from_points(PointCloud(positions=points, normals=normals))
    middle = mesh.vertices[mesh.faces].mean(1)
    upward = torch.linalg.cross(*(mesh.vertices[mesh.faces[:, k]] - mesh.vertices[mesh.faces[:, 0]] for k in (1, 2)))[:, 2]
    inner = (middle[:, :2].abs() < 0.85).all(1)
    assert float((upward[inner] * middle[inner, 2] > 0).float().mean()) > 0.99
    assert float((middle[inner, 2].abs() - NOISE).abs().mean()) < 0.25 * NOISE
