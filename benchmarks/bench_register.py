"""Registration beside Open3D and small_gicp: the RMSE that each ends with, its time, success from random starts; and deformable models.

RMSE and fitness are measured by one judge for all, on all points, within the given distance. `--data` is the folder of the scans, by
default $UNPROJECT_DATA/scans. `--parts` and `--pairs` pick what to measure, to be joined later with `--join`.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open3d as o3d
import small_gicp
import torch
from harness import Table, join_tables, parse_arguments, write_json, write_results
from scipy.spatial import cKDTree

import unproject as up
from unproject.geometry.scan import scan_mesh
from unproject.lie.se3 import se3_random
from unproject.lie.so3 import so3_distance

PAIRS = {
    "cloud_bin 0, 1": ("open3d_testdata/Feature/cloud_bin_0.pcd", "open3d_testdata/Feature/cloud_bin_1.pcd", 0.05),
    "capture 1, 2": ("pcl_data/tutorials/pairwise/capture0001.pcd", "pcl_data/tutorials/pairwise/capture0002.pcd", 0.05),
    "capture 2, 3": ("pcl_data/tutorials/pairwise/capture0002.pcd", "pcl_data/tutorials/pairwise/capture0003.pcd", 0.05),
    "capture 3, 4": ("pcl_data/tutorials/pairwise/capture0003.pcd", "pcl_data/tutorials/pairwise/capture0004.pcd", 0.05),
    "capture 4, 5": ("pcl_data/tutorials/pairwise/capture0004.pcd", "pcl_data/tutorials/pairwise/capture0005.pcd", 0.05),
    "room scan 1, 2": ("pcl_data/tutorials/room_scan1.pcd", "pcl_data/tutorials/room_scan2.pcd", 0.3),
}


def read(path: Path, stride: int) -> np.ndarray:
    points = up.load_points(path).positions
    points = points[torch.isfinite(points).all(1)]
    return points[:: stride if len(points) > 20_000 else 1].double().numpy()


def judge(source: np.ndarray, tree: cKDTree, pose: np.ndarray, distance: float) -> tuple[float, float]:
    gap = tree.query(source @ pose[:3, :3].T + pose[:3, 3], distance_upper_bound=distance)[0]
    inside = np.isfinite(gap)
    return float(np.sqrt((gap[inside] ** 2).mean())), float(inside.mean())


def with_open3d(source: np.ndarray, target: np.ndarray, start: np.ndarray, distance: float) -> np.ndarray:
    clouds = [o3d.geometry.PointCloud(o3d.utility.Vector3dVector(p)) for p in (source, target)]
    clouds[1].estimate_normals(o3d.geometry.KDTreeSearchParamKNN(20))
    method = o3d.pipelines.registration.TransformationEstimationPointToPlane()
    criteria = o3d.pipelines.registration.ICPConvergenceCriteria(max_iteration=40)
    return o3d.pipelines.registration.registration_icp(*clouds, distance, start, method, criteria).transformation


def with_small_gicp(source: np.ndarray, target: np.ndarray, start: np.ndarray, distance: float) -> np.ndarray:
    result = small_gicp.align(
        target, source, init_T_target_source=start, registration_type="GICP", downsampling_resolution=distance / 20,
        max_correspondence_distance=distance, num_threads=torch.get_num_threads(), max_iterations=40,
    )  # fmt: skip
    return np.asarray(result.T_target_source)


def with_unproject(method: str) -> Callable[..., np.ndarray]:
    def run(source: np.ndarray, target: np.ndarray, start: np.ndarray, distance: float) -> np.ndarray:
        options = up.IcpOptions(method=method, max_distance=distance, voxels=(0.0,), penalty=None)  # type: ignore[arg-type]
        clouds = [up.PointCloud(positions=torch.from_numpy(p)) for p in (source, target)]
        return up.icp(*clouds, torch.from_numpy(start), options).target_from_source.numpy()

    return run


METHODS = {
    "unproject": with_unproject("plane"),
    "generalized": with_unproject("generalized"),
    "open3d": with_open3d,
    "small_gicp": with_small_gicp,
}


def refinement(folder: Path, pairs: list[str], quick: bool) -> list[Table]:
    """Every method from the same start: the pose found without one, disturbed by a fifth of the distance and a degree."""
    accuracy, seconds = Table("RMSE after refinement", list(METHODS), unit="mm"), Table("time of refinement", list(METHODS))
    for name in pairs:
        first, second, distance = PAIRS[name]
        source, target = read(folder / first, 8 if quick else 4), read(folder / second, 8 if quick else 4)
        clouds = [up.PointCloud(positions=torch.from_numpy(p)) for p in (source, target)]
        found = up.register_global(*clouds).target_from_source
        shift = torch.tensor([0.2 * distance, 0, 0, 0, 0.017, 0], dtype=torch.float64)
        start, tree = (up.se3_exp(shift) @ found).numpy(), cKDTree(target)
        errors, times, shares = {}, {}, {}
        for method, function in METHODS.items():
            function(source, target, start, distance)
            begin = time.perf_counter()
            pose = function(source, target, start, distance)
            times[method] = 1e3 * (time.perf_counter() - begin)
            rmse, share = judge(source, tree, pose, distance)
            errors[method], shares[method] = 1e3 * rmse, share
        accuracy.add(name, errors, fitness=shares["unproject"], best_fitness=max(shares.values()))
        seconds.add(name, times, points=len(source))
    return [accuracy, seconds]


def random_starts(folder: Path, pairs: list[str], starts: int) -> Table:
    """Share of random starts from which the motion found without a start is right."""
    table = Table("random starts", ["unproject"], unit="% right")
    for name in pairs:
        first, second, distance = PAIRS[name]
        source, target = (up.PointCloud(positions=torch.from_numpy(read(folder / path, 8)).float()) for path in (first, second))
        truth = up.icp(source, target, up.register_global(source, target).target_from_source, up.IcpOptions(max_distance=distance))
        size = float((source.positions.amax(0) - source.positions.amin(0)).norm())
        right = 0
        for seed in range(starts):
            motion = se3_random(extent=size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
            moved = up.PointCloud(positions=up.se3_apply(motion.float(), source.positions))
            try:
                found = up.register_global(moved, target).target_from_source @ motion
            except up.DataError:
                continue
            turn = float(so3_distance(found[:3, :3], truth.target_from_source[:3, :3]))
            shift = float((found - truth.target_from_source)[:3, 3].norm())
            right += turn < 0.05 and shift < 0.02 * size
        table.add(name, {"unproject": 100 * right / starts}, starts=starts)
    return table


def deformable(quick: bool) -> list[Table]:
    """What each way to deform a template makes of a scan of a posed body, and as-rigid-as-possible beside Open3D's on a bar."""
    model = up.sample_body_model(resolution=32 if quick else 56)
    generator = torch.Generator().manual_seed(0)
    pose = 0.25 * torch.randn(model.joint_count, 3, generator=generator)
    truth = up.pose_model(model, torch.randn(model.identity_count, generator=generator), None, pose, torch.tensor([1.0, 2.0, 3.0]))
    scan = scan_mesh(up.Mesh(vertices=truth, faces=model.faces), points=10_000, views=12, noise=0.002, outliers=0.02, seed=1)
    index = torch.tensor(list(model.landmarks.values()))
    marks = up.Landmarks(vertices=index, positions=truth[index], deviation=0.01)
    ways = {
        "linear model, landmarks": lambda: up.fit_model(scan, model, marks),
        "linear model": lambda: up.fit_model(scan, model),
        "deformation graph, landmarks": lambda: up.register_graph(near, scan, marks),
        "optimal step ICP, landmarks": lambda: up.nonrigid_icp(near, scan, marks),
    }
    motion = up.umeyama(model.mean[index], truth[index])
    near = up.Mesh(vertices=up.se3_apply(motion, model.mean), faces=model.faces)
    table = Table(
        f"a posed body of {model.vertex_count} vertices, 1.8 across, from 10,000 points with 0.2 % noise", ["unproject"], unit="s"
    )
    for name, way in ways.items():
        begin = time.perf_counter()
        *_, last = way()
        off = 1e3 * (last.mesh.vertices - truth).norm(dim=1)
        surface = 1e3 * up.closest_point(truth, last.mesh.to(torch.float32)).squared_distance.sqrt()
        table.add(name, {"unproject": time.perf_counter() - begin}, vertices_off=float(off.median()), surface_off=float(surface.mean()))
    return [table, arap(quick)]


def arap(quick: bool) -> Table:
    """A bar bent by its ends, 50 rounds: time and energy beside Open3D's."""
    bar = up.cylinder(0.1, 2.0, segments=(16, 40) if quick else (48, 200))
    ends = (bar.vertices[:, 2].abs() > 0.95).nonzero()[:, 0]
    turn = up.so3_exp(torch.tensor([0.6, 0.0, 0.0]))
    targets = torch.where(bar.vertices[ends, 2:] > 0, bar.vertices[ends] @ turn.T, bar.vertices[ends] @ turn)
    shape = up.to_open3d(bar).to_legacy()
    handles = o3d.utility.IntVector(ends.tolist())

    def open3d_arap() -> torch.Tensor:
        places = o3d.utility.Vector3dVector(targets.double().numpy())
        return torch.from_numpy(np.asarray(shape.deform_as_rigid_as_possible(handles, places, max_iter=50).vertices)).float()

    ways = {"unproject": lambda: up.arap_deform(bar, ends, targets, iterations=50).vertices, "open3d": open3d_arap}
    table = Table("as rigid as possible, 50 rounds", list(ways))
    times, energy = {}, {}
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        for name, way in ways.items():
            way()
            begin = time.perf_counter()
            vertices = way()
            times[name] = 1e3 * (time.perf_counter() - begin)
            energy[name] = float(up.arap_energy(vertices, bar.vertices, up.mesh_topology(bar)))
    table.add(f"bar, {bar.vertex_count} vertices", times, energy=energy["unproject"], energy_open3d=energy["open3d"])
    return table


def run(options: argparse.Namespace, chosen: argparse.Namespace) -> list[Table]:
    pairs, tables = chosen.pairs[: 2 if options.quick else None], []
    if "refinement" in chosen.parts:
        tables += refinement(chosen.data, pairs, options.quick)
    if "starts" in chosen.parts:
        tables.append(random_starts(chosen.data, pairs, 2 if options.quick else chosen.starts))
    if "deformable" in chosen.parts:
        tables += deformable(options.quick)
    return tables


def main() -> None:
    extra = argparse.ArgumentParser(add_help=False)
    extra.add_argument("--data", type=Path, default=Path(os.environ.get("UNPROJECT_DATA", ".")) / "scans")
    parts = ("refinement", "starts", "deformable")
    extra.add_argument("--parts", nargs="*", choices=parts, default=parts)
    extra.add_argument("--pairs", nargs="*", choices=list(PAIRS), default=list(PAIRS))
    extra.add_argument("--starts", type=int, default=math.ceil(100 / len(PAIRS)), help="random starts of each pair")
    chosen, sys.argv[1:] = extra.parse_known_args()
    options = parse_arguments(f"{__doc__}\n{extra.format_help()}")
    torch.manual_seed(0)
    tables = join_tables(options.join) if options.join else run(options, chosen)
    write_json(options.json, tables)
    if options.write:
        write_results("bench_register", tables, notes=NOTES)


NOTES = """RMSE within 5 cm (rooms: 30 cm) of all matches, by one judge, of every fourth point; small_gicp thins to 1/20 of that distance. A
random start is right within 3 degrees and 2 % of the size. Of the body: the median distance of vertices to where they belong, and the mean
distance of these places to the fitted surface, in thousandths of the unit."""


if __name__ == "__main__":
    main()
