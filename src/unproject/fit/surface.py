"""Surface reconstruction without a template: any topology, open or closed, from points with noise, outliers, gaps and no normals.

Outliers go, normals are estimated and oriented, Poisson's equation gives a first closed surface on a coarse grid, and a smooth implicit
function on ever finer sparse lattices replaces it; how smooth is decided by points held out. Its zero set is the mesh.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from ..errors import ArgumentError, DataError
from ..geometry.mesh import Mesh
from ..geometry.neighbors import build_index, knn, nearest
from ..geometry.pca import estimate_normals
from ..geometry.points import PointCloud
from ..geometry.topology import boundary_vertices, make_topology
from .extract import extract_mesh, keep_supported_parts, measure_support, trim_mesh, unsupported_share
from .frame import Frame, scan_frame
from .guess import DistanceGuess, evaluate_guess, guess_distance
from .implicit import Lattice, inner_nodes, interpolate, make_lattice, node_positions
from .orient import agreement, orient_normals
from .outliers import find_inliers
from .smoothing import (
    LENGTHS,
    ROUNDS,
    LevelProblem,
    LevelState,
    best_trial,
    choose_length,
    first_state,
    held_out,
    make_problem,
    solve_round,
    try_length,
)
from .step import FitStep

_WHERE = "reconstruct_surface"
_NEIGHBORS = 24  # of a point, for its first normal
_MARGIN = 0.25  # empty space around the scan, in longest sides
_OPEN_SHARE = 0.4  # more surface than this without points near: an open sheet, not a closed object
_WINDOW = 60_000  # points on which the smoothing length is chosen, where there are many more
_GROWTHS = 4  # how often the lattice may follow a surface that leaves it
_FINEST = 1 / 1500  # cells, in longest sides

Stage: TypeAlias = "Iterator[tuple[dict[str, float], Mesh | None]]"


@dataclass(frozen=True, kw_only=True)
class SurfaceOptions:
    """How to reconstruct a surface. The defaults take everything from the data."""

    holes: Literal["auto", "open", "closed"] = "auto"
    """closed: a watertight surface. open: no surface where no points are near. auto: closed, unless most of it would be made up."""
    resolution: float | None = None
    """Cell size in scene units; by default the distance between neighbouring points."""
    smoothness: float = 1.0
    """Factor on the smoothing length that the data asks for."""
    use_normals: bool = True
    """Use the normals that the points come with, if any."""
    reject_outliers: bool = True
    """Leave out points without company."""


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
    _check_options(options)
    frame = scan_frame(points, where=_WHERE)
    work = _Work(points, options, frame, dict(resume.state) if resume is not None else {})
    begin = 0 if resume is None else [name for name, _ in _STAGES].index(resume.stage)
    index = 0 if resume is None else resume.index
    for name, stage in _STAGES[begin:]:
        for losses, mesh in stage(work):
            index += 1
            total = index if name == "mesh" else max(index + 1, work.step_count())
            yield FitStep(stage=name, index=index, total=total, losses=losses, mesh=mesh, state=dict(work.state))


class _Work:
    """One run: the input, the state that a checkpoint keeps, and what is derived from both when it is first needed."""

    def __init__(self, points: PointCloud, options: SurfaceOptions, frame: Frame, state: dict[str, Tensor]):
        self.points, self.options, self.frame, self.state = points, options, frame, state
        self.local = frame.to_local(points.positions)
        self._scene: _Scene | None = None
        self._problem: LevelProblem | None = None

    @property
    def scene(self) -> _Scene:
        if self._scene is None:
            self._scene = _make_scene(self.local[self.state["kept"]], self.options, float(self.frame.scale))
        return self._scene

    @property
    def spacings(self) -> list[float]:
        """Cell sizes of the levels, coarse to fine."""
        return _level_spacings(self.scene.cell, self.scene.coarse)

    def step_count(self) -> int:
        return 2 + (len(self.spacings) - 1 if "kept" in self.state else 1) + 5 + ROUNDS + 2

    @property
    def trusts_normals(self) -> bool:
        return bool(self.state["trusted"])

    def problem(self) -> LevelProblem:
        """The current level's: its lattice lies around the points and `state["passes"]`, its guess is `state["guess"]`."""
        if self._problem is None:
            lattice = self.make_lattice(self.scene.points, self.state["passes"])
            self._problem = self.make_problem(lattice, self.scene.points, self.state["guess"])
        return self._problem

    def make_lattice(self, points: Tensor, passes: Tensor) -> Lattice:
        spacing = self.spacings[int(self.state["level"])]
        low, high = self.scene.points.amin(0) - _MARGIN, self.scene.points.amax(0) + _MARGIN
        return make_lattice(torch.cat([points, passes]), low=low, high=high, spacing=spacing)

    def make_problem(self, lattice: Lattice, points: Tensor, guess: Tensor) -> LevelProblem:
        spacing = self.scene.spacing
        return make_problem(lattice, points, guess, point_spacing=spacing, trust_normals=self.trusts_normals)

    def start_level(self, level: int, passes: Tensor, evaluate: Any) -> None:
        self._problem = None
        self.state.update(level=torch.tensor(level), passes=passes)
        lattice = self.make_lattice(self.scene.points, passes)
        self.state["guess"] = evaluate(node_positions(lattice))
        self._problem = self.make_problem(lattice, self.scene.points, self.state["guess"])

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


@dataclass(frozen=True)
class _Scene:
    """The points that count, and their scales: all follows from the points kept."""

    points: Tensor
    neighbors: Tensor
    areas: Tensor
    spacing: float
    cell: float
    coarse: float


def _make_scene(points: Tensor, options: SurfaceOptions, scale: float) -> _Scene:
    index = build_index(points)
    found = knn(index, index, min(13, points.shape[0]))
    reach = min(10, points.shape[0] - 1)
    areas = torch.pi * found.squared_distance[:, reach] / reach
    usual = float(areas.median())
    if not usual > 0:
        usual = float(areas.mean())
    if not usual > 0:
        raise DataError(f"{_WHERE}: most points lie on one another; remove duplicates")
    spacing = usual**0.5
    cell = spacing if options.resolution is None else options.resolution / scale
    longest = float((points.amax(0) - points.amin(0)).max())
    coarse = longest / min(max(int(1.2 * longest / max(spacing, cell)), 32), 96)
    return _Scene(
        points=points,
        neighbors=found.index[:, 1:].contiguous(),
        areas=areas.clamp(max=10 * usual),
        spacing=spacing,
        cell=max(cell, _FINEST * longest),
        coarse=coarse,
    )


def _level_spacings(finest: float, coarse: float) -> list[float]:
    spacings = [finest]
    while spacings[-1] * 2 < 1.3 * coarse:
        spacings.append(spacings[-1] * 2)
    return spacings[::-1]


def _find_outliers(work: _Work) -> Stage:
    if "kept" in work.state:
        return
    count = work.local.shape[0]
    kept = find_inliers(work.local) if work.options.reject_outliers else torch.arange(count)
    work.state["kept"] = kept
    yield {"points": float(len(kept)), "outliers": float(count - len(kept))}, None


def _orient(work: _Work) -> Stage:
    if "trusted" in work.state:
        return
    scene, given = work.scene, work.points.normals
    trusted = False
    if given is not None and work.options.use_normals:
        normals = given[work.state["kept"]].float()
        length = normals.norm(dim=1)
        usable = torch.isfinite(length) & (length > 1e-6)
        normals = torch.where(usable[:, None], normals / length[:, None].clamp(min=1e-6), 0)
        trusted = float(usable.float().mean()) > 0.9 and agreement(scene.points, normals, scene.neighbors) > 0.8
    if not trusted:
        found = estimate_normals(scene.points, k=min(_NEIGHBORS, len(scene.points))).normals
        normals = orient_normals(scene.points, found, scene.neighbors, scene.areas)
    work.state.update(normals=normals, trusted=torch.tensor(trusted))
    yield {"agreement": agreement(scene.points, normals, scene.neighbors)}, None


def _solve_coarse(work: _Work) -> Stage:
    state, scene = work.state, work.scene
    length = 1.4 * scene.spacing
    if "level" not in state:
        longest = float((scene.points.amax(0) - scene.points.amin(0)).max())
        guess = guess_distance(scene.points, state["normals"], scene.areas, resolution=round(longest / scene.coarse))
        work.start_level(0, guess.crossings.points, lambda nodes: evaluate_guess(guess, nodes))
        yield {"cells": scene.coarse}, None
    while int(state["level"]) + 1 < len(work.spacings):
        problem = work.problem()
        current = first_state(problem, state["normals"])
        for _ in range(2):
            current = solve_round(problem, current, max(length, problem.lattice.spacing))
        state["normals"] = current.normals
        passes = _passes(problem.lattice, current.values)
        fallback = _Nearest(problem.lattice, current.values)
        work.start_level(int(state["level"]) + 1, passes, fallback)
        yield {"noise": current.noise * float(work.frame.scale)}, None


class _Nearest:
    """A function on a lattice, continued outside by the nearest node's value."""

    def __init__(self, lattice: Lattice, values: Tensor):
        self.lattice, self.values = lattice, values

    def __call__(self, points: Tensor) -> Tensor:
        value, _ = interpolate(self.lattice, self.values, points)
        outside = value.isnan().nonzero()[:, 0]
        if len(outside):
            nodes = node_positions(self.lattice)
            value[outside] = self.values[nearest(points[outside], nodes).index]
        return value


def _passes(lattice: Lattice, values: Tensor) -> Tensor:
    """Centres [C, 3] of the cells' eighths at nodes where the function changes its sign to a neighbour: where the surface passes."""
    inner = inner_nodes(lattice).nonzero()[:, 0]
    negative = values < 0
    changes = torch.zeros(len(inner), dtype=torch.bool)
    for column in (1, 3, 5, 7):
        changes |= negative[inner] != negative[lattice.columns[inner, column].long()]
    changes |= (negative[inner] != negative[inner - 1]) | (negative[inner] != negative[inner + 1])
    return node_positions(lattice)[inner[changes]] + 0.25 * lattice.spacing


def _choose_smoothing(work: _Work) -> Stage:
    state = work.state
    if "length" in state:
        return
    problem, directions = _trial_problem(work)
    asked = held_out(problem.points.shape[0])
    spacing = work.scene.spacing
    while (place := _next_trial(state)) is not None:
        start = work.kept("trial") if "trial.values" in state else first_state(problem, directions)
        found, measured = try_length(problem, start, LENGTHS[place] * spacing, asked, directions)
        work.keep("trial", found)
        state[f"score.{place}"] = measured
        error = float(measured[:, 0].double().square().mean().sqrt() * work.frame.scale)
        yield {"smoothing": LENGTHS[place] * spacing * float(work.frame.scale), "held_out": error}, None
    tried = sorted(int(name[6:]) for name in state if name.startswith("score."))
    best = tried[choose_length([LENGTHS[place] for place in tried], [state[f"score.{place}"] for place in tried])]
    state["length"] = torch.tensor(LENGTHS[best] * spacing * work.options.smoothness, dtype=torch.float64)
    state["reach"] = torch.tensor(work.kept("trial").reach, dtype=torch.float64)
    work.drop("trial.")
    work.drop("score.")


def _next_trial(state: Mapping[str, Tensor]) -> int | None:
    """Which of LENGTHS to try next: both middle ones, then on in the direction in which it gets better."""
    middle = LENGTHS.index(1.4)
    for place in (middle, middle + 1):
        if f"score.{place}" not in state:
            return place
    tried = sorted(int(name[6:]) for name in state if name.startswith("score."))
    best = tried[best_trial([state[f"score.{place}"] for place in tried])]
    if best == tried[0] and best > 0:
        return best - 1
    if best == tried[-1] and best + 1 < len(LENGTHS):
        return best + 1
    return None


def _trial_problem(work: _Work) -> tuple[LevelProblem, Tensor]:
    """The finest level's problem, or that of a few windows into it, and the points' normals."""
    scene, normals = work.scene, work.state["normals"]
    if scene.points.shape[0] <= 2 * _WINDOW:
        return work.problem(), normals
    windows = 12
    centres = scene.points[:: -(-scene.points.shape[0] // windows)]
    near = knn(centres, scene.points, _WINDOW // windows).index.reshape(-1).unique()
    points = scene.points[near]
    lattice = work.make_lattice(points, points[:1])
    guess = _Nearest(work.problem().lattice, work.state["guess"])(node_positions(lattice))
    return work.make_problem(lattice, points, guess), normals[near]


def _solve(work: _Work) -> Stage:
    state = work.state
    done = int(state.get("rounds", torch.tensor(0)))
    problem = work.problem()
    while done < ROUNDS:
        current = work.kept("final") if done else first_state(problem, state["normals"], reach=float(state["reach"]))
        current = solve_round(problem, current, float(state["length"]), polish=done == ROUNDS - 1)
        work.keep("final", current)
        done += 1
        state["rounds"] = torch.tensor(done)
        yield {"noise": current.noise * float(work.frame.scale)}, None


def _extract(work: _Work) -> Stage:
    if "faces" in work.state:
        return
    scene = work.scene
    mesh = extract_mesh(work.problem().lattice, work.kept("final").values)
    for _ in range(_GROWTHS):
        torn = boundary_vertices(make_topology(mesh.faces, mesh.vertex_count))
        if not bool(torn.any()):
            break
        _grow_lattice(work, mesh.vertices[torn])
        mesh = extract_mesh(work.problem().lattice, work.kept("final").values)
    final = work.kept("final")
    if mesh.face_count == 0:
        raise DataError(f"{_WHERE}: the points do not look like a surface; nothing was found")
    good = scene.points[final.weight > 0.1]
    support = measure_support(mesh.vertices, good, noise=final.noise, cell=scene.cell)
    mesh = keep_supported_parts(mesh, support.supported)
    support = measure_support(mesh.vertices, good, noise=final.noise, cell=scene.cell)
    holes = work.options.holes
    share = unsupported_share(mesh, support.supported)
    if holes == "open" or (holes == "auto" and share > _OPEN_SHARE):
        mesh = trim_mesh(mesh, support)
    work.state.update(vertices=mesh.vertices, faces=mesh.faces)
    yield {"unsupported": share, "faces": float(mesh.face_count)}, _finish(work, mesh)


def _grow_lattice(work: _Work, places: Tensor) -> None:
    """More nodes around places where the surface ran out of the lattice, and a new solution with them."""
    final, state = work.kept("final"), work.state
    old = work.problem().lattice
    passes = torch.cat([state["passes"], places])
    work.start_level(int(state["level"]), passes, _Nearest(old, final.values))
    problem = work.problem()
    relief = _Nearest(old, final.relief)(node_positions(problem.lattice))
    current = replace(final, values=problem.guess, relief=relief)
    work.keep("final", solve_round(problem, current, float(state["length"]), polish=True))


def _finish(work: _Work, mesh: Mesh) -> Mesh:
    """The mesh in the input's frame and dtype, with colours of the points near."""
    colors = None
    if work.points.colors is not None:
        source = work.points.colors[work.state["kept"]]
        found = knn(mesh.vertices, work.scene.points, min(4, work.scene.points.shape[0]))
        weight = 1 / (found.squared_distance + (0.25 * work.scene.spacing) ** 2)
        colors = (source[found.index] * (weight / weight.sum(1, keepdim=True))[:, :, None].to(source.dtype)).sum(1)
    world = work.frame.mesh_to_world(mesh, work.points.positions.dtype)
    return Mesh(vertices=world.vertices, faces=world.faces, vertex_colors=colors)


def _check_options(options: SurfaceOptions) -> None:
    if options.holes not in ("auto", "open", "closed"):
        raise ArgumentError(f"{_WHERE}: `holes` must be auto, open or closed, got {options.holes!r}")
    if options.resolution is not None and not options.resolution > 0:
        raise ArgumentError(f"{_WHERE}: `resolution` must be positive, got {options.resolution}")
    if not options.smoothness > 0:
        raise ArgumentError(f"{_WHERE}: `smoothness` must be positive, got {options.smoothness}")


_STAGES = (
    ("outliers", _find_outliers),
    ("orientation", _orient),
    ("coarse", _solve_coarse),
    ("smoothing", _choose_smoothing),
    ("solve", _solve),
    ("mesh", _extract),
)

__all__ = ["DistanceGuess", "SurfaceOptions", "reconstruct_surface", "surface_from_points"]
