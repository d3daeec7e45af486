"""Other people's conventions, each against one case worked out by hand: a picture wider than high, its principal point off the centre.

The camera stands at (1, 2, 3) and looks along the world's +x axis, with +z up. The image has 200 x 100 pixels, fx = 150, fy = 160; in our
pixels the principal point is (90, 55). The world point (3, 1.8, 3.1) lies at (0.2, -0.1, 2) in camera coordinates, so its pixel is
(90 + 150 * 0.1, 55 - 160 * 0.05) = (105, 47), which is (0.05, 0.06) in normalized device coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from unproject.camera import conventions as c
from unproject.camera.camera import Camera, make_camera
from unproject.camera.transform import world_to_ndc, world_to_screen
from unproject.errors import ArgumentError
from unproject.lie.se3 import se3_random

SIZE = (100, 200)
ROTATION = [[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]
TRANSLATION = [2.0, 3, -1]
POINT = torch.tensor([[3.0, 1.8, 3.1]], dtype=torch.float64)
SCREEN = torch.tensor([[105.0, 47.0, 2.0]], dtype=torch.float64)
WORLD_FROM_OPENGL = torch.tensor([[0.0, 0, -1, 1], [-1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 0, 1]], dtype=torch.float64)


def tensor(value: Any) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def close(a: Tensor, b: Any, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, torch.as_tensor(b, dtype=a.dtype).expand(a.shape), atol=tolerance, rtol=tolerance)


@pytest.fixture
def camera() -> Camera:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3], pose[:3, 3] = tensor(ROTATION), tensor(TRANSLATION)
    return make_camera(tensor([150.0, 160, 90, 55]), pose, image_size=SIZE, near=1.0, far=5.0)


def same(a: Camera, b: Camera) -> None:
    close(a.camera_from_world, b.camera_from_world)
    close(a.intrinsics, b.intrinsics)
    assert a.image_size == b.image_size and a.projection == b.projection


def test_the_case_itself(camera: Camera) -> None:
    close(world_to_screen(camera, POINT), SCREEN)
    close(world_to_ndc(camera, POINT)[:, :2], [[0.05, 0.06]])


def test_opencv(camera: Camera) -> None:
    matrix = tensor([[150.0, 0, 89.5], [0, 160, 54.5], [0, 0, 1]])
    # The turn takes x to z, y to -x, z to -y: 120 degrees about (1, -1, 1) / sqrt(3).
    rvec = tensor([1.0, -1, 1]) * (2 * math.pi / 3 / math.sqrt(3))
    for rotation in (tensor(ROTATION), rvec, rvec[:, None]):
        same(c.camera_from_opencv(matrix, rotation, tensor(TRANSLATION)[:, None], image_size=SIZE), camera)
    exported = c.opencv_from_camera(camera)
    close(exported.camera_matrix, matrix)
    close(exported.rvec, rvec)
    close(exported.tvec, TRANSLATION)
    close(exported.distortion, torch.zeros(5))
    local = tensor([0.2, -0.1, 2.0])
    close((exported.camera_matrix @ local)[:2] / 2, [104.5, 46.5])


def test_opengl(camera: Camera) -> None:
    close(c.pose_from_opengl(WORLD_FROM_OPENGL), camera.camera_from_world)
    close(c.opengl_from_pose(camera.camera_from_world), WORLD_FROM_OPENGL)
    exported = c.opengl_from_camera(camera)
    close(exported.view, torch.linalg.inv(WORLD_FROM_OPENGL))
    close(exported.projection, [[1.5, 0, 0.1, 0], [0, 3.2, 0.1, 0], [0, 0, -1.5, -2.5], [0, 0, -1, 0]])
    clip = exported.projection @ exported.view @ tensor([3.0, 1.8, 3.1, 1])
    close(clip[:3] / clip[3], [0.05, 0.06, 0.25])
    again = c.camera_from_opengl(*exported, image_size=SIZE)
    same(again, camera)
    assert abs(again.near - 1) < 1e-12 and abs(again.far - 5) < 1e-12


def test_opengl_orthographic_and_skewed(camera: Camera) -> None:
    k = tensor([[20.0, 3, 90], [2, 22, 55], [0, 0, 1]])
    for kind in ("orthographic", "perspective"):
        ours = make_camera(k, camera.camera_from_world, image_size=SIZE, projection=kind, near=1.0, far=5.0)
        exported = c.opengl_from_camera(ours)
        clip = exported.projection @ exported.view @ tensor([3.0, 1.8, 3.1, 1])
        close((clip[:2] / clip[3])[None], world_to_ndc(ours, POINT)[:, :2])
        again = c.camera_from_opengl(*exported, image_size=SIZE)
        same(again, ours)
        assert abs(again.near - 1) < 1e-12 and abs(again.far - 5) < 1e-12


def test_blender(camera: Camera) -> None:
    # 36 mm across 200 pixels: 50 mm are 277.78 pixels. The shift is a fraction of the longer side; up moves the centre down.
    ours = c.camera_from_blender(WORLD_FROM_OPENGL, image_size=SIZE, lens_mm=50.0, shift=(0.05, -0.1))
    close(ours.intrinsics, [[277.77777777777777, 0, 90], [0, 277.77777777777777, 30], [0, 0, 1]])
    close(ours.camera_from_world, camera.camera_from_world)
    tall = c.camera_from_blender(WORLD_FROM_OPENGL, image_size=(200, 100), lens_mm=50.0, shift=(0.05, -0.1))
    close(tall.intrinsics, [[277.77777777777777, 0, 40], [0, 277.77777777777777, 80], [0, 0, 1]])
    vertical = c.camera_from_blender(WORLD_FROM_OPENGL, image_size=SIZE, lens_mm=48.0, sensor_fit="VERTICAL")
    close(vertical.intrinsics, [[200.0, 0, 100], [0, 200, 50], [0, 0, 1]])
    flat = c.camera_from_blender(WORLD_FROM_OPENGL, image_size=SIZE, lens_mm=36.0, pixel_aspect=2.0, sensor_fit="HORIZONTAL")
    close(flat.intrinsics, [[200.0, 0, 100], [0, 100, 50], [0, 0, 1]])
    assert abs(c.focal_from_angle(math.pi / 2, 200) - 100) < 1e-12


def test_pytorch3d(camera: Camera) -> None:
    # The shorter side, 100 pixels, spans [-1, 1]; x is to the left, and y upwards.
    rotation, shift = tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]), tensor([-2.0, -3, -1])
    same(c.camera_from_pytorch3d(rotation, shift, tensor([3.0, 3.2]), tensor([0.2, -0.1]), image_size=SIZE), camera)
    same(c.camera_from_pytorch3d(rotation, shift, tensor([150.0, 160]), tensor([90.0, 55]), image_size=SIZE, in_ndc=False), camera)
    exported = c.pytorch3d_from_camera(camera)
    close(exported.R, rotation)
    close(exported.T, shift)
    close(exported.focal_length, [3.0, 3.2])
    close(exported.principal_point, [0.2, -0.1])
    # Its own projection of the point: to (-0.1, 0.06), 5 pixels right of and 3 above the centre.
    local = POINT[0] @ exported.R + exported.T
    close(exported.focal_length * local[:2] / local[2] + exported.principal_point, [-0.1, 0.06])
    one = c.camera_from_pytorch3d(rotation, shift, 2.0, image_size=SIZE)
    close(one.intrinsics, [[100.0, 0, 100], [0, 100, 50], [0, 0, 1]])


def test_colmap(camera: Camera) -> None:
    colmap = c.ColmapCamera("PINHOLE", (150.0, 160.0, 90.0, 55.0), 200, 100, (0.5, 0.5, -0.5, 0.5), (2.0, 3.0, -1.0))
    same(c.camera_from_colmap(colmap, dtype=torch.float64), camera)
    exported = c.colmap_from_camera(camera)
    assert exported.model == "PINHOLE" and (exported.width, exported.height) == (200, 100)
    close(tensor(exported.params), colmap.params)
    close(tensor(exported.qvec), colmap.qvec)
    close(tensor(exported.tvec), colmap.tvec)


@pytest.mark.parametrize("model", c.COLMAP_MODELS)
def test_colmap_models(model: str) -> None:
    _, projection, names = c.COLMAP_MODELS[model]
    focal = [150.0] if names[0] == "f" else [150.0, 160.0]
    extra = [0.01 * (i + 1) for i in range(len(names) - len(focal) - 2)]
    camera = c.camera_from_colmap(c.ColmapCamera(model, (*focal, 90.0, 55.0, *extra), 200, 100, (1, 0, 0, 0), (0, 0, 0)))
    x, y = 0.1, -0.05
    k = dict.fromkeys(("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2"), 0.0) | dict(zip(names[len(focal) + 2 :], extra))
    r2 = x * x + y * y
    if projection == "fisheye":
        angle = math.atan(math.sqrt(r2))
        scale = angle * (1 + k["k1"] * angle**2 + k["k2"] * angle**4 + k["k3"] * angle**6 + k["k4"] * angle**8) / math.sqrt(r2)
        u, v = x * scale, y * scale
    else:
        top, bottom = (1 + a * r2 + b * r2**2 + d * r2**3 for a, b, d in ((k["k1"], k["k2"], k["k3"]), (k["k4"], k["k5"], k["k6"])))
        u = x * top / bottom + 2 * k["p1"] * x * y + k["p2"] * (r2 + 2 * x * x)
        v = y * top / bottom + k["p1"] * (r2 + 2 * y * y) + 2 * k["p2"] * x * y
    expected = [[150 * u + 90, (150 if names[0] == "f" else 160) * v + 55, 2.0]]
    close(world_to_screen(camera.to(torch.float64), tensor([[2 * x, 2 * y, 2]])), expected, 1e-5)
    again = c.camera_from_colmap(c.colmap_from_camera(camera))
    points = torch.rand(5, 3) + torch.tensor([-0.5, -0.5, 2])
    close(world_to_screen(again, points), world_to_screen(camera, points), 1e-4)


@pytest.mark.parametrize("pose", se3_random((3,), dtype=torch.float64, generator=torch.Generator().manual_seed(1)).unbind())
def test_there_and_back(pose: Tensor) -> None:
    camera = make_camera(tensor([150.0, 160, 90, 55]), pose, image_size=SIZE)
    opencv = c.opencv_from_camera(camera)
    same(c.camera_from_opencv(opencv.camera_matrix, opencv.rvec, opencv.tvec, image_size=SIZE, distortion=opencv.distortion), camera)
    same(c.camera_from_opengl(*c.opengl_from_camera(camera), image_size=SIZE), camera)
    same(c.camera_from_pytorch3d(*c.pytorch3d_from_camera(camera)[:4], image_size=SIZE), camera)
    same(c.camera_from_colmap(c.colmap_from_camera(camera), dtype=torch.float64), camera)


def test_batches_and_gradients() -> None:
    poses = se3_random((4,), dtype=torch.float64).requires_grad_()
    camera = make_camera(tensor([150.0, 160, 90, 55]), poses, image_size=SIZE)
    same(c.camera_from_pytorch3d(*c.pytorch3d_from_camera(camera)[:4], image_size=SIZE), camera)
    same(c.camera_from_opencv(*c.opencv_from_camera(camera)[:3], image_size=SIZE), make_camera(camera.intrinsics, poses, image_size=SIZE))
    (gradient,) = torch.autograd.grad(c.opengl_from_camera(camera).view.sum(), poses)
    assert torch.isfinite(gradient).all()


LENS = make_camera([10.0, 10, 5, 5], image_size=(10, 10), distortion=[0.1, 0, 0, 0, 0])
SKEW = make_camera([[10.0, 1, 5], [0, 10, 5], [0, 0, 1]], image_size=(10, 10))
FLAT = make_camera([10.0, 10, 5, 5], image_size=(10, 10), projection="orthographic")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: c.opengl_from_camera(LENS), "opengl_from_camera: `camera` has a lens distortion"),
        (lambda: c.pytorch3d_from_camera(SKEW), "pytorch3d_from_camera: `camera` has skew"),
        (lambda: c.pytorch3d_from_camera(FLAT), "must be perspective"),
        (lambda: c.opencv_from_camera(FLAT), "must not be orthographic"),
        (lambda: c.colmap_from_camera(SKEW), "skew"),
        (lambda: c.colmap_from_camera(LENS[None]), "one camera"),
        (lambda: c.camera_from_colmap(c.ColmapCamera("FOV", (1, 1, 1, 1, 1), 2, 2, (1, 0, 0, 0), (0, 0, 0))), "'FOV' is not supported"),
        (lambda: c.camera_from_colmap(c.ColmapCamera("PINHOLE", (1, 1, 1), 2, 2, (1, 0, 0, 0), (0, 0, 0))), "has 4 parameters"),
        (lambda: c.pose_from_opengl(2 * torch.eye(4)), "pose_from_opengl: `world_from_camera`"),
        (lambda: c.camera_from_opengl(torch.eye(4), torch.ones(4, 4), image_size=SIZE), "`projection` must have the last row"),
        (lambda: c.camera_from_blender(torch.eye(4), image_size=SIZE, sensor_fit="X"), "`sensor_fit`"),
        (lambda: c.camera_from_opencv(torch.eye(4), image_size=SIZE), "camera_from_opencv: `camera_matrix`"),
    ],
)
def test_errors(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
