"""Sequences of images: a video file, a folder of images (with depth images beside them), or a camera."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError, DataError, FileAccessError, FormatError, MissingDependencyError
from ..struct import TensorStruct
from .photograph import read_color
from .rgbd import COLOR_FOLDERS, read_depth

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True, kw_only=True)
class VideoFrame(TensorStruct):
    """One image of a sequence.

    Attributes:
        name: of the image file without its ending, or the frame's number with six digits.
        color: [H, W, 3] uint8.
        depth: [H, W] camera z in the scene's unit, 0 where nothing was measured, or None.
    """

    name: str
    color: Tensor
    depth: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Video:
    """A sequence that has been opened. Iterate over it once.

    Attributes:
        frames: one after the other; damage in the middle raises FormatError there, after all whole frames before it.
        count: how many there should be, or None if that is not known.
        frames_per_second: or None.
    """

    frames: Iterator[VideoFrame]
    count: int | None = None
    frames_per_second: float | None = None

    def __iter__(self) -> Iterator[VideoFrame]:
        return self.frames


def open_video(source: str | Path | int, *, depth_scale: float | None = None) -> Video:
    """Open a sequence of images.

    Args:
        source: a video file; a folder with images, or with a folder `color/` (or `rgb/`) of them; or the number of a camera.
        depth_scale: scene units per count of the depth images in the folder's `depth/`; None leaves depth aside.

    Raises:
        FileAccessError: there is no such file or folder, or the camera does not answer.
        FormatError: it is no video, or no images are in the folder.
        ArgumentError: depth is asked of something that is not a folder.
        MissingDependencyError: a video or camera without PyAV.
    """
    text = str(source)
    path = Path(text)
    if path.is_dir():
        return _open_folder(path, depth_scale)
    if depth_scale is not None:
        raise ArgumentError(f"open_video: depth comes from a folder with color/ and depth/; {text} is none")
    if text.isdecimal() and not path.exists():
        return _open_camera(int(text))
    if not path.is_file():
        raise FileAccessError(f"{path}: no such file or folder")
    return _open_file(path)


def _open_folder(folder: Path, depth_scale: float | None) -> Video:
    place = next((folder / name for name in COLOR_FOLDERS if (folder / name).is_dir()), folder)
    images = sorted((p for p in place.iterdir() if p.suffix.lower() in IMAGE_ENDINGS), key=_natural)
    if not images:
        raise FormatError(f"no images ({', '.join(IMAGE_ENDINGS)})", path=place)
    depths: dict[str, Path] = {}
    if depth_scale is not None:
        if not depth_scale > 0:
            raise ArgumentError(f"open_video: `depth_scale` must be positive, got {depth_scale}")
        if not (folder / "depth").is_dir():
            raise FormatError("a depth scale is given, but there is no folder depth/", path=folder)
        depths = {_number(p): p for p in (folder / "depth").iterdir() if p.suffix.lower() in (*IMAGE_ENDINGS, ".npy", ".pgm")}

    def frames() -> Iterator[VideoFrame]:
        for path in images:
            depth = depths.get(_number(path))
            counts = None if depth is None or depth_scale is None else read_depth(depth) * depth_scale
            yield VideoFrame(name=path.stem, color=read_color(path), depth=counts)

    return Video(frames=frames(), count=len(images))


def _natural(path: Path) -> list[tuple[int, str]]:
    """frame2 before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name) if part]


def _number(path: Path) -> str:
    """What a colour and a depth image of one frame share: the last number of the name, or the name."""
    numbers = re.findall(r"\d+", path.stem)
    return str(int(numbers[-1])) if numbers else path.stem


def _pyav() -> Any:
    try:
        import av
    except ImportError:
        hint = "pip install 'unproject[video]' (or unpack the video into a folder of images)"
        raise MissingDependencyError(f"videos and cameras need PyAV: {hint}") from None
    return av


def _upright(picture: Any) -> Tensor:
    """A decoded frame as [H, W, 3] uint8, turned as its display matrix says: phones film lying on their side."""
    turns = round(getattr(picture, "rotation", 0) / 90) % 4
    return torch.rot90(torch.from_numpy(picture.to_ndarray(format="rgb24")), turns).contiguous()


def _open_file(path: Path) -> Video:
    av = _pyav()
    try:
        container = av.open(str(path))
        stream = container.streams.video[0]
    except (av.error.FFmpegError, OSError, IndexError, ValueError) as error:
        raise FormatError(f"cannot be read as a video: {error}", path=path) from error
    rate = float(stream.average_rate) if stream.average_rate else None
    count = stream.frames or (round(float(stream.duration * stream.time_base) * rate) if stream.duration and rate else None)

    def frames() -> Iterator[VideoFrame]:
        number = 0
        with container:
            try:
                for picture in container.decode(stream):
                    yield VideoFrame(name=f"{number:06d}", color=_upright(picture))
                    number += 1
            except (av.error.FFmpegError, ValueError) as error:
                raise FormatError(f"damaged after frame {number}: {error}", path=path) from error
        if number == 0:
            raise DataError(f"{path}: the video has no frames")
        if stream.frames and number < stream.frames:
            raise FormatError(f"truncated: {number} of {stream.frames} frames", path=path)

    return Video(frames=frames(), count=count, frames_per_second=rate)


def _open_camera(number: int) -> Video:
    av = _pyav()
    kind, name = {"win32": ("dshow", f"video={number}"), "darwin": ("avfoundation", str(number))}.get(
        sys.platform, ("v4l2", f"/dev/video{number}")
    )
    try:
        container = av.open(name, format=kind)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise FileAccessError(f"camera {number} ({name}): {error}") from error

    def frames() -> Iterator[VideoFrame]:
        with container:
            for k, picture in enumerate(container.decode(video=0)):
                yield VideoFrame(name=f"{k:06d}", color=_upright(picture))

    return Video(frames=frames())
