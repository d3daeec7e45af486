"""BOP's scene_camera.json: K for pixel centres at integers, world to camera, lengths in millimetres. (camera.json: io/cameras.py.)"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..camera.camera import check_camera
from ..camera.conventions import camera_from_opencv, opencv_from_camera
from ..errors import ArgumentError, FormatError
from ..lie.so3 import so3_exp
from .camera_frame import CameraFrame, checked, read_image_size
from .json_node import read_json, write_json
from .photograph import photograph_size


def load_bop_cameras(
    path: str | os.PathLike[str],
    *,
    image_size: tuple[int, int] | None = None,
    length_scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> tuple[CameraFrame, ...]:
    """The cameras of a scene_camera.json by image number; names have six digits, as the images. `metadata["depth_scale"]`: see BOP.

    Args:
        image_size: (height, width). By default from a camera.json in this folder or one of the two above it, or from the scene's images.
        length_scale: multiplies the translations; 1 keeps millimetres, 1e-3 makes metres.

    Raises:
        FileAccessError: the file cannot be read.
        FormatError: a key is missing or wrong (the message names it), or no image size is found.
    """
    root = read_json(path)
    folder = root.path.parent
    frames = []
    for key, node in root.members():
        if not key.isdecimal():
            raise node.fail("is not an image number")
        image = _find_image(folder, int(key))
        image_size = size = image_size or _image_size(folder, image)
        rotation = node["cam_R_w2c"].array(3, 3) if "cam_R_w2c" in node else np.eye(3)
        translation = node["cam_t_w2c"].array(3) if "cam_t_w2c" in node else np.zeros(3)
        k = torch.from_numpy(node["cam_K"].array(3, 3))
        build = lambda k=k, r=rotation, t=translation, size=size: camera_from_opencv(k, r, length_scale * t, image_size=size).to(dtype)
        known = ("cam_K", "cam_R_w2c", "cam_t_w2c")
        metadata = {name: member.value for name, member in node.members() if name not in known}
        frames.append(CameraFrame(name=f"{int(key):06d}", camera=checked(build, node), image_path=image, metadata=metadata))
    return tuple(sorted(frames, key=lambda frame: frame.name))


def save_bop_cameras(
    frames: Sequence[CameraFrame], path: str | os.PathLike[str], *, length_scale: float = 1.0, overwrite: bool = True
) -> None:
    """Write a scene_camera.json; names of frames must be numbers. `metadata["depth_scale"]` is written (1 by default).

    Args:
        length_scale: multiplies the translations; 1e3 where the scene is in metres.

    Raises:
        ArgumentError: a name that is no number, or a camera with distortion or without perspective.
        FileAccessError: the file cannot be written, or exists and may not be replaced.
    """
    value: dict[str, Any] = {}
    for frame in frames:
        if not frame.name.isdecimal():
            raise ArgumentError(f"save_bop_cameras: names must be image numbers, got {frame.name!r}")
        camera = check_camera(frame.camera, where="save_bop_cameras")
        if camera.batch_shape or camera.projection != "perspective" or (camera.distortion is not None and bool(camera.distortion.any())):
            raise ArgumentError("save_bop_cameras: each camera must be one perspective camera without distortion")
        opencv = opencv_from_camera(camera)
        value[str(int(frame.name))] = {
            "cam_K": opencv.camera_matrix.flatten().tolist(),
            "cam_R_w2c": so3_exp(opencv.rvec).flatten().tolist(),
            "cam_t_w2c": (length_scale * opencv.tvec).tolist(),
            "depth_scale": frame.metadata.get("depth_scale", 1.0),
        }
    write_json(path, value, overwrite=overwrite)


def _find_image(folder: Path, number: int) -> Path | None:
    candidates = (folder / kind / f"{number:06d}{ending}" for kind in ("rgb", "gray") for ending in (".png", ".jpg", ".tif"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _image_size(folder: Path, image: Path | None) -> tuple[int, int]:
    for place in (folder, folder.parent, folder.parent.parent):
        if (place / "camera.json").is_file():
            return read_image_size(read_json(place / "camera.json"))
    if image is not None:
        return photograph_size(image)
    raise FormatError(
        "no image size: there is no camera.json and no image beside it, so give image_size", path=folder / "scene_camera.json"
    )
