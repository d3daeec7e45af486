"""From RGB-D frames to a volume: follow the camera where no poses are given, then fuse. One generator, a step a frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ..camera.camera import check_rigid
from ..errors import ArgumentError, DataError, UnprojectError
from ..lie.se3 import se3_inverse
from .trajectory import LoadFrame, TrajectoryOptions, estimate_trajectory, trajectory_of
from .volume import FusionOptions, TsdfVolume

FUSED, NO_POSE, BAD_POSE, UNREADABLE, EMPTY = "fused", "no pose", "bad pose", "unreadable", "empty"
_LEAST_VOXELS, _MOST_VOXELS = 4, 50_000  # between camera and surface, or the depth's unit is wrong


@dataclass(frozen=True, kw_only=True)
class FuseStep:
    """One frame followed or fused. `fuse_frames` goes on behind a step whose `state` it is given.

    Attributes:
        stage: "track" or "fuse".
        index, total: frames done in this stage, and of how many.
        frame: index of the frame.
        status: of tracking ("tracked", "keyframe", "lost", "unreadable"), or "fused", "no pose", "bad pose", "unreadable", "empty".
        note: what was wrong with the frame, else empty.
        volume: what is fused so far; the same object in every step, which the loop goes on changing.
        camera_from_world: [N, 4, 4] float64 poses as known so far, NaN where unknown.
        state: tensors by name to go on from, views of the volume's memory: write them before the next step.
    """

    stage: str
    index: int
    total: int
    frame: int
    status: str
    note: str
    volume: TsdfVolume
    camera_from_world: Tensor
    state: Mapping[str, Tensor] = field(repr=False)


def fuse_frames(
    load: LoadFrame,
    count: int,
    intrinsics: Float[Tensor, "3 3"],
    *,
    poses: Sequence[Tensor | None] | None = None,
    options: FusionOptions | None = None,
    tracking: TrajectoryOptions | None = None,
    resume: Mapping[str, Tensor] | None = None,
) -> Iterator[FuseStep]:
    """Fuse RGB-D frames.

    Frames that cannot be read, have no pose or one that is not rigid, or no usable depth, are left out and said so in their step.

    Args:
        load: frame index to (depth [H, W] in scene units, 0 for none; rgb [H, W, 3] uint8), called one frame ahead on another thread.
            An UnprojectError or OSError of it marks the frame unreadable.
        count: number of frames.
        intrinsics: of all frames, without skew, pixel coordinates from the image's corner.
        poses: camera_from_world [4, 4] of each frame or None; None altogether follows the camera first (a second pass over the frames).
        resume: `state` of the step to go on behind, with the same frames and options.

    Raises:
        ArgumentError: as many poses as frames are needed.
        DataError: no frame could be fused; depth in a wrong unit; the memory limit.
    """
    options, tracking = options or FusionOptions(), tracking or TrajectoryOptions()
    if poses is not None and len(poses) != count:
        raise ArgumentError(f"fuse_frames: {len(poses)} poses for {count} frames")
    if count == 0:
        raise DataError("fuse: there are no frames")
    check_unit(load, count, options)
    with ThreadPoolExecutor(1, thread_name_prefix="unproject-frames") as pool:
        yield from _fuse(_reading_ahead(load, count, pool), count, intrinsics, poses, TsdfVolume(options), tracking, resume)


def _fuse(
    load: LoadFrame,
    count: int,
    intrinsics: Tensor,
    poses: Sequence[Tensor | None] | None,
    volume: TsdfVolume,
    tracking: TrajectoryOptions,
    resume: Mapping[str, Tensor] | None,
) -> Iterator[FuseStep]:
    cameras = torch.full((count, 4, 4), torch.nan, dtype=torch.float64)
    start = 0
    if resume is not None and "fused" in resume:
        volume.restore({name: tensor for name, tensor in resume.items() if name not in ("fused", "cameras")})
        start, cameras = int(resume["fused"]), resume["cameras"].clone()
    elif poses is not None:
        for index, pose in enumerate(poses):
            if pose is not None:
                cameras[index] = pose
    else:
        state: Mapping[str, Tensor] = resume or {}
        for step in estimate_trajectory(load, count, intrinsics, tracking, resume=resume):
            state = step.state
            cameras = _cameras_of(state)
            note = step.note
            yield FuseStep(
                stage="track", index=step.index, total=count, frame=step.index - 1, status=step.status, note=note,
                volume=volume, camera_from_world=cameras, state=state,
            )  # fmt: skip
        cameras = _cameras_of(state)
    for index in range(start, count):
        status, note = _fuse_one(volume, load, index, cameras[index], intrinsics)
        yield FuseStep(
            stage="fuse", index=index + 1, total=count, frame=index, status=status, note=note, volume=volume, camera_from_world=cameras,
            state={**volume.state(), "fused": torch.tensor(index + 1), "cameras": cameras},
        )  # fmt: skip
    if volume.frame_count == 0:
        raise DataError(f"fuse: none of the {count} frames could be fused; the last one: {status} {note}".rstrip())


def _reading_ahead(load: LoadFrame, count: int, pool: ThreadPoolExecutor) -> LoadFrame:
    """`load` that reads the next frame on another thread while this one is worked on."""
    coming: dict[int, Future[tuple[Tensor, Tensor]]] = {}

    def read(index: int) -> tuple[Tensor, Tensor]:
        future = coming.pop(index, None)
        if coming and index < min(coming):
            return load(index)  # a keyframe that is looked at again
        coming.clear()
        frame = load(index) if future is None else None
        if index + 1 < count:
            coming[index + 1] = pool.submit(load, index + 1)
        return future.result() if future is not None else frame  # type: ignore[return-value]

    return read


def _cameras_of(state: Mapping[str, Tensor]) -> Tensor:
    trajectory = trajectory_of(state)
    return torch.where(trajectory.known[:, None, None], se3_inverse(trajectory.world_from_camera), torch.nan)


def _fuse_one(volume: TsdfVolume, load: LoadFrame, index: int, pose: Tensor, intrinsics: Tensor) -> tuple[str, str]:
    """Status and note of one frame."""
    if bool(pose.isnan().any()):
        return NO_POSE, f"frame {index} has no pose"
    try:
        check_rigid(pose, name="pose", where=f"frame {index}")
    except ArgumentError as error:
        return BAD_POSE, str(error)
    try:
        depth, rgb = load(index)
    except (UnprojectError, OSError) as error:
        return UNREADABLE, str(error)
    if volume.integrate(depth, pose, intrinsics, rgb) == 0:
        return EMPTY, f"frame {index} has no usable depth within {volume.options.max_depth:g}"
    return FUSED, ""


def check_unit(load: LoadFrame, count: int, options: FusionOptions) -> None:
    """Look at a few frames: depth in another unit than the voxels' would fill the memory, or fuse nothing.

    Raises:
        DataError: the median depth is beyond `max_depth`, or is fewer than 4 or more than 50,000 voxels.
    """
    medians = []
    for index in sorted({round(i * (count - 1) / 7) for i in range(8)}):
        try:
            depth, _ = load(index)
        except (UnprojectError, OSError):
            continue
        good = depth[torch.isfinite(depth) & (depth > 0)]
        if good.numel() > 0:
            medians.append(float(good.median()))
    if not medians:
        return
    median = sorted(medians)[len(medians) // 2]
    voxels = median / options.voxel
    hint = "check depth_scale (scene units per count: 0.001 for millimetres and a scene in metres)"
    if median > options.max_depth:
        raise DataError(f"fuse: the median depth is {median:.4g}, beyond max_depth {options.max_depth:g}: {hint}")
    if not _LEAST_VOXELS <= voxels <= _MOST_VOXELS:
        raise DataError(f"fuse: the median depth is {median:.4g}, {voxels:.3g} voxels of {options.voxel:g}: {hint}, or the voxel size")


def trajectory_jumps(camera_from_world: Float[Tensor, "N 4 4"]) -> list[tuple[int, float]]:
    """Frames whose camera moved more than 20 times the median step, with the distance: the file may hold two trajectories."""
    known = (~camera_from_world.isnan().flatten(1).any(1)).nonzero().flatten()
    if known.numel() < 3:
        return []
    centers = se3_inverse(camera_from_world[known])[:, :3, 3]
    steps = (centers[1:] - centers[:-1]).norm(dim=1)
    limit = 20 * float(steps.median())
    return [(int(known[i + 1]), float(d)) for i, d in enumerate(steps) if float(d) > limit and math.isfinite(float(d)) and limit > 0]
