"""`unproject fit`: a surface from a point cloud."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from ..errors import ArgumentError, DataError
from ..fit.checkpoint import fingerprint, load_checkpoint, with_checkpoints
from ..fit.deform import DeformOptions
from ..fit.fit import FitOptions, fit_mesh
from ..fit.quality import FitQuality, fit_quality
from ..fit.step import FitStep
from ..fit.surface_options import SurfaceOptions
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud, measured_points
from ..io.atomic import atomic_write, remove_file
from ..io.load import load_mesh, load_points, save
from .manners import Manners, Terminal
from .picture import save_fit_picture


@dataclass(frozen=True, kw_only=True)
class Options:
    scan: tyro.conf.Positional[Path]
    """Point cloud (PLY, PCD, XYZ, PTS, CSV, ...) or a mesh, whose vertices are taken."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Where the mesh goes; the ending names the format."""
    method: Literal["surface", "deform"] = "surface"
    """surface: any topology, no template. deform: a template takes the cloud's shape and keeps its topology."""
    template: Path | None = None
    """Mesh to deform, in the frame of the scan; without one, a sphere. Implies --method deform."""
    holes: Literal["auto", "open", "closed"] | float = "auto"
    """What to do where the scan saw nothing (method surface): close the surface, leave it open, decide from the data, or (a number)
    close what is narrower than that, in the scan's unit."""
    checkpoint: Path | None = None
    """File to keep the state in, so that a killed run can go on."""
    checkpoint_every: int = 10
    """Steps between two checkpoints."""
    resume: bool = False
    """Go on from the checkpoint; the result is the one of a run that was never stopped."""
    report: Path | None = None
    """HTML page with both shapes to turn, the result table and the loss curves."""
    picture: Path | None = None
    """PNG of the scan and the mesh side by side."""
    seed: int = 0
    """Seed of the samples (method deform; surface makes no random choices)."""
    manners: Manners = field(default_factory=Manners)


def run(options: Options, terminal: Terminal) -> dict[str, Any]:
    """Fit, with a progress bar; write the mesh and whatever else was asked for; return the quality against the scan."""
    _check(options, terminal)
    begin = time.perf_counter()
    scan = load_points(options.scan)
    points = measured_points(scan)
    if points.point_count < scan.point_count:
        missing = scan.point_count - points.point_count
        terminal.warn(f"{options.scan}: {missing:,} of {scan.point_count:,} points have no finite coordinates and are left out")
    method, template = _method(options)
    steps, resumed = _steps(options, points, method, template)
    if resumed is not None:
        terminal.note(f"going on behind step {resumed.index} ({resumed.stage})")
    last, losses = _follow(steps, terminal)
    if last.mesh is None:
        raise DataError("the fit ended without a mesh")
    seconds = time.perf_counter() - begin
    quality = fit_quality(points, last.mesh, seed=options.seed)
    rows = quality_rows(quality, last.mesh, seconds)
    save(last.mesh, options.output)
    _extras(options, points, last.mesh, rows, losses)
    if options.checkpoint is not None:
        remove_file(options.checkpoint)
    terminal.table(f"{options.output}", rows)
    return {"output": options.output, **quality.as_dict(), "seconds": seconds}


def _check(options: Options, terminal: Terminal) -> None:
    if options.resume and options.checkpoint is None:
        raise ArgumentError("--resume needs --checkpoint FILE")
    if options.checkpoint_every < 1:
        raise ArgumentError("--checkpoint-every must be at least 1")
    terminal.check_output(options.output, options.report, options.picture, resuming=options.resume)
    terminal.check_output(options.checkpoint, resuming=True)


def _method(options: Options) -> tuple[FitOptions, Mesh | None]:
    if options.method == "deform" or options.template is not None:
        return DeformOptions(seed=options.seed), None if options.template is None else load_mesh(options.template)
    return SurfaceOptions(holes=options.holes), None


def _steps(options: Options, points: PointCloud, method: FitOptions, template: Mesh | None) -> tuple[Iterator[FitStep], FitStep | None]:
    shape = (None, None) if template is None else (template.vertices, template.faces)
    run_name = fingerprint(repr(method), points.positions, points.normals, *shape)
    resumed = None
    if options.resume and options.checkpoint is not None:
        resumed = load_checkpoint(options.checkpoint, run=run_name)
    steps = fit_mesh(points, method, template=template, resume=resumed)
    if options.checkpoint is not None:
        steps = with_checkpoints(steps, options.checkpoint, every=options.checkpoint_every, run=run_name)
    return steps, resumed


def _follow(steps: Iterator[FitStep], terminal: Terminal) -> tuple[FitStep, list[Mapping[str, float]]]:
    """Run the loop under a progress bar; the last step with a mesh, and all losses."""
    losses: list[Mapping[str, float]] = []
    last = None
    with terminal.progress(losses="{task.fields[losses]}") as progress:
        task = progress.add_task("fit", total=None, losses="")
        for step in steps:
            losses.append(step.losses)
            said = "  ".join(f"{name} {value:.3g}" for name, value in step.losses.items())
            progress.update(task, description=step.stage, completed=step.index, total=step.total, losses=said)
            last = step if step.mesh is not None or last is None else replace(step, mesh=last.mesh)
    if last is None:
        raise DataError("the fit made no step")
    return last, losses


def quality_rows(quality: FitQuality, mesh: Mesh, seconds: float) -> list[tuple[str, str]]:
    """The table at the end of a fit."""
    return [
        ("Chamfer distance", f"{quality.chamfer:.4g} ({100 * quality.chamfer / quality.scale:.3f} % of the longest side)"),
        (f"F-score at {100 * quality.threshold / quality.scale:.2g} %", f"{quality.f_score:.4f}"),
        ("normal consistency", "no normals in the scan" if quality.normal_consistency is None else f"{quality.normal_consistency:.4f}"),
        ("watertight", "yes" if quality.watertight else f"no, {quality.boundary_edges} boundary edges"),
        ("genus", "-" if quality.genus is None else str(quality.genus)),
        ("components", str(quality.components)),
        ("self-intersections", str(quality.self_intersections)),
        ("size", f"{mesh.vertex_count:,} vertices, {mesh.face_count:,} faces"),
        ("time", f"{seconds:.1f} s"),
    ]


def _extras(options: Options, points: PointCloud, mesh: Mesh, rows: list[tuple[str, str]], losses: list[Mapping[str, float]]) -> None:
    if options.picture is not None:
        save_fit_picture(options.picture, points, mesh)
    if options.report is not None:
        from ..view.report import fit_report

        page = fit_report(f"unproject fit {options.scan.name}", points, mesh, rows=rows, losses=losses)
        with atomic_write(options.report) as file:
            file.write(page.encode())
