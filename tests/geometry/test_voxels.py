"""Dense and sparse grids: interpolation against its reference and its definition, gradients, layouts, round trips."""

from __future__ import annotations

import pytest
import torch

from unproject.errors import ArgumentError
from unproject.geometry.sparse_voxels import (
    find_blocks,
    gather_lists,
    make_sparse_grid,
    sample_sparse,
    sparse_from_dense,
    sparse_points,
    sparse_to_dense,
    sparse_to_mesh,
)
from unproject.geometry.voxels import (
    VoxelGrid,
    cell_size,
    grid_from_channels,
    grid_points,
    grid_to_channels,
    grid_to_mesh,
    grid_to_points,
    grid_transform,
    make_grid,
    occupancy_of,
    sample_grid,
    surface_points,
    surrounding_grid,
    truncate,
)
from unproject.ops import trilinear as ops
from unproject.ops.examples import all_examples
from unproject.reference import trilinear as reference

TRANSFORM = torch.tensor([[0.0, -0.5, 0.0, 1.0], [0.4, 0.0, 0.1, -2.0], [0.0, 0.0, 0.3, 3.0], [0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)


def linear(points: torch.Tensor) -> torch.Tensor:
    return points @ points.new_tensor([0.3, -0.7, 1.1]) + 0.25


def sphere(size: int, radius: float, dtype: torch.dtype = torch.float32) -> VoxelGrid:
    transform = grid_transform(torch.full((3,), -1.0, dtype=dtype), torch.full((3,), 1.0, dtype=dtype), (size, size, size))
    empty = make_grid(torch.zeros(size, size, size, dtype=dtype), world_from_grid=transform)
    return VoxelGrid(values=grid_points(empty).norm(dim=-1) - radius, world_from_grid=transform)


def sparse_of(values: torch.Tensor, transform: torch.Tensor = TRANSFORM):
    dense = make_grid(values, world_from_grid=transform)
    return sparse_from_dense(dense, active=torch.ones(values.shape[:3], dtype=torch.bool))


def test_linear_functions_are_exact() -> None:
    grid = make_grid(torch.zeros(5, 6, 7, dtype=torch.float64), world_from_grid=TRANSFORM)
    grid = VoxelGrid(values=linear(grid_points(grid)), world_from_grid=TRANSFORM)
    local = torch.rand(40, 3, dtype=torch.float64) * torch.tensor([4.0, 5.0, 6.0])
    world = local @ TRANSFORM[:3, :3].T + TRANSFORM[:3, 3]
    assert torch.allclose(sample_grid(grid, world), linear(world), atol=1e-12)
    assert torch.allclose(sample_grid(grid, grid_points(grid)), grid.values, atol=1e-12)
    blocks = sparse_from_dense(grid, active=torch.ones(5, 6, 7, dtype=torch.bool))
    assert torch.allclose(sample_sparse(blocks, world), linear(world), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sparse", [False, True])
def test_kernels_equal_reference(dtype: torch.dtype, sparse: bool) -> None:
    points = torch.rand(5000, 3, dtype=dtype) * 20 - 2
    points[7] = torch.nan
    if sparse:
        where = (points, *ops.block_hash(torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1]]), 16))
        located, twin = ops.locate_blocks(*where), reference.locate_blocks(*where)
        values = torch.randn(5 * 512, 3, dtype=dtype)
    else:
        located, twin = ops.locate_dense(points, 16, 15, 1), reference.locate_dense(points, 16, 15, 1)
        values = torch.randn(16 * 15, 3, dtype=dtype)
    assert torch.equal(located[0], twin[0])
    assert torch.allclose(located[1], twin[1])
    index, fraction = twin
    assert torch.allclose(ops.gather(values, index, fraction), reference.gather(values, index, fraction), atol=1e-5)
    cotangent = torch.randn(5000, 3, dtype=dtype)
    ours, theirs = (f(cotangent, values, index, fraction) for f in (ops.gather_backward, reference.gather_backward))
    assert torch.allclose(ours[0], theirs[0], atol=1e-4)
    assert torch.allclose(ours[1], theirs[1], atol=1e-4)


@pytest.mark.parametrize("sparse", [False, True])
def test_gradients_first_and_second(sparse: bool) -> None:
    values = torch.randn(4, 3, 5, 2, dtype=torch.float64, requires_grad=True)
    points = (torch.rand(6, 3, dtype=torch.float64) * 1.8 + 0.1) @ TRANSFORM[:3, :3].T + TRANSFORM[:3, 3]
    points.requires_grad_()
    transform = TRANSFORM.clone().requires_grad_()

    def run(v: torch.Tensor, p: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        if sparse:
            return sample_sparse(sparse_of(v, t), p)
        return sample_grid(make_grid(v, world_from_grid=t), p)

    assert torch.autograd.gradcheck(run, (values, points, transform))
    assert torch.autograd.gradgradcheck(lambda v, p: run(v, p, TRANSFORM), (values, points))


def test_outside_is_border_or_a_number() -> None:
    grid = make_grid(torch.arange(27.0).reshape(3, 3, 3))
    beyond = torch.tensor([[-4.0, 1.0, 1.0], [1.0, 1.0, 9.0], [torch.nan, 0.0, 0.0], [2.0, 2.0, 2.0]], requires_grad=True)
    border = sample_grid(grid, beyond)
    assert border[:2].tolist() == [4.0, 14.0]
    assert bool(border[2].isnan())
    assert border[3] == 26.0
    assert sample_grid(grid, beyond, outside=-1.0).tolist() == [-1.0, -1.0, -1.0, 26.0]
    border[:2].sum().backward()
    assert bool(torch.isfinite(beyond.grad).all()) and beyond.grad[0, 0] == 0 and beyond.grad[0, 1] == 3


def test_grid_values() -> None:
    grid = make_grid(torch.rand(4, 5, 6), world_from_grid=TRANSFORM)
    part = grid[1:, 2:4, ::2]
    assert part.size == (3, 2, 3)
    assert torch.allclose(grid_points(part), grid_points(grid)[1:, 2:4, ::2])
    assert cell_size(grid) == pytest.approx((0.5 * 0.4 * 0.3) ** (1 / 3))
    back = grid_from_channels(grid_to_channels(grid), TRANSFORM)
    assert torch.equal(back.values, grid.values)
    features = make_grid(torch.rand(4, 5, 6, 3), world_from_grid=TRANSFORM)
    assert torch.nn.functional.conv3d(grid_to_channels(features), torch.ones(2, 3, 1, 1, 1)).shape == (1, 2, 4, 5, 6)


def test_distance_to_tsdf_occupancy_mesh_and_points() -> None:
    grid = sphere(40, 0.6)
    tsdf = truncate(grid, truncation=0.1)
    assert float(tsdf.values.min()) == -1 and float(tsdf.values.max()) == 1
    assert torch.allclose(grid_to_mesh(tsdf).vertices.norm(dim=1), torch.tensor(0.6), atol=2e-3)
    occupied = occupancy_of(grid)
    volume = float(occupied.values.sum()) * cell_size(grid) ** 3
    assert volume == pytest.approx(4 / 3 * torch.pi * 0.6**3, rel=0.02)
    centers = grid_to_points(occupied)
    assert centers.point_count == int(occupied.values.sum())
    assert float(centers.positions.norm(dim=1).max()) < 0.6
    points = surface_points(grid)
    assert torch.allclose(points.positions.norm(dim=1), torch.tensor(0.6), atol=2e-3)
    assert torch.allclose(points.normals, points.positions / 0.6, atol=5e-3)
    soft = occupancy_of(grid, softness=0.02)
    assert torch.equal(soft.values > 0.5, grid.values < 0)


def test_coloured_voxels_become_coloured_points() -> None:
    values = torch.rand(3, 3, 3, 4)
    cloud = grid_to_points(make_grid(values), threshold=0.6)
    assert torch.equal(cloud.colors, values[values[..., 0] > 0.6][:, 1:])


def test_surrounding_grid_has_margins() -> None:
    points = torch.tensor([[0.0, 0.0, 0.0], [2.0, 1.0, 0.0]])
    transform, size = surrounding_grid(points, resolution=21, margin=2)
    assert size == (21, 13, 5)
    local = (points - transform[:3, 3]) / transform[0, 0]
    assert float(local.min()) >= 2 - 1e-4
    with pytest.raises(ArgumentError, match="leaves no cells"):
        surrounding_grid(points, resolution=5, margin=2)


def test_dense_sparse_round_trip() -> None:
    grid = sphere(21, 0.7, torch.float64)
    near = grid.values.abs() < 0.2
    sparse = sparse_from_dense(grid, active=near)
    assert sparse.block_count < 27
    dense = sparse_to_dense(sparse)
    known = torch.isfinite(dense.values)
    assert torch.allclose(sample_grid(grid, grid_points(dense)[known]), dense.values[known])
    assert torch.allclose(sample_sparse(sparse, grid_points(grid)[near]), grid.values[near])
    assert torch.allclose(sparse_to_mesh(sparse).vertices.sum(0), grid_to_mesh(grid).vertices.sum(0), atol=1e-9)
    assert sparse_to_mesh(sparse).face_count == grid_to_mesh(grid).face_count
    assert torch.equal(sparse_points(sparse[1])[0], sparse_points(sparse)[1])


def test_block_lookup() -> None:
    coordinates = torch.unique(torch.randint(-50, 50, (3000, 3)), dim=0)
    coordinates = coordinates[torch.randperm(len(coordinates))]
    grid = make_sparse_grid(torch.zeros(len(coordinates), 8, 8, 8), coordinates)
    assert torch.equal(find_blocks(grid.index, coordinates), torch.arange(len(coordinates)))
    assert torch.equal(find_blocks(grid.index, coordinates + 200), torch.full((len(coordinates),), -1))
    assert bool(sample_sparse(grid, torch.tensor([[900.0, 0.0, 0.0]])).isnan())
    with pytest.raises(ArgumentError, match=r"block \[1, 2, 3\] is there twice, again in row 1"):
        make_sparse_grid(torch.zeros(2, 8, 8, 8), torch.tensor([[1, 2, 3], [1, 2, 3]]))


def test_gather_lists_are_a_convolution() -> None:
    values = torch.randn(16, 8, 16, 2, dtype=torch.float64)
    sparse = sparse_of(values)
    weights = torch.randn(27, 2, 3, dtype=torch.float64)
    features = sparse.values.reshape(-1, 2)
    out = torch.zeros(len(features), 3, dtype=torch.float64)
    for kernel, (_, source, target) in zip(weights, gather_lists(sparse)):
        out = out.index_add(0, target, features[source] @ kernel)
    dense = torch.nn.functional.conv3d(values.permute(3, 0, 1, 2)[None], weights.permute(2, 1, 0).reshape(3, 2, 3, 3, 3), padding=1)
    shaped = sparse_to_dense(make_sparse_grid(out.reshape(-1, 8, 8, 8, 3), sparse.coordinates)).values
    assert torch.allclose(shaped, dense[0].permute(1, 2, 3, 0))


def test_empty_inputs() -> None:
    grid = make_grid(torch.rand(3, 3, 3, 2))
    assert sample_grid(grid, torch.zeros(0, 3)).shape == (0, 2)
    assert sample_grid(make_grid(torch.ones(1, 1, 1)), torch.zeros(2, 4, 3)).shape == (2, 4)
    empty = make_sparse_grid(torch.zeros(0, 8, 8, 8), torch.zeros(0, 3, dtype=torch.int64))
    assert bool(sample_sparse(empty, torch.zeros(2, 3)).isnan().all())
    assert sparse_to_mesh(empty).face_count == 0


def test_errors() -> None:
    with pytest.raises(ArgumentError, match="singular"):
        make_grid(torch.zeros(2, 2, 2), world_from_grid=torch.zeros(4, 4))
    with pytest.raises(ArgumentError, match=r"`values` must be \[2, 8, 8, 8\]"):
        make_sparse_grid(torch.zeros(1, 8, 8, 8), torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ArgumentError, match="no blocks"):
        sparse_to_dense(make_sparse_grid(torch.zeros(0, 8, 8, 8), torch.zeros(0, 3, dtype=torch.int64)))


OPERATORS = [ops.locate_dense, ops.locate_blocks, ops.gather, ops.gather_backward, ops.block_hash, ops.block_find]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda o: o.name)
def test_opcheck(operator: object) -> None:
    for candidate, make in all_examples():
        if candidate is operator:
            torch.library.opcheck(operator.overload, make(torch.float64))
