"""Searches among points, farthest points, normals, Chamfer distance, the sphere fit, beside pykdtree, SciPy, Open3D; the dispatcher.

python benchmarks/bench_geometry.py [--quick] [--threads N] [--json FILE] [--write]
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import open3d
import torch
from harness import Table, parse_arguments, time_all, write_json, write_results
from pykdtree.kdtree import KDTree
from scipy.spatial import cKDTree
from torch import Tensor

import unproject as up
from unproject.kernels.jit import kernel
from unproject.ops.dispatch import for_each_slice, parallel_for

NOTES = """The sphere fit is icosphere 4 to 5,000 samples with Chamfer 1.0, edge 1.0, normal consistency 0.01 and Laplacian 0.1,
a step of SGD included; "fixed target" has the target's samples and their search tree from before the loop. PyTorch3D's CPU code
took 185 ms for it on a machine of the same kind. A launch of two and more slices pays for the change of the interpreter lock between
the threads."""


def sphere(count: int, seed: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)), dim=1)


def clusters(count: int, seed: int) -> Tensor:
    """Dense clusters far apart and some outliers: what a uniform grid is bad at."""
    random = torch.Generator().manual_seed(seed)
    points = (torch.rand(count, 3, generator=random) * 3).round() * 10 + torch.randn(count, 3, generator=random) * 0.01
    points[: count // 100] *= 100
    return points


def cloud_of(points: Tensor) -> open3d.geometry.PointCloud:
    return open3d.geometry.PointCloud(open3d.utility.Vector3dVector(points.double().numpy()))


def nearest_both_ways(x: Tensor, y: Tensor, threads: int) -> dict[str, Callable[[], object]]:
    """Build and query, x in y and y in x."""
    a, b = x.numpy(), y.numpy()

    def ours() -> None:
        i, j = up.build_index(x), up.build_index(y)
        up.nearest(i, j), up.nearest(j, i)

    def pykdtree() -> None:
        KDTree(a).query(b), KDTree(b).query(a)

    def scipy() -> None:
        cKDTree(a).query(b, workers=threads), cKDTree(b).query(a, workers=threads)

    def open3d_tensor() -> None:
        for points, queries in ((a, b), (b, a)):
            search = open3d.core.nns.NearestNeighborSearch(open3d.core.Tensor(points))
            search.knn_index()
            search.knn_search(open3d.core.Tensor(queries), 1)

    return {"unproject": ours, "pykdtree": pykdtree, "scipy": scipy, "open3d": open3d_tensor}


def nearest_one_way(x: Tensor, y: Tensor, threads: int) -> dict[str, Callable[[], object]]:
    """Of points, once: build and query."""
    a, b = x.numpy(), y.numpy()
    return {
        "unproject": lambda: up.nearest(x, y),
        "pykdtree": lambda: KDTree(b).query(a),
        "scipy": lambda: cKDTree(b).query(a, workers=threads),
    }


def k_nearest(points: Tensor, k: int, threads: int) -> dict[str, Callable[[], object]]:
    """Build and query, of a set in itself."""
    array = points.numpy()

    def open3d_tensor() -> None:
        search = open3d.core.nns.NearestNeighborSearch(open3d.core.Tensor(array))
        search.knn_index()
        search.knn_search(open3d.core.Tensor(array), k)

    return {
        "unproject": lambda: up.knn(points, points, k),
        "pykdtree": lambda: KDTree(array).query(array, k=k),
        "scipy": lambda: cKDTree(array).query(array, k=k, workers=threads),
        "open3d": open3d_tensor,
    }


def in_radius(points: Tensor, radius: float, threads: int) -> dict[str, Callable[[], object]]:
    array = points.numpy()

    def open3d_tensor() -> None:
        search = open3d.core.nns.NearestNeighborSearch(open3d.core.Tensor(array))
        search.fixed_radius_index(radius)
        search.fixed_radius_search(open3d.core.Tensor(array), radius)

    return {
        "unproject": lambda: up.radius_search(points, points, radius),
        "scipy": lambda: cKDTree(array).query_ball_point(array, radius, workers=threads),
        "open3d": open3d_tensor,
    }


def bench_searches(quick: bool, threads: int) -> list[Table]:
    seconds = 0.5 if quick else 1.0
    both = Table("nearest, both ways, build and query", ["unproject", "pykdtree", "scipy", "open3d"])
    for count in (1_000, 5_000, 20_000) if quick else (1_000, 5_000, 20_000, 100_000):
        both.add(f"sphere {count}", time_all(nearest_both_ways(sphere(count, 0), sphere(count, 1), threads), seconds=seconds))
    both.add("clusters, outliers 20000", time_all(nearest_both_ways(clusters(20_000, 0), clusters(20_000, 1), threads), seconds=seconds))
    once = Table("nearest, one way, build and query", ["unproject", "pykdtree", "scipy"])
    for count in (1_000, 3_000):
        functions = nearest_one_way(sphere(count, 0), sphere(count, 1), threads)
        once.add(f"sphere {count}", time_all(functions, seconds=seconds, repeat=500))
    within = Table("k nearest in the set itself, build and query", ["unproject", "pykdtree", "scipy", "open3d"])
    sizes = [(1_000, 8), (3_000, 8), (20_000, 8)] + ([] if quick else [(100_000, 8), (100_000, 16), (100_000, 30), (1_000_000, 8)])
    for count, k in sizes:
        functions = k_nearest(sphere(count, 0), k, threads)
        if count > 500_000:
            functions.pop("scipy"), functions.pop("open3d")
        within.add(f"sphere {count}, k {k}", time_all(functions, seconds=seconds, repeat=3 if count > 500_000 else 10))
    radius = Table("all within a radius, build and query", ["unproject", "scipy", "open3d"])
    for count in (20_000,) if quick else (20_000, 100_000):
        reach = math.sqrt(4 * 30 / count)
        radius.add(f"sphere {count}, 30 each", time_all(in_radius(sphere(count, 0), reach, threads), seconds=seconds, repeat=10))
    return [both, once, within, radius]


def bench_points(quick: bool) -> list[Table]:
    seconds = 0.5 if quick else 1.0
    farthest = Table("farthest points", ["unproject", "open3d"])
    for count, k in ((10_000, 1_000),) if quick else ((10_000, 1_000), (100_000, 1_000), (100_000, 10_000)):
        points = sphere(count, 0)
        functions: dict[str, Callable[[], object]] = {"unproject": lambda p=points, k=k: up.farthest_points(p, k)}
        if k <= 1_000:
            cloud = cloud_of(points)
            functions["open3d"] = lambda c=cloud, k=k: c.farthest_point_down_sample(k)
        farthest.add(f"{count} to {k}", time_all(functions, seconds=seconds, repeat=10))
    normals = Table("normals from 16 neighbours, build, query and PCA", ["unproject", "open3d"])
    for count in (20_000,) if quick else (100_000, 1_000_000):
        points = sphere(count, 0)
        cloud = cloud_of(points)
        search = open3d.geometry.KDTreeSearchParamKNN(16)
        functions = {"unproject": lambda p=points: up.estimate_normals(p), "open3d": lambda c=cloud, s=search: c.estimate_normals(s)}
        normals.add(f"sphere {count}", time_all(functions, seconds=seconds, repeat=5))
    chamfer = Table("Chamfer distance, forward and backward", ["unproject", "fixed target", "pykdtree + torch"])
    for count in (1_000, 5_000) if quick else (1_000, 5_000, 20_000, 100_000):
        chamfer.add(f"sphere {count}", time_all(chamfer_step(sphere(count, 0), sphere(count, 1)), seconds=seconds))
    return [farthest, normals, chamfer]


def chamfer_step(x: Tensor, y: Tensor) -> dict[str, Callable[[], object]]:
    x = x.clone().requires_grad_()
    index = up.build_index(y)

    def step(target: Tensor | up.PointIndex) -> None:
        x.grad = None
        up.chamfer_distance(x, target).backward()

    def other() -> None:
        x.grad = None
        a, b = x.detach().numpy(), y.numpy()
        i = torch.from_numpy(KDTree(b).query(a)[1].astype(np.int64))
        j = torch.from_numpy(KDTree(a).query(b)[1].astype(np.int64))
        ((x - y[i]).square().sum(1).mean() + (y - x[j]).square().sum(1).mean()).backward()

    return {"unproject": lambda: step(y), "fixed target": lambda: step(index), "pykdtree + torch": other}


def sphere_fit_step(level: int, samples: int) -> dict[str, Callable[[], object]]:
    """The four losses of the classic sphere fit, their gradient and a step of SGD with momentum; the same with the target sampled anew."""
    sphere_mesh, target = up.icosphere(level), up.torus(1.0, 0.45, segments=(64, 32))
    topology, offsets = up.mesh_topology(sphere_mesh), torch.zeros_like(sphere_mesh.vertices, requires_grad=True)
    optimizer = torch.optim.SGD([offsets], lr=1.0, momentum=0.9)
    index = up.build_index(up.sample_surface(target, samples).positions)

    def step(goal: Tensor | up.PointIndex) -> None:
        optimizer.zero_grad()
        vertices = sphere_mesh.vertices + offsets
        found = up.sample_surface(up.Mesh(vertices=vertices, faces=sphere_mesh.faces), samples).positions
        loss = up.chamfer_distance(found, goal) + up.edge_length_loss(vertices, topology)
        loss = loss + 0.01 * up.normal_consistency_loss(vertices, topology) + 0.1 * up.laplacian_smoothing_loss(vertices, topology)
        loss.backward()
        optimizer.step()

    return {"unproject": lambda: step(up.sample_surface(target, samples).positions), "fixed target": lambda: step(index)}


def bench_sphere_fit(quick: bool) -> list[Table]:
    table = Table("one step of the sphere fit", ["unproject", "fixed target"])
    for level, samples in ((3, 2_000),) if quick else ((3, 2_000), (4, 5_000), (5, 20_000)):
        functions = sphere_fit_step(level, samples)
        table.add(f"icosphere {level}, {samples} samples", time_all(functions, seconds=0.5 if quick else 2.0, repeat=200))
    return [table]


@kernel
def nothing_range(begin, end, values):
    pass


@kernel
def sine_range(begin, end, values):
    for i in range(begin, end):
        value = values[i]
        for _ in range(200):
            value = np.sin(value) + 1
        values[i] = value


def bench_dispatch(quick: bool) -> list[Table]:
    values = np.ones(1 << 14)
    repeat = 200 if quick else 2000
    launch = Table("dispatch: cost of a launch", ["unproject"], unit="us")
    for slices in (1, 2, 8, 16):
        best = time_all({"unproject": lambda s=slices: parallel_for(nothing_range, 16, values, slices=s)}, seconds=1, repeat=repeat)
        launch.add(f"empty kernel, {slices} slices", {"unproject": 1e3 * best["unproject"]})
    speed = Table("dispatch: all threads against one", ["all threads", "one thread"], ours="all threads")
    threads = torch.get_num_threads()
    for count in (1 << 10, 1 << 12, 1 << 14):

        def alone(count: int = count) -> None:
            for_each_slice(lambda _, begin, end: sine_range(begin, end, values), count, slices=1)

        functions = {"all threads": lambda c=count: parallel_for(sine_range, c, values, grain=16), "one thread": alone}
        best = time_all(functions, seconds=1, repeat=repeat)
        speed.add(f"{count} items", best, threads=threads)
    return [launch, speed]


def main() -> None:
    options = parse_arguments(__doc__)
    open3d.utility.set_verbosity_level(open3d.utility.VerbosityLevel.Error)
    tables = bench_dispatch(options.quick) + bench_sphere_fit(options.quick)
    tables += bench_searches(options.quick, options.threads) + bench_points(options.quick)
    write_json(options.json, tables)
    if options.write:
        write_results("bench_geometry", tables, notes=NOTES)


if __name__ == "__main__":
    main()
