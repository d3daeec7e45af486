"""`unproject register`: the pose of a part in a scanned scene, or of one scan on another."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from ..errors import ArgumentError, DataError
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud
from ..io.load import load, load_points
from ..io.poses import PoseFrame, load_poses, save_poses
from ..register.globally import GlobalOptions, register_global
from ..register.icp import IcpOptions, icp
from ..register.locate import Instance, LocateOptions, locate_steps
from ..register.result import Registration
from .manners import Manners, Terminal
from .register_picture import save_overlay

_CONVENTION = "p_scene = scene_from_model @ p_model; column vectors, lengths in the scene's unit"


@dataclass(frozen=True, kw_only=True)
class Options:
    scene: tyro.conf.Positional[Path]
    """Scan to look in: a point cloud, or a mesh."""
    model: Path
    """The part (mesh or cloud) to find in the scene; or, with --mode scan, the scan to lay onto it."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """JSON with scene_from_model."""
    mode: Literal["part", "scan", "refine"] = "part"
    """part: a part in clutter. scan: two scans that overlap, no start needed. refine: from a start that is nearly right."""
    start: Path | None = None
    """Pose file to start from. Implies --mode refine."""
    instances: int = 1
    """How many of the part to look for (mode part)."""
    viewpoint: tuple[float, float, float] | None = None
    """The sensor's place in the scene's frame; by default the origin, if the scene looks as if seen from there (mode part)."""
    min_score: float = LocateOptions.min_score
    """Least score of an instance, 0 to 1 (mode part)."""
    method: Literal["point", "plane", "generalized", "color"] = "plane"
    """Kind of the final refinement (modes scan and refine)."""
    max_distance: float | None = None
    """Matches further apart do not count, scene units (modes scan and refine); by default four spacings of the scene's points."""
    scale: float = 1.0
    """Multiply the model by this first, such as 0.001 for millimetres in a scene of metres."""
    picture: Path | None = None
    """PNG of the scene with the model in it."""
    manners: Manners = field(default_factory=Manners)


def run(options: Options, terminal: Terminal) -> dict[str, Any]:
    """Find, write the poses and the picture, and say how good they are."""
    if not 0 < options.scale < math.inf:
        raise ArgumentError(f"--scale must be above 0, got {options.scale}")
    if options.mode == "refine" and options.start is None:
        raise ArgumentError("--mode refine needs --start POSE.json")
    terminal.check_output(options.output, options.picture)
    scene, model = load_points(options.scene), _scaled(load(options.model), options.scale)
    frames = _located(options, model, scene, terminal) if _mode(options) == "part" else [_registered(options, model, scene, terminal)]
    save_poses(frames, options.output, key="scene_from_model", convention=_CONVENTION)
    if options.picture is not None:
        save_overlay(options.picture, scene, model, [frame.pose for frame in frames])
    return {"output": options.output, "frames": [{"name": f.name, "scene_from_model": f.pose, **f.facts} for f in frames]}


def _mode(options: Options) -> str:
    return "refine" if options.start is not None else options.mode


def _scaled(model: Mesh | PointCloud, scale: float) -> Mesh | PointCloud:
    if isinstance(model, Mesh):
        return Mesh(
            vertices=model.vertices * scale, faces=model.faces, vertex_normals=model.vertex_normals, vertex_colors=model.vertex_colors
        )
    return PointCloud(positions=model.positions * scale, normals=model.normals, colors=model.colors)


def _located(options: Options, model: Mesh | PointCloud, scene: PointCloud, terminal: Terminal) -> list[PoseFrame]:
    search = LocateOptions(instances=options.instances, viewpoint=options.viewpoint, min_score=options.min_score)
    instances: tuple[Instance, ...] = ()
    with terminal.progress() as progress:
        task = progress.add_task("register", total=None)
        for step in locate_steps(model, scene, search):
            progress.update(task, description=step.stage, completed=step.done, total=step.total)
            instances = step.instances or instances
    if instances and instances[0].depth is None:
        terminal.warn(
            "the scene does not look as if seen from its origin, so nothing is known of hidden parts; --viewpoint X Y Z says more"
        )
    frames = [PoseFrame(name=_name(options, i), pose=one.scene_from_model, facts=_facts(one)) for i, one in enumerate(instances)]
    for one in instances:
        _tell_of_alternatives(len(one.alternatives), terminal)
    rows = [
        (frame.name, f"{one.score:.2f}", _length(one.registration), *_spread(one.registration), len(one.alternatives))
        for frame, one in zip(frames, instances)
    ]
    terminal.table(f"{options.output}", rows, ("model", "score", "RMSE", "std position", "std angle", "alternatives"))
    return frames


def _registered(options: Options, model: Mesh | PointCloud, scene: PointCloud, terminal: Terminal) -> PoseFrame:
    refine = IcpOptions(method=options.method, max_distance=options.max_distance)
    if options.start is not None:
        starts = load_poses(options.start, key="scene_from_model")
        if not starts:
            raise DataError(f"{options.start} has no pose to start from")
        start = starts[0].pose.clone()
        result = icp(model, scene, start, refine)
    else:
        result = register_global(model, scene, GlobalOptions(method=options.method, max_distance=options.max_distance))
    if not result.determined:
        terminal.warn("the shapes slide on each other: the pose is not determined in all directions (see the covariance)")
    _tell_of_alternatives(len(result.alternatives), terminal)
    row = (options.model.stem, f"{100 * result.fitness:.1f} %", _length(result), *_spread(result))
    terminal.table(f"{options.output}", [row], ("model", "overlap", "RMSE", "std position", "std angle"))
    facts = {"fitness": result.fitness, "rmse": result.rmse, "max_distance": result.max_distance, "determined": result.determined}
    facts["covariance"] = result.covariance.tolist()
    facts["alternatives"] = [{"scene_from_model": motion.tolist()} for motion in result.alternatives]
    return PoseFrame(name=options.model.stem, pose=result.target_from_source, facts=facts)


def _tell_of_alternatives(count: int, terminal: Terminal) -> None:
    if count:
        terminal.note(f"{count} other poses explain the scene nearly as well; they are in the file as alternatives")


def _name(options: Options, index: int) -> str:
    return options.model.stem if options.instances == 1 else f"{options.model.stem}-{index}"


def _facts(one: Instance) -> dict[str, Any]:
    facts: dict[str, Any] = {"score": one.score, "fitness": one.registration.fitness, "rmse": one.registration.rmse}
    facts["covariance"] = one.registration.covariance.tolist()
    facts["determined"] = one.registration.determined
    facts["alternatives"] = [{"scene_from_model": a.scene_from_model.tolist(), "score": a.score} for a in one.alternatives]
    if one.depth is not None:
        names = ("support", "violation", "occluded", "unknown", "flush")
        facts["pixels"] = {name: getattr(one.depth, name) for name in names}
    return facts


def _length(result: Registration) -> str:
    return f"{result.rmse:.3g}"


def _spread(result: Registration) -> tuple[str, str]:
    """Standard deviations of the position of the scene's origin seen from the model, and of the angle."""
    place = result.target_from_source[:3, 3]
    x, y, z = place.tolist()
    adjoint = torch.eye(6, dtype=torch.float64)
    adjoint[:3, 3:] = -torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    spread = (adjoint @ result.covariance @ adjoint.T).diagonal().clamp_min(0)
    return f"{float(spread[:3].sum().sqrt()):.2g}", f"{math.degrees(float(spread[3:].sum().sqrt())):.2g} deg"
