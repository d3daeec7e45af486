"""Discs and spheres: the kernel against its twin, gradients, depth order, and the recovery of two spheres from one image."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import unproject as up
from unproject.ops import splat as ops
from unproject.reference import splat as reference


def front_camera(size: tuple[int, int] = (24, 28), dtype: torch.dtype = torch.float32) -> up.Camera:
    pose = up.look_at(torch.tensor([0.0, 0, 3], dtype=dtype), torch.zeros(3, dtype=dtype))
    return up.perspective_camera(pose, image_size=size, fov_y_deg=45.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shared", [True, False])
def test_kernel_is_its_twin(dtype: torch.dtype, shared: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    discs = torch.rand(24, 5, generator=generator, dtype=torch.float64) * torch.tensor([84.0, 30, 2, 7, 0.5], dtype=torch.float64)
    discs = (discs + torch.tensor([-2.0, -2, 0.05, 0, 0], dtype=torch.float64)).to(dtype)
    discs[3, 3], discs[5, 2] = 0, -1
    attributes = torch.randn(12 if shared else 24, 3, generator=generator, dtype=torch.float64).to(dtype)
    exponents = torch.tensor([[20.0, 10.0], [4.0, 30.0]], dtype=torch.float64)
    inputs = [discs.requires_grad_(), attributes.requires_grad_()]
    ours, twin = (run(*inputs, exponents, 2, 27, 77, 0.1, 50.0, 1.5) for run in (ops.splat, reference.splat))
    tolerance = 3e-4 if dtype == torch.float32 else 1e-9
    for a, b in zip(ours, twin):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)
    cotangents = [torch.randn(t.shape, generator=generator).to(dtype) for t in ours]
    cotangents[3] = torch.where(twin[3] > -1e20, cotangents[3], 0)
    for a, b in zip(*(torch.autograd.grad(result, inputs, cotangents) for result in (ours, twin))):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.abs().max()))


@pytest.mark.parametrize("nearest_first", [False, True])
def test_depths_far_apart_in_any_order(nearest_first: bool) -> None:
    """Exponents of 10,000 a unit of depth: in float32 as exact as in float64, since only differences of depths are multiplied by them."""
    generator = torch.Generator().manual_seed(4)
    discs = torch.rand(200, 5, generator=generator) * torch.tensor([70.0, 40, 3, 6, 0.2]) + torch.tensor([0.0, 0, 1, 0, 0])
    discs = discs[discs[:, 2].argsort(descending=not nearest_first)]
    attributes, exponents = torch.randn(200, 2, generator=generator), torch.tensor([[4e4, 1e4]], dtype=torch.float64)
    view = (exponents, 1, 40, 70, 0.1, 50.0, 1.0)
    ours, exact = ops.splat(discs, attributes, *view), reference.splat(discs.double(), attributes.double(), *view)
    for a, b, tolerance in zip(ours, exact, (2e-3, 1e-5, 1e-5, 1e-2)):
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("spheres", [False, True])
def test_gradients_of_everything(spheres: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    centers, radii = torch.randn(5, 3, generator=generator).double() * 0.4, torch.rand(5, generator=generator).double() * 0.3 + 0.1
    weights = torch.randn(10, 12, 4, generator=generator).double()

    def value(centers: Tensor, radii: Tensor, colors: Tensor, pose: Tensor) -> Tensor:
        camera = up.perspective_camera(pose, image_size=(10, 12), fov_y_deg=45.0)
        image = up.splat(centers, radii, colors, camera, spheres=spheres, edge_px=2.0, gamma=0.2, depth_range=(1.0, 5.0))
        return (weights * torch.cat([up.over(image.values, image.foreground, 0.3), (image.depth * image.alpha)[..., None]], -1)).sum()

    inputs = [centers, radii, torch.randn(5, 3, generator=generator).double(), front_camera(dtype=torch.float64).camera_from_world]
    assert torch.autograd.gradcheck(value, [t.requires_grad_() for t in inputs], eps=1e-7, atol=1e-5)


def test_the_nearer_point_is_seen() -> None:
    """A red disc before a green one, both over the middle; the green one is larger. And an area of pi r^2."""
    centers = torch.tensor([[0.0, 0, 1], [0, 0, -1]])
    camera = front_camera((64, 64))
    image = up.splat(centers, torch.tensor([0.2, 0.9]), torch.eye(3)[:2], camera)
    torch.testing.assert_close(image.values[32, 32], torch.tensor([1.0, 0, 0]))
    torch.testing.assert_close(image.values[32, 44], torch.tensor([0.0, 1, 0]))
    torch.testing.assert_close(image.depth[32, 32], torch.tensor(2.0))
    radius_px = float(camera.intrinsics[0, 0]) * 0.9 / 4
    torch.testing.assert_close(image.alpha.sum(), torch.tensor(torch.pi * radius_px**2), rtol=5e-3, atol=0)


def test_spheres_bulge() -> None:
    image = up.splat(torch.zeros(1, 3), 0.5, torch.ones(1, 1), front_camera((33, 33)), spheres=True)
    torch.testing.assert_close(image.depth[16, 16], torch.tensor(2.5), atol=1e-5, rtol=0)


def test_batches_are_single_images() -> None:
    pose = up.look_at(torch.tensor([[0.0, 0, 3], [2, 1, 2]]), torch.zeros(3))
    cameras = up.perspective_camera(pose, image_size=(20, 24), fov_y_deg=40.0)
    centers, colors = torch.randn(3, 40, 3) * 0.4, torch.rand(40, 3)
    together = up.splat(centers, 0.1, colors, cameras[:, None])
    assert together.values.shape == (2, 3, 20, 24, 3)
    for i in range(2):
        for m in range(3):
            alone = up.splat(centers[m], 0.1, colors, cameras[i])
            torch.testing.assert_close(together.values[i, m], alone.values)
            torch.testing.assert_close(together.alpha[i, m], alone.alpha)


def test_two_spheres_are_found_through_occlusion() -> None:
    """The course's example: one image of two spheres, one before the other; centres start elsewhere."""
    camera, colors = front_camera((48, 48)), torch.tensor([[1.0, 0.2, 0.2], [0.2, 0.3, 1.0]])
    truth = torch.tensor([[0.15, 0.1, 0.6], [-0.2, -0.1, -0.3]])
    render = lambda centers: up.splat(centers, 0.45, colors, camera, spheres=True, edge_px=6.0, gamma=3e-2, depth_range=(1.0, 5.0))
    target = up.over(render(truth).values, render(truth).alpha, 0.0)
    centers = (truth + torch.tensor([[0.2, -0.25, -0.15], [-0.25, 0.2, 0.2]])).requires_grad_()
    optimizer = torch.optim.Adam([centers], lr=0.02)
    for _ in range(400):
        optimizer.zero_grad()
        image = render(centers)
        (up.over(image.values, image.alpha, 0.0) - target).square().mean().backward()
        optimizer.step()
    assert (centers.detach() - truth).abs().max() < 0.02


def test_nothing_behind_and_bad_arguments() -> None:
    camera = front_camera()
    for centers in (torch.zeros(0, 3), torch.tensor([[0.0, 0, 3], [0, 0, 9]])):  # none; at the camera and behind it
        image = up.splat(centers.requires_grad_(), 0.1, torch.ones(len(centers), 2), camera)
        (image.values.sum() + image.alpha.sum() + image.depth.sum()).backward()
        assert image.values.shape == (24, 28, 2) and not image.alpha.any() and centers.grad is not None and not centers.grad.any()
    point, color = torch.zeros(1, 3), torch.ones(1, 1)
    for change, name in (
        ({"edge_px": 0.0}, "edge_px"),
        ({"gamma": -1.0}, "gamma"),
        ({"radii": -1.0}, "radii"),
        ({"radii": torch.ones(3)}, "radii"),
    ):
        with pytest.raises(up.ArgumentError, match=f"`{name}`"):
            up.splat(**({"centers": point, "radii": 0.1, "attributes": color, "camera": camera} | change))
    with pytest.raises(up.ArgumentError, match="`attributes` must be"):
        up.splat(point, 0.1, torch.ones(3, 1), camera)
    with pytest.raises(up.ArgumentError, match="`centers` has a NaN"):
        up.splat(point * torch.nan, 0.1, color, camera)
