"""Voxels beside scikit-image, Open3D, trimesh, SciPy and torch: isosurfaces, distances of a mesh, sampling, rendering."""

# pyright: reportCallIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false
# (the peers' stubs do not know NumPy arrays)
from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from harness import Table, parse_arguments, time_all, write_json, write_results
from torch import Tensor

import unproject as up
from unproject.geometry.dual_contouring import dual_contour
from unproject.geometry.voxelize import lattice_around, mesh_to_occupancy, mesh_to_sdf, mesh_to_sparse_sdf
from unproject.geometry.voxels import VoxelGrid, grid_points, grid_transform, make_grid, sample_grid
from unproject.render.sphere_trace import trace_grid
from unproject.render.volume import render_volume


def field(size: int, kind: str) -> Tensor:
    """A ball, or a gyroid whose surface fills the box."""
    grid = make_grid(torch.zeros(size, size, size), world_from_grid=grid_transform(-torch.ones(3), torch.ones(3), (size, size, size)))
    x, y, z = (10 * grid_points(grid)).unbind(-1)
    if kind == "ball":
        return (x * x + y * y + z * z).sqrt() - 7.3
    return torch.sin(x) * torch.cos(y) + torch.sin(y) * torch.cos(z) + torch.sin(z) * torch.cos(x)


def isosurfaces(sizes: list[int]) -> Table:
    from skimage.measure import marching_cubes

    table = Table("Isosurface of a dense grid", ["unproject", "scikit-image", "scikit-image, lorensen", "dual contouring (ours)"])
    for size in sizes:
        for kind in ("ball", "gyroid"):
            values = field(size, kind)
            array = values.numpy()
            functions: dict[str, Callable[[], object]] = {
                "unproject": partial(up.marching_cubes, values),
                "scikit-image": partial(marching_cubes, array, 0.0),
                "scikit-image, lorensen": partial(marching_cubes, array, 0.0, method="lorensen"),
            }
            if size <= 128:
                functions["dual contouring (ours)"] = partial(dual_contour, values)
            table.add(f"{size}^3, {kind}", time_all(functions, repeat=4), faces=up.marching_cubes(values).face_count)
    return table


def bumpy(level: int) -> up.Mesh:
    mesh = up.icosphere(level)
    p = mesh.vertices
    bumps = torch.sin(9 * p[:, 0]) * torch.sin(8 * p[:, 1]) * torch.sin(7 * p[:, 2])
    return up.make_mesh(p * (1 + 0.15 * bumps)[:, None], mesh.faces)


def distances(level: int, resolution: int) -> Table:
    import open3d as o3d
    import trimesh

    mesh = bumpy(level)
    lattice = lattice_around(mesh.vertices, resolution=resolution)
    table = Table(f"{mesh.face_count:,} faces to {resolution}^3", ["unproject", "Open3D", "trimesh"])
    points = o3d.core.Tensor(grid_points(make_grid(torch.zeros(lattice.size), world_from_grid=lattice.world_from_grid)).float().numpy())
    vertices, faces = o3d.core.Tensor(mesh.vertices.numpy()), o3d.core.Tensor(mesh.faces.numpy().astype(np.uint32))

    def open3d_distance() -> object:
        scene = o3d.t.geometry.RaycastingScene()
        scene.add_triangles(vertices, faces)
        return scene.compute_signed_distance(points)

    table.add(
        "signed distance everywhere", time_all({"unproject": partial(mesh_to_sdf, mesh, lattice), "Open3D": open3d_distance}, repeat=2)
    )
    cell = float(lattice.world_from_grid[0, 0])
    sparse = partial(mesh_to_sparse_sdf, mesh, voxel=cell, band=4 * cell)
    table.add("within 4 voxels, sparse blocks", time_all({"unproject": sparse}, repeat=2))
    body = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    filled = lambda: body.voxelized(cell).fill()
    table.add("occupancy", time_all({"unproject": partial(mesh_to_occupancy, mesh, lattice), "trimesh": filled}, repeat=2, seconds=0.1))
    return table


def sampling(size: int, count: int) -> Table:
    from scipy.ndimage import map_coordinates

    table = Table(f"{count:,} trilinear samples of {size}^3", ["unproject", "torch grid_sample", "SciPy"])
    points = torch.rand(count, 3) * (size - 1)
    places = (points.flip(1) / (size - 1) * 2 - 1).reshape(1, 1, 1, count, 3)
    for channels in (1, 8):
        values = torch.randn(size, size, size, channels)
        grid, layers = make_grid(values), values.permute(3, 0, 1, 2)[None].contiguous()
        peer = partial(torch.nn.functional.grid_sample, layers, places, align_corners=True)
        functions: dict[str, Callable[[], object]] = {"unproject": partial(sample_grid, grid, points), "torch grid_sample": peer}
        if channels == 1:
            array, where = values[..., 0].numpy(), points.T.numpy()
            functions["SciPy"] = partial(map_coordinates, array, where, order=1)
        table.add(f"{channels} channels", time_all(functions, repeat=5))

        def ours(values: Tensor = values) -> None:
            leaf, where = values.clone().requires_grad_(), points.clone().requires_grad_()
            sample_grid(make_grid(leaf), where).square().sum().backward()

        def theirs(layers: Tensor = layers) -> None:
            leaf, where = layers.clone().requires_grad_(), places.clone().requires_grad_()
            torch.nn.functional.grid_sample(leaf, where, align_corners=True).square().sum().backward()

        table.add(f"{channels} channels, with gradients", time_all({"unproject": ours, "torch grid_sample": theirs}, repeat=3))
    return table


def rendering(pixels: int) -> Table:
    table = Table(f"Images of {pixels} x {pixels}", ["unproject"])
    camera = up.perspective_camera(up.look_at([0.0, 0.5, 3.0]), image_size=(pixels, pixels), fov_y_deg=45.0)
    origins, directions = up.pixel_rays(camera)
    box = grid_transform(-torch.ones(3), torch.ones(3), (64, 64, 64))
    distance = VoxelGrid(values=field(64, "ball") / 10, world_from_grid=box)

    def trace(gradient: bool) -> None:
        leaf = distance.values.clone().requires_grad_(gradient)
        hit = trace_grid(VoxelGrid(values=leaf, world_from_grid=box), origins, directions)
        if gradient:
            hit.point.sum().backward()

    colored = torch.rand(64, 64, 64, 4)

    def march(gradient: bool) -> None:
        leaf = colored.clone().requires_grad_(gradient)
        image = render_volume(VoxelGrid(values=leaf, world_from_grid=box), origins, directions, samples=64)
        if gradient:
            image.color.square().sum().backward()

    for name, function in (("sphere tracing of 64^3", trace), ("volume of 64^3, 64 samples a ray", march)):
        for gradient in (False, True):
            table.add(name + (", with gradient" if gradient else ""), time_all({"unproject": partial(function, gradient)}, repeat=3))
    return table


def main() -> None:
    options = parse_arguments(__doc__)
    torch.manual_seed(0)
    quick = options.quick
    tables = [
        isosurfaces([32] if quick else [64, 128, 256]),
        distances(3 if quick else 6, 32 if quick else 128),
        sampling(32 if quick else 128, 10_000 if quick else 1_000_000),
        rendering(32 if quick else 128),
    ]
    write_json(options.json, tables)
    if options.write:
        write_results("bench_voxels", tables, notes="Open3D's sign is by ray parity, trimesh fills a voxelized surface.")


if __name__ == "__main__":
    main()
