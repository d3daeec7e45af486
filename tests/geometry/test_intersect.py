"""Self-intersections: small cases by hand, brute force, and what neighbours may do without being reported."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unproject.geometry.batch import batch_meshes
from unproject.geometry.bvh import build_bvh
from unproject.geometry.intersect import self_intersections
from unproject.geometry.mesh import Mesh, make_mesh
from unproject.geometry.primitives import box, capsule, icosphere, torus
from unproject.reference import intersect as reference


def pair(first: list[list[float]], second: list[list[float]]) -> Mesh:
    return make_mesh(torch.tensor([*first, *second]), [[0, 1, 2], [3, 4, 5]])


GROUND = [[0.0, 0, 0], [4, 0, 0], [0, 4, 0]]


@pytest.mark.parametrize("name, second, expected", [
    ("pierced", [[1.0, 1, -1], [1, 1, 1], [9, 9, 0.5]], True),
    ("apart", [[1.0, 1, 1], [1, 2, 2], [2, 1, 3]], False),
    ("boxes overlap, beside", [[3.0, 3, -1], [3, 3, 1], [4, 4, 0]], False),
    ("a corner touches", [[1.0, 1, 0], [1, 2, 2], [2, 1, 2]], True),
    ("an edge touches an edge", [[2.0, -1, 0], [2, 1, 0], [2, 0, 5]], True),
    ("overlap in the plane", [[1.0, 1, 0], [5, 1, 0], [1, 5, 0]], True),
    ("one inside the other", [[1.0, 1, 0], [1.5, 1, 0], [1, 1.5, 0]], True),
    ("beside in the plane", [[5.0, 1, 0], [6, 1, 0], [5, 5, 0]], False),
    ("shared corner, apart", [[0.0, 0, 0], [-1, 0, 0], [0, -1, 1]], False),
    ("shared corner, through", [[0.0, 0, 0], [1, 1, -1], [1, 1, 1]], True),
    ("shared corner, overlap in the plane", [[0.0, 0, 0], [1, 1, 0], [9, 2, 0]], True),
    ("shared corner, beside in the plane", [[0.0, 0, 0], [-1, 1, 0], [-1, -1, 0]], False),
    ("shared edge, hinge", [[4.0, 0, 0], [0, 0, 0], [1, -1, 1]], False),
    ("shared edge, flat", [[4.0, 0, 0], [0, 0, 0], [1, -3, 0]], False),
    ("shared edge, nearly folded", [[4.0, 0, 0], [0, 0, 0], [1, 1, 1e-6]], False),
    ("shared edge, folded", [[4.0, 0, 0], [0, 0, 0], [1, 1, 0]], True),
    ("the same", [[4.0, 0, 0], [0, 0, 0], [0, 4, 0]], True),
    ("no area", [[1.0, 1, -1], [1, 1, 1], [1, 1, 3]], False),
])  # fmt: skip
def test_two_triangles(name: str, second: list[list[float]], expected: bool) -> None:
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    for order in ([0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1]):
        for mesh in (pair(GROUND, [second[i] for i in order]), pair([second[i] for i in order], GROUND)):
            assert (len(self_intersections(mesh)) > 0) == expected, name
            assert (len(self_intersections(mesh.to(torch.float64))) > 0) == expected, name
            flat = "plane" in name or "flat" in name or "touch" in name or "folded" in name or "the same" in name or "no area" in name
            if not flat:  # which rounding would decide
                turned = make_mesh(mesh.vertices.double() @ rotation.T, mesh.faces)
                assert (len(self_intersections(turned)) > 0) == expected, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clean_meshes(dtype: torch.dtype) -> None:
    for mesh in (icosphere(3, dtype=dtype), torus(dtype=dtype), box(segments=4, dtype=dtype), capsule(dtype=dtype)):
        assert self_intersections(mesh).shape == (0, 2)
        corners = mesh.vertices[mesh.faces].reshape(-1, 3)  # corners that are equal, but not merged
        assert len(self_intersections((corners, torch.arange(len(corners)).reshape(-1, 3)))) == 0


def test_crossing_spheres() -> None:
    mesh = icosphere(3)
    other = mesh.vertices + torch.tensor([0.7, 0.1, 0.2])
    both = make_mesh(torch.cat([mesh.vertices, other]), torch.cat([mesh.faces, mesh.faces + mesh.vertex_count]))
    found = self_intersections(both)
    assert bool((found[:, 0] < mesh.face_count).all() & (found[:, 1] >= mesh.face_count).all())
    assert torch.equal(found, reference.self_intersecting_pairs(both.vertices, both.faces, torch.tensor([0, both.face_count])))
    assert torch.equal(found, found.unique(dim=0))
    assert torch.equal(self_intersections(both, bvh=build_bvh(both.vertices, both.faces)), found)
    separate = make_mesh(other, mesh.faces)
    assert len(self_intersections(batch_meshes([mesh, separate]))) == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([torch.float32, torch.float64]))
def test_brute_force(seed: int, grid: bool, dtype: torch.dtype) -> None:
    """Also on a small grid of integers, where touching, shared corners, planes and faces without area are the rule."""
    g = torch.Generator().manual_seed(seed)
    vertices = torch.randint(-2, 3, (30, 3), generator=g).to(dtype) if grid else torch.randn(30, 3, generator=g, dtype=dtype)
    faces, offsets = torch.randint(0, 30, (60, 3), generator=g), torch.tensor([0, 20, 20, 60])
    found = self_intersections((vertices, faces), face_offsets=offsets)
    assert torch.equal(found, reference.self_intersecting_pairs(vertices, faces, offsets))


def test_many_pairs() -> None:
    """More than any buffer starts with, from several threads."""
    vertices = torch.randn(900, 3)
    faces = torch.arange(900).reshape(300, 3)
    found = self_intersections((vertices, faces))
    assert len(found) > 5000
    assert torch.equal(found, reference.self_intersecting_pairs(vertices, faces, torch.tensor([0, 300])))


def test_empty() -> None:
    assert self_intersections(make_mesh(torch.zeros(0, 3), [])).shape == (0, 2)
    assert self_intersections(make_mesh(torch.rand(3, 3), [[0, 1, 2]])).shape == (0, 2)
