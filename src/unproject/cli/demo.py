"""`unproject demo`: the main job on a sample that is made here: scan a sculpted shape, fit it, measure, draw."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..errors import DataError
from ..fit.fit import fit_mesh
from ..geometry.scan import scan_mesh
from ..geometry.sculpture import sample_sculpture
from ..io.load import save
from ..losses.metrics import surface_metrics
from .manners import Manners, Terminal
from .picture import save_fit_picture


@dataclass(frozen=True, kw_only=True)
class Options:
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("unproject-demo")
    """Folder for scan.ply, surface.ply and before_after.png; made if it is not there."""
    points: int = 50_000
    """Points of the scan."""
    noise: float = 0.005
    """Standard deviation of the scan's noise along the viewing ray, of the longest side."""
    seed: int = 0
    """Seed of the scan."""
    manners: Manners = field(default_factory=Manners)


def run(options: Options, terminal: Terminal) -> dict[str, Any]:
    """Make a noisy scan, fit a surface to it, compare with the shape it was made from, and draw both."""
    options.output.mkdir(parents=True, exist_ok=True)
    scan_file, mesh_file, picture = (options.output / name for name in ("scan.ply", "surface.ply", "before_after.png"))
    terminal.check_output(scan_file, mesh_file, picture)
    truth = sample_sculpture()
    scan = scan_mesh(truth, points=options.points, views=12, noise=options.noise, outliers=0.01, seed=options.seed)
    save(scan, scan_file)
    begin, mesh = time.perf_counter(), None
    with terminal.progress() as progress:
        task = progress.add_task("fit", total=None)
        for step in fit_mesh(scan):
            mesh = step.mesh or mesh
            progress.update(task, description=step.stage, completed=step.index, total=step.total)
    if mesh is None:
        raise DataError("the fit ended without a mesh")
    seconds = time.perf_counter() - begin
    save(mesh, mesh_file)
    save_fit_picture(picture, scan, mesh, up_axis="z")
    quality = surface_metrics(mesh, truth)
    side = float((truth.vertices.amax(0) - truth.vertices.amin(0)).max())
    rows = [
        ("scan", f"{scan.point_count:,} points, noise {100 * options.noise:g} % of the longest side, 1 % outliers"),
        ("Chamfer distance to the true shape", f"{100 * quality.chamfer / side:.3f} % of the longest side"),
        ("F-score at 1 %", f"{quality.f_score:.4f}"),
        ("normal consistency", f"{quality.normal_consistency:.4f}"),
        ("mesh", f"{mesh.vertex_count:,} vertices, {mesh.face_count:,} faces"),
        ("time", f"{seconds:.1f} s"),
        ("files", f"{scan_file}, {mesh_file}, {picture}"),
    ]
    terminal.table("Fitted", rows)
    return {
        "chamfer": quality.chamfer / side, "f_score": quality.f_score, "normal_consistency": quality.normal_consistency,
        "seconds": seconds, "scan": scan_file, "mesh": mesh_file, "picture": picture,
    }  # fmt: skip
