"""A surface from a scan beside Open3D's screened Poisson at its best depth: quality against the true shape, time and peak memory.

The shapes are procedural unless a folder of meshes is given: python benchmarks/bench_fit.py [--quick] [--meshes DIR] [--large] [--write]
Scans: clean (50k points, 24 views), noisy (20k, 12 views, noise of 1 % of the longest side)
and partial (20k, 4 views, 0.5 %, 5 % outliers).
Each comes with and without normals. Distances are in percent of the longest side. Every run has a process of its own.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from harness import Table, parse_arguments, write_json, write_results

import unproject as up
from unproject.fit.surface import surface_from_points
from unproject.geometry.mesh import Mesh
from unproject.geometry.points import PointCloud
from unproject.geometry.scan import scan_mesh
from unproject.geometry.sculpture import sample_sculpture
from unproject.io.load import load_mesh, load_points, save
from unproject.losses.metrics import surface_metrics

REGIMES: dict[str, dict[str, Any]] = {
    "clean": {"points": 50_000, "views": 24},
    "noisy": {"points": 20_000, "views": 12, "noise": 0.01},
    "partial": {"points": 20_000, "views": 4, "noise": 0.005, "outliers": 0.05},
}
DEPTHS = {"clean": (8, 9), "noisy": (5, 6, 7), "partial": (5, 6, 7)}
MEASURES = {"CD": "Chamfer, % of the longest side", "F": "F-score at 1 %", "NC": "normal consistency", "time": "s", "memory": "peak, GB"}


def fit_ours(scan: PointCloud, regime: str) -> Mesh:
    """unproject with its defaults."""
    return surface_from_points(scan)


def fit_poisson(scan: PointCloud, regime: str, depth: int) -> Mesh:
    """Outliers by statistics, normals of 30 neighbours oriented by tangent planes, screened Poisson, cropped to the scan's box."""
    o3d = importlib.import_module("open3d")
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(scan.positions.double().numpy()))
    if scan.normals is not None:
        cloud.normals = o3d.utility.Vector3dVector(scan.normals.double().numpy())
    if regime == "partial":
        cloud, _ = cloud.remove_statistical_outlier(20, 2.0)
    if scan.normals is None:
        cloud.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(30))
        cloud.orient_normals_consistent_tangent_plane(30)
    mesh, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=depth, n_threads=torch.get_num_threads())
    box = cloud.get_axis_aligned_bounding_box()
    mesh = mesh.crop(box.scale(1.1, box.get_center()))
    vertices, faces = (importlib.import_module("numpy").asarray(a) for a in (mesh.vertices, mesh.triangles))
    return Mesh(vertices=torch.from_numpy(vertices).float(), faces=torch.from_numpy(faces).long())


def run_child(words: list[str]) -> None:
    """In a process of its own: fit one scan, write the mesh, print time and peak memory."""
    method, regime, scan_file, mesh_file, threads = words
    torch.set_num_threads(int(threads))
    scan = load_points(scan_file)
    if method == "unproject":
        surface_from_points(scan[:500])  # loads the compiled kernels
    begin = time.perf_counter()
    mesh = fit_ours(scan, regime) if method == "unproject" else fit_poisson(scan, regime, int(method))
    seconds = time.perf_counter() - begin
    save(mesh, mesh_file)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)
    print(json.dumps({"time": seconds, "memory": peak}))


def measure(method: str, regime: str, scan_file: Path, truth: Mesh | None) -> dict[str, float]:
    """One fit, and its quality where the truth is known."""
    mesh_file = scan_file.with_name("result.ply")
    mesh_file.unlink(missing_ok=True)
    words = [sys.executable, __file__, "--child", method, regime, str(scan_file), str(mesh_file), str(torch.get_num_threads())]
    process = subprocess.run(words, stdout=subprocess.PIPE, text=True)  # what it says of an error goes where ours does
    process.check_returncode()
    found = json.loads(process.stdout.splitlines()[-1])
    if truth is not None:
        side = float((truth.vertices.amax(0) - truth.vertices.amin(0)).max())
        quality = surface_metrics(load_mesh(mesh_file), truth)
        found |= {"CD": 100 * quality.chamfer / side, "F": quality.f_score, "NC": quality.normal_consistency}
    return found


def shapes(folder: Path | None, quick: bool) -> dict[str, Mesh]:
    """The meshes of a folder, or a carved body with thin parts and a slender torus."""
    if folder is not None:
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".obj", ".ply", ".off", ".stl"})
        return {file.stem: load_mesh(file) for file in files[: 1 if quick else None]}
    found = {"sculpture": sample_sculpture(resolution=96 if quick else 160)}
    if not quick:
        found["torus"] = up.torus(major_radius=1.0, minor_radius=0.15, segments=(192, 48))
    return found


def compare(name: str, truth: Mesh, regime: str, given: bool, folder: Path, poisson: bool) -> dict[str, dict[str, float]]:
    """All measures of both methods on one scan."""
    scan = scan_mesh(truth, seed=3, **REGIMES[regime])
    scan_file = folder / "scan.ply"
    save(scan if given else PointCloud(positions=scan.positions), scan_file)
    results = {"unproject": measure("unproject", regime, scan_file, truth)}
    if poisson:
        peers = {}
        for depth in DEPTHS[regime]:
            try:
                peers[depth] = measure(str(depth), regime, scan_file, truth)
            except subprocess.CalledProcessError as error:  # it aborts now and then
                print(f"Open3D at depth {depth} on {name} {regime}: {error}", file=sys.stderr)
        if peers:
            depth = min(peers, key=lambda d: peers[d]["CD"])
            results["open3d"] = peers[depth] | {"depth": float(depth)}
    return results


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        run_child(sys.argv[2:])
        return
    extra = argparse.ArgumentParser(add_help=False)
    extra.add_argument("--meshes", type=Path, help="folder of meshes instead of the procedural shapes")
    extra.add_argument("--large", action="store_true", help="also a scan of a million points (ours only)")
    own, rest = extra.parse_known_args()
    sys.argv[1:] = rest
    options = parse_arguments(__doc__)
    poisson = importlib.util.find_spec("open3d") is not None
    columns = ["unproject", "open3d"] if poisson else ["unproject"]
    tables = {key: Table(f"{key}: {unit}", columns, unit=unit) for key, unit in MEASURES.items()}
    with tempfile.TemporaryDirectory() as folder:
        for name, truth in shapes(own.meshes, options.quick).items():
            for regime in ["noisy"] if options.quick else REGIMES:
                for given in (True, False):
                    results = compare(name, truth, regime, given, Path(folder), poisson)
                    label = f"{name} {regime} {'normals' if given else 'no normals'}"
                    for key, table in tables.items():
                        table.add(label, {method: values[key] for method, values in results.items()})
        if own.large:
            scan_file = Path(folder) / "scan.ply"
            save(PointCloud(positions=scan_mesh(sample_sculpture(), points=1_000_000, views=24, noise=0.002).positions), scan_file)
            found = measure("unproject", "noisy", scan_file, sample_sculpture())
            for key, table in tables.items():
                table.add("sculpture, 1M points, noise 0.002", {"unproject": found[key]})
    write_json(options.json, list(tables.values()))
    if options.write:
        write_results("bench_fit", list(tables.values()), notes="Open3D: screened Poisson at the depth with the lowest Chamfer distance.")


if __name__ == "__main__":
    main()
