"""Fitting a linear model to a point cloud: pose, identity and expression by Gauss-Newton on closest points, coarse to fine.

The estimate is that of the greatest posterior probability: distances in units of how the points scatter, coefficients weighed by their
covariance. Points pull on the closest place of the surface, so what a partial scan does not show is what the model holds for likely.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import ArgumentError, DataError, check_indices, check_shape
from ..geometry.bvh import build_bvh
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud
from ..geometry.query import closest_point
from ..lie.so3 import so3_exp, so3_log
from ..register.umeyama import umeyama
from ..struct import TensorStruct
from .linear_model import LinearModel, check_model, model_jacobian, pose_model

_LEAST_POINTS = 12
_START_POINTS, _START_STEPS, _STARTS, _TRIAL_STEPS = 400, 3, 72, 6
_INDEPENDENT = 60  # of the points of a start: neighbours err alike while the shape is not right yet
_ROUNDS = (24, 8, 3, 1)  # starts that are left after each round of trials
_COARSE_SHARE = 0.1  # of the weight of the points before the fine stage: the prior leads
_DAMPED_TRIALS = 6
_SAME = 0.3  # difference of rotation matrices below which two starts are one
_LARGEST_RATIO = 20.0  # of the sizes of scan and model before another unit is suspected
_LANDMARK_SHARE = 0.01  # of the model's size: deviation of landmarks that have none given
_FLOOR = 1e-5  # of the model's size: points never count as more exact than this


@dataclass(frozen=True, kw_only=True)
class Landmarks(TensorStruct):
    """Points whose vertex is known.

    Attributes:
        vertices: [M] of the model.
        positions: [M, 3] in the scan's frame.
        deviation: how exact the positions are, scene units; by default 1 % of the model's size.
    """

    vertices: Tensor
    positions: Tensor
    deviation: float | None = None


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
class FitModelStep(TensorStruct):
    """One step of `fit_model`: the parameters so far.

    Attributes:
        stage: "rigid", "coarse" or "fine". index: from 1 to `total`.
        cost: negative log posterior, up to a constant. scatter: robust deviation of the points from the surface, scene units.
        inliers: share of the points within 3 % of the model's size of the surface.
        identity, expression, pose, translation: float64, see `pose_model`.
        covariance: [P, P] of (pose, translation, identity, expression) if the points' errors were independent; a lower bound for sensors.
        mesh: the fitted model in the scan's frame.
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


@dataclass(frozen=True)
class _Problem:
    """What stays the same: model and points in float64 about the scan's middle, prior precision [P, P], size of the model."""

    model: LinearModel
    points: Tensor
    normals: Tensor | None
    landmarks: Landmarks | None
    precision: Tensor
    size: float


@dataclass(frozen=True)
class _State:
    """Parameters [P], damping, and what the last step measured."""

    parameters: Tensor
    damping: float = 1e-3
    cost: float = math.inf
    scatter: float = math.inf
    hessian: Tensor | None = None


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
    state = _State(_start(problem, options))
    counts = {"rigid": options.rigid_steps, "coarse": options.coarse_steps, "fine": options.fine_steps}
    total, done = sum(counts.values()), 0
    for stage, count in counts.items():
        state = replace(state, damping=1e-3)
        samples = options.samples if stage == "fine" else max(options.samples // 3, _LEAST_POINTS)
        for _ in range(count):
            state = _step(problem, state, slice(0, samples), stage)  # the same points, in random order: a stage converges
            done += 1
            yield _result(problem, state, middle, stage, done, total, last=done == total)


def _prepare(
    points: PointCloud | Tensor, model: LinearModel, landmarks: Landmarks | None, covariance: Tensor | None, options: FitModelOptions
) -> tuple[_Problem, Tensor]:
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
    if landmarks is not None:
        check_shape(landmarks.vertices, ["M"], name="landmarks.vertices", where=where, integer=True)
        check_indices(landmarks.vertices, model.vertex_count, name="landmarks.vertices", where=where)
        check_shape(landmarks.positions, [len(landmarks.vertices), 3], name="landmarks.positions", where=where, finite=True)
        deviation = _LANDMARK_SHARE * size if landmarks.deviation is None else landmarks.deviation
        if not deviation > 0:
            raise ArgumentError(f"{where}: `landmarks.deviation` must be above 0, got {deviation}")
        landmarks = Landmarks(vertices=landmarks.vertices.long(), positions=landmarks.positions.double() - middle, deviation=deviation)
    normals = points.normals.double() if isinstance(points, PointCloud) and points.normals is not None else None
    order = torch.randperm(len(positions), generator=torch.Generator().manual_seed(options.seed))
    shuffled = None if normals is None else normals[order]
    precision = _precision(model, covariance, options.pose_deviation)
    return _Problem(model.to(torch.float64), positions[order] - middle, shuffled, landmarks, precision, size), middle


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


def _split(model: LinearModel, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """identity, expression, pose, translation."""
    sizes = [3 * model.joint_count, 3, model.identity_count, model.expression_count]
    pose, translation, identity, expression = parameters.split(sizes)
    return identity, expression, pose.view(-1, 3), translation


def _start(problem: _Problem, options: FitModelOptions) -> Tensor:
    """Parameters from the landmarks, or the best of many turns: rigid ICP of them all, then some coarse steps of the most likely."""
    marks = problem.landmarks
    if marks is not None and len(marks.vertices) >= 3:
        source = problem.model.mean[marks.vertices]
        if float(torch.linalg.svdvals(source - source.mean(0))[1]) > 1e-3 * problem.size:
            return _rigid_parameters(problem.model, umeyama(source, marks.positions))
    states = [_State(_rigid_parameters(problem.model, motion)) for motion in _turned_starts(problem)]
    for kept in _ROUNDS:  # the unlikely half and more leave before they cost much
        states = [_trial(problem, state) for state in states]
        states = sorted(states, key=lambda state: _unlikeliness(problem, state))[:kept]
    return states[0].parameters


def _trial(problem: _Problem, state: _State) -> _State:
    for number in range(_TRIAL_STEPS):
        rigid = state.hessian is None or number == 0
        state = _step(problem, state, slice(0, _START_POINTS), "rigid" if rigid else "coarse")
    return state


def _turned_starts(problem: _Problem) -> list[Tensor]:
    """scan_from_model [4, 4] of rigid ICP from turns all about, the different ones, those nearest to the points first."""
    mean, faces = problem.model.mean, problem.model.faces
    points = problem.points[:_START_POINTS]
    used = mean[faces.unique()]
    turns = _turns()
    model_from_scan = torch.eye(4, dtype=torch.float64).repeat(len(turns), 1, 1)
    model_from_scan[:, :3, :3] = turns
    model_from_scan[:, :3, 3] = (used.amin(0) + used.amax(0)) / 2 - turns @ ((points.quantile(0.02, 0) + points.quantile(0.98, 0)) / 2)
    tree = build_bvh(mean.float(), faces)
    squared = torch.zeros(len(turns), len(points), dtype=torch.float64)
    for _ in range(_START_STEPS):
        moved = points @ model_from_scan[:, :3, :3].mT + model_from_scan[:, None, :3, 3]
        hit = closest_point(moved.float(), (mean.float(), faces), bvh=tree)
        squared = hit.squared_distance.double()
        scale = (4 * squared.median(1, keepdim=True).values).clamp_min((1e-3 * problem.size) ** 2)
        model_from_scan = umeyama(points.expand_as(moved), hit.point.double(), (1 + squared / scale) ** -2)
    order = squared.clamp(max=(0.2 * problem.size) ** 2).mean(1).argsort()
    found: list[Tensor] = []
    for motion in torch.linalg.inv(model_from_scan)[order]:
        if all(float((motion[:3, :3] - other[:3, :3]).norm()) > _SAME for other in found):
            found.append(motion)
    return found[:_STARTS]


def _turns() -> Tensor:
    """[72, 3, 3] rotations all about: those of a cube, and these turned further by 35 degrees about two axes."""
    found = []
    for order in ((0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1), (2, 1, 0), (1, 0, 2)):
        for signs in range(8):
            matrix = torch.zeros(3, 3, dtype=torch.float64)
            for row, column in enumerate(order):
                matrix[row, column] = -1.0 if signs >> row & 1 else 1.0
            if float(torch.linalg.det(matrix)) > 0:
                found.append(matrix)
    cube = torch.stack(found)
    further = so3_exp(torch.tensor([[0.35, 0.35, 0.35], [-0.4, 0.45, 0.1]], dtype=torch.float64))
    return torch.cat([cube, cube @ further[0], cube @ further[1]])


def _rigid_parameters(model: LinearModel, scan_from_model: Tensor) -> Tensor:
    """Parameters of the mean shape moved as a whole."""
    parameters = scan_from_model.new_zeros(model.parameter_count)
    rotation, shift = scan_from_model[:3, :3], scan_from_model[:3, 3]
    root = shift.new_zeros(3) if model.skinning is None else model.skinning.joint_regressor[0] @ model.mean
    parameters[:3] = so3_log(rotation)
    parameters[3 * model.joint_count : 3 * model.joint_count + 3] = shift + rotation @ root - root
    return parameters


@dataclass(frozen=True)
class _Matches:
    """Points [N, 3], the corners [N, 3] of their closest faces with shares [N, 3], and the weight of a difference, [N, 3, 3]."""

    points: Tensor
    corners: Tensor
    shares: Tensor
    metric: Tensor
    spread: float


def _match(problem: _Problem, vertices: Tensor, chosen: slice, stage: str) -> _Matches:
    """Closest places of the surface, weighted by how far they are beside the others, and how little a shift along the surface counts."""
    faces, points = problem.model.faces, problem.points[chosen]
    hit = closest_point(points.float(), (vertices.float(), faces))
    corners, shares = faces[hit.face], hit.barycentrics.double()
    a, b, c = vertices[corners].unbind(1)
    normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)
    squared = (points - (vertices[corners] * shares[..., None]).sum(1)).square().sum(1)
    spread = max(1.4826 * math.sqrt(float(squared.median())), _FLOOR * problem.size)
    scale = 3 * spread if stage == "fine" else max(4 * spread, 0.05 * problem.size)
    weight = (1 + squared / scale**2) ** -2
    if problem.normals is not None and stage == "fine":
        weight = weight * ((problem.normals[chosen] * normal).sum(1).abs() > 0.3)
    weight = weight * ((1.0 if stage == "fine" else _COARSE_SHARE) / spread**2)
    slide = 0.2 if stage == "rigid" else 0.02
    across = normal[:, :, None] * normal[:, None]
    metric = weight[:, None, None] * ((1 - slide) * across + slide * torch.eye(3, dtype=torch.float64))
    return _Matches(points, corners, shares, metric, spread)


def _cost(problem: _Problem, match: _Matches, parameters: Tensor, vertices: Tensor) -> float:
    """Negative log posterior with the matches held fixed."""
    off = (vertices[match.corners] * match.shares[..., None]).sum(1) - match.points
    value = torch.einsum("nc,ncd,nd->", off, match.metric, off) + parameters @ problem.precision @ parameters
    marks = problem.landmarks
    if marks is not None and marks.deviation is not None:
        value = value + ((vertices[marks.vertices] - marks.positions) / marks.deviation).square().sum()
    return 0.5 * float(value)


def _normal_equations(problem: _Problem, match: _Matches, parameters: Tensor, vertices: Tensor, jacobian: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss-Newton matrix [P, P] and gradient [P] of `_cost`."""
    slope = torch.einsum("nk,nkcp->ncp", match.shares, jacobian[match.corners])
    off = (vertices[match.corners] * match.shares[..., None]).sum(1) - match.points
    weighted = match.metric @ slope
    hessian = problem.precision + torch.einsum("ncp,ncq->pq", weighted, slope)
    gradient = problem.precision @ parameters + torch.einsum("ncp,nc->p", weighted, off)
    marks = problem.landmarks
    if marks is not None and marks.deviation is not None:
        rows, certainty = jacobian[marks.vertices].flatten(0, 1), marks.deviation**-2
        hessian = hessian + certainty * rows.T @ rows
        gradient = gradient + certainty * rows.T @ (vertices[marks.vertices] - marks.positions).flatten()
    return hessian, gradient


def _step(problem: _Problem, state: _State, chosen: slice, stage: str) -> _State:
    """One damped Gauss-Newton step with the matches of the present shape."""
    model = problem.model
    vertices, jacobian = model_jacobian(model, *_split(model, state.parameters))
    match = _match(problem, vertices, chosen, stage)
    hessian, gradient = _normal_equations(problem, match, state.parameters, vertices, jacobian)
    free = slice(None) if stage != "rigid" else [0, 1, 2, *range(3 * model.joint_count, 3 * model.joint_count + 3)]
    before, damping = _cost(problem, match, state.parameters, vertices), state.damping
    for _ in range(_DAMPED_TRIALS):
        move = torch.zeros_like(gradient)
        system = hessian[free][:, free]
        system = system + torch.diag(damping * system.diagonal() + 1e-9 * system.diagonal().max())
        move[free] = -torch.linalg.solve(system, gradient[free])
        trial = state.parameters + move
        after = _cost(problem, match, trial, pose_model(model, *_split(model, trial)))
        if after <= before:
            wrapped = torch.cat([so3_log(so3_exp(trial[:3])), trial[3:]])
            return _State(wrapped, max(damping / 4, 1e-6), after, match.spread, hessian)
        damping = 10 * damping
    return _State(state.parameters, min(damping, 1e3), before, match.spread, hessian)


def _distances(problem: _Problem, state: _State, count: int) -> Tensor:
    vertices = pose_model(problem.model, *_split(problem.model, state.parameters))
    return closest_point(problem.points[:count].float(), (vertices.float(), problem.model.faces)).squared_distance.double()


def _unlikeliness(problem: _Problem, state: _State) -> float:
    """Twice the negative log posterior of a start, its scatter unknown: by it starts are compared."""
    off = float(_distances(problem, state, _START_POINTS).clamp(max=(0.1 * problem.size) ** 2).mean())
    floor = (_FLOOR * problem.size) ** 2
    return _INDEPENDENT * math.log(off + floor) + float(state.parameters @ problem.precision @ state.parameters)


def _result(problem: _Problem, state: _State, middle: Tensor, stage: str, index: int, total: int, *, last: bool) -> FitModelStep:
    model = problem.model
    identity, expression, pose, translation = _split(model, state.parameters)
    near = _distances(problem, state, _START_POINTS if not last else len(problem.points)) < (0.03 * problem.size) ** 2
    inliers = float(near.double().mean())
    if last and inliers < 0.5:
        raise DataError(
            f"fit_model: only {inliers:.0%} of the points lie near the fitted model; another shape, another unit, or give landmarks"
        )
    assert state.hessian is not None
    floor = 1e-12 * float(state.hessian.diagonal().max())
    covariance = torch.linalg.inv(state.hessian + floor * torch.eye(len(state.hessian), dtype=torch.float64))
    vertices = pose_model(model, identity, expression, pose, translation) + middle
    return FitModelStep(
        stage=stage, index=index, total=total, cost=state.cost, scatter=state.scatter, inliers=inliers, identity=identity,
        expression=expression, pose=pose, translation=translation + middle, covariance=covariance,
        mesh=Mesh(vertices=vertices, faces=model.faces),
    )  # fmt: skip
