"""Questions to a mesh beside Open3D (Embree) and trimesh (embreex): building, refitting, closest points, rays, signs, winding numbers.

The mesh is a bumpy sphere: 20 f^2 triangles. Run alone: python benchmarks/bench_mesh_queries.py [--quick] [--json FILE] [--write]
"""

from __future__ import annotations

import importlib
import math
from functools import partial
from typing import Any

import torch
from harness import Table, parse_arguments, time_all, write_json, write_results
from torch import Tensor

import unproject as up

COLUMNS = ["unproject", "open3d", "trimesh+embreex"]


def bumpy_sphere(frequency: int) -> tuple[Tensor, Tensor]:
    """A geodesic sphere with 20 frequency^2 faces and waves on it."""
    base = up.icosphere(0, dtype=torch.float64)
    rows = torch.arange(frequency + 1)
    i, j = (grid.flatten() for grid in torch.meshgrid(rows, rows, indexing="ij"))
    i, j = i[i + j <= frequency], j[i + j <= frequency]
    place = torch.full((frequency + 2, frequency + 2), -1)
    place[i, j] = torch.arange(len(i))
    up_right = torch.stack([place[i, j], place[i + 1, j], place[i, j + 1]], 1)
    down_left = torch.stack([place[i + 1, j], place[i + 1, j + 1], place[i, j + 1]], 1)
    local = torch.cat([up_right, down_left])
    local = local[(local >= 0).all(1)]
    weights = torch.stack([frequency - i - j, i, j], 1) / frequency
    points = torch.einsum("kc,fcd->fkd", weights.double(), base.vertices[base.faces]).reshape(-1, 3)
    points = torch.nn.functional.normalize(points, dim=1)
    _, merged = torch.unique((points * 1e7).round().long(), dim=0, return_inverse=True)
    faces = merged[(local + torch.arange(20)[:, None, None] * len(i)).reshape(-1, 3)]
    vertices = torch.empty(int(merged.max()) + 1, 3, dtype=torch.float64).index_copy(0, merged, points)
    x, y, z = vertices.unbind(1)
    radius = 1 + 0.15 * (3 * x + 1).sin() * (4 * y).cos() + 0.075 * (5 * z).sin()
    return (vertices * radius[:, None]).float(), faces


def open3d_scene(vertices: Tensor, faces: Tensor) -> Any:
    o3d = importlib.import_module("open3d")
    scene = o3d.t.geometry.RaycastingScene(nthreads=torch.get_num_threads())
    scene.add_triangles(o3d.core.Tensor(vertices.numpy()), o3d.core.Tensor(faces.to(torch.int32).numpy().astype("uint32")))
    return scene


def peers(vertices: Tensor, faces: Tensor) -> dict[str, Any]:
    """What is installed, ready to be asked."""
    found: dict[str, Any] = {}
    try:
        found["open3d"] = open3d_scene(vertices, faces)
        found["tensor"] = importlib.import_module("open3d").core.Tensor
    except ImportError:
        print("open3d is not installed")
    try:
        trimesh = importlib.import_module("trimesh")
        importlib.import_module("embreex")
        found["trimesh"] = trimesh.Trimesh(vertices.numpy(), faces.numpy(), process=False)
    except ImportError:
        print("trimesh with embreex is not installed")
    return found


def camera_rays(size: int) -> tuple[Tensor, Tensor]:
    """Rays through the pixels of a square image that the sphere fills for the most part."""
    steps = (torch.arange(size) + 0.5) / size * 2 - 1
    directions = torch.stack([0.466 * steps.expand(size, size), -0.466 * steps[:, None].expand(size, size), -torch.ones(size, size)], -1)
    return torch.tensor([0.0, 0.0, 2.7]).expand(size * size, 3).contiguous(), directions.reshape(-1, 3).contiguous()


def building(frequencies: list[int]) -> Table:
    table = Table("Build and refit", ["unproject", "refit", "open3d"])
    for frequency in frequencies:
        vertices, faces = bumpy_sphere(frequency)
        functions = {
            "unproject": partial(up.build_bvh, vertices, faces),
            "refit": partial(up.refit, up.build_bvh(vertices, faces), vertices),
        }
        found = peers(vertices, faces)
        if "open3d" in found:
            functions["open3d"] = partial(_build_open3d, vertices, faces, found["tensor"](vertices[:1].numpy()))
        table.add(f"{len(faces):,} faces", time_all(functions))
    return table


def _build_open3d(vertices: Tensor, faces: Tensor, query: Any) -> None:
    open3d_scene(vertices, faces).compute_closest_points(query)  # the first question builds the tree


def closest(vertices: Tensor, faces: Tensor, counts: list[int]) -> Table:
    table = Table(f"Closest point on {len(faces):,} faces", COLUMNS[:2])
    mesh, moving = (vertices, faces), (vertices.clone().requires_grad_(), faces)
    found, tree = peers(vertices, faces), up.build_bvh(vertices, faces)
    winding = up.winding_tree(mesh, bvh=tree)
    for count in counts:
        queries = vertices[torch.randint(len(vertices), (count,))] * (0.8 + 0.4 * torch.rand(count, 1)) + 0.01 * torch.randn(count, 3)
        points = {"unproject": partial(up.closest_point, queries, mesh, bvh=tree)}
        signed = {"unproject": partial(up.signed_distance, queries, mesh, bvh=tree, winding=winding)}
        if "open3d" in found:
            points["open3d"] = partial(found["open3d"].compute_closest_points, found["tensor"](queries.numpy()))
            signed["open3d"] = partial(found["open3d"].compute_signed_distance, found["tensor"](queries.numpy()))
        table.add(f"{count:,} points", time_all(points))
        table.add(f"{count:,} points, loss and gradient", time_all({"unproject": partial(_loss_step, queries, moving, tree)}))
        table.add(f"{count:,} winding numbers", time_all({"unproject": partial(up.winding_number, queries, winding)}))
        table.add(f"{count:,} signed distances", time_all(signed))
    return table


def _loss_step(points: Tensor, mesh: tuple[Tensor, Tensor], tree: up.Bvh) -> None:
    up.point_to_mesh_distance(points, mesh, bvh=tree).backward()


def rays(vertices: Tensor, faces: Tensor, sizes: list[int]) -> Table:
    table = Table(f"Rays on {len(faces):,} faces", COLUMNS)
    found, tree = peers(vertices, faces), up.build_bvh(vertices, faces)
    for size in sizes:
        anywhere = torch.randn(size * size, 3)
        for label, (origins, directions) in (("camera", camera_rays(size)), ("random", (0.5 * anywhere.roll(1, 0), anywhere))):
            first = {"unproject": partial(up.ray_cast, origins, directions, (vertices, faces), bvh=tree)}
            blocked = {"unproject": partial(up.occluded, origins, directions, (vertices, faces), bvh=tree)}
            if "open3d" in found:
                both = found["tensor"](torch.cat([origins, directions], 1).numpy())
                first["open3d"], blocked["open3d"] = (
                    partial(found["open3d"].cast_rays, both),
                    partial(found["open3d"].test_occlusions, both),
                )
            if "trimesh" in found:
                ray, arrays = found["trimesh"].ray, (origins.numpy(), directions.numpy())
                first["trimesh+embreex"] = partial(ray.intersects_first, *arrays)
                blocked["trimesh+embreex"] = partial(ray.intersects_any, *arrays)
            table.add(f"{size} x {size} {label}, first hit", time_all(first))
            table.add(f"{size} x {size} {label}, any hit", time_all(blocked))
    return table


def clouds(counts: list[int], queries: Tensor) -> Table:
    table = Table(f"Oriented points: {len(queries):,} winding numbers", ["unproject", "prepare"])
    for count in counts:
        points = torch.nn.functional.normalize(torch.randn(count, 3), dim=1)
        areas = torch.full((count,), 4 * math.pi / count)
        prepare = partial(up.point_winding_tree, points, points, areas)
        table.add(f"{count:,} points", time_all({"unproject": partial(up.winding_number, queries, prepare()), "prepare": prepare}))
    return table


def intersections(frequencies: list[int]) -> Table:
    table = Table("Self-intersections", ["unproject"])
    for frequency in frequencies:
        vertices, faces = bumpy_sphere(frequency)
        tree = up.build_bvh(vertices, faces)
        table.add(f"{len(faces):,} faces", time_all({"unproject": partial(up.self_intersections, (vertices, faces), bvh=tree)}))
    return table


def main() -> None:
    options = parse_arguments(__doc__)
    torch.manual_seed(0)
    vertices, faces = bumpy_sphere(16 if options.quick else 64)
    counts = [1_000, 10_000] if options.quick else [100, 1_000, 10_000, 100_000]
    tables = [
        building([16] if options.quick else [16, 64, 224]),
        closest(vertices, faces, counts),
        rays(vertices, faces, [128] if options.quick else [128, 512]),
        clouds([10_000] if options.quick else [10_000, 100_000], torch.randn(counts[-1], 3)),
        intersections([16] if options.quick else [16, 64]),
    ]
    write_json(options.json, tables)
    if options.write:
        write_results("bench_mesh_queries", tables)


if __name__ == "__main__":
    main()
