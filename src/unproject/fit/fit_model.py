"""Fitting a linear model to a point cloud: pose, identity and expression by Gauss-Newton on closest points, coarse to fine.

The estimate is that of the greatest posterior probability: distances in units of how the points scatter, coefficients weighed by their
covariance. Points pull on the closest place of the surface, so what a partial scan does not show is what the model holds for likely.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError, DataError, check_shape
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud
from ..struct import TensorStruct
from .landmarks import Landmarks, prepare_landmarks
from .linear_model import LinearModel, check_model, pose_model
from .model_start import model_starts
from .model_step import Problem, State, distinct_states, split_parameters, squared_distances, take_step, unlikeliness

_LEAST_POINTS = 12
_LARGEST_RATIO = 20.0  # of the sizes of scan and model before another unit is suspected
_LEAST_ODDS = 1e-3  # of an alternative beside the result
_PROGRESS_POINTS = 400  # that tell the share of inliers before the last step


@dataclass(frozen=True, kw_only=True)
class FitModelOptions:
    """How a model is fitted."""

    rigid_steps: int = 8
    """Steps that only move the whole."""
    coarse_steps: int = 16
    """Steps of all parameters with few points and a strong prior."""
    fine_steps: int = 16
    """Steps with more points and the prior as it is."""
    samples: int = 3000
    """Most points of the scan in a fine step (coarse ones: a third)."""
    pose_deviation: float = 0.4
    """Standard deviation of each entry of the joints' rotation vectors, radians; the root's are free."""
    seed: int = 0
    """Seed of the choice of points."""


@dataclass(frozen=True, kw_only=True)
class ModelAlternative(TensorStruct):
    """Another fit that explains the scan nearly as well, such as a round head turned around.

    Attributes:
        odds: how likely it is beside the result, up to 1, if about 60 of the points err independently.
        identity, expression, pose, translation, mesh: as in `FitModelStep`.
    """

    odds: float
    identity: Tensor
    expression: Tensor
    pose: Tensor
    translation: Tensor
    mesh: Mesh


@dataclass(frozen=True, kw_only=True)
class FitModelStep(TensorStruct):
    """One step of `fit_model`: the parameters so far.

    Attributes:
        stage: "rigid", "coarse" or "fine". index: from 1 to `total`.
        cost: negative log posterior, up to a constant. scatter: robust deviation of the points from the surface, scene units.
        inliers: share of the points within 3 % of the model's size of the surface.
        identity, expression, pose, translation: float64, see `pose_model`.
        covariance: [P, P] of (pose, translation, identity, expression) if the points' errors were independent; a lower bound for sensors.
        mesh: the fitted model in the scan's frame.
        alternatives: other fits that explain the scan nearly as well, likeliest first; only in the last step, and only if the start was
            searched for. The last step is the likeliest of them, which may not be where the steps before it went.
    """

    stage: str
    index: int
    total: int
    cost: float
    scatter: float
    inliers: float
    identity: Tensor
    expression: Tensor
    pose: Tensor
    translation: Tensor
    covariance: Tensor
    mesh: Mesh
    alternatives: tuple[ModelAlternative, ...] = ()


def fit_model(
    points: PointCloud | Tensor,
    model: LinearModel,
    landmarks: Landmarks | None = None,
    *,
    covariance: Tensor | None = None,
    options: FitModelOptions = FitModelOptions(),
) -> Iterator[FitModelStep]:
    """Fit a model's pose, identity and expression to a cloud, which may be noisy and partial.

    Args:
        points: the scan, in the model's unit, anywhere. Normals, if it has them, reject matches with surfaces that face elsewhere.
        model: what is fitted.
        landmarks: known vertices; three or more that are not in a line also give the start. Without, many turns are tried.
        covariance: [D, D] of (rotation vectors of the joints but the root 3 (J - 1), identity K, expression L); by default diagonal, from
            `options.pose_deviation` and the model's deviations.

    Yields:
        FitModelStep; the last one is the result.

    Raises:
        ArgumentError: shapes, values that are not finite, a covariance that is not positive.
        DataError: too few points, a scan of another size than the model (another unit?), or one that the model does not explain.

    Source: Amberg, Knothe and Vetter 2008; the prior as in Blanz and Vetter 1999.
    """
    problem, middle = _prepare(points, model, landmarks, covariance, options)
    first, *others = model_starts(problem)
    total, done, state, stage = options.rigid_steps + options.coarse_steps + options.fine_steps, 0, first, "rigid"
    for done, (stage, state) in enumerate(_stages(problem, first, options), 1):
        if done < total:
            yield _result(problem, state, middle, stage, done, total)
    fits = [state]
    for other in others:
        *_, (_, fitted) = _stages(problem, other, options)
        fits.append(fitted)
    yield _best(problem, fits, middle, stage, total)


def _stages(problem: Problem, start: State, options: FitModelOptions) -> Iterator[tuple[str, State]]:
    """The stage and the state after each step."""
    state = start
    for stage, count in (("rigid", options.rigid_steps), ("coarse", options.coarse_steps), ("fine", options.fine_steps)):
        state = replace(state, damping=1e-3)
        samples = options.samples if stage == "fine" else max(options.samples // 3, _LEAST_POINTS)
        for _ in range(count):
            state = take_step(problem, state, slice(0, samples), stage)  # the same points, in random order: a stage converges
            yield stage, state


def _best(problem: Problem, fits: list[State], middle: Tensor, stage: str, total: int) -> FitModelStep:
    """The last step: the likeliest fit, and the others that are different and nearly as likely."""
    ranked = sorted(((unlikeliness(problem, state, len(problem.points)), state) for state in fits), key=lambda pair: pair[0])
    least, best = ranked[0]
    result = _result(problem, best, middle, stage, total, total)
    if result.inliers < 0.5:
        raise DataError(
            f"fit_model: only {result.inliers:.0%} of the points lie near the fitted model; another shape, another unit, or give landmarks"
        )
    alternatives = []
    for i in distinct_states(problem, [state for _, state in ranked], most=len(ranked))[1:]:
        odds = math.exp(0.5 * (least - ranked[i][0]))
        if odds >= _LEAST_ODDS:
            alternatives.append(ModelAlternative(odds=odds, **_parts(problem, ranked[i][1], middle)))
    return replace(result, alternatives=tuple(alternatives))


def _prepare(
    points: PointCloud | Tensor, model: LinearModel, landmarks: Landmarks | None, covariance: Tensor | None, options: FitModelOptions
) -> tuple[Problem, Tensor]:
    where = "fit_model"
    check_model(model, where=where)
    if min(options.rigid_steps, options.coarse_steps, options.fine_steps) < 1 or options.samples < _LEAST_POINTS:
        raise ArgumentError(f"{where}: every stage needs at least 1 step and {_LEAST_POINTS} samples")
    positions = check_shape(
        points.positions if isinstance(points, PointCloud) else points, ["N", 3], name="points", where=where, finite=True
    )
    if len(positions) < _LEAST_POINTS:
        raise DataError(f"{where}: {len(positions)} points are too few, at least {_LEAST_POINTS} are needed")
    positions = positions.double()
    middle = positions.median(0).values
    spread, size = _diameter(positions), _diameter(model.mean.double())
    if not size / _LARGEST_RATIO < spread < size * _LARGEST_RATIO:
        raise DataError(f"{where}: the scan is {spread:.3g} across, the model {size:.3g}; are they in different units (mm and m)?")
    marks = prepare_landmarks(landmarks, vertex_count=model.vertex_count, middle=middle, size=size, where=where)
    normals = points.normals.double() if isinstance(points, PointCloud) and points.normals is not None else None
    order = torch.randperm(len(positions), generator=torch.Generator().manual_seed(options.seed))
    shuffled = None if normals is None else normals[order]
    precision = _precision(model, covariance, options.pose_deviation)
    return Problem(model.to(torch.float64), positions[order] - middle, shuffled, marks, precision, size), middle


def _diameter(points: Tensor) -> float:
    """Twice the root mean square distance from the middle: the size of a shape that few outliers hardly change."""
    squared = (points - points.median(0).values).square().sum(1).sort().values
    return 2 * math.sqrt(float(squared[: max(1, int(0.98 * len(squared)))].mean()))


def _precision(model: LinearModel, covariance: Tensor | None, pose_deviation: float) -> Tensor:
    """[P, P] the inverse covariance of all parameters; zero for the motion of the whole."""
    bones = 3 * (model.joint_count - 1)
    if not pose_deviation > 0:
        raise ArgumentError(f"fit_model: `pose_deviation` must be above 0, got {pose_deviation}")
    deviations = torch.cat(
        [torch.full((bones,), pose_deviation, dtype=torch.float64), model.identity_deviation.double(), model.expression_deviation.double()]
    )
    if covariance is None:
        inner = torch.diag(deviations**-2)
    else:
        check_shape(covariance, [len(deviations), len(deviations)], name="covariance", where="fit_model", finite=True)
        factor, failed = torch.linalg.cholesky_ex(covariance.double())
        if int(failed) or not torch.allclose(covariance, covariance.mT, rtol=1e-4):
            raise ArgumentError("fit_model: `covariance` must be symmetric and positive definite")
        inner = torch.cholesky_inverse(factor)
    precision = torch.zeros(model.parameter_count, model.parameter_count, dtype=torch.float64)
    kept = torch.tensor([*range(3, 3 + bones), *range(bones + 6, model.parameter_count)], dtype=torch.int64)
    precision[kept[:, None], kept] = inner
    return precision


def _parts(problem: Problem, state: State, middle: Tensor) -> dict[str, Any]:
    """Parameters and mesh in the scan's frame."""
    identity, expression, pose, translation = split_parameters(problem.model, state.parameters)
    vertices = pose_model(problem.model, identity, expression, pose, translation) + middle
    mesh = Mesh(vertices=vertices, faces=problem.model.faces)
    return {"identity": identity, "expression": expression, "pose": pose, "translation": translation + middle, "mesh": mesh}


def _result(problem: Problem, state: State, middle: Tensor, stage: str, index: int, total: int) -> FitModelStep:
    counted = len(problem.points) if index == total else _PROGRESS_POINTS
    near = squared_distances(problem, state, counted) < (0.03 * problem.size) ** 2
    assert state.hessian is not None
    floor = 1e-12 * float(state.hessian.diagonal().max())
    covariance = torch.linalg.inv(state.hessian + floor * torch.eye(len(state.hessian), dtype=torch.float64))
    return FitModelStep(
        stage=stage, index=index, total=total, cost=state.cost, scatter=state.scatter, inliers=float(near.double().mean()),
        covariance=covariance, **_parts(problem, state, middle),
    )  # fmt: skip
