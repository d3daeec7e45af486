"""`unproject fuse` end to end on a simulated room: results, faults that are told, kills, and the two real sequences."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from unproject import closest_point
from unproject.cli import fuse as command
from unproject.cli import main as cli
from unproject.fusion.fuse import fuse_frames
from unproject.fusion.room import room_frame, sample_room
from unproject.fusion.trajectory import align_trajectories
from unproject.io.load import load_mesh, load_points
from unproject.io.rgbd_write import save_rgbd
from unproject.io.trajectories import load_trajectory
from unproject.lie.se3 import se3_inverse

COUNT = 6
ROOM = sample_room(COUNT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    frames = map(partial(room_frame, ROOM), range(COUNT))
    return save_rgbd(tmp_path / "scan", frames, ROOM.camera, camera_from_world=ROOM.camera_from_world)


def run(folder: Path, *words: str) -> int:
    return cli.main(["fuse", str(folder), "-o", str(folder.parent / "out.ply"), "--voxel", "0.03", *words])


def words_of(text: str) -> str:
    """Without the terminal's line breaks."""
    return " ".join(text.split())


def test_mesh_points_and_trajectory(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    points, path = folder.parent / "points.ply", folder.parent / "path.log"
    assert run(folder, "--points", str(points), "--save-trajectory", str(path), "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["fused"] == COUNT and said["left_out"] == {} and said["jumps"] == []
    mesh = load_mesh(folder.parent / "out.ply")
    assert mesh.face_count == said["faces"] and mesh.vertex_colors is not None
    distance = closest_point(mesh.vertices, ROOM.mesh).squared_distance.sqrt()
    assert float(distance.median()) < 0.005 and float(distance.quantile(0.9)) < 0.03
    assert load_points(points).normals is not None
    assert torch.allclose(load_trajectory(path, dtype=torch.float64).camera_from_world, ROOM.camera_from_world, atol=1e-9)


def test_faults_are_told_and_the_rest_is_fused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = folder / "depth" / "00003.png"
    image.write_bytes(image.read_bytes()[:200])  # truncated in the middle
    (folder / "color" / "00001.png").unlink()
    rows = (folder / "trajectory.log").read_text().splitlines()
    rows[5 * 4 + 4 :] = rows[5 * 5 :]  # the last but one pose loses its last row: what is left is no whole file
    (folder / "trajectory.log").write_text("\n".join(rows) + "\n")
    assert run(folder) == cli.BAD_FORMAT
    assert "trajectory.log, line 25: expected 4 numbers" in words_of(capsys.readouterr().err) and not (folder.parent / "out.ply").exists()
    del rows[5 * 4 :]
    (folder / "trajectory.log").write_text("\n".join(rows) + "\n")
    assert run(folder, "--json") == 0
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert said["fused"] == 3 and said["left_out"] == {"unreadable": ["00003"], "no pose": ["00004", "00005"]}
    assert "1 of 6 frames have no colour image" in words_of(err) and "00003: " in err and "damaged" in words_of(err)


def test_wrong_unit_size_and_pose(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for scale in ("1", "0.000001"):
        assert run(folder, "--depth-scale", scale) == cli.BAD_DATA
        assert "check depth_scale" in words_of(capsys.readouterr().err)
    camera = json.loads((folder / "camera.json").read_text())
    (folder / "wide.json").write_text(json.dumps({**camera, "width": 200}))
    assert run(folder, "--camera", str(folder / "wide.json")) == cli.BAD_FORMAT
    assert "another shape, so another camera" in words_of(capsys.readouterr().err)
    rows = (folder / "trajectory.log").read_text().splitlines()
    rows[1] = "2 0 0 0"
    (folder / "trajectory.log").write_text("\n".join(rows))
    assert run(folder) == cli.BAD_FORMAT
    assert "line 2" in words_of(capsys.readouterr().err)
    assert sorted(p.name for p in folder.parent.iterdir()) == ["scan"]


def test_trajectory_in_two_pieces_is_flagged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = (folder / "trajectory.log").read_text().splitlines()
    for frame in range(3, COUNT):
        for axis in range(3):
            words = rows[5 * frame + 1 + axis].split()
            rows[5 * frame + 1 + axis] = " ".join([*words[:3], str(float(words[3]) + 5)])
    (folder / "trajectory.log").write_text("\n".join(rows))
    assert run(folder, "--json") == 0
    out, err = capsys.readouterr()
    assert [jump["frame"] for jump in json.loads(out)["jumps"]] == ["00003"] and "are these two trajectories?" in words_of(err)


def test_without_poses_and_options_that_clash(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "trajectory.log").unlink()
    path = folder.parent / "path.txt"
    assert run(folder, "--save-trajectory", str(path), "--first", "1", "--quiet") == 0
    estimate = load_trajectory(path, dtype=torch.float64).camera_from_world
    truth = ROOM.camera_from_world[1:] @ torch.linalg.inv(ROOM.camera_from_world[1])
    assert float((estimate - truth)[:, :3, 3].norm(dim=1).max()) < 0.01
    assert run(folder) == cli.NO_ACCESS  # the output exists
    for words in (["--resume"], ["--every", "0"], ["--odometry", "--trajectory", str(path)], ["--voxel", "-1"], ["--first", "9"]):
        assert run(folder, "--overwrite", *words) == cli.BAD_DATA, words
    assert "leave none of the 6 frames" in words_of(capsys.readouterr().err)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_killed_run_resumes_to_the_same_result(folder: Path) -> None:
    whole, out, checkpoint = (folder.parent / name for name in ("whole.ply", "out.ply", "state.safetensors"))
    words = ["fuse", str(folder), "--voxel", "0.02", "--odometry", "--quiet", "-o"]
    assert cli.main([*words, str(whole)]) == 0
    kept = ["--checkpoint", str(checkpoint), "--checkpoint-every", "1"]
    with subprocess.Popen([sys.executable, "-m", "unproject", *words, str(out), *kept]) as process:
        while not checkpoint.exists() and process.poll() is None:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert checkpoint.exists() and not out.exists()
    assert cli.main([*words, str(out), *kept, "--resume"]) == 0
    assert out.read_bytes() == whole.read_bytes()
    assert not checkpoint.exists() and not [p for p in folder.parent.iterdir() if p.name.endswith(".part")]


@pytest.mark.parametrize("stop", [2, COUNT + 2])
def test_interrupt_keeps_what_is_fused_and_resumes(
    folder: Path, stop: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C while the camera is followed, and while frames are fused."""

    def interrupted(*arguments: object, **options: object):
        for done, step in enumerate(fuse_frames(*arguments, **options)):  # type: ignore[arg-type]
            yield step
            if done + 1 == stop:
                raise KeyboardInterrupt

    out, checkpoint = folder.parent / "out.ply", folder.parent / "state.safetensors"
    words = ["--odometry", "--checkpoint", str(checkpoint)]
    with monkeypatch.context() as patch:
        patch.setattr(command, "fuse_frames", interrupted)
        assert run(folder, *words) == cli.INTERRUPTED
    assert checkpoint.exists() and out.exists() == (stop > COUNT)
    assert ("was fused before the error" in words_of(capsys.readouterr().err)) == (stop > COUNT)
    assert run(folder, *words, "--resume", "--max-depth", "5") == cli.BAD_DATA
    assert "give the same ones" in words_of(capsys.readouterr().err)
    assert run(folder, *words, "--resume", "--json") == 0
    assert json.loads(capsys.readouterr().out)["fused"] == COUNT and not checkpoint.exists()


def test_memory_limit_from_the_start_leaves_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "--memory-limit-gb", "0.001", "--checkpoint", str(folder.parent / "state.safetensors")) == cli.BAD_DATA
    assert "the limit" in words_of(capsys.readouterr().err)
    assert [p.name for p in folder.parent.iterdir()] == ["scan"]


def test_real_kinect_frames(data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinect = data_folder / "scans" / "open3d_testdata"
    words = ["fuse", str(kinect / "RGBD"), "--camera", str(kinect / "camera_primesense.json"), "-o", str(tmp_path / "out.ply"), "--json"]
    assert cli.main([*words, "--odometry", "--save-trajectory", str(tmp_path / "path.log")]) == 0
    assert json.loads(capsys.readouterr().out)["fused"] == 5
    poses = [load_trajectory(p, dtype=torch.float64).camera_from_world for p in (tmp_path / "path.log", kinect / "RGBD/trajectory.log")]
    estimate, truth = map(se3_inverse, poses)
    _, error = align_trajectories(estimate, truth)
    length = float((truth[1:, :3, 3] - truth[:-1, :3, 3]).norm(dim=1).sum())
    assert float(error.square().mean().sqrt()) < 0.03 * length
