"""`unproject bop`: estimate the poses of a BOP dataset folder, or take them from a result file, and score them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from torch import Tensor

from ..errors import ArgumentError, DataError, FormatError
from ..io.bop import (
    BopEstimate,
    BopImage,
    BopInstance,
    BopModel,
    BopTarget,
    find_bop_scenes,
    load_bop_models,
    load_bop_results,
    load_bop_scene,
    load_bop_targets,
    save_bop_results,
    targets_of,
)
from ..io.load import load_mesh
from ..io.photograph import read_color
from ..io.rgbd import read_depth
from ..pose.bop_score import BopScore, bop_score
from ..pose.estimate import PoseOptions, estimate_pose
from ..pose.object_model import ObjectModel, make_object_model
from ..pose.prepare import PoseInput
from ..pose.solve import SolverOptions
from .manners import Manners, Terminal
from .pose import read_mask


@dataclass(frozen=True, kw_only=True)
class Options:
    dataset: tyro.conf.Positional[Path]
    """Folder with models/, test/ (or another split) and, if there is a list, test_targets_bop19.json."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Result CSV to write, in BOP's format."""
    results: Path | None = None
    """Score this result CSV instead of estimating."""
    split: str | None = None
    """Folder of the scenes; by default test, val or train, whichever is there first."""
    given: Literal["mask", "box"] = "mask"
    """What the estimator is told of each object: its visible mask, or the box around it."""
    depth: bool = True
    """Use the depth images (--no-depth: colour only)."""
    images: int | None = None
    """Only the first so many images."""
    views: int = 400
    """Directions from which each object is tried."""
    manners: Manners = field(default_factory=Manners)


def run(options: Options, terminal: Terminal) -> dict[str, Any]:
    """Estimate or read, score, and print the recalls."""
    if options.output is None and options.results is None:
        raise ArgumentError("give -o results.csv to estimate, or --results results.csv to score")
    terminal.check_output(options.output)
    models = load_bop_models(options.dataset)
    images = [image for scene in find_bop_scenes(options.dataset, split=options.split) for image in load_bop_scene(scene)]
    images = images[: options.images]
    targets = _targets(options, images)
    seconds = None
    if options.results is not None:
        estimates: Sequence[BopEstimate] = load_bop_results(options.results)
    else:
        begin = time.perf_counter()
        estimates = list(_estimates(options, terminal, images, targets, models))
        seconds = (time.perf_counter() - begin) / max(1, len(images))
        assert options.output is not None
        save_bop_results(estimates, options.output, overwrite=options.manners.overwrite)
    if not any(image.instances for image in images):
        terminal.note("no scene_gt.json: there is nothing to score against")
        return {"estimates": len(estimates), "output": options.output}
    return _score(options, terminal, estimates, images, targets, models, seconds)


def _targets(options: Options, images: Sequence[BopImage]) -> tuple[BopTarget, ...]:
    file = options.dataset / "test_targets_bop19.json"
    here = {(image.scene_id, image.image_id) for image in images}
    every = load_bop_targets(file) if file.is_file() else targets_of(images)
    targets = tuple(target for target in every if (target.scene_id, target.image_id) in here)
    if not targets:
        raise DataError(f"{options.dataset}: no object to find in these images")
    return targets


def _estimates(
    options: Options, terminal: Terminal, images: Sequence[BopImage], targets: Sequence[BopTarget], models: Mapping[int, BopModel]
) -> Iterator[BopEstimate]:
    wanted: dict[tuple[int, int], list[BopTarget]] = defaultdict(list)
    for target in targets:
        wanted[target.scene_id, target.image_id].append(target)
    objects: dict[int, ObjectModel] = {}
    settings = PoseOptions(solver=SolverOptions(view_count=options.views))
    with terminal.progress() as progress:
        task = progress.add_task("estimate", total=len(targets))
        for image in images:
            color = None if image.color_path is None else read_color(image.color_path).float() / 255
            depth = read_depth(image.depth_path) * image.depth_scale if options.depth and image.depth_path is not None else None
            found: list[BopEstimate] = []
            seconds = 0.0
            for target in wanted[image.scene_id, image.image_id]:
                if target.object_id not in models:
                    raise DataError(f"{options.dataset}: the model of object {target.object_id} is a target but is not there")
                model = models[target.object_id]
                if target.object_id not in objects:
                    objects[target.object_id] = make_object_model(load_mesh(model.painted_path))
                mine = [instance for instance in image.instances if instance.object_id == target.object_id]
                mine.sort(key=lambda instance: -(instance.visible_fraction or 0.0))
                begin = time.perf_counter()
                for instance in mine[: target.instance_count]:
                    found += _estimate(options, terminal, settings, image, instance, color, depth, objects[target.object_id], model)
                seconds += time.perf_counter() - begin
                progress.update(task, advance=1)
            yield from (replace(estimate, seconds=seconds) for estimate in found)  # the format wants the whole image's time in each line


def _estimate(
    options: Options, terminal: Terminal, settings: PoseOptions, image: BopImage, instance: BopInstance, color: Tensor | None,
    depth: Tensor | None, object_model: ObjectModel, model: BopModel,
) -> list[BopEstimate]:  # fmt: skip
    """One object; nothing, with a warning, where the image does not allow a pose."""
    mask, box = None, instance.box
    if options.given == "mask":
        if instance.mask_path is None:
            raise FormatError("no mask_visib/ for this image; --given box does without", path=_scene_name(image))
        mask, _ = read_mask(instance.mask_path)
    elif box is None:
        raise FormatError("no bbox_visib in scene_gt_info.json for this image", path=_scene_name(image))
    given = PoseInput(camera=image.camera, color=color, mask=mask, box=None if mask is not None else box, depth=depth)
    try:
        estimate = estimate_pose(object_model, given, symmetries=model.symmetries, options=settings)
    except (DataError, ArgumentError) as error:
        terminal.warn(f"{_scene_name(image)}, object {instance.object_id}: {error}")
        return []
    best = estimate.best
    return [BopEstimate(
        scene_id=image.scene_id, image_id=image.image_id, object_id=instance.object_id, score=best.confidence,
        camera_from_object=best.camera_from_object,
    )]  # fmt: skip


def _scene_name(image: BopImage) -> str:
    return f"scene {image.scene_id}, image {image.image_id}"


def _score(
    options: Options, terminal: Terminal, estimates: Sequence[BopEstimate], images: Sequence[BopImage], targets: Sequence[BopTarget],
    models: Mapping[int, BopModel], seconds: float | None,
) -> dict[str, Any]:  # fmt: skip
    with terminal.progress() as progress:
        task = progress.add_task("score", total=len(targets))
        score: BopScore = bop_score(estimates, images, targets, models, progress=lambda done: progress.update(task, completed=done))
    rows = [("average recall", f"{score.average_recall:.3f}")]
    rows += [
        (name, "no depth images" if value is None else f"{value:.3f}")
        for name, value in (("VSD", score.vsd), ("MSSD", score.mssd), ("MSPD", score.mspd))
    ]
    rows += [("ADD(-S) below 0.1 diameter", f"{100 * score.within_tenth:.1f} %"), ("objects", f"{score.target_count}")]
    rows += [(f"object {number}", f"{value:.3f}") for number, value in score.by_object.items()]
    if seconds is not None:
        rows.append(("time an image", f"{seconds:.1f} s"))
    terminal.table(str(options.dataset), rows)
    return {
        "average_recall": score.average_recall, "vsd": score.vsd, "mssd": score.mssd, "mspd": score.mspd,
        "within_tenth": score.within_tenth, "by_object": score.by_object,
        "targets": score.target_count, "seconds_per_image": seconds, "output": options.output,
    }  # fmt: skip
