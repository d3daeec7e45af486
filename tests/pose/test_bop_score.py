"""BOP's average recall on cases that can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unproject.camera.camera import perspective_camera
from unproject.errors import DataError
from unproject.geometry.primitives import box
from unproject.io.bop import BopEstimate, BopImage, BopInstance, BopModel, BopTarget
from unproject.io.load import save
from unproject.pose.bop_score import bop_score


def place(x: float, z: float = 1000.0) -> torch.Tensor:
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3], pose[2, 3] = x, z
    return pose


@pytest.fixture
def models(tmp_path: Path) -> dict[int, BopModel]:
    save(box(size=(100.0, 100.0, 100.0)), tmp_path / "obj_000001.ply")
    identity = torch.eye(4, dtype=torch.float64)[None]
    path = tmp_path / "obj_000001.ply"
    return {1: BopModel(object_id=1, mesh_path=path, painted_path=path, diameter=100.0, symmetries=identity)}


def image_with(*poses: torch.Tensor) -> BopImage:
    camera = perspective_camera(fov_y_deg=40.0, image_size=(60, 80))
    instances = tuple(BopInstance(object_id=1, camera_from_object=p, box=None, visible_fraction=1.0, mask_path=None) for p in poses)
    return BopImage(scene_id=1, image_id=1, camera=camera, color_path=None, depth_path=None, depth_scale=1.0, instances=instances)


def estimate(pose: torch.Tensor, score: float = 1.0) -> BopEstimate:
    return BopEstimate(scene_id=1, image_id=1, object_id=1, score=score, camera_from_object=pose)


def target(count: int) -> list[BopTarget]:
    return [BopTarget(scene_id=1, image_id=1, object_id=1, instance_count=count)]


def test_the_truth_scores_one_and_nothing_scores_zero(models: dict[int, BopModel]) -> None:
    truth = image_with(place(0))
    best = bop_score([estimate(place(0))], [truth], target(1), models)
    assert best.average_recall == 1 and best.vsd is None and best.within_tenth == 1 and best.target_count == 1
    none = bop_score([], [truth], target(1), models)
    assert none.average_recall == 0 and none.within_tenth == 0


def test_recall_counts_the_thresholds_that_hold(models: dict[int, BopModel]) -> None:
    score = bop_score([estimate(place(22))], [image_with(place(0))], target(1), models)
    assert score.mssd == pytest.approx(0.6)  # 0.22 diameters: below 0.25, 0.3, ... 0.5
    assert score.within_tenth == 0


def test_each_instance_is_found_once_and_only_the_surest_count(models: dict[int, BopModel]) -> None:
    image = image_with(place(-150), place(150))
    twice = [estimate(place(-150), 0.9), estimate(place(-150), 0.8), estimate(place(150), 0.1)]
    assert bop_score(twice, [image], target(2), models).mssd == pytest.approx(0.5)
    both = [estimate(place(-150), 0.9), estimate(place(0), 0.1), estimate(place(150), 0.8)]
    assert bop_score(both, [image], target(2), models).mssd == pytest.approx(1.0)


def test_missing_pieces_are_named(models: dict[int, BopModel]) -> None:
    with pytest.raises(DataError, match="image 1 of scene 1"):
        bop_score([], [], target(1), models)
    with pytest.raises(DataError, match="the model of object 1"):
        bop_score([], [image_with(place(0))], target(1), {})
    with pytest.raises(DataError, match="nothing to find"):
        bop_score([], [], [], models)
