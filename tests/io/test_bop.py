"""BOP folders: what is read, what is written, and what damaged files say."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unproject.errors import ArgumentError, FileAccessError, FormatError
from unproject.io.bop import (
    BopEstimate,
    find_bop_scenes,
    load_bop_models,
    load_bop_results,
    load_bop_scene,
    load_bop_targets,
    save_bop_results,
    targets_of,
)

TURN = [0, -1, 0, 1, 0, 0, 0, 0, 1]


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """One scene with one image of two objects, one of them hardly visible."""
    half_turn = [-1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    write(
        tmp_path / "models" / "models_info.json",
        {
            "1": {"diameter": 100.0, "symmetries_discrete": [half_turn]},
            "7": {"diameter": 50.0, "symmetries_continuous": [{"axis": [0, 0, 1], "offset": [10, 0, 0]}]},
        },
    )
    scene = tmp_path / "test" / "000003"
    write(scene / "scene_camera.json", {"5": {"cam_K": [100, 0, 31.5, 0, 100, 23.5, 0, 0, 1], "depth_scale": 0.1}})
    instance = {"cam_R_m2c": TURN, "cam_t_m2c": [1, 2, 500]}
    write(scene / "scene_gt.json", {"5": [{"obj_id": 1, **instance}, {"obj_id": 7, **instance}]})
    write(
        scene / "scene_gt_info.json",
        {"5": [{"bbox_visib": [10, 20, 5, 6], "visib_fract": 0.9}, {"bbox_visib": [0, 0, 1, 1], "visib_fract": 0.05}]},
    )
    for name, values in (("rgb", np.zeros((48, 64, 3), np.uint8)), ("depth", np.full((48, 64), 5000, np.uint16))):
        (scene / name).mkdir()
        Image.fromarray(values).save(scene / name / "000005.png")
    return tmp_path


def test_a_scene_is_read(dataset: Path) -> None:
    (scene,) = find_bop_scenes(dataset)
    (image,) = load_bop_scene(scene)
    assert (image.scene_id, image.image_id, image.depth_scale, len(image.instances)) == (3, 5, 0.1, 2)
    assert image.color_path is not None and image.depth_path is not None
    first = image.instances[0]
    assert first.box == (10, 20, 15, 26) and first.mask_path is None
    expected = torch.tensor([[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 500], [0, 0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(first.camera_from_object, expected)
    (target,) = targets_of([image])
    assert (target.object_id, target.instance_count) == (1, 1)


def test_symmetries(dataset: Path) -> None:
    models = load_bop_models(dataset)
    assert models[1].symmetries.shape == (2, 4, 4) and models[7].symmetries.shape == (math.ceil(2 * math.pi / 0.01), 4, 4)
    for model in models.values():
        torch.testing.assert_close(model.symmetries[0], torch.eye(4, dtype=torch.float64))
    centre = torch.tensor([10.0, 0, 5, 1], dtype=torch.float64)
    torch.testing.assert_close(models[7].symmetries @ centre, centre.expand(len(models[7].symmetries), 4))


def test_results_round_trip(tmp_path: Path) -> None:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 3] = torch.tensor([1.5, -2.25, 1000.125])
    rows = [BopEstimate(scene_id=3, image_id=5, object_id=7, score=0.75, camera_from_object=pose, seconds=1.5)]
    save_bop_results(rows, tmp_path / "r.csv")
    (row,) = load_bop_results(tmp_path / "r.csv")
    assert (row.scene_id, row.image_id, row.object_id, row.score, row.seconds) == (3, 5, 7, 0.75, 1.5)
    torch.testing.assert_close(row.camera_from_object, pose)
    with pytest.raises(FileAccessError, match="exists"):
        save_bop_results(rows, tmp_path / "r.csv", overwrite=False)
    with pytest.raises(ArgumentError, match="finite"):
        save_bop_results([replace(rows[0], camera_from_object=pose * math.nan)], tmp_path / "s.csv")
    assert not (tmp_path / "s.csv").exists()


HEADER = "scene_id,im_id,obj_id,score,R,t,time\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "line 1: the first line must be"),
        (HEADER + "1,2,3\n", "line 2: 3 columns"),
        (HEADER + "1,2,3,1,1 0 0 0 1 0 0 0 x,0 0 1,1\n", "line 2: not a number"),
        (HEADER + "1,2,3,1,1 0 0 0 1 0 0 0,0 0 1,1\n", "line 2: R needs 9"),
        (HEADER + "1,2,3,1,1 0 0 0 1 0 0 0 nan,0 0 1,1\n", "line 2: a pose that is not finite"),
    ],
)
def test_damaged_results_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(FormatError, match=message):
        load_bop_results(tmp_path / "r.csv")


def test_damaged_folders_name_the_key(dataset: Path) -> None:
    with pytest.raises(FormatError, match="no scene folders"):
        find_bop_scenes(dataset / "models")
    with pytest.raises(FormatError, match=r"no models_eval/models_info\.json"):
        load_bop_models(dataset / "test")
    write(dataset / "targets.json", [{"scene_id": 1, "im_id": 2, "obj_id": 3}])
    with pytest.raises(FormatError, match=r"inst_count` is missing"):
        load_bop_targets(dataset / "targets.json")
    scene = dataset / "test" / "000003"
    write(scene / "scene_gt_info.json", {"5": []})
    with pytest.raises(FormatError, match="has 2 objects"):
        load_bop_scene(scene)
