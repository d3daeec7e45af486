"""Barycentric interpolation: kernel against twin, gradients, broadcasting, limits."""

from __future__ import annotations

import pytest
import torch

import unproject as up
from unproject.ops import interpolate as ops
from unproject.ops.examples import all_examples
from unproject.reference import interpolate as reference
from unproject.render.interpolate import covered_pixels, to_image
from unproject.testing import check_against_reference, check_gradients, check_operator

OPERATORS = [ops.interpolate, ops.values_backward, ops.weights_backward]


def arguments(pixels: int = 60, *, shifted: bool = True) -> tuple:
    corners = torch.randint(0, 9, (5, 3))
    face = torch.randint(-1, 5, (pixels,))
    base = torch.randint(0, 2, (pixels,)) * 9 if shifted else torch.zeros(0, dtype=torch.int64)
    return torch.randn(18, 4), corners, face, base, torch.rand(pixels, 3)


@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("pixels", [0, 1, 60, 20_000])
def test_kernel_is_its_twin(pixels: int, shifted: bool) -> None:
    check_against_reference(lambda *a: ops.interpolate(*a), reference.interpolate, arguments(pixels, shifted=shifted))


def test_first_and_second_derivatives() -> None:
    values, corners, face, base, weights = arguments(6)
    check_gradients(lambda v, w: ops.interpolate(v, corners, face, base, w), (values, weights), second=True)


@pytest.mark.parametrize("op", OPERATORS, ids=["interpolate", "values", "weights"])
def test_operator_rules(op: object) -> None:
    for other, make in all_examples():
        if other is op:
            check_operator(op, make)


def camera(shape: tuple[int, ...] = (), size: tuple[int, int] = (20, 24)) -> up.Camera:
    azimuth = torch.linspace(0, 40, max(1, torch.Size(shape).numel())).reshape(shape)
    return up.perspective_camera(up.orbit(azimuth, 20.0, 3.0), image_size=size, fov_y_deg=45.0)


def test_positions_lie_where_depth_says() -> None:
    mesh, view = up.icosphere(2), camera()
    fragments = up.rasterize(mesh.vertices, mesh.faces, view)
    position = up.interpolate(mesh.vertices, mesh.faces, fragments)
    expected = up.unproject_depth(view, fragments.depth)
    torch.testing.assert_close(position[fragments.mask], expected[fragments.mask], atol=1e-5, rtol=1e-5)
    assert bool((position[~fragments.mask] == 0).all())


def test_batches_broadcast_and_corners_equal_vertices() -> None:
    mesh, view = up.icosphere(1), camera((2,))
    fragments = up.rasterize(mesh.vertices, mesh.faces, view)
    shared = up.interpolate(mesh.vertices, mesh.faces, fragments)
    each = up.interpolate(torch.stack([mesh.vertices, 2 * mesh.vertices]), mesh.faces, fragments)
    corners = up.interpolate_corners(mesh.vertices[mesh.faces], fragments)
    torch.testing.assert_close(corners, shared)
    torch.testing.assert_close(each[0], shared[0])
    torch.testing.assert_close(each[1], 2 * shared[1])


def test_covered_pixels_and_back() -> None:
    mesh, view = up.icosphere(1), camera((2,))
    fragments = up.rasterize(mesh.vertices, mesh.faces, view)
    pixels = covered_pixels(fragments)
    assert pixels.count == int(fragments.mask.sum())
    torch.testing.assert_close(to_image(pixels.face, pixels, fill=-1), fragments.face)
    assert bool((fragments.mask.flatten(1).sum(1) == torch.bincount(pixels.image, minlength=2)).all())


def test_errors_name_the_argument() -> None:
    mesh = up.icosphere(1)
    fragments = up.rasterize(mesh.vertices, mesh.faces, camera())
    with pytest.raises(up.ArgumentError, match=r"interpolate: `values` must be \[..., V, C\]"):
        up.interpolate(torch.zeros(3), mesh.faces, fragments)
    with pytest.raises(up.ArgumentError, match="interpolate: `faces` must lie in 0 to 9"):
        up.interpolate(mesh.vertices[:10], mesh.faces, fragments)
    with pytest.raises(up.ArgumentError, match="there are only 3 faces"):
        up.interpolate(mesh.vertices, mesh.faces[:3], fragments)
    with pytest.raises(up.ArgumentError, match="do not broadcast"):
        up.interpolate(mesh.vertices.expand(2, -1, -1), mesh.faces, fragments)
