"""look_at, orbits and Fibonacci viewpoints."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unproject.camera.camera import check_rigid, perspective_camera
from unproject.camera.transform import camera_center, world_to_screen
from unproject.camera.viewpoints import fibonacci_directions, fibonacci_viewpoints, look_at, orbit
from unproject.errors import ArgumentError

DTYPES = [torch.float64, torch.float32]


def close(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


def center(pose: Tensor) -> Tensor:
    return camera_center(perspective_camera(pose, image_size=(1, 1), fx=1.0))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_look_at(dtype: torch.dtype) -> None:
    eye, target, up = torch.randn(3, 2, 5, 3, dtype=dtype).unbind(0)
    pose = check_rigid(look_at(eye, target, up), name="pose", where="test")
    assert pose.shape == (2, 5, 4, 4) and pose.dtype == dtype
    camera = perspective_camera(pose, image_size=(100, 200), fx=50.0)
    screen = world_to_screen(camera, torch.stack([target, target + 0.01 * up], -2))
    tolerance = 1e-3 if dtype == torch.float32 else 1e-9
    close(screen[..., 0, :2], torch.tensor([100.0, 50.0], dtype=dtype).expand(2, 5, 2), tolerance)
    close(screen[..., 0, 2], (target - eye).norm(dim=-1), tolerance)
    assert (screen[..., 1, 1] < 50).all()  # up is upwards
    close(screen[..., 1, 0], torch.full((2, 5), 100.0, dtype=dtype), 10 * tolerance)


def test_look_at_by_hand() -> None:
    expected = torch.tensor([[0.0, -1, 0, 2], [0, 0, -1, 3], [1, 0, 0, -1], [0, 0, 0, 1]])
    close(look_at((1, 2, 3), (2, 2, 3), (0, 0, 1)), expected, 1e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("up", [(0.0, 1.0, 0.0), (0.0, -5.0, 0.0), (0.0, 0.0, 0.0), (1e-9, 1.0, 0.0)])
def test_look_at_along_up_is_finite_and_documented(up: tuple[float, ...], dtype: torch.dtype) -> None:
    eye = torch.tensor([0.0, 3.0, 0.0], dtype=dtype, requires_grad=True)
    direction = torch.tensor(up, dtype=dtype, requires_grad=True)
    pose = look_at(eye, torch.zeros(3, dtype=dtype), direction)
    expected = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 3], [0, 0, 0, 1]], dtype=dtype)  # -z is upwards
    close(pose, expected, 1e-6)
    for gradient in torch.autograd.grad(pose.square().sum() + pose[0, 1], (eye, direction)):
        assert torch.isfinite(gradient).all()
    close(look_at([0.0, 0, 0], [0, 0, 1], [0, 0, 1])[1, :3], torch.tensor([0.0, -1, 0]), 1e-6)  # elsewhere +y is upwards


def test_look_at_gradients_and_errors() -> None:
    arguments = tuple(v.requires_grad_() for v in torch.randn(3, 3, dtype=torch.float64).unbind(0))
    assert torch.autograd.gradcheck(look_at, arguments)
    with pytest.raises(ArgumentError, match="look_at: `eye` and `target` must differ"):
        look_at([1.0, 2, 3], [1.0, 2, 3])
    with pytest.raises(ArgumentError, match="look_at: `eye`"):
        look_at([1.0, 2])


@pytest.mark.parametrize("up_axis", ["y", "z"])
def test_orbit(up_axis: str) -> None:
    azimuth = torch.tensor([0.0, 90.0, 30.0, 200.0], dtype=torch.float64)
    elevation = torch.tensor([0.0, 0.0, 20.0, -70.0], dtype=torch.float64)
    target = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    pose = check_rigid(orbit(azimuth, elevation, 2.0, target=target, up_axis=up_axis), name="pose", where="test")
    eye = center(pose) - target
    front = [0.0, 0, 2] if up_axis == "y" else [0.0, -2, 0]
    close(eye[:2], torch.tensor([front, [2.0, 0, 0]], dtype=torch.float64))
    assert eye[2, "xyz".index(up_axis)] > 0 > eye[3, "xyz".index(up_axis)]
    up = torch.eye(3, dtype=torch.float64)["xyz".index(up_axis)]
    close(pose, look_at(eye + target, target, up), 1e-9)


def test_orbit_is_smooth_at_the_pole() -> None:
    poles = orbit(torch.tensor([0.0, 40.0]), torch.tensor([89.999, 90.0]), 2.0)
    close(poles[0, :3, :3], orbit(0.0, 90.0, 2.0)[:3, :3], 1e-4)
    assert torch.isfinite(poles).all()
    angles = tuple(torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (40.0, 90.0, 2.0))
    assert torch.autograd.gradcheck(orbit, angles)
    with pytest.raises(ArgumentError, match="`up_axis`"):
        orbit(0.0, up_axis="x")
    with pytest.raises(ArgumentError, match="`distance`"):
        orbit(0.0, distance=-1.0)


def test_fibonacci() -> None:
    directions = fibonacci_directions(500, dtype=torch.float64)
    close(directions.norm(dim=-1), torch.ones(500, dtype=torch.float64))
    assert directions.mean(0).abs().max() < 5e-3
    close(directions.mT @ directions / 500, torch.eye(3, dtype=torch.float64) / 3, 5e-3)
    gap = torch.cdist(directions, directions).fill_diagonal_(9).amin(1)
    even = (4 * torch.pi / 500) ** 0.5
    assert gap.min() > 0.6 * even and gap.max() < 1.2 * even
    pose = check_rigid(fibonacci_viewpoints(50, 3.0, target=(1.0, 0, 0)), name="pose", where="test")
    close((center(pose) - torch.tensor([1.0, 0, 0])).norm(dim=-1), torch.full((50,), 3.0), 1e-5)
    assert fibonacci_viewpoints(1).shape == (1, 4, 4)
    with pytest.raises(ArgumentError, match="`count`"):
        fibonacci_viewpoints(0)
    with pytest.raises(ArgumentError, match="`distance`"):
        fibonacci_viewpoints(2, 0.0)
