"""Pose files and tracks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from unproject.errors import FormatError
from unproject.io.poses import PoseFrame, load_poses, pose_record, save_poses
from unproject.lie.so3 import so3_exp


def some_pose() -> torch.Tensor:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = so3_exp(torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64))
    pose[:3, 3] = torch.tensor([1.0, 2.0, 3.0])
    return pose


@pytest.mark.parametrize("key", ["camera_from_object", "scene_from_model"])
def test_round_trip(tmp_path: Path, key: str) -> None:
    frames = [PoseFrame(name="a", pose=some_pose(), facts={"confidence": 0.5}), PoseFrame(name="b", pose=torch.eye(4))]
    save_poses(frames, tmp_path / "p.json", key=key)
    first, second = load_poses(tmp_path / "p.json", key=key)
    assert (first.name, second.name, first.facts["confidence"]) == ("a", "b", 0.5)
    assert torch.equal(first.pose, some_pose())
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(pose_record(frame, key=key)) + "\n" for frame in frames))
    assert torch.equal(load_poses(tmp_path / "t.jsonl", key=key)[0].pose, some_pose())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"frames": [{"name": "a"}]}', r"frames\[0\]\.camera_from_object` is missing"),
        ('{"frames": [{"camera_from_object": [1, 2]}]}', "must have 4 x 4 numbers"),
        (json.dumps({"frames": [{"camera_from_object": (2 * torch.eye(4)).tolist()}]}), "last row"),
        ("{", "line 1: not JSON"),
    ],
)
def test_damaged_files_say_where(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(FormatError, match=message):
        load_poses(tmp_path / "p.json")


def test_a_damaged_line_of_a_track_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps(pose_record(PoseFrame(name="a", pose=some_pose()))) + "\n{bad\n")
    with pytest.raises(FormatError, match="line 2"):
        load_poses(tmp_path / "t.jsonl")
