"""Moving pictures: GIF and MP4 from frames."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ArgumentError, FileAccessError, MissingDependencyError
from .atomic import atomic_write, write_all

ENDINGS = (".gif", ".mp4")


def save_animation(frames: Iterator[np.ndarray], path: str | Path, *, fps: float = 24.0, overwrite: bool = True) -> int:
    """Write frames as a GIF, or as an MP4 (H.264), by the ending of the name. The file appears whole or not at all.

    Args:
        frames: uint8 [H, W, 3], all of one size.
        fps: frames a second; a GIF can show at most 50.

    Returns:
        How many frames there were.

    Raises:
        ArgumentError: another ending, or no frames.
        MissingDependencyError: MP4 without an encoder.
        FileAccessError: the file cannot be written, or the encoder failed.
    """
    target = Path(path)
    writer = check_animation(target)
    if not fps > 0:
        raise ArgumentError(f"save_animation: `fps` must be positive, got {fps!r}")
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / f"frames{target.suffix.lower()}"
        count = writer(frames, temporary, fps)
        if count == 0:
            raise ArgumentError("save_animation: `frames` is empty")
        with atomic_write(target, overwrite=overwrite) as file:
            write_all(file, temporary.read_bytes())
    return count


def check_animation(path: Path) -> Callable[[Iterator[np.ndarray], Path, float], int]:
    """What writes such a file here; to be asked before the frames are made.

    Raises:
        ArgumentError: another ending than .gif or .mp4.
        MissingDependencyError: MP4 without an encoder.
    """
    ending = path.suffix.lower()
    if ending == ".gif":
        return _write_gif
    if ending != ".mp4":
        raise ArgumentError(f"{path.name}: moving pictures end in {' or '.join(ENDINGS)}")
    encoder = _ffmpeg()
    if encoder is not None:
        return lambda frames, target, fps: _write_ffmpeg(encoder, frames, target, fps)
    if _module("av") is not None:
        return _write_pyav
    raise MissingDependencyError(f"{path.name}: MP4 needs an encoder: pip install imageio-ffmpeg (or write a .gif)")


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _ffmpeg() -> str | None:
    """An ffmpeg program: that of imageio-ffmpeg, or the system's."""
    package = _module("imageio_ffmpeg")
    if package is not None:
        try:
            return str(package.get_ffmpeg_exe())
        except RuntimeError:
            pass
    return shutil.which("ffmpeg")


def _write_gif(frames: Iterator[np.ndarray], target: Path, fps: float) -> int:
    from PIL import Image

    images = [Image.fromarray(frame).quantize(256, method=Image.Quantize.MEDIANCUT) for frame in frames]
    if images:
        duration = max(20, round(1000 / fps))
        images[0].save(target, save_all=True, append_images=images[1:], duration=duration, loop=0, disposal=2)
    return len(images)


def _even(frame: np.ndarray) -> np.ndarray:
    """H.264 wants even sizes: the last row or column twice."""
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge") if height % 2 or width % 2 else frame


def _write_ffmpeg(program: str, frames: Iterator[np.ndarray], target: Path, fps: float) -> int:
    count, process = 0, None
    with tempfile.TemporaryFile() as said:
        try:
            for frame in frames:
                frame = np.ascontiguousarray(_even(frame))
                if process is None:
                    size = f"{frame.shape[1]}x{frame.shape[0]}"
                    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", str(fps), "-i", "-"]
                    command = [program, "-y", "-loglevel", "error", *source, "-pix_fmt", "yuv420p", "-crf", "18", str(target)]
                    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said, stdout=subprocess.DEVNULL)
                assert process.stdin is not None
                process.stdin.write(frame.data)
                count += 1
        except BrokenPipeError:
            pass  # its message tells why
        finally:
            if process is not None and process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
                process.wait()
        if process is not None and process.returncode != 0:
            said.seek(0)
            raise FileAccessError(f"ffmpeg cannot write the MP4: {said.read().decode(errors='replace').strip()[-300:]}")
    return count


def _write_pyav(frames: Iterator[np.ndarray], target: Path, fps: float) -> int:
    import imageio.v3 as imageio

    count = 0
    with imageio.imopen(target, "w", plugin="pyav") as file:
        file.init_video_stream("libx264", fps=round(fps))  # type: ignore[attr-defined]
        for frame in frames:
            file.write_frame(_even(frame))  # type: ignore[attr-defined]
            count += 1
    return count
