"""The pose of a known object from one image or several: what the estimator is asked, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from ..camera.camera import check_rigid
from ..errors import ArgumentError, DataError
from ..geometry.mesh import Mesh
from ..struct import TensorStruct
from .depth_check import contradiction
from .hidden import refine_past_hidden
from .locate import Located, locate
from .object_model import ObjectModel, check_scale, make_object_model
from .observation import PoseImage
from .prepare import Box, PoseInput, box_of_pose, guess_foreground, outline_by_pose, prepare, shown_by, told_by_pose
from .refine import TERMS, Orbit, Scored, Sight, TermWeights, orbit_of
from .solve import SolverOptions, SolverStep, finest_sights, for_hidden, judge, ready_to_solve, solve
from .symmetry import Symmetries, find_symmetries, symmetric_distance
from .window import windowed

_TEMPERATURE = 0.02  # of the cost: how much worse an alternative must be to be out of question
_SAME_ANGLE, _SAME_SHIFT = math.radians(6.0), 0.06
_CORRELATION = 4.0  # neighbouring points whose errors are alike count as one
_LIKELY = 0.01
_POOR = 0.9  # below this fit, something may hide a part
_DOUBT = 0.15  # in cost: what an inexact outline may hide, where neither colours nor depth tell poses apart


@dataclass(frozen=True, kw_only=True)
class PoseOptions:
    """How to estimate.

    Attributes:
        weights: of the terms of the cost.
        solver: how much is tried.
        symmetric: whether turns that leave the shape as it is do not count, whatever its colours.
        start_angle_deg: how far a given start may be off.
        position_only: with a start, move only the camera's position; it keeps looking at one point, upright.
        up: of `position_only`: upwards in the object's frame.
        target: of `position_only`: the point to look at in the mesh's frame, or what of the start's optical axis is nearest to it.
        alternatives: most poses in the answer.
    """

    weights: TermWeights = field(default_factory=lambda: TermWeights(edge=0.15))
    solver: SolverOptions = field(default_factory=SolverOptions)
    symmetric: bool = False
    start_angle_deg: float = 40.0
    position_only: bool = False
    up: tuple[float, float, float] = (0.0, 1.0, 0.0)
    target: tuple[float, float, float] = (0.0, 0.0, 0.0)
    alternatives: int = 4


@dataclass(frozen=True, kw_only=True)
class PoseCandidate(TensorStruct):
    """A pose that explains the image.

    Attributes:
        camera_from_object: [4, 4] float64, OpenCV camera axes, the mesh's unit; of the first image's camera.
        confidence: from 0 to 1: how well it fits, times how much better than the other poses.
        fit: the first factor alone.
        cost: what was minimized and, with depth, how far measurements contradict the pose, 0 to 1.
        terms: cost of each term that had data.
        covariance: [6, 6] of (shift, turn about the object's middle) in the camera's axes, mesh unit and radians; to first order,
            from the curvature of the cost.
    """

    camera_from_object: Tensor
    confidence: float
    fit: float
    cost: float
    terms: dict[str, float]
    covariance: Tensor


@dataclass(frozen=True, kw_only=True)
class PoseEstimate(TensorStruct):
    """The answer.

    Attributes:
        best: the likeliest pose.
        candidates: all poses that explain the image nearly as well and are not the same up to symmetry, best first; the first is `best`.
            Where outlines alone tell, these are more: the two poses that a shape with a mirror plane has for nearly the same outline.
        symmetries: what leaves the object as it is.
        diameter: of the object, mesh unit.
    """

    best: PoseCandidate
    candidates: tuple[PoseCandidate, ...]
    symmetries: Symmetries
    diameter: float

    @property
    def camera_from_object(self) -> Tensor:
        """[4, 4] of the best pose."""
        return self.best.camera_from_object


def estimate_pose(
    mesh: Mesh | ObjectModel,
    images: PoseInput | Sequence[PoseInput],
    *,
    start: Tensor | None = None,
    symmetries: Tensor | None = None,
    options: PoseOptions | None = None,
) -> PoseEstimate:
    """The pose of a known object from an image, or from several at once.

    Args:
        mesh: the object, or what `make_object_model` made of it (to estimate many poses of one object).
        images: what is seen. Each needs a mask, a box, a depth image or a start. The cameras of several images must have their
            poses (camera_from_world, in the mesh's unit).
        start: [4, 4] a rough camera_from_object, if there is one; only poses within `start_angle_deg` of it are looked at.
        symmetries: [S, 4, 4] motions that leave the object as it is, mesh frame; found from the mesh if None.
        options: terms, effort and kind of motion.

    Raises:
        DataError: a mesh without faces; nothing to go by; no pose explains the image.
        ArgumentError: sizes that disagree, an empty mask, a start behind the camera, units that cannot be right.

    Source: sparse views as in Stoiber et al. 2022 (SRT3D); robust Gauss-Newton on SE(3); the rest is our own.
    """
    last: PoseEstimate | None = None
    for step in estimate_pose_steps(mesh, images, start=start, symmetries=symmetries, options=options):
        last = step if isinstance(step, PoseEstimate) else last
    assert last is not None
    return last


def estimate_pose_steps(
    mesh: Mesh | ObjectModel,
    images: PoseInput | Sequence[PoseInput],
    *,
    start: Tensor | None = None,
    symmetries: Tensor | None = None,
    options: PoseOptions | None = None,
) -> Iterator[SolverStep | PoseEstimate]:
    """`estimate_pose`, stage by stage; the last thing yielded is the estimate."""
    options = options or PoseOptions()
    model = mesh if isinstance(mesh, ObjectModel) else make_object_model(mesh)
    given = [images] if isinstance(images, PoseInput) else list(images)
    if not given:
        raise ArgumentError("estimate_pose: `images` is empty")
    seen = [prepare(one, model) for one in given]
    found = _symmetries(model, symmetries, options)
    starts = None if start is None else _check_start(start, model)[None]
    angle = math.radians(options.start_angle_deg)
    certainty = 1.0
    if given[0].mask is None and given[0].box is None:
        if starts is None:
            located = _search(model, seen[0])
            starts, angle, certainty = located.poses, 0.0, located.certainty
        seen[0] = windowed(replace(seen[0], box=_box_of_start(model, seen[0], starts[0])))
    upward = torch.tensor(options.up, dtype=torch.float64)
    target = (torch.tensor(options.target, dtype=torch.float64) - model.center) / model.diameter
    orbit = orbit_of(starts[0], upward, target) if options.position_only and start is not None and starts is not None else None
    mirrors = None if starts is not None else found.mirrors
    ready = [ready_to_solve(_with_foreground(model, image, one, starts), options.solver) for image, one in zip(seen, given)]
    search = partial(_solve_twice, model, options=options, starts=starts, angle=angle, mirrors=mirrors, orbit=orbit)
    ready, scored = yield from search(ready, solver=options.solver)
    poses = scored.poses
    if starts is None and _best_fit(model, ready, scored, options) < _POOR:
        ready, more = yield from search(ready, solver=for_hidden(options.solver))
        poses = torch.cat([poses, more.poses])
    yield _answer(model, ready, poses, found, options, certainty)


def _solve_twice(
    model: ObjectModel, images: Sequence[PoseImage], *, solver: SolverOptions, options: PoseOptions, starts: Tensor | None, angle: float,
    mirrors: Tensor | None, orbit: Orbit | None,
) -> Generator[SolverStep, None, tuple[Sequence[PoseImage], Scored]]:  # fmt: skip
    """Solve, again with what the pose says of a guessed foreground or of a mask's outline, and past what hides the object."""
    step: SolverStep | None = None
    for step in solve(model, images, options.weights, solver, starts=starts, start_angle=angle, mirrors=mirrors, orbit=orbit):
        yield step
    assert step is not None
    scored = step.scored
    told = [_relearned(model, image, scored.poses[0]) for image in images]
    if any(new is not old for new, old in zip(told, images)):
        around = scored.poses[: solver.kept[3]]
        for step in solve(model, told, options.weights, solver, starts=around, start_angle=0.0, orbit=orbit):
            yield step
        is_guess = any(not image.is_sharp for image in images)
        if is_guess or float(step.scored.cost.min()) < float(scored.cost.min()):  # the right outline is the one that the shape explains
            images, scored = told, step.scored
    scored = refine_past_hidden(model, images, options.weights, solver, scored, orbit=orbit)
    yield SolverStep(index=step.index + 1, name="what is hidden", scored=scored)
    return images, scored


def _symmetries(model: ObjectModel, given: Tensor | None, options: PoseOptions) -> Symmetries:
    found = find_symmetries(model, ignore_colors=options.symmetric)
    if given is None:
        return found
    motions = check_rigid(given.double(), name="symmetries", where="estimate_pose").reshape(-1, 4, 4)
    eye = torch.eye(4, dtype=torch.float64)
    turning = (motions - eye).abs().amax((1, 2)) > 1e-9
    return replace(found, motions=torch.cat([eye[None], motions[turning]]))


def _check_start(start: Tensor, model: ObjectModel) -> Tensor:
    pose = check_rigid(start.double(), name="start", where="estimate_pose")
    if pose.shape != (4, 4):
        raise ArgumentError(f"estimate_pose: `start` must be [4, 4], got {list(pose.shape)}")
    working = model.to_working(pose)
    if float(working[2, 3]) <= 0:
        raise ArgumentError(
            "estimate_pose: `start` has the object behind the camera (z <= 0); poses are camera_from_object with z forward (OpenCV axes)"
        )
    check_scale(model, float(working[:3, 3].norm()) * model.diameter, source="start", where="estimate_pose")
    return working


def _search(model: ObjectModel, image: PoseImage) -> Located:
    if image.depth is None:
        raise DataError("estimate_pose: nothing says where the object is; give a mask, a box, a depth image or a start")
    return locate(model, image)


def _box_of_start(model: ObjectModel, image: PoseImage, pose: Tensor) -> Box:
    box = box_of_pose(model, image, pose)
    if box is None:
        raise ArgumentError("estimate_pose: `start` shows nothing of the object in the image")
    return box


def _with_foreground(model: ObjectModel, image: PoseImage, given: PoseInput, starts: Tensor | None) -> PoseImage:
    """The image as it is with a mask; otherwise with a guess of the foreground in its box."""
    if given.mask is not None:
        return image
    prior = None
    if given.box is None and starts is not None:
        prior = 0.15 + 0.7 * shown_by(model, image, starts[0]).float()
    return guess_foreground(image, model, prior=prior)


def _relearned(model: ObjectModel, image: PoseImage, pose: Tensor) -> PoseImage:
    """A guessed foreground, guessed again from where a pose shows the object; a mask with its outline checked."""
    if image.is_sharp:
        return outline_by_pose(image, model, pose)
    if image.foreground is None:
        return image
    guessed = guess_foreground(image, model, prior=0.15 + 0.7 * shown_by(model, image, pose).float())
    return told_by_pose(guessed, model, pose)


def _answer(
    model: ObjectModel, images: Sequence[PoseImage], refined: Tensor, found: Symmetries, options: PoseOptions, certainty: float
) -> PoseEstimate:  # fmt: skip
    """Candidates without repetitions, with confidence and covariance; `certainty` (0 to 1) is that of the place."""
    sights = finest_sights(images, options.weights, model, options.solver)
    scored = judge(model, refined, sights)
    scored = replace(scored, cost=_with_depth(model, scored, sights))
    scored = scored.pick(scored.cost.argsort())
    poses = model.from_working(scored.poses)
    kept = [0]
    for i in range(1, len(poses)):
        angle, shift = symmetric_distance(poses[i], poses[kept], found.motions)
        if bool(((angle > _SAME_ANGLE) | (shift > _SAME_SHIFT * model.diameter)).all()):
            kept.append(i)
    scored = scored.pick(torch.tensor(kept[: options.alternatives]))
    share = torch.softmax(-scored.cost / _TEMPERATURE, 0)
    used = torch.stack([sight.weights for sight in sights]).sum(0) > 0
    candidates = []
    for i in range(len(scored.cost)):
        fit = goodness(scored, i, used)
        terms = {name: round(float(scored.terms[i, t]), 4) for t, name in enumerate(TERMS) if used[t]}
        candidates.append(PoseCandidate(
            camera_from_object=model.from_working(scored.poses[i]), confidence=certainty * fit * float(share[i]), fit=fit,
            cost=float(scored.cost[i]), terms=terms, covariance=_covariance(scored, i, model.diameter, len(images)),
        ))  # fmt: skip
    told_apart = bool(used[TERMS.index("depth")]) or (model.is_colored and bool(used[TERMS.index("color")]))
    doubt = 0.0 if told_apart else _DOUBT
    likely = tuple(c for i, c in enumerate(candidates) if i == 0 or share[i] > _LIKELY or c.cost < candidates[0].cost + doubt)
    return PoseEstimate(best=likely[0], candidates=likely, symmetries=found, diameter=model.diameter)


def _with_depth(model: ObjectModel, scored: Scored, sights: Sequence[Sight]) -> Tensor:
    """Costs [B] with one more term, of the weight that depth has: measurements that contradict a pose."""
    share = sum(float(sight.weights[TERMS.index("depth")] / sight.weights.sum()) for sight in sights) / len(sights)
    if share == 0:
        return scored.cost
    against = torch.stack([contradiction(model, sight, scored.poses) for sight in sights]).mean(0)
    return (scored.cost + share * against) / (1 + share)


def goodness(scored: Scored, index: int, used: Tensor) -> float:
    """How well a pose fits by itself, 0 to 1: the worst of what its terms say, each from the least that a right pose has to the most."""
    limits = {"region": (0.5, 0.1), "outline": (0.75, 0.25), "cover": (0.8, 0.35), "depth": (0.85, 0.35)}
    values = [1.0]
    for t, name in enumerate(TERMS):
        if name in limits and bool(used[t]) and float(scored.shares[index, t]) > 0.02:
            bad, good = limits[name]
            values.append(min(1.0, max(0.0, (bad - float(scored.terms[index, t])) / (bad - good))))
    return min(values)


def _best_fit(model: ObjectModel, images: Sequence[PoseImage], scored: Scored, options: PoseOptions) -> float:
    """`goodness` of the cheapest pose."""
    sights = finest_sights(images, options.weights, model, options.solver)
    used = torch.stack([sight.weights for sight in sights]).sum(0) > 0
    return goodness(scored, int(scored.cost.argmin()), used)


def _covariance(scored: Scored, index: int, diameter: float, image_count: int) -> Tensor:
    """Inverse curvature of the cost, scaled by its value, as in least squares."""
    cost = min(float(scored.cost[index]), 0.95)
    count = image_count * 300 / _CORRELATION
    matrix = scored.information[index]
    damped = matrix + 1e-9 * matrix.diagonal().amax().clamp(min=1e-12) * torch.eye(6, dtype=torch.float64)
    unit = torch.tensor([diameter] * 3 + [1.0] * 3, dtype=torch.float64)
    return torch.linalg.pinv(damped, hermitian=True) * (cost / (1 - cost) / count) * unit[:, None] * unit[None]
