"""RGB-D odometry and pose graphs: kernels against the twin, motions recovered, loops closed, wrong loops rejected."""

from __future__ import annotations

from functools import lru_cache, partial

import pytest
import torch

from unproject.errors import ArgumentError
from unproject.fusion.odometry import OdometryOptions, align_rgbd, rgbd_pyramid
from unproject.fusion.pose_graph import PoseEdges, optimize_pose_graph
from unproject.fusion.room import room_frame, sample_room
from unproject.fusion.trajectory import align_trajectories, estimate_trajectory, trajectory_of
from unproject.lie.se3 import se3_exp, se3_inverse, se3_log
from unproject.ops import odometry as ops
from unproject.ops.examples import all_examples
from unproject.reference import odometry as reference

ROOM = sample_room(12)
frame = lru_cache(maxsize=None)(partial(room_frame, ROOM))


def pyramid(index: int):
    return rgbd_pyramid(*frame(index), ROOM.camera.intrinsics)


def test_motion_between_two_images_is_recovered() -> None:
    truth = ROOM.camera_from_world[0] @ se3_inverse(ROOM.camera_from_world[3])
    found = align_rgbd(pyramid(3), pyramid(0))
    error = se3_log(found.target_from_source @ se3_inverse(truth))
    assert float(se3_log(truth)[:3].norm()) > 0.05
    assert float(error[:3].norm()) < 0.003 and float(error[3:].norm()) < 0.002
    assert found.overlap > 0.8 and found.inliers > 0.9 and found.quality > 0.75
    assert bool((torch.linalg.eigvalsh(found.information) > 0).all())


def test_images_of_different_places_do_not_fit() -> None:
    depth, rgb = frame(0)
    other = rgbd_pyramid(depth.flip(0) * 0.5 + 0.3, rgb.flip(1), ROOM.camera.intrinsics)
    assert align_rgbd(other, pyramid(0)).quality < 0.6 < align_rgbd(pyramid(1), pyramid(0)).quality


def test_kernels_equal_reference() -> None:
    depth, rgb = frame(2)
    depth = depth.clone()
    depth[10:14, 20:40] = 0
    light = rgb.float().mean(-1) / 255
    k = [132.0, 132.0, 80.0, 60.0]
    ours, twin = ops.halve(depth, light, 0.05), reference.halve(depth, light, 0.05)
    assert torch.allclose(ours[0], twin[0], atol=1e-6) and torch.allclose(ours[1], twin[1], atol=1e-6)
    normal, gradient = ops.describe_image(depth, light, k, 0.05)
    twin_normal, twin_gradient = reference.describe_image(depth, light, k, 0.05)
    assert torch.allclose(normal, twin_normal, atol=1e-4) and torch.allclose(gradient, twin_gradient, atol=1e-6)
    pose = se3_exp(torch.tensor([0.01, -0.02, 0.01, 0.005, -0.003, 0.002], dtype=torch.float64))
    arguments = [depth, light], [depth, light, normal, gradient], k, pose, [0.1, 0.01, 0.1, 0.5]
    ours, twin = ops.align_sums(*arguments), reference.align_sums(*arguments)
    assert float((ours - twin).abs().max()) < 2e-3 * float(twin.abs().max())
    assert float((ours[27:] - twin[27:]).abs().max()) < 2e-3 * float(twin[27:].abs().max())


def test_trajectory_of_a_room_within_two_percent() -> None:
    scene = sample_room(36, noise=0.001)
    steps = list(estimate_trajectory(partial(room_frame, scene), 36, scene.camera.intrinsics))
    estimate = trajectory_of(steps[-1].state)
    assert bool(estimate.known.all()) and steps[-1].fragments == 1
    truth = se3_inverse(scene.camera_from_world)
    _, error = align_trajectories(estimate.world_from_camera, truth)
    length = float((truth[1:, :3, 3] - truth[:-1, :3, 3]).norm(dim=1).sum())
    assert float(error.square().mean().sqrt()) < 0.02 * length
    assert sum(step.status == "keyframe" for step in steps) >= 2


def test_a_resumed_trajectory_is_the_same() -> None:
    whole = list(estimate_trajectory(frame, 8, ROOM.camera.intrinsics))
    again = list(estimate_trajectory(frame, 8, ROOM.camera.intrinsics, resume=whole[3].state))
    assert [step.index for step in again] == [5, 6, 7, 8]
    assert torch.equal(trajectory_of(again[-1].state).world_from_camera, trajectory_of(whole[-1].state).world_from_camera)


def test_camera_that_jumps_is_another_fragment() -> None:
    depth, rgb = frame(0)
    strange = (torch.full_like(depth, 1.0) + 0.4 * torch.rand(15, 20).repeat_interleave(8, 0).repeat_interleave(8, 1), 255 - rgb.flip(0))
    frames = [*(frame(i) for i in range(4)), strange]
    steps = list(estimate_trajectory(lambda i: frames[i], 5, ROOM.camera.intrinsics))
    assert steps[-1].status == "lost" and steps[-1].fragments == 2 and "does not align" in steps[-1].note
    found = trajectory_of(steps[-1].state)
    assert found.known.tolist() == [True] * 4 + [False]
    assert bool(found.world_from_camera[4].isnan().all())


def ring(noise: float) -> tuple[torch.Tensor, PoseEdges]:
    """Poses on a circle, and measured motions between neighbours all around it."""
    count = 12
    angle = torch.arange(count, dtype=torch.float64) * (2 * torch.pi / count)
    zero = torch.zeros_like(angle)
    turn = se3_exp(torch.stack([zero, zero, zero, zero, angle, zero], dim=1))
    step = torch.eye(4, dtype=torch.float64)
    step[2, 3] = 2.0
    truth = turn @ step
    first, second = torch.arange(count), (torch.arange(count) + 1) % count
    motion = se3_inverse(truth[first]) @ truth[second]
    motion = se3_exp(noise * torch.randn(count, 6, dtype=torch.float64)) @ motion
    information = torch.eye(6, dtype=torch.float64).expand(count, 6, 6) * 1e4
    edges = PoseEdges(
        first=first, second=second, first_from_second=motion, information=information, robust=torch.arange(count) == count - 1
    )
    return truth, edges


def chained(truth: torch.Tensor, edges: PoseEdges) -> torch.Tensor:
    poses = [truth[0]]
    for motion in edges.first_from_second[:-1]:
        poses.append(poses[-1] @ motion)
    return torch.stack(poses)


def test_pose_graph_closes_a_loop() -> None:
    truth, edges = ring(0.01)
    start = chained(truth, edges)
    result = optimize_pose_graph(start, edges)
    error = lambda poses: float((poses[:, :3, 3] - truth[:, :3, 3]).norm(dim=1).mean())
    assert error(result.poses) < 0.7 * error(start)
    assert torch.equal(result.poses[0], truth[0]) or torch.allclose(result.poses[0], truth[0], atol=1e-9)
    exact = optimize_pose_graph(start, ring(0.0)[1])
    assert exact.cost < 1e-12 and error(exact.poses) < 1e-6


def test_pose_graph_rejects_a_wrong_loop() -> None:
    truth, edges = ring(0.002)
    wrong = edges.first_from_second.clone()
    wrong[-1, :3, 3] += 1.5
    edges = PoseEdges(first=edges.first, second=edges.second, first_from_second=wrong, information=edges.information, robust=edges.robust)
    result = optimize_pose_graph(chained(truth, edges), edges)
    assert float(result.weights[-1]) < 0.01 and bool((result.weights[:-1] == 1).all())
    assert float((result.poses[:, :3, 3] - truth[:, :3, 3]).norm(dim=1).max()) < 0.1


def test_errors_and_no_edges() -> None:
    truth, edges = ring(0.0)
    with pytest.raises(ArgumentError, match="`fixed` must lie in 0 to 11"):
        optimize_pose_graph(truth, edges, fixed=12)
    none = PoseEdges(**{name: getattr(edges, name)[:0] for name in ("first", "second", "first_from_second", "information", "robust")})
    assert torch.equal(optimize_pose_graph(truth, none).poses, truth)
    depth, rgb = frame(0)
    with pytest.raises(ArgumentError, match="`rgb` must be uint8"):
        rgbd_pyramid(depth, rgb.float(), ROOM.camera.intrinsics)
    with pytest.raises(ArgumentError, match="too small for 4 levels"):
        rgbd_pyramid(depth[:40, :40], rgb[:40, :40], ROOM.camera.intrinsics)
    assert len(rgbd_pyramid(depth[:40, :40], rgb[:40, :40], ROOM.camera.intrinsics, OdometryOptions(levels=3))) == 3


@pytest.mark.parametrize("operator", [ops.halve, ops.describe_image, ops.align_sums], ids=lambda o: o.name)
def test_opcheck(operator: object) -> None:
    for candidate, make in all_examples():
        if candidate is operator:
            torch.library.opcheck(operator.overload, make(torch.float32))
