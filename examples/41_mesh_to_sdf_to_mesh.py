"""A mesh to signed distances and back: marching cubes, and dual contouring, which keeps sharp edges."""

from __future__ import annotations

import torch

import unproject as up
from unproject.geometry.dual_contouring import dual_contour
from unproject.geometry.voxelize import lattice_around, mesh_to_sdf, mesh_to_sparse_sdf
from unproject.geometry.voxels import grid_to_mesh
from unproject.geometry.winding import signed_distance


def main(quick: bool = False) -> dict[str, float]:
    """Returns the mean distance of the vertices from the original, by method, in cells."""
    crate = up.box((1.0, 0.7, 0.5), segments=4)
    lattice = lattice_around(crate.vertices, resolution=24 if quick else 96)
    cell = float(lattice.world_from_grid[0, 0])

    grid = mesh_to_sdf(crate, lattice)  # positive outside, exact near the surface
    meshes = {
        "marching cubes": grid_to_mesh(grid),
        "dual contouring": dual_contour(
            grid.values, world_from_grid=grid.world_from_grid, function=lambda points: signed_distance(points, crate)
        ),
    }
    errors = {}
    for name, mesh in meshes.items():
        distance = up.closest_point(mesh.vertices, crate).squared_distance.sqrt()
        errors[name] = float(distance.mean()) / cell
        print(f"{name}: {mesh.face_count:,} faces, watertight {up.is_watertight(up.mesh_topology(mesh))}, {errors[name]:.4f} cells off")

    sparse = mesh_to_sparse_sdf(crate, voxel=cell, band=3 * cell)
    dense = torch.tensor(grid.size).prod().item()
    print(f"sparse: {sparse.block_count * 512:,} samples within 3 cells of the surface; dense: {dense:,}")
    up.save(meshes["dual contouring"], "crate.ply")
    return errors


if __name__ == "__main__":
    main()
