"""Where in a depth image an object is, without a mask or a box: proposed by point pairs and by the pieces of the scene, then verified.

Source: point pairs after Drost et al. 2010 (register/point_pairs.py); verified by the depth that a pose would show (register/verify.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import DataError
from ..geometry.points import make_points
from ..register.point_pairs import gather, make_pair_table, vote
from ..register.shape import Shape, make_shape, spacing, thin, towards
from ..register.verify import DepthCheck
from ..struct import TensorStruct
from .clutter import Clutter, clutter_of, pieces
from .hypotheses import distinct_rows, place_by_mask, turned_views
from .object_model import ObjectModel
from .observation import PoseImage
from .prepare import box_around, box_of_pose
from .refine import Scale, Scored, TermWeights, by_template, evaluate, refine
from .solve import STAGES, by_rendering, sight_of
from .views import Views, nearest_view, template_views

_VIEW_COUNT, _TURNS = 150, 12
_STEP = 0.05  # diameters between the points that vote
_REFERENCES = 800
_OF_PIECE = 6  # poses that each piece proposes
_KEPT = (150, 60, 16)
_RESOLUTION = 220.0  # of the whole image, px
_SCALES = (Scale(outline=0.03, depth=0.06), Scale(outline=0.02, depth=0.03))
_TOLERANCE = 0.025  # diameters between surfaces that are the same
_PLACE = 0.4  # diameters between poses in different places
_MARGIN = 0.04  # in score: how much worse another place must be to be out of question
_BAD, _GOOD = 0.2, 0.5  # scores of a place that is certainly wrong, and right
_WEIGHTS = TermWeights(region=0.0, outline=0.0, cover=0.0, color=0.7, depth=1.5, edge=0.4)
_PIECE_WEIGHTS = TermWeights(color=0.7, edge=0.2)


@dataclass(frozen=True, kw_only=True)
class Located(TensorStruct):
    """Where an object seems to be.

    Attributes:
        poses: [N, 4, 4] of the working frame, best first, all in one place.
        certainty: 0 to 1: how well the depth image agrees, and how much worse all other places are.
    """

    poses: Tensor
    certainty: float


def locate(model: ObjectModel, image: PoseImage) -> Located:
    """The place in a depth image at which an object fits best.

    Raises:
        DataError: the image has hardly any depth, or the object fits nowhere.
    """
    assert image.depth is not None
    height, width = image.depth.shape
    scene = clutter_of(image)
    views = template_views(model, count=_VIEW_COUNT, distance=3.0, folder=None)
    proposed = torch.cat([_by_pairs(model, scene), _by_pieces(views, model, image, pieces(scene, image))])
    if len(proposed) == 0:
        raise DataError("estimate_pose: the object fits nowhere in the depth image; give a mask or a box")
    whole = replace(image, box=(0, 0, width, height))
    sight = sight_of(whole, whole, _WEIGHTS, model, resolution=_RESOLUTION, blur=0.01)
    coarse = evaluate(views, nearest_view(views, proposed), proposed, sight, _SCALES[0], derive=False)[0]
    kept = proposed[coarse.cost.argsort()[: _KEPT[0]]]
    scored = refine(kept, by_template(views), [sight], _SCALES[0], rounds=2)
    kept = scored.poses[distinct_rows(scored.poses, scored.cost, _KEPT[1], angle_deg=15, shift=0.2)]
    scored = refine(kept, by_rendering(model, 96), [sight], _SCALES[1], rounds=2)
    check = _Check(model, scene)
    worth = check.worth(scored)
    return _chosen(*_finer(model, image, scored.poses[worth.argsort(descending=True)[: _KEPT[2]]], check))


def _finer(model: ObjectModel, image: PoseImage, poses: Tensor, check: _Check) -> tuple[Tensor, Tensor]:
    """Poses refined each in a crop of its own, and how much they are worth [N]."""
    parts = []
    for pose in poses:
        box = box_of_pose(model, image, pose)
        if box is not None:
            here = replace(image, box=box, foreground=None)
            sight = sight_of(here, here, _WEIGHTS, model, resolution=110, blur=0.012)
            parts.append(refine(pose[None], by_rendering(model, 96), [sight], STAGES[1], rounds=2))
    if not parts:
        raise DataError("estimate_pose: the object fits nowhere in the depth image; give a mask or a box")
    scored = Scored(**{name: torch.cat([getattr(part, name) for part in parts]) for name in Scored.__dataclass_fields__})
    return scored.poses, check.worth(scored)


def _chosen(poses: Tensor, worth: Tensor) -> Located:
    """The poses in the place of the best one, and how sure that place is."""
    order = worth.argsort(descending=True)
    poses, worth = poses[order], worth[order]
    here = (poses[:, :3, 3] - poses[0, :3, 3]).norm(dim=1) < _PLACE
    fit = min(1.0, max(0.0, (float(worth[0]) - _BAD) / (_GOOD - _BAD)))
    lead = float(worth[0]) - float(worth[~here].max()) if bool((~here).any()) else math.inf
    return Located(poses=poses[here], certainty=fit / (1 + math.exp(-lead / _MARGIN)))


def _by_pairs(model: ObjectModel, scene: Clutter) -> Tensor:
    """Poses [N, 4, 4] that pairs of points, off the large planes, vote for."""
    points = scene.points[scene.standing]
    if len(points) < 50:
        return torch.zeros(0, 4, 4, dtype=torch.float64)
    seen = make_shape(make_points(points.float()), name="depth", where="estimate_pose")
    seen = thin(towards(thin(seen, 0.5 * _STEP), torch.zeros(3, dtype=torch.float64)), _STEP)
    own = thin(make_shape(model.mesh, name="mesh", where="estimate_pose"), _STEP)
    assert own.normals is not None
    motions, votes = vote(make_pair_table(own.points, own.normals, _STEP), seen, references=_REFERENCES)
    motions, _ = gather(motions, votes, own.points.double().mean(0), distance=0.1)
    return _outer(motions, own, seen)


def _by_pieces(views: Views, model: ObjectModel, image: PoseImage, masks: list[Tensor]) -> Tensor:
    """Poses [N, 4, 4] of the object as each piece of the scene."""
    rotations, view = turned_views(views, _TURNS)
    found = [torch.zeros(0, 4, 4, dtype=torch.float64)]
    for mask in masks:
        here = replace(image, foreground=mask.float(), box=box_around(mask), is_sharp=True)
        poses = place_by_mask(here, views, rotations, view)
        sight = sight_of(here, here, _PIECE_WEIGHTS, model, resolution=80, blur=0.04)
        cost = evaluate(views, view, poses, sight, STAGES[0], derive=False, skip=("cover",))[0].cost
        kept = distinct_rows(poses, cost, 2 * _OF_PIECE, angle_deg=20, shift=0.3)
        scored = refine(poses[kept], by_template(views), [sight], STAGES[0], rounds=2)
        found.append(scored.poses[scored.cost.argsort()[:_OF_PIECE]])
    return torch.cat(found)


class _Check:
    """How well the depth of a scene agrees with poses."""

    def __init__(self, model: ObjectModel, scene: Clutter):
        self.scene = make_shape(make_points(scene.points.float()), name="depth", where="estimate_pose")
        self.model = make_shape(model.mesh, name="mesh", where="estimate_pose")
        self.check = DepthCheck(self.scene, self.model, -self.scene.origin, tolerance=_TOLERANCE, spacing=spacing(self.scene))

    def worth(self, scored: Scored) -> Tensor:
        """[N] 0 to 1 of poses: agreement of what the sensor sees, times the root of how much it sees, times what the other terms leave.

        A pose whose rim the scene goes on beyond in the same plane lies in a larger surface: a side of a table or of a larger box.
        """
        found = []
        for motion in _inner(scored.poses, self.model, self.scene):
            depth = self.check.check(motion)
            found.append(0.0 if depth is None else depth.agreement * math.sqrt(depth.support) * (1 - depth.flush))
        return torch.tensor(found, dtype=torch.float64) * (1 - scored.cost).square()


def _outer(motions: Tensor, model: Shape, scene: Shape) -> Tensor:
    """Poses of motions [N, 4, 4] between the inner frames of two shapes."""
    poses = motions.clone()
    poses[:, :3, 3] += scene.origin - poses[:, :3, :3] @ model.origin
    return poses


def _inner(poses: Tensor, model: Shape, scene: Shape) -> Tensor:
    """The inverse of `_outer`."""
    motions = poses.clone()
    motions[:, :3, 3] += poses[:, :3, :3] @ model.origin - scene.origin
    return motions
