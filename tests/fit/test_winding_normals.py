"""Orientation by the winding number: thin parts, noise that mixes sides, and what is not closed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unproject.fit import orient
from unproject.fit.orient import agreement, orient_normals
from unproject.fit.scene import make_scene
from unproject.fit.winding_normals import outward_normals
from unproject.geometry.pca import adaptive_normals


def thin_box(count: int, thickness: float, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    """Points [count, 3] on the surface of a box of 2 x 2 x thickness and the true normals there."""
    generator = torch.Generator().manual_seed(0)
    half = torch.tensor([1.0, 1.0, thickness / 2])
    area = torch.stack([half[1] * half[2], half[0] * half[2], half[0] * half[1]]).repeat(2)
    side = torch.multinomial(area, count, replacement=True, generator=generator)
    axis, sign = side % 3, torch.where(side < 3, 1.0, -1.0)
    points = (2 * torch.rand(count, 3, generator=generator) - 1) * half
    normals = torch.nn.functional.one_hot(axis, 3) * sign[:, None]
    points = torch.where(normals != 0, normals * half, points)
    return points + noise * normals * torch.randn(count, 1, generator=generator), normals


def oriented(points: Tensor) -> tuple[Tensor, Tensor, float]:
    """What orient_normals finds, the neighbours, and the winding number that decided."""
    scene = make_scene(points, resolution=None, where="test")
    estimated = adaptive_normals(points).normals
    _, winding = outward_normals(points, estimated, scene.areas)
    return orient_normals(points, estimated, scene.neighbors, scene.areas), scene.neighbors, winding


def test_sides_nearer_than_two_spacings_come_out_right() -> None:
    points, truth = thin_box(8000, 0.06)
    found, _, winding = oriented(points)
    assert winding > 0.3
    assert float(((found * truth).sum(1) > 0).float().mean()) > 0.995
    assert float((found * truth).sum(1).mean()) > 0.97  # planes of one side, not of both


def test_sides_that_noise_mixes_come_out_right_mostly() -> None:
    points, truth = thin_box(8000, 0.12, noise=0.035)
    found, _, _ = oriented(points)
    assert float(((found * truth).sum(1) > 0).float().mean()) > 0.93


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_an_open_sheet_has_one_side(noise: float) -> None:
    generator = torch.Generator().manual_seed(0)
    points = 2 * torch.rand(6000, 3, generator=generator) - 1
    points[:, 2] = 0.2 * torch.sin(3 * points[:, 0]) + noise * torch.randn(6000, generator=generator)
    found, neighbors, winding = oriented(points)
    assert winding < 0.3
    assert agreement(points, found, neighbors) > 0.99


def test_members_of_a_large_cloud_decide_about_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orient, "_MEMBERS", 3000)
    points, truth = thin_box(8000, 0.3)
    found, _, _ = oriented(points)
    assert found.shape == points.shape
    assert float(((found * truth).sum(1) > 0).float().mean()) > 0.98
