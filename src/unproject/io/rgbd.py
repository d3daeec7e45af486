"""Folders of RGB-D frames: which colour image belongs to which depth image, the camera of both, and where it was."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..camera.camera import Camera, resize_camera
from ..camera.undistortion import undistort_image, undistorted_camera
from ..errors import ArgumentError, FileAccessError, FormatError
from .cameras import load_camera, load_frames
from .cameras_open3d import load_open3d_intrinsics
from .json_node import read_json, read_text
from .photograph import read_pixels, unreadable
from .trajectories import load_trajectory

COLOR_FOLDERS = ("color", "rgb", "image", "images", "colour")
CAMERA_FILES = ("camera.json", "K.json", "intrinsics.json", "intrinsic.json", "camera_intrinsic.json")
TRAJECTORY_FILES = ("trajectory.log", "trajectory.txt", "groundtruth.txt", "trajectory.json")
_IMAGES = (".png", ".jpg", ".jpeg", ".pgm", ".ppm", ".tif", ".tiff", ".npy", ".bmp", ".webp")
_TIME_GAP = 0.03  # seconds between images, or an image and a pose, that belong together


@dataclass(frozen=True, kw_only=True)
class RgbdFolder:
    """RGB-D frames on disk, in order.

    Attributes:
        names: of the frames: the depth files' without their endings.
        depth_paths, color_paths: one each; the colour path is None where a frame has none.
        camera: of the depth images, at the identity pose. Colour images are registered to them.
        depth_scale: scene units per count of the depth images.
        times: seconds, where the names or a list file say them, else None.
    """

    names: tuple[str, ...]
    depth_paths: tuple[Path, ...]
    color_paths: tuple[Path | None, ...]
    camera: Camera
    depth_scale: float
    times: tuple[float, ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, part: slice) -> RgbdFolder:
        """Some of the frames."""
        times = None if self.times is None else self.times[part]
        return replace(self, names=self.names[part], depth_paths=self.depth_paths[part], color_paths=self.color_paths[part], times=times)


def find_rgbd(
    folder: str | os.PathLike[str],
    *,
    color: str | os.PathLike[str] | None = None,
    depth: str | os.PathLike[str] | None = None,
    camera: str | os.PathLike[str] | None = None,
    depth_scale: float | None = None,
) -> RgbdFolder:
    """Find the frames of a folder.

    Depth and colour are paired by equal names; else by the numbers in their names; else by TUM's lists `depth.txt` and `rgb.txt` (nearest
    times); else by order, if there are as many of both.

    Args:
        color, depth: their folders, relative to `folder`; by default `depth` and the first of COLOR_FOLDERS.
        camera: camera JSON (fx, fy, cx, cy, width, height, ..., and `depth_scale`) or Open3D's intrinsics; by default one of CAMERA_FILES.
        depth_scale: scene units per count (0.001 for millimetres and a scene in metres); by default the camera file's, else 0.001.

    Raises:
        FileAccessError: a folder or the camera file is missing.
        FormatError: no depth images, no pairs, a damaged camera file.
        ArgumentError: a depth_scale that is not positive.
    """
    place = Path(folder)
    if not place.is_dir():
        raise FileAccessError(f"{place}: no such folder")
    depth_folder = place / (depth or "depth")
    depth_paths = _images(depth_folder)
    if not depth_paths:
        raise FormatError("no depth images in this folder", path=depth_folder)
    color_folder = _color_folder(place, color)
    color_paths = _images(color_folder) if color_folder is not None else []
    found, scale = _camera(place, camera, depth_paths)
    scale = depth_scale if depth_scale is not None else scale
    if not (scale > 0 and np.isfinite(scale)):
        raise ArgumentError(f"find_rgbd: `depth_scale` must be positive, got {scale}")
    pairs, times = _pairs(place, depth_paths, color_paths)
    return RgbdFolder(
        names=tuple(d.stem for d, _ in pairs),
        depth_paths=tuple(d for d, _ in pairs),
        color_paths=tuple(c for _, c in pairs),
        camera=found,
        depth_scale=scale,
        times=times,
    )


def load_rgbd(frames: RgbdFolder, index: int) -> tuple[Tensor, Tensor]:
    """One frame without lens distortion: depth [H, W] float32 in scene units (0: none) and rgb [H, W, 3] uint8 (grey without colour).

    The camera of both is `rgbd_camera(frames)`.

    Raises:
        FileAccessError: a file cannot be read. FormatError: it is damaged, no depth image, or of another size than the camera's.
    """
    camera = frames.camera
    depth = read_depth(frames.depth_paths[index]) * frames.depth_scale
    if tuple(depth.shape) != tuple(camera.image_size):
        sizes = f"{depth.shape[1]} x {depth.shape[0]}, the camera's are {camera.width} x {camera.height}"
        raise FormatError(f"the image is {sizes}", path=frames.depth_paths[index])
    color_path = frames.color_paths[index]
    rgb = torch.full((*depth.shape, 3), 128, dtype=torch.uint8) if color_path is None else _read_color(color_path, camera.image_size)
    if camera.distortion is not None or camera.projection == "fisheye":
        depth = undistort_image(depth[..., None], camera, mode="nearest")[..., 0]
        rgb = undistort_image(rgb.to(torch.float32), camera).round().to(torch.uint8)
    return depth.contiguous(), rgb.contiguous()


def rgbd_camera(frames: RgbdFolder) -> Camera:
    """The camera of what `load_rgbd` returns."""
    return undistorted_camera(frames.camera)


def find_trajectory(folder: str | os.PathLike[str]) -> Path | None:
    """The trajectory file of a folder, by its usual names."""
    return next((path for name in TRAJECTORY_FILES if (path := Path(folder) / name).is_file()), None)


def load_poses(frames: RgbdFolder, path: str | os.PathLike[str]) -> tuple[Tensor | None, ...]:
    """camera_from_world [4, 4] float64 of each frame, None for a frame that the file does not have.

    An Open3D log is matched by frame number, TUM's format by time (else by order), COLMAP and JSON cameras by image name; any of them by
    order when nothing matches and there are as many poses as frames.

    Raises:
        FileAccessError: the file cannot be read.
        FormatError: it is damaged, a pose is not rigid, or no pose belongs to a frame.
    """
    place = Path(path)
    if place.is_dir() or place.suffix.lower() in (".json", ".bin"):
        cameras = load_frames(place if place.suffix.lower() != ".bin" else place.parent, dtype=torch.float64)
        names = [Path(frame.name).stem for frame in cameras]
        poses = [frame.camera.camera_from_world for frame in cameras]
    else:
        trajectory = load_trajectory(place, dtype=torch.float64)
        names, poses = list(trajectory.names), list(trajectory.camera_from_world)
    matched = _match_poses(frames, names)
    if all(m is None for m in matched):
        if len(poses) != len(frames):
            raise FormatError(
                f"none of its {len(poses)} poses belongs to one of the {len(frames)} frames (by name, number or time)", path=place
            )
        matched = list(range(len(frames)))
    return tuple(None if m is None else poses[m] for m in matched)


# ---- finding ---------------------------------------------------------------------------------------------------------------------


def _images(folder: Path) -> list[Path]:
    try:
        paths = [path for path in folder.iterdir() if path.suffix.lower() in _IMAGES and not path.name.startswith(".")]
    except OSError as error:
        raise FileAccessError(f"{folder}: {error.strerror or error}") from error
    return sorted(paths, key=lambda path: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.stem)])


def _color_folder(place: Path, color: str | os.PathLike[str] | None) -> Path | None:
    if color is not None:
        return place / color
    return next((place / name for name in COLOR_FOLDERS if (place / name).is_dir()), None)


def _camera(place: Path, camera: str | os.PathLike[str] | None, depth_paths: Sequence[Path]) -> tuple[Camera, float]:
    """The camera, fitted to the depth images' resolution, and the depth scale of its file."""
    if camera is None:
        path = next((place / name for name in CAMERA_FILES if (place / name).is_file()), None)
        if path is None:
            raise FileAccessError(f"{place}: no camera file ({', '.join(CAMERA_FILES)}); name one, with fx, fy, cx, cy, width and height")
    else:
        path = Path(camera)
    root = read_json(path)
    found = load_open3d_intrinsics(path, dtype=torch.float64) if "intrinsic_matrix" in root else load_camera(path, dtype=torch.float64)
    if found.projection == "orthographic":
        raise FormatError("a depth camera is perspective or fisheye, not orthographic", path=path)
    if float(found.intrinsics[0, 1]) != 0:
        raise FormatError("`skew` is not supported for depth images", path=path)
    found = replace(found, camera_from_world=torch.eye(4, dtype=torch.float64))
    scale = root["depth_scale"].number() if "depth_scale" in root else 0.001
    if scale >= 10:
        raise root["depth_scale"].fail(f"must be scene units per count (0.001 for millimetres); {scale:g} looks like counts per unit")
    size = _first_size(depth_paths)
    if size is not None and size != tuple(found.image_size):
        if abs(size[0] * found.width - size[1] * found.height) > max(size):
            sizes = f"{found.width} x {found.height}, the depth images are {size[1]} x {size[0]}"
            raise FormatError(f"the camera's images are {sizes}: another shape, so another camera", path=path)
        found = resize_camera(found, size)
    return found, scale


def _first_size(depth_paths: Sequence[Path]) -> tuple[int, int] | None:
    """The size of the first depth image that can be read."""
    for path in depth_paths:
        try:
            return (lambda shape: (shape[0], shape[1]))(read_depth(path).shape)
        except (FormatError, FileAccessError):
            continue
    return None


def _pairs(place: Path, depths: list[Path], colors: list[Path]) -> tuple[list[tuple[Path, Path | None]], tuple[float, ...] | None]:
    """Depth images with their colour images (or None), and times if there are any."""
    times = _times(place, "depth", depths)
    if not colors:
        return [(d, None) for d in depths], times
    for key in (lambda p: p.stem, lambda p: _number(p.stem)):
        by_key = {key(c): c for c in colors if key(c) is not None}
        matched = [by_key.get(key(d)) for d in depths]
        if len(by_key) == len(colors) and sum(m is not None for m in matched) >= 0.5 * min(len(depths), len(colors)):
            return list(zip(depths, matched)), times
    color_times = _times(place, "rgb", colors)
    if times is not None and color_times is not None:
        nearest = [int(np.abs(np.array(color_times) - t).argmin()) for t in times]
        return [(d, colors[n] if abs(color_times[n] - t) <= _TIME_GAP else None) for d, t, n in zip(depths, times, nearest)], times
    if len(depths) != len(colors):
        raise FormatError(f"{len(depths)} depth and {len(colors)} colour images do not pair, by name, number, time or order", path=place)
    return list(zip(depths, colors)), times


def _times(place: Path, kind: str, paths: list[Path]) -> tuple[float, ...] | None:
    """Time stamps: of TUM's list file, else of names like 1305031102.175304."""
    listed = place / f"{kind}.txt"
    stamps = {}
    if listed.is_file():
        for line in read_text(listed).splitlines():
            words = line.split()
            if len(words) == 2 and not line.startswith("#") and _float(words[0]) is not None:
                stamps[Path(words[1]).name] = _float(words[0])
    times = [stamps.get(path.name, _float(path.stem) if re.fullmatch(r"\d+\.\d+", path.stem) else None) for path in paths]
    return None if any(t is None for t in times) else tuple(float(t) for t in times if t is not None)


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _number(name: str) -> int | None:
    """The last whole number of a name."""
    digits = re.findall(r"\d+", name)
    return int(digits[-1]) if digits else None


def _match_poses(frames: RgbdFolder, names: list[str]) -> list[int | None]:
    """For each frame the row of its pose, or None."""
    by_name = {name: row for row, name in enumerate(names)}
    colors = [None if path is None else path.stem for path in frames.color_paths]
    matched = [by_name.get(name, by_name.get(color or "")) for name, color in zip(frames.names, colors)]
    if any(m is not None for m in matched):
        return matched
    stamps = [_float(name) for name in names]
    if frames.times is not None and all(s is not None for s in stamps):
        known = np.array(stamps, dtype=np.float64)
        nearest = [int(np.abs(known - t).argmin()) for t in frames.times]
        return [n if abs(known[n] - t) <= _TIME_GAP else None for n, t in zip(nearest, frames.times)]
    if len(names) == len(frames):
        return list(range(len(frames)))
    numbers = {int(s): row for row, s in enumerate(stamps) if s is not None and s == int(s)}
    return [None if (n := _number(name)) is None else numbers.get(n) for name in frames.names]


# ---- reading ---------------------------------------------------------------------------------------------------------------------


def read_depth(path: Path) -> Tensor:
    """A depth image as counts [H, W], float32: 16-bit PNG and the like, TIFF or NPY; times the depth scale it is camera z.

    Raises:
        FileAccessError: the file cannot be read.
        FormatError: damaged, or no depth image (8 bits, several channels).
    """
    if path.suffix.lower() == ".npy":
        try:
            values = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise unreadable(path, error) from error
    else:
        values = read_pixels(path)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2 or values.dtype == np.bool_:
        raise FormatError(f"not a depth image: {list(values.shape)} {values.dtype}, where [height, width] numbers were expected", path=path)
    if values.dtype == np.uint8:
        raise FormatError("not a depth image: 8 bits cannot hold distances (a picture of one?)", path=path)
    return torch.from_numpy(values.astype(np.float32))


def _read_color(path: Path, size: tuple[int, int]) -> Tensor:
    pixels = read_pixels(path, "RGB")
    if pixels.shape[:2] != tuple(size):
        if abs(pixels.shape[0] * size[1] - pixels.shape[1] * size[0]) > max(pixels.shape):
            sizes = f"{pixels.shape[1]} x {pixels.shape[0]}, the depth images are {size[1]} x {size[0]}"
            raise FormatError(f"the image is {sizes}: colour must be registered to depth", path=path)
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
        image = torch.nn.functional.interpolate(image, size=tuple(size), mode="bilinear", antialias=True)
        return image[0].permute(1, 2, 0).round().to(torch.uint8)
    return torch.from_numpy(pixels)
