"""Where in a depth image an object may be, without a mask or a box: its templates tried over the whole scene."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import DataError
from .hypotheses import distinct_rows, rotation_between, turned_views
from .object_model import ObjectModel
from .observation import PoseImage
from .refine import Scale, TermWeights, by_template, evaluate, refine
from .solve import sight_of
from .views import Views, template_views

_VIEW_COUNT, _TURNS = 60, 10
_SEEDS = 220
_KEPT = (200, 40)
_CHUNK = 40_000
_RESOLUTION = 220.0
_SCALES = (Scale(outline=0.03, depth=0.06), Scale(outline=0.02, depth=0.03))
WEIGHTS = TermWeights(region=0.0, outline=0.0, cover=0.0, color=0.7, depth=1.5, edge=0.4)


def locate(model: ObjectModel, image: PoseImage) -> Tensor:
    """Rough poses [N, 4, 4] of the working frame, best first, that the depth image agrees with.

    Raises:
        DataError: the image has hardly any depth.
    """
    assert image.depth is not None
    height, width = image.depth.shape
    whole = PoseImage(
        camera=image.camera, color=image.color, foreground=None, known=image.known, depth=image.depth, box=(0, 0, width, height)
    )
    sight = sight_of(whole, whole, WEIGHTS, model, resolution=_RESOLUTION, blur=0.01)
    views = template_views(model, count=_VIEW_COUNT, distance=3.0, folder=None)
    few = Views(
        **{name: getattr(views, name) for name in views.__dataclass_fields__} | {"points": views.points[:, ::2], "rim": views.rim[:, ::2]}
    )
    poses, view = _place(few, image, _seeds(image))
    parts = zip(poses.split(_CHUNK), view.split(_CHUNK))
    cost = torch.cat([evaluate(few, v, p, sight, _SCALES[0], derive=False, skip=("edge",))[0].cost for p, v in parts])
    best = cost.argsort()[: 8 * _KEPT[0]]
    kept = poses[best][distinct_rows(poses[best], cost[best], _KEPT[0], angle_deg=20, shift=0.4)]
    scored = refine(kept, by_template(views), [sight], _SCALES[0], rounds=3)
    kept = scored.poses[distinct_rows(scored.poses, scored.cost, _KEPT[1], angle_deg=10, shift=0.2)]
    scored = refine(kept, by_template(views), [sight], _SCALES[1], rounds=2)
    return scored.poses[scored.cost.argsort()]


def _seeds(image: PoseImage) -> Tensor:
    """[N, 2] pixels with depth, spread over the image, each nearer than what lies around it or like it (x, y)."""
    assert image.depth is not None
    rows, columns = (image.depth > 0).nonzero().unbind(1)
    if len(rows) < 50:
        raise DataError("estimate_pose: the depth image has hardly any measurements; give a mask or a box")
    side = max(2.0, (len(rows) / _SEEDS) ** 0.5)
    cell = (rows / side).floor().long() * 10_000 + (columns / side).floor().long()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    _, inverse = torch.unique(cell[order], return_inverse=True)
    first = torch.full((int(inverse.max()) + 1,), len(rows)).scatter_reduce(0, inverse, torch.arange(len(rows)), "amin")
    pick = order[first]
    return torch.stack([columns[pick], rows[pick]], 1)


def _place(views: Views, image: PoseImage, seeds: Tensor) -> tuple[Tensor, Tensor]:
    """Every turned view at every seed, with its seen surface at the measured depth."""
    assert image.depth is not None
    rotations, view = turned_views(views, _TURNS)
    k = image.camera.intrinsics.double()
    poses = []
    axis = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    for column, row in seeds.tolist():
        ray = torch.tensor([(column + 0.5 - float(k[0, 2])) / float(k[0, 0]), (row + 0.5 - float(k[1, 2])) / float(k[1, 1]), 1.0]).double()
        toward = ray / ray.norm()
        distance = float(image.depth[row, column]) * float(ray.norm()) + views.nearer.double()[view]
        pose = torch.eye(4, dtype=torch.float64).repeat(len(rotations), 1, 1)
        pose[:, :3, :3] = rotation_between(axis, toward) @ rotations
        pose[:, :3, 3] = distance[:, None] * toward
        poses.append(pose)
    return torch.cat(poses), view.repeat(len(seeds))
