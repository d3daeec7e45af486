"""Normals and areas: known shapes, invariances, derivatives, degenerate faces."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unproject.errors import ArgumentError
from unproject.geometry.normals import corner_angles, face_area_vectors, face_areas, face_normals, vertex_normals
from unproject.geometry.primitives import box, icosphere, plane

Function = Callable[[Tensor, Tensor], Tensor]
FUNCTIONS: list[Function] = [
    face_area_vectors,
    face_areas,
    face_normals,
    corner_angles,
    vertex_normals,
    lambda v, f: vertex_normals(v, f, weighting="area"),
]


def test_one_triangle() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [3, 0, 0], [0, 4, 0], [9, 9, 9]], dtype=torch.float64)
    faces = torch.tensor([[0, 1, 2]])
    assert face_areas(vertices, faces).tolist() == [6]
    assert face_normals(vertices, faces).tolist() == [[0, 0, 1]]
    torch.testing.assert_close(corner_angles(vertices, faces), torch.tensor([[math.pi / 2, math.atan(4 / 3), math.atan(3 / 4)]]).double())
    for weighting in ("angle", "area"):
        assert vertex_normals(vertices, faces, weighting=weighting).tolist() == [[0, 0, 1]] * 3 + [[0, 0, 0]]


def test_angle_weights_do_not_see_the_diagonals_of_a_box() -> None:
    cube = box(dtype=torch.float64)
    normals = vertex_normals(cube.vertices, cube.faces)
    torch.testing.assert_close(normals, torch.nn.functional.normalize(cube.vertices, dim=1))
    by_area = vertex_normals(cube.vertices, cube.faces, weighting="area")
    assert not torch.allclose(by_area, normals, atol=0.01)


@pytest.mark.parametrize("weighting", ["angle", "area"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sphere(weighting: str, dtype: torch.dtype) -> None:
    sphere = icosphere(3, radius=7.0, dtype=dtype)
    normals = vertex_normals(sphere.vertices, sphere.faces, weighting=weighting)
    assert (normals * sphere.vertices).sum(1).min() > 7 * 0.9999
    assert face_areas(sphere.vertices, sphere.faces).sum().item() == pytest.approx(4 * math.pi * 49, rel=0.01)


def test_angles_of_a_triangle_sum_to_pi_and_turn_with_it() -> None:
    vertices, faces = torch.randn(30, 3, dtype=torch.float64), torch.randint(0, 30, (20, 3))
    faces = faces[(faces != faces.roll(1, 1)).all(1)]
    torch.testing.assert_close(corner_angles(vertices, faces).sum(1), torch.full((len(faces),), math.pi, dtype=torch.float64))
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    turn = turn * torch.linalg.det(turn)
    torch.testing.assert_close(face_normals(vertices @ turn.T + 5, faces), face_normals(vertices, faces) @ turn.T)
    torch.testing.assert_close(face_normals(vertices, faces.flip(1)), -face_normals(vertices, faces))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradcheck(function: Function) -> None:
    mesh = icosphere(0, dtype=torch.float64)
    vertices = (mesh.vertices + 0.1 * torch.randn_like(mesh.vertices)).requires_grad_()
    torch.autograd.gradcheck(lambda v: function(v, mesh.faces), (vertices,))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_degenerate_faces_are_finite(function: Function, dtype: torch.dtype) -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 0], [1e-20, 0, 0]], dtype=dtype, requires_grad=True)
    faces = torch.tensor([[0, 1, 2], [0, 1, 1], [3, 3, 3], [0, 4, 5], [0, 1, 3]])
    value = function(vertices, faces)
    value.sum().backward()
    assert vertices.grad is not None
    assert bool(torch.isfinite(value).all()) and bool(torch.isfinite(vertices.grad).all())


def test_degenerate_faces_have_no_normal() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [1, 1e-9, 0], [1, 1e-3, 0]])
    normals = face_normals(vertices, torch.tensor([[0, 1, 2], [0, 2, 3], [0, 2, 4]]))
    assert normals.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_empty(function: Function) -> None:
    none = torch.zeros(0, 3, dtype=torch.int64)
    assert not bool(function(torch.rand(4, 3), none).any())
    assert function(torch.rand(0, 3), none).shape[0] == 0


def test_float16_of_a_plane_and_messages() -> None:
    sheet = plane(segments=(2, 2))
    assert face_normals(sheet.vertices.to(torch.bfloat16), sheet.faces).dtype == torch.bfloat16
    with pytest.raises(ArgumentError, match='"angle" or "area"'):
        vertex_normals(sheet.vertices, sheet.faces, weighting="none")
    with pytest.raises(ArgumentError, match="face_normals: `faces` must lie in 0 to 8, found 9"):
        face_normals(sheet.vertices, torch.tensor([[0, 1, 9]]))
