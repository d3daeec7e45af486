"""Robust solves for the implicit function with one smoothing length.

The estimate is a smoothing spline: with the smoothing length l, structures shorter than about 2 pi l are taken for noise. Normals that came
with the points weigh as much as those around agree with the result; estimated ones are only a start: afterwards the function's own slope
is used, of length 1, as of a distance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..geometry.neighbors import knn
from ..struct import TensorStruct
from .implicit import FieldData, Lattice, bending, interpolate, prepare_data, solve_implicit

SHORTEST = 0.3  # cells: a smoothing length below has no effect on the lattice
ROUNDS = (0.5, 0.7, 1.0, 1.0, 1.0, 1.0)  # solves with new weights for the final estimate, and factors of the smoothing length in each
_CUTOFF = 5.0  # residuals beyond this many standard deviations hardly count
_SLOPE_CUTOFF = 0.5  # least difference of normals, which have length 1, that makes one doubtful
_AROUND = 16  # points that tell together how far normals can be trusted
_REACH = (0.5, 20.0)  # point spacings: limits of the distance over which a normal speaks
_LEAST = 1.5  # deviations of the points as they came, or spacings if those are less: it speaks over these at least
_TOLERANCE, _POLISH_TOLERANCE = 3e-3, 1e-2  # of a solve; what a polish solves for is a small correction
_NOISE_FLOOR = 0.15  # cells: what the lattice itself cannot resolve
_FLAT = 0.05  # turn within a cell, in radians, below which all is alike flat: on planes folds would cost nothing, and fins grow from edges


@dataclass(frozen=True, kw_only=True)
class LevelProblem(TensorStruct):
    """Points and the lattice on which the function is wanted.

    Attributes:
        points: [P, 3].
        guess: [N] a first function on the nodes.
        point_spacing: mean distance of neighbouring points.
        trust_normals: whether normals are measured (and stay) or estimated (and follow the function).
        scatter: standard deviation of the points as they came, where normals are measured.
        around: int64 [P, K] points near each, itself among them; [P, 0] where normals are estimated.
    """

    lattice: Lattice
    data: FieldData
    points: Tensor
    guess: Tensor
    point_spacing: float
    trust_normals: bool
    scatter: float
    around: Tensor


@dataclass(frozen=True, kw_only=True)
class LevelState(TensorStruct):
    """An estimate and the weights that belong to it.

    Attributes:
        values: [N] the function.
        normals: [P, 3].
        weight: [P] robust weight of each point.
        slope_weight: [P] weight of its normal, relative to that of a normal with the usual reach.
        reach: usual distance over which a normal speaks: noise of the points over noise of the normals.
        noise: standard deviation of the points around the surface.
        relief: [N] factor of the stiffness, small where the surface bends much.
    """

    values: Tensor
    normals: Tensor
    weight: Tensor
    slope_weight: Tensor
    reach: float
    noise: float
    relief: Tensor


def make_problem(
    lattice: Lattice, points: Tensor, guess: Tensor, *, point_spacing: float, trust_normals: bool, scatter: float = 0.0
) -> LevelProblem:
    """Sort the points into the lattice."""
    around = (
        knn(points, points, min(_AROUND, points.shape[0])).index if trust_normals else torch.zeros(points.shape[0], 0, dtype=torch.int64)
    )
    return LevelProblem(
        lattice=lattice,
        data=prepare_data(lattice, points),
        points=points,
        guess=guess,
        point_spacing=point_spacing,
        trust_normals=trust_normals,
        scatter=scatter,
        around=around,
    )


def first_state(problem: LevelProblem, normals: Tensor, *, reach: float | None = None) -> LevelState:
    """The guess, with all points trusted alike."""
    ones = torch.ones_like(problem.points[:, 0])
    spacing = problem.point_spacing
    return LevelState(
        values=problem.guess,
        normals=normals,
        weight=ones,
        slope_weight=ones,
        reach=reach or (3.0 if problem.trust_normals else 1.4) * spacing,
        noise=spacing,
        relief=torch.ones_like(problem.guess),
    )


def solve_round(
    problem: LevelProblem, state: LevelState, length: float | Tensor, *, share: Tensor | None = None, polish: bool = False
) -> LevelState:
    """Solve with the state's weights, then renew the weights.

    Args:
        length: smoothing length in scene units, everywhere or [N] at the nodes.
        share: [P] 0 for points to be left out.
        polish: instead, give back what smoothing took from the result so far (twicing), and keep the weights.
    """
    spacing, data = problem.lattice.spacing, problem.data
    weight = state.weight if share is None else state.weight * share
    stiffness = state.relief * (torch.as_tensor(length).clamp(min=SHORTEST * spacing) ** 4 / problem.point_spacing**2).to(state.relief)
    values = solve_implicit(
        problem.lattice,
        data,
        problem.guess,
        normals=state.normals,
        value_weight=weight,
        slope_weight=weight * state.slope_weight * state.reach**2,
        stiffness=stiffness,
        start=None if polish else state.values,
        rest=state.values if polish else None,
        tolerance=_POLISH_TOLERANCE if polish else _TOLERANCE,
    )
    value, slope = interpolate(problem.lattice, values, problem.points)
    steep = slope.norm(dim=1)
    distance = value / steep.clamp(min=0.1)
    used = slice(None) if share is None else share > 0
    noise = max(1.4826 * float(distance[used].abs().median()), _NOISE_FLOOR * spacing)
    if polish:
        return replace(state, values=values, noise=noise)
    state = replace(state, values=values, noise=noise, weight=(1 + (distance / (_CUTOFF * noise)).square()) ** -2)
    if problem.trust_normals:
        slope_weight, reach = _trust(problem, (slope - state.normals).norm(dim=1), noise, used)
        state = replace(state, slope_weight=slope_weight, reach=reach)
    else:
        state = replace(state, normals=slope / steep.clamp(min=1e-6)[:, None])
    return replace(state, relief=_relief(problem, values))


def _trust(problem: LevelProblem, turned: Tensor, noise: float, used: Tensor | slice) -> tuple[Tensor, float]:
    """Weights of normals [P] and their usual reach, from how far normals and slopes differ [P].

    Measured normals may be exact, but noise moved their points: where the surface bends within the noise, they belong elsewhere. So each
    reaches as far as those around agree with the surface, and is doubted when it differs more than those. Without noise that a lattice can
    tell they are where they belong, and what differs are the lattice's edges and gaps in the scan: then all reach alike, and are doubted
    when they differ more than is usual.
    """
    spacing = problem.point_spacing
    low, high = max(_REACH[0] * spacing, _LEAST * min(problem.scatter, spacing)), _REACH[1] * spacing
    square = turned.clamp(max=1).square()
    mean, moved = square[used].mean(), min(max(problem.scatter / (_NOISE_FLOOR * problem.lattice.spacing) - 1, 0.0), 1.0)
    disorder = torch.lerp(mean, square[problem.around].mean(1), moved).sqrt() + 1e-3
    usual = min(max(noise / (float(mean.sqrt()) + 1e-3), low), high)
    reach = (noise / disorder).clamp(low, high)
    doubtful = 3 * torch.lerp(turned[used].median(), disorder, moved)
    return (reach / usual).square() / (1 + (turned / doubtful.clamp(min=_SLOPE_CUTOFF)).square()), usual


def _relief(problem: LevelProblem, values: Tensor) -> Tensor:
    """Weights that turn the squared bending into its absolute value: few strong folds cost less than bending everywhere."""
    near = problem.data.data_nodes.long()
    bent = bending(problem.lattice, values)
    relief = (1 + (bent / (float(bent[near].median()) + _FLAT / problem.lattice.spacing)).square()) ** -0.5
    return relief / relief[near].mean()
