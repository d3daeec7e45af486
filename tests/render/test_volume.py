"""Emission and absorption: closed forms, gradients, a coloured volume recovered from posed images."""

from __future__ import annotations

import math

import pytest
import torch

from unproject.errors import ArgumentError
from unproject.geometry.voxels import VoxelGrid, grid_points, grid_transform, make_grid
from unproject.render.volume import march_rays, render_volume


def cube(size: int = 8, channels: int = 4) -> VoxelGrid:
    transform = grid_transform(-torch.ones(3), torch.ones(3), (size, size, size))
    return make_grid(torch.zeros(size, size, size, channels), world_from_grid=transform)


def test_uniform_slab_absorbs_exponentially() -> None:
    grid = cube()
    grid.values[..., 0], grid.values[..., 1:] = 0.7, 0.5
    origins, directions = torch.tensor([[0.1, 0.2, -5.0], [3.0, 0.0, -5.0]]), torch.tensor([0.0, 0.0, 2.0])
    image = render_volume(grid, origins, directions, samples=16, background=1.0)
    opacity = 1 - math.exp(-0.7 * 2)
    assert torch.allclose(image.opacity, torch.tensor([opacity, 0.0]), atol=1e-5)
    assert torch.allclose(image.color[0], torch.full((3,), 0.5 * opacity + 1 - opacity), atol=1e-5)
    assert torch.allclose(image.color[1], torch.ones(3))
    assert 2.0 < float(image.distance[0]) < 2.5
    assert image.distance[1] == 0


def test_gradients() -> None:
    values = torch.rand(3, 3, 3, 3, dtype=torch.float64) + 0.2
    transform = grid_transform(-torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64), (3, 3, 3))
    origins = torch.tensor([[0.1, 0.2, -2.0], [0.3, -0.4, -2.0]], dtype=torch.float64)
    directions = torch.tensor([[0.05, 0.02, 1.0], [-0.1, 0.1, 1.1]], dtype=torch.float64)

    def run(v: torch.Tensor, o: torch.Tensor, d: torch.Tensor) -> torch.Tensor:
        field = lambda p: (lambda s: (s[:, 0], s[:, 1:]))(sample(v, p))
        image = march_rays(field, o, d, near=1.05, far=2.93, samples=5, background=0.3)
        return torch.cat([image.color.flatten(), image.opacity, image.distance])

    def sample(v: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        from unproject.geometry.voxels import sample_grid

        return sample_grid(VoxelGrid(values=v, world_from_grid=transform), p)

    inputs = tuple(t.requires_grad_() for t in (values, origins, directions))
    assert torch.autograd.gradcheck(run, inputs)


def views(count: int, pixels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rays of cameras on a circle around the origin that look at it."""
    v, u = torch.meshgrid(torch.linspace(-0.5, 0.5, pixels), torch.linspace(-0.5, 0.5, pixels), indexing="ij")
    local = torch.stack([u, v, torch.ones_like(u)], dim=-1)
    origins, directions = [], []
    for n in range(count):
        angle = 2 * math.pi * n / count
        c, s, tilt = math.cos(angle), math.sin(angle), 0.5 * math.sin(3 * angle)
        forward = torch.nn.functional.normalize(torch.tensor([s, tilt, c]), dim=0)
        right = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]), forward), dim=0)
        frame = torch.stack([right, torch.linalg.cross(forward, right), forward])
        origins.append((-3.5 * forward).expand(pixels, pixels, 3))
        directions.append(local @ frame)
    return torch.stack(origins), torch.stack(directions)


def test_fit_of_a_coloured_volume_to_posed_images() -> None:
    grid = cube(12)
    points = grid_points(grid)
    truth = torch.cat([20 * torch.sigmoid(20 * (0.6 - points.norm(dim=-1, keepdim=True))), points / 2 + 0.5], dim=-1)
    origins, directions = views(8, 16)
    render = lambda values, o, d: render_volume(VoxelGrid(values=values, world_from_grid=grid.world_from_grid), o, d, samples=24)
    target = render(truth, origins, directions)
    raw = torch.zeros_like(truth).requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=0.2)
    for _ in range(80):
        values = torch.cat([torch.nn.functional.softplus(raw[..., :1]), torch.sigmoid(raw[..., 1:])], dim=-1)
        image = render(values, origins[::2], directions[::2])
        loss = (image.color - target.color[::2]).square().mean() + (image.opacity - target.opacity[::2]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    unseen = render(values.detach(), origins[1::2], directions[1::2])
    error = (unseen.color - target.color[1::2]).square().mean()
    assert -10 * math.log10(float(error)) > 20


def test_empty_and_errors() -> None:
    assert render_volume(cube(), torch.zeros(0, 3), torch.zeros(0, 3)).color.shape == (0, 3)
    with pytest.raises(ArgumentError, match="`field` must return"):
        march_rays(lambda p: (p, p), torch.zeros(2, 3), torch.ones(2, 3), near=0.0, far=1.0)
