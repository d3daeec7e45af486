"""Dual contouring: sharp boxes, closed surfaces on noise, gradients."""

from __future__ import annotations

import pytest
import torch

from unproject.errors import ArgumentError
from unproject.geometry.dual_contouring import dual_contour
from unproject.geometry.isosurface import marching_cubes
from unproject.geometry.voxels import lattice_points

TURN = torch.linalg.qr(torch.tensor([[1.0, 0.4, -0.2], [0.3, 1.0, 0.5], [-0.6, 0.1, 1.0]], dtype=torch.float64))[0]


def box(points: torch.Tensor, half: float | torch.Tensor = 5.3) -> torch.Tensor:
    """Signed distance of a turned cube around (9.5, 9.5, 9.5)."""
    offset = ((points - 9.5) @ TURN.to(points)).abs() - half
    return offset.clamp_min(0).square().sum(-1).add(1e-30).sqrt() + offset.amax(-1).clamp_max(0)


def samples() -> torch.Tensor:
    return box(lattice_points((20, 20, 20), torch.eye(4, dtype=torch.float64)))


def signed_volume(vertices: torch.Tensor, faces: torch.Tensor) -> float:
    a, b, c = vertices[faces].double().unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


def boundary_count(faces: torch.Tensor) -> int:
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward, count = torch.unique(ends, dim=0, return_counts=True)
    backward, reverse = torch.unique(ends.flip(1), dim=0, return_counts=True)
    return 0 if forward.shape == backward.shape and torch.equal(forward, backward) and torch.equal(count, reverse) else 1


def test_box_is_closed_outward_and_sharper_than_marching_cubes() -> None:
    sharp, blunt = dual_contour(samples(), function=box), marching_cubes(samples())
    assert boundary_count(sharp.faces) == 0
    true = 10.6**3
    assert abs(signed_volume(sharp.vertices, sharp.faces) - true) < 0.25 * abs(signed_volume(blunt.vertices, blunt.faces) - true)
    # Vertices on an edge or corner of the box have two or three faces at hand.
    slack = 5.3 - ((sharp.vertices - 9.5) @ TURN).abs()
    on_edge = (slack.abs() < 0.02).sum(1) >= 2
    assert int(on_edge.sum()) > 60
    assert int(((5.3 - ((blunt.vertices - 9.5) @ TURN).abs()).abs() < 0.02).sum(1).ge(2).sum()) < 0.4 * int(on_edge.sum())


def test_noise_is_closed_and_consistent() -> None:
    values = torch.nn.functional.pad(torch.randn(8, 9, 7), [1] * 6, value=1.0)
    mesh = dual_contour(values)
    assert boundary_count(mesh.faces) == 0
    assert torch.unique(mesh.faces).numel() == mesh.vertex_count
    assert signed_volume(mesh.vertices, mesh.faces) > 0


def test_gradients_of_values_and_of_a_function() -> None:
    values = torch.randn(4, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: dual_contour(v).vertices, values, eps=1e-7, atol=1e-4)
    half = torch.tensor(5.3, dtype=torch.float64, requires_grad=True)
    mesh = dual_contour(samples(), function=lambda p: box(p, half))
    size = ((mesh.vertices - 9.5) @ TURN).abs().amax(1).mean()
    (slope,) = torch.autograd.grad(size, half)
    assert float(slope) == pytest.approx(1.0, abs=0.1)


def test_transform_and_unknown_values() -> None:
    values = samples()
    values[:, :, 12:] = torch.nan
    frame = torch.diag(torch.tensor([0.1, 0.1, 0.1, 1.0], dtype=torch.float64))
    mesh = dual_contour(values, world_from_grid=frame, function=lambda p: box(p * 10))
    assert mesh.face_count > 0
    assert float(box(mesh.vertices * 10).abs().mean()) < 0.01
    assert float(mesh.vertices[:, 2].max()) < 1.11


def test_empty_and_errors() -> None:
    assert dual_contour(torch.ones(3, 3, 3)).face_count == 0
    assert dual_contour(torch.ones(1, 3, 3)).face_count == 0
    with pytest.raises(ArgumentError, match="`function` must return"):
        dual_contour(samples(), function=lambda p: p)
