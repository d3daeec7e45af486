"""Pose errors against hand-computed cases."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from unproject.camera.camera import perspective_camera
from unproject.camera.conventions import camera_from_opencv
from unproject.errors import ArgumentError
from unproject.geometry.primitives import box
from unproject.lie.so3 import so3_exp
from unproject.pose.metrics import (
    add_error,
    adds_error,
    mspd_error,
    mssd_error,
    object_diameter,
    rotation_error_deg,
    translation_error,
    vsd_error,
)


def pose(rotation: tuple[float, float, float] = (0, 0, 0), translation: tuple[float, float, float] = (0, 0, 0)) -> torch.Tensor:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = so3_exp(torch.tensor(rotation, dtype=torch.float64))
    matrix[:3, 3] = torch.tensor(translation, dtype=torch.float64)
    return matrix


CORNERS = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)], dtype=torch.float64)
HALF_TURN = torch.stack([pose(), pose((0, 0, math.pi))])


@pytest.mark.parametrize("angle", [1e-9, 1e-3, 1.0, 3.0, math.pi])
def test_rotation_error_at_every_angle(angle: float) -> None:
    error = rotation_error_deg(pose((0, angle, 0)), pose())
    torch.testing.assert_close(error, torch.tensor(math.degrees(angle), dtype=torch.float64), rtol=1e-6, atol=1e-7)


def test_rotation_error_takes_the_nearest_symmetry() -> None:
    estimate = pose((0, 0, math.pi - 0.1))
    assert float(rotation_error_deg(estimate, pose())) == pytest.approx(math.degrees(math.pi - 0.1))
    assert float(rotation_error_deg(estimate, pose(), symmetries=HALF_TURN)) == pytest.approx(math.degrees(0.1))


def test_a_shift_moves_every_point_alike() -> None:
    estimate, truth = pose(translation=(0.3, 0, 0.4)), pose()
    assert float(translation_error(estimate, truth)) == pytest.approx(0.5)
    assert float(add_error(estimate, truth, CORNERS)) == pytest.approx(0.5)
    assert float(mssd_error(estimate, truth, CORNERS)) == pytest.approx(0.5)
    assert float(adds_error(estimate, truth, CORNERS)) == pytest.approx(0.5)


def test_a_quarter_turn_of_a_cube_is_seen_by_add_but_not_by_add_s() -> None:
    estimate, truth = pose((0, 0, math.pi / 2)), pose()
    assert float(add_error(estimate, truth, CORNERS)) == pytest.approx(2.0)  # each corner goes to the next one of its square
    assert float(adds_error(estimate, truth, CORNERS)) == pytest.approx(0.0, abs=1e-9)
    assert float(mssd_error(estimate, truth, CORNERS)) == pytest.approx(2.0)


def test_symmetric_errors_of_a_half_turn() -> None:
    estimate, truth = pose((0, 0, math.pi)), pose()
    assert float(mssd_error(estimate, truth, CORNERS)) == pytest.approx(2 * math.sqrt(2))
    assert float(mssd_error(estimate, truth, CORNERS, symmetries=HALF_TURN)) == pytest.approx(0.0, abs=1e-9)


def test_mspd_by_hand() -> None:
    camera = camera_from_opencv([[100.0, 0, 31.5], [0, 200.0, 23.5], [0, 0, 1]], torch.zeros(3), torch.zeros(3), image_size=(48, 64))
    camera = camera.to(torch.float64)
    point = torch.zeros(1, 3, dtype=torch.float64)
    truth, estimate = pose(translation=(0, 0, 10)), pose(translation=(0.3, 0.2, 10))
    assert float(mspd_error(estimate, truth, point, camera)) == pytest.approx(math.hypot(100 * 0.03, 200 * 0.02))
    assert float(mspd_error(pose(translation=(0, 0, -10)), truth, point, camera)) == math.inf


def test_batches_broadcast() -> None:
    estimates = torch.stack([pose(translation=(k / 10, 0, 0)) for k in range(3)])
    for error in (add_error, adds_error, mssd_error):
        torch.testing.assert_close(error(estimates, pose(), CORNERS), torch.tensor([0.0, 0.1, 0.2], dtype=torch.float64))


def cube_seen_from_the_front() -> tuple:
    mesh = box(size=(1.0, 1.0, 1.0))
    camera = perspective_camera(fov_y_deg=60.0, image_size=(240, 240))
    return mesh, replace(camera, camera_from_world=torch.eye(4)), pose(translation=(0, 0, 3)).float()


def test_vsd_is_zero_at_the_truth_and_counts_depth_errors_beyond_the_tolerance() -> None:
    mesh, camera, truth = cube_seen_from_the_front()
    depth = torch.zeros(240, 240)  # nothing measured: all of the object counts as visible
    options = {"diameter": math.sqrt(3.0), "visible_within": 0.05}
    assert float(vsd_error(truth, truth, mesh, camera, depth, **options).max()) == 0
    farther = truth.clone()
    farther[2, 3] += 0.2  # 0.2 / sqrt(3) = 0.115 of the diameter
    errors = vsd_error(farther, truth, mesh, camera, depth, **options)
    assert float(errors[0]) == 1 and float(errors[1]) == 1
    assert float(errors[3]) == pytest.approx(1 - (76 / 84) ** 2, abs=0.02)  # only the rim: half sides of 41.6 and 38.5 pixels


def test_vsd_ignores_what_the_scene_hides() -> None:
    mesh, camera, truth = cube_seen_from_the_front()
    hidden = torch.ones(240, 240)  # a wall in front of everything
    assert float(vsd_error(truth, truth, mesh, camera, hidden, diameter=1.7, visible_within=0.05).min()) == 1
    half = torch.zeros(240, 240)
    half[:, :120] = 1.0
    assert float(vsd_error(truth, truth, mesh, camera, half, diameter=1.7, visible_within=0.05).max()) == 0


def test_diameter() -> None:
    assert object_diameter(CORNERS) == pytest.approx(2 * math.sqrt(3))
    assert object_diameter(torch.tensor([[0.0, 0, 0], [3, 4, 0]])) == pytest.approx(5)
    with pytest.raises(ArgumentError, match="empty"):
        object_diameter(torch.zeros(0, 3))


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ArgumentError, match="`estimate` must be"):
        mssd_error(torch.eye(3), torch.eye(4), CORNERS)
    mesh, camera, truth = cube_seen_from_the_front()
    with pytest.raises(ArgumentError, match="`depth` must be"):
        vsd_error(truth, truth, mesh, camera, torch.zeros(10, 10), diameter=1.0, visible_within=0.1)
