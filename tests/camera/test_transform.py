"""World, camera, screen and NDC into each other: a case by hand, round trips, broadcasting, gradients, rays and depth."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unproject.camera import transform as t
from unproject.camera.camera import Camera, make_camera
from unproject.errors import ArgumentError
from unproject.lie.se3 import se3_exp, se3_random

# At (1, 2, 3), looking along the world's +x axis with +z up; 200 x 100 pixels, principal point (90, 55).
POSE = torch.tensor([[0.0, -1, 0, 2], [0, 0, -1, 3], [1, 0, 0, -1], [0, 0, 0, 1]], dtype=torch.float64)
WORLD = torch.tensor([[3.0, 1.8, 3.1]], dtype=torch.float64)
K = [150.0, 160.0, 90.0, 55.0]
DISTORTIONS = {
    "plain": ("perspective", None),
    "five": ("perspective", [-0.2, 0.05, 1e-3, -2e-3, 0.01]),
    "eight": ("perspective", [-0.2, 0.05, 1e-3, -2e-3, 0.01, 0.02, 0.03, -0.001]),
    "twelve": ("perspective", [-0.2, 0.05, 1e-3, -2e-3, 0.01, 0.02, 0.03, -0.001, 1e-3, 2e-3, -1e-3, 5e-4]),
    "orthographic": ("orthographic", None),
    "fisheye": ("fisheye", [0.05, -0.02, 0.003, -0.0004]),
    "fisheye without coefficients": ("fisheye", None),
}
each_kind = pytest.mark.parametrize("kind", DISTORTIONS)


def camera_of(kind: str, pose: Tensor = POSE) -> Camera:
    projection, distortion = DISTORTIONS[kind]
    k = torch.tensor([20.0, 22.0, 90.0, 55.0] if kind == "orthographic" else K, dtype=torch.float64)
    return make_camera(k, pose, image_size=(100, 200), projection=projection, distortion=distortion)


def points_before(camera: Camera, *shape: int) -> Tensor:
    """World points in front of the cameras, around the picture."""
    local = torch.rand(*shape, 3, dtype=torch.float64) * torch.tensor([1.0, 0.6, 3]) + torch.tensor([-0.5, -0.3, 1.0])
    return t.camera_to_world(camera, local)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(a, b.expand(a.shape), atol=tolerance, rtol=tolerance)


def test_a_case_by_hand() -> None:
    camera = camera_of("plain")
    row = lambda *v: torch.tensor([v], dtype=torch.float64)
    close(t.world_to_camera(camera, WORLD), row(0.2, -0.1, 2.0))
    close(t.world_to_screen(camera, WORLD), row(105.0, 47.0, 2.0))
    close(t.world_to_ndc(camera, WORLD), row(0.05, 0.06, 2.0))
    close(t.screen_to_ndc(camera, row(0.0, 0.0, 7.0)), row(-1.0, 1.0, 7.0))
    close(t.screen_to_ndc(camera, row(200.0, 100.0, 7.0)), row(1.0, -1.0, 7.0))
    close(t.camera_center(camera), torch.tensor([1.0, 2, 3], dtype=torch.float64))
    close(t.world_to_screen(camera_of("orthographic"), WORLD), row(94.0, 52.8, 2.0))


@each_kind
def test_all_ways_invert(kind: str) -> None:
    camera = camera_of(kind, se3_random((2,), dtype=torch.float64))
    world = points_before(camera, 2, 9)
    local, screen, ndc = t.world_to_camera(camera, world), t.world_to_screen(camera, world), t.world_to_ndc(camera, world)
    close(t.camera_to_world(camera, local), world)
    close(t.screen_to_world(camera, screen), world)
    close(t.ndc_to_world(camera, ndc), world)
    close(t.screen_to_camera(camera, screen), local)
    close(t.ndc_to_camera(camera, ndc), local)
    close(t.ndc_to_screen(camera, ndc), screen)
    close(t.camera_to_ndc(camera, local), ndc)
    close(screen[..., 2], local[..., 2])
    assert t.has_image(camera, local).all()


@each_kind
def test_broadcasting(kind: str) -> None:
    poses = se3_exp(0.05 * torch.randn(4, 6, dtype=torch.float64)) @ POSE
    cameras, one = camera_of(kind, poses), camera_of(kind)
    world = points_before(one, 7)
    every = t.world_to_screen(cameras, world)
    assert every.shape == (4, 7, 3)
    for i in range(4):
        close(t.world_to_screen(cameras[i], world), every[i])
        close(t.screen_to_world(cameras[i], every[i]), world, 1e-9)
    close(t.screen_to_world(cameras, every), world, 1e-9)
    assert t.world_to_screen(one, world.expand(2, 3, 7, 3)).shape == (2, 3, 7, 3)
    assert t.world_to_screen(one, world[:0]).shape == (0, 3)
    assert t.world_to_screen(one, world.float()).dtype == torch.float32


@each_kind
def test_gradients_to_points_and_camera(kind: str) -> None:
    camera = camera_of(kind)
    world = points_before(camera, 3).requires_grad_()
    screen = t.world_to_screen(camera, world).detach().requires_grad_()
    pose = camera.camera_from_world.clone().requires_grad_()
    k = camera.intrinsics.clone().requires_grad_()
    d = None if camera.distortion is None else camera.distortion.clone().requires_grad_()
    rebuild = lambda pose, k, d: Camera(
        camera_from_world=pose, intrinsics=k, image_size=camera.image_size, distortion=d, projection=camera.projection
    )
    parts = (pose, k) if d is None else (pose, k, d)
    forward = lambda points, pose, k, d=None: t.world_to_screen(rebuild(pose, k, d), points)
    backward = lambda points, pose, k, d=None: t.screen_to_world(rebuild(pose, k, d), points)
    assert torch.autograd.gradcheck(forward, (world, *parts))
    assert torch.autograd.gradcheck(backward, (screen, *parts))
    assert torch.autograd.gradgradcheck(backward, (screen, *parts), fast_mode=True)


@settings(max_examples=40, deadline=None)
@given(z=st.floats(-5, 5), x=st.floats(-5, 5), kind=st.sampled_from(sorted(DISTORTIONS)))
def test_values_and_gradients_are_finite_anywhere(z: float, x: float, kind: str) -> None:
    camera = camera_of(kind, torch.eye(4, dtype=torch.float64))
    for dtype in (torch.float64, torch.float32):
        points = torch.tensor([[x, 0.0, z], [0.0, 0.0, z], [x, x, 0.0], [0.0, 0.0, 0.0]], dtype=dtype, requires_grad=True)
        screen = t.world_to_screen(camera, points)
        (gradient,) = torch.autograd.grad(screen.sum(), points)
        assert torch.isfinite(screen).all() and torch.isfinite(gradient).all()


def test_points_behind_are_told_by_their_depth() -> None:
    camera = camera_of("plain", torch.eye(4, dtype=torch.float64))
    screen = t.world_to_screen(camera, torch.tensor([[0.2, -0.1, -2.0]], dtype=torch.float64))
    close(screen, torch.tensor([[75.0, 63.0, -2.0]], dtype=torch.float64))


def test_has_image() -> None:
    points = torch.tensor([[0.0, 0, 1], [0, 0, -1], [3, 0, 1], [0.1, 0, 1]], dtype=torch.float64)
    identity = torch.eye(4, dtype=torch.float64)
    assert t.has_image(camera_of("plain", identity), points).tolist() == [True, False, True, True]
    assert t.has_image(camera_of("orthographic", identity), points).tolist() == [True] * 4
    barrel = make_camera(K, image_size=(100, 200), distortion=[-0.3, 0, 0, 0, 0])  # folds back at r = 1 / sqrt(0.9)
    assert t.has_image(barrel, points.float()).tolist() == [True, False, False, True]
    wide = make_camera(K, image_size=(100, 200), projection="fisheye")
    assert t.has_image(wide, points.float()).tolist() == [True, False, True, True]
    assert t.has_image(wide, torch.tensor([[1.0, 0, -1]])).tolist() == [True]


def test_nothing_from_outside_folds_into_the_picture() -> None:
    camera = make_camera(K, image_size=(100, 200), distortion=[-0.3, 0, 0, 0, 0])
    points = torch.stack([torch.linspace(0, 20, 500), torch.zeros(500), torch.ones(500)], -1)
    u = t.camera_to_screen(camera, points)[:, 0]
    assert (u.diff() > 0).all()


def test_fisheye_sees_behind_itself() -> None:
    camera = camera_of("fisheye without coefficients", torch.eye(4, dtype=torch.float64))
    behind = torch.tensor([[1.0, 0.0, -1.0]], dtype=torch.float64)  # 135 degrees off the axis
    close(t.world_to_screen(camera, behind)[:, :2], torch.tensor([[90 + 150 * 2.356194490192345, 55.0]], dtype=torch.float64))
    _, direction = t.rays_through(camera, t.world_to_screen(camera, behind)[:, :2])
    close(direction, behind / 2**0.5)


@each_kind
def test_rays_go_through_their_pixels(kind: str) -> None:
    camera = camera_of(kind)
    world = points_before(camera, 5)
    screen = t.world_to_screen(camera, world)
    origins, directions = t.rays_through(camera, screen[:, :2], unit=False)
    close(origins + screen[:, 2:] * directions, world)
    _, units = t.rays_through(camera, screen[:, :2])
    close(units.norm(dim=-1), torch.ones(5, dtype=torch.float64))
    close(torch.linalg.cross(units, directions), torch.zeros(5, 3, dtype=torch.float64))
    every_origin, every_direction = t.pixel_rays(camera)
    assert every_origin.shape == every_direction.shape == (100, 200, 3)
    _, corner = t.rays_through(camera, torch.tensor([[199.5, 0.5]], dtype=torch.float64))
    close(every_direction[0, 199], corner[0])


@each_kind
def test_depth_images(kind: str) -> None:
    camera = camera_of(kind, torch.stack([POSE, torch.eye(4, dtype=torch.float64)]))
    depth = (torch.rand(2, 100, 200, dtype=torch.float64) + 1).requires_grad_()
    points = t.unproject_depth(camera, depth)
    assert points.shape == (2, 100, 200, 3)
    screen = t.world_to_screen(camera, points.flatten(1, 2)).unflatten(1, (100, 200))
    close(screen[..., 2], depth, 1e-9)
    close(screen[..., :2], t.pixel_centers(camera), 1e-7)
    distance = t.distance_from_depth(camera, depth)
    origins, directions = t.pixel_rays(camera)
    close(origins + distance[..., None] * directions, points, 1e-9)
    close(t.depth_from_distance(camera, distance), depth)
    (gradient,) = torch.autograd.grad(points.sum(), depth)
    assert torch.isfinite(gradient).all()
    assert t.unproject_depth(camera, depth[0].detach().float()).dtype == torch.float32


def test_errors() -> None:
    camera = camera_of("plain")
    with pytest.raises(ArgumentError, match=r"world_to_screen: `points` must be \[\.\.\., N, 3\]"):
        t.world_to_screen(camera, torch.zeros(3))
    with pytest.raises(ArgumentError, match=r"unproject_depth: image is \[200, 100\], the camera's image_size is \[100, 200\]"):
        t.unproject_depth(camera, torch.zeros(200, 100))
    with pytest.raises(ArgumentError, match="rays_through: `pixels`"):
        t.rays_through(camera, torch.zeros(5, 3))
