"""Rasterizers, soft and antialiased images, points: beside Open3D/Embree in one run, and PyTorch3D's published numbers.

    python benchmarks/bench_render.py [--quick] [--write] [--json FILE]

PyTorch3D's numbers are constants: its CPU renderer, measured on two cores of a Zen 4 with the same scene (an icosphere of level 4,
256 px, sigma 1e-4, 50 faces a pixel).
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from harness import Table, parse_arguments, time_all, write_json, write_results
from torch import Tensor

import unproject as up

PYTORCH3D = {"soft silhouette + gradient": 22_700.0, "soft Phong + gradient": 25_900.0}  # ms
PEAK = """
import pathlib, torch, unproject as up
from unproject.geometry.primitives import torus
mesh = torus(segments=(250, 200))
camera = up.perspective_camera(up.look_at((0.0, 2.0, 3.0), (0.0, 0.0, 0.0)), image_size=(1024, 1024), fov_y_deg=45.0)
vertices = mesh.vertices.requires_grad_()
peak = lambda: int(next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line).split()[1])
before = peak()
up.soft_silhouette(vertices, mesh.faces, camera).sum().backward()
print(before, peak())
"""


def camera_of(size: int) -> up.Camera:
    return up.perspective_camera(up.look_at((0.0, 0.0, 3.0), (0.0, 0.0, 0.0)), image_size=(size, size), fov_y_deg=45.0)


def with_gradient(function: Callable[[Tensor], Tensor], vertices: Tensor) -> Callable[[], Any]:
    leaf = vertices.clone().requires_grad_()
    return lambda: torch.autograd.grad(function(leaf).sum(), leaf)


def phong(fragments: up.SoftFragments, vertices: Tensor, normals: Tensor, colors: Tensor, faces: Tensor) -> Tensor:
    """The colour of every fragment by the course's equation: ambient, diffuse and specular."""
    values = torch.cat([vertices, normals, colors], 1)
    at, normal, color = up.interpolate_vertices(values, faces, fragments.face, fragments.barycentrics).split(3, 1)
    normal, toward_eye = up.unit_vectors(normal), up.unit_vectors(torch.tensor([0.0, 0.0, 3.0]) - at)
    lights = [up.AmbientLight(color=[0.2] * 3), up.PointLight(position=(2.0, 2.0, 3.0), color=[0.7] * 3)]
    return up.shade_points(at, normal, toward_eye, up.make_reflectance(color, color, 0.7, 20.0), lights)


def differentiable(quick: bool) -> Table:
    table = Table("icosphere, 5,120 faces, 256 px", ["unproject", "PyTorch3D CPU (constant)"])
    mesh, camera = up.icosphere(4), camera_of(256)
    colors, normals = torch.rand(mesh.vertex_count, 3), up.vertex_normals(mesh.vertices, mesh.faces)
    topology = up.mesh_topology(mesh)

    def blended(vertices: Tensor) -> Tensor:
        image = up.soft_rasterize(vertices, mesh.faces, colors, camera)
        return up.over(image.values, image.alpha, 1.0)

    def shaded(vertices: Tensor) -> Tensor:
        fragments = up.soft_fragments(vertices, mesh.faces, camera)
        image = up.blend_fragments(fragments, phong(fragments, vertices, normals, colors, mesh.faces))
        return up.over(image.values, image.alpha, 1.0)

    rows = {
        "soft silhouette": lambda v: up.soft_silhouette(v, mesh.faces, camera),
        "soft colour": blended,
        "soft Phong": shaded,
        "antialiased silhouette": lambda v: up.silhouette(v, mesh.faces, camera, topology=topology),
    }
    for label, function in rows.items():
        functions = {"forward": lambda f=function: f(mesh.vertices), "both": with_gradient(function, mesh.vertices)}
        times = time_all(functions, seconds=0.3 if quick else 0.8)
        table.add(label, {"unproject": times["forward"]})
        name = f"{label} + gradient"
        published = {"PyTorch3D CPU (constant)": PYTORCH3D[name]} if name in PYTORCH3D else {}
        table.add(name, {"unproject": times["both"], **published})
    return table


def first_hits(quick: bool) -> Table:
    open3d: Any = importlib.import_module("open3d")
    table = Table("first hits with barycentrics", ["unproject", "unproject rays", "Open3D/Embree rays"])
    for level, size in ((6, 512),) if quick else ((4, 256), (6, 512), (8, 1024)):
        mesh, camera = up.icosphere(level), camera_of(size)
        scene = open3d.t.geometry.RaycastingScene(nthreads=torch.get_num_threads())
        scene.add_triangles(open3d.core.Tensor(mesh.vertices.numpy()), open3d.core.Tensor(mesh.faces.numpy().astype(np.uint32)))
        origins, directions = up.pixel_rays(camera)
        rays, bvh = open3d.core.Tensor(torch.cat([origins, directions], -1).contiguous().numpy()), up.build_bvh(mesh.vertices, mesh.faces)
        functions: dict[str, Callable[[], Any]] = {
            "unproject": lambda mesh=mesh, camera=camera: up.rasterize(mesh.vertices, mesh.faces, camera),
            "unproject rays": lambda o=origins, d=directions, mesh=mesh, bvh=bvh: up.ray_cast(o, d, mesh, bvh=bvh),
            "Open3D/Embree rays": lambda scene=scene, rays=rays: scene.cast_rays(rays),
        }
        table.add(f"{mesh.face_count} faces, {size} px", time_all(functions, seconds=0.3 if quick else 0.8))
    return table


def points(quick: bool) -> Table:
    table = Table("points, 512 px", ["unproject"])
    count = 100_000 if quick else 1_000_000
    centers, colors = torch.nn.functional.normalize(torch.randn(count, 3), dim=-1), torch.rand(count, 3)
    for label, spheres in (("discs", False), ("spheres", True)):
        draw = lambda spheres=spheres: up.splat(centers, 0.002, colors, camera_of(512), spheres=spheres)
        table.add(f"{count} {label}", time_all({"unproject": draw}, seconds=0.3 if quick else 1.0))
    return table


def linear_cost(quick: bool, path: Path) -> None:
    """A plot of time over faces at one size, and over pixels at one mesh."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    levels, sizes = ((3, 5) if quick else (3, 4, 5, 6, 7, 8)), ((64, 256) if quick else (64, 128, 256, 512, 1024, 2048))
    meshes = [up.icosphere(level) for level in levels]
    kinds = {
        "hard": lambda m, c: up.rasterize(m.vertices, m.faces, c),
        "soft silhouette": lambda m, c: up.soft_silhouette(m.vertices, m.faces, c),
    }
    for label, draw in kinds.items():
        by_faces = [time_all({"t": lambda m=m, draw=draw: draw(m, camera_of(512))}, seconds=0.2, repeat=5)["t"] for m in meshes]
        by_pixels = [time_all({"t": lambda s=s, draw=draw: draw(up.icosphere(4), camera_of(s))}, seconds=0.2, repeat=5)["t"] for s in sizes]
        axes[0].loglog([m.face_count for m in meshes], by_faces, "o-", label=label)
        axes[1].loglog([s * s for s in sizes], by_pixels, "o-", label=label)
    axes[0].set(xlabel="faces (512 px)", ylabel="ms")
    axes[1].set(xlabel="pixels (5,120 faces)", ylabel="ms")
    axes[1].legend()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)


def peak_memory() -> str:
    """Memory of a soft silhouette and its gradient, in a process of its own."""
    run = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    before, after = map(int, run.stdout.split())
    what = "Soft silhouette with gradient, 100,000 faces at 1024 px"
    return f"{what}: {(after - before) / 1024:.0f} MB above the {before / 1024:.0f} MB of the process."


def main() -> None:
    options = parse_arguments(__doc__)
    tables = [differentiable(options.quick), first_hits(options.quick), points(options.quick)]
    memory = peak_memory()
    print(memory)
    write_json(options.json, tables)
    if options.write:
        notes = f"{memory}\n\nTime over faces and pixels: ![time over faces and pixels](figures/render_cost.png)"
        write_results("bench_render", tables, notes=notes)
        linear_cost(options.quick, Path(__file__).parent / "figures" / "render_cost.png")


if __name__ == "__main__":
    main()
