"""`unproject pose`: the contract of its files, and what it says to bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

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
    Image.fromarray(np.zeros((120, 160), np.uint8)).save(place / "nothing.png")
    save(mesh, place / "m.ply")
    save_camera(CAMERA, place / "K.json")
    return place


def words(folder: Path, *more: str, out: str = "pose.json") -> list[str]:
    start = [
        "pose",
        str(folder / "a.png"),
        "--mesh",
        str(folder / "m.ply"),
        "--camera",
        str(folder / "K.json"),
        "--views",
        "100",
        "--no-cache",
    ]
    return [*start, *(str(folder / w) if w.endswith(".png") else w for w in more), "-o", str(folder / out), "--overwrite"]


def test_mask_and_depth(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(folder, "--mask", "mask.png", "--depth", "depth.png", "--depth-scale", "0.001", "--json")) == 0
    said = json.loads(capsys.readouterr().out)
    (frame,) = load_poses(folder / "pose.json")
    assert frame.name == "a.png" and float(rotation_error_deg(frame.pose, true_pose())) < 3
    assert {"confidence", "covariance", "alternatives", "terms"} <= set(frame.facts) and said["confidence"] == frame.facts["confidence"]
    content = json.loads((folder / "pose.json").read_text())
    assert set(content) == {"convention", "frames"} and np.array(content["frames"][0]["camera_from_object"]).shape == (4, 4)
    with Image.open(folder / "pose.png") as overlay, Image.open(folder / "a.png") as image:
        assert overlay.size == image.size and (np.asarray(overlay) != np.asarray(image)).any()


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        (("--mask", "nothing.png"), 3, "`mask` is empty"),
        (("--mask", "gone.png"), 5, "does not exist"),
        (("--depth", "depth.png"), 3, "--depth-scale"),
        (("--depth", "depth.png", "--depth-scale", "1"), 3, "1000 times"),
        ((), 3, "nothing says where the object is"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], code: int, text: str
) -> None:
    assert main(words(folder, *more, out="never.json")) == code
    assert text in capsys.readouterr().err
    assert not (folder / "never.json").exists()


def test_camera_of_another_size(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(folder / "small.png")
    line = words(folder, "--mask", "mask.png")
    line[1] = str(folder / "small.png")
    assert main(line) == 3 and "80x60 pixels, the camera" in capsys.readouterr().err


def test_damaged_image(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:200])
    line = words(folder, "--mask", "mask.png")
    line[1] = str(folder / "broken.png")
    assert main(line) == 4 and "broken.png" in capsys.readouterr().err


def test_masks_know_what_they_do_not_know(folder: Path) -> None:
    from unproject.cli.pose import read_mask

    values = np.array([[0, 255, 128], [127, 255, 0]], np.uint8)
    Image.fromarray(values).save(folder / "grey.png")
    mask, unknown = read_mask(folder / "grey.png")
    assert mask is not None and unknown is not None
    torch.testing.assert_close(mask, torch.tensor([[0.0, 1, 0], [0, 1, 0]]))
    assert unknown.tolist() == [[False, False, True], [True, False, False]]
