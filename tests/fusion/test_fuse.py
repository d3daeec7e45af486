"""The whole of a fusion: a room with and without poses, frames with faults, units, jumps, resumed runs, simulated frames."""

from __future__ import annotations

from functools import lru_cache, partial

import pytest
import torch

from unproject import closest_point, perspective_camera
from unproject.errors import ArgumentError, DataError, FormatError
from unproject.fusion.depth_unit import depth_factor
from unproject.fusion.fuse import BAD_POSE, EMPTY, FUSED, NO_POSE, UNREADABLE, fuse_frames, trajectory_jumps
from unproject.fusion.room import room_color, room_frame, sample_room
from unproject.fusion.simulate import simulate_rgbd
from unproject.fusion.volume import FusionOptions
from unproject.lie.se3 import se3_inverse

ROOM = sample_room(12)
frame = lru_cache(maxsize=None)(partial(room_frame, ROOM))
OPTIONS = FusionOptions(voxel=0.03)


def fused(count: int = 6, *, poses: bool = True, load=None, **options):
    given = list(ROOM.camera_from_world[:count]) if poses else None
    return fuse_frames(load or frame, count, ROOM.camera.intrinsics, poses=given, options=OPTIONS, **options)


def test_room_with_poses_is_recovered_in_colour() -> None:
    *_, last = fused(6)
    mesh = last.volume.mesh()
    distance = closest_point(mesh.vertices, ROOM.mesh).squared_distance.sqrt()
    # Behind silhouettes a surface goes on for a voxel or two: there is nothing that says where it ends.
    assert float(distance.median()) < 0.15 * OPTIONS.voxel and float(distance.quantile(0.9)) < OPTIONS.voxel
    assert float((mesh.vertex_colors - room_color(mesh.vertices)).abs().mean()) < 0.06
    cloud = last.volume.points()
    center = se3_inverse(ROOM.camera_from_world[2])[:3, 3].float()
    assert float(((cloud.normals * (center - cloud.positions)).sum(-1) > 0).float().mean()) > 0.9


def test_room_without_poses_is_followed_then_fused() -> None:
    steps = list(fused(5, poses=False))
    assert [step.stage for step in steps] == ["track"] * 5 + ["fuse"] * 5
    assert all(step.status == FUSED for step in steps[5:])
    truth = ROOM.camera_from_world[:5] @ se3_inverse(ROOM.camera_from_world[0])  # the first camera is the world
    assert float((steps[-1].camera_from_world - truth)[:, :3, 3].norm(dim=1).max()) < 0.01


def test_frames_with_faults_are_left_out_and_named() -> None:
    poses: list[torch.Tensor | None] = list(ROOM.camera_from_world[:6])
    poses[1] = None
    poses[2] = ROOM.camera_from_world[2].clone()
    poses[2][:3, :3] *= 1.1
    mirrored = ROOM.camera_from_world[5].clone()
    mirrored[0, :3] *= -1
    poses[5] = mirrored

    def load(index: int):
        if index == 3:
            raise FormatError("damaged or no image: truncated", path="00003.png")
        depth, rgb = frame(index)
        return (torch.zeros_like(depth), rgb) if index == 4 else (depth, rgb)

    steps = list(fuse_frames(load, 6, ROOM.camera.intrinsics, poses=poses, options=OPTIONS))
    assert [step.status for step in steps] == [FUSED, NO_POSE, BAD_POSE, UNREADABLE, EMPTY, BAD_POSE]
    assert "frame 2" in steps[2].note and "truncated" in steps[3].note and "no usable depth" in steps[4].note
    assert steps[-1].volume.frame_count == 1


def test_odometry_goes_past_an_unreadable_frame() -> None:

    def load(index: int):
        if index == 2:
            raise FormatError("damaged", path="00002.png")
        return frame(index)

    steps = list(fused(5, poses=False, load=load))
    assert steps[2].status == UNREADABLE
    assert [step.status for step in steps[5:]] == [FUSED, FUSED, NO_POSE, FUSED, FUSED]


@pytest.mark.parametrize(("factor", "said"), [(1000.0, "beyond max_depth"), (1e-3, "voxels of 0.03: check depth_scale")])
def test_depth_in_a_wrong_unit(factor: float, said: str) -> None:
    with pytest.raises(DataError, match=said):
        list(fused(3, load=lambda i: (frame(i)[0] * factor, frame(i)[1])))


@pytest.mark.parametrize("wrong", [1.0, 0.2, 5.0, 0.1])
def test_depth_in_another_unit_than_the_poses(wrong: float) -> None:
    def load(index: int):
        if index == 2:
            raise FormatError("damaged", path="00002.png")
        return frame(index)[0] * wrong, frame(index)[1]

    poses = [None, *ROOM.camera_from_world[1:]]
    factor = depth_factor(load, 12, ROOM.camera.intrinsics, poses)
    assert factor is None if wrong == 1 else factor == pytest.approx(1 / wrong, rel=0.45)
    still = [ROOM.camera_from_world[0]] * 12  # a camera that does not move has no unit
    assert depth_factor(lambda i: (frame(0)[0] * wrong, frame(0)[1]), 12, ROOM.camera.intrinsics, still) is None


def test_nothing_to_fuse() -> None:
    with pytest.raises(DataError, match="none of the 3 frames could be fused; the last one: no pose"):
        list(fuse_frames(frame, 3, ROOM.camera.intrinsics, poses=[None] * 3, options=OPTIONS))
    with pytest.raises(DataError, match="no frames"):
        list(fuse_frames(frame, 0, ROOM.camera.intrinsics, poses=[]))
    with pytest.raises(ArgumentError, match="2 poses for 3 frames"):
        list(fuse_frames(frame, 3, ROOM.camera.intrinsics, poses=list(ROOM.camera_from_world[:2])))


@pytest.mark.parametrize("poses", [True, False])
def test_resumed_run_equals_an_uninterrupted_one(poses: bool) -> None:
    whole = None
    states = {}
    for step in fused(5, poses=poses):
        states[step.stage, step.index] = {name: tensor.clone() for name, tensor in step.state.items()}
        whole = step
    assert whole is not None
    expected = whole.volume.state()
    for stop in [("fuse", 2), ("fuse", 5)] + ([] if poses else [("track", 3)]):
        rest = list(fused(5, poses=poses, resume=states[stop]))
        if stop == ("fuse", 5):
            assert not rest  # nothing was left to do
            continue
        for name, tensor in expected.items():
            assert torch.equal(rest[-1].volume.state()[name], tensor), name


def test_memory_limit_keeps_what_is_fused() -> None:
    steps = fuse_frames(
        frame, 4, ROOM.camera.intrinsics, poses=list(ROOM.camera_from_world[:4]), options=FusionOptions(voxel=0.01, memory_limit_gb=0.02)
    )
    volume = None
    with pytest.raises(DataError, match="the limit"):
        for step in steps:
            volume = step.volume
    assert volume is None or volume.mesh(min_weight=0).face_count > 0


def test_jumps_between_two_trajectories() -> None:
    poses = ROOM.camera_from_world.clone()
    assert trajectory_jumps(poses) == []
    poses[6:, :3, 3] += 4.0
    poses[3] = torch.nan
    (frame, distance), *rest = trajectory_jumps(poses)
    assert frame == 6 and not rest and distance > 5


def test_simulated_frames() -> None:
    camera = perspective_camera(ROOM.camera_from_world[0], image_size=(30, 40), fx=33.0, far=2.0)
    depth, rgb = simulate_rgbd(ROOM.mesh, camera)
    assert float(depth.max()) <= 2.0 and bool((rgb[depth == 0] == 0).all()) and bool((rgb[depth > 0] == 128).all())
    noisy, _ = simulate_rgbd(ROOM.mesh, camera, noise=0.01, generator=torch.Generator().manual_seed(0))
    relative = ((noisy - depth)[depth > 0] / depth[depth > 0].square()).std()
    assert float(relative) == pytest.approx(0.01, rel=0.15)
    with pytest.raises(ArgumentError, match="must be one camera"):
        simulate_rgbd(ROOM.mesh, perspective_camera(ROOM.camera_from_world[:2], image_size=(30, 40), fx=33.0))
