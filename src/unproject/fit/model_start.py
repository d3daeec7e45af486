"""Where to begin fitting a linear model: from landmarks, or from turns all about, of which the likely ones are kept."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.bvh import build_bvh
from ..geometry.query import closest_point
from ..geometry.umeyama import umeyama
from ..lie.so3 import so3_exp, so3_log
from .linear_model import LinearModel
from .model_step import Problem, State, distinct_states, take_step, unlikeliness

_POINTS, _RIGID_STEPS, _STEPS = 400, 3, 6  # of a trial
_ROUNDS = (24, 8, 4)  # starts that are left after each round of trials
_SAME = 0.3  # difference of rotation matrices below which two starts are one


def model_starts(problem: Problem) -> list[State]:
    """The states from which to fit, the likeliest first: one if landmarks tell it, else up to four.

    Rigid ICP from turns all about, then some coarse steps of those that are likely so far.
    """
    if problem.landmarks is not None and len(problem.landmarks[0]) >= 3:
        index, positions, _ = problem.landmarks
        source = problem.model.mean[index]
        if float(torch.linalg.svdvals(source - source.mean(0))[1]) > 1e-3 * problem.size:
            return [State(_rigid_parameters(problem.model, umeyama(source, positions)))]
    states = [State(_rigid_parameters(problem.model, motion)) for motion in _turned_starts(problem)]
    for kept in _ROUNDS:  # the unlikely ones leave before they cost much
        ranked = sorted((_trial(problem, state) for state in states), key=lambda state: unlikeliness(problem, state))
        states = [ranked[i] for i in distinct_states(problem, ranked, most=kept)]
    return states


def _trial(problem: Problem, state: State) -> State:
    for number in range(_STEPS):
        rigid = state.hessian is None or number == 0
        state = take_step(problem, state, slice(0, _POINTS), "rigid" if rigid else "coarse")
    return state


def _turned_starts(problem: Problem) -> list[Tensor]:
    """scan_from_model [4, 4] of rigid ICP from turns all about, the different ones, those nearest to the points first."""
    mean, faces = problem.model.mean, problem.model.faces
    points = problem.points[:_POINTS]
    used = mean[faces.unique()]
    turns = _turns()
    model_from_scan = torch.eye(4, dtype=torch.float64).repeat(len(turns), 1, 1)
    model_from_scan[:, :3, :3] = turns
    model_from_scan[:, :3, 3] = (used.amin(0) + used.amax(0)) / 2 - turns @ ((points.quantile(0.02, 0) + points.quantile(0.98, 0)) / 2)
    tree = build_bvh(mean.float(), faces)
    squared = torch.zeros(len(turns), len(points), dtype=torch.float64)
    for _ in range(_RIGID_STEPS):
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
    return found


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
