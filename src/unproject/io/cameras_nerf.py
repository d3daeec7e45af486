"""transforms.json of nerfstudio, instant-ngp and NeRF-synthetic: intrinsics for all or each frame, camera-to-world in OpenGL axes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..camera.camera import Camera, check_camera, make_camera
from ..camera.conventions import focal_from_angle, opengl_from_pose, pose_from_opengl
from ..errors import ArgumentError
from .camera_frame import CameraFrame, checked, read_image_size, same_intrinsics
from .json_node import JsonNode, read_json, write_json
from .photograph import photograph_size

_PERSPECTIVE = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL", "FULL_OPENCV", "PERSPECTIVE")
_DISTORTION = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
_ENDINGS = ("", ".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".exr", ".webp")


def load_transforms(
    path: str | os.PathLike[str], *, image_size: tuple[int, int] | None = None, dtype: torch.dtype = torch.float32
) -> tuple[CameraFrame, ...]:
    """The frames of a transforms.json, in its order. Poses are as in the file (nerfstudio's `applied_transform` is not undone).

    Args:
        image_size: (height, width), where the file has none (NeRF-synthetic); by default asked from the image files.

    Raises:
        FileAccessError: the file cannot be read.
        FormatError: a key is missing or wrong; the message names it.
    """
    root = read_json(path)
    shared = None
    frames = []
    nodes = root["frames"].elements()
    images = [_find_image(root.path.parent, node["file_path"].text()) for node in nodes]
    some_image = next((image for image in images if image is not None), None)
    for node, image in zip(nodes, images):
        name = node["file_path"].text()
        own = any(key in node for key in ("fl_x", "camera_angle_x", "w"))
        if own or shared is None or "fl_x" not in root:
            intrinsics = _intrinsics(node, root, image or some_image, image_size)
            shared = None if own else intrinsics
        else:
            intrinsics = shared
        matrix = node["transform_matrix"].array(-1, 4)
        if matrix.shape[0] not in (3, 4):
            raise node["transform_matrix"].fail(f"must be 4 x 4 (or 3 x 4), got {matrix.shape[0]} x 4")
        pose = torch.eye(4, dtype=torch.float64)
        pose[: matrix.shape[0]] = torch.from_numpy(matrix)
        build = lambda pose=pose, intrinsics=intrinsics: make_camera(camera_from_world=pose_from_opengl(pose), **intrinsics).to(dtype)
        camera = checked(build, node["transform_matrix"])
        known = ("file_path", "transform_matrix", "w", "h", "fl_x", "fl_y", "cx", "cy", *_DISTORTION)
        metadata = {key: member.value for key, member in node.members() if key not in known}
        frames.append(CameraFrame(name=name, camera=camera, image_path=image, metadata=metadata))
    return tuple(frames)


def save_transforms(frames: Sequence[CameraFrame], path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Write a transforms.json in nerfstudio's keys; intrinsics are shared where all frames agree.

    Raises:
        ArgumentError: no frames, or a camera that the format cannot hold (orthographic, skew, thin prism).
        FileAccessError: the file cannot be written, or exists and may not be replaced.
    """
    if not frames:
        raise ArgumentError("save_transforms: `frames` is empty")
    shared = same_intrinsics([frame.camera for frame in frames])
    value: dict[str, Any] = _camera_keys(frames[0].camera) if shared else {}
    value["frames"] = [
        {
            "file_path": frame.name,
            **({} if shared else _camera_keys(frame.camera)),
            "transform_matrix": opengl_from_pose(frame.camera.camera_from_world.detach().double()).tolist(),
        }
        for frame in frames
    ]
    write_json(path, value, overwrite=overwrite)


def _intrinsics(node: JsonNode, root: JsonNode, image: Path | None, given: tuple[int, int] | None) -> dict[str, Any]:
    """Arguments of make_camera, a frame's own keys before those of the whole file."""
    find = lambda key: node.get(key) or root.get(key)
    number = lambda key: None if (found := find(key)) is None else found.number()
    holder = node if "w" in node else root
    if "w" in holder and "h" in holder:
        height, width = read_image_size(holder, "w", "h")
    elif given is not None:
        height, width = given
    elif image is not None:
        height, width = photograph_size(image)
    else:
        raise holder.fail("has no `w` and `h`, and no image is there to ask: give image_size")
    fx, fy = number("fl_x"), number("fl_y")
    angle_x, angle_y = number("camera_angle_x"), number("camera_angle_y")
    fx = focal_from_angle(angle_x, width) if fx is None and angle_x is not None else fx
    fy = focal_from_angle(angle_y, height) if fy is None and angle_y is not None else fy
    fx, fy = (fy if fx is None else fx), (fx if fy is None else fy)
    if fx is None or fy is None:
        raise root.fail("neither `fl_x` nor `camera_angle_x`: the focal length is missing")
    cx, cy = number("cx"), number("cy")
    model_node = find("camera_model")
    model = "OPENCV" if model_node is None else model_node.text()
    fisheye = model == "OPENCV_FISHEYE" or bool((flag := find("is_fisheye")) is not None and flag.value)
    if model_node is not None and not fisheye and model not in _PERSPECTIVE:
        raise model_node.fail(f"{model!r} is not supported (supported: {', '.join(_PERSPECTIVE)}, OPENCV_FISHEYE)")
    names = ("k1", "k2", "k3", "k4") if fisheye else _DISTORTION
    coefficients = [number(key) or 0.0 for key in names]
    if not fisheye:
        coefficients = coefficients if any(coefficients[5:]) else coefficients[:5]
    return dict(
        intrinsics=torch.tensor([fx, fy, width / 2 if cx is None else cx, height / 2 if cy is None else cy], dtype=torch.float64),
        image_size=(height, width),
        distortion=coefficients if fisheye or any(coefficients) else None,
        projection="fisheye" if fisheye else "perspective",
    )


def _camera_keys(camera: Camera) -> dict[str, Any]:
    check_camera(camera, where="save_transforms")
    k = camera.intrinsics.detach().double().tolist()
    if camera.batch_shape or camera.projection == "orthographic" or k[0][1] != 0 or k[1][0] != 0:
        raise ArgumentError("save_transforms: each camera must be one perspective or fisheye camera without skew")
    keys: dict[str, Any] = {"camera_model": "OPENCV_FISHEYE" if camera.projection == "fisheye" else "OPENCV"}
    keys |= {"w": camera.width, "h": camera.height, "fl_x": k[0][0], "fl_y": k[1][1], "cx": k[0][2], "cy": k[1][2]}
    coefficients = [] if camera.distortion is None else camera.distortion.detach().double().tolist()
    if any(coefficients[8:]):
        raise ArgumentError("save_transforms: thin-prism coefficients do not fit into transforms.json")
    names = ("k1", "k2", "k3", "k4") if camera.projection == "fisheye" else _DISTORTION
    return keys | dict(zip(names, coefficients))


def _find_image(folder: Path, name: str) -> Path | None:
    for ending in _ENDINGS:
        candidate = folder / (name + ending)
        if candidate.is_file():
            return candidate
    return None
