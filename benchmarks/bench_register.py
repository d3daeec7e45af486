"""Registration beside Open3D and small_gicp: the RMSE that each ends with, the time it takes, and success from random starts.

    python benchmarks/bench_register.py [--quick] [--json FILE] [--write] [--data FOLDER]

RMSE and fitness are measured by one judge for all, on all points, within the given distance. FOLDER is that of the scans; by default
$UNPROJECT_DATA/scans.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open3d as o3d
import small_gicp
import torch
from harness import Table, parse_arguments, write_json, write_results
from scipy.spatial import cKDTree

import unproject as up
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


def refinement(folder: Path, quick: bool) -> list[Table]:
    """Every method from the same start: the pose found without one, disturbed by a fifth of the distance and a degree."""
    accuracy, seconds = Table("RMSE after refinement", list(METHODS), unit="mm"), Table("time of refinement", list(METHODS))
    for name, (first, second, distance) in list(PAIRS.items())[: 2 if quick else None]:
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


def random_starts(folder: Path, quick: bool) -> Table:
    """Share of random starts from which the motion without a start is right, and the mean time."""
    table = Table("random starts", ["unproject"], unit="% right")
    starts = 2 if quick else 10
    for name, (first, second, distance) in list(PAIRS.items())[: 2 if quick else None]:
        source, target = (up.PointCloud(positions=torch.from_numpy(read(folder / path, 8)).float()) for path in (first, second))
        truth = up.icp(source, target, up.register_global(source, target).target_from_source, up.IcpOptions(max_distance=distance))
        size = float((source.positions.amax(0) - source.positions.amin(0)).norm())
        right, begin = 0, time.perf_counter()
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
        table.add(name, {"unproject": 100 * right / starts}, starts=starts, seconds=(time.perf_counter() - begin) / starts)
    return table


def main() -> None:
    folder: Any = Path(os.environ.get("UNPROJECT_DATA", ".")) / "scans"
    if "--data" in sys.argv:
        place = sys.argv.index("--data")
        folder = Path(sys.argv[place + 1])
        del sys.argv[place : place + 2]
    options = parse_arguments(__doc__)
    torch.manual_seed(0)
    tables = [*refinement(folder, options.quick), random_starts(folder, options.quick)]
    write_json(options.json, tables)
    if options.write:
        write_results(
            "bench_register",
            tables,
            notes="RMSE within 5 cm (rooms: 30 cm) of all matches, by one judge. small_gicp thins to 1/20 of that.",
        )


if __name__ == "__main__":
    main()
