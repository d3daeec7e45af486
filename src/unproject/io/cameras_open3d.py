"""Open3D's camera files: pinhole intrinsics JSON and trajectory JSON. Pixel centres are taken to be integers, as its sensors' K are."""

from __future__ import annotations

import os
from typing import Any

import torch

from ..camera.camera import Camera, make_camera
from ..camera.conventions import camera_from_opencv
from .camera_frame import CameraFrame, checked, read_image_size
from .json_node import JsonNode, read_json


def load_open3d_intrinsics(path: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32) -> Camera:
    """The camera of a PinholeCameraIntrinsic JSON, at the identity pose.

    Raises:
        FileAccessError: the file cannot be read.
        FormatError: a key is missing or wrong; the message names it.
    """
    return _camera(read_json(path), None).to(dtype)


def load_open3d_trajectory(path: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32) -> tuple[CameraFrame, ...]:
    """The cameras of a PinholeCameraTrajectory JSON (extrinsics are world to camera, matrices in column order).

    Raises:
        FileAccessError: the file cannot be read.
        FormatError: a key is missing or wrong; the message names it.
    """
    root = read_json(path)
    frames = []
    for i, node in enumerate(root["parameters"].elements()):
        camera = _camera(node["intrinsic"], node["extrinsic"])
        frames.append(CameraFrame(name=f"{i:06d}", camera=camera.to(dtype)))
    return tuple(frames)


def _camera(node: JsonNode, extrinsic: JsonNode | None) -> Camera:
    k = torch.from_numpy(node["intrinsic_matrix"].array(3, 3).T.copy())
    pose: dict[str, Any] = {}
    camera = checked(lambda: camera_from_opencv(k, image_size=read_image_size(node), **pose), node)
    if extrinsic is None:
        return camera
    matrix = extrinsic.array(4, 4).T.copy()
    return checked(lambda: make_camera(camera.intrinsics, matrix, image_size=camera.image_size), extrinsic)
