"""Folders of RGB-D frames: written and read back, paired by every rule, cameras, poses of every layout, faults."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unproject import perspective_camera
from unproject.errors import ArgumentError, FileAccessError, FormatError
from unproject.io.rgbd import find_rgbd, find_trajectory, load_poses, load_rgbd, read_depth, rgbd_camera
from unproject.io.rgbd_write import save_rgbd
from unproject.io.trajectories import Trajectory, load_trajectory, save_trajectory
from unproject.lie.se3 import se3_exp

CAMERA = perspective_camera(torch.eye(4, dtype=torch.float64), image_size=(6, 8), fx=9.0, cx=4.25, cy=2.5)
POSES = se3_exp(torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(4, 6))
DEPTHS = [torch.full((6, 8), 1.0 + 0.1 * i) for i in range(4)]
COLORS = [torch.full((6, 8, 3), 40 * i, dtype=torch.uint8) for i in range(4)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_rgbd(tmp_path / "scan", zip(DEPTHS, COLORS), CAMERA, camera_from_world=POSES)


def rename(folder: Path, part: str, names: list[str]) -> None:
    for path, name in zip(sorted((folder / part).iterdir()), names):
        path.rename(path.with_name(name))


def edit_camera(folder: Path, **changes: object) -> None:
    value = {**json.loads((folder / "camera.json").read_text()), **changes}
    (folder / "camera.json").write_text(json.dumps({k: v for k, v in value.items() if v is not None}))


def test_round_trip(folder: Path) -> None:
    frames = find_rgbd(folder)
    assert frames.names == ("00000", "00001", "00002", "00003") and frames.depth_scale == 0.001 and frames.times is None
    for i in range(4):
        depth, rgb = load_rgbd(frames, i)
        assert torch.allclose(depth, DEPTHS[i], atol=5e-4) and torch.equal(rgb, COLORS[i])
    assert torch.equal(rgbd_camera(frames).intrinsics, CAMERA.intrinsics)
    path = find_trajectory(folder)
    assert path is not None
    assert torch.allclose(torch.stack(load_poses(frames, path)), POSES, atol=1e-12)
    assert frames[1::2].names == ("00001", "00003")


def test_writer_refuses(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(FileAccessError, match="exists"):
        save_rgbd(folder, zip(DEPTHS, COLORS), CAMERA)
    with pytest.raises(ArgumentError, match="more than 65535 counts"):
        save_rgbd(tmp_path / "a", [(DEPTHS[0] * 100, COLORS[0])], CAMERA)
    with pytest.raises(ArgumentError, match="the depth of frame 0 is"):
        save_rgbd(tmp_path / "b", [(DEPTHS[0][:5], COLORS[0])], CAMERA)
    with pytest.raises(ArgumentError, match="3 poses for 4 frames"):
        save_rgbd(tmp_path / "c", zip(DEPTHS, COLORS), CAMERA, camera_from_world=POSES[:3])
    with pytest.raises(ArgumentError, match="colour of frame 0 must be uint8"):
        save_rgbd(tmp_path / "d", [(DEPTHS[0], COLORS[0].float())], CAMERA)
    save_rgbd(folder, zip(DEPTHS[:1], COLORS[3:]), CAMERA, depth_scale=0.0002, overwrite=True)
    assert torch.allclose(load_rgbd(find_rgbd(folder), 0)[0], DEPTHS[0], atol=1e-4)


def test_pairs_by_number_by_time_and_by_order(folder: Path) -> None:
    color = lambda frames: [None if p is None else int(load_rgbd(frames, i)[1][0, 0, 0]) // 40 for i, p in enumerate(frames.color_paths)]
    rename(folder, "depth", ["d-1.png", "d-2.png", "d-10.png", "d-11.png"])
    rename(folder, "color", ["frame001.png", "frame002.png", "frame010.png", "frame011.png"])
    assert color(find_rgbd(folder)) == [0, 1, 2, 3]
    (folder / "color" / "frame010.png").unlink()
    assert color(find_rgbd(folder)) == [0, 1, None, 3]  # a frame without its picture stays, in grey
    rename(folder, "depth", ["10.00.png", "10.10.png", "10.20.png", "10.30.png"])
    rename(folder, "color", ["10.01.png", "10.11.png", "10.29.png"])
    frames = find_rgbd(folder)
    assert frames.times == (10.0, 10.1, 10.2, 10.3) and color(frames) == [0, 1, None, 3]
    rename(folder, "depth", ["a.png", "b.png", "c.png", "d.png"])
    rename(folder, "color", ["p.png", "q.png", "r.png"])
    with pytest.raises(FormatError, match="4 depth and 3 colour images do not pair"):
        find_rgbd(folder)
    (folder / "depth" / "c.png").unlink()
    assert color(find_rgbd(folder)) == [0, 1, 3]


def test_lists_of_the_tum_layout(folder: Path) -> None:
    rename(folder, "depth", ["a.png", "b.png", "c.png", "d.png"])
    (folder / "color").rename(folder / "rgb")
    (folder / "depth.txt").write_text("# time file\n" + "".join(f"{i / 10 + 5} depth/{n}.png\n" for i, n in enumerate("abcd")))
    (folder / "rgb.txt").write_text("".join(f"{(3 - i) / 10 + 5.01} rgb/0000{i}.png\n" for i in range(4)))
    frames = find_rgbd(folder)
    assert [p.name for p in frames.color_paths if p] == ["00003.png", "00002.png", "00001.png", "00000.png"]
    save_trajectory(Trajectory(camera_from_world=POSES[:3], names=("5.0", "5.11", "5.5")), folder / "groundtruth.txt")
    poses = load_poses(frames, folder / "groundtruth.txt")
    assert [p is None for p in poses] == [False, False, True, True]
    assert torch.allclose(poses[1], POSES[1], atol=1e-12)


def test_poses_of_json_colmap_and_by_order(folder: Path) -> None:
    frames = find_rgbd(folder)
    rows = []
    for i, pose in enumerate(POSES.tolist()):
        rows.append({"file_path": f"color/0000{i}.png", "transform_matrix": (torch.linalg.inv(torch.tensor(pose, dtype=torch.float64)) @ torch.diag(torch.tensor([1.0, -1, -1, 1], dtype=torch.float64))).tolist()})  # fmt: skip  # noqa: E501
    value = {"fl_x": 9.0, "fl_y": 9.0, "cx": 4.25, "cy": 2.5, "w": 8, "h": 6, "frames": rows[::-1]}
    (folder / "transforms.json").write_text(json.dumps(value))
    found = load_poses(frames, folder / "transforms.json")
    assert torch.allclose(torch.stack(found), POSES, atol=1e-9)
    sparse = folder / "colmap"
    sparse.mkdir()
    (sparse / "cameras.txt").write_text("1 PINHOLE 8 6 9 9 4.25 2.5\n")
    from unproject.lie.quaternions import quaternion_from_matrix

    lines = []
    for i in (2, 0):
        q, t = quaternion_from_matrix(POSES[i, :3, :3]).tolist(), POSES[i, :3, 3].tolist()
        lines.append(f"{i + 1} {' '.join(map(repr, q))} {' '.join(map(repr, t))} 1 0000{i}.png\n\n")
    (sparse / "images.txt").write_text("".join(lines))
    (sparse / "points3D.txt").write_text("")
    found = load_poses(frames, sparse)
    assert [p is None for p in found] == [False, True, False, True]
    assert torch.allclose(found[2], POSES[2], atol=1e-9)
    save_trajectory(Trajectory(camera_from_world=POSES, names=("0.5", "0.6", "0.7", "0.8")), folder / "order.txt")
    assert torch.allclose(torch.stack(load_poses(frames, folder / "order.txt")), POSES, atol=1e-9)
    save_trajectory(Trajectory(camera_from_world=POSES[:3], names=("100.5", "100.6", "100.7")), folder / "strange.txt")
    with pytest.raises(FormatError, match="none of its 3 poses belongs to one of the 4 frames"):
        load_poses(frames, folder / "strange.txt")


def test_cameras(folder: Path) -> None:
    edit_camera(folder, depth_scale=None)
    assert find_rgbd(folder).depth_scale == 0.001
    assert find_rgbd(folder, depth_scale=0.5).depth_scale == 0.5
    edit_camera(folder, width=16, height=12)
    camera = find_rgbd(folder).camera  # fitted to the images
    assert (camera.width, camera.height) == (8, 6) and float(camera.intrinsics[0, 0]) == pytest.approx(4.5)
    edit_camera(folder, depth_scale=1000.0)
    with pytest.raises(FormatError, match="looks like counts per unit"):
        find_rgbd(folder)
    edit_camera(folder, depth_scale=0.001, width=9)
    with pytest.raises(FormatError, match="9 x 12, the depth images are 8 x 6: another shape"):
        find_rgbd(folder)
    edit_camera(folder, width=8, height=6, skew=0.1)
    with pytest.raises(FormatError, match="`skew`"):
        find_rgbd(folder)
    with pytest.raises(ArgumentError, match="`depth_scale` must be positive"):
        edit_camera(folder, skew=None)
        find_rgbd(folder, depth_scale=-1.0)
    open3d = {"width": 8, "height": 6, "intrinsic_matrix": [9.0, 0, 0, 0, 9.0, 0, 3.75, 2.0, 1]}
    (folder / "o.json").write_text(json.dumps(open3d))
    assert float(find_rgbd(folder, camera=folder / "o.json").camera.intrinsics[0, 2]) == pytest.approx(4.25)


def test_lens_distortion_is_removed(folder: Path) -> None:
    ramp = 1 + torch.arange(8).float().expand(6, 8) / 20
    save_rgbd(folder, [(ramp, COLORS[1])], CAMERA, overwrite=True)
    straight = load_rgbd(find_rgbd(folder), 0)[0]
    edit_camera(folder, distortion=[0.9, 0.0, 0.0, 0.0, 0.0])
    frames = find_rgbd(folder)
    assert frames.camera.distortion is not None and rgbd_camera(frames).distortion is None
    bent = load_rgbd(frames, 0)[0]
    assert bent.shape == straight.shape and not torch.equal(bent, straight)
    assert set(bent.unique().tolist()) <= {0.0, *straight.unique().tolist()}  # depths are never mixed


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((6, 8), np.uint8), "8 bits cannot hold distances"),
        (np.zeros((6, 8, 3), np.uint8), r"not a depth image: \[6, 8, 3\]"),
        (np.zeros((5, 8), np.uint16), "the image is 8 x 5, the camera's are 8 x 6"),
    ],
)
def test_images_that_are_no_depth(folder: Path, array: np.ndarray, said: str) -> None:
    Image.fromarray(array).save(folder / "depth" / "00002.png")
    with pytest.raises(FormatError, match=said):
        load_rgbd(find_rgbd(folder), 2)


def test_missing_and_truncated_files(folder: Path, tmp_path: Path) -> None:
    frames = find_rgbd(folder)
    path = folder / "depth" / "00001.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(FormatError, match=r"00001\.png: damaged or no image"):
        load_rgbd(frames, 1)
    (folder / "color" / "00002.png").unlink()
    with pytest.raises(FileAccessError, match=r"00002\.png"):
        load_rgbd(frames, 2)
    with pytest.raises(FileAccessError, match="no such folder"):
        find_rgbd(tmp_path / "none")
    (tmp_path / "empty" / "depth").mkdir(parents=True)
    with pytest.raises(FormatError, match="no depth images"):
        find_rgbd(tmp_path / "empty")
    (folder / "camera.json").unlink()
    with pytest.raises(FileAccessError, match="no camera file"):
        find_rgbd(folder)
    assert find_trajectory(tmp_path / "empty") is None


def test_depth_of_other_kinds(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "d.npy", values)
    Image.fromarray(values).save(tmp_path / "d.tiff")
    assert torch.equal(read_depth(tmp_path / "d.npy"), torch.from_numpy(values))
    assert torch.equal(read_depth(tmp_path / "d.tiff"), torch.from_numpy(values))
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(FormatError, match="damaged"):
        read_depth(tmp_path / "bad.npy")


@pytest.mark.parametrize("name", ["path.log", "path.txt"])
def test_trajectory_round_trip(tmp_path: Path, name: str) -> None:
    stamps = ("0", "1", "2", "3") if name.endswith("log") else ("1.5", "1.625", "2", "1305031102.175304")
    save_trajectory(Trajectory(camera_from_world=POSES, names=stamps), tmp_path / name)
    back = load_trajectory(tmp_path / name, dtype=torch.float64)
    assert back.names == stamps and torch.allclose(back.camera_from_world, POSES, atol=1e-12)
    with pytest.raises(FileAccessError, match="exists"):
        save_trajectory(back, tmp_path / name, overwrite=False)
    with pytest.raises(ArgumentError, match="4 poses but 3 names"):
        save_trajectory(replace(back, names=stamps[:3]), tmp_path / name)


def test_hand_made_trajectories(tmp_path: Path) -> None:
    """A quarter turn about y that looks along +x, from (1, 2, 3): the file's matrix is world from camera."""
    (tmp_path / "a.log").write_text("7 7 8\n0 0 1 1\n0 1 0 2\n-1 0 0 3\n0 0 0 1\n")
    half = 0.5**0.5
    (tmp_path / "a.txt").write_text(f"# time tx ty tz qx qy qz qw\n4.5 1 2 3 0 {half} 0 {half}\n")
    for name, stamp in (("a.log", "7"), ("a.txt", "4.5")):
        path = load_trajectory(tmp_path / name, dtype=torch.float64)
        assert path.names == (stamp,)
        ahead = path.camera_from_world[0] @ torch.tensor([2.0, 2.0, 3.0, 1.0], dtype=torch.float64)
        assert torch.allclose(ahead, torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.log", "", "an empty trajectory"),
        ("a.log", "0 0 1\n1 0 0 0\n0 1 0 0\n", "line 3: the file ends inside a pose"),
        ("a.log", "0 0 1\n1 0 0 0\n0 1 0 x\n0 0 1 0\n0 0 0 1\n", "line 3: expected 4 numbers"),
        ("a.log", "0 0 1\n1 0 0 0\n0 1 0 0\n0 0 1.2 0\n0 0 0 1\n", "line 2: .*not a rotation|line 2: "),
        ("a.log", "0 0 1\n-1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", "line 2: "),
        ("a.txt", "1.0 0 0 0 0 0 0 2\n", "line 1: the quaternion has length 2, not 1"),
        ("a.txt", "1.0 0 0 0 0 0 1\n", "line 1: expected 8 numbers"),
        ("a.txt", "1.0 0 0 0 0 0 0 1\n\n2.0 0 0 nan 0 0 0 1\n", "line 3: expected 8 numbers"),
    ],
)
def test_damaged_trajectories(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FormatError, match=said):
        load_trajectory(tmp_path / name)


def test_real_layouts(data_folder: Path) -> None:
    kinect = data_folder / "scans" / "open3d_testdata"
    frames = find_rgbd(kinect / "RGBD", camera=kinect / "camera_primesense.json")
    poses = load_poses(frames, kinect / "RGBD" / "trajectory.log")
    assert len(frames) == 5 and all(p is not None for p in poses)
    depth, rgb = load_rgbd(frames, 0)
    assert depth.shape == (480, 640) and 1.5 < float(depth[depth > 0].median()) < 2.2 and rgb.shape == (480, 640, 3)
