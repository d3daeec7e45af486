"""Camera files: each format against the case of tests/camera/test_conventions.py, round trips, and what damaged files say.

The camera stands at (1, 2, 3), looks along +x with +z up; 200 x 100 pixels, fx 150, fy 160, principal point (90, 55) in our
pixels. The world point (3, 1.8, 3.1) is imaged to (105, 47) at depth 2.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unproject.camera.camera import Camera, make_camera
from unproject.camera.transform import depth_from_distance, has_image, unproject_depth, world_to_screen
from unproject.errors import ArgumentError, FileAccessError, FormatError
from unproject.geometry.points import make_points
from unproject.io.camera_frame import CameraFrame
from unproject.io.cameras import load_camera, load_frames, save_camera
from unproject.io.cameras_bop import load_bop_cameras, save_bop_cameras
from unproject.io.cameras_colmap import load_colmap, save_colmap
from unproject.io.cameras_nerf import load_transforms, save_transforms
from unproject.io.cameras_open3d import load_open3d_intrinsics, load_open3d_trajectory
from unproject.io.trajectories import Trajectory, load_trajectory, save_trajectory
from unproject.lie.se3 import se3_random

SIZE = (100, 200)
POSE = torch.tensor([[0.0, -1, 0, 2], [0, 0, -1, 3], [1, 0, 0, -1], [0, 0, 0, 1]])
WORLD_FROM_OPENGL = [[0.0, 0, -1, 1], [-1, 0, 0, 2], [0, 1, 0, 3], [0, 0, 0, 1]]
K_INTEGER = [150.0, 0, 89.5, 0, 160, 54.5, 0, 0, 1]
LENS = [-0.28, 0.09, 1e-3, -2e-3, 0.01]


def close(a: Tensor, b: Any, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(a, torch.as_tensor(b, dtype=a.dtype), atol=tolerance, rtol=tolerance)


def is_the_case(camera: Camera, scale: float = 1.0) -> None:
    assert camera.image_size == SIZE and camera.batch_shape == ()
    screen = world_to_screen(camera, scale * torch.tensor([[3.0, 1.8, 3.1]]))
    close(screen, [[105.0, 47.0, 2.0 * scale]], 1e-4)


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def the_camera(**fields: Any) -> Camera:
    return make_camera([150.0, 160, 90, 55], POSE, image_size=SIZE, **fields)


def some_frames(count: int = 3, **fields: Any) -> list[CameraFrame]:
    poses = se3_random((count,))
    return [
        CameraFrame(name=f"{i:06d}.png", camera=make_camera([150.0, 160, 90, 55], poses[i], image_size=SIZE, **fields))
        for i in range(count)
    ]


def same(a: Camera, b: Camera) -> None:
    close(a.camera_from_world, b.camera_from_world)
    close(a.intrinsics, b.intrinsics, 1e-4)
    assert a.image_size == b.image_size and a.projection == b.projection
    lens = [
        torch.zeros(12) if c.distortion is None else torch.nn.functional.pad(c.distortion, (0, 12 - c.distortion.shape[-1])) for c in (a, b)
    ]
    close(lens[0], lens[1])


# --- camera JSON


def test_camera_json(tmp_path: Path) -> None:
    keys = {"fx": 150, "fy": 160, "cx": 89.5, "cy": 54.5, "width": 200, "height": 100, "camera_from_world": POSE.tolist()}
    is_the_case(load_camera(write(tmp_path / "K.json", keys)))
    is_the_case(load_camera(write(tmp_path / "K.json", keys | {"pixel_center": "integer", "depth_scale": 0.1})))
    is_the_case(load_camera(write(tmp_path / "K.json", keys | {"cx": 90, "cy": 55, "pixel_center": "half"})))
    lens = load_camera(write(tmp_path / "K.json", keys | {"distortion": LENS, "near": 0.5, "far": 9}))
    assert lens.distortion is not None and (lens.near, lens.far) == (0.5, 9)
    close(lens.distortion, LENS)
    assert load_camera(write(tmp_path / "K.json", keys | {"distortion": LENS[:4]})).distortion.shape == (5,)  # type: ignore[union-attr]
    assert load_camera(write(tmp_path / "K.json", keys | {"distortion": LENS[:4], "projection": "fisheye"})).projection == "fisheye"
    bare = load_camera(write(tmp_path / "K.json", {k: keys[k] for k in ("fx", "fy", "cx", "cy", "width", "height")}), dtype=torch.float64)
    close(bare.camera_from_world, torch.eye(4))
    assert bare.intrinsics.dtype == torch.float64


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"distortion": LENS},
        {"distortion": LENS[:4], "projection": "fisheye"},
        {"projection": "orthographic"},
        {"near": 0.3, "far": 7.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_camera_json_keeps_everything(tmp_path: Path, fields: dict[str, Any], dtype: torch.dtype) -> None:
    camera = make_camera([[150.0, 0.1, 90.3], [0, 160, 55], [0, 0, 1]], se3_random(dtype=torch.float64), image_size=SIZE, **fields).to(
        dtype
    )
    save_camera(camera, tmp_path / "K.json")
    again = load_camera(tmp_path / "K.json", dtype=dtype)
    assert torch.equal(again.camera_from_world, camera.camera_from_world) and torch.equal(again.intrinsics, camera.intrinsics)
    assert (again.near, again.far, again.projection, again.image_size) == (camera.near, camera.far, camera.projection, camera.image_size)
    assert (again.distortion is None) == (camera.distortion is None)
    if camera.distortion is not None:
        assert torch.equal(again.distortion, camera.distortion)  # type: ignore[arg-type]
    with pytest.raises(FileAccessError, match="exists already"):
        save_camera(camera, tmp_path / "K.json", overwrite=False)
    assert load_frames(tmp_path / "K.json")[0].name == "K"


# --- transforms.json


def test_nerfstudio(tmp_path: Path) -> None:
    keys = {"w": 200, "h": 100, "fl_x": 150.0, "fl_y": 160.0, "cx": 90.0, "cy": 55.0, "camera_model": "OPENCV", "k1": 0.0, "k2": 0.0}
    frame = {"file_path": "images/a.png", "transform_matrix": WORLD_FROM_OPENGL, "colmap_im_id": 7}
    (one,) = load_transforms(write(tmp_path / "transforms.json", keys | {"frames": [frame]}))
    is_the_case(one.camera)
    assert one.name == "images/a.png" and one.image_path is None and one.metadata == {"colmap_im_id": 7} and one.camera.distortion is None
    per_frame = {"frames": [frame | keys, frame | keys | {"fl_x": 300.0}]}
    one, two = load_transforms(write(tmp_path / "transforms.json", per_frame))
    is_the_case(one.camera)
    assert two.camera.intrinsics[0, 0] == 300
    (three,) = load_transforms(
        write(tmp_path / "transforms.json", keys | {"frames": [frame | {"transform_matrix": WORLD_FROM_OPENGL[:3]}]})
    )
    is_the_case(three.camera)
    (lens,) = load_transforms(write(tmp_path / "transforms.json", keys | {"k1": 0.1, "p2": 0.2, "frames": [frame]}))
    close(lens.camera.distortion, [0.1, 0, 0, 0.2, 0])  # type: ignore[arg-type]
    fisheye = keys | {"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k4": 0.2, "frames": [frame]}
    (wide,) = load_frames(write(tmp_path / "transforms.json", fisheye))
    assert wide.camera.projection == "fisheye"
    close(wide.camera.distortion, [0.1, 0, 0, 0.2])  # type: ignore[arg-type]
    assert len(load_frames(tmp_path)) == 1


def test_nerf_synthetic(tmp_path: Path) -> None:
    # 2 atan(200 / 2 / 150) across the width; pixels are square, the principal point is the centre.
    keys = {"camera_angle_x": 1.1760052070951352, "frames": [{"file_path": "./train/r_0", "transform_matrix": WORLD_FROM_OPENGL}]}
    path = write(tmp_path / "transforms_train.json", keys)
    with pytest.raises(FormatError, match="no image is there to ask: give image_size"):
        load_transforms(path)
    (given,) = load_transforms(path, image_size=SIZE)
    (tmp_path / "train").mkdir()
    Image.new("RGBA", (200, 100)).save(tmp_path / "train" / "r_0.png")
    (asked,) = load_transforms(path)
    assert asked.image_path == tmp_path / "train" / "r_0.png" and given.image_path is None
    for frame in (given, asked):
        close(world_to_screen(frame.camera, torch.tensor([[3.0, 1.8, 3.1]])), [[115.0, 42.5, 2.0]], 1e-4)


@pytest.mark.parametrize("fields", [{}, {"distortion": LENS}, {"distortion": LENS[:4], "projection": "fisheye"}], ids=str)
def test_transforms_round_trip(tmp_path: Path, fields: dict[str, Any]) -> None:
    frames = some_frames(**fields)
    save_transforms(frames, tmp_path / "transforms.json")
    assert "fl_x" in json.loads((tmp_path / "transforms.json").read_text())
    for a, b in zip(load_transforms(tmp_path / "transforms.json"), frames, strict=True):
        assert a.name == b.name
        same(a.camera, b.camera)
    frames.append(CameraFrame(name="other", camera=make_camera([1.0, 1, 1, 1], image_size=(2, 2))))
    save_transforms(frames, tmp_path / "transforms.json")
    for a, b in zip(load_transforms(tmp_path / "transforms.json"), frames, strict=True):
        same(a.camera, b.camera)


# --- BOP


def test_bop(tmp_path: Path) -> None:
    entry = {"cam_K": K_INTEGER, "cam_R_w2c": POSE[:3, :3].flatten().tolist(), "cam_t_w2c": [2000.0, 3000, -1000], "depth_scale": 0.1}
    path = write(tmp_path / "scene_camera.json", {"12": {"cam_K": K_INTEGER, "depth_scale": 1.0}, "3": entry})
    three, twelve = load_bop_cameras(path, image_size=SIZE)
    is_the_case(three.camera, scale=1000)
    assert three.name == "000003" and three.metadata == {"depth_scale": 0.1} and twelve.name == "000012"
    close(twelve.camera.camera_from_world, torch.eye(4))
    is_the_case(load_bop_cameras(path, image_size=SIZE, length_scale=1e-3)[0].camera)
    with pytest.raises(FormatError, match="give image_size"):
        load_bop_cameras(path)
    write(tmp_path / "camera.json", {"fx": 1, "fy": 1, "cx": 0, "cy": 0, "width": 200, "height": 100})
    is_the_case(load_frames(path)[0].camera, scale=1000)
    save_bop_cameras([three, twelve], tmp_path / "again.json", length_scale=1.0)
    for a, b in zip(load_bop_cameras(tmp_path / "again.json"), (three, twelve), strict=True):
        same(a.camera, b.camera)
        assert a.metadata == b.metadata


# --- Open3D and trajectories


def test_open3d(tmp_path: Path) -> None:
    intrinsic = {"width": 200, "height": 100, "intrinsic_matrix": np.array(K_INTEGER).reshape(3, 3).T.flatten().tolist()}
    assert load_open3d_intrinsics(write(tmp_path / "i.json", intrinsic)).intrinsics[0, 2] == 90
    trajectory = {"parameters": [{"intrinsic": intrinsic, "extrinsic": POSE.T.flatten().tolist()}]}
    is_the_case(load_frames(write(tmp_path / "t.json", trajectory))[0].camera)
    assert len(load_open3d_trajectory(tmp_path / "t.json")) == 1


LOG = "0 0 1\n0 0 1 1\n-1 0 0 2\n0 -1 0 3\n0 0 0 1\n"
TUM = "# time tx ty tz qx qy qz qw\n1305031102.1758 1 2 3 -0.5 0.5 -0.5 0.5\n"


@pytest.mark.parametrize(("name", "text", "label"), [("a.log", LOG, "0"), ("a.txt", TUM, "1305031102.1758")])
def test_trajectories(tmp_path: Path, name: str, text: str, label: str) -> None:
    trajectory = load_trajectory(write(tmp_path / name, text))
    close(trajectory.camera_from_world, POSE[None])
    assert trajectory.names == (label,)
    made = Trajectory(camera_from_world=se3_random((4,), dtype=torch.float64), names=("0", "1", "2", "3"))
    save_trajectory(made, tmp_path / name)
    again = load_trajectory(tmp_path / name, dtype=torch.float64)
    close(again.camera_from_world, made.camera_from_world, 1e-12)
    assert again.names == made.names


# --- COLMAP

CAMERAS_TXT = "# comment\n1 PINHOLE 200 100 150 160 90 55\n7 SIMPLE_RADIAL 200 100 150 90 55 0.1\n"
IMAGES_TXT = """# comment; the second image has no keypoints
2 0.5 0.5 -0.5 0.5 2 3 -1 1 left image.png
10.5 20.5 -1 105 47 33
1 1 0 0 0 0 0 0 7 sub/b.png

"""
POINTS_TXT = "# comment\n33 3 1.8 3.1 255 128 0 0.5 2 1\n40 0 0 0 0 0 0 1.5\n"


def binary_model(folder: Path) -> None:
    cameras = struct.pack("<Q", 2) + struct.pack("<iiQQ4d", 1, 1, 200, 100, 150, 160, 90, 55)
    (folder / "cameras.bin").write_bytes(cameras + struct.pack("<iiQQ4d", 7, 2, 200, 100, 150, 90, 55, 0.1))
    images = struct.pack("<Q", 2) + struct.pack("<i7di", 2, 0.5, 0.5, -0.5, 0.5, 2, 3, -1, 1) + b"left image.png\0"
    images += struct.pack("<Q", 2) + struct.pack("<ddq", 10.5, 20.5, -1) + struct.pack("<ddq", 105, 47, 33)
    images += struct.pack("<i7di", 1, 1, 0, 0, 0, 0, 0, 0, 7) + b"sub/b.png\0" + struct.pack("<Q", 0)
    (folder / "images.bin").write_bytes(images)
    points = struct.pack("<Q", 2) + struct.pack("<Q3d3BdQ", 33, 3, 1.8, 3.1, 255, 128, 0, 0.5, 1) + struct.pack("<ii", 2, 1)
    (folder / "points3D.bin").write_bytes(points + struct.pack("<Q3d3BdQ", 40, 0, 0, 0, 0, 0, 0, 1.5, 0))


def text_model(folder: Path) -> None:
    for name, text in (("cameras", CAMERAS_TXT), ("images", IMAGES_TXT), ("points3D", POINTS_TXT)):
        write(folder / f"{name}.txt", text)


@pytest.mark.parametrize("make", [text_model, binary_model])
def test_colmap(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "sparse" / "0").mkdir(parents=True)
    (tmp_path / "images").mkdir()
    Image.new("RGB", (200, 100)).save(tmp_path / "images" / "left image.png")
    make(tmp_path / "sparse" / "0")
    scene = load_colmap(tmp_path)
    b, left = scene.frames
    is_the_case(left.camera)
    assert (left.name, b.name) == ("left image.png", "sub/b.png")
    assert left.image_path == tmp_path / "images" / "left image.png" and b.image_path is None
    assert left.metadata["image_id"] == 2 and left.metadata["keypoint_points"].tolist() == [-1, 33]
    close(left.metadata["keypoints"], [[10.5, 20.5], [105, 47]])
    assert b.camera.distortion is not None and b.camera.distortion[0] == torch.tensor(0.1) and len(b.metadata["keypoints"]) == 0
    close(scene.points.positions, [[3, 1.8, 3.1], [0, 0, 0]])
    close(scene.points.colors[0], [1, 128 / 255, 0])  # type: ignore[index]
    assert scene.points.metadata["ids"].tolist() == [33, 40] and scene.points.attributes["track_length"].tolist() == [1, 0]
    close(scene.points.attributes["error"], [0.5, 1.5])
    assert len(load_frames(tmp_path)) == 2


@pytest.mark.parametrize("binary", [True, False])
def test_colmap_round_trip(tmp_path: Path, binary: bool) -> None:
    frames = [*some_frames(), *some_frames(distortion=LENS), *some_frames(1, distortion=LENS[:4], projection="fisheye")]
    points = make_points(torch.randn(5, 3), colors=torch.rand(5, 3))
    save_colmap(frames, tmp_path, points, binary=binary)
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".bin" if binary else ".txt"] * 3
    scene = load_colmap(tmp_path)
    for a, b in zip(scene.frames, frames, strict=True):
        assert a.name == b.name
        same(a.camera, b.camera)
    assert {f.metadata["camera_id"] for f in scene.frames} == {1, 2, 3}
    close(scene.points.positions, points.positions)
    assert (scene.points.colors - points.colors).abs().max() <= 0.5 / 255 + 1e-6  # type: ignore[operator]
    save_colmap(scene.frames, tmp_path, scene.points, binary=binary)
    again = load_colmap(tmp_path)
    assert torch.equal(again.points.colors, scene.points.colors)  # type: ignore[arg-type]
    save_colmap([], tmp_path, binary=binary)
    assert load_colmap(tmp_path).frames == ()


# --- errors


K_KEYS = {"fx": 1.0, "fy": 1.0, "cx": 0.0, "cy": 0.0, "width": 2, "height": 2}
NERF = {"w": 2, "h": 2, "fl_x": 1.0, "frames": [{"file_path": "a", "transform_matrix": WORLD_FROM_OPENGL}]}


def without(value: dict[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in value.items() if k != key}


@pytest.mark.parametrize(
    ("load", "value", "message"),
    [
        (load_camera, '{\n"fx": 1,\n"fy" 2}', r"x\.json, line 3: not JSON"),
        (load_camera, "[1, 2]", "must be an object"),
        (load_camera, without(K_KEYS, "fy"), "`fy` is missing"),
        (load_camera, K_KEYS | {"cx": "left"}, "`cx` must be a number, got 'left'"),
        (load_camera, K_KEYS | {"width": 2.5}, "`width` must be a whole number"),
        (load_camera, K_KEYS | {"height": 0}, "`height` must be at least 1"),
        (load_camera, K_KEYS | {"pixel_center": "corner"}, "`pixel_center` must be 'integer' or 'half'"),
        (load_camera, K_KEYS | {"projection": "equirectangular"}, "`projection` must be one of"),
        (load_camera, K_KEYS | {"fx": 0}, "`intrinsics` is singular"),
        (load_camera, K_KEYS | {"distortion": [1, 2, 3]}, "`distortion` of a perspective camera"),
        (load_camera, K_KEYS | {"camera_from_world": [[1, 2], [3]]}, "`camera_from_world` must be an array of finite numbers"),
        (load_camera, K_KEYS | {"camera_from_world": [1, 2, 3]}, "`camera_from_world` must have 4 x 4 numbers, got 3"),
        (load_camera, K_KEYS | {"near": 5, "far": 4}, "`near` must be smaller"),
        (load_transforms, without(NERF, "frames"), "`frames` is missing"),
        (load_transforms, without(NERF, "fl_x"), "focal length is missing"),
        (load_transforms, NERF | {"frames": [{"file_path": "a"}]}, r"`frames\[0\]\.transform_matrix` is missing"),
        (
            load_transforms,
            NERF | {"frames": [{"file_path": "a", "transform_matrix": [[2, 0, 0, 0]] * 4}]},
            r"`frames\[0\]\.transform_matrix`",
        ),
        (load_transforms, NERF | {"camera_model": "EQUIRECTANGULAR"}, "`camera_model` 'EQUIRECTANGULAR' is not supported"),
        (load_bop_cameras, {"a": {"cam_K": K_INTEGER}}, "`a` is not an image number"),
        (load_open3d_trajectory, {"parameters": [{"intrinsic": {}}]}, r"`parameters\[0\]\.extrinsic` is missing"),
        (load_trajectory, "", "an empty trajectory"),
        (load_trajectory, "0 0 1\n1 0 0 0\n0 1 0 0\n", "line 3: the file ends inside a pose"),
        (load_trajectory, "0 0 1\n1 0 0 0\n0 1 x 0\n0 0 1 0\n0 0 0 1\n", "line 3: expected 4 numbers, got '0 1 x 0'"),
        (load_trajectory, "0 0 1\n2 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", "line 2: `pose` is not rigid"),
        (load_trajectory, "1 0 0 0 0 0 0 1\n\n2 0 0 0 0 0 0 2\n", "line 3: the quaternion has length 2"),
        (load_trajectory, "1 0 0 0 0 0\n", "line 1: expected 8 numbers"),
    ],
)
def test_damaged_files_say_where(tmp_path: Path, load: Callable[[Path], Any], value: Any, message: str) -> None:
    path = write(tmp_path / "x.json", value)
    with pytest.raises(FormatError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("cameras", "1 PINHOLE 200 wide 1 1 1 1\n", r"cameras\.txt, line 1: cannot be understood"),
        ("cameras", "1 FOV 200 100 1 1 1 1 1\n7 PINHOLE 2 2 1 1 1 1\n", "'FOV' is not supported"),
        ("cameras", "1 PINHOLE 200 100 1 1 1\n7 PINHOLE 2 2 1 1 1 1\n", "PINHOLE has 4 parameters"),
        ("cameras", "2 PINHOLE 200 100 1 1 1 1\n", "refers to camera 7|refers to camera 1"),
        ("images", "1 1 0 0 0 0 0 0 7 a.png\n1 2\n", r"images\.txt, line 2: keypoints must be"),
        ("images", "1 1 0 0 0 0 0 0 7 a.png\n", "has no line of keypoints"),
        ("points3D", "1 2 3\n", r"points3D\.txt, line 1: cannot be understood"),
    ],
)
def test_damaged_colmap_text(tmp_path: Path, name: str, text: str, message: str) -> None:
    text_model(tmp_path)
    write(tmp_path / f"{name}.txt", text)
    with pytest.raises(FormatError, match=message):
        load_colmap(tmp_path)


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_truncated_colmap_binaries(tmp_path: Path, name: str) -> None:
    binary_model(tmp_path)
    data = (tmp_path / f"{name}.bin").read_bytes()
    for end in (0, 5, 20, len(data) // 2, len(data) - 1):
        (tmp_path / f"{name}.bin").write_bytes(data[:end])
        with pytest.raises(FormatError, match=rf"{name}\.bin, byte"):
            load_colmap(tmp_path)
    (tmp_path / f"{name}.bin").write_bytes(data + b"x")
    with pytest.raises(FormatError, match="too many"):
        load_colmap(tmp_path)
    (tmp_path / f"{name}.bin").write_bytes(struct.pack("<Q", 2**62) + data[8:])
    with pytest.raises(FormatError):
        load_colmap(tmp_path)


def test_missing_files_and_wrong_arguments(tmp_path: Path) -> None:
    for load in (load_camera, load_transforms, load_bop_cameras, load_trajectory, load_colmap, load_frames):
        with pytest.raises(FileAccessError, match="nowhere"):
            load(tmp_path / "nowhere")
    with pytest.raises(FormatError, match="no COLMAP model"):
        load_frames(tmp_path)
    with pytest.raises(ArgumentError, match="one camera"):
        save_camera(the_camera()[None], tmp_path / "K.json")
    with pytest.raises(ArgumentError, match="image numbers"):
        save_bop_cameras(some_frames(1), tmp_path / "c.json")
    with pytest.raises(ArgumentError, match="`frames` is empty"):
        save_transforms([], tmp_path / "t.json")
    with pytest.raises(ArgumentError, match="has spaces"):
        save_colmap([CameraFrame(name="a b", camera=the_camera())], tmp_path, binary=False)
    with pytest.raises(ArgumentError, match="time stamps"):
        save_trajectory(Trajectory(camera_from_world=POSE[None], names=("a",)), tmp_path / "t.txt")
    assert list(tmp_path.iterdir()) == []


# --- real data


def test_nerf_synthetic_depth_lands_on_the_silhouettes_of_other_views(data_folder: Path) -> None:
    folder = data_folder / "multiview" / "nerf_synthetic_mic"
    frames = [frame for frame in load_transforms(folder / "transforms_test.json") if frame.image_path is not None][:6]
    read = lambda path: torch.from_numpy(np.asarray(Image.open(path)).astype(np.float32) / 255)
    masks = [read(frame.image_path)[..., 3] for frame in frames]
    code = read(str(frames[0].image_path).replace(".png", "_depth_0186.png"))[..., 0]
    # Blender's 8-bit depth pass: distance along the ray, 8 at black, inverted; a step is 31 mm.
    depth = depth_from_distance(frames[0].camera, 8.03 - 8 * code)
    world = unproject_depth(frames[0].camera, depth)[(masks[0] > 0.99) & (code > 0)]
    for frame, mask in zip(frames[1:], masks[1:]):
        pixel = world_to_screen(frame.camera, world)[:, :2].long()
        pixel = pixel[((pixel >= 0) & (pixel < 800)).all(1)]
        assert len(pixel) > 10_000 and (mask[pixel[:, 1], pixel[:, 0]] > 0).float().mean() > 0.97


def test_open3d_frames_agree_on_their_depth(data_folder: Path) -> None:
    folder = data_folder / "scans" / "open3d_testdata"
    camera = load_open3d_intrinsics(folder / "camera_primesense.json")
    poses = load_trajectory(folder / "RGBD" / "trajectory.log").camera_from_world
    paths = sorted((folder / "RGBD" / "depth").glob("*.png"))
    depth = [torch.from_numpy(np.asarray(Image.open(p)).astype(np.float32)) / 1000 for p in paths]
    cameras = [make_camera(camera.intrinsics, pose, image_size=camera.image_size) for pose in poses]
    world = unproject_depth(cameras[0], depth[0])[depth[0] > 0]
    local = world_to_screen(cameras[3], world)
    pixel = local[:, :2].long()
    inside = (pixel >= 0).all(1) & (pixel < torch.tensor([640, 480])).all(1) & has_image(camera, local)
    measured = depth[3][pixel[inside, 1], pixel[inside, 0]]
    difference = (measured - local[inside, 2]).abs()[measured > 0]
    assert difference.median() < 0.01 and len(difference) > 100_000
