"""Surface reconstruction without a template: any topology, open or closed, from points with noise, outliers, gaps and no normals.

Outliers go, normals are estimated and oriented, Poisson's equation gives a first closed surface on a coarse grid, and a smooth implicit
function on ever finer sparse lattices replaces it; how smooth is decided by points held out. Its zero set is the mesh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor

from ..errors import DataError
from ..geometry.handles import cut_handles
from ..geometry.mesh import Mesh
from ..geometry.neighbors import knn, nearest
from ..geometry.pca import adaptive_normals
from ..geometry.points import PointCloud
from ..geometry.topology import boundary_vertices, make_topology
from .extract import (
    Support,
    bridge_narrow,
    colors_near,
    extract_mesh,
    fair_mesh,
    is_apart,
    is_flat,
    keep_supported_parts,
    measure_support,
    refine_mesh,
    trim_mesh,
    unsupported_share,
)
from .frame import Frame, scan_frame
from .guess import DistanceGuess, evaluate_guess, guess_distance
from .implicit import Continued, Lattice, crossed_places, interpolate, make_lattice, node_positions
from .misfit import factors_where_missed
from .orient import agreement, orient_normals
from .outliers import bulk_local, distinct_points, find_inliers
from .scene import Scene, make_scene
from .sides import scatter, separate_sides
from .smoothing import ROUNDS, SHORTEST, LevelProblem, LevelState, first_state, make_problem, solve_round
from .step import FitStep
from .surface_options import SurfaceOptions, check_options
from .trials import choose_lengths, forget_doubt, make_question, move_state, next_trial, trial_problem, try_length
from .turning import turn_faces

_WHERE = "reconstruct_surface"
_NEAR = 8  # places whose smoothing lengths a node of the lattice averages
_MARGIN = 0.25  # empty space around the scan, in longest sides
_FEW = 0.05  # share of the places that may have a shorter smoothing length than the lattice is made for
_OPEN_SHARE = 0.4  # more surface than this without points near: an open sheet, not a closed object
_FAR, _FAR_SHARE = 0.1, 0.015  # the same for surface so many longest sides away from all points
_HANDLE = 4 * torch.pi  # smoothing lengths around a handle that is taken for noise; waves shorter than half of that are, too
_ADAPTED = (3, 4)  # rounds of the last level after which lengths follow what the surface misses
_SPARSE = 2.0  # usual areas that a point stands for beside a gap in the scan
_GROWTHS = 4  # how often the lattice may follow a surface that leaves it

Stage: TypeAlias = "Iterator[tuple[dict[str, float], Mesh | None]]"


def surface_from_points(points: PointCloud, options: SurfaceOptions = SurfaceOptions()) -> Mesh:
    """The surface of a scan in one call; see `reconstruct_surface`.

    Example:
        >>> mesh = surface_from_points(load_points("scan.ply"))
    """
    mesh = None
    for step in reconstruct_surface(points, options):
        mesh = step.mesh
    assert mesh is not None
    return mesh


def reconstruct_surface(
    points: PointCloud, options: SurfaceOptions = SurfaceOptions(), *, resume: FitStep | None = None
) -> Iterator[FitStep]:
    """Reconstruct the surface that a scan shows; the mesh of the last step is the result.

    Works in any unit and place. Faces are counter-clockwise seen from outside; the outside is where the given normals point, else
    the convex side. Colours go from the points to the vertices. Points of one plane give an open sheet. The result depends on the
    input alone, not on threads or interruptions.

    Args:
        points: the scan. Normals help where they are right; wrong ones of single points do no harm.
        resume: a step of an earlier run on the same points and options, to go on behind.

    Raises:
        ArgumentError: shapes, NaN or infinity, options out of range.
        DataError: fewer than 4 points, all in one place or on one line, or nothing that looks like a surface.
    """
    check_options(options, where=_WHERE)
    scan_frame(points, where=_WHERE)  # the errors of bad input
    work = _Work(points, options, dict(resume.state) if resume is not None else {})
    begin = 0 if resume is None else [name for name, _ in _STAGES].index(resume.stage)
    index = 0 if resume is None else resume.index
    for name, stage in _STAGES[begin:]:
        for losses, mesh in stage(work):
            index += 1
            total = index if name == "mesh" else max(index + 1, work.step_count())
            yield FitStep(stage=name, index=index, total=total, losses=losses, mesh=mesh, state=dict(work.state))


class _Work:
    """One run: the input, the state that a checkpoint keeps, and what is derived from both when it is first needed."""

    def __init__(self, points: PointCloud, options: SurfaceOptions, state: dict[str, Tensor]):
        self.points, self.options, self.state = points, options, state

    @cached_property
    def frame(self) -> Frame:
        return scan_frame(PointCloud(positions=self.points.positions[self.state["kept"]]), where=_WHERE)

    @cached_property
    def scene(self) -> Scene:
        """Of the points as they came until `state["points"]` are known."""
        if "points" in self.state:
            return self.scene_of(self.state["points"])
        return self.scene_of(self.raw_points)

    @property
    def raw_points(self) -> Tensor:
        """[P, 3] in the frame of the fit, where the scan has them."""
        return self.frame.to_local(self.points.positions[self.state["kept"]])

    def scene_of(self, points: Tensor) -> Scene:
        resolution = self.options.resolution
        return make_scene(points, resolution=None if resolution is None else resolution / float(self.frame.scale), where=_WHERE)

    @cached_property
    def guess(self) -> DistanceGuess:
        scene = self.scene
        longest = float((scene.points.amax(0) - scene.points.amin(0)).max())
        resolution = round(longest / scene.coarse)
        return guess_distance(scene.points, self.state["normals"], scene.areas, resolution=resolution, trust_normals=self.trusts_normals)

    @property
    def levels(self) -> list[float]:
        """Cell sizes of the levels, coarse to fine."""
        return self.scene.levels(float(self.state["shortest"]))

    @property
    def trusts_normals(self) -> bool:
        return bool(self.state["trusted"])

    def step_count(self) -> int:
        return 2 + 4 + (len(self.levels) if "shortest" in self.state else 3) + len(ROUNDS) + 1

    @cached_property
    def problem(self) -> LevelProblem:
        """The current level's: its lattice lies around the points and `state["passes"]`, its guess is `state["guess"]`."""
        return self._make_problem(self._make_lattice(), self.state["guess"])

    def start_level(self, level: int, passes: Tensor, evaluate: Callable[[Tensor], Tensor]) -> LevelProblem:
        """Make the problem of a level, with a function on points for its guess."""
        self.state.update(level=torch.tensor(level), passes=passes)
        lattice = self._make_lattice()
        nodes = node_positions(lattice)
        self.state.update(guess=evaluate(nodes), lengths=self.lengths_at(nodes))
        self.problem = self._make_problem(lattice, self.state["guess"])
        return self.problem

    def _make_lattice(self) -> Lattice:
        points, spacing = self.scene.points, self.levels[int(self.state["level"])]
        low, high = points.amin(0) - _MARGIN, points.amax(0) + _MARGIN
        return make_lattice(torch.cat([points, self.state["passes"]]), low=low, high=high, spacing=spacing)

    def _make_problem(self, lattice: Lattice, guess: Tensor) -> LevelProblem:
        scene, noise = self.scene, float(self.state["scatter"])
        return make_problem(lattice, scene.points, guess, point_spacing=scene.spacing, trust_normals=self.trusts_normals, scatter=noise)

    def lengths_at(self, points: Tensor) -> Tensor:
        """Smoothing lengths [N] at points [N, 3], the mean of those at places near; [1] where it is one for all."""
        lengths = self.state["place_lengths"]
        if len(lengths) == 1:
            return lengths
        near = knn(points, self.state["places"], min(_NEAR, len(lengths))).index
        return lengths.log()[near].mean(1).exp()

    def keep(self, prefix: str, state: LevelState) -> None:
        for name in _LEVEL_TENSORS:
            self.state[f"{prefix}.{name}"] = getattr(state, name)
        self.state[f"{prefix}.scalars"] = torch.tensor([state.reach, state.noise], dtype=torch.float64)

    def kept(self, prefix: str) -> LevelState:
        reach, noise = self.state[f"{prefix}.scalars"].tolist()
        return LevelState(**{name: self.state[f"{prefix}.{name}"] for name in _LEVEL_TENSORS}, reach=reach, noise=noise)

    def drop(self, prefix: str) -> None:
        for name in [name for name in self.state if name.startswith(prefix)]:
            del self.state[name]


_LEVEL_TENSORS = ("values", "normals", "weight", "slope_weight", "relief")


def _find_outliers(work: _Work) -> Stage:
    if "kept" in work.state:
        return
    count = work.points.point_count
    kept = distinct_points(work.points.positions)
    distinct = len(kept)
    if work.options.reject_outliers:
        kept = kept[find_inliers(bulk_local(work.points.positions[kept]))]
    work.state["kept"] = kept
    yield {"points": float(len(kept)), "duplicates": float(count - distinct), "outliers": float(distinct - len(kept))}, None


def _orient(work: _Work) -> Stage:
    if "trusted" in work.state:
        return
    came, normals = work.scene, _given_normals(work)
    scene = came if normals is None else _sides_apart(work, normals)
    trusted = normals is not None and agreement(scene.points, normals, scene.neighbors) > 0.8
    if normals is None or not trusted:
        normals = orient_normals(came.points, adaptive_normals(came.points).normals, came.neighbors, came.areas)
        scene = _sides_apart(work, normals)
    noise = scatter(work.raw_points, normals)
    work.scene = scene
    work.state.update(points=scene.points, normals=normals, trusted=torch.tensor(trusted), scatter=torch.tensor(noise))
    yield {"agreement": agreement(scene.points, normals, scene.neighbors)}, None


def _sides_apart(work: _Work, normals: Tensor) -> Scene:
    """The points as they came, except that those of thin parts are on the side that their normals [P, 3] tell."""
    moved = separate_sides(work.scene.points, normals, work.scene.spacing)
    return work.scene if moved is work.scene.points else work.scene_of(moved)


def _given_normals(work: _Work) -> Tensor | None:
    """The unit normals [P, 3] that the points came with (0 where they are not usable), if most have one and they are wanted."""
    given = work.points.normals
    if given is None or not work.options.use_normals:
        return None
    normals = given[work.state["kept"]].float()
    length = normals.norm(dim=1)
    usable = torch.isfinite(length) & (length > 1e-6)
    normals = torch.where(usable[:, None], normals / length[:, None].clamp(min=1e-6), 0)
    return normals if float(usable.float().mean()) > 0.9 else None


def _choose_smoothing(work: _Work) -> Stage:
    state, scene = work.state, work.scene
    if "shortest" in state:
        return
    raw = work.raw_points
    question = make_question(scene, state["normals"], None if torch.equal(raw, scene.points) else raw)
    trusted, noise = work.trusts_normals, float(state["scatter"])
    make = lambda place: trial_problem(scene, place, question.points, work.guess, trust_normals=trusted, scatter=noise)
    previous = make(int(state["trial.place"])) if "trial.place" in state else None
    following = lambda scores: next_trial(scores, scene.first_length, len(scene.lengths), scene.cell, noise=noise)
    while (place := following(scores := _by_place(state, "score."))) is not None:
        problem, length = make(place), scene.lengths[place]
        start = first_state(problem, question.normals) if previous is None else move_state(work.kept("trial"), previous, problem)
        if previous is not None and place > int(state["trial.place"]):
            start = forget_doubt(start, question.normals)
        found, measured, area = try_length(problem, start, length, question)
        work.keep("trial", found)
        state.update({"trial.place": torch.tensor(place), f"score.{place}": measured, f"area.{place}": torch.tensor(area)})
        state[f"reach.{place}"] = torch.tensor(found.reach, dtype=torch.float64)
        previous = problem
        error = float(measured[:, 0].double().square().mean().sqrt() * work.frame.scale)
        yield {"smoothing": length * float(work.frame.scale), "held_out": error}, None
    tried, areas, places = sorted(scores), _by_place(state, "area."), question.points[question.asked]
    whole, choice = choose_lengths([scores[place] for place in tried], [float(areas[place]) for place in tried], places, scene.cell)
    lengths = torch.tensor([scene.lengths[place] * work.options.smoothness for place in tried])
    if question.some or len(choice) == 0:
        choice = torch.tensor([whole])  # windows say nothing about other places
    state.update(
        places=places, place_lengths=lengths[choice], shortest=lengths[choice].quantile(_FEW), reach=state[f"reach.{tried[whole]}"]
    )
    for prefix in ("trial.", "score.", "area.", "reach."):
        work.drop(prefix)


def _by_place(state: Mapping[str, Tensor], prefix: str) -> dict[int, Tensor]:
    """What the state keeps of each candidate."""
    return {int(name.removeprefix(prefix)): value for name, value in state.items() if name.startswith(prefix)}


def _solve_coarse(work: _Work) -> Stage:
    state = work.state
    if "level" not in state:
        work.start_level(0, work.guess.crossings.points, lambda nodes: evaluate_guess(work.guess, nodes))
    while (level := int(state["level"])) + 1 < len(work.levels):
        problem = work.problem
        current = first_state(problem, state["normals"])
        for _ in range(2):
            current = solve_round(problem, current, state["lengths"].clamp(min=0.5 * problem.lattice.spacing))
        work.start_level(level + 1, crossed_places(problem.lattice, current.values), Continued(problem.lattice, current.values))
        yield {"noise": current.noise * float(work.frame.scale)}, None


def _solve(work: _Work) -> Stage:
    state = work.state
    done = int(state.get("rounds", torch.tensor(0)))
    problem = work.problem
    while done < len(ROUNDS):
        current = work.kept("final") if done else first_state(problem, state["normals"], reach=float(state["reach"]))
        current = solve_round(problem, current, ROUNDS[done] * state["lengths"], polish=done == len(ROUNDS) - 1)
        work.keep("final", current)
        if done in _ADAPTED and work.options.smoothness <= 1:  # who asks for a smoother surface accepts what it misses
            _shorten_where_missed(work, current)
        done += 1
        state["rounds"] = torch.tensor(done)
        yield {"noise": current.noise * float(work.frame.scale)}, None


def _shorten_where_missed(work: _Work, current: LevelState) -> None:
    """Shorten the smoothing lengths at places where the surface misses the points in common.

    Points that were moved have told each other where their side is, so that they are off it together whatever the length. Beside gaps in
    the scan, where points stand for more area than is usual, the surface is made up, and needs its stiffness.
    """
    state, problem = work.state, work.problem
    unmoved, areas = (problem.points == work.raw_points).all(1), work.scene.areas
    factor = factors_where_missed(problem, current, unmoved & (areas < _SPARSE * areas.median()))
    if bool((factor < 1).any()):
        state.update(place_lengths=work.lengths_at(problem.points) * factor, places=problem.points)
        state["lengths"] = work.lengths_at(node_positions(problem.lattice))


def _extract(work: _Work) -> Stage:
    if "faces" in work.state:
        return
    scene = work.scene
    mesh = extract_mesh(work.problem.lattice, work.kept("final").values)
    for _ in range(_GROWTHS):
        torn = boundary_vertices(make_topology(mesh.faces, mesh.vertex_count))
        if not bool(torn.any()):
            break
        _grow_lattice(work, mesh.vertices[torn])
        mesh = extract_mesh(work.problem.lattice, work.kept("final").values)
    final = work.kept("final")
    if mesh.face_count == 0:
        raise DataError(f"{_WHERE}: the points do not look like a surface; nothing was found")
    mesh = fair_mesh(mesh)
    used = final.weight > 0.1
    good = scene.points[used]
    mesh = keep_supported_parts(mesh, good, scene.areas[used])
    if work.trusts_normals:
        mesh = turn_faces(mesh, scene.points, work.state["normals"], reach=2 * (scene.spacing + final.noise))
    support = measure_support(mesh.vertices, good, noise=final.noise, cell=scene.cell)
    share = unsupported_share(mesh, support.supported)
    mesh = keep_supported_parts(_trimmed(work, mesh, support), good, scene.areas[used])  # of a lid, pieces at strays may be left
    if mesh.face_count == 0 or is_apart(scene.points, mesh):
        raise DataError(f"{_WHERE}: the points are too few or too scattered for a surface")
    mesh = refine_mesh(cut_handles(mesh, _HANDLE * _lengths_on(work, mesh)).mesh)
    work.state.update(vertices=mesh.vertices, faces=mesh.faces)
    yield {"unsupported": share, "faces": float(mesh.face_count)}, _finish(work, mesh)


def _trimmed(work: _Work, mesh: Mesh, support: Support) -> Mesh:
    """The mesh without those of its parts that lack support and are wanted open."""
    holes = work.options.holes
    if isinstance(holes, (int, float)):
        return trim_mesh(mesh, bridge_narrow(mesh, support, holes / float(work.frame.scale)))
    made_up = unsupported_share(mesh, support.supported) > _OPEN_SHARE or unsupported_share(mesh, support.distance < _FAR) > _FAR_SHARE
    if holes == "open" or (holes == "auto" and (made_up or is_flat(work.scene.points))):
        return trim_mesh(mesh, support)
    return mesh


def _lengths_on(work: _Work, mesh: Mesh) -> Tensor:
    """[V] the smoothing length at each vertex."""
    lengths, lattice = work.state["lengths"], work.problem.lattice
    if len(lengths) > 1:
        lengths = lengths[nearest(mesh.vertices, node_positions(lattice)).index]
    return lengths.clamp(min=SHORTEST * lattice.spacing).expand(mesh.vertex_count)


def _grow_lattice(work: _Work, places: Tensor) -> None:
    """More nodes around places where the surface ran out of the lattice, and a new solution with them.

    The first guess, which is closed, says how it goes on there; the function itself would go straight on, out of an open tube forever.
    """
    final, state = work.kept("final"), work.state
    old = work.problem.lattice

    def extended(nodes: Tensor) -> Tensor:
        value, _ = interpolate(old, final.values, nodes)
        return torch.where(value.isnan(), evaluate_guess(work.guess, nodes), value)

    passes = torch.cat([state["passes"], places])
    work.start_level(int(state["level"]), passes, extended)
    problem = work.problem
    relief = Continued(old, final.relief)(node_positions(problem.lattice))
    current = replace(final, values=problem.guess, relief=relief)
    work.keep("final", solve_round(problem, current, state["lengths"], polish=True))


def _finish(work: _Work, mesh: Mesh) -> Mesh:
    """The mesh in the input's frame and dtype, with colours of the points near."""
    colors = work.points.colors
    if colors is not None:
        colors = colors_near(mesh.vertices, work.scene.points, colors[work.state["kept"]], spacing=work.scene.spacing)
    world = work.frame.mesh_to_world(mesh, work.points.positions.dtype)
    return Mesh(vertices=world.vertices, faces=world.faces, vertex_colors=colors)


_STAGES = (
    ("outliers", _find_outliers),
    ("orientation", _orient),
    ("smoothing", _choose_smoothing),
    ("coarse", _solve_coarse),
    ("solve", _solve),
    ("mesh", _extract),
)

__all__ = ["reconstruct_surface", "surface_from_points"]
