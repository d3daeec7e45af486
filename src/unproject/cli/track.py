"""`unproject track`: follow known objects through a video."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TextIO

import numpy as np
import torch
import tyro

from ..camera.camera import Camera, perspective_camera
from ..camera.undistortion import undistort_image, undistorted_camera
from ..errors import ArgumentError, DataError, UnprojectError
from ..geometry.mesh import Mesh
from ..io.animation import check_animation, save_animation
from ..io.cameras import load_camera
from ..io.load import load_mesh
from ..io.poses import PoseFrame, load_poses, pose_record
from ..io.video import Video, VideoFrame, open_video
from ..pose.estimate import estimate_pose
from ..pose.overlay import OUTLINE_COLORS, draw_pose
from ..pose.prepare import PoseInput
from ..pose.track import TrackOptions, TrackStep, TrackTarget, track_objects
from .manners import Manners, Terminal, plain
from .pose import read_mask


@dataclass(frozen=True, kw_only=True)
class Options:
    source: tyro.conf.Positional[str]
    """Video file, folder of images (or with color/ and depth/), or the number of a camera."""
    mesh: tuple[Path, ...]
    """The object's mesh; several for several objects at once."""
    camera: Path | None = None
    """K.json: fx, fy, cx, cy, width, height in pixels, optional distortion and pixel_center."""
    fov: float | None = None
    """Vertical field of view in degrees, instead of a camera file."""
    start: Path | None = None
    """pose.json with the pose in the first frame; a frame for each mesh, in their order."""
    mask: Path | None = None
    """PNG of the object in the first frame, to estimate the start from."""
    box: tuple[float, float, float, float] | None = None
    """x0 y0 x1 y1: pixels around the object in the first frame, to estimate the start from."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Track to write: one JSON frame a line, flushed at once."""
    overlay: Path | None = None
    """Video (.mp4 or .gif) with the objects drawn over the frames."""
    depth_scale: float | None = None
    """Mesh units per count of the depth images in the folder's depth/; without it depth is not used."""
    texture: bool = True
    """Use the brightness inside of the outline (--no-texture: the outline and depth only)."""
    search: bool = True
    """Look for objects that are lost."""
    frames: int | None = None
    """Stop after so many."""
    manners: Manners = field(default_factory=Manners)


def run(options: Options, terminal: Terminal) -> dict[str, Any]:
    """Track until the sequence ends; what was tracked stays, whatever happens."""
    terminal.check_output(options.output, options.overlay)
    if options.overlay is not None:
        check_animation(options.overlay)
    meshes = [load_mesh(path) for path in options.mesh]
    video = open_video(options.source, depth_scale=options.depth_scale)
    frames = iter(video)
    first = next(frames, None)
    if first is None:
        raise DataError(f"{options.source}: there are no frames")
    camera = _camera(options, first)
    starts = _starts(options, meshes, camera, first, terminal)
    names = [path.stem for path in options.mesh]
    targets = [TrackTarget(mesh=m, camera_from_object=p, name=n) for m, p, n in zip(meshes, starts, names)]
    run_ = _Run(options, terminal, video, camera, targets)
    with ExitStack() as stack:
        file = stack.enter_context(open(options.output, "w", encoding="utf-8"))
        pictures = run_.pictures(_chain(first, frames), file)
        if options.overlay is None:
            for _ in pictures:
                pass
        else:
            rate = video.frames_per_second or 24.0
            save_animation(pictures, options.overlay, fps=rate, overwrite=options.manners.overwrite)
    if run_.damage is not None:
        terminal.warn(f"{run_.damage}; the {run_.done} frames before it are tracked")
    return run_.summary()


class _Run:
    """The loop, and what it counts."""

    def __init__(self, options: Options, terminal: Terminal, video: Video, camera: Camera, targets: list[TrackTarget]):
        self.options, self.terminal, self.video, self.camera, self.targets = options, terminal, video, camera, targets
        self.done, self.lost, self.seconds, self.begin = 0, [0] * len(targets), 0.0, time.perf_counter()
        self.damage: UnprojectError | None = None
        self.bare = [Mesh(vertices=t.mesh.vertices.float(), faces=t.mesh.faces) for t in targets]

    def pictures(self, frames: Iterator[VideoFrame], file: TextIO) -> Iterator[np.ndarray]:
        """Track, write each frame's line at once, and yield the overlay if one is asked for."""
        options = TrackOptions(texture=self.options.texture, search=self.options.search)
        kept: list[VideoFrame] = []
        total = self.options.frames if self.video.count is None else min(self.video.count, self.options.frames or self.video.count)
        with self.terminal.progress(speed="{task.fields[speed]}") as progress:
            task = progress.add_task("track", total=total, speed="")
            for steps in track_objects(self._frames(frames, kept), self.targets, self.camera, options=options):
                for step in steps:
                    file.write(json.dumps(plain(self._record(step)), allow_nan=False) + "\n")
                file.flush()
                self._count(steps)
                rate = self.done / max(self.seconds, 1e-9)
                progress.update(task, completed=self.done, speed=f"{rate:.0f} frames/s{', lost' if any(s.lost for s in steps) else ''}")
                if self.options.overlay is not None:
                    yield self._picture(kept[-1], steps)
                kept.clear()

    def _frames(self, frames: Iterator[VideoFrame], kept: list[VideoFrame]) -> Iterator[VideoFrame]:
        """Up to as many frames as asked for; damage ends them."""
        try:
            for k, frame in enumerate(frames):
                if self.options.frames is not None and k >= self.options.frames:
                    return
                kept.append(frame)
                yield frame
        except UnprojectError as error:
            if self.done == 0:
                raise
            self.damage = error

    def _record(self, step: TrackStep) -> dict[str, Any]:
        facts = {
            "object": step.target, "lost": step.lost, "confidence": round(step.confidence, 4),
            "support": {name: round(value, 4) for name, value in step.support.items()},
            "covariance": step.covariance if torch.isfinite(step.covariance).all() else None, "seconds": round(step.seconds, 5),
        }  # fmt: skip
        return pose_record(PoseFrame(name=step.name, pose=step.camera_from_object, facts=facts))

    def _count(self, steps: tuple[TrackStep, ...]) -> None:
        self.done += 1
        self.seconds += sum(step.seconds for step in steps)
        for k, step in enumerate(steps):
            self.lost[k] += step.lost

    def _picture(self, frame: VideoFrame, steps: tuple[TrackStep, ...]) -> np.ndarray:
        image = frame.color
        if self.camera.distortion is not None or self.camera.projection != "perspective":
            image = undistort_image(image.float(), self.camera).round().clamp(0, 255).to(torch.uint8)
        flat = undistorted_camera(self.camera)
        for k, (mesh, step) in enumerate(zip(self.bare, steps)):
            if not step.lost:
                image = draw_pose(image, mesh, flat, step.camera_from_object, color=OUTLINE_COLORS[k % len(OUTLINE_COLORS)])
        return image.numpy()

    def summary(self) -> dict[str, Any]:
        rate = self.done / max(self.seconds, 1e-9)
        rows = [("frames", f"{self.done:,}"), ("speed", f"{rate:.1f} frames a second, without reading and drawing")]
        rows += [(t.name, f"lost in {n} frames" if n else "never lost") for t, n in zip(self.targets, self.lost)]
        rows.append(("track", str(self.options.output)))
        if self.options.overlay is not None:
            rows.append(("overlay", str(self.options.overlay)))
        self.terminal.table("Tracked", rows)
        lost = {t.name: n for t, n in zip(self.targets, self.lost)}
        damage = None if self.damage is None else str(self.damage)
        return {
            "frames": self.done,
            "frames_per_second": rate,
            "lost": lost,
            "output": self.options.output,
            "overlay": self.options.overlay,
            "damage": damage,
        }


def _chain(first: VideoFrame, rest: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    yield first
    yield from rest


def _camera(options: Options, first: VideoFrame) -> Camera:
    size = (first.color.shape[0], first.color.shape[1])
    if (options.camera is None) == (options.fov is None):
        raise ArgumentError("give either --camera K.json or --fov")
    if options.camera is None:
        return perspective_camera(fov_y_deg=options.fov, image_size=size)
    camera = load_camera(options.camera)
    if tuple(camera.image_size) != size:
        raise ArgumentError(
            f"{options.source} has images of {size[1]} x {size[0]} pixels, but {options.camera} is of {camera.width} x {camera.height}"
        )
    return replace(camera, camera_from_world=torch.eye(4).to(camera.camera_from_world))


def _starts(options: Options, meshes: list[Mesh], camera: Camera, first: VideoFrame, terminal: Terminal) -> list[torch.Tensor]:
    """The poses in the first frame: from the file, or estimated from the mask, the box or the depth image."""
    if options.start is not None:
        frames = load_poses(options.start)
        if len(frames) < len(meshes):
            raise ArgumentError(f"{options.start} has {len(frames)} poses for {len(meshes)} meshes")
        return [frame.pose for frame in frames[: len(meshes)]]
    if len(meshes) != 1 or (options.mask is None and options.box is None and first.depth is None):
        raise ArgumentError("give --start pose.json (`unproject pose` makes one), or --mask or --box of the one object in the first frame")
    mask, unknown = read_mask(options.mask)
    given = PoseInput(camera=camera, color=first.color.float() / 255, mask=mask, unknown=unknown, box=options.box, depth=first.depth)
    estimate = estimate_pose(meshes[0], given)
    terminal.note(f"start: estimated with confidence {estimate.best.confidence:.2f}")
    return [estimate.camera_from_object]
