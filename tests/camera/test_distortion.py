"""Lens distortion against numbers recorded from OpenCV 5.0, its inverse, its limits, and undistorted images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unproject.camera import distortion as d
from unproject.camera.camera import make_camera
from unproject.camera.conventions import camera_from_opencv
from unproject.camera.transform import camera_to_screen, rays_through, world_to_screen
from unproject.camera.undistortion import corresponding_pixels, resample_image, undistort_image, undistorted_camera
from unproject.errors import ArgumentError

MATRIX = torch.tensor([[150.0, 0, 90.25], [0, 160, 54.5], [0, 0, 1]], dtype=torch.float64)
RVEC, TVEC = torch.tensor([[0.1, -0.2, 0.3], [0.05, -0.1, 2.0]], dtype=torch.float64)
POINTS = torch.tensor([[0.2, -0.1, 0.3], [-0.4, 0.3, -0.2], [0.0, 0.0, 0.0]], dtype=torch.float64)
LENS = [-0.28, 0.09, 1e-3, -2e-3, 0.01, 0.02, 0.03, -0.001, 1e-3, 2e-3, -1e-3, 5e-4]
FISHEYE = [0.05, -0.02, 0.003, -0.0004]
# cv2.projectPoints(POINTS, RVEC, TVEC, MATRIX, LENS[:n]) and cv2.fisheye.projectPoints
RECORDED = {
    4: [[103.92788010230696, 42.41631047599057], [58.002330867475074, 63.33984207983053], [93.99503454589843, 46.50909296875]],
    5: [[103.92788049183864, 42.41631013190209], [58.00228876186464, 63.339853616833466], [93.99503454704285, 46.50909296630859]],
    8: [[103.9239248398836, 42.41980431314425], [58.03724756201849, 63.33027485106436], [93.994799294129, 46.50959483919148]],
    12: [[103.92610771200548, 42.41755602702655], [58.04559125910652, 63.32239581924295], [93.99527097381649, 46.50909562044148]],
    0: [[103.93870760143265, 42.40823210077332], [58.051988214197614, 63.32230545012536], [93.9966844413986, 46.50707319168298]],
}


def close(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b.to(a.dtype), atol=tolerance, rtol=0)


@pytest.mark.parametrize("count", RECORDED)
def test_projection_is_opencvs(count: int) -> None:
    lens = FISHEYE if count == 0 else LENS[:count]
    camera = camera_from_opencv(MATRIX, RVEC, TVEC, image_size=(100, 200), distortion=lens, fisheye=count == 0)
    expected = torch.tensor(RECORDED[count], dtype=torch.float64) + 0.5  # OpenCV's pixel centres are integers
    close(world_to_screen(camera, POINTS)[:, :2], expected, 1e-11)


@pytest.mark.parametrize("count", [4, 5, 8, 12])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_undistortion_inverts(count: int, dtype: torch.dtype) -> None:
    lens = torch.tensor(LENS[:count], dtype=dtype)
    points = 1.4 * (torch.rand(3, 200, 2, dtype=dtype) - 0.5)
    distorted = d.distort_points(points, lens)
    close(d.undistort_points(distorted, lens), points, 1e-12 if dtype == torch.float64 else 1e-5)
    assert d.undistortion_residual(distorted, points, lens).max() < 1e-6


@pytest.mark.parametrize("count", [4, 5, 8, 12])
def test_gradients(count: int) -> None:
    lens = torch.tensor(LENS[:count], dtype=torch.float64, requires_grad=True)
    points = (torch.rand(3, 2, dtype=torch.float64) - 0.5).requires_grad_()
    for function in (d.distort_points, d.undistort_points):
        assert torch.autograd.gradcheck(function, (points, lens))
        assert torch.autograd.gradgradcheck(function, (points, lens))


def test_fisheye_inverts_up_to_its_limit() -> None:
    lens = torch.tensor(FISHEYE, dtype=torch.float64)
    limit = d.fisheye_angle(lens)
    slope = 1 + sum((2 * i + 3) * k * limit ** (2 * i + 2) for i, k in enumerate(FISHEYE))
    assert limit < torch.pi and abs(slope) < 1e-9
    angle = torch.linspace(0, 0.99 * float(limit), 50, dtype=torch.float64)
    direction = torch.stack([angle.sin() * 0.6, angle.sin() * 0.8, angle.cos()], -1)
    close(d.undistort_fisheye(d.distort_fisheye(direction, lens), lens), direction, 1e-9)
    assert d.fisheye_angle(torch.zeros(4)) == torch.tensor(torch.pi)


def test_fisheye_gradients() -> None:
    lens = torch.tensor(FISHEYE, dtype=torch.float64, requires_grad=True)
    points = torch.tensor([[0.0, 0, 1], [1e-9, 0, 1], [0.3, -0.2, 1], [1.0, 0.5, -0.2]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(d.distort_fisheye, (points, lens))
    assert torch.autograd.gradgradcheck(d.distort_fisheye, (points, lens))
    image = d.distort_fisheye(points, lens).detach().requires_grad_()
    assert torch.autograd.gradcheck(d.undistort_fisheye, (image, lens))
    assert torch.autograd.gradgradcheck(d.undistort_fisheye, (image, lens))


def test_radius_where_the_model_folds() -> None:
    # r (1 - 0.3 r^2) grows up to r^2 = 1 / 0.9.
    assert abs(d.distortion_radius(torch.tensor([-0.3, 0, 0, 0, 0], dtype=torch.float64)) - (1 / 0.9) ** 0.5) < 1e-12
    assert d.distortion_radius(torch.tensor([0.3, 0.1, 0, 0, 0])) == float("inf")
    assert d.distortion_radius(torch.zeros(2, 5)).tolist() == [float("inf")] * 2
    # A pole of the rational model: 1 - r^2 in the divisor.
    assert abs(d.distortion_radius(torch.tensor([0.0, 0, 0, 0, 0, -1, 0, 0], dtype=torch.float64)) - 1) < 1e-9


def test_undistortion_of_what_has_no_origin() -> None:
    lens = torch.tensor([-0.3, 0, 0, 0, 0], dtype=torch.float64, requires_grad=True)
    points = torch.tensor([[0.1, 0.0], [5.0, 0.0], [0.0, -9.0]], dtype=torch.float64, requires_grad=True)
    found = d.undistort_points(points, lens)
    assert (d.undistortion_residual(points, found, lens) > 1e-3).tolist() == [False, True, True]
    assert found.norm(dim=-1).max() <= d.distortion_radius(lens) * 1.001
    for gradient in torch.autograd.grad(found.sum(), (points, lens)):
        assert torch.isfinite(gradient).all()


def test_strong_distortion_where_fixed_point_iteration_fails() -> None:
    lens = torch.tensor([-0.4, 0.2, 0, 0, 0], dtype=torch.float64)
    points = torch.tensor([[0.9, 0.9]], dtype=torch.float64)  # cv2.undistortPoints gives (1.1006, 1.1006), which it images to (0.99, 0.99)
    found = d.undistort_points(points, lens)
    assert d.undistortion_residual(points, found, lens) < 1e-14


def test_batches_of_lenses() -> None:
    lenses = torch.tensor([LENS[:5], [0.0] * 5], dtype=torch.float64)
    points = torch.rand(7, 2, dtype=torch.float64) - 0.5
    both = d.distort_points(points, lenses)
    close(both[1], points)
    close(d.undistort_points(both, lenses), points.expand(2, 7, 2))


def test_errors() -> None:
    with pytest.raises(ArgumentError, match="distort_points: `coefficients` must be 4, 5, 8, 12 numbers"):
        d.distort_points(torch.zeros(1, 2), torch.zeros(14))
    with pytest.raises(ArgumentError, match="undistort_points: `points`"):
        d.undistort_points(torch.zeros(1, 3), torch.zeros(5))
    camera = make_camera([10.0, 10, 5, 5], image_size=(10, 10))
    with pytest.raises(ArgumentError, match=r"resample_image: `image` is \[9, 10\]"):
        undistort_image(torch.zeros(9, 10, 3), camera)
    with pytest.raises(ArgumentError, match="`mode`"):
        undistort_image(torch.zeros(10, 10, 3), camera, mode="cubic")
    with pytest.raises(ArgumentError, match="orthographic"):
        undistort_image(torch.zeros(10, 10, 3), make_camera([1.0, 1, 0, 0], image_size=(10, 10), projection="orthographic"))


def pattern(pixels: Tensor) -> Tensor:
    """A smooth picture as a function of position."""
    return torch.stack([torch.sin(0.05 * pixels[..., 0]), torch.cos(0.07 * pixels[..., 1])], -1)


@pytest.mark.parametrize("lens", [LENS[:5], LENS[:8], FISHEYE], ids=["five", "eight", "fisheye"])
def test_undistorted_images(lens: list[float]) -> None:
    camera = make_camera(
        [150.0, 160, 90, 55], image_size=(100, 200), distortion=lens, projection="fisheye" if lens is FISHEYE else "perspective"
    ).to(torch.float64)
    plain = undistorted_camera(camera)
    # The picture that the distorted camera takes of a world that the plain one sees as `pattern`.
    pixels, seen = corresponding_pixels(plain, camera)
    image = pattern(pixels).requires_grad_()
    straight = undistort_image(image, camera)
    source, inside = corresponding_pixels(camera, plain)
    near_edge = ((source < 1) | (source > torch.tensor([199.0, 99.0]))).any(-1)
    grid = torch.stack(torch.meshgrid(torch.arange(200) + 0.5, torch.arange(100) + 0.5, indexing="xy"), -1).double()
    good = inside & ~near_edge
    assert good.float().mean() > 0.9 and seen.any()
    assert (straight - pattern(grid))[good].abs().max() < 2e-3  # bilinear interpolation of a curve
    (gradient,) = torch.autograd.grad(straight.sum(), image)
    assert torch.isfinite(gradient).all()


def test_resampling_keeps_the_image_of_the_same_camera() -> None:
    camera = make_camera([150.0, 160, 90, 55], image_size=(6, 8))
    image = torch.rand(2, 6, 8, 3)
    close(resample_image(image, camera, camera), image, 1e-4)
    close(resample_image(image, camera, camera, mode="nearest"), image, 0.0)


def test_resampling_into_a_turned_camera() -> None:
    camera = make_camera([40.0, 40, 40, 30], image_size=(60, 80)).to(torch.float64)
    turned = camera.camera_from_world.clone()
    turned[:3, :3] = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])  # a quarter turn about the axis
    turned[:3, 3] = torch.tensor([7.0, 8, 9])  # which does not matter
    other = make_camera([40.0, 40, 30, 40], turned, image_size=(80, 60))
    image = torch.rand(60, 80, 1, dtype=torch.float64)
    close(resample_image(image, camera, other), torch.rot90(image), 1e-9)


def test_lens_and_rays_agree() -> None:
    camera = make_camera([150.0, 160, 90, 55], image_size=(100, 200), distortion=LENS[:8]).to(torch.float64)
    pixels = torch.rand(20, 2, dtype=torch.float64) * torch.tensor([200.0, 100])
    _, directions = rays_through(camera, pixels)
    close(camera_to_screen(camera, directions)[:, :2], pixels, 1e-9)
