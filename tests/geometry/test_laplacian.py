"""Laplacians: rows, symmetry, definiteness, linear precision, loops over faces as oracle, degenerate triangles."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from unproject.errors import ArgumentError
from unproject.geometry.laplacian import (
    corner_cotangents,
    cotangent_laplacian,
    cotangent_weights,
    laplacian_of_weights,
    lumped_mass,
    mean_value_laplacian,
    uniform_laplacian,
)
from unproject.geometry.mesh import Mesh
from unproject.geometry.primitives import box, icosphere, plane, torus
from unproject.geometry.topology import Topology, boundary_vertices, make_topology, mesh_topology

Make = Callable[..., Tensor]
LAPLACIANS: dict[str, Make] = {
    "uniform": lambda v, t, normalized=False: uniform_laplacian(t, normalized=normalized, dtype=v.dtype),
    "cotangent": cotangent_laplacian,
    "mean value": mean_value_laplacian,
}


FIXED = torch.randn(12, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def bumpy(mesh: Mesh) -> tuple[Tensor, Topology]:
    vertices = mesh.vertices.to(torch.float64)
    return vertices + 0.03 * torch.randn_like(vertices), mesh_topology(mesh)


def angle_at(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    u, v = b - a, c - a
    return math.atan2(float(np.linalg.norm(np.cross(u, v))), float(u @ v))


def expected_weights(vertices: Tensor, faces: Tensor, kind: str) -> np.ndarray:
    points, weights = vertices.numpy(), np.zeros((len(vertices), len(vertices)))
    for face in faces.tolist():
        for i in range(3):
            a, b, c = face[i], face[(i + 1) % 3], face[(i + 2) % 3]
            if kind == "cotangent":
                weights[a, b] += 0.5 / math.tan(angle_at(points[c], points[a], points[b]))
                weights[b, a] += 0.5 / math.tan(angle_at(points[c], points[a], points[b]))
            elif kind == "mean value":
                half = math.tan(angle_at(points[a], points[b], points[c]) / 2)
                weights[a, b] += half / np.linalg.norm(points[a] - points[b])
                weights[a, c] += half / np.linalg.norm(points[a] - points[c])
            else:
                weights[a, b] = weights[b, a] = 1
    return weights


@pytest.mark.parametrize("mesh", [icosphere(1), plane(segments=(3, 2)), torus(segments=(5, 4))], ids=["sphere", "plane", "torus"])
@pytest.mark.parametrize("kind", LAPLACIANS)
def test_against_a_loop_over_faces(kind: str, mesh: Mesh) -> None:
    vertices, topology = bumpy(mesh)
    weights = expected_weights(vertices, mesh.faces, kind)
    matrix = LAPLACIANS[kind](vertices, topology)
    np.testing.assert_allclose(matrix.to_dense().numpy(), np.diag(weights.sum(1)) - weights, atol=1e-12)
    if (weights.sum(1) > 0).all():
        scaled = LAPLACIANS[kind](vertices, topology, normalized=True).to_dense().numpy()
        np.testing.assert_allclose(scaled, np.eye(len(weights)) - weights / weights.sum(1, keepdims=True), atol=1e-10)


@pytest.mark.parametrize("kind", LAPLACIANS)
def test_is_coalesced_in_order(kind: str) -> None:
    vertices, topology = bumpy(torus(segments=(6, 5)))
    matrix = LAPLACIANS[kind](vertices, topology)
    rebuilt = torch.sparse_coo_tensor(matrix.indices(), matrix.values(), matrix.shape, check_invariants=True).coalesce()
    assert matrix.is_coalesced() and torch.equal(rebuilt.indices(), matrix.indices()) and torch.equal(rebuilt.values(), matrix.values())


@pytest.mark.parametrize("mesh", [box(segments=2), torus(segments=(9, 6)), plane(segments=(4, 3))], ids=["box", "torus", "plane"])
def test_cotangent_is_symmetric_and_positive(mesh: Mesh) -> None:
    vertices, topology = bumpy(mesh)
    matrix = cotangent_laplacian(vertices, topology).to_dense()
    assert torch.equal(matrix, matrix.T)
    values = torch.linalg.eigvalsh(matrix)
    assert values[0] > -1e-12 and values[1] > 1e-3


def test_linear_functions_are_harmonic_on_a_plane() -> None:
    sheet = plane(segments=(5, 4), dtype=torch.float64)
    topology = mesh_topology(sheet)
    inside = ~boundary_vertices(topology)
    moved = sheet.vertices.clone()
    moved[inside, :2] += 0.03 * torch.randn(int(inside.sum()), 2, dtype=torch.float64)
    for laplacian in (cotangent_laplacian(moved, topology), mean_value_laplacian(moved, topology)):
        assert (laplacian @ moved)[inside].abs().max() < 1e-12


def test_dirichlet_energy_of_a_linear_function() -> None:
    """u^T L u is the integral of |grad u|^2: the area of the plane for u = x."""
    sheet = plane((3.0, 2.0), segments=(4, 3), dtype=torch.float64)
    x = sheet.vertices[:, :1]
    assert (x.T @ (cotangent_laplacian(sheet.vertices, mesh_topology(sheet)) @ x)).item() == pytest.approx(6)


def test_mean_curvature_of_a_sphere() -> None:
    sphere = icosphere(4, radius=2.0, dtype=torch.float64)
    topology = mesh_topology(sphere)
    mass = lumped_mass(sphere.vertices, topology, kind="voronoi")
    curvature = (cotangent_laplacian(sphere.vertices, topology) @ sphere.vertices).norm(dim=1) / (2 * mass)
    torch.testing.assert_close(curvature, torch.full_like(curvature, 0.5), rtol=0.01, atol=0)


@pytest.mark.parametrize("kind", ["barycentric", "voronoi"])
@pytest.mark.parametrize("mesh", [icosphere(1), plane(segments=(3, 2)), box()], ids=["sphere", "plane", "box"])
def test_masses_sum_to_the_area(kind: str, mesh: Mesh) -> None:
    vertices, topology = bumpy(mesh)
    a, b, c = vertices[mesh.faces].unbind(1)
    area = 0.5 * torch.linalg.cross(b - a, c - a).norm(dim=1).sum()
    mass = lumped_mass(vertices, topology, kind=kind)
    torch.testing.assert_close(mass.sum(), area)
    assert bool((mass > 0).all())


def test_voronoi_mass_of_an_obtuse_and_a_right_triangle() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [4, 0, 0], [2, 1, 0]], dtype=torch.float64)
    assert lumped_mass(vertices, make_topology(torch.tensor([[0, 1, 2]]), 3), kind="voronoi").tolist() == [0.5, 0.5, 1.0]
    vertices = torch.tensor([[0.0, 0, 0], [2, 0, 0], [0, 2, 0]], dtype=torch.float64)
    mass = lumped_mass(vertices, make_topology(torch.tensor([[0, 1, 2]]), 3), kind="voronoi")
    torch.testing.assert_close(mass, torch.tensor([1.0, 0.5, 0.5], dtype=torch.float64))


@pytest.mark.parametrize(
    "function",
    [
        lambda v, t: cotangent_laplacian(v, t) @ FIXED,
        lambda v, t: mean_value_laplacian(v, t) @ FIXED,
        lambda v, t: cotangent_laplacian(v, t, normalized=True) @ FIXED,
        lambda v, t: lumped_mass(v, t),
        lambda v, t: lumped_mass(v, t, kind="voronoi"),
    ],
)
def test_gradcheck(function: Callable[[Tensor, Topology], Tensor]) -> None:
    vertices, topology = bumpy(icosphere(0))
    torch.autograd.gradcheck(lambda v: function(v, topology), (vertices.requires_grad_(),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_triangles_stay_finite_and_positive(dtype: torch.dtype) -> None:
    vertices = icosphere(1, dtype=dtype).vertices.clone()
    vertices[12:15] = vertices[12]
    vertices[0] = 0.5 * (vertices[20] + vertices[21])
    vertices.requires_grad_()
    topology = mesh_topology(icosphere(1))
    matrix = cotangent_laplacian(vertices, topology).to_dense()
    other = mean_value_laplacian(vertices, topology).to_dense()
    (matrix.square().sum() + other.square().sum() + lumped_mass(vertices, topology, kind="voronoi").sum()).backward()
    assert bool(torch.isfinite(matrix).all()) and bool(torch.isfinite(other).all())
    assert vertices.grad is not None and bool(torch.isfinite(vertices.grad).all())
    values = torch.linalg.eigvalsh(matrix.detach().double())
    assert values[0] > -1e-6 * values[-1]
    assert corner_cotangents(vertices, topology.faces).abs().max() < 1e6


def test_isolated_vertices_and_empty() -> None:
    topology = make_topology(torch.tensor([[0, 1, 3]]), 5)
    vertices = torch.rand(5, 3)
    for make in LAPLACIANS.values():
        matrix = make(vertices, topology, normalized=True).to_dense()
        assert not bool(matrix[[2, 4]].any()) and not bool(matrix[:, [2, 4]].any())
        assert make(torch.rand(0, 3), make_topology(torch.zeros(0, 3, dtype=torch.int64), 0)).shape == (0, 0)
    assert cotangent_weights(vertices, topology).shape == (3,)


def test_messages() -> None:
    topology = mesh_topology(box())
    with pytest.raises(ArgumentError, match=r"`weights` must be \[36\] floats"):
        laplacian_of_weights(topology, torch.rand(5))
    with pytest.raises(ArgumentError, match='"barycentric" or "voronoi"'):
        lumped_mass(torch.rand(8, 3), topology, kind="mixed")
