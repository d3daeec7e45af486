"""The score of a BOP benchmark run: average recall under VSD, MSSD and MSPD.

Source: Hodan et al. 2020, BOP Challenge 2020 on 6D object localization, sections 2.2 and 2.3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import DataError
from ..geometry.mesh import Mesh
from ..io.bop import BopEstimate, BopImage, BopInstance, BopModel, BopTarget
from ..io.load import load_mesh
from ..io.rgbd import read_depth
from .metrics import VSD_TOLERANCES, add_error, adds_error, mspd_error, mssd_error, vsd_error

_VISIBLE_WITHIN_MM = 15.0
_RECALL_STEPS = tuple(0.05 * k for k in range(1, 11))
_MSPD_PIXELS = tuple(5.0 * k for k in range(1, 11))  # for images 640 pixels wide
_MSPD_WIDTH = 640


@dataclass(frozen=True, kw_only=True)
class BopScore:
    """Shares in [0, 1].

    Attributes:
        average_recall: mean of the next three that could be computed.
        vsd, mssd, mspd: average recall under each error; `vsd` is None without depth images.
        within_tenth: share of targets with ADD (ADD-S where the object has symmetries) below 0.1 diameter.
        by_object: `average_recall` of each object.
        target_count: instances that were to be found.
    """

    average_recall: float
    vsd: float | None
    mssd: float
    mspd: float
    within_tenth: float
    by_object: Mapping[int, float]
    target_count: int


Errors = dict[str, list[float]]
"""Of one estimate and one true instance: for each kind its error, in units of its own thresholds (VSD: one a tolerance)."""


def bop_score(
    estimates: Iterable[BopEstimate],
    images: Sequence[BopImage],
    targets: Sequence[BopTarget],
    models: Mapping[int, BopModel],
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> BopScore:
    """Match estimates to annotated instances and score them.

    Of each target, as many estimates count as it has instances, the surest first; each is matched to the nearest instance that is still
    free, for each threshold anew.

    Args:
        progress: called with the number of targets that are done.

    Raises:
        DataError: no target, or a target whose image or model is not there.
        FormatError, FileAccessError: of models and depth images.
    """
    by_target: dict[tuple[int, int, int], list[BopEstimate]] = defaultdict(list)
    for estimate in estimates:
        by_target[estimate.scene_id, estimate.image_id, estimate.object_id].append(estimate)
    places = {(image.scene_id, image.image_id): image for image in images}
    meshes: dict[int, Mesh] = {}
    counts: dict[int, _Recall] = defaultdict(_Recall)
    for done, target in enumerate(targets):
        image, model = places.get((target.scene_id, target.image_id)), models.get(target.object_id)
        if image is None or model is None:
            what = f"image {target.image_id} of scene {target.scene_id}" if image is None else f"the model of object {target.object_id}"
            raise DataError(f"bop_score: {what} is a target but is not there")
        mesh = meshes.setdefault(model.object_id, load_mesh(Path(model.mesh_path)))
        chosen = sorted(by_target[target.scene_id, target.image_id, target.object_id], key=lambda e: -e.score)[: target.instance_count]
        truths = [instance for instance in image.instances if instance.object_id == target.object_id]
        depth = None if image.depth_path is None else read_depth(image.depth_path).float() * image.depth_scale
        table = [[pose_errors(estimate.camera_from_object, truth, image, model, mesh, depth) for truth in truths] for estimate in chosen]
        counts[target.object_id].add(table, target.instance_count)
        progress(done + 1)
    if not counts:
        raise DataError("bop_score: there is nothing to find; the scenes have no annotated objects and there is no list of targets")
    return _summary(counts)


def pose_errors(estimate: Tensor, truth: BopInstance, image: BopImage, model: BopModel, mesh: Mesh, depth: Tensor | None) -> Errors:
    """All errors of one estimate, divided by what BOP's thresholds are fractions of. `depth` [H, W] in mm."""
    points = mesh.vertices.double()
    true = truth.camera_from_object.double()
    symmetries = model.symmetries.double()
    estimate = estimate.double()
    pixels = float(mspd_error(estimate, true, points, image.camera.to(torch.float64), symmetries=symmetries))
    errors: Errors = {
        "mssd": [float(mssd_error(estimate, true, points, symmetries=symmetries)) / model.diameter],
        "mspd": [pixels * _MSPD_WIDTH / image.camera.width],
        "add": [float((adds_error if len(symmetries) > 1 else add_error)(estimate, true, points)) / model.diameter],
    }
    if depth is not None:
        values = vsd_error(
            estimate, true, mesh, image.camera, depth, diameter=model.diameter, visible_within=_VISIBLE_WITHIN_MM, tolerances=VSD_TOLERANCES
        )
        errors["vsd"] = values.tolist()
    return errors


_THRESHOLDS: Mapping[str, tuple[float, ...]] = {"vsd": _RECALL_STEPS, "mssd": _RECALL_STEPS, "mspd": _MSPD_PIXELS, "add": (0.1,)}


class _Recall:
    """Hits of one object, for each kind of error, tolerance and threshold."""

    def __init__(self) -> None:
        self.target_count = 0
        self.hits: dict[str, float] = defaultdict(float)
        self.kinds: set[str] = set()

    def add(self, table: Sequence[Sequence[Errors]], count: int) -> None:
        """Take in the errors [estimate][instance] of a target with `count` instances."""
        self.target_count += count
        for kind, thresholds in _THRESHOLDS.items():
            rows = [[errors[kind] for errors in row if kind in errors] for row in table]
            if not rows or not rows[0]:
                continue
            self.kinds.add(kind)
            variants = len(rows[0][0])
            found = sum(_matched([[e[v] for e in row] for row in rows], t) for v in range(variants) for t in thresholds)
            self.hits[kind] += found / (variants * len(thresholds))

    def recall(self, kind: str) -> float:
        return self.hits[kind] / self.target_count


def _matched(errors: Sequence[Sequence[float]], threshold: float) -> int:
    """How many estimates (rows, the surest first) find an instance (column) of their own with an error below the threshold."""
    free = set(range(len(errors[0])))
    for row in errors:
        best = min(free, key=lambda column: row[column], default=None)
        if best is not None and row[best] < threshold:
            free.remove(best)
    return len(errors[0]) - len(free)


def _summary(counts: Mapping[int, _Recall]) -> BopScore:
    total = sum(recall.target_count for recall in counts.values())
    over_all = {kind: sum(recall.hits[kind] for recall in counts.values()) / total for kind in _THRESHOLDS}
    has_depth = any("vsd" in recall.kinds for recall in counts.values())
    kinds = ("vsd", "mssd", "mspd") if has_depth else ("mssd", "mspd")
    return BopScore(
        average_recall=sum(over_all[kind] for kind in kinds) / len(kinds),
        vsd=over_all["vsd"] if has_depth else None,
        mssd=over_all["mssd"],
        mspd=over_all["mspd"],
        within_tenth=over_all["add"],
        by_object={number: sum(recall.recall(kind) for kind in kinds) / len(kinds) for number, recall in sorted(counts.items())},
        target_count=total,
    )
