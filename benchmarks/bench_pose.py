"""Pose of a known object from one image: how often it succeeds, and how long it takes, on pictures that this file makes.

A pose succeeds if it is less than 5 degrees and 0.05 diameters off. `--mesh FILE` takes another object; `--poses N` more or fewer of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from harness import Table, parse_arguments, write_json, write_results
from pose_scenes import Scene, box_of, errors, make_pot, make_scene

import unproject as up
from unproject.camera.camera import resize_camera
from unproject.lie.so3 import so3_exp
from unproject.pose.estimate import PoseEstimate, PoseInput, PoseOptions, estimate_pose
from unproject.pose.object_model import ObjectModel, make_object_model
from unproject.pose.refine import STARTING_WEIGHTS
from unproject.pose.solve import SolverOptions
from unproject.pose.views import toward_camera

FIGURES = Path(__file__).parent / "figures"
_BUCKETS = ((15, 35), (35, 55), (55, 75))


def centered(mesh: up.Mesh) -> up.Mesh:
    """The mesh with the middle of its box at the origin."""
    v = mesh.vertices
    return dataclasses.replace(mesh, vertices=v - (v.amin(0) + v.amax(0)) / 2)


def silhouette_image(mesh: up.Mesh, pose: Tensor, size: int) -> tuple[up.Camera, Tensor]:
    """A camera and the share of each pixel that a mesh covers, from 16 samples."""
    camera = up.perspective_camera(image_size=(4 * size, 4 * size), fov_y_deg=30.0, camera_from_world=pose.float())
    mask = up.rasterize(mesh.vertices, mesh.faces, camera).mask.float()
    return resize_camera(camera, (size, size)), torch.nn.functional.avg_pool2d(mask[None], 4)[0]


def rough_start(mesh: up.Mesh, seed: int, bucket: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A true pose and a start: the camera looks at the object from a random viewpoint and distance; the start is turned by an angle."""
    generator = torch.Generator().manual_seed(seed)
    diameter = float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).norm())
    uniform = lambda low, high: low + (high - low) * float(torch.rand((), generator=generator))
    direction = torch.nn.functional.normalize(torch.randn(3, generator=generator, dtype=torch.float64), dim=0)
    aside = torch.linalg.cross(direction, torch.randn(3, generator=generator, dtype=torch.float64))
    turn = so3_exp(aside / aside.norm() * math.radians(uniform(*bucket)))
    truth, start = (up.look_at(diameter * uniform(2.1, 3.2) * d) for d in (direction, turn @ direction))
    return truth.double(), start.double()


def rough_starts(model: ObjectModel, mesh: up.Mesh, count: int, cache: Path) -> list[tuple[float, float, bool, float]]:
    """(angle of the start, error, success, seconds) for outlines alone at 64 px. Protocol of GenDR (Petersen et al. 2022)."""
    rows = []
    options = PoseOptions(start_angle_deg=80.0, position_only=True, weights=STARTING_WEIGHTS, solver=SolverOptions(cache_folder=cache))
    for bucket in _BUCKETS:
        for seed in range(count):
            truth, start = rough_start(mesh, seed + 1000 * bucket[0], bucket)
            camera, outline = silhouette_image(mesh, truth, 64)
            camera = dataclasses.replace(camera, camera_from_world=torch.eye(4))
            begin = time.perf_counter()
            found = estimate_pose(model, PoseInput(camera=camera, mask=outline), start=start, options=options)
            seconds = time.perf_counter() - begin
            angle = turn_deg(found.camera_from_object, truth)
            rows.append((turn_deg(start, truth), angle, angle < 5, seconds))
            if angle >= 5:
                print(f"    start {rows[-1][0]:.0f} degrees off, seed {seed}: {angle:.1f} degrees", flush=True)
    return rows


def turn_deg(one: Tensor, other: Tensor) -> float:
    """Angle between the directions in which the cameras of two poses lie, degrees."""
    a, b = toward_camera(torch.stack([one.double(), other.double()]))
    return math.degrees(math.acos(max(-1.0, min(1.0, float(a @ b)))))


CASES: dict[str, Callable[[Scene], PoseInput]] = {
    "mask": lambda s: PoseInput(camera=s.camera, color=s.color, mask=s.mask),
    "box": lambda s: PoseInput(camera=s.camera, color=s.color, box=box_of(s.mask)),
    "mask without colour": lambda s: PoseInput(camera=s.camera, mask=s.mask),
    "mask and depth": lambda s: PoseInput(camera=s.camera, color=s.color, mask=s.mask, depth=s.depth),
}


def without_start(model: ObjectModel, mesh: up.Mesh, case: str, count: int, cache: Path, *, occluded: float = 0.0) -> dict[str, Any]:
    """Shares of success: the first pose, and any of the four."""
    options = PoseOptions(solver=SolverOptions(cache_folder=cache))
    first, any_of_four, seconds = 0, 0, []
    for seed in range(count):
        scene = make_scene(mesh, seed, occluded=occluded)
        begin = time.perf_counter()
        found = estimate_pose(model, CASES[case](scene), options=options)
        seconds.append(time.perf_counter() - begin)
        good = [is_good(c.camera_from_object, scene, model.diameter) for c in found.candidates[:4]]
        first, any_of_four = first + good[0], any_of_four + any(good)
        if not good[0]:
            print(f"    {case}, seed {seed}: {errors(found.camera_from_object, scene, model.diameter)}, good {good}", flush=True)
    seconds = sorted(seconds[1:]) or seconds
    return {
        "first": 100 * first / count,
        "of four": 100 * any_of_four / count,
        "median s": seconds[len(seconds) // 2],
        "longest s": seconds[-1],
    }


def is_good(pose: Tensor, scene: Scene, diameter: float) -> bool:
    """Whether a pose is less than 5 degrees and 0.05 diameters off."""
    angle, shift = errors(pose, scene, diameter)
    return angle < 5 and shift < 0.05


def time_of(mesh: up.Mesh, faces: int, size: int, cache: Path) -> float:
    """Seconds for one picture of an object with so many faces, in an image scaled to so many pixels of height."""
    model = make_object_model(mesh, face_count=faces)
    scene = make_scene(mesh, 0)
    scale = size / scene.color.shape[0]
    resize = lambda t: torch.nn.functional.interpolate(t[None], size=(size, round(t.shape[2] * scale)), mode="bilinear")[0]
    color, mask = resize(scene.color.permute(2, 0, 1)).permute(1, 2, 0), resize(scene.mask[None].float())[0]
    camera = up.make_camera(torch.diag(torch.tensor([scale, scale, 1.0])) @ scene.camera.intrinsics, image_size=(size, color.shape[1]))
    given = PoseInput(camera=camera, color=color, mask=mask)
    options = PoseOptions(solver=SolverOptions(cache_folder=cache / str(faces)))
    best = math.inf
    for _ in range(2):
        begin = time.perf_counter()
        result = estimate_pose(model, given, options=options)
        best = min(best, time.perf_counter() - begin)
    assert isinstance(result, PoseEstimate)
    return best


def draw_curves(rows: list[tuple[float, float, bool, float]], times: dict[str, list[tuple[int, float]]]) -> None:
    """Success against the start's error, and time against faces and pixels."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), constrained_layout=True)
    edges = list(range(15, 80, 10))
    shares = [[good for angle, _, good, _ in rows if low <= angle < low + 10] for low in edges]
    axes[0].plot([e + 5 for e in edges], [100 * sum(s) / len(s) if s else math.nan for s in shares], "o-")
    axes[0].set(xlabel="start error (degrees)", ylabel="below 5 degrees (%)", ylim=(0, 103))
    for axis, (name, values) in zip(axes[1:], times.items()):
        axis.plot([v[0] for v in values], [v[1] for v in values], "o-")
        axis.set(xlabel=name, ylabel="seconds an image", ylim=(0, None), xscale="log")
    FIGURES.mkdir(exist_ok=True)
    figure.savefig(FIGURES / "pose.png", dpi=110)
    plt.close(figure)


def main() -> None:
    """Run all, print, and write where asked."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--mesh", type=Path, help="another object than the coloured pot")
    own.add_argument("--poses", type=int, default=40, help="pictures a case")
    own.add_argument("--cases", nargs="*", default=["starts", *CASES, "occluder", "time"])
    mine, rest = own.parse_known_args()
    sys.argv[1:] = rest
    options = parse_arguments(__doc__)
    count = 3 if options.quick else mine.poses
    mesh = centered(make_pot() if mine.mesh is None else up.load_mesh(mine.mesh))
    model = make_object_model(mesh)
    cache = Path(tempfile.gettempdir()) / "unproject-bench-templates"
    tables = []
    rows: list[tuple[float, float, bool, float]] = []
    if "starts" in mine.cases:
        table = Table("Outline alone, 64 px, rough start", ["below 5 degrees"], ours="none", unit="%")
        rows = rough_starts(model, mesh, count, cache)
        for k, bucket in enumerate(_BUCKETS):
            part = rows[k * count : (k + 1) * count]
            seconds = sorted(r[3] for r in part)
            table.add(f"{bucket[0]} to {bucket[1]} degrees", {"below 5 degrees": 100 * sum(r[2] for r in part) / count},
                      poses=count, median_s=seconds[len(seconds) // 2])  # fmt: skip
        tables.append(table)
    columns = ["first", "of four", "median s", "longest s"]
    table = Table("No start: below 5 degrees and 0.05 diameters", columns, ours="none", unit="% or s")
    for case in CASES:
        if case in mine.cases:
            table.add(case, without_start(model, mesh, case, count, cache), poses=count)
    if "occluder" in mine.cases:
        for case in ("mask", "box"):
            table.add(f"{case}, 30 % hidden", without_start(model, mesh, case, count, cache, occluded=0.3), poses=count)
    tables.append(table)
    if "time" in mine.cases:
        sizes = {"faces": [(n, time_of(mesh, n, 240, cache)) for n in (500, 2000, 3500)],
                 "pixels (height)": [(n, time_of(mesh, 3000, n, cache)) for n in (120, 240, 480, 960)]}  # fmt: skip
        table = Table("Time of one image", ["seconds"], ours="none", unit="s")
        for name, values in sizes.items():
            for n, seconds in values:
                table.add(f"{n} {name}", {"seconds": seconds})
        tables.append(table)
        if rows:
            draw_curves(rows, sizes)
    write_json(options.json, tables)
    if options.write:
        write_results("bench_pose", tables, notes="![Success against the start's error; time](figures/pose.png)")


if __name__ == "__main__":
    main()
