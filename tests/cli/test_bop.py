"""`unproject bop` on a small dataset that is rendered here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unproject.camera.conventions import opencv_from_camera
from unproject.cli.main import main
from unproject.io.bop import load_bop_results
from unproject.io.load import save
from unproject.pose.metrics import object_diameter

from ..pose.test_track import camera_, motion, painted_shape, picture


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """One image with one object, annotated twice; a bare mesh to measure with beside the painted one."""
    mesh, camera, (pose,) = painted_shape(), camera_(), motion(1)
    frame = picture(mesh, camera, pose, depth=True)
    assert frame.depth is not None
    for folder, model in (("models", mesh), ("models_eval", replace(mesh, vertex_colors=None))):
        (tmp_path / folder).mkdir()
        save(model, tmp_path / folder / "obj_000004.ply")
        (tmp_path / folder / "models_info.json").write_text(json.dumps({"4": {"diameter": object_diameter(mesh.vertices)}}))
    scene = tmp_path / "test" / "000001"
    for name in ("rgb", "depth", "mask_visib"):
        (scene / name).mkdir(parents=True)
    Image.fromarray(frame.color.numpy()).save(scene / "rgb" / "000000.png")
    Image.fromarray((10 * frame.depth.numpy()).round().astype(np.uint16)).save(scene / "depth" / "000000.png")
    for k in range(2):
        Image.fromarray((255 * (frame.depth > 0).numpy()).astype(np.uint8)).save(scene / "mask_visib" / f"000000_{k:06d}.png")
    k = opencv_from_camera(camera).camera_matrix.flatten().tolist()
    (scene / "scene_camera.json").write_text(json.dumps({"0": {"cam_K": k, "depth_scale": 0.1}}))
    truth = {"obj_id": 4, "cam_R_m2c": pose[:3, :3].flatten().tolist(), "cam_t_m2c": pose[:3, 3].tolist()}
    (scene / "scene_gt.json").write_text(json.dumps({"0": [truth, truth]}))
    rows, columns = np.nonzero(frame.depth.numpy() > 0)
    box = [int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1]
    (scene / "scene_gt_info.json").write_text(json.dumps({"0": [{"bbox_visib": box, "visib_fract": 1.0}] * 2}))
    return tmp_path


def test_estimates_are_written_and_scored(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    csv = tmp_path / "r.csv"
    assert main(["bop", str(dataset), "-o", str(csv), "--views", "60", "--json"]) == 0
    estimated = json.loads(capsys.readouterr().out)
    assert estimated["targets"] == 2 and estimated["within_tenth"] == 1 and estimated["average_recall"] > 0.8
    one, other = load_bop_results(csv)
    assert (one.scene_id, one.image_id, one.object_id) == (1, 0, 4) and one.seconds == other.seconds > 0  # of the whole image
    assert main(["bop", str(dataset), "--results", str(csv), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["average_recall"] == pytest.approx(estimated["average_recall"])


def test_what_is_missing_is_said(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bop", str(dataset)]) == 3
    assert "give -o" in capsys.readouterr().err
    (dataset / "test" / "000001" / "mask_visib" / "000000_000000.png").unlink()
    assert main(["bop", str(dataset), "-o", str(tmp_path / "r.csv")]) == 4
    assert "--given box" in capsys.readouterr().err
    assert not (tmp_path / "r.csv").exists()
