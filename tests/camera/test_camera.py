"""The Camera value, its constructors, and what they refuse."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from unproject.camera.camera import (
    Camera,
    check_camera,
    crop_camera,
    make_camera,
    orthographic_camera,
    perspective_camera,
    resize_camera,
    stack_cameras,
)
from unproject.camera.transform import world_to_ndc, world_to_screen
from unproject.errors import ArgumentError, UnprojectError

EYE = torch.eye(4)
K = torch.tensor([[150.0, 0, 90], [0, 160, 55], [0, 0, 1]])
SIZE = (100, 200)


def test_perspective_camera_from_field_of_view() -> None:
    camera = perspective_camera(image_size=(100, 200), fov_y_deg=90.0)
    torch.testing.assert_close(camera.intrinsics, torch.tensor([[50.0, 0, 100], [0, 50, 50], [0, 0, 1]]))
    edge = torch.tensor([[0.0, -2.0, 2.0], [4.0, 0.0, 2.0]])  # the middle of the upper edge, and of the right one
    torch.testing.assert_close(world_to_screen(camera, edge), torch.tensor([[100.0, 0, 2], [200.0, 50, 2]]))


def test_perspective_camera_from_focal_lengths() -> None:
    camera = perspective_camera(image_size=SIZE, fx=150, fy=160.0, cx=90, cy=55)
    torch.testing.assert_close(camera.intrinsics, K)
    assert perspective_camera(image_size=SIZE, fx=7.0).intrinsics[1, 1] == 7


def test_orthographic_camera() -> None:
    camera = orthographic_camera(image_size=(100, 200), view_height=4.0, near=-1.0)
    points = torch.tensor([[0.0, 0, 9], [4, 2, 0], [-4, -2, -0.5]])
    torch.testing.assert_close(world_to_screen(camera, points), torch.tensor([[100.0, 50, 9], [200, 100, 0], [0, 0, -0.5]]))


def test_batches_types_and_gradients_of_constructors() -> None:
    angle = torch.tensor([30.0, 60.0], dtype=torch.float64, requires_grad=True)
    camera = perspective_camera(image_size=SIZE, fov_y_deg=angle)
    assert camera.batch_shape == (2,) and camera.intrinsics.dtype == torch.float64
    (gradient,) = torch.autograd.grad(camera.intrinsics[:, 0, 0].sum(), angle)
    torch.testing.assert_close(gradient, -50 / torch.sin(angle.detach() * math.pi / 360) ** 2 * math.pi / 360)
    assert perspective_camera(np.eye(4), image_size=SIZE, fx=1.0).camera_from_world.dtype == torch.float64
    assert make_camera([1, 1, 0, 0], image_size=SIZE).intrinsics.dtype == torch.float32
    assert make_camera(torch.ones(4, 4).tolist()[:1] * 3, image_size=SIZE).batch_shape == (3,)
    assert make_camera(K, EYE.repeat(2, 3, 1, 1), image_size=SIZE).batch_shape == (2, 3)


def test_indexing_expands_what_the_batch_shares() -> None:
    poses = EYE.repeat(3, 1, 1)
    poses[:, 0, 3] = torch.arange(3.0)
    camera = make_camera(K, poses, image_size=SIZE, distortion=[0.1, 0, 0, 0, 0])
    one = camera[1]
    assert one.batch_shape == () and one.camera_from_world[0, 3] == 1 and one.distortion is not None and one.distortion.shape == (5,)
    assert camera[1:].batch_shape == (2,)
    assert camera[torch.tensor([True, False, True])].batch_shape == (2,)
    assert camera[torch.tensor([2, 0, 0, 1])].camera_from_world[:, 0, 3].tolist() == [2, 0, 0, 1]
    assert camera[None].batch_shape == (1, 3)
    with pytest.raises(ArgumentError, match="too many"):
        camera[0, 0]
    with pytest.raises(ArgumentError, match="without a batch"):
        one[0]


def test_stack_cameras() -> None:
    a = make_camera(K, image_size=SIZE, near=0.5)
    b = make_camera(K, image_size=SIZE, distortion=[0.1, 0, 0, 0, 0], far=10.0)
    both = stack_cameras([a, b])
    assert both.batch_shape == (2,) and both.near == 0.01 and both.far == 1e4
    points = torch.rand(4, 3) + 1
    torch.testing.assert_close(world_to_screen(both, points), torch.stack([world_to_screen(a, points), world_to_screen(b, points)]))
    with pytest.raises(ArgumentError, match="camera 1"):
        stack_cameras([a, resize_camera(a, (50, 100))])
    with pytest.raises(ArgumentError, match="empty"):
        stack_cameras([])


def test_crop_and_resize() -> None:
    camera, points = make_camera(K, image_size=SIZE), torch.rand(5, 3) + torch.tensor([0.0, 0, 1])
    pixels = world_to_screen(camera, points)
    half = resize_camera(camera, (50, 100))
    torch.testing.assert_close(world_to_screen(half, points), pixels * torch.tensor([0.5, 0.5, 1]))
    torch.testing.assert_close(world_to_ndc(half, points), world_to_ndc(camera, points))
    crop = crop_camera(camera, (20, 10, 60, 40), (60, 80))
    assert crop.image_size == (60, 80)
    torch.testing.assert_close(world_to_screen(crop, points), (pixels - torch.tensor([20.0, 10, 0])) * torch.tensor([2.0, 2, 1]))
    assert crop_camera(camera, (20, 10, 60, 40)).image_size == (30, 40)
    with pytest.raises(ArgumentError, match="`box`"):
        crop_camera(camera, (20, 10, 20, 40))


def bad(matrix: torch.Tensor, row: int, column: int, value: float) -> torch.Tensor:
    changed = matrix.clone()
    changed[row, column] = value
    return changed


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_camera(K, image_size=(0, 10)), r"`image_size` must be \(height, width\), both at least 1, got \(0, 10\)"),
        (lambda: make_camera(K, image_size=(10.5, 10)), "`image_size`"),  # type: ignore[arg-type]
        (lambda: make_camera(K, image_size=10), "`image_size`"),  # type: ignore[arg-type]
        (lambda: make_camera(K, image_size=SIZE, near=2.0, far=2.0), "`near` must be smaller than `far`"),
        (lambda: make_camera(K, image_size=SIZE, near=0.0), "`near` must be positive"),
        (lambda: make_camera(K, image_size=SIZE, near=float("nan")), "`near`"),
        (lambda: make_camera(bad(K, 0, 0, 0), image_size=SIZE), "make_camera: `intrinsics` is singular"),
        (lambda: make_camera(bad(K, 2, 2, 2), image_size=SIZE), "`intrinsics` must have the last row"),
        (lambda: make_camera(bad(K, 0, 2, float("nan")), image_size=SIZE), "`intrinsics` has a NaN"),
        (lambda: make_camera(torch.ones(3, 4, 3), image_size=SIZE), "`intrinsics` must be"),
        (lambda: make_camera(torch.ones(2), image_size=SIZE), "`intrinsics` must be"),
        (lambda: make_camera(K, torch.eye(3), image_size=SIZE), "`camera_from_world` must be"),
        (lambda: make_camera(K, bad(EYE, 3, 3, 2), image_size=SIZE), "`camera_from_world` must have the last row"),
        (lambda: make_camera(K, bad(EYE, 0, 0, 2), image_size=SIZE), "`camera_from_world` is not rigid"),
        (lambda: make_camera(K, bad(EYE, 0, 0, -1), image_size=SIZE), "`camera_from_world` mirrors"),
        (lambda: make_camera(K, torch.stack([EYE, bad(EYE, 0, 0, 2)]), image_size=SIZE), "camera 1 of the batch"),
        (lambda: make_camera(K, image_size=SIZE, distortion=[0.1, 0.2]), "`distortion` of a perspective camera must be 5 or 8 or 12"),
        (lambda: make_camera(K, image_size=SIZE, distortion=[0.0] * 12 + [0.1, 0]), "tilt"),
        (lambda: make_camera(K, image_size=SIZE, distortion=[0.0] * 5, projection="fisheye"), "`distortion` of a fisheye camera"),
        (lambda: make_camera(K, image_size=SIZE, projection="pinhole"), "`projection` must be one of"),
        (lambda: make_camera(K.repeat(2, 1, 1), EYE.repeat(3, 1, 1), image_size=SIZE), "disagree"),
        (lambda: perspective_camera(image_size=SIZE), "perspective_camera: give either"),
        (lambda: perspective_camera(image_size=SIZE, fov_y_deg=40, fx=3), "perspective_camera: give either"),
        (lambda: perspective_camera(image_size=SIZE, fov_y_deg=180.0), "`fov_y_deg` must lie between 0 and 180"),
        (lambda: orthographic_camera(image_size=SIZE, view_height=0.0), "`view_height` must be positive"),
        (lambda: check_camera(K, where="render"), "render: `camera` must be a Camera"),  # type: ignore[arg-type]
        (
            lambda: check_camera(Camera(camera_from_world=2 * EYE, intrinsics=K, image_size=SIZE), where="render"),
            "render: `camera_from_world`",
        ),
    ],
)
def test_what_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UnprojectError, match=message):
        make()


def test_opencv_counts_of_coefficients() -> None:
    four = make_camera(K, image_size=SIZE, distortion=[0.1, 0.2, 0.3, 0.4])
    fourteen = make_camera(K, image_size=SIZE, distortion=[0.1, 0.2, 0.3, 0.4] + [0.0] * 10)
    assert four.distortion is not None and four.distortion.shape == (5,)
    assert fourteen.distortion is not None and fourteen.distortion.shape == (12,)


def test_struct_methods() -> None:
    camera = make_camera(K.clone().requires_grad_(), image_size=SIZE)
    assert not camera.detach().intrinsics.requires_grad
    assert camera.to(torch.float64).camera_from_world.dtype == torch.float64
    assert dataclasses.replace(camera, near=0.5).near == 0.5
    with pytest.raises(dataclasses.FrozenInstanceError):
        camera.near = 1.0  # type: ignore[misc]
