"""Pose of a known object from one image: how often it succeeds, and how long it takes, on pictures that this file makes.

A pose succeeds if it is less than 5 degrees and 0.05 diameters off. `--mesh FILE` takes another object (`--start-mesh` for rough starts),
`--poses N` more or fewer poses, `--first SEED` others. The whole protocol: `--poses 200 --mesh spot.obj --start-mesh teapot.obj`.
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
_HIDDEN = ", 30 % hidden"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial:
    """One estimated pose.

    Attributes:
        case: what was given. seed: of the scene.
        start: how far the start was off, degrees, or 0 without one.
        degrees, diameters: how far the first pose is off.
        good: whether it counts as found. among: whether one of the first four does.
        fit: what the estimate says of itself.
    """

    case: str
    seed: int
    start: float
    degrees: float
    diameters: float
    good: bool
    among: bool
    fit: float
    seconds: float


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


def rough_starts(mesh: up.Mesh, seeds: range, bucket: tuple[int, int], cache: Path) -> list[Trial]:
    """Outlines alone at 64 px. Protocol of GenDR (Petersen et al. 2022)."""
    model, found_all = make_object_model(mesh), []
    options = PoseOptions(start_angle_deg=80.0, position_only=True, weights=STARTING_WEIGHTS, solver=SolverOptions(cache_folder=cache))
    for seed in seeds:
        truth, start = rough_start(mesh, seed + 1000 * bucket[0], bucket)
        camera, outline = silhouette_image(mesh, truth, 64)
        camera = dataclasses.replace(camera, camera_from_world=torch.eye(4))
        begin = time.perf_counter()
        found = estimate_pose(model, PoseInput(camera=camera, mask=outline), start=start, options=options)
        seconds = time.perf_counter() - begin
        angles = [turn_deg(c.camera_from_object, truth) for c in found.candidates[:4]]
        shift = float((found.camera_from_object[:3, 3] - truth[:3, 3]).norm()) / model.diameter
        found_all.append(_told(Trial(
            case=f"{bucket[0]} to {bucket[1]} degrees", seed=seed, start=turn_deg(start, truth), degrees=angles[0], diameters=shift,
            good=angles[0] < 5, among=min(angles) < 5, fit=found.best.fit, seconds=seconds,
        )))  # fmt: skip
    return found_all


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


def without_start(model: ObjectModel, mesh: up.Mesh, case: str, seeds: range, cache: Path) -> list[Trial]:
    """Poses of random scenes without a start; `case` is one of CASES, or one with a part of the object hidden."""
    options, found_all = PoseOptions(solver=SolverOptions(cache_folder=cache)), []
    for seed in seeds:
        scene = make_scene(mesh, seed, occluded=0.3 if case.endswith(_HIDDEN) else 0.0)
        begin = time.perf_counter()
        found = estimate_pose(model, CASES[case.removesuffix(_HIDDEN)](scene), options=options)
        seconds = time.perf_counter() - begin
        good = [is_good(c.camera_from_object, scene, model.diameter) for c in found.candidates[:4]]
        angle, shift = errors(found.camera_from_object, scene, model.diameter)
        found_all.append(_told(Trial(
            case=case, seed=seed, start=0.0, degrees=angle, diameters=shift, good=good[0], among=any(good), fit=found.best.fit,
            seconds=seconds,
        )))  # fmt: skip
    return found_all


def _told(trial: Trial) -> Trial:
    """The trial; what failed is printed at once, since many poses take long."""
    if not trial.good:
        print(f"    {trial.case}, seed {trial.seed}: {trial.degrees:.1f} degrees, {trial.diameters:.3f} diameters", flush=True)
    return trial


def add_rates(table: Table, trials: list[Trial]) -> None:
    """A row of success and time of one case."""
    count, seconds = len(trials), sorted(t.seconds for t in trials)
    at = lambda share: seconds[min(count - 1, int(share * count))]
    rates = {"first %": 100 * sum(t.good for t in trials) / count, "of four %": 100 * sum(t.among for t in trials) / count}
    table.add(trials[0].case, {**rates, "median s": at(0.5), "90 % s": at(0.9), "longest s": seconds[-1]}, poses=count)


def failures(trials: list[Trial]) -> list[Table]:
    """What was not found, if anything."""
    lost = [t for t in trials if not t.good]
    if not lost:
        return []
    table = Table("Not found", ["start", "degrees", "diameters", "fit", "of four"], ours="none", unit="degrees, diameters, shares")
    for t in lost:
        table.add(
            f"{t.case}, seed {t.seed}", {"start": t.start, "degrees": t.degrees, "diameters": t.diameters, "fit": t.fit, "of four": t.among}
        )
    return [table]


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


def draw_curves(trials: list[Trial], times: dict[str, list[tuple[int, float]]]) -> None:
    """Success against the start's error, and time against faces and pixels."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), constrained_layout=True)
    edges = list(range(15, 80, 10))
    shares = [[t.good for t in trials if low <= t.start < low + 10] for low in edges]
    axes[0].plot([e + 5 for e in edges], [100 * sum(s) / len(s) if s else math.nan for s in shares], "o-")
    axes[0].set(xlabel="start error (degrees)", ylabel="below 5 degrees (%)", ylim=(0, 103))
    for axis, (name, values) in zip(axes[1:], times.items()):
        sizes, seconds = zip(*values)
        axis.plot(sizes, seconds, "o-")
        axis.set(xlabel=name, ylabel="seconds an image", ylim=(0, 1.1 * max(seconds)), xscale="log")
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.minorticks_off()
    FIGURES.mkdir(exist_ok=True)
    figure.savefig(FIGURES / "pose.png", dpi=110)
    plt.close(figure)


def main() -> None:
    """Run all, print, and write where asked."""
    hidden = [case + _HIDDEN for case in ("mask", "box", "mask without colour")]
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--mesh", type=Path, help="another object than the coloured pot")
    own.add_argument("--start-mesh", type=Path, help="another object for rough starts")
    own.add_argument("--poses", type=int, default=40, help="pictures a case")
    own.add_argument("--first", type=int, default=0, help="seed of the first picture")
    own.add_argument("--cases", nargs="*", default=["starts", *CASES, *hidden, "time"])
    mine, rest = own.parse_known_args()
    sys.argv[1:] = rest
    options = parse_arguments(__doc__)
    seeds = range(mine.first, mine.first + (3 if options.quick else mine.poses))
    load = lambda path: centered(make_pot() if path is None else up.load_mesh(path))
    mesh, cache = load(mine.mesh), Path(tempfile.gettempdir()) / "unproject-bench-templates"
    columns, tables, trials = ["first %", "of four %", "median s", "90 % s", "longest s"], [], []
    if "starts" in mine.cases:
        tables.append(Table("Outline alone, 64 px, rough start: below 5 degrees", columns, ours="none", unit="% or s"))
        for bucket in _BUCKETS:
            trials += (found := rough_starts(load(mine.start_mesh or mine.mesh), seeds, bucket, cache))
            add_rates(tables[-1], found)
    chosen = [case for case in (*CASES, *hidden) if case in mine.cases]
    if chosen:
        model = make_object_model(mesh)
        tables.append(Table("No start: below 5 degrees and 0.05 diameters", columns, ours="none", unit="% or s"))
        for case in chosen:
            trials += (found := without_start(model, mesh, case, seeds, cache))
            add_rates(tables[-1], found)
    tables += failures(trials)
    if "time" in mine.cases:
        sizes = {"faces": [(n, time_of(mesh, n, 240, cache)) for n in (500, 2000, 3500)],
                 "pixels (height)": [(n, time_of(mesh, 3000, n, cache)) for n in (120, 240, 480, 960)]}  # fmt: skip
        table = Table("Time of one image", ["seconds"], ours="none", unit="s")
        for name, values in sizes.items():
            for n, seconds in values:
                table.add(f"{n} {name}", {"seconds": seconds})
        tables.append(table)
        if any(t.start > 0 for t in trials):
            draw_curves(trials, sizes)
    write_json(options.json, tables)
    if options.write:
        name = lambda path: "the coloured pot" if path is None else path.name
        objects = f"Object: {name(mine.mesh)}; for rough starts: {name(mine.start_mesh or mine.mesh)}."
        write_results("bench_pose", tables, notes=f"{objects}\n\n![Success against the start's error; time](figures/pose.png)")


if __name__ == "__main__":
    main()
