"""`unproject pose`: the pose of a known object from an image."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from PIL import Image
from torch import Tensor

from ..camera.camera import Camera, perspective_camera, resize_camera
from ..camera.undistortion import undistort_image, undistorted_camera
from ..errors import ArgumentError, FormatError
from ..geometry.mesh import Mesh
from ..io.atomic import atomic_write
from ..io.bop import symmetry_transforms
from ..io.camera_frame import CameraFrame
from ..io.cameras import load_frames
from ..io.json_node import read_json
from ..io.load import load_mesh
from ..io.photograph import read_color, read_pixels
from ..io.poses import PoseFrame, load_poses, save_poses
from ..io.rgbd import read_depth
from ..kernels.jit import cache_directory
from ..pose.estimate import PoseCandidate, PoseEstimate, PoseOptions, estimate_pose_steps
from ..pose.overlay import draw_pose
from ..pose.prepare import PoseInput
from ..pose.solve import SolverOptions, SolverStep
from ..pose.window import averaged
from .manners import Manners, Terminal

_UNKNOWN = (127, 128)  # grey values of a mask that mean "not known"
_UNSURE = 0.3
_OVERLAY_PIXELS = 1920  # of the longer side: enough to judge a pose
_SYMMETRY_STEP = math.radians(10)


@dataclass(frozen=True, kw_only=True)
class Options:
    image: tyro.conf.Positional[Path]
    """Photograph."""
    mesh: Path
    """The object; its unit is that of the answer."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """pose.json to write."""
    camera: Path | None = None
    """Intrinsics: JSON with fx, fy, cx, cy, width, height, and optionally distortion and pixel_center ("integer" or "half"); also BOP's
    camera.json and scene_camera.json, a COLMAP folder or transforms.json (the image is found by its name)."""
    fov: float | None = None
    """Vertical field of view in degrees, instead of --camera."""
    mask: Path | None = None
    """PNG: white where the object is seen, black where it is not, grey 127 or 128 where nobody knows."""
    box: tuple[float, float, float, float] | None = None
    """x0 y0 x1 y1: pixels around the object."""
    depth: Path | None = None
    """Depth image of the same camera."""
    depth_scale: float | None = None
    """Mesh units per count of the depth image."""
    start: Path | None = None
    """pose.json with a rough pose."""
    start_angle: float = 40.0
    """How far the start may be off, degrees."""
    position_only: bool = False
    """With --start: the camera only changes its place, and goes on looking at the same point, upright."""
    up: tuple[float, float, float] = (0.0, 1.0, 0.0)
    """Of --position-only: upwards in the mesh's frame."""
    symmetric: bool = False
    """Turns that leave the shape as it is do not count, whatever its colours."""
    symmetries: Path | None = None
    """Which motions leave the object as it is: BOP's models_info.json (the mesh is found by its number), or one entry of it. Otherwise they
    are found from the mesh."""
    overlay: Path | None = None
    """PNG to look at: the object over the image, with its outline. By default beside the output."""
    views: int = 400
    """Directions from which the object is tried."""
    no_cache: bool = False
    """Do not keep the templates of this mesh on disk."""
    manners: Manners = field(default_factory=Manners)


def run(options: Options, terminal: Terminal) -> dict[str, Any]:
    """Read, estimate with progress, write pose.json and the overlay."""
    overlay = options.overlay or options.output.with_suffix(".png")
    if overlay == options.output:
        raise ArgumentError(f"{overlay} cannot be both the pose and the picture of it; name the output pose.json")
    terminal.check_output(options.output, overlay)
    color = read_color(options.image).float() / 255
    camera = _camera(options, color)
    mask, unknown = read_mask(options.mask)
    given = PoseInput(camera=camera, color=color, mask=mask, unknown=unknown, box=options.box, depth=_read_depth(options))
    mesh = load_mesh(options.mesh)
    start = None if options.start is None else _start(options.start, options.image.name)
    if options.position_only and start is None:
        raise ArgumentError("--position-only needs --start")
    symmetries = None if options.symmetries is None else _symmetries(options.symmetries, options.mesh)
    folder = cache_directory()
    cache = None if options.no_cache or folder is None else folder / "templates"
    settings = PoseOptions(
        solver=SolverOptions(view_count=options.views, cache_folder=cache), symmetric=options.symmetric,
        start_angle_deg=options.start_angle, position_only=options.position_only, up=options.up,
    )  # fmt: skip
    begin = time.perf_counter()
    steps = estimate_pose_steps(mesh, given, start=start, symmetries=symmetries, options=settings)
    estimate = _finished(steps, terminal, stage_count=6 if mask is not None else 11)
    seconds = time.perf_counter() - begin
    _save_overlay(overlay, mesh, color, camera, estimate)
    facts = {**_facts(estimate.best), "alternatives": [_alternative(c) for c in estimate.candidates[1:]],
             "symmetry_count": len(estimate.symmetries.motions), "diameter": estimate.diameter, "mesh": str(options.mesh),
             "seconds": round(seconds, 3)}  # fmt: skip
    frame = PoseFrame(name=options.image.name, pose=estimate.camera_from_object, facts=facts)
    save_poses([frame], options.output)
    _report(options, terminal, estimate, overlay, seconds)
    return {"output": options.output, "overlay": overlay, "camera_from_object": frame.pose, **facts}


def _finished(steps: Iterator[SolverStep | PoseEstimate], terminal: Terminal, *, stage_count: int) -> PoseEstimate:
    """The end of an estimation, whose stages move a progress bar."""
    estimate: PoseEstimate | None = None
    with terminal.progress(stage="{task.fields[stage]}") as progress:
        task = progress.add_task("pose", total=stage_count, stage="")
        for step in steps:
            if isinstance(step, PoseEstimate):
                estimate = step
            else:
                progress.update(task, advance=1, stage=step.name)
    assert estimate is not None
    return estimate


def _facts(candidate: PoseCandidate) -> dict[str, Any]:
    deviation = candidate.covariance.diagonal().clamp(min=0).sqrt()
    return {
        "confidence": round(candidate.confidence, 4), "fit": round(candidate.fit, 4), "cost": round(candidate.cost, 5),
        "terms": candidate.terms, "covariance": candidate.covariance.tolist(),
        "deviation": {"translation": deviation[:3].tolist(), "rotation_deg": torch.rad2deg(deviation[3:]).tolist()},
    }  # fmt: skip


def _alternative(candidate: PoseCandidate) -> dict[str, Any]:
    return {
        "camera_from_object": candidate.camera_from_object.tolist(),
        "confidence": round(candidate.confidence, 4),
        "cost": round(candidate.cost, 5),
    }


def _report(options: Options, terminal: Terminal, estimate: PoseEstimate, overlay: Path, seconds: float) -> None:
    best = estimate.best
    position = ", ".join(f"{v:.4g}" for v in best.camera_from_object[:3, 3].tolist())
    rows = [
        ("confidence", f"{best.confidence:.2f}"),
        ("position", f"{position} (unit of the mesh)"),
        ("alternatives", len(estimate.candidates) - 1),
        ("overlay", overlay),
        ("seconds", f"{seconds:.2f}"),
    ]
    terminal.table(str(options.output), rows)
    if best.fit < _UNSURE:
        terminal.warn("the pose hardly explains the image; look at the overlay, and check the mesh's unit, the camera and the mask")
    elif best.confidence < _UNSURE:
        terminal.warn(f"{len(estimate.candidates)} poses explain the image nearly as well; they are in the output as alternatives")


def read_mask(path: Path | None) -> tuple[Tensor | None, Tensor | None]:
    """A mask image as the share [H, W] of each pixel that shows the object, and where nobody knows; both None without a file."""
    if path is None:
        return None, None
    values = read_pixels(path)
    if values.ndim == 3:  # a colour image: its alpha, if that says something, else its brightness
        values = values[..., 3] if values.shape[2] == 4 and values[..., 3].min() < 255 else values[..., :3].max(-1)
    if values.dtype == bool or values.max(initial=0) <= 1:
        return torch.from_numpy(values.astype(np.float32)), None
    top = 65535.0 if values.max() > 255 else 255.0
    unknown = np.isin(values, _UNKNOWN) if top == 255 else np.zeros(values.shape, bool)
    share = np.where(unknown, 0.0, values.astype(np.float32) / top).astype(np.float32)
    return torch.from_numpy(share), torch.from_numpy(unknown) if unknown.any() else None


def _read_depth(options: Options) -> Tensor | None:
    if options.depth is None:
        if options.depth_scale is not None:
            raise ArgumentError("--depth-scale needs --depth")
        return None
    if options.depth_scale is None or not options.depth_scale > 0:
        raise ArgumentError(
            "--depth needs --depth-scale: mesh units per count (for a PNG in mm: 1 with a mesh in mm, 0.001 with one in metres)"
        )
    return read_depth(options.depth) * options.depth_scale


def _camera(options: Options, color: Tensor) -> Camera:
    size = (color.shape[0], color.shape[1])
    if (options.camera is None) == (options.fov is None):
        raise ArgumentError("give either --camera or --fov")
    if options.camera is None:
        if not 0 < float(options.fov or 0) < 179:
            raise ArgumentError(f"--fov must lie between 0 and 179 degrees, got {options.fov}")
        return perspective_camera(image_size=size, fov_y_deg=options.fov)
    frames = load_frames(options.camera, image_size=size)
    chosen = [frame for frame in frames if _is_of(frame, options.image)] or list(frames if len(frames) == 1 else ())
    if not chosen:
        raise ArgumentError(f"{options.camera} has {len(frames)} cameras and none for an image called {options.image.name!r}")
    camera = chosen[0].camera
    if camera.image_size != size:
        swapped = camera.image_size == size[::-1]
        raise ArgumentError(
            f"{options.image} has {size[1]}x{size[0]} pixels, the camera in {options.camera} {camera.width}x{camera.height}; "
            + ("photographs are turned upright, as their EXIF orientation says" if swapped else "resize the image or scale the camera")
        )
    return camera


def _is_of(frame: CameraFrame, image: Path) -> bool:
    name = Path(frame.name)
    return (
        name.name == image.name
        or name.stem == image.stem
        or (name.stem.isdecimal() and image.stem.isdecimal() and int(name.stem) == int(image.stem))
    )


def _start(path: Path, name: str) -> Tensor:
    frames = load_poses(path)
    if not frames:
        raise FormatError("no frames", path=path)
    return next((f.pose for f in frames if f.name == name), frames[0].pose)


def _symmetries(path: Path, mesh: Path) -> Tensor:
    """Motions [S, 4, 4] from a models_info.json or from one entry of it."""
    root = read_json(path)
    kinds = ("symmetries_discrete", "symmetries_continuous")
    if not any(kind in root for kind in kinds):
        number = re.search(r"\d+$", mesh.stem)
        if number is None or str(int(number[0])) not in root:
            raise FormatError(f"neither {' nor '.join(kinds)} in it, nor an entry with the number of {mesh.name}", path=path)
        root = root[str(int(number[0]))]
    return symmetry_transforms(root, step=_SYMMETRY_STEP)


def _save_overlay(path: Path, mesh: Mesh, color: Tensor, camera: Camera, estimate: PoseEstimate) -> None:
    image = undistort_image(color, camera) if camera.distortion is not None or camera.projection == "fisheye" else color
    plain, shrink = undistorted_camera(camera), max(1.0, max(camera.image_size) / _OVERLAY_PIXELS)
    if shrink > 1:
        plain = resize_camera(plain, (round(camera.height / shrink), round(camera.width / shrink)))
        image = averaged(image, plain.image_size)
    picture = draw_pose((image * 255).round().to(torch.uint8), mesh, plain, estimate.camera_from_object)
    with atomic_write(path) as file:
        Image.fromarray(picture.numpy()).save(file, format="PNG")
