"""Pose terms: kernel against twin, the slope against differences of the cost, and inputs with nothing in them."""

from __future__ import annotations

import pytest
import torch

from unproject.lie.so3 import so3_exp
from unproject.ops.pose_terms import example_scene, pose_terms
from unproject.reference import pose_terms as reference


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernel_is_twin(dtype: torch.dtype) -> None:
    scene = example_scene(dtype, poses=5)
    rounded = [t.float() if t.is_floating_point() else t for t in scene]  # what the kernel takes
    ours, twin = pose_terms(*scene, 60.0, 0.1, True), reference.pose_terms(*rounded, 60.0, 0.1, True)
    for mine, theirs in zip(ours, twin):
        torch.testing.assert_close(mine, theirs, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("term", range(6))
def test_each_term_alone_is_twin(term: int) -> None:
    *scene, weights = example_scene(torch.float32, poses=4)
    alone = torch.zeros_like(weights)
    alone[term] = 1
    ours, twin = (run(*scene, alone, 2000.0, 0.1, True) for run in (pose_terms, reference.pose_terms))
    for mine, theirs in zip(ours, twin):
        torch.testing.assert_close(mine, theirs, rtol=2e-4, atol=2e-4)
    assert ours[0][:, term].max() > 0


@pytest.mark.parametrize("term", [1, 5])
def test_slope_is_half_the_derivative_of_the_cost(term: int) -> None:
    points, rim, areas, views, poses, maps, outline, lens, sigmas, weights = example_scene(torch.float64, poses=3)
    y, x = torch.meshgrid(torch.arange(20) + 0.5, torch.arange(24) + 0.5, indexing="ij")
    for channel in (2, 7):  # smooth maps, whose bilinear slope is exact
        maps[..., channel] = 0.3 * (x - 10) + 0.2 * (y - 8)
    maps[..., 6], maps[..., 1] = 0, 1
    alone = torch.zeros_like(weights)
    alone[term] = 1
    run = lambda p: pose_terms(points, rim, areas, views, p, maps, outline, lens, sigmas, alone, 60.0, 0.1, True)
    _, _, slope = run(poses)
    for axis in range(6):
        step = torch.zeros(6, dtype=torch.float64)
        step[axis] = 1e-4
        shifted = []
        for sign in (1, -1):
            moved = poses.clone()
            moved[:, :3, :3] = so3_exp(sign * step[3:]) @ poses[:, :3, :3]
            moved[:, :3, 3] += sign * step[:3]
            shifted.append(run(moved)[0][:, term])
        torch.testing.assert_close((shifted[0] - shifted[1]) / 4e-4, slope[:, axis], rtol=2e-3, atol=2e-4)


def test_no_poses_and_objects_out_of_sight() -> None:
    scene = list(example_scene(torch.float32, poses=2))
    empty = [*scene]
    empty[3], empty[4] = scene[3][:0], scene[4][:0]
    assert pose_terms(*empty, 60.0, 0.1, True)[0].shape == (0, 12)
    scene[4] = scene[4].clone()
    scene[4][:, :3, 3] = torch.tensor([0.0, 0.0, -4.0])  # behind the camera
    costs, matrices, slopes = pose_terms(*scene, 60.0, 0.1, True)
    assert torch.isfinite(costs).all() and torch.isfinite(matrices).all() and torch.isfinite(slopes).all()
    assert (costs[:, 0] == 1).all() and (costs[:, 1] == 1).all()
