"""As-rigid-as-possible: invariance, gradient, a bent bar, constraints, and what is refused."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

import unproject as up
from unproject.fit.arap import arap_deform, arap_energy, arap_steps
from unproject.geometry.topology import mesh_topology


def _bar() -> up.Mesh:
    bar = up.cylinder(0.15, 2.0, segments=(10, 20), dtype=torch.float64)
    return up.Mesh(vertices=bar.vertices, faces=bar.faces)


def _edge_lengths(mesh: up.Mesh) -> torch.Tensor:
    i, j = mesh_topology(mesh).edges.T
    return (mesh.vertices[i] - mesh.vertices[j]).norm(dim=1)


def test_energy_is_zero_for_rigid_motions_only() -> None:
    bar = _bar()
    topology = mesh_topology(bar)
    motion = up.se3_exp(torch.tensor([1.0, -2.0, 0.5, 2.0, 1.0, -1.5], dtype=torch.float64))
    assert float(arap_energy(up.se3_apply(motion, bar.vertices), bar.vertices, topology)) < 1e-20
    assert float(arap_energy(1.1 * bar.vertices, bar.vertices, topology)) > 1e-3
    mirrored = bar.vertices * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    assert float(arap_energy(mirrored, bar.vertices, topology)) > 1e-3


def test_energy_passes_gradcheck() -> None:
    ball = up.icosphere(0, dtype=torch.float64)
    moved = (ball.vertices + 0.1 * torch.randn(12, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: arap_energy(v, ball.vertices, mesh_topology(ball)), moved)


def test_bent_bar_keeps_its_edges() -> None:
    bar = _bar()
    low, high = bar.vertices[:, 2] < -0.85, bar.vertices[:, 2] > 0.85
    handles = (low | high).nonzero()[:, 0]
    pivot = torch.tensor([0.0, 0.0, 0.0], dtype=torch.float64)
    turn = up.so3_exp(torch.tensor([math.pi / 2, 0.0, 0.0], dtype=torch.float64))
    # The end turns by a quarter, and lies where a circular arc of the bar's length ends.
    radius = 2 / (math.pi / 2)
    centre_line = pivot + torch.tensor([0.0, -radius, radius - 1.0], dtype=torch.float64)
    end = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    targets = torch.where(high[:, None], (bar.vertices - end) @ turn.T + centre_line, bar.vertices)[handles]
    steps = list(arap_steps(bar, handles, targets, iterations=150))
    energies = [step.energy for step in steps]
    assert all(b <= a * (1 + 1e-9) for a, b in pairwise(energies)), "no round may raise the energy"
    bent = steps[-1].mesh
    assert torch.equal(bent.vertices[handles], targets)
    change = (_edge_lengths(bent) / _edge_lengths(bar) - 1).abs()
    straight = bar.vertices.clone()
    straight[handles] = targets
    crude = (_edge_lengths(up.Mesh(vertices=straight, faces=bar.faces)) / _edge_lengths(bar) - 1).abs()
    assert float(change.mean()) < 0.06 < float(crude.mean())
    middle = bent.vertices[(bar.vertices[:, 2].abs() < 0.01)].mean(0)
    assert float(middle[1]) < -0.05, "the bar bows"


def test_rigidly_moved_handles_move_all() -> None:
    bar = _bar()
    motion = up.se3_exp(torch.tensor([0.4, 0.1, -0.3, 0.5, 0.9, 0.2], dtype=torch.float64))
    handles = torch.arange(0, bar.vertex_count, 7)
    moved = arap_deform(bar, handles, up.se3_apply(motion, bar.vertices[handles]), iterations=300)
    assert float((moved.vertices - up.se3_apply(motion, bar.vertices)).abs().max()) < 1e-3


def test_all_vertices_may_be_handles() -> None:
    ball = up.icosphere(0)
    moved = arap_deform(ball, torch.arange(12), ball.vertices + 1, iterations=1)
    assert torch.equal(moved.vertices, ball.vertices + 1) and moved.vertices.dtype == torch.float32


def test_errors_say_what_is_wrong() -> None:
    ball = up.icosphere(1)
    pair = up.Mesh(vertices=torch.cat([ball.vertices, ball.vertices + 3]), faces=torch.cat([ball.faces, ball.faces + 42]))
    with pytest.raises(up.DataError, match="1 of 2 connected parts have no handle, vertex 42"):
        arap_deform(pair, torch.tensor([0]), pair.vertices[:1])
    with pytest.raises(up.ArgumentError, match="names a vertex twice"):
        arap_deform(ball, torch.tensor([0, 0]), ball.vertices[:2])
    with pytest.raises(up.ArgumentError, match="`targets` must be"):
        arap_deform(ball, torch.tensor([0, 1]), ball.vertices[:1])
    with pytest.raises(up.ArgumentError, match="0 to 41"):
        arap_deform(ball, torch.tensor([42]), ball.vertices[:1])
