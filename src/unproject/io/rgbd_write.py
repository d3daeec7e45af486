"""RGB-D frames as a folder that `find_rgbd` and `unproject fuse` read."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..camera.camera import Camera
from ..errors import ArgumentError, FileAccessError, check_shape, describe
from .atomic import atomic_write, write_all
from .cameras import save_camera
from .images import encode_png
from .json_node import read_json, write_json
from .trajectories import Trajectory, save_trajectory

_LARGEST = 65535  # counts of a 16-bit image


def save_rgbd(
    folder: str | os.PathLike[str],
    frames: Iterable[tuple[Tensor, Tensor]],
    camera: Camera,
    *,
    depth_scale: float = 0.001,
    camera_from_world: Tensor | None = None,
    overwrite: bool = False,
) -> Path:
    """Write depth/, color/ (PNG), camera.json and, with poses, trajectory.log.

    Args:
        folder: made if it does not exist.
        frames: depth [H, W] in scene units (0, negative or not finite: none) and rgb [H, W, 3] uint8; they may come from a generator.
        camera: one camera without regard to its pose.
        depth_scale: scene units per count of the 16-bit depth images; depth is rounded to it.
        camera_from_world: [N, 4, 4] rigid, one for each frame; None writes no trajectory.
        overwrite: whether files of these names are replaced.

    Raises:
        ArgumentError: shapes, a depth beyond 65,535 counts, another number of poses than of frames.
        FileAccessError: a file cannot be written, or exists and may not be replaced.
    """
    place = Path(folder)
    if not depth_scale > 0:
        raise ArgumentError(f"save_rgbd: `depth_scale` must be positive, got {depth_scale}")
    try:
        for part in ("depth", "color"):
            (place / part).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileAccessError(f"{place}: {error.strerror or error}") from error
    save_camera(camera, place / "camera.json", overwrite=overwrite)
    root = read_json(place / "camera.json")
    write_json(place / "camera.json", {**root.value, "depth_scale": depth_scale}, overwrite=True)
    count = 0
    for depth, rgb in frames:
        counts = _counts(depth, depth_scale, count, (camera.height, camera.width))
        if rgb.dtype != torch.uint8 or rgb.shape != (*depth.shape, 3):
            raise ArgumentError(f"save_rgbd: the colour of frame {count} must be uint8 {[*depth.shape, 3]}, got {describe(rgb)}")
        for name, data in ((f"depth/{count:05d}.png", _depth_png(counts)), (f"color/{count:05d}.png", encode_png(rgb / 255))):
            with atomic_write(place / name, overwrite=overwrite) as file:
                write_all(file, data)
        count += 1
    if camera_from_world is not None:
        if camera_from_world.shape[0] != count:
            raise ArgumentError(f"save_rgbd: {camera_from_world.shape[0]} poses for {count} frames")
        path = Trajectory(camera_from_world=camera_from_world, names=tuple(str(i) for i in range(count)))
        save_trajectory(path, place / "trajectory.log", overwrite=overwrite)
    return place


def _counts(depth: Tensor, scale: float, frame: int, size: tuple[int, int]) -> np.ndarray:
    check_shape(depth, ["H", "W"], name="depth", where="save_rgbd")
    if tuple(depth.shape) != size:
        raise ArgumentError(f"save_rgbd: the depth of frame {frame} is {list(depth.shape)}, the camera's images are {list(size)}")
    depth = depth.detach().cpu().double()
    counts = torch.where(torch.isfinite(depth) & (depth > 0), depth / scale, 0).round()
    if counts.numel() and float(counts.max()) > _LARGEST:
        raise ArgumentError(f"save_rgbd: frame {frame} has a depth of {float(depth.max()):g}, more than 65535 counts of {scale:g}")
    return counts.numpy().astype(np.uint16)


def _depth_png(counts: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(counts).save(stream, format="PNG", compress_level=3)
    return stream.getvalue()
