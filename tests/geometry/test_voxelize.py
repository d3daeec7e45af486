"""Into voxels and back: meshes with and without holes, clouds, depth images; exactness near the surface; round trips."""

from __future__ import annotations

import math

import pytest
import torch

from unproject.camera.camera import make_camera
from unproject.errors import ArgumentError, DataError
from unproject.geometry.bvh import build_bvh
from unproject.geometry.dual_contouring import dual_contour
from unproject.geometry.mesh import Mesh
from unproject.geometry.points import PointCloud
from unproject.geometry.primitives import icosphere
from unproject.geometry.query import closest_point
from unproject.geometry.sparse_voxels import sample_sparse, sparse_to_mesh
from unproject.geometry.voxelize import (
    Lattice,
    depth_to_tsdf,
    lattice_around,
    mesh_to_occupancy,
    mesh_to_sdf,
    mesh_to_sparse_sdf,
    mesh_to_tsdf,
    points_to_features,
    points_to_occupancy,
    points_to_tsdf,
)
from unproject.geometry.voxels import cell_size, grid_points, grid_to_mesh, grid_to_points, lattice_points, surface_points
from unproject.geometry.winding import signed_distance
from unproject.ops import sdf_grid as ops
from unproject.ops.examples import all_examples
from unproject.reference import sdf_grid as reference


def ball(dtype: torch.dtype = torch.float32) -> Mesh:
    mesh = icosphere(3)
    return Mesh(vertices=mesh.vertices.to(dtype), faces=mesh.faces)


def test_mesh_to_sdf_is_exact_near_the_surface_and_close_elsewhere() -> None:
    mesh = ball(torch.float64)
    lattice = lattice_around(mesh.vertices, resolution=33)
    grid = mesh_to_sdf(mesh, lattice)
    true = signed_distance(grid_points(grid), mesh)
    cell = cell_size(grid)
    near = true.abs() < 2.9 * cell
    assert torch.allclose(grid.values[near], true[near], atol=1e-12)
    excess = grid.values.abs() - true.abs()
    assert float(excess.min()) > -1e-12
    assert float(excess.mean()) < 0.1 * cell
    assert torch.equal(grid.values < 0, true < 0)
    assert torch.allclose(mesh_to_sdf(mesh, lattice, exact_voxels=math.inf).values, true, atol=1e-12)


def test_holes_do_not_flip_the_sign() -> None:
    mesh = ball()
    center = mesh.vertices[mesh.faces].mean(1)
    holed = Mesh(vertices=mesh.vertices, faces=mesh.faces[center[:, 2] < 0.9])
    assert holed.face_count < mesh.face_count
    lattice = lattice_around(mesh.vertices, resolution=25)
    whole, open_ = mesh_to_occupancy(mesh, lattice), mesh_to_occupancy(holed, lattice)
    assert float((whole.values != open_.values).float().mean()) < 0.002
    exact = signed_distance(grid_points(whole), holed)
    assert torch.equal((open_.values > 0)[exact != 0], (exact < 0)[exact != 0])


def test_round_trips_of_a_mesh() -> None:
    mesh = ball()
    lattice = lattice_around(mesh.vertices, resolution=49)
    grid = mesh_to_sdf(mesh, lattice)
    cell = cell_size(grid)
    for back in (grid_to_mesh(grid), dual_contour(grid.values, world_from_grid=grid.world_from_grid)):
        distance = closest_point(back.vertices, mesh).squared_distance.sqrt()
        assert float(distance.max()) < 0.2 * cell
    tsdf = mesh_to_tsdf(mesh, lattice, truncation=3 * cell)
    assert float(tsdf.values.abs().max()) == 1
    assert torch.allclose(grid_to_mesh(tsdf).vertices, grid_to_mesh(grid).vertices, atol=1e-4)
    occupied = mesh_to_occupancy(mesh, lattice)
    again = points_to_occupancy(grid_to_points(occupied), lattice)
    assert torch.equal(again.values, occupied.values)


def test_sparse_sdf_equals_dense_and_grows_with_the_surface() -> None:
    mesh = ball()
    sparse = mesh_to_sparse_sdf(mesh, voxel=0.05, band=0.1)
    probe = mesh.vertices[::7] * torch.linspace(0.92, 1.08, len(mesh.vertices[::7]))[:, None]
    assert torch.allclose(sample_sparse(sparse, probe), signed_distance(probe, mesh), atol=3e-3)
    finer = mesh_to_sparse_sdf(mesh, voxel=0.025, band=0.05)
    assert 3 < finer.block_count / sparse.block_count < 6
    back = sparse_to_mesh(sparse)
    assert float((back.vertices.norm(dim=1) - 1).abs().max()) < 0.01
    true = signed_distance(lattice_points((8, 8, 8), torch.diag(torch.tensor([0.05, 0.05, 0.05, 1.0]))), mesh)
    corner = (sparse.coordinates == 0).all(1)
    if bool(corner.any()):
        assert torch.allclose(sparse.values[corner][0], true, atol=1e-5)


def test_gradient_to_vertices() -> None:
    regular = ball(torch.float64)  # without symmetry no sample is equally far from two faces
    mesh = Mesh(vertices=regular.vertices + 0.02 * torch.randn_like(regular.vertices), faces=regular.faces)
    lattice = lattice_around(mesh.vertices, resolution=13)
    vertices = mesh.vertices.clone().requires_grad_()
    grid = mesh_to_sdf(Mesh(vertices=vertices, faces=mesh.faces), lattice, exact_voxels=math.inf)
    direction = torch.randn_like(vertices)
    (slope,) = torch.autograd.grad(grid.values.sum(), vertices)
    step = 1e-6
    moved = [Mesh(vertices=mesh.vertices + s * step * direction, faces=mesh.faces) for s in (1, -1)]
    above, below = (mesh_to_sdf(m, lattice, exact_voxels=math.inf).values.sum() for m in moved)
    numeric = (above - below) / (2 * step)
    assert float((slope * direction).sum()) == pytest.approx(float(numeric), rel=1e-4)


def test_points_to_occupancy_and_features() -> None:
    lattice = Lattice(size=(4, 5, 6), world_from_grid=torch.diag(torch.tensor([0.5, 0.5, 0.5, 1.0])))
    positions = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.2, 0.2], [1.0, 1.5, 2.0], [9.0, 0.0, 0.0], [-0.3, 0.0, 0.0]])
    colors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [7.0, 7.0], [7.0, 7.0]], requires_grad=True)
    cloud = PointCloud(positions=positions)
    occupied = points_to_occupancy(cloud, lattice)
    assert occupied.values.nonzero().tolist() == [[0, 0, 0], [2, 3, 4]]
    features = points_to_features(cloud, colors, lattice)
    assert features.values[0, 0, 0].tolist() == [2.0, 0.5, 0.5]
    features.values[0, 0, 0, 1].backward()
    assert colors.grad[:, 0].tolist() == [0.5, 0.5, 0.0, 0.0, 0.0]


def test_points_to_tsdf_and_back() -> None:
    normals = torch.nn.functional.normalize(torch.randn(3000, 3), dim=1)
    cloud = PointCloud(positions=normals.clone(), normals=normals)
    lattice = lattice_around(cloud.positions, resolution=33, margin=5)
    tsdf = points_to_tsdf(cloud, lattice, truncation=0.2)
    back = surface_points(tsdf)
    assert float((back.positions.norm(dim=1) - 1).abs().mean()) < 0.01
    assert float((back.normals * back.positions).sum(1).mean()) > 0.98
    inside = grid_points(tsdf).norm(dim=-1)
    assert bool((tsdf.values[inside < 0.75] == -1).all()) and bool((tsdf.values[inside > 1.25] == 1).all())
    positions = cloud.positions[:60].double().requires_grad_()
    small = lattice_around(positions.detach(), resolution=8, margin=1)
    values = points_to_tsdf(PointCloud(positions=positions, normals=normals[:60].double()), small, truncation=0.3).values
    (slope,) = torch.autograd.grad(values.sum(), positions)
    assert bool(torch.isfinite(slope).all()) and float(slope.abs().sum()) > 0


def test_depth_to_tsdf_and_back() -> None:
    camera = make_camera(torch.tensor([40.0, 40.0, 20.0, 15.0]), image_size=(30, 40))
    depth = torch.full((30, 40), 2.0)
    depth[:, :5] = 0
    frame = torch.tensor([[0.05, 0, 0, -0.5], [0, 0.05, 0, -0.5], [0, 0, 0.05, 1.525], [0, 0, 0, 1.0]])
    lattice = Lattice(size=(21, 21, 21), world_from_grid=frame)
    depth.requires_grad_()
    tsdf = depth_to_tsdf(depth, camera, lattice, truncation=0.2)
    plane = grid_to_mesh(tsdf).vertices
    assert torch.allclose(plane[:, 2], torch.tensor(2.0), atol=1e-4)
    assert bool(tsdf.values[..., -1].isnan().all())
    plane[:, 2].sum().backward()
    assert float(depth.grad.sum()) == pytest.approx(len(plane), rel=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernel_equals_reference(dtype: torch.dtype) -> None:
    mesh = ball(dtype)
    matrix = torch.tensor([[0.1, 0.02, 0, -1.1], [0, 0.11, 0, -1.0], [0.01, 0, 0.12, -1.2], [0, 0, 0, 1]], dtype=torch.float64)
    size = [17, 9, 14]
    coarse = lattice_points((6, 4, 5), (matrix @ torch.diag(torch.tensor([4.0, 4, 4, 1], dtype=torch.float64))).to(dtype))
    found = closest_point(coarse, mesh, bvh=build_bvh(mesh.vertices, mesh.faces))
    candidates = (found.face, found.squared_distance.sqrt())
    ours = ops.coarse_distance(*candidates, matrix, mesh.vertices, mesh.faces, size)
    theirs = reference.coarse_distance(*candidates, matrix, mesh.vertices, mesh.faces, size)
    assert torch.allclose(ours[0], theirs[0], atol=1e-5)
    assert torch.allclose(ours[1], theirs[1], atol=1e-5)
    assert float((ours[2] == theirs[2]).float().mean()) > 0.95  # else equally far, across a shared edge


def test_errors() -> None:
    lattice = lattice_around(torch.rand(5, 3), resolution=8, margin=1)
    empty = Mesh(vertices=torch.zeros(0, 3), faces=torch.zeros(0, 3, dtype=torch.int64))
    with pytest.raises(DataError, match="no faces"):
        mesh_to_sdf(empty, lattice)
    with pytest.raises(DataError, match="points with normals"):
        points_to_tsdf(PointCloud(positions=torch.rand(5, 3)), lattice, truncation=0.1)
    with pytest.raises(ArgumentError, match="`truncation` must be positive"):
        depth_to_tsdf(torch.ones(3, 4), make_camera(torch.ones(4), image_size=(3, 4)), lattice, truncation=0.0)


def test_opcheck() -> None:
    for candidate, make in all_examples():
        if candidate is ops.coarse_distance:
            torch.library.opcheck(candidate.overload, make(torch.float64))
