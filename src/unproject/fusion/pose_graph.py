"""Pose graphs: the poses that agree best with measured motions between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import ArgumentError, check_indices, check_shape
from ..lie.se3 import se3_adjoint, se3_exp, se3_inverse, se3_left_jacobian_inverse, se3_log
from ..struct import TensorStruct

_ROBUST_CHI2 = 16.8  # 99 % of the squared errors of six normal components are below


@dataclass(frozen=True, kw_only=True)
class PoseEdges(TensorStruct):
    """Measured motions between poses.

    Attributes:
        first, second: [E] pose indices.
        first_from_second: [E, 4, 4] rigid, the measurement.
        information: [E, 6, 6] inverse covariance of its error as a tangent (translation, rotation) on its left.
        robust: [E] whether the measurement may be wrong altogether (a loop closure); then it loses weight as it disagrees.
    """

    first: Int[Tensor, "E"]
    second: Int[Tensor, "E"]
    first_from_second: Float[Tensor, "E 4 4"]
    information: Float[Tensor, "E 6 6"]
    robust: Bool[Tensor, "E"]


@dataclass(frozen=True, kw_only=True)
class PoseGraphResult:
    """Attributes:
    poses: [N, 4, 4] world_from_pose.
    weights: [E] in [0, 1], what each edge counted in the end; near 0 for a robust one that disagrees with the rest.
    cost: half the weighted sum of squared errors.
    iterations: steps taken.
    """

    poses: Tensor
    weights: Tensor
    cost: float
    iterations: int


def optimize_pose_graph(
    poses: Float[Tensor, "N 4 4"], edges: PoseEdges, *, fixed: int = 0, iterations: int = 50, tolerance: float = 1e-9
) -> PoseGraphResult:
    """Move poses so that they agree with the edges: Levenberg-Marquardt on SE(3), sparse.

    Args:
        poses: world_from_pose, where to start. Poses without a path of edges to the fixed one stay where they are relative to each other.
        fixed: the pose that does not move.

    Raises:
        ArgumentError: shapes or indices.

    Source: Grisetti et al. 2010 (a tutorial on graph-based SLAM); Geman-McClure weights.
    """
    _check(poses, edges, fixed)
    current = poses.detach().to("cpu", torch.float64)
    edges = edges.to("cpu").to(torch.float64)
    if edges.first.shape[0] == 0:
        return PoseGraphResult(poses=current.to(poses), weights=poses.new_ones(0), cost=0.0, iterations=0)
    damping, steps = 1e-6, 0
    cost, weight = _cost(current, edges)
    while steps < iterations:
        steps += 1
        hessian, gradient = _normal_equations(current, edges, weight, fixed)
        accepted = False
        while not accepted and damping < 1e6:
            move = _solve(hessian, gradient, damping)
            candidate = current @ se3_exp(move)
            new_cost, new_weight = _cost(candidate, edges)
            accepted = new_cost <= cost
            damping = max(damping / 10, 1e-9) if accepted else damping * 10
        if not accepted:
            break
        done = cost - new_cost <= tolerance * max(cost, 1e-12)
        current, cost, weight = candidate, new_cost, new_weight
        if done:
            break
    return PoseGraphResult(poses=current.to(poses), weights=weight.to(poses), cost=cost, iterations=steps)


def _check(poses: Tensor, edges: PoseEdges, fixed: int) -> None:
    where = "optimize_pose_graph"
    check_shape(poses, ["N", 4, 4], name="poses", where=where, finite=True)
    count = edges.first.shape[0]
    check_shape(edges.first_from_second, [count, 4, 4], name="edges.first_from_second", where=where, finite=True)
    check_shape(edges.information, [count, 6, 6], name="edges.information", where=where, finite=True)
    check_indices(edges.first, poses.shape[0], name="edges.first", where=where)
    check_indices(edges.second, poses.shape[0], name="edges.second", where=where)
    if not 0 <= fixed < poses.shape[0]:
        raise ArgumentError(f"{where}: `fixed` must lie in 0 to {poses.shape[0] - 1}, got {fixed}")


def _errors(poses: Tensor, edges: PoseEdges) -> tuple[Tensor, Tensor]:
    """Tangents from the measurements to what the poses say, and what they say."""
    said = se3_inverse(poses[edges.first]) @ poses[edges.second]
    return se3_log(said @ se3_inverse(edges.first_from_second)), said


def _cost(poses: Tensor, edges: PoseEdges) -> tuple[float, Tensor]:
    error, _ = _errors(poses, edges)
    chi2 = (error[:, None] @ edges.information @ error[..., None]).reshape(-1)
    share = _ROBUST_CHI2 / (_ROBUST_CHI2 + chi2)
    cost = torch.where(edges.robust, chi2 * share, chi2)
    return float(cost.sum()) / 2, torch.where(edges.robust, share.square(), 1.0)


def _normal_equations(poses: Tensor, edges: PoseEdges, weight: Tensor, fixed: int):
    from scipy.sparse import coo_matrix

    error, said = _errors(poses, edges)
    of_first = -se3_left_jacobian_inverse(error)
    of_second = -of_first @ se3_adjoint(said)
    information = edges.information * weight[:, None, None]
    jacobians = ((edges.first, of_first), (edges.second, of_second))
    size = 6 * poses.shape[0]
    rows, columns, values, gradient = [], [], [], np.zeros(size)
    offset = torch.arange(6)
    for index, jacobian in jacobians:
        flow = (jacobian.mT @ information @ error[..., None])[..., 0]
        np.add.at(gradient, (6 * index[:, None] + offset).numpy(), flow.numpy())
        for other, other_jacobian in jacobians:
            block = jacobian.mT @ information @ other_jacobian
            rows.append((6 * index[:, None, None] + offset[:, None]).expand_as(block).reshape(-1).numpy())
            columns.append((6 * other[:, None, None] + offset).expand_as(block).reshape(-1).numpy())
            values.append(block.reshape(-1).numpy())
    hold = np.arange(6 * fixed, 6 * fixed + 6)
    largest = max(float(np.abs(v).max()) for v in values)
    for entries, item in ((rows, hold), (columns, hold), (values, np.full(6, 1e9 * largest))):
        entries.append(item)
    matrix = coo_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (size, size)).tocsc()
    return matrix, gradient


def _solve(hessian, gradient: np.ndarray, damping: float) -> Tensor:
    from scipy.sparse import diags
    from scipy.sparse.linalg import spsolve

    diagonal = hessian.diagonal()
    damped = hessian + diags(damping * diagonal + 1e-12 * diagonal.max())
    return torch.from_numpy(spsolve(damped.tocsc(), -gradient)).reshape(-1, 6)
