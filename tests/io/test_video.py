"""Sequences of images from folders and video files, whole and damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unproject.errors import ArgumentError, FileAccessError, FormatError
from unproject.io.video import open_video


def write_images(folder: Path, count: int, value: int = 40) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        Image.fromarray(np.full((24, 32, 3), value + k, np.uint8)).save(folder / f"frame{k}.png")


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    write_images(tmp_path, 12)
    video = open_video(tmp_path)
    frames = list(video)
    assert video.count == 12 and [int(f.color[0, 0, 0]) - 40 for f in frames] == list(range(12))
    assert frames[10].name == "frame10" and frames[0].depth is None


def test_depth_lies_beside_colour(tmp_path: Path) -> None:
    write_images(tmp_path / "color", 2)
    (tmp_path / "depth").mkdir()
    Image.fromarray(np.full((24, 32), 1500, np.uint16)).save(tmp_path / "depth" / "depth_0001.png")
    first, second = open_video(tmp_path, depth_scale=0.5)
    assert first.depth is None and second.depth is not None and torch.all(second.depth == 750)
    with pytest.raises(FormatError, match="no folder depth/"):
        open_video(tmp_path / "color", depth_scale=0.5)
    with pytest.raises(ArgumentError, match="positive"):
        open_video(tmp_path, depth_scale=-1.0)


def test_a_damaged_image_ends_the_sequence_with_its_name(tmp_path: Path) -> None:
    write_images(tmp_path, 3)
    (tmp_path / "frame1.png").write_bytes(b"\x89PNG broken")
    frames = iter(open_video(tmp_path))
    next(frames)
    with pytest.raises(FormatError, match=r"frame1\.png"):
        next(frames)


def test_what_is_no_sequence_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileAccessError, match="no such file"):
        open_video(tmp_path / "missing.mp4")
    with pytest.raises(FormatError, match="no images"):
        open_video(tmp_path)
    (tmp_path / "x.mp4").write_bytes(b"not a video")
    pytest.importorskip("av")
    with pytest.raises(FormatError, match="cannot be read as a video"):
        open_video(tmp_path / "x.mp4")
    with pytest.raises(FileAccessError, match="camera 97"):
        open_video(97)


def test_a_video_file_whole_and_truncated(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "v.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuvj420p"
        for k in range(8):
            picture = av.VideoFrame.from_ndarray(np.full((24, 32, 3), 20 * k, np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    video = open_video(path)
    values = [int(frame.color.float().mean()) for frame in video]
    assert len(values) == 8 and video.frames_per_second == 10 and all(abs(v - 20 * k) < 6 for k, v in enumerate(values))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 5])
    taken = 0
    with pytest.raises(FormatError, match=r"truncated|damaged"):
        for _ in open_video(path):
            taken += 1
    assert 1 <= taken < 8


def test_a_video_that_was_filmed_on_its_side_is_turned(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "v.mp4"
    upright = np.zeros((32, 24, 3), np.uint8)
    upright[:16] = 200  # bright above
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        lying = np.ascontiguousarray(np.rot90(upright))  # counter-clockwise: to look at it, turn it clockwise
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(lying, format="rgb24")))
        container.mux(stream.encode(None))
    one, none, last = b"\x00\x01\x00\x00", bytes(4), b"\x40\x00\x00\x00"
    still, clockwise = one + none * 3 + one + none * 3 + last, none + one + none + b"\xff\xff\x00\x00" + none * 4 + last
    data = path.read_bytes()
    header = data.index(b"tkhd")
    place = data.index(still, header)
    assert place < header + 100
    path.write_bytes(data[:place] + clockwise + data[place + len(still) :])
    frames = [frame.color.float() for frame in open_video(path)]
    assert len(frames) == 3
    for color in frames:
        assert color.shape == (32, 24, 3) and float(color[:14].mean()) > 150 and float(color[18:].mean()) < 50
