"""Pose files: {"frames": [{"name": ..., "camera_from_object": 4x4 row-major, ...}]}, OpenCV camera axes, lengths in the mesh's unit.

A track is a file with one such frame a line (JSON lines). Registration says `scene_from_model` instead of `camera_from_object`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..camera.camera import check_rigid
from ..errors import ArgumentError, FormatError
from ..struct import TensorStruct
from .json_node import JsonNode, read_json, read_text, write_json

CONVENTION = "p_camera = camera_from_object @ p_object; camera axes: x right, y down, z forward (OpenCV); lengths in the mesh's unit"


@dataclass(frozen=True, kw_only=True)
class PoseFrame(TensorStruct):
    """A pose with a name.

    Attributes:
        name: of the image or frame.
        pose: [4, 4] float64 rigid.
        facts: what the file says besides: confidence, covariance, alternatives and the like.
    """

    name: str
    pose: Tensor
    facts: Mapping[str, Any] = field(default_factory=dict)


def load_poses(path: str | os.PathLike[str], *, key: str = "camera_from_object") -> tuple[PoseFrame, ...]:
    """Read a pose file, or a track with one frame a line.

    Raises:
        FileAccessError: the file cannot be read.
        FormatError: not such a file, or a pose that is not rigid; the message names the key or line.
    """
    place = Path(path)
    if place.suffix.lower() in (".jsonl", ".ndjson"):
        return tuple(_frame(node, key) for node in _lines(place))
    root = read_json(place)
    nodes = root["frames"].elements() if "frames" in root else [root]
    return tuple(_frame(node, key) for node in nodes)


def pose_record(frame: PoseFrame, *, key: str = "camera_from_object") -> dict[str, Any]:
    """One frame as plain JSON values."""
    if frame.pose.shape != (4, 4):
        raise ArgumentError(f"pose_record: the pose of {frame.name!r} must be [4, 4], got {list(frame.pose.shape)}")
    return {"name": frame.name, key: frame.pose.double().tolist(), **frame.facts}


def save_poses(
    frames: Sequence[PoseFrame],
    path: str | os.PathLike[str],
    *,
    key: str = "camera_from_object",
    convention: str = CONVENTION,
    overwrite: bool = True,
) -> None:
    """Write a pose file, whole or not at all.

    Raises:
        FileAccessError: it cannot be written, or exists and may not be replaced.
    """
    write_json(path, {"convention": convention, "frames": [pose_record(frame, key=key) for frame in frames]}, overwrite=overwrite)


def _lines(path: Path) -> list[JsonNode]:
    nodes = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line.strip():
            try:
                nodes.append(JsonNode(json.loads(line), path, f"line {number}"))
            except json.JSONDecodeError as error:
                raise FormatError(f"not JSON: {error.msg}", path=path, line=number) from None
    return nodes


def _frame(node: JsonNode, key: str) -> PoseFrame:
    pose = torch.from_numpy(node[key].array(4, 4))
    try:
        pose = check_rigid(pose, name=key, where="load_poses")
    except ArgumentError as error:
        raise node[key].fail(str(error)) from None
    name = node["name"].value if "name" in node else ""
    return PoseFrame(name=str(name), pose=pose, facts={k: v.value for k, v in node.members() if k not in ("name", key)})
