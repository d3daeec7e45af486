"""`unproject pose`: the contract of its files, and what it says to bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import unproject as up
from unproject.camera.camera import resize_camera
from unproject.cli.main import main
from unproject.io.cameras import save_camera
from unproject.io.load import save
from unproject.io.poses import load_poses
from unproject.pose.metrics import rotation_error_deg

from ..pose.test_estimate import CAMERA, painted_block, picture, true_pose


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture with its mask, depth in thousandths, camera and mesh."""
    place = tmp_path_factory.mktemp("pose")
    mesh = painted_block()
    shown = picture(mesh, true_pose())
    assert shown.color is not None and shown.mask is not None and shown.depth is not None
    Image.fromarray((shown.color.numpy() * 255).round().astype(np.uint8)).save(place / "a.png")
    Image.fromarray((shown.mask.numpy() * 255).astype(np.uint8)).save(place / "mask.png")
    Image.fromarray((shown.depth.numpy() * 1000).round().astype(np.uint16)).save(place / "depth.png")
    save(mesh, place / "m.ply")
    save_camera(CAMERA, place / "K.json")
    return place


def words(folder: Path, *more: str, image: str = "a.png", mesh: str = "m.ply", camera: str = "K.json", out: str = "pose.json") -> list[str]:
    start = ["pose", str(folder / image), "--mesh", str(folder / mesh), "--camera", str(folder / camera), "--views", "100", "--no-cache"]
    return [*start, *(str(folder / w) if w.endswith((".png", ".json")) else w for w in more), "-o", str(folder / out), "--overwrite"]


def test_mask_depth_and_given_symmetries(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half_turn = np.diag([-1.0, -1.0, 1.0, 1.0]).flatten().tolist()
    (folder / "symmetries.json").write_text(json.dumps({"7": {"symmetries_discrete": [half_turn]}}))
    (folder / "obj_000007.ply").write_bytes((folder / "m.ply").read_bytes())
    given = ("--mask", "mask.png", "--depth", "depth.png", "--depth-scale", "0.001", "--symmetries", "symmetries.json")
    assert main(words(folder, *given, "--json", mesh="obj_000007.ply")) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["symmetry_count"] == 2
    (frame,) = load_poses(folder / "pose.json")
    assert frame.name == "a.png" and float(rotation_error_deg(frame.pose, true_pose())) < 3
    assert {"confidence", "covariance", "alternatives", "terms"} <= set(frame.facts) and said["confidence"] == frame.facts["confidence"]
    content = json.loads((folder / "pose.json").read_text())
    assert set(content) == {"convention", "frames"} and np.array(content["frames"][0]["camera_from_object"]).shape == (4, 4)
    with Image.open(folder / "pose.png") as overlay, Image.open(folder / "a.png") as image:
        assert overlay.size == image.size and (np.asarray(overlay) != np.asarray(image)).any()


def test_a_photograph_of_five_megapixels_that_lies_on_its_side(folder: Path) -> None:
    """Its EXIF orientation says how to hold it; the camera is that of the upright picture."""
    camera = resize_camera(CAMERA, (1920, 2560))
    save_camera(camera, folder / "large.json")
    for name in ("a.png", "mask.png"):
        with Image.open(folder / name) as small:
            large = small.resize((2560, 1920), Image.Resampling.BILINEAR).transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6  # turn by 90 degrees clockwise to look at it
        large.save(folder / f"turned-{name}", exif=exif, compress_level=1)
    assert main(words(folder, "--mask", "turned-mask.png", image="turned-a.png", camera="large.json", out="large-pose.json")) == 0
    (frame,) = load_poses(folder / "large-pose.json")
    assert float(rotation_error_deg(frame.pose, true_pose())) < 3
    assert float((frame.pose[:3, 3] - true_pose()[:3, 3]).norm()) < 0.05
    with Image.open(folder / "large-pose.png") as overlay:
        assert overlay.size == (1920, 1440)


@pytest.fixture(scope="module")
def spoilt(folder: Path) -> Path:
    """The folder, with files beside the good ones that cannot be right."""
    intrinsics = json.loads((folder / "K.json").read_text())
    (folder / "no-fy.json").write_text(json.dumps({k: v for k, v in intrinsics.items() if k != "fy"}))
    (folder / "text.json").write_text(json.dumps({**intrinsics, "cx": "80"}))
    (folder / "comma.json").write_text('{"fx": 1,\n "fy": }')
    (folder / "parallel.json").write_text(json.dumps({**intrinsics, "projection": "orthographic"}))
    (folder / "strange.json").write_text(json.dumps({**intrinsics, "projection": "catadioptric"}))
    save(up.make_mesh(painted_block().vertices, torch.zeros(0, 3, dtype=torch.int64)), folder / "cloud.ply")
    Image.fromarray(np.zeros((120, 160), np.uint8)).save(folder / "nothing.png")
    Image.fromarray(np.full((60, 80), 255, np.uint8)).save(folder / "small.png")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:200])
    behind, far = true_pose(), true_pose()
    behind[2, 3] *= -1
    far[:3, 3] *= 1000
    for name, pose in (("behind.json", behind), ("far.json", far)):
        (folder / name).write_text(json.dumps({"frames": [{"name": "a.png", "camera_from_object": pose.tolist()}]}))
    (folder / "no-pose.json").write_text(json.dumps({"frames": [{"name": "a.png"}]}))
    return folder


@pytest.mark.parametrize(
    ("more", "files", "code", "text"),
    [
        (("--mask", "nothing.png"), {}, 3, "`mask` is empty"),
        (("--mask", "small.png"), {}, 3, "`mask` has 80x60 pixels, the camera 160x120"),
        (("--mask", "gone.png"), {}, 5, "gone.png"),
        (("--mask", "cut.png"), {}, 4, "cut.png"),
        (("--mask", "mask.png"), {"image": "small.png"}, 3, "80x60 pixels, the camera in"),
        (("--mask", "mask.png"), {"image": "cut.png"}, 4, "cut.png"),
        (("--mask", "mask.png"), {"image": "gone.png"}, 5, "gone.png"),
        (("--mask", "mask.png"), {"mesh": "cloud.ply"}, 3, "the mesh has no faces"),
        (("--mask", "mask.png"), {"mesh": "gone.ply"}, 5, "gone.ply"),
        (("--mask", "mask.png"), {"camera": "gone.json"}, 5, "gone.json"),
        (("--mask", "mask.png"), {"camera": "no-fy.json"}, 4, "no-fy.json: `fy` is missing"),
        (("--mask", "mask.png"), {"camera": "text.json"}, 4, "`cx` must be a number"),
        (("--mask", "mask.png"), {"camera": "comma.json"}, 4, "line 2: not JSON"),
        (("--mask", "mask.png"), {"camera": "parallel.json"}, 3, "perspective or fisheye camera, got orthographic"),
        (("--mask", "mask.png"), {"camera": "strange.json"}, 4, "`projection` must be one of"),
        (("--depth", "depth.png"), {}, 3, "--depth-scale"),
        (("--depth-scale", "1"), {}, 3, "needs --depth"),
        (("--depth", "depth.png", "--depth-scale", "1"), {}, 3, "1000 times too small"),
        (("--depth", "depth.png", "--depth-scale", "1e-6"), {}, 3, "1000 times too large"),
        (("--depth", "cut.png", "--depth-scale", "0.001"), {}, 4, "cut.png"),
        (("--depth", "mask.png", "--depth-scale", "0.001"), {}, 4, "8 bits"),
        (("--start", "behind.json"), {}, 3, "behind the camera"),
        (("--start", "far.json"), {}, 3, "`start` says"),
        (("--start", "no-pose.json"), {}, 4, "`frames[0].camera_from_object` is missing"),
        (("--mask", "mask.png", "--position-only"), {}, 3, "needs --start"),
        (("--mask", "mask.png", "--symmetries", "K.json"), {}, 4, "neither symmetries_discrete nor"),
        (("--box", "10", "10", "10", "40"), {}, 3, "x0 < x1"),
        (("--box", "500", "10", "600", "40"), {}, 3, "outside of the image"),
        (("--box", "1", "2", "three", "4"), {}, 2, "three"),
        (("--mask", "mask.png"), {"out": "never.png"}, 3, "cannot be both"),
        ((), {}, 3, "nothing says where the object is"),
    ],
)  # fmt: skip
def test_bad_input_is_named_in_one_line_and_nothing_is_written(
    spoilt: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], files: dict[str, str], code: int, text: str
) -> None:
    assert main(words(spoilt, *more, **{"out": "never.json", **files})) == code
    said = capsys.readouterr().err
    assert text in said and said.count("\n") == 1
    assert not list(spoilt.glob("never*"))


def test_position_only_goes_on_looking_at_the_same_point(folder: Path, tmp_path: Path) -> None:
    truth, start = up.orbit(30.0, 20.0, 3.2).double(), up.orbit(18.0, 32.0, 3.8).double()
    shown = picture(painted_block(), truth)
    assert shown.mask is not None
    Image.fromarray((shown.mask.numpy() * 255).astype(np.uint8)).save(tmp_path / "mask.png")
    (tmp_path / "start.json").write_text(json.dumps({"frames": [{"name": "", "camera_from_object": start.tolist()}]}))
    place = str(tmp_path) + "/"
    line = words(folder, "--mask", place + "mask.png", "--start", place + "start.json", "--position-only", "--up", "0", "1", "0")
    assert main([*line, "--quiet"]) == 0
    (frame,) = load_poses(folder / "pose.json")
    assert float(rotation_error_deg(frame.pose, truth)) < 3
    assert abs(float(frame.pose[0, :3] @ torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))) < 1e-6
    assert float(frame.pose[:2, 3].norm()) < 1e-6


def test_masks_know_what_they_do_not_know(folder: Path) -> None:
    from unproject.cli.pose import read_mask

    values = np.array([[0, 255, 128], [127, 255, 0]], np.uint8)
    Image.fromarray(values).save(folder / "grey.png")
    mask, unknown = read_mask(folder / "grey.png")
    assert mask is not None and unknown is not None
    torch.testing.assert_close(mask, torch.tensor([[0.0, 1, 0], [0, 1, 0]]))
    assert unknown.tolist() == [[False, False, True], [True, False, False]]
