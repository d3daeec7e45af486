"""Texture lookup: kernel against twin, conventions, wrapping, pyramids, footprints."""

from __future__ import annotations

import pytest
import torch

import unproject as up
from unproject.ops import texture as ops
from unproject.ops.examples import all_examples
from unproject.reference import texture as reference
from unproject.render.interpolate import covered_pixels
from unproject.render.project import project
from unproject.render.surface import make_surface, uv_footprint
from unproject.render.texture import level_of_detail
from unproject.testing import check_against_reference, check_gradients, check_operator

SIZES = torch.tensor([[0, 5, 7], [35, 3, 4], [47, 1, 1]])


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("wrap_u", [0, 1, 2])
@pytest.mark.parametrize("wrap_v", [0, 1, 2])
def test_kernel_is_its_twin(wrap_u: int, wrap_v: int, nearest: bool) -> None:
    for level in (torch.zeros(0), 4 * torch.rand(50) - 1):
        inputs = (torch.randn(48, 3), SIZES, 4 * torch.rand(50, 2) - 2, level, wrap_u, wrap_v, nearest)
        check_against_reference(lambda *a: ops.texture(*a), reference.texture, inputs)


def test_first_and_second_derivatives() -> None:
    level = torch.tensor([0.0, 0.3, 1.7, 2.0], dtype=torch.float64)
    look = lambda texels, uvs: ops.texture(texels, SIZES, uvs, level, 0, 2, False)
    check_gradients(look, (torch.randn(48, 2), torch.rand(4, 2)), second=True)


@pytest.mark.parametrize("op", [ops.texture, ops.texels_backward, ops.uvs_backward], ids=["texture", "texels", "uvs"])
def test_operator_rules(op: object) -> None:
    for other, make in all_examples():
        if other is op:
            check_operator(op, make)


def test_uv_are_edges_of_texels() -> None:
    """4 x 2 texels: u = 1/8 is the centre of the first column; v = 3/4 the centre of the upper row, which is row 0."""
    texture = torch.arange(8.0).reshape(2, 4, 1)
    u = torch.tensor([0.125, 0.375, 0.625, 0.875])
    for v, row in ((0.75, 0), (0.25, 1)):
        uvs = torch.stack([u, torch.full_like(u, v)], -1)
        torch.testing.assert_close(up.sample_texture(texture, uvs)[:, 0], texture[row, :, 0])
    half = up.sample_texture(texture, torch.tensor([[0.25, 0.75], [0.125, 0.5]]))[:, 0]
    torch.testing.assert_close(half, torch.tensor([0.5, 2.0]))


@pytest.mark.parametrize(("wrap", "expected"), [("repeat", [3.0, 0.0, 1.5]), ("clamp", [0.0, 3.0, 0.0]), ("mirror", [0.0, 3.0, 0.0])])
def test_wrapping(wrap: str, expected: list[float]) -> None:
    texture = torch.arange(4.0).reshape(1, 4, 1)
    found = up.sample_texture(texture, torch.tensor([[-0.125, 0.5], [1.125, 0.5], [0.0, 0.5]]), wrap=wrap)
    torch.testing.assert_close(found[:, 0], torch.tensor(expected))


def test_strange_coordinates_are_harmless() -> None:
    uvs = torch.tensor([[float("nan"), 0.0], [float("inf"), 1e30], [-1e30, -float("inf")], [1e-45, 1.0]], requires_grad=True)
    for wrap in ("repeat", "clamp", "mirror"):
        found = up.sample_texture(torch.rand(3, 5, 2), uvs, wrap=wrap)
        (gradient,) = torch.autograd.grad(found.sum(), uvs)
        assert bool(torch.isfinite(found).all()) and bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 6), (1, 1), (13, 2)])
def test_pyramid_keeps_the_mean(size: tuple[int, int]) -> None:
    texture = torch.rand(*size, 3, dtype=torch.float64)
    pyramid = up.build_mipmap(texture)
    for start, height, width in pyramid.sizes.tolist():
        level = pyramid.texels[start : start + height * width]
        torch.testing.assert_close(level.mean(0), texture.mean((0, 1)))
    assert pyramid.sizes[-1, 1:].tolist() == [1, 1]
    check_gradients(lambda t: up.build_mipmap(t).texels, (torch.rand(3, 5, 1),))


def test_pyramid_lookup_is_linear_between_levels() -> None:
    texture = torch.rand(8, 8, 1, dtype=torch.float64)
    pyramid, uvs = up.build_mipmap(texture), torch.rand(10, 2, dtype=torch.float64)
    at = lambda level: up.sample_texture(pyramid, uvs, level=torch.full((10,), level, dtype=torch.float64))
    torch.testing.assert_close(at(0.0), up.sample_texture(texture, uvs))
    torch.testing.assert_close(at(1.25), 0.75 * at(1.0) + 0.25 * at(2.0))
    torch.testing.assert_close(at(9.0), texture.mean().expand(10, 1))


@pytest.mark.parametrize("orthographic", [False, True])
def test_footprint_is_the_difference_of_neighbours(orthographic: bool) -> None:
    vertices = torch.tensor([[-1.0, -1, 0.3], [1, -1, -0.5], [1, 1, 0.2], [-1, 1, 0.6]], dtype=torch.float64)
    faces = torch.tensor([[0, 1, 2]])
    mesh = up.Mesh(vertices=vertices, faces=faces, uvs=torch.rand(4, 2, dtype=torch.float64))
    pose = up.look_at(torch.tensor([0.3, 0.2, 4.0], dtype=torch.float64))
    size = (40, 50)
    view = (
        up.orthographic_camera(pose, image_size=size, view_height=3.0)
        if orthographic
        else up.perspective_camera(pose, image_size=size, fov_y_deg=40.0)
    )
    fragments = up.rasterize(vertices, faces, view)
    scene = project(vertices, faces, view, where="test")
    pixels = covered_pixels(fragments)
    footprint = torch.zeros(40, 50, 2, 2, dtype=torch.float64)
    footprint.view(-1, 2, 2)[pixels.index] = uv_footprint(make_surface(mesh, scene, view), scene, pixels)
    uv, mask = up.interpolate(mesh.uvs, faces, fragments), fragments.mask
    inner = mask[1:-1, 1:-1] & mask[1:-1, 2:] & mask[1:-1, :-2] & mask[2:, 1:-1] & mask[:-2, 1:-1]
    assert int(inner.sum()) > 100
    across, down = (uv[1:-1, 2:] - uv[1:-1, :-2]) / 2, (uv[2:, 1:-1] - uv[:-2, 1:-1]) / 2
    torch.testing.assert_close(footprint[1:-1, 1:-1, 0][inner], across[inner], atol=1e-4, rtol=1e-2)
    torch.testing.assert_close(footprint[1:-1, 1:-1, 1][inner], down[inner], atol=1e-4, rtol=1e-2)


def test_level_of_detail_counts_texels() -> None:
    footprint = torch.tensor([[[1 / 64, 0.0], [0.0, 1 / 64]], [[4 / 64, 0.0], [0.0, 1 / 64]], [[0.0, 0.0], [0.0, 0.0]]])
    torch.testing.assert_close(level_of_detail(footprint, (64, 64)), torch.tensor([0.0, 2.0, 0.0]))


def test_errors_name_the_argument() -> None:
    texture, uvs = torch.rand(4, 4, 3), torch.rand(5, 2)
    with pytest.raises(up.ArgumentError, match="sample_texture: `wrap` must be of repeat, clamp, mirror"):
        up.sample_texture(texture, uvs, wrap="around")
    with pytest.raises(up.ArgumentError, match="`filter` must be one of bilinear, nearest"):
        up.sample_texture(texture, uvs, filter="cubic")
    with pytest.raises(up.ArgumentError, match=r"`uvs` must be \[..., 2\]"):
        up.sample_texture(texture, uvs[:, :1])
    with pytest.raises(up.ArgumentError, match="`texture` is empty"):
        up.sample_texture(texture[:0], uvs)
    with pytest.raises(up.ArgumentError, match="`level` must be"):
        up.sample_texture(up.build_mipmap(texture), uvs, level=torch.zeros(3))


def test_srgb_curve_and_its_inverse() -> None:
    values = torch.tensor([0.0, 0.02, 0.04045, 0.5, 1.0], dtype=torch.float64)
    expected = torch.tensor([0.0, 0.02 / 12.92, 0.0031308, 0.2140411, 1.0], dtype=torch.float64)
    torch.testing.assert_close(up.linear_from_srgb(values), expected, atol=1e-7, rtol=1e-5)
    torch.testing.assert_close(up.srgb_from_linear(up.linear_from_srgb(values)), values, atol=1e-7, rtol=0)
    check_gradients(lambda c: (up.linear_from_srgb(c), up.srgb_from_linear(c)), (torch.tensor([0.001, 0.3, 0.8]),))
    zero = torch.zeros(1, requires_grad=True)
    assert float(torch.autograd.grad(up.srgb_from_linear(zero).sum(), zero)[0]) == pytest.approx(12.92)
