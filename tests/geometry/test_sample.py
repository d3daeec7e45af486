"""Samples on surfaces: on the faces, uniform by area, reproducible, differentiable, with everything the mesh carries."""

from __future__ import annotations

import math

import pytest
import torch

from unproject.errors import ArgumentError, DataError
from unproject.geometry.mesh import Mesh
from unproject.geometry.normals import face_areas
from unproject.geometry.primitives import box, icosphere, plane, torus
from unproject.geometry.sample import interpolate_vertices, sample_points, sample_surface


@pytest.mark.parametrize("stratified", [False, True])
def test_points_lie_where_they_say(stratified: bool) -> None:
    mesh = torus(segments=(9, 7), dtype=torch.float64)
    samples = sample_surface(mesh, 500, stratified=stratified)
    assert samples.offsets.tolist() == [0, 500] and samples.positions.dtype == torch.float64
    assert bool((samples.barycentrics >= 0).all())
    torch.testing.assert_close(samples.barycentrics.sum(1), torch.ones(500, dtype=torch.float64))
    expected = (mesh.vertices[mesh.faces[samples.faces]] * samples.barycentrics[..., None]).sum(1)
    torch.testing.assert_close(samples.positions, expected)


@pytest.mark.parametrize("stratified", [False, True])
def test_uniform_by_area(stratified: bool) -> None:
    """The share of each face lies within five standard deviations, and moments of the sphere come out."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [9, 0, 0], [0, 0, 3]])
    mesh = Mesh(vertices=vertices, faces=torch.tensor([[0, 1, 2], [0, 0, 1], [0, 2, 3], [0, 1, 4]]))
    samples = sample_surface(mesh, 20000, stratified=stratified)
    areas = face_areas(mesh.vertices, mesh.faces)
    share = areas / areas.sum()
    counts = torch.bincount(samples.faces, minlength=4)
    assert counts[1] == 0
    assert bool(((counts / 20000 - share).abs() <= 5 * (share * (1 - share) / 20000).sqrt()).all())
    if stratified:
        assert bool(((counts - 20000 * share).abs() <= 2.01).all())
    inside = samples.barycentrics[samples.faces == 2]
    assert bool(((inside.mean(0) - 1 / 3).abs() < 5 * math.sqrt(1 / 18 / len(inside))).all())


def test_same_generator_same_points() -> None:
    mesh = icosphere(1)
    first, second = (sample_surface(mesh, 50, generator=torch.Generator().manual_seed(4)).positions for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, sample_surface(mesh, 50).positions)


def test_gradient_reaches_the_vertices() -> None:
    mesh = icosphere(0, dtype=torch.float64)

    def positions(vertices: torch.Tensor) -> torch.Tensor:
        samples = sample_surface(mesh, 30, generator=torch.Generator().manual_seed(1))
        return interpolate_vertices(vertices, mesh.faces, samples.faces, samples.barycentrics)

    torch.autograd.gradcheck(positions, (mesh.vertices.clone().requires_grad_(),))
    vertices = mesh.vertices.clone().requires_grad_()
    sampled = sample_surface(Mesh(vertices=vertices, faces=mesh.faces), 30, generator=torch.Generator().manual_seed(1))
    assert torch.equal(sampled.positions, positions(vertices))
    (slope,) = torch.autograd.grad(sampled.positions.sum(), vertices)
    torch.testing.assert_close(slope.sum(), torch.tensor(90.0, dtype=torch.float64))


def test_cloud_carries_everything() -> None:
    mesh = plane(segments=(4, 4), dtype=torch.float64)
    xyz = mesh.vertices
    labels = torch.arange(mesh.vertex_count)
    mesh = Mesh(
        vertices=xyz,
        faces=mesh.faces,
        vertex_normals=torch.tensor([[0.0, 1, 0]], dtype=torch.float64).expand(mesh.vertex_count, 3),
        vertex_colors=torch.cat([xyz + 0.5, torch.ones_like(xyz[:, :1])], dim=1),
        vertex_attributes={"heat": 2 * xyz[:, 0], "label": labels, "frame": xyz[:, :, None].expand(-1, 3, 2)},
    )
    cloud = sample_points(mesh, 200)
    assert cloud.normals is not None and cloud.colors is not None
    assert bool((cloud.normals == torch.tensor([0.0, 1, 0])).all())
    torch.testing.assert_close(cloud.colors, cloud.positions + 0.5)
    torch.testing.assert_close(cloud.attributes["heat"], 2 * cloud.positions[:, 0])
    torch.testing.assert_close(cloud.attributes["frame"], cloud.positions[:, :, None].expand(-1, 3, 2))
    nearest = torch.cdist(cloud.positions, xyz)
    own = nearest.gather(1, cloud.attributes["label"][:, None])[:, 0]
    assert cloud.attributes["label"].dtype == torch.int64 and bool((own < 0.25).all())


def test_face_normals_where_the_mesh_has_none() -> None:
    cloud = sample_points(box(), 300)
    assert cloud.normals is not None
    torch.testing.assert_close((cloud.normals * cloud.positions).sum(1), torch.full((300,), 0.5))


def test_none_and_errors() -> None:
    assert sample_surface(box(), 0).positions.shape == (0, 3)
    with pytest.raises(ArgumentError, match="`count` must be at least 0"):
        sample_surface(box(), -1)
    flat = Mesh(vertices=torch.eye(3).cumsum(0)[:, :1] * torch.ones(3), faces=torch.tensor([[0, 1, 2]]))
    with pytest.raises(DataError, match="mesh has no area"):
        sample_surface(flat, 5)
    with pytest.raises(DataError, match="no area"):
        sample_surface(Mesh(vertices=torch.rand(3, 3), faces=torch.zeros(0, 3, dtype=torch.int64)), 5)
    with pytest.raises(DataError, match="not finite"):
        sample_surface(Mesh(vertices=torch.full((3, 3), float("nan")), faces=torch.tensor([[0, 1, 2]])), 5)
