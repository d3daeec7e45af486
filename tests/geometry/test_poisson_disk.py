"""Poisson-disk samples: distances, counts, evenness, gradients."""

from __future__ import annotations

import math

import pytest
import torch

from unproject.errors import ArgumentError, DataError
from unproject.geometry.batch import batch_meshes
from unproject.geometry.mesh import Mesh
from unproject.geometry.neighbors import knn
from unproject.geometry.normals import face_areas
from unproject.geometry.point_index import build_index
from unproject.geometry.poisson_disk import _independent, sample_poisson_disk
from unproject.geometry.primitives import box, icosphere, plane, torus
from unproject.geometry.sample import interpolate_vertices, sample_surface, samples_to_points


def nearest_distance(points: torch.Tensor) -> torch.Tensor:
    return knn(index := build_index(points), index, 2).squared_distance[:, 1].sqrt()


@pytest.mark.parametrize("mesh", [torus(), box(), plane((4.0, 0.5))], ids=["torus", "box", "plane"])
def test_points_keep_their_distance(mesh: Mesh) -> None:
    count = 1500
    samples = sample_poisson_disk(mesh, count)
    assert samples.positions.shape == (count, 3) and samples.offsets.tolist() == [0, count]
    torch.testing.assert_close(samples.positions, interpolate_vertices(mesh.vertices, mesh.faces, samples.faces, samples.barycentrics))
    scale = math.sqrt(float(face_areas(mesh.vertices, mesh.faces).sum()) / count)
    assert float(nearest_distance(samples.positions).min()) > 0.7 * scale
    assert float(nearest_distance(sample_surface(mesh, count).positions).min()) < 0.1 * scale


def test_covers_the_surface_and_stays_uniform() -> None:
    mesh = icosphere(4)
    samples = sample_poisson_disk(mesh, 2000)
    probes = sample_surface(mesh, 5000).positions
    gap = knn(probes, samples.positions, 1).squared_distance.max().sqrt()
    assert float(gap) < 1.3 * math.sqrt(4 * math.pi / 2000)
    assert float(samples.positions.mean(0).norm()) < 0.02
    second_moment = samples.positions.T @ samples.positions / 2000
    torch.testing.assert_close(second_moment, torch.eye(3) / 3, atol=0.01, rtol=0)


def test_batches_repeat_and_are_differentiable() -> None:
    meshes = [icosphere(2, dtype=torch.float64), torus(dtype=torch.float64), box((9.0, 9.0, 9.0), dtype=torch.float64)]
    draw = lambda: sample_poisson_disk(batch_meshes(meshes), 200, generator=torch.Generator().manual_seed(3))
    samples = draw()
    assert torch.equal(samples.positions, draw().positions) and samples.offsets.tolist() == [0, 200, 400, 600]
    assert bool((samples.positions[400:].abs().amax(1) > 4.49).all())
    mesh = Mesh(vertices=meshes[0].vertices.clone().requires_grad_(), faces=meshes[0].faces)
    sample_poisson_disk(mesh, 50).positions.sum().backward()
    assert mesh.vertices.grad is not None
    torch.testing.assert_close(mesh.vertices.grad.sum(0), torch.full((3,), 50.0, dtype=torch.float64))


def test_thin_plate_and_attributes() -> None:
    """Both sides of a plate without thickness exclude each other; the count still comes out."""
    mesh = box((1.0, 1.0, 1e-6))
    colored = Mesh(vertices=mesh.vertices, faces=mesh.faces, vertex_colors=mesh.vertices + 0.5)
    samples = sample_poisson_disk(colored, 300)
    cloud = samples_to_points(colored, samples)
    assert cloud.point_count == 300 and cloud.colors is not None
    torch.testing.assert_close(cloud.colors, samples.positions + 0.5)


def test_order_decides() -> None:
    """A chain 0 - 1 - 2 - 3 keeps 0 and 2: what is dropped excludes nothing; a chain longer than any round is right too."""
    chain = torch.arange(300)
    assert _independent(chain[:-1], chain[1:], 300).nonzero()[:, 0].tolist() == list(range(0, 300, 2))
    assert _independent(torch.tensor([0, 1]), torch.tensor([2, 2]), 3).tolist() == [True, True, False]


def test_errors_and_edges() -> None:
    assert sample_poisson_disk(icosphere(0), 0).positions.shape == (0, 3)
    assert sample_poisson_disk(icosphere(0), 1).positions.shape == (1, 3)
    with pytest.raises(ArgumentError, match="candidates"):
        sample_poisson_disk(icosphere(0), 5, candidates=1)
    with pytest.raises(ArgumentError, match="count"):
        sample_poisson_disk(icosphere(0), -5)
    with pytest.raises(DataError, match="no area"):
        sample_poisson_disk(Mesh(vertices=torch.zeros(3, 3), faces=torch.tensor([[0, 1, 2]])), 5)
