"""`unproject fuse`: a mesh from RGB-D frames."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from torch import Tensor

from ..errors import ArgumentError, DataError, UnprojectError
from ..fit.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from ..fit.step import FitStep
from ..fusion.depth_unit import depth_factor
from ..fusion.fuse import FUSED, FuseStep, fuse_frames, trajectory_jumps
from ..fusion.volume import FusionOptions, TsdfVolume
from ..io.atomic import remove_file
from ..io.load import save
from ..io.rgbd import RgbdFolder, find_rgbd, find_trajectory, load_poses, load_rgbd, rgbd_camera
from ..io.trajectories import Trajectory, save_trajectory
from .manners import Manners, Terminal

_NAMED = 3  # frames with a fault that are told one by one


@dataclass(frozen=True, kw_only=True)
class Options:
    folder: tyro.conf.Positional[Path]
    """Folder with depth/, color/, a camera JSON (fx, fy, cx, cy, width, height, depth_scale) and, if poses are known, trajectory.log."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Where the mesh goes; the ending names the format."""
    voxel: float = 0.01
    """Edge length of a voxel, in scene units (metres)."""
    camera: Path | None = None
    """Camera JSON, or Open3D's intrinsics, instead of the folder's camera.json, K.json or intrinsics.json."""
    trajectory: Path | None = None
    """Poses, instead of the folder's trajectory.log: Open3D's log, TUM's text, camera JSON, transforms.json, or a COLMAP folder."""
    odometry: bool = False
    """Follow the camera through the images, also where the folder has poses."""
    color: Path | None = None
    """Folder of the colour images, relative to the folder; by default color, rgb, image or images."""
    depth: Path | None = None
    """Folder of the depth images, relative to the folder; by default depth."""
    depth_scale: float | None = None
    """Scene units per count of the depth images, instead of the camera file's; 0.001 for millimetres and a scene in metres."""
    max_depth: float = 8.0
    """Measurements beyond are not used, scene units."""
    truncation_voxels: float = 5.0
    """How far from a surface distances are kept, in voxels: more bridges noise, less keeps thin things apart."""
    min_weight: float | None = None
    """Parts of the surface that were seen less are left out; a frame that looks straight at a near surface counts 1. By default 1, or a
    twentieth of the frames where there are fewer than 20."""
    first: int = 0
    """First frame to use."""
    last: int | None = None
    """Frame to stop at (this one is used)."""
    every: int = 1
    """Use every n-th frame."""
    points: Path | None = None
    """Also write the surface as coloured points with normals."""
    save_trajectory: Path | None = None
    """Also write the camera's path: .log for Open3D's format, else TUM's."""
    checkpoint: Path | None = None
    """File to keep the state in, so that a killed run can go on."""
    checkpoint_every: int = 50
    """Frames between two checkpoints."""
    resume: bool = False
    """Go on from the checkpoint."""
    memory_limit_gb: float = 16.0
    """Stop with what is fused so far instead of taking more memory for voxels."""
    manners: Manners = field(default_factory=Manners)


def run(options: Options, terminal: Terminal) -> dict[str, Any]:
    """Fuse, with a progress bar; write the mesh and whatever else was asked for; return what was used and left out."""
    _check(options, terminal)
    begin = time.perf_counter()
    frames, poses = _inputs(options, terminal)
    steps, name = _steps(options, frames, poses)
    told = _Told(terminal)
    problem: BaseException | None = None
    last: FuseStep | None = None
    try:
        with terminal.progress(note="{task.fields[note]}") as progress:
            task = progress.add_task("start", total=None, note="")
            for step in steps:
                last = step
                told.hear(step, frames.names[step.frame])
                progress.update(
                    task, description=step.stage, completed=step.index, total=step.total, note=f"{step.volume.block_count:,} blocks"
                )
                if options.checkpoint is not None and (step.index % options.checkpoint_every == 0 or step.index == step.total):
                    _keep(options.checkpoint, step, name)
    except (UnprojectError, KeyboardInterrupt, MemoryError) as error:
        problem = error
    if last is None or last.volume.frame_count == 0:
        if last is not None and problem is not None and options.checkpoint is not None:
            _keep(options.checkpoint, last, name)  # the camera's way so far
        raise problem or DataError("fuse: no frame was fused")
    result = _write(options, frames, last, told, time.perf_counter() - begin, terminal)
    if problem is not None:
        if options.checkpoint is not None:
            _keep(options.checkpoint, last, name)
        terminal.warn(f"{options.output} has what was fused before the error: {last.volume.frame_count} of {len(frames)} frames")
        raise problem
    if options.checkpoint is not None:
        remove_file(options.checkpoint)
    return result


def _check(options: Options, terminal: Terminal) -> None:
    if options.resume and options.checkpoint is None:
        raise ArgumentError("--resume needs --checkpoint FILE")
    if options.checkpoint_every < 1 or options.every < 1:
        raise ArgumentError("--checkpoint-every and --every must be at least 1")
    if options.odometry and options.trajectory is not None:
        raise ArgumentError("--odometry follows the camera without --trajectory; give one of them")
    _fusion_options(options)
    terminal.check_output(options.output, options.points, options.save_trajectory, resuming=options.resume)
    terminal.check_output(options.checkpoint, resuming=True)


def _fusion_options(options: Options) -> FusionOptions:
    names = ("voxel", "max_depth", "truncation_voxels", "memory_limit_gb")
    return FusionOptions(**{name: getattr(options, name) for name in names})


def _inputs(options: Options, terminal: Terminal) -> tuple[RgbdFolder, tuple[Tensor | None, ...] | None]:
    part = slice(options.first, None if options.last is None else options.last + 1, options.every)
    everything = find_rgbd(options.folder, color=options.color, depth=options.depth, camera=options.camera, depth_scale=options.depth_scale)
    frames = everything[part]
    if len(frames) == 0:
        raise DataError(f"--first, --last and --every leave none of the {len(everything)} frames")
    without = sum(path is None for path in frames.color_paths)
    if without:
        terminal.warn(f"{without} of {len(frames)} frames have no colour image; they are fused in grey")
    path = options.trajectory or (None if options.odometry else find_trajectory(options.folder))
    if path is None:
        if without == len(frames):
            terminal.warn("the camera is followed by depth alone")
        return frames, None
    terminal.note(f"poses from {path}")
    poses = load_poses(everything, path)[part]
    factor = depth_factor(lambda index: load_rgbd(frames, index), len(frames), rgbd_camera(frames).intrinsics, poses)
    if factor is not None:
        better = frames.depth_scale * factor
        question = f"is depth_scale {better:.1g} instead of {frames.depth_scale:g}?"
        terminal.warn(f"depth would fit the poses if it were {factor:.3g} times as large; {question}")
    return frames, poses


def _steps(options: Options, frames: RgbdFolder, poses: tuple[Tensor | None, ...] | None) -> tuple[Iterator[FuseStep], str]:
    fusion = _fusion_options(options)
    settings = {**asdict(fusion), "memory_limit_gb": None}
    known = [p for p in poses or () if p is not None]
    camera = rgbd_camera(frames)
    name = fingerprint(repr((settings, frames.names, frames.depth_scale)), camera.intrinsics, torch.stack(known) if known else None)
    resumed = load_checkpoint(options.checkpoint, run=name).state if options.resume and options.checkpoint is not None else None
    load = lambda index: load_rgbd(frames, index)
    return fuse_frames(load, len(frames), camera.intrinsics, poses=poses, options=fusion, resume=resumed), name


def _keep(path: Path, step: FuseStep, name: str) -> None:
    save_checkpoint(path, FitStep(stage=step.stage, index=step.index, total=step.total, state=step.state), run=name)


class _Told:
    """What happened to the frames: counts, and the first faults in words."""

    def __init__(self, terminal: Terminal):
        self.terminal = terminal
        self.count: Counter[str] = Counter()
        self.left_out: dict[str, list[str]] = {}

    def hear(self, step: FuseStep, name: str) -> None:
        self.count[f"{step.stage} {step.status}"] += 1
        lost = step.stage == "track" and step.status == "lost"
        if lost or (step.stage == "fuse" and step.status != FUSED):
            names = self.left_out.setdefault(step.status, [])
            names.append(name)
            if len(names) <= _NAMED:
                self.terminal.warn(f"{name}: {step.note or step.status}")
            elif len(names) == _NAMED + 1:
                self.terminal.warn(f"further frames that are {step.status} are only counted")


def _write(options: Options, frames: RgbdFolder, last: FuseStep, told: _Told, seconds: float, terminal: Terminal) -> dict[str, Any]:
    volume: TsdfVolume = last.volume
    mesh = volume.mesh(min_weight=options.min_weight)
    if mesh.face_count == 0:
        raise DataError("nothing was seen often enough for a surface; try --min-weight 0")
    overwrite = options.manners.overwrite or options.resume
    save(mesh, options.output)
    if options.points is not None:
        save(volume.points(min_weight=options.min_weight), options.points)
    known = (~last.camera_from_world.isnan().flatten(1).any(1)).nonzero().flatten().tolist()
    if options.save_trajectory is not None:
        stamps = [str(i) if frames.times is None else repr(frames.times[i]) for i in known]
        save_trajectory(
            Trajectory(camera_from_world=last.camera_from_world[known], names=tuple(stamps)), options.save_trajectory, overwrite=overwrite
        )
    jumps = trajectory_jumps(last.camera_from_world)
    for frame, distance in jumps[:_NAMED]:
        terminal.warn(f"{frames.names[frame]}: the camera jumps by {distance:.3g}; are these two trajectories?")
    fused = volume.frame_count
    rows = [
        ("frames fused", f"{fused} of {len(frames)}"),
        *[(f"frames {status}", str(len(names))) for status, names in told.left_out.items()],
        ("size", f"{mesh.vertex_count:,} vertices, {mesh.face_count:,} faces"),
        ("voxels", f"{volume.block_count:,} blocks of 8^3, {volume.memory / 1e6:.0f} MB"),
        ("time", f"{seconds:.1f} s"),
    ]
    terminal.table(str(options.output), rows)
    return {
        "output": options.output,
        "frames": len(frames),
        "fused": fused,
        "left_out": told.left_out,
        "jumps": [{"frame": frames.names[frame], "distance": distance} for frame, distance in jumps],
        "vertices": mesh.vertex_count,
        "faces": mesh.face_count,
        "blocks": volume.block_count,
        "bytes": volume.memory,
        "seconds": seconds,
    }
