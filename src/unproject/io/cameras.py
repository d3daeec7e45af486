"""Camera files: this project's own camera JSON, and one door to all others.

The camera JSON (K.json):
    fx, fy, cx, cy   pixels
    width, height    pixels
    pixel_center     "integer" (default): the centre of the first pixel is (0, 0), as in OpenCV; "half": (0.5, 0.5), as in this library
    distortion       optional; OpenCV's 4, 5, 8 or 12 coefficients, or 4 of its fisheye model
    projection       optional; "perspective" (default), "orthographic" or "fisheye"
    skew             optional; K[0][1]
    camera_from_world  optional; 4x4 rows, OpenCV axes
    near, far        optional; scene units
BOP's camera.json is such a file too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..camera.camera import PROJECTIONS, Camera, check_camera, make_camera
from ..camera.conventions import PIXEL_CENTERS
from ..errors import ArgumentError, FormatError
from .camera_frame import CameraFrame, checked, read_image_size
from .cameras_bop import load_bop_cameras
from .cameras_colmap import find_colmap, load_colmap
from .cameras_nerf import load_transforms
from .cameras_open3d import load_open3d_trajectory
from .json_node import read_json, write_json


def load_camera(path: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32) -> Camera:
    """Read a camera JSON (see the module) or BOP's camera.json.

    Raises:
        FileAccessError: the file cannot be read.
        FormatError: not such a file; the message names the key.
    """
    root = read_json(path)
    center = root["pixel_center"].text() if "pixel_center" in root else "integer"
    if center not in PIXEL_CENTERS:
        raise root["pixel_center"].fail(f"must be 'integer' or 'half', got {center!r}")
    projection = root["projection"].text() if "projection" in root else "perspective"
    if projection not in PROJECTIONS:
        raise root["projection"].fail(f"must be one of {', '.join(PROJECTIONS)}, got {projection!r}")
    fx, fy, cx, cy = (root[name].number() for name in ("fx", "fy", "cx", "cy"))
    shift = PIXEL_CENTERS[center]
    skew = root["skew"].number() if "skew" in root else 0.0
    depth = {name: root[name].number() for name in ("near", "far") if name in root}
    build = lambda: make_camera(
        torch.tensor([[fx, skew, cx + shift], [0, fy, cy + shift], [0, 0, 1]], dtype=torch.float64),
        root["camera_from_world"].array(4, 4) if "camera_from_world" in root else None,
        image_size=read_image_size(root),
        distortion=root["distortion"].array(-1) if "distortion" in root else None,
        projection=projection,
        **depth,
    ).to(dtype)
    return checked(build, root)


def save_camera(camera: Camera, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Write one camera as a camera JSON (see the module). Float64 and float32 values are kept exactly.

    Raises:
        ArgumentError: a batch of cameras, or K[1][0] not zero.
        FileAccessError: the file cannot be written, or exists and may not be replaced.
    """
    check_camera(camera, where="save_camera")
    if camera.batch_shape:
        raise ArgumentError(f"save_camera: `camera` must be one camera, got a batch {list(camera.batch_shape)}")
    k = camera.intrinsics.detach().double().tolist()
    if k[1][0] != 0:
        raise ArgumentError("save_camera: `camera` has intrinsics[1, 0], which the file cannot hold")
    value: dict[str, Any] = {"fx": k[0][0], "fy": k[1][1], "cx": k[0][2], "cy": k[1][2], "width": camera.width, "height": camera.height}
    value["pixel_center"] = "half"
    if k[0][1] != 0:
        value["skew"] = k[0][1]
    if camera.projection != "perspective":
        value["projection"] = camera.projection
    if camera.distortion is not None:
        value["distortion"] = camera.distortion.detach().double().tolist()
    value["camera_from_world"] = camera.camera_from_world.detach().double().tolist()
    value["near"], value["far"] = camera.near, camera.far
    write_json(path, value, overwrite=overwrite)


def load_frames(
    path: str | os.PathLike[str], *, image_size: tuple[int, int] | None = None, dtype: torch.dtype = torch.float32
) -> tuple[CameraFrame, ...]:
    """Cameras of any supported file or folder, told by what is in it.

    A COLMAP folder (text or binary, also with the model in `sparse/0`), transforms.json (nerfstudio, NeRF), BOP's scene_camera.json,
    Open3D's trajectory JSON, or a single camera JSON. (Trajectories without intrinsics: io/trajectories.py.)

    Args:
        image_size: (height, width), where the file does not say (BOP, NeRF without its images).

    Raises:
        FileAccessError: it cannot be read.
        FormatError: none of these, or damaged.
    """
    place = Path(path)
    if place.is_dir():
        if find_colmap(place) is not None:
            return load_colmap(place, dtype=dtype).frames
        if (place / "transforms.json").is_file():
            return load_transforms(place / "transforms.json", image_size=image_size, dtype=dtype)
        raise FormatError("no COLMAP model (cameras.bin or cameras.txt) and no transforms.json in this folder", path=place)
    root = read_json(place)
    if "frames" in root:
        return load_transforms(place, image_size=image_size, dtype=dtype)
    if root.value and isinstance(root.value, dict) and all(name.isdecimal() for name in root.value):
        return load_bop_cameras(place, image_size=image_size, dtype=dtype)
    if "parameters" in root:
        return load_open3d_trajectory(place, dtype=dtype)
    return (CameraFrame(name=place.stem, camera=load_camera(place, dtype=dtype)),)
