"""The search for a pose: hypotheses from all sides, scored, thinned and refined from coarse to fine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..lie.se3 import se3_inverse
from ..lie.so3 import so3_exp
from ..struct import TensorStruct
from .box_term import box_sides
from .hypotheses import distinct, distinct_rows, place_behind, place_by_box, place_by_mask, place_cut, turned_views
from .object_model import ObjectModel
from .observation import PoseImage, cropped, observe
from .refine import FindViews, Orbit, Scale, Scored, Sight, TermWeights, by_template, evaluate, evaluate_all, moved, refine, see
from .views import Views, nearest_view, render_views, template_views

_PLAIN = 0.15  # weight of the colours of a plain object, whose shading alone they show
_NUDGED, _NUDGE_DEPTH, _NUDGE_TURN = 3, 0.06, 0.14  # how many of the best poses; share of the distance; radians
_BLURRED = 0.4  # weight of a guessed mask
_HIDDEN = 0.3
_SMOOTH, _SHARP = 0.04, 0.012  # of the box's longer side: by which colours are smoothed
_SIFTED = 12  # hypotheses that are looked at closely, for each that is refined


@dataclass(frozen=True, kw_only=True)
class SolverOptions:
    """How much is tried.

    Attributes:
        view_count, turn_count: directions, and turns about the optical axis, of the hypotheses.
        kept: hypotheses that are refined by templates, then finer, then by rendering, then to the end.
        hidden_share: share of the object that something is taken to hide, on one side of a line.
        resolution: pixels of the object's longer side while refining; twice as many at the end.
        cache_folder: where templates are kept, or None.
    """

    view_count: int = 400
    turn_count: int = 24
    kept: tuple[int, int, int, int] = (300, 80, 20, 6)
    hidden_share: float = 0.0
    resolution: float = 110.0
    cache_folder: Path | None = None


def for_hidden(options: SolverOptions) -> SolverOptions:
    """The search for an object of which something hides a part: from other hypotheses, of which more are kept, for costs mislead."""
    return replace(options, hidden_share=_HIDDEN, kept=tuple(2 * count for count in options.kept))


@dataclass(frozen=True, kw_only=True)
class SolverStep(TensorStruct):
    """What is known after a stage.

    Attributes:
        index: of the stage. name: what was done. scored: the poses that are left, best first.
    """

    index: int
    name: str
    scored: Scored


STAGES = (
    Scale(outline=0.05, depth=0.05),
    Scale(outline=0.025, depth=0.03),
    Scale(outline=0.012, depth=0.02),
    Scale(outline=0.005, depth=0.012, color=0.6),
)
FINEST_SIZE = 288
JUDGE = Scale(outline=0.015, depth=0.015, color=0.6)
"""At which scale the last poses are compared."""


def solve(
    model: ObjectModel,
    images: Sequence[PoseImage],
    weights: TermWeights,
    options: SolverOptions,
    *,
    starts: Tensor | None = None,
    start_angle: float = math.pi,
    mirrors: Tensor | None = None,
    orbit: Orbit | None = None,
) -> Iterator[SolverStep]:
    """Find poses that explain one or several images.

    Args:
        images: hypotheses come from the first; all count in what follows. Their cameras' poses say how they lie to each other.
        starts: [N, 4, 4] rough poses, working frame; with them, only directions within `start_angle` (radians) of one are tried.
        mirrors: [M, 3] unit normals of planes that the shape is mirrored at: the poses with nearly the same outline are tried too.
        orbit: restricts the motions (see `refine`).
    """
    look = lambda blur: [sight_of(image, images[0], weights, model, resolution=options.resolution, blur=blur) for image in images]
    coarse, sharp, kept = look(_SMOOTH), look(_SHARP), options.kept
    views = template_views(model, count=options.view_count, distance=template_distance(images[0]), folder=options.cache_folder)
    find = by_template(views)
    scored = _first(views, images[0], coarse[0], options, starts, start_angle, orbit)
    yield SolverStep(index=0, name="hypotheses", scored=scored)
    scored = distinct(refine(scored.poses, find, coarse, STAGES[0], rounds=2, orbit=orbit), kept[1], angle_deg=7, shift=0.2)
    yield SolverStep(index=1, name="templates", scored=scored)
    scored = distinct(refine(scored.poses, find, sharp, STAGES[1], rounds=2, orbit=orbit), kept[2], angle_deg=7, shift=0.15)
    if mirrors is not None and len(mirrors) > 0:
        poses = torch.cat([scored.poses, *(depth_reversed(scored.poses, m) for m in mirrors)])
        scored = distinct(refine(poses, find, sharp, STAGES[1], rounds=1, orbit=orbit), kept[2], angle_deg=7, shift=0.15)
    yield SolverStep(index=2, name="finer templates", scored=scored)
    scored = refine(scored.poses, by_rendering(model, 96), sharp, STAGES[2], rounds=3, orbit=orbit)
    scored = distinct(judge(model, scored.poses, sharp), kept[3], angle_deg=5, shift=0.1)
    nearby = torch.cat([scored.poses, nudged(scored.poses[:_NUDGED], orbit)])  # refinement can end beside the best pose, on a wrong edge
    scored = refine(nearby, by_rendering(model, 96), sharp, STAGES[2], rounds=2, orbit=orbit)
    scored = distinct(judge(model, scored.poses, sharp), kept[3], angle_deg=4, shift=0.08)
    yield SolverStep(index=3, name="rendering", scored=scored)
    finest = finest_sights(images, weights, model, options)
    nearby = torch.cat([scored.poses, nudged(scored.poses[:_NUDGED], orbit, size=0.5)])
    scored = refine(nearby, by_rendering(model, 144), finest, STAGES[2], rounds=2, orbit=orbit)
    scored = distinct(judge(model, scored.poses, finest), kept[3], angle_deg=1, shift=0.03)
    scored = refine(scored.poses, by_rendering(model, FINEST_SIZE), finest, STAGES[3], rounds=2, steps=4, orbit=orbit)
    scored = distinct(judge(model, scored.poses, finest), kept[3], angle_deg=4, shift=0.1)
    yield SolverStep(index=4, name="finest rendering", scored=scored)


def sight_of(image: PoseImage, first: PoseImage, weights: TermWeights, model: ObjectModel, *, resolution: float, blur: float) -> Sight:
    """An image with the weights of the terms that it has data for, and its place beside the first image."""
    wanted = weights.tensor()
    has_mask, has_color = image.foreground is not None, image.color is not None
    has_depth = image.depth is not None
    scale = [float(v) for v in (has_mask, has_mask, has_mask, has_color, has_depth, has_color, image.is_boxed)]
    if has_color and not model.is_colored:
        scale[3] = _PLAIN
    if not image.is_sharp:
        scale[:3] = [_BLURRED * factor for factor in scale[:3]]
    observation = observe(image, resolution=resolution, blur=blur)
    weight = wanted * torch.tensor(scale, dtype=torch.float64)
    sides = box_sides(image.box, image.camera, observation.camera) if image.is_boxed else None
    return Sight(observation=observation, weights=weight, from_first=between_cameras(image, first, model), sides=sides)


def ready_to_solve(image: PoseImage, options: SolverOptions) -> PoseImage:
    """The image with what does not depend on the foreground in it done, as `solve` and what follows need it."""
    return cropped(image, (options.resolution, _SMOOTH), (options.resolution, _SHARP), (2 * options.resolution, _SHARP))


def between_cameras(image: PoseImage, first: PoseImage, model: ObjectModel) -> Tensor:
    """camera_from_first [4, 4] float64 of an image, working unit."""
    between = (image.camera.camera_from_world.double() @ se3_inverse(first.camera.camera_from_world.double())).clone()
    between[:3, 3] /= model.diameter
    return between


def finest_sights(images: Sequence[PoseImage], weights: TermWeights, model: ObjectModel, options: SolverOptions) -> list[Sight]:
    """The images as the last refinement takes them: twice as fine."""
    return [sight_of(image, images[0], weights, model, resolution=2 * options.resolution, blur=_SHARP) for image in images]


def judge(model: ObjectModel, poses: Tensor, sights: Sequence[Sight]) -> Scored:
    """Score poses by exact renderings at one scale, so that they compare."""
    return evaluate_all(see(by_rendering(model, FINEST_SIZE), poses, sights), poses, sights, JUDGE)[0]


def by_rendering(model: ObjectModel, size: int) -> FindViews:
    """Each pose is seen as it is rendered."""
    count = 2 * size
    return lambda poses: (render_views(model, poses, size=size, point_count=count, rim_count=size + 32), torch.arange(len(poses)))


def template_distance(image: PoseImage) -> float:
    """A rough distance of the object in diameters, of few possible values, so that templates can be reused."""
    x0, y0, x1, y1 = image.box
    angle = max((x1 - x0) / float(image.camera.intrinsics[0, 0]), (y1 - y0) / float(image.camera.intrinsics[1, 1]))
    guess = min(max(0.85 / max(angle, 1e-3), 1.3), 9.0)
    return round(1.6 ** round(math.log(guess, 1.6)), 3)


def depth_reversed(poses: Tensor, normal: Tensor) -> Tensor:
    """Poses with nearly the same outline, for a shape with a mirror plane: mirrored in the object, and along the line of sight."""
    mirror = torch.eye(3, dtype=torch.float64) - 2 * normal[:, None] * normal[None]
    sight = torch.nn.functional.normalize(poses[:, :3, 3], dim=1)
    flip = torch.eye(3, dtype=torch.float64) - 2 * sight[:, :, None] * sight[:, None]
    result = poses.clone()
    result[:, :3, :3] = flip @ poses[:, :3, :3] @ mirror
    return result


def _first(
    views: Views,
    image: PoseImage,
    sight: Sight,
    options: SolverOptions,
    starts: Tensor | None,
    angle: float,
    orbit: Orbit | None,
) -> Scored:
    """The best hypotheses; starts themselves are always among them."""
    if starts is None:
        poses, view = _everywhere(views, image, options)
    elif angle == 0 or orbit is not None or image.foreground is None or not image.is_sharp:
        poses = torch.cat([starts, around_starts(starts, angle, orbit)]) if angle > 0 else starts
        view = nearest_view(views, poses)
    else:
        poses, view = _everywhere(views, image, options)
        cosine = (torch.einsum("sij,nij->ns", starts[:, :3, :3], poses[:, :3, :3]).amax(1) - 1) / 2
        near = cosine > math.cos(angle)
        poses, view = torch.cat([starts, poses[near]]), torch.cat([nearest_view(views, starts), view[near]])
    # without the dearest terms, those of the rim, and all but the best by every third point only
    rank = lambda views, view, poses: evaluate(views, view, poses, sight, STAGES[0], derive=False, skip=("cover", "box"))[0]
    own = torch.arange(0 if starts is None else len(starts))
    thin = replace(views, points=views.points[:, ::3].contiguous(), rim=views.rim[:, ::3].contiguous())
    cost = rank(thin, view, poses).cost
    cost[own] = -1.0
    sifted = cost.argsort(stable=True)[: _SIFTED * options.kept[0]]
    scored = rank(views, view[sifted], poses[sifted])
    best = distinct_rows(scored.poses, scored.cost, options.kept[0], angle_deg=10 if starts is None else 6, shift=0.35)
    return scored.pick(torch.cat([own, best[best >= len(own)]]))


def _everywhere(views: Views, image: PoseImage, options: SolverOptions) -> tuple[Tensor, Tensor]:
    """Poses from all directions, placed by the mask or by the box, and their views."""
    rotations, view = turned_views(views, options.turn_count)
    if options.hidden_share > 0:
        return place_cut(image, views, rotations, view, options.hidden_share)
    boxed = place_by_box(image, views, rotations, view)  # as large as a mask even if something hides a corner of it
    guessed = image.foreground is None or not image.is_sharp
    placed = [boxed] if guessed else [place_by_mask(image, views, rotations, view)]
    if image.depth is not None:
        if guessed and image.foreground is not None:
            placed.append(place_by_mask(image, views, rotations, view))
        return torch.cat(placed), view.repeat(len(placed))
    if not guessed:
        placed.append(boxed)
    behind, seen = place_behind(image, views, rotations, view)
    return torch.cat([*placed, behind]), torch.cat([*[view] * len(placed), seen])


def around_starts(starts: Tensor, angle: float, orbit: Orbit | None, *, spacing: float = 0.26) -> Tensor:
    """Poses [N, 4, 4] turned about the object's middle by up to an angle (radians), about `spacing` apart, at the starts' positions.

    Args:
        orbit: restricts the motions (see `refine`); with it, turns within these.
    """
    generator = torch.Generator().manual_seed(0)
    count = min(4000, int(60 * (angle / math.pi * 3.2 / spacing / 3) ** 3) + 40)
    repeated = starts.repeat_interleave(count, 0)
    if orbit is not None:
        free = orbit.motions(repeated)
        way = 2 * torch.rand(len(repeated), free.shape[2], 1, generator=generator, dtype=torch.float64) - 1
        step = (free @ (way * angle))[..., 0]
        step[:, :3] *= 0.5
        return orbit.settle(moved(repeated, step))
    axis = torch.nn.functional.normalize(torch.randn(len(repeated), 3, generator=generator, dtype=torch.float64), dim=1)
    turn = so3_exp(axis * (angle * torch.rand(len(repeated), 1, generator=generator, dtype=torch.float64) ** (1 / 3)))
    return moved_rotation(repeated, turn)


def nudged(poses: Tensor, orbit: Orbit | None, *, size: float = 1.0) -> Tensor:
    """Poses [8 N, 4, 4] around some [N, 4, 4]: nearer, farther, and turned about each axis of the camera both ways."""
    way = torch.cat([torch.eye(4, dtype=torch.float64), -torch.eye(4, dtype=torch.float64)])
    step = poses.new_zeros(8, len(poses), 6)
    step[..., :3] = size * _NUDGE_DEPTH * way[:, None, :1] * poses[:, :3, 3]
    step[..., 3:] = size * _NUDGE_TURN * way[:, None, 1:]
    result = moved(poses.repeat(8, 1, 1), step.flatten(0, 1))
    return result if orbit is None else orbit.settle(result)


def moved_rotation(poses: Tensor, turn: Tensor) -> Tensor:
    """Poses turned about the object's middle."""
    result = poses.clone()
    result[:, :3, :3] = turn @ poses[:, :3, :3]
    return result
