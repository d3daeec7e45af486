"""COLMAP's sparse models: cameras, images and points3D, as text or binary files. Axes and pixels are as ours."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..camera.camera import Camera
from ..camera.conventions import COLMAP_MODELS, ColmapCamera, camera_from_colmap, colmap_from_camera
from ..errors import ArgumentError, FileAccessError, FormatError
from ..geometry.points import PointCloud
from .atomic import OutputFiles
from .camera_frame import CameraFrame
from .json_node import read_text

_MODEL_NAMES = {number: name for name, (number, _, _) in COLMAP_MODELS.items()} | {7: "FOV", 10: "THIN_PRISM_FISHEYE"}
_PARAMETER_COUNTS = {name: len(names) for name, (_, _, names) in COLMAP_MODELS.items()} | {"FOV": 5, "THIN_PRISM_FISHEYE": 12}


@dataclass(frozen=True, kw_only=True)
class ColmapScene:
    """A sparse reconstruction.

    Attributes:
        frames: the registered images by image number; metadata has image_id, camera_id, keypoints [K, 2] (pixels) and
            keypoint_points [K] (ids of the points that they see, -1 for none).
        points: positions, colours; attributes "error" [N] (pixels) and "track_length" [N]; metadata["ids"] [N].
    """

    frames: tuple[CameraFrame, ...]
    points: PointCloud


@dataclass(frozen=True)
class _Image:
    number: int
    camera: int
    qvec: tuple[float, ...]
    tvec: tuple[float, ...]
    name: str
    keypoints: np.ndarray  # [K, 3]: x, y, point id


def find_colmap(folder: Path) -> Path | None:
    """Where a COLMAP model lies in a folder: in itself, or in sparse/0, sparse, colmap/sparse/0."""
    places = (folder, folder / "sparse" / "0", folder / "sparse", folder / "colmap" / "sparse" / "0")
    return next((p for p in places if any((p / f"cameras{ending}").is_file() for ending in (".bin", ".txt"))), None)


def load_colmap(
    folder: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None, dtype: torch.dtype = torch.float32
) -> ColmapScene:
    """Read a COLMAP model; binary files before text files, as COLMAP does.

    Args:
        folder: with cameras, images and (optional) points3D, or a project folder with the model in sparse/0.
        images: folder of the image files; by default an `images` folder beside or above the model, if there is one.

    Raises:
        FileAccessError: a file cannot be read.
        FormatError: a file is damaged (with its line or byte), or a camera model is not supported.
    """
    place = find_colmap(Path(folder))
    if place is None:
        raise FileAccessError(f"{folder}: no COLMAP model here (cameras.bin or cameras.txt)")
    binary = (place / "cameras.bin").is_file()
    ending = ".bin" if binary else ".txt"
    cameras_path, images_path, points_path = (place / f"{name}{ending}" for name in ("cameras", "images", "points3D"))
    cameras = _binary_cameras(cameras_path) if binary else _text_cameras(cameras_path)
    entries = _binary_images(images_path) if binary else _text_images(images_path)
    image_folder = _image_folder(place, images)
    frames = []
    for entry in sorted(entries, key=lambda e: e.number):
        if entry.camera not in cameras:
            raise FormatError(
                f"image {entry.name!r} refers to camera {entry.camera}, which is not in {cameras_path.name}", path=images_path
            )
        camera = _camera(cameras[entry.camera], entry, cameras_path, dtype)
        keypoints = torch.from_numpy(entry.keypoints)
        metadata = {
            "image_id": entry.number,
            "camera_id": entry.camera,
            "keypoints": keypoints[:, :2],
            "keypoint_points": keypoints[:, 2].long(),
        }
        image = image_folder / entry.name if image_folder is not None else None
        image = image if image is not None and image.is_file() else None
        frames.append(CameraFrame(name=entry.name, camera=camera, image_path=image, metadata=metadata))
    if not points_path.is_file():
        return ColmapScene(frames=tuple(frames), points=PointCloud(positions=torch.zeros(0, 3, dtype=dtype)))
    rows = _binary_points(points_path) if binary else _text_points(points_path)
    return ColmapScene(frames=tuple(frames), points=_points(rows, dtype))


def save_colmap(
    frames: Sequence[CameraFrame],
    folder: str | os.PathLike[str],
    points: PointCloud | None = None,
    *,
    binary: bool = True,
    overwrite: bool = True,
) -> None:
    """Write a COLMAP model (cameras, images, points3D) into an existing folder, all files or none.

    Equal intrinsics become one camera. Points are written without tracks, keypoints where the frames' metadata has them.

    Raises:
        ArgumentError: a camera that COLMAP cannot hold, or a name with spaces or line breaks in a text file.
        FileAccessError: a file cannot be written, or exists and may not be replaced.
    """
    place, ending = Path(folder), ".bin" if binary else ".txt"
    cameras: dict[tuple[Any, ...], int] = {}
    entries = []
    for i, frame in enumerate(frames):
        colmap = colmap_from_camera(frame.camera)
        number = cameras.setdefault((colmap.model, colmap.width, colmap.height, colmap.params), len(cameras) + 1)
        if not binary and frame.name.split() != [frame.name]:
            raise ArgumentError(f"save_colmap: the name {frame.name!r} has spaces; write a binary model")
        keypoints = frame.metadata.get("keypoints", torch.zeros(0, 2))
        seen = frame.metadata.get("keypoint_points", torch.full((len(keypoints),), -1))
        table = np.concatenate([np.asarray(keypoints, float), np.asarray(seen, float)[:, None]], 1)
        entries.append(_Image(frame.metadata.get("image_id", i + 1), number, colmap.qvec, colmap.tvec, frame.name, table))
    files = {
        "cameras": (_pack_cameras if binary else _print_cameras)(cameras),
        "images": (_pack_images if binary else _print_images)(entries),
        "points3D": (_pack_points if binary else _print_points)(points),
    }
    with OutputFiles(overwrite=overwrite) as outputs:
        for name, data in files.items():
            outputs.write(place / f"{name}{ending}", data)


def _camera(shape: tuple[str, int, int, tuple[float, ...]], entry: _Image, path: Path, dtype: torch.dtype) -> Camera:
    model, width, height, params = shape
    try:
        return camera_from_colmap(ColmapCamera(model, params, width, height, entry.qvec, entry.tvec), dtype=dtype)
    except ArgumentError as error:
        raise FormatError(f"camera of image {entry.name!r}: {str(error).partition(': ')[2]}", path=path) from None


def _points(rows: list[tuple[int, tuple[float, ...], tuple[int, ...], float, int]], dtype: torch.dtype) -> PointCloud:
    ids, positions, colors, errors, lengths = ([row[i] for row in rows] for i in range(5))
    return PointCloud(
        positions=torch.tensor(positions, dtype=torch.float64).reshape(-1, 3).to(dtype),
        colors=(torch.tensor(colors, dtype=torch.float64).reshape(-1, 3) / 255).to(dtype),
        attributes={"error": torch.tensor(errors, dtype=dtype), "track_length": torch.tensor(lengths, dtype=torch.int64)},
        metadata={"ids": torch.tensor(ids, dtype=torch.int64)},
    )


def _image_folder(place: Path, images: str | os.PathLike[str] | None) -> Path | None:
    if images is not None:
        return Path(images)
    return next((p / "images" for p in (place, place.parent, place.parent.parent) if (p / "images").is_dir()), None)


def _lines(path: Path) -> list[tuple[int, str]]:
    """Lines without comments, with their numbers. Empty ones are kept: an image may have no keypoints."""
    return [(i + 1, line) for i, line in enumerate(read_text(path).splitlines()) if not line.startswith("#")]


def _words(line: tuple[int, str], kinds: str, path: Path) -> list[Any]:
    """Words of a line as i (integer), f (float) or s (text, at the end with its spaces); a final * takes all that is left as floats."""
    number, text = line
    rest = kinds.endswith("*")
    words = text.split() if rest else text.split(None, len(kinds) - 1)
    kinds = kinds.removesuffix("*")
    kinds += "f" * (len(words) - len(kinds)) if rest else ""
    convert = {"i": int, "f": float, "s": str}
    try:
        if len(words) != len(kinds):
            raise ValueError
        return [convert[kind](word) for kind, word in zip(kinds, words)]
    except ValueError:
        raise FormatError(f"cannot be understood: {text[:60]!r}", path=path, line=number) from None


def _text_cameras(path: Path) -> dict[int, tuple[str, int, int, tuple[float, ...]]]:
    cameras = {}
    for line in _lines(path):
        if line[1].strip():
            number, model, width, height, *params = _words(line, "isii*", path)
            cameras[number] = (model, width, height, tuple(params))
    return cameras


def _text_images(path: Path) -> Iterator[_Image]:
    lines = _lines(path)
    while lines and not lines[-1][1].strip() and len(lines) % 2 == 1:
        lines.pop()
    if len(lines) % 2:
        raise FormatError("the last image has no line of keypoints", path=path, line=lines[-1][0])
    for first, second in zip(lines[::2], lines[1::2]):
        values = _words(first, "ifffffffis", path)
        try:
            keypoints = np.array(second[1].split(), dtype=float).reshape(-1, 3)
        except ValueError:
            raise FormatError("keypoints must be x y id, repeated", path=path, line=second[0]) from None
        yield _Image(values[0], values[8], tuple(values[1:5]), tuple(values[5:8]), values[9].strip(), keypoints)


def _text_points(path: Path) -> list[tuple[int, tuple[float, ...], tuple[int, ...], float, int]]:
    points = []
    for line in _lines(path):
        if line[1].strip():
            values = _words(line, "ifffiiif*", path)
            points.append((values[0], tuple(values[1:4]), tuple(values[4:7]), values[7], (len(values) - 8) // 2))
    return points


class _Bytes:
    """A binary file read from the front; running out of it is an error with the place."""

    def __init__(self, path: Path):
        self.path, self.place = path, 0
        try:
            self.data = path.read_bytes()
        except OSError as error:
            raise FileAccessError(f"{path}: {error.strerror or error}") from error

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.Struct("<" + layout)
        self._need(values.size)
        self.place += values.size
        return values.unpack_from(self.data, self.place - values.size)

    def table(self, count: int, dtype: np.dtype) -> np.ndarray:
        self._need(count * dtype.itemsize)
        self.place += count * dtype.itemsize
        return np.frombuffer(self.data, dtype, count, self.place - count * dtype.itemsize)

    def text(self) -> str:
        end = self.data.find(b"\0", self.place)
        if end < 0:
            raise FormatError("a name does not end", path=self.path, byte=self.place)
        text = self.data[self.place : end].decode("utf-8", errors="replace")
        self.place = end + 1
        return text

    def finish(self) -> None:
        if self.place != len(self.data):
            raise FormatError(f"{len(self.data) - self.place} bytes too many", path=self.path, byte=self.place)

    def _need(self, count: int) -> None:
        if self.place + count > len(self.data):
            raise FormatError(f"the file ends at byte {len(self.data)}, but goes on", path=self.path, byte=self.place)


def _binary_cameras(path: Path) -> dict[int, tuple[str, int, int, tuple[float, ...]]]:
    data, cameras = _Bytes(path), {}
    for _ in range(data.take("Q")[0]):
        number, model_number, width, height = data.take("iiQQ")
        if model_number not in _MODEL_NAMES:
            raise FormatError(f"unknown camera model {model_number}", path=path, byte=data.place)
        model = _MODEL_NAMES[model_number]
        cameras[number] = (model, width, height, data.take(f"{_PARAMETER_COUNTS[model]}d"))
    data.finish()
    return cameras


_KEYPOINT = np.dtype([("x", "<f8"), ("y", "<f8"), ("id", "<i8")])


def _binary_images(path: Path) -> Iterator[_Image]:
    data = _Bytes(path)
    for _ in range(data.take("Q")[0]):
        number, *pose, camera = data.take("i7di")
        name = data.text()
        rows = data.table(data.take("Q")[0], _KEYPOINT)
        keypoints = np.stack([rows["x"], rows["y"], rows["id"].astype(float)], 1)
        yield _Image(number, camera, tuple(pose[:4]), tuple(pose[4:]), name, keypoints)
    data.finish()


def _binary_points(path: Path) -> list[tuple[int, tuple[float, ...], tuple[int, ...], float, int]]:
    data, points = _Bytes(path), []
    for _ in range(data.take("Q")[0]):
        number, x, y, z, r, g, b, error, length = data.take("Q3d3BdQ")
        data.table(length, np.dtype([("image", "<i4"), ("keypoint", "<i4")]))
        points.append((number, (x, y, z), (r, g, b), error, length))
    data.finish()
    return points


def _print_cameras(cameras: dict[tuple[Any, ...], int]) -> bytes:
    rows = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    rows += [" ".join(map(repr_number, (n, model, width, height, *params))) for (model, width, height, params), n in cameras.items()]
    return ("\n".join(rows) + "\n").encode()


def _print_images(entries: list[_Image]) -> bytes:
    rows = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", "# POINTS2D[] as (X, Y, POINT3D_ID)"]
    for e in entries:
        rows.append(" ".join(map(repr_number, (e.number, *e.qvec, *e.tvec, e.camera, e.name))))
        rows.append(" ".join(f"{x!r} {y!r} {int(i)}" for x, y, i in e.keypoints.tolist()))
    return ("\n".join(rows) + "\n").encode()


def _print_points(points: PointCloud | None) -> bytes:
    rows = ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)"]
    rows += [" ".join(map(repr_number, (n, *xyz, *rgb, error))) for n, xyz, rgb, error in _point_rows(points)]
    return ("\n".join(rows) + "\n").encode()


def _pack_cameras(cameras: dict[tuple[Any, ...], int]) -> bytes:
    parts = [struct.pack("<Q", len(cameras))]
    for (model, width, height, params), number in cameras.items():
        parts.append(struct.pack(f"<iiQQ{len(params)}d", number, COLMAP_MODELS[model][0], width, height, *params))
    return b"".join(parts)


def _pack_images(entries: list[_Image]) -> bytes:
    parts = [struct.pack("<Q", len(entries))]
    for e in entries:
        rows = np.empty(len(e.keypoints), _KEYPOINT)
        rows["x"], rows["y"], rows["id"] = e.keypoints.T
        parts += [
            struct.pack("<i7di", e.number, *e.qvec, *e.tvec, e.camera),
            e.name.encode() + b"\0",
            struct.pack("<Q", len(rows)),
            rows.tobytes(),
        ]
    return b"".join(parts)


def _pack_points(points: PointCloud | None) -> bytes:
    rows = list(_point_rows(points))
    return struct.pack("<Q", len(rows)) + b"".join(struct.pack("<Q3d3BdQ", n, *xyz, *rgb, error, 0) for n, xyz, rgb, error in rows)


def _point_rows(points: PointCloud | None) -> Iterator[tuple[int, list[float], list[int], float]]:
    if points is None:
        return
    count = points.point_count
    ids = points.metadata.get("ids", torch.arange(1, count + 1)).tolist()
    colors = torch.full((count, 3), 0.5) if points.colors is None else points.colors[:, :3]
    levels = (colors.detach().clamp(0, 1) * 255).round().to(torch.uint8).tolist()
    errors = points.attributes.get("error", torch.zeros(count)).double().tolist()
    yield from zip(ids, points.positions.detach().double().tolist(), levels, errors)


def repr_number(value: object) -> str:
    """Numbers with all their digits, text as it is."""
    return value if isinstance(value, str) else repr(value)
