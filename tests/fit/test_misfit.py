from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unproject.fit.implicit import make_lattice, node_positions
from unproject.fit.misfit import factors_where_missed
from unproject.fit.smoothing import first_state, make_problem

NOISE = 0.01


def factors(points: Tensor, weight: Tensor | None = None, tellers: Tensor | None = None) -> Tensor:
    """Factors at points that the plane z = 0 should explain, with noise of NOISE."""
    lattice = make_lattice(points, low=torch.tensor([-0.5] * 3), high=torch.tensor([1.5] * 3), spacing=0.05)
    problem = make_problem(lattice, points, node_positions(lattice)[:, 2], point_spacing=0.01, trust_normals=False)
    state = replace(first_state(problem, torch.zeros_like(points)), noise=NOISE)
    tellers = torch.ones(len(points), dtype=torch.bool) if tellers is None else tellers
    return factors_where_missed(problem, state if weight is None else replace(state, weight=weight), tellers)


def noisy_plane() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    points = torch.cat([torch.rand(10_000, 2, generator=random), NOISE * torch.randn(10_000, 1, generator=random)], dim=1)
    return points, (points[:, :2] - 0.5).norm(dim=1)


def test_a_bump_below_the_noise_gets_a_shorter_length_and_nothing_else_does() -> None:
    points, radius = noisy_plane()
    assert float((factors(points) < 0.8).float().mean()) < 0.05  # by chance, as three standard errors are
    points[radius < 0.1, 2] += NOISE
    found = factors(points)
    assert float(found[radius < 0.08].median()) < 0.5 and float(found.min()) >= 0.4 - 1e-6
    assert float((found[radius > 0.15] < 0.8).float().mean()) < 0.05


def test_points_on_both_sides_miss_nothing_in_common() -> None:
    points, radius = noisy_plane()
    points[:, 2] += torch.where(radius < 0.1, 2 * NOISE * (torch.arange(len(points)) % 2 - 0.5), 0.0)  # twice the variance, the same mean
    assert float((factors(points)[radius < 0.1] < 0.5).float().mean()) < 0.1


def test_strays_that_hardly_count_do_not_ask_for_a_shorter_length() -> None:
    points, radius = noisy_plane()
    points[radius < 0.1, 2] += 3 * NOISE
    assert float((factors(points)[radius < 0.08] < 0.5).float().mean()) > 0.9
    doubted = torch.where(radius < 0.1, 1e-3, 1.0)
    assert float((factors(points, doubted)[radius > 0.14] < 0.8).float().mean()) < 0.05


def test_points_that_are_off_together_do_not_tell() -> None:
    points, radius = noisy_plane()
    together = radius < 0.2
    points[together, 2] = NOISE
    inner = radius < 0.15
    assert float((factors(points)[inner] < 0.5).float().mean()) > 0.9
    assert float((factors(points, tellers=~together)[inner] < 1).float().mean()) < 0.01
