"""`unproject track` on a folder of rendered frames."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from unproject.cli.main import main
from unproject.io.cameras import save_camera
from unproject.io.load import save
from unproject.io.poses import PoseFrame, load_poses, save_poses
from unproject.pose.metrics import rotation_error_deg

from ..pose.test_track import camera_, motion, painted_shape, picture


@pytest.fixture
def scene(tmp_path: Path) -> list[str]:
    """Frames, mesh, camera and start pose on disk, and the command's words."""
    mesh, camera, poses = painted_shape(), camera_(), motion(4)
    (tmp_path / "frames").mkdir()
    for k, pose in enumerate(poses):
        Image.fromarray(picture(mesh, camera, pose).color.numpy()).save(tmp_path / "frames" / f"{k:03d}.png")
    save(mesh, tmp_path / "m.ply")
    save_camera(camera, tmp_path / "K.json")
    save_poses([PoseFrame(name="000", pose=poses[0])], tmp_path / "start.json")
    words = ["track", "frames", "--mesh", "m.ply", "--camera", "K.json", "--start", "start.json", "-o", "track.jsonl"]
    return [str(tmp_path / w) if w in ("frames", "m.ply", "K.json", "start.json", "track.jsonl") else w for w in words]


def test_a_line_a_frame_and_an_overlay(scene: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*scene, "--overlay", str(tmp_path / "overlay.gif"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["frames"] == 4 and result["lost"] == {"m": 0}
    frames = load_poses(tmp_path / "track.jsonl")
    assert [frame.name for frame in frames] == ["000", "001", "002", "003"]
    assert float(rotation_error_deg(frames[-1].pose, motion(4)[-1])) < 3
    with Image.open(tmp_path / "overlay.gif") as overlay:
        assert overlay.n_frames == 4  # type: ignore[attr-defined]
    assert main(scene) == 5  # the track exists


def test_what_was_tracked_before_damage_stays(scene: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "frames" / "002.png").write_bytes(b"broken")
    assert main([*scene, "--no-search", "--no-texture"]) == 0
    assert len(load_poses(tmp_path / "track.jsonl")) == 2
    assert "002.png" in capsys.readouterr().err


def test_errors_are_one_line(scene: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = camera_()
    save_camera(
        type(wrong)(camera_from_world=wrong.camera_from_world, intrinsics=wrong.intrinsics, image_size=(100, 100)), tmp_path / "wrong.json"
    )
    cases = [
        ([*scene, "--camera", str(tmp_path / "wrong.json")], 3, "100 x 100"),
        ([w for w in scene if w != "--start" and not w.endswith("start.json")], 3, "give --start"),
        ([*scene, "--fov", "40"], 3, "either --camera"),
        ([*scene, "--depth-scale", "0.1"], 4, "no folder depth/"),
    ]
    for words, code, message in cases:
        assert main(words) == code
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1
    assert not (tmp_path / "track.jsonl").exists()
