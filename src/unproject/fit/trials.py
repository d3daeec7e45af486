"""How smooth a surface the points want: the smoothing length that predicts best what points held out say.

Candidates descend from coarse to fine, each on the lattice that it needs, until the prediction gets worse. Most places agree on one length;
thin parts and fine details that ask for another one get it. Of a large scan some windows are asked, not all of it, and the length is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..geometry.neighbors import knn, nearest
from ..geometry.normals import face_areas
from ..struct import TensorStruct
from .extract import extract_mesh
from .guess import DistanceGuess, evaluate_guess
from .implicit import Continued, interpolate, make_lattice, node_positions
from .scene import Scene
from .sides import separate_sides
from .smoothing import LevelProblem, LevelState, make_problem, solve_round

_ROUNDS = 2
_HELD_OUT = 0.15
_LOST = 12.0  # standard deviations of the points within which their surface is looked for
_STEPS = 48  # to either side, between which it is
_WINDOWS, _WINDOW = 8, 3000  # places in a large scan, and points at each
_MARGIN = 0.25
_MISSING = 0.95  # of the error at the next longer length: parts that all long ones miss are being found
_UNEXPLAINED = 1.25  # times the median that noise explains: the surface is still too smooth
_BLUR = 0.03  # cells: differences of the prediction that the lattice cannot tell
_NORMAL_SHARE = 0.03  # given normals always look better on a smoother surface, points do not
_SURROUNDINGS = 64  # points asked that decide about the length at a place
_CERTAINTY = 2.0  # standard errors by which another length must be better there
_NEAR = 2.0  # point spacings: surface within counts as the points'


@dataclass(frozen=True, kw_only=True)
class Question(TensorStruct):
    """What candidates are fitted to, and what they are asked.

    Attributes:
        points, normals: [P, 3].
        asked: bool [P], points held out.
        moves: [P] how far each point was moved along its normal, to its own side of a thin part.
        some: whether these are windows of a larger scan.
    """

    points: Tensor
    normals: Tensor
    asked: Tensor
    moves: Tensor
    some: bool


def make_question(scene: Scene, normals: Tensor, raw: Tensor | None) -> Question:
    """Choose points of a scan, and those of them to ask.

    Points that were moved to their sides have told each other where these are, so that a surface that follows their common error would
    predict them well. So points asked do not move the others, and what is to be predicted is where they were.

    Args:
        normals: [P, 3], of all.
        raw: [P, 3] the scene's points before sides were moved apart, or None if they were not.
    """
    chosen = _windows(scene)
    some = slice(None) if chosen is None else chosen
    points, normals = scene.points[some], normals[some]
    asked = torch.rand(points.shape[0], generator=torch.Generator().manual_seed(0)) < _HELD_OUT
    moves = torch.zeros_like(points[:, 0])
    if raw is not None:
        points = separate_sides(raw[some], normals, scene.spacing, tellers=~asked)
        moves = ((points - raw[some]) * normals).sum(1)
    return Question(points=points, normals=normals, asked=asked, moves=moves, some=chosen is not None)


def _windows(scene: Scene) -> Tensor | None:
    """Indices of the points to try lengths on, or None for all."""
    if scene.points.shape[0] <= 1.5 * _WINDOWS * _WINDOW:
        return None
    centres = scene.points[:: -(-scene.points.shape[0] // _WINDOWS)].contiguous()
    return knn(centres, scene.points, _WINDOW).index.reshape(-1).unique()


def trial_problem(scene: Scene, place: int, points: Tensor, guess: DistanceGuess, *, trust_normals: bool, scatter: float) -> LevelProblem:
    """The problem of candidate number `place` on some points."""
    low, high = scene.points.amin(0) - _MARGIN, scene.points.amax(0) + _MARGIN
    lattice = make_lattice(points, low=low, high=high, spacing=scene.cell_of(scene.lengths[place]))
    first = evaluate_guess(guess, node_positions(lattice))
    return make_problem(lattice, points, first, point_spacing=scene.spacing, trust_normals=trust_normals, scatter=scatter)


def move_state(state: LevelState, source: LevelProblem, target: LevelProblem) -> LevelState:
    """An estimate on another lattice over the same points."""
    nodes = node_positions(target.lattice)
    values = Continued(source.lattice, state.values)(nodes)
    return replace(state, values=values, relief=Continued(source.lattice, state.relief)(nodes))


def forget_doubt(state: LevelState, normals: Tensor) -> LevelState:
    """The estimate, with all points trusted alike and what it missed as it was at first, with normals [P, 3].

    A smooth surface that misses a thin part doubts its points and turns their normals, and no finer one would find it.
    """
    ones = torch.ones_like(state.weight)
    normals = torch.where(state.weight[:, None] > 0.5, state.normals, normals)
    return replace(state, normals=normals, weight=ones, slope_weight=ones)


def next_trial(scores: Mapping[int, Tensor], first: int, count: int, cell: float, *, noise: float) -> int | None:
    """Which candidate to try next: the first two, then on in the direction in which it gets better, but finer while much is missed.

    Scores cut large errors off, so that they tell nothing between lengths that all miss a thin part.

    Args:
        noise: standard deviation of the points.
    """
    for place in (first, first + 1):
        if place not in scores:
            return place
    tried = sorted(scores)
    means = [float(score.mean()) for score in _scores([scores[place] for place in tried], cell)]
    best = tried[means.index(min(means))]
    longer, shorter = (scores[place] for place in tried[-2:])
    misses = _usual(shorter, cell) > _UNEXPLAINED * max(0.6745 * noise, _BLUR * cell)
    if tried[-1] + 1 < count and (misses or _finds_more(longer, shorter, cell)):
        return tried[-1] + 1
    if best == tried[0] and best > 0:
        return best - 1
    if best == tried[-1] and best + 1 < count:
        return best + 1
    return None


def _usual(measured: Tensor, cell: float) -> float:
    """Median distance, or what the lattice cannot tell if that is more."""
    return max(float(measured[:, 0].abs().median()), _BLUR * cell)


def _finds_more(longer: Tensor, shorter: Tensor, cell: float) -> bool:
    """Whether the shorter of two lengths comes clearly closer to the points asked, in the mean square over all or at most of them.

    Where both miss a thin part, how far away its points are lost is chance and decides about the mean; that most points come closer then
    tells that the surface is still too smooth. Differences that the lattice cannot tell do not count.
    """
    mean = [float(measured[:, 0].double().square().mean()) for measured in (longer, shorter)]
    return mean[1] < _MISSING * mean[0] or _usual(shorter, cell) < _MISSING * _usual(longer, cell)


def try_length(problem: LevelProblem, start: LevelState, length: float, question: Question) -> tuple[LevelState, Tensor, float]:
    """Fit without the points asked, then measure them, along normals that do not depend on the candidate: the nearest point of a rough
    surface is closer than what the surface predicts.

    Returns:
        The state; [A, 2] a point asked: its distance to the surface along its normal, and the length of the difference of its normal and
        the surface's there; and the surface's area. Of trusted normals, a surface that faces the other way is another side's, and points
        with no other near are lost. Where normals are not trusted, [A, 3]: the difference is 0, and the area is a third number a point.
    """
    asked = question.asked
    share = (~asked).to(problem.points.dtype)
    state = start
    for _ in range(_ROUNDS):
        state = solve_round(problem, state, length, share=share)
    polished = solve_round(problem, state, length, share=share, polish=True)
    points, normals = problem.points[asked], question.normals[asked]
    if not problem.trust_normals:
        distance = _distance_along(problem, polished, points, normals) + question.moves[asked]
        areas = _areas_of_moved(problem, polished.values, question)
        return state, torch.stack([distance, torch.zeros_like(distance), areas], dim=1), 0.0
    distance = _distance_to_own_side(problem, polished, points, normals)
    lost = distance.isnan()
    _, slope = interpolate(problem.lattice, polished.values, points + distance[:, None] * normals)  # where the surface is
    turned = (torch.nn.functional.normalize(slope, dim=1) - normals).norm(dim=1).nan_to_num(1.0)
    distance = distance + question.moves[asked]
    usual = 1.4826 * float(distance.abs().nanmedian().nan_to_num(0.0))
    distance = torch.where(lost, _LOST * max(polished.noise, problem.scatter, usual), distance)
    return state, torch.stack([distance, turned], dim=1), _area(problem, polished.values)


def _distance_to_own_side(problem: LevelProblem, state: LevelState, points: Tensor, normals: Tensor) -> Tensor:
    """[A] how far along their normals the nearest surface is; NaN where there is none near, or one that faces the other way.

    Steps by the slope would not tell: where a length is too long for a thin part, the function is flat and small there, without a surface,
    and after any number of steps that are no longer than its value a lost point looks near. The nearest surface that faces the same way
    would be near everywhere in a sponge of skins.
    """
    ways = torch.linspace(-1, 1, 2 * _STEPS + 1) * _LOST * max(state.noise, problem.scatter)
    places = points[:, None] + ways[None, :, None] * normals[:, None]
    value = interpolate(problem.lattice, state.values, places.reshape(-1, 3))[0].reshape(places.shape[:2])
    before, behind = value[:, :-1], value[:, 1:]
    rises, falls = (before < 0) & (behind >= 0), (before >= 0) & (behind < 0)
    crossing = torch.lerp(ways[:-1], ways[1:], before / torch.where(rises | falls, before - behind, 1))
    nearest_one = crossing.abs().where(rises | falls, torch.inf).argmin(1, keepdim=True)
    return crossing.where(rises, torch.nan).gather(1, nearest_one)[:, 0]


def _area(problem: LevelProblem, values: Tensor) -> float:
    """Area of the surface near points."""
    return float(_area_elements(problem, values)[1].sum(dtype=torch.float64))


def _areas_of_moved(problem: LevelProblem, values: Tensor, question: Question) -> Tensor:
    """[A] area of the surface nearest to each point asked that was moved to its side; of others what a point stands for."""
    asked = question.asked
    moved, areas = question.moves[asked] != 0, torch.full_like(question.moves[asked], problem.point_spacing**2 / _HELD_OUT)
    if not bool(moved.any()):
        return areas
    places, elements = _area_elements(problem, values)
    found = torch.zeros_like(areas).index_add(0, nearest(places, problem.points[asked]).index, elements.to(areas.dtype))
    return torch.where(moved, found, areas)


def _area_elements(problem: LevelProblem, values: Tensor) -> tuple[Tensor, Tensor]:
    """Places [F, 3] and areas [F] of the faces near points."""
    mesh = extract_mesh(problem.lattice, values)
    places = mesh.vertices[mesh.faces].mean(1)
    near = nearest(places, problem.points).squared_distance < (_NEAR * problem.point_spacing) ** 2
    return places[near], face_areas(mesh.vertices, mesh.faces)[near]


def _distance_along(problem: LevelProblem, state: LevelState, points: Tensor, directions: Tensor) -> Tensor:
    step_limit = _LOST / 3 * state.noise
    moved = torch.zeros_like(points[:, 0])
    for _ in range(6):
        value, slope = interpolate(problem.lattice, state.values, points + moved[:, None] * directions)
        rise = (slope * directions).sum(1)
        step = value / torch.where(rise.abs() < 0.3, 0.3, rise)
        moved = torch.where(value.isnan(), moved, moved - 0.8 * step.clamp(-step_limit, step_limit)).clamp(-3 * step_limit, 3 * step_limit)
    return moved


def choose_lengths(measured: list[Tensor], areas: list[float], places: Tensor, cell: float) -> tuple[int, Tensor]:
    """Which length the surface as a whole wants, and which the surroundings of each place.

    As a whole: the best at most places, that is by the median over them, so that a few thin parts do not make everything rough. Measured
    normals prevent that; with them it is the best in the mean, so that thin parts stay, and a larger surface must predict so much the
    better: no point misses what noise adds, but the same points would be fewer on each part of it. Without, the area counts only where
    sides were moved apart, which second skins would follow (elsewhere it would take fine details away), and of those as good as the best
    (by one standard error of the difference, or by what a lattice with this cell size cannot tell) the largest is taken. At a place: that
    one, unless another predicts its surroundings better beyond chance, its larger surface included.

    Args:
        measured, areas: what `try_length` returned for each length, in descending order of length.
        places: [A, 3] the points asked.

    Returns:
        Index of the length for the whole, and [A] of that for each place.
    """
    if len(places) == 0:
        return 0, torch.zeros(0, dtype=torch.int64)
    scores = torch.stack(_scores(measured, cell))
    near = knn(places, places, min(_SURROUNDINGS, places.shape[0])).index
    has_normals = float(measured[0][:, 1].abs().max()) > 0
    larger = torch.stack([m[:, 2:].sum(1).double()[near].sum(1).clamp(min=1e-30).log() for m in measured])
    if has_normals:
        sparse = torch.tensor(areas, dtype=scores.dtype).clamp(min=1e-30).log()
        typical = scores.mean(1) + sparse
    else:
        typical = (torch.stack([score[near].mean(1) for score in scores]) + larger).median(1).values
    best = int(typical.argmin())
    blur = 0.0 if has_normals else (_BLUR * cell) ** 2 / float(measured[best][:, 0].double().square().mean().clamp(min=1e-18))
    whole = best
    for i in range(0 if has_normals else best):
        error = float((scores[i] - scores[best]).std(correction=0)) / scores.shape[1] ** 0.5
        if float(typical[i] - typical[best]) <= max(error, blur):
            whole = i
            break
    if has_normals:
        scores = scores + (sparse - sparse[whole]).clamp(min=0)[:, None]
    excess = (scores - scores[whole])[:, near]
    surely = excess.mean(2) + _CERTAINTY * excess.std(2, correction=0) / near.shape[1] ** 0.5 + larger - larger[whole]
    return whole, surely.argmin(0).where(surely.amin(0) < -blur, whole)


def _scores(measured: list[Tensor], cell: float) -> list[Tensor]:
    """[A] a candidate: squared distances, and less weight on squared differences of normals, each relative to the least mean of any.

    Distances beyond four standard deviations, and normals that differ by more than 1, count as that. The deviation is at least what the
    lattice cannot tell: on planes it would vanish, and edges would not count.
    """
    noise = max(min(1.4826 * float(m[:, 0].abs().median()) for m in measured), _BLUR * cell)
    squares = [torch.stack([m[:, 0].abs().clamp(max=4 * noise), m[:, 1].clamp(max=1)], dim=1).double().square() for m in measured]
    least = torch.stack([square.mean(0) for square in squares]).amin(0).clamp(min=1e-18)
    return [square[:, 0] / least[0] + _NORMAL_SHARE * square[:, 1] / least[1] for square in squares]
