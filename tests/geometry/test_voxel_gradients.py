"""gradcheck, in float64, of every conversion between voxels, meshes, points and depth images that promises a gradient."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from unproject.camera.camera import make_camera
from unproject.geometry.isosurface import find_isosurface_of_blocks, find_isosurface_of_cells
from unproject.geometry.mesh import Mesh
from unproject.geometry.points import PointCloud
from unproject.geometry.primitives import icosphere
from unproject.geometry.sparse_voxels import make_sparse_grid, sample_sparse, sparse_from_dense, sparse_to_dense, sparse_to_mesh
from unproject.geometry.voxelize import (
    Lattice,
    depth_to_tsdf,
    lattice_around,
    mesh_to_sdf,
    mesh_to_sparse_sdf,
    mesh_to_tsdf,
    points_to_features,
    points_to_tsdf,
)
from unproject.geometry.voxels import VoxelGrid, grid_to_mesh, grid_to_points, make_grid, occupancy_of, surface_points, truncate

Case = tuple[Callable[..., Any], tuple[Tensor, ...]]


def uneven_ball() -> Mesh:
    """Without symmetry no sample is equally far from two faces."""
    ball = icosphere(1)
    vertices = ball.vertices.double()
    return Mesh(vertices=vertices + 0.05 * torch.randn_like(vertices), faces=ball.faces)


def distances(size: int) -> Tensor:
    axis = torch.linspace(-1, 1, size, dtype=torch.float64)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    return (x.square() + 0.8 * y.square() + 1.1 * z.square()).sqrt() - 0.613 + 0.01 * torch.randn(size, size, size, dtype=torch.float64)


def frame() -> Tensor:
    return torch.eye(4, dtype=torch.float64) + 0.1 * torch.randn(4, 4, dtype=torch.float64) * torch.tensor([[1.0], [1], [1], [0]])


def of_mesh(convert: Callable[[Mesh], Tensor]) -> Case:
    mesh = uneven_ball()
    return lambda v: convert(Mesh(vertices=v, faces=mesh.faces)), (mesh.vertices,)


def dense_sdf() -> Case:
    lattice = lattice_around(icosphere(1).vertices.double(), resolution=7, margin=1)
    return of_mesh(lambda mesh: mesh_to_sdf(mesh, lattice, exact_voxels=math.inf).values)


def dense_tsdf() -> Case:
    lattice = lattice_around(icosphere(1).vertices.double(), resolution=8, margin=1)
    return of_mesh(lambda mesh: mesh_to_tsdf(mesh, lattice, truncation=0.5).values)


def sparse_sdf() -> Case:
    return of_mesh(lambda mesh: mesh_to_sparse_sdf(mesh, voxel=0.4, band=0.1).values)


def features() -> Case:
    cloud = PointCloud(positions=torch.rand(12, 3, dtype=torch.float64))
    lattice = lattice_around(cloud.positions, resolution=4, margin=0)
    return lambda f: points_to_features(cloud, f, lattice).values, (torch.rand(12, 2, dtype=torch.float64),)


def tsdf_of_points() -> Case:
    normals = torch.nn.functional.normalize(torch.randn(40, 3, dtype=torch.float64), dim=1)
    lattice = lattice_around(normals, resolution=7, margin=1)
    return lambda p, n: points_to_tsdf(PointCloud(positions=p, normals=n), lattice, truncation=0.7, neighbors=5).values, (
        normals.clone(),
        normals,
    )


def tsdf_of_depth() -> Case:
    pixels = torch.tensor([6.0, 6.0, 2.6, 2.1], dtype=torch.float64)
    corner = torch.tensor([[0.2, 0, 0, -0.4131], [0, 0.2, 0, -0.3517], [0, 0, 0.1, 1.8073], [0, 0, 0, 1]], dtype=torch.float64)
    lattice = Lattice(size=(4, 4, 5), world_from_grid=corner)
    camera = make_camera(pixels, image_size=(4, 5))

    def run(depth: Tensor, pose: Tensor) -> Tensor:
        seen = depth_to_tsdf(depth, dataclasses.replace(camera, camera_from_world=pose), lattice, truncation=0.3)
        return seen.values[torch.isfinite(seen.values)]

    return run, (2.0 + 0.1 * torch.rand(4, 5, dtype=torch.float64), torch.eye(4, dtype=torch.float64))


def mesh_of_dense() -> Case:
    return lambda v, t: grid_to_mesh(make_grid(v, world_from_grid=t)).vertices, (distances(5), frame())


def points_of_surface() -> Case:
    def run(v: Tensor) -> tuple[Tensor, Tensor]:
        found = surface_points(VoxelGrid(values=v, world_from_grid=torch.eye(4, dtype=torch.float64)))
        assert found.normals is not None
        return found.positions, found.normals

    return run, (distances(5),)


def points_of_voxels() -> Case:
    occupied = torch.rand(3, 3, 3, 1, dtype=torch.float64)

    def run(colors: Tensor, transform: Tensor) -> tuple[Tensor, Tensor]:
        found = grid_to_points(VoxelGrid(values=torch.cat([occupied, colors], -1), world_from_grid=transform))
        assert found.colors is not None
        return found.positions, found.colors

    return run, (torch.rand(3, 3, 3, 3, dtype=torch.float64), frame())


def mesh_of_blocks() -> Case:
    places = torch.tensor([[0, 0, 0]])
    return lambda v, t: sparse_to_mesh(make_sparse_grid(v, places, world_from_grid=t)).vertices, (distances(8)[None], frame())


def crossings_of_blocks() -> Case:
    return lambda v: find_isosurface_of_blocks(v, torch.tensor([[0, 0, 0]])).weight, (distances(8)[None],)


def crossings_of_cells() -> Case:
    corners = torch.arange(8).reshape(1, 8)
    return lambda v: find_isosurface_of_cells(v, corners).weight, (torch.randn(8, dtype=torch.float64),)


def there_and_back() -> Case:
    active = torch.ones(8, 8, 8, dtype=torch.bool)

    def run(values: Tensor) -> Tensor:
        grid = sparse_from_dense(VoxelGrid(values=values, world_from_grid=torch.eye(4, dtype=torch.float64)), active=active)
        return sparse_to_dense(grid).values

    return run, (torch.randn(8, 8, 8, dtype=torch.float64),)


def truncated_and_occupied() -> Case:
    grid = lambda v: VoxelGrid(values=v, world_from_grid=torch.eye(4, dtype=torch.float64))
    return lambda v: (truncate(grid(v), truncation=0.4).values, occupancy_of(grid(v), softness=0.2).values), (distances(4),)


def samples_of_blocks() -> Case:
    points = 0.5 + 6 * torch.rand(5, 3, dtype=torch.float64)
    blocks = torch.randn(1, 8, 8, 8, dtype=torch.float64)
    return lambda v, p: sample_sparse(make_sparse_grid(v, torch.tensor([[0, 0, 0]])), p), (blocks, points)


CASES = [
    dense_sdf, dense_tsdf, sparse_sdf, features, tsdf_of_points, tsdf_of_depth, mesh_of_dense, points_of_surface, points_of_voxels,
    mesh_of_blocks, crossings_of_blocks, crossings_of_cells, there_and_back, truncated_and_occupied, samples_of_blocks,
]  # fmt: skip


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_gradcheck(make: Callable[[], Case]) -> None:
    torch.manual_seed(3)
    run, inputs = make()
    leaves = tuple(x.clone().requires_grad_() for x in inputs)
    assert torch.autograd.gradcheck(run, leaves, eps=1e-7, atol=1e-4, fast_mode=True)
