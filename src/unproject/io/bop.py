"""Folders and result files of the BOP benchmark: models, scenes, targets and estimated poses. Lengths are millimetres, as BOP's.

A dataset folder has `models_eval/` or `models/` (obj_000001.ply and models_info.json), splits such as `test/` with one folder a scene
(scene_camera.json, scene_gt.json, scene_gt_info.json, rgb/ or gray/, depth/, mask_visib/), and `test_targets_bop19.json`.
Source: https://bop.felk.cvut.cz/challenges, section on formats.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..errors import ArgumentError, FormatError
from ..lie.so3 import so3_exp
from ..struct import TensorStruct
from .atomic import atomic_write, write_all
from .cameras_bop import load_bop_cameras
from .json_node import JsonNode, read_json, read_text

SYMMETRY_STEP = 0.01
"""Radians between the poses that stand for a continuous symmetry, as in BOP's evaluation."""


@dataclass(frozen=True, kw_only=True)
class BopModel(TensorStruct):
    """What models_info.json says of an object.

    Attributes:
        object_id: its number.
        mesh_path: its PLY file, which errors are measured with.
        painted_path: its PLY file with colours.
        diameter: mm.
        symmetries: [S, 4, 4] object_from_object motions that do not change how it looks; the first is the identity.
    """

    object_id: int
    mesh_path: Path
    painted_path: Path
    diameter: float
    symmetries: Tensor


@dataclass(frozen=True, kw_only=True)
class BopInstance(TensorStruct):
    """An annotated object in an image.

    Attributes:
        object_id: its number.
        camera_from_object: [4, 4], mm.
        box: (x0, y0, x1, y1) of its visible part in pixels, or None where it is not said.
        visible_fraction: of its silhouette, or None.
        mask_path: of its visible part, or None.
    """

    object_id: int
    camera_from_object: Tensor
    box: tuple[float, float, float, float] | None
    visible_fraction: float | None
    mask_path: Path | None


@dataclass(frozen=True, kw_only=True)
class BopImage:
    """An image of a scene.

    Attributes:
        scene_id, image_id: its numbers.
        camera: one camera; mm.
        color_path, depth_path: None where there is none.
        depth_scale: mm per count of the depth image.
        instances: annotated objects, in the file's order.
    """

    scene_id: int
    image_id: int
    camera: Camera
    color_path: Path | None
    depth_path: Path | None
    depth_scale: float
    instances: tuple[BopInstance, ...]


@dataclass(frozen=True, kw_only=True)
class BopTarget:
    """So many instances of an object to find in an image."""

    scene_id: int
    image_id: int
    object_id: int
    instance_count: int


@dataclass(frozen=True, kw_only=True)
class BopEstimate(TensorStruct):
    """A line of a result file: an estimated pose.

    Attributes:
        score: the higher, the surer.
        camera_from_object: [4, 4], mm.
        seconds: that the whole image took, -1 if unknown.
    """

    scene_id: int
    image_id: int
    object_id: int
    score: float
    camera_from_object: Tensor
    seconds: float = -1.0


def load_bop_models(folder: str | os.PathLike[str]) -> dict[int, BopModel]:
    """The objects of a dataset by number, from `models_eval/` or `models/` of the folder, or from the folder itself.

    `models_eval/` has the shapes that errors are measured with, often without colours; these are in `models/`.

    Raises:
        FormatError: there is no models_info.json, or a key is missing or wrong.
        FileAccessError: it cannot be read.
    """
    place = next((p for name in ("models_eval", "models", "") if (p := Path(folder) / name).joinpath("models_info.json").is_file()), None)
    if place is None:
        raise FormatError("no models_eval/models_info.json, models/models_info.json or models_info.json", path=folder)
    models = {}
    for key, node in read_json(place / "models_info.json").members():
        if not key.isdecimal():
            raise node.fail("is not an object number")
        name = f"obj_{int(key):06d}.ply"
        models[int(key)] = BopModel(
            object_id=int(key),
            mesh_path=place / name,
            painted_path=painted if (painted := Path(folder) / "models" / name).is_file() else place / name,
            diameter=node["diameter"].number(),
            symmetries=symmetry_transforms(node),
        )
    return models


def symmetry_transforms(node: JsonNode, *, step: float = SYMMETRY_STEP) -> Tensor:
    """The symmetries [S, 4, 4] of a models_info.json entry: each discrete one with each step of each continuous one, the identity first."""
    discrete = [torch.eye(4, dtype=torch.float64)]
    if (given := node.get("symmetries_discrete")) is not None:
        discrete += [torch.from_numpy(element.array(4, 4)) for element in given.elements()]
    turns = [torch.eye(4, dtype=torch.float64)]
    if (given := node.get("symmetries_continuous")) is not None:
        count = math.ceil(2 * math.pi / step)
        for element in given.elements():
            axis, centre = (torch.from_numpy(element[name].array(3)) for name in ("axis", "offset"))
            turns += list(_turns(axis, centre, count)[1:])
    return (torch.stack(turns)[:, None] @ torch.stack(discrete)).reshape(-1, 4, 4)


def _turns(axis: Tensor, centre: Tensor, count: int) -> Tensor:
    """[count, 4, 4]: a full turn about an axis through a point, in equal steps from the identity."""
    angles = 2 * math.pi / count * torch.arange(count, dtype=torch.float64)
    motions = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    motions[:, :3, :3] = so3_exp(angles[:, None] * axis / axis.norm())
    motions[:, :3, 3] = centre - motions[:, :3, :3] @ centre
    return motions


def load_bop_scene(folder: str | os.PathLike[str]) -> tuple[BopImage, ...]:
    """The images of a scene folder, by number. Without scene_gt.json they have no instances.

    Raises:
        FormatError: the folder's name is no number, or a file is not as BOP says (the message names the key).
        FileAccessError: a file cannot be read.
    """
    place = Path(folder)
    if not place.name.isdecimal():
        raise FormatError("the folder of a scene is named by its number, such as 000048", path=place)
    truths = dict(read_json(place / "scene_gt.json").members()) if (place / "scene_gt.json").is_file() else {}
    infos = dict(read_json(place / "scene_gt_info.json").members()) if (place / "scene_gt_info.json").is_file() else {}
    images = []
    for frame in load_bop_cameras(place / "scene_camera.json"):
        number = int(frame.name)
        depth = next((p for end in (".png", ".tif") if (p := place / "depth" / f"{number:06d}{end}").is_file()), None)
        images.append(
            BopImage(
                scene_id=int(place.name),
                image_id=number,
                camera=frame.camera,
                color_path=frame.image_path,
                depth_path=depth,
                depth_scale=float(frame.metadata.get("depth_scale", 1.0)),
                instances=_instances(place, number, truths.get(str(number)), infos.get(str(number))),
            )
        )
    return tuple(images)


def _instances(place: Path, number: int, truth: JsonNode | None, info: JsonNode | None) -> tuple[BopInstance, ...]:
    if truth is None:
        return ()
    nodes = truth.elements()
    facts: Sequence[JsonNode | None] = [None] * len(nodes) if info is None else info.elements()
    if len(facts) != len(nodes):
        raise truth.fail(f"has {len(nodes)} objects, but scene_gt_info.json has {len(facts)} for this image")
    found = []
    for k, (node, fact) in enumerate(zip(nodes, facts)):
        mask = place / "mask_visib" / f"{number:06d}_{k:06d}.png"
        box = None if fact is None or "bbox_visib" not in fact else fact["bbox_visib"].array(4)
        found.append(
            BopInstance(
                object_id=node["obj_id"].integer(),
                camera_from_object=_pose(node["cam_R_m2c"].array(3, 3), node["cam_t_m2c"].array(3)),
                box=None if box is None else (box[0], box[1], box[0] + box[2], box[1] + box[3]),
                visible_fraction=fact["visib_fract"].number() if fact is not None and "visib_fract" in fact else None,
                mask_path=mask if mask.is_file() else None,
            )
        )
    return tuple(found)


def _pose(rotation: object, translation: object) -> Tensor:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3], pose[:3, 3] = torch.as_tensor(rotation), torch.as_tensor(translation)
    return pose


def find_bop_scenes(folder: str | os.PathLike[str], *, split: str | None = None) -> tuple[Path, ...]:
    """The scene folders of a split, in order; without `split`, of the first that has any of test, val, train and others, or of the folder.

    Raises:
        FormatError: there are none.
    """
    place = Path(folder)
    names = [split] if split is not None else ["test", "val", "train", *sorted(p.name for p in place.glob("*_*") if p.is_dir()), ""]
    for name in names:
        scenes = sorted(file.parent for file in (place / name).glob("*/scene_camera.json"))
        if scenes:
            return tuple(scenes)
    raise FormatError(f"no scene folders with a scene_camera.json in {'it' if split is None else split}", path=place)


def load_bop_targets(path: str | os.PathLike[str]) -> tuple[BopTarget, ...]:
    """The list of what to find: test_targets_bop19.json.

    Raises:
        FormatError: a key is missing or wrong.
        FileAccessError: the file cannot be read.
    """
    keys = ("scene_id", "im_id", "obj_id", "inst_count")
    rows = [[node[key].integer() for key in keys] for node in read_json(path).elements()]
    return tuple(BopTarget(scene_id=s, image_id=i, object_id=o, instance_count=n) for s, i, o, n in rows)


def targets_of(images: Iterable[BopImage], *, least_visible: float = 0.1) -> tuple[BopTarget, ...]:
    """What to find where no list says it: all annotated objects of which at least that fraction is visible."""
    counts: dict[tuple[int, int, int], int] = {}
    for image in images:
        for instance in image.instances:
            if instance.visible_fraction is None or instance.visible_fraction >= least_visible:
                key = (image.scene_id, image.image_id, instance.object_id)
                counts[key] = counts.get(key, 0) + 1
    return tuple(BopTarget(scene_id=s, image_id=i, object_id=o, instance_count=n) for (s, i, o), n in counts.items())


_COLUMNS = ("scene_id", "im_id", "obj_id", "score", "R", "t", "time")


def save_bop_results(estimates: Iterable[BopEstimate], path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Write a result file as BOP's evaluation reads it, whole or not at all.

    Raises:
        ArgumentError: a pose is not finite.
        FileAccessError: the file cannot be written, or exists and may not be replaced.
    """
    lines = [",".join(_COLUMNS)]
    for row in estimates:
        pose = row.camera_from_object.detach().cpu().double()
        if pose.shape != (4, 4) or not bool(torch.isfinite(pose).all()):
            raise ArgumentError(f"save_bop_results: the pose of object {row.object_id} in image {row.image_id} must be a finite [4, 4]")
        rotation, translation = (" ".join(f"{value:.9g}" for value in part.flatten().tolist()) for part in (pose[:3, :3], pose[:3, 3]))
        lines.append(f"{row.scene_id},{row.image_id},{row.object_id},{row.score:.9g},{rotation},{translation},{row.seconds:.6g}")
    with atomic_write(path, overwrite=overwrite) as file:
        write_all(file, ("\n".join(lines) + "\n").encode())


def load_bop_results(path: str | os.PathLike[str]) -> tuple[BopEstimate, ...]:
    """Read a result file.

    Raises:
        FormatError: a line does not follow the format; the message has its number.
        FileAccessError: the file cannot be read.
    """
    place = Path(path)
    rows = list(csv.reader(io.StringIO(read_text(place))))
    if not rows or tuple(cell.strip() for cell in rows[0]) != _COLUMNS:
        raise FormatError(f"the first line must be {','.join(_COLUMNS)}", path=place, line=1)
    return tuple(_estimate(row, place, number) for number, row in enumerate(rows[1:], start=2) if row)


def _estimate(row: Sequence[str], place: Path, line: int) -> BopEstimate:
    if len(row) != len(_COLUMNS):
        raise FormatError(f"{len(row)} columns instead of {len(_COLUMNS)}", path=place, line=line)
    cells: Mapping[str, str] = dict(zip(_COLUMNS, row))
    try:
        scene, image, obj = (int(cells[name]) for name in _COLUMNS[:3])
        rotation, translation = ([float(x) for x in cells[name].split()] for name in ("R", "t"))
        score, seconds = float(cells["score"]), float(cells["time"])
    except ValueError as error:
        raise FormatError(f"not a number: {error}", path=place, line=line) from None
    if len(rotation) != 9 or len(translation) != 3:
        raise FormatError(f"R needs 9 numbers and t 3, got {len(rotation)} and {len(translation)}", path=place, line=line)
    pose = _pose(torch.tensor(rotation).reshape(3, 3), torch.tensor(translation))
    if not bool(torch.isfinite(pose).all()):
        raise FormatError("a pose that is not finite", path=place, line=line)
    return BopEstimate(scene_id=scene, image_id=image, object_id=obj, score=score, camera_from_object=pose, seconds=seconds)
