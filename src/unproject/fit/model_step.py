"""One step of fitting a linear model: closest points, their weights, and a damped Gauss-Newton step of the parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.query import closest_point
from ..lie.so3 import so3_exp, so3_log
from .linear_model import LinearModel, model_jacobian, pose_model

_COARSE_SHARE = 0.1  # of the weight of the points before the fine stage: the prior leads
_DAMPED_TRIALS = 6
_INDEPENDENT = 60  # of the points that compare fits: neighbours err alike while the shape is not right yet
_COMPARED = 400  # points that compare fits
_SAME_SHAPE = 0.05  # of the model's size: median distance of the vertices of two fits that are one
_FLOOR = 1e-5  # of the model's size: points never count as more exact than this


@dataclass(frozen=True)
class Problem:
    """What stays the same: model and points in float64 about the scan's middle, prior precision [P, P], size of the model.

    landmarks: vertices [M], their positions [M, 3] and deviation.
    """

    model: LinearModel
    points: Tensor
    normals: Tensor | None
    landmarks: tuple[Tensor, Tensor, float] | None
    precision: Tensor
    size: float


@dataclass(frozen=True)
class State:
    """Parameters [P], damping, and what the last step measured."""

    parameters: Tensor
    damping: float = 1e-3
    cost: float = math.inf
    scatter: float = math.inf
    hessian: Tensor | None = None


def split_parameters(model: LinearModel, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """identity, expression, pose, translation."""
    sizes = [3 * model.joint_count, 3, model.identity_count, model.expression_count]
    pose, translation, identity, expression = parameters.split(sizes)
    return identity, expression, pose.view(-1, 3), translation


@dataclass(frozen=True)
class _Matches:
    """Points [N, 3], the corners [N, 3] of their closest faces with shares [N, 3], and the weight of a difference, [N, 3, 3]."""

    points: Tensor
    corners: Tensor
    shares: Tensor
    metric: Tensor
    spread: float


def _match(problem: Problem, vertices: Tensor, chosen: slice, stage: str) -> _Matches:
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


def _cost(problem: Problem, match: _Matches, parameters: Tensor, vertices: Tensor) -> float:
    """Negative log posterior with the matches held fixed."""
    off = (vertices[match.corners] * match.shares[..., None]).sum(1) - match.points
    value = torch.einsum("nc,ncd,nd->", off, match.metric, off) + parameters @ problem.precision @ parameters
    if problem.landmarks is not None:
        index, positions, deviation = problem.landmarks
        value = value + ((vertices[index] - positions) / deviation).square().sum()
    return 0.5 * float(value)


def _normal_equations(problem: Problem, match: _Matches, parameters: Tensor, vertices: Tensor, jacobian: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss-Newton matrix [P, P] and gradient [P] of `_cost`."""
    slope = torch.einsum("nk,nkcp->ncp", match.shares, jacobian[match.corners])
    off = (vertices[match.corners] * match.shares[..., None]).sum(1) - match.points
    weighted = match.metric @ slope
    hessian = problem.precision + torch.einsum("ncp,ncq->pq", weighted, slope)
    gradient = problem.precision @ parameters + torch.einsum("ncp,nc->p", weighted, off)
    if problem.landmarks is not None:
        index, positions, deviation = problem.landmarks
        rows, certainty = jacobian[index].flatten(0, 1), deviation**-2
        hessian = hessian + certainty * rows.T @ rows
        gradient = gradient + certainty * rows.T @ (vertices[index] - positions).flatten()
    return hessian, gradient


def take_step(problem: Problem, state: State, chosen: slice, stage: str) -> State:
    """One damped Gauss-Newton step with the matches of the present shape."""
    model = problem.model
    vertices, jacobian = model_jacobian(model, *split_parameters(model, state.parameters))
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
        after = _cost(problem, match, trial, pose_model(model, *split_parameters(model, trial)))
        if after <= before:
            wrapped = torch.cat([so3_log(so3_exp(trial[:3])), trial[3:]])
            return State(wrapped, max(damping / 4, 1e-6), after, match.spread, hessian)
        damping = 10 * damping
    return State(state.parameters, min(damping, 1e3), before, match.spread, hessian)


def state_vertices(problem: Problem, state: State) -> Tensor:
    """[V, 3] about the scan's middle."""
    return pose_model(problem.model, *split_parameters(problem.model, state.parameters))


def squared_distances(problem: Problem, state: State, count: int) -> Tensor:
    """[N] float64 of the first points to the surface."""
    hit = closest_point(problem.points[:count].float(), (state_vertices(problem, state).float(), problem.model.faces))
    return hit.squared_distance.double()


def unlikeliness(problem: Problem, state: State, count: int = _COMPARED) -> float:
    """Twice the negative log posterior, the scatter of the points unknown: by it fits are compared."""
    off = float(squared_distances(problem, state, count).clamp(max=(0.1 * problem.size) ** 2).mean())
    floor = (_FLOOR * problem.size) ** 2
    return _INDEPENDENT * math.log(off + floor) + float(state.parameters @ problem.precision @ state.parameters)


def distinct_states(problem: Problem, states: list[State], *, most: int) -> list[int]:
    """Indices of up to so many states, in the given order, that differ as shapes do: most vertices lie elsewhere."""
    chosen: list[tuple[int, Tensor]] = []
    for i, state in enumerate(states):
        vertices = state_vertices(problem, state)
        if all(float((vertices - other).norm(dim=1).median()) > _SAME_SHAPE * problem.size for _, other in chosen):
            chosen.append((i, vertices))
        if len(chosen) == most:
            break
    return [i for i, _ in chosen]
