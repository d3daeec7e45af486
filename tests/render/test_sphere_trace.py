"""Sphere tracing: analytic spheres and planes, gradients by central differences, grids."""

from __future__ import annotations

import pytest
import torch

from unproject.errors import ArgumentError
from unproject.geometry.voxels import VoxelGrid, grid_points, grid_transform, make_grid
from unproject.render.sphere_trace import sphere_trace, trace_grid


def sphere(center: torch.Tensor, radius: torch.Tensor | float):
    return lambda points: torch.linalg.vector_norm(points - center, dim=-1) - radius


def rays(dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    v, u = torch.meshgrid(torch.linspace(-0.6, 0.6, 9, dtype=dtype), torch.linspace(-0.6, 0.6, 9, dtype=dtype), indexing="ij")
    return torch.tensor([0.0, 0.0, -3.0], dtype=dtype), torch.stack([u, v, torch.full_like(u, 2.0)], dim=-1)


def analytic(origin: torch.Tensor, ray: torch.Tensor, radius: float) -> torch.Tensor:
    a, b, c = ray.square().sum(-1), (ray * origin).sum(-1), origin.square().sum() - radius**2
    root = b * b - a * c
    return torch.where(root > 0, (-b - root.clamp_min(0).sqrt()) / a, torch.inf)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sphere(dtype: torch.dtype) -> None:
    origin, ray = rays(dtype)
    hit = sphere_trace(sphere(torch.zeros(3, dtype=dtype), 0.8), origin, ray, tolerance=1e-5)
    expected = analytic(origin, ray, 0.8)
    assert torch.equal(hit.hit, torch.isfinite(expected))
    assert torch.allclose(hit.distance[hit.hit], expected[hit.hit], atol=2e-4)
    assert torch.allclose(hit.normal[hit.hit], hit.point[hit.hit] / 0.8, atol=1e-3)
    assert bool((hit.distance[~hit.hit] == torch.inf).all()) and bool((hit.normal[~hit.hit] == 0).all())
    assert bool((hit.clearance[~hit.hit] > 0).all()) and bool((hit.clearance[hit.hit] < 1e-3).all())


def test_gradients_are_those_of_the_analytic_distance() -> None:
    origin, ray = rays()
    radius = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    center = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    start = origin.clone().requires_grad_()
    hit = sphere_trace(sphere(center, radius), start, ray, tolerance=1e-9, steps=300)
    found = torch.autograd.grad(hit.distance[hit.hit].sum(), (radius, start), retain_graph=True)
    step = 1e-6
    total = lambda o, r: analytic(o, ray, r)[hit.hit].sum()
    by_radius = (total(origin, 0.8 + step) - total(origin, 0.8 - step)) / (2 * step)
    assert float(found[0]) == pytest.approx(float(by_radius), rel=1e-4)
    for axis in range(3):
        move = step * torch.eye(3, dtype=torch.float64)[axis]
        slope = (total(origin + move, 0.8) - total(origin - move, 0.8)) / (2 * step)
        assert float(found[1][axis]) == pytest.approx(float(slope), rel=1e-3, abs=1e-5)
    (by_center,) = torch.autograd.grad(hit.clearance[~hit.hit].sum(), center)
    assert bool(torch.isfinite(by_center).all()) and float(by_center.abs().sum()) > 0


def test_gradcheck_of_a_function() -> None:
    origin, ray = rays()
    ray = ray[3:6, 2:7:2].clone()

    def run(center: torch.Tensor, radius: torch.Tensor, start: torch.Tensor, ray: torch.Tensor) -> tuple[torch.Tensor, ...]:
        hit = sphere_trace(sphere(center, radius), start, ray, tolerance=1e-11, steps=400)
        return hit.distance, hit.point, hit.normal

    inputs = (torch.zeros(3, dtype=torch.float64), torch.tensor(0.9, dtype=torch.float64), origin, ray)
    assert bool(sphere_trace(sphere(inputs[0], inputs[1]), origin, ray).hit.all())
    assert torch.autograd.gradcheck(run, tuple(x.clone().requires_grad_() for x in inputs), eps=1e-6, atol=1e-5)


def test_gradcheck_of_a_grid() -> None:
    transform = grid_transform(-torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64), (7, 7, 7))
    points = grid_points(make_grid(torch.zeros(7, 7, 7, dtype=torch.float64), world_from_grid=transform))
    values = (points.norm(dim=-1) - 0.7).requires_grad_()
    origin, ray = rays()
    ray = ray[3:6, 2:7:2] + 0.011  # not along the cells' faces, where trilinear interpolation has kinks

    def run(values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        hit = trace_grid(VoxelGrid(values=values, world_from_grid=transform), origin, ray, tolerance=1e-11, steps=400)
        return hit.distance, hit.point, hit.normal

    assert torch.autograd.gradcheck(run, values, eps=1e-6, atol=1e-5)


def test_grid_and_its_gradient() -> None:
    transform = grid_transform(-torch.ones(3), torch.ones(3), (33, 33, 33))
    points = grid_points(make_grid(torch.zeros(33, 33, 33), world_from_grid=transform))
    values = (points.norm(dim=-1) - 0.7).requires_grad_()
    origin, ray = rays(torch.float32)
    hit = trace_grid(VoxelGrid(values=values, world_from_grid=transform), origin, ray)
    expected = analytic(origin, ray, 0.7)
    both = hit.hit & torch.isfinite(expected)
    assert int((hit.hit != torch.isfinite(expected)).sum()) <= 4
    assert torch.allclose(hit.distance[both], expected[both], atol=5e-3)
    hit.distance[both].sum().backward()
    assert float(values.grad.sum()) == pytest.approx(float(-(analytic(origin, ray, 0.701) - expected)[both].sum() / 1e-3), rel=0.1)


def test_fit_of_a_radius_to_a_depth_image() -> None:
    origin, ray = rays()
    target = analytic(origin, ray, 0.8)
    radius = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([radius], lr=0.03)
    for _ in range(90):
        hit = sphere_trace(sphere(torch.zeros(3, dtype=torch.float64), radius), origin, ray)
        both = hit.hit & torch.isfinite(target)
        missed = (~hit.hit) & torch.isfinite(target)
        loss = (hit.distance[both] - target[both]).square().sum() + hit.clearance[missed].sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(radius.detach()) == pytest.approx(0.8, abs=0.015)


def test_edges_of_the_definition() -> None:
    inside = sphere_trace(sphere(torch.zeros(3), 1.0), torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]))
    assert (bool(inside.hit) and float(inside.distance) == pytest.approx(1.0, abs=1e-5)) or float(inside.distance) <= 0
    empty = sphere_trace(sphere(torch.zeros(3), 1.0), torch.zeros(0, 3), torch.zeros(0, 3))
    assert empty.point.shape == (0, 3)
    still = sphere_trace(sphere(torch.zeros(3), 1.0), torch.tensor([[0.0, 0.0, -3.0]]), torch.zeros(1, 3))
    assert not bool(still.hit)
    with pytest.raises(ArgumentError, match="`function` must return"):
        sphere_trace(lambda p: p, torch.zeros(2, 3), torch.ones(2, 3))
