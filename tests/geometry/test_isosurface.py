"""Marching cubes: closed and manifold on noise, outward, exact on planes, alike in its three forms, differentiable."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unproject.errors import ArgumentError
from unproject.geometry.isosurface import (
    CORNER_MARGIN,
    block_neighbors,
    find_isosurface_of_blocks,
    find_isosurface_of_cells,
    marching_cubes,
    marching_cubes_cells,
)
from unproject.kernels.cube_tables import EDGES, cube_tables
from unproject.ops import isosurface as ops
from unproject.reference import isosurface as reference


def grid_points(*sizes: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.stack(torch.meshgrid(*[torch.arange(n, dtype=dtype) for n in sizes], indexing="ij"), dim=-1)


def edge_counts(faces: torch.Tensor) -> torch.Tensor:
    """How often each directed edge is followed, minus how often it is followed backwards."""
    ends = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    unique, count = torch.unique(ends, dim=0, return_counts=True)
    assert bool((count == 1).all()), "an edge is followed twice in one direction: not a manifold"
    forward, backward = {tuple(e) for e in unique.tolist()}, {tuple(e[::-1]) for e in unique.tolist()}
    return torch.tensor(len(forward - backward))


def signed_volume(vertices: torch.Tensor, faces: torch.Tensor) -> float:
    a, b, c = vertices[faces].double().unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


def test_tables_cover_every_case_and_use_each_crossing() -> None:
    tables = cube_tables()
    for case in range(256):
        crossed = {e for e, (a, b) in enumerate(EDGES) if (case >> a ^ case >> b) & 1}
        unclear = int((tables.ambiguous[case, :, 0] >= 0).sum())
        for entry in range(tables.first_entry[case], tables.first_entry[case] + 2**unclear):
            triangles = tables.edges[tables.offset[entry] : tables.offset[entry + 1]]
            assert set(triangles.flatten().tolist()) == crossed


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), levels=st.sampled_from([0, 2, 3]), double=st.booleans())
def test_noise_gives_closed_manifold_outward_surface(seed: int, levels: int, double: bool) -> None:
    """Also with few distinct values, where ties, zeros at corners and equal saddles abound."""
    dtype = torch.float64 if double else torch.float32
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(6, 7, 8, generator=generator, dtype=dtype)
    if levels:
        noise = torch.randint(-levels, levels, noise.shape, generator=generator).to(dtype)
    values = torch.nn.functional.pad(noise, [1] * 6, value=1.0)
    mesh = marching_cubes(values)
    assert int(edge_counts(mesh.faces)) == 0
    assert torch.unique(mesh.faces).numel() == mesh.vertex_count
    assert signed_volume(mesh.vertices, mesh.faces) > 0
    a, b, c = mesh.vertices[mesh.faces].double().unbind(1)
    assert float(torch.linalg.cross(b - a, c - a).norm(dim=1).min()) > 0.1 * CORNER_MARGIN**2


def test_sphere_volume_normals_and_transform() -> None:
    points = grid_points(24, 26, 28, dtype=torch.float64)
    center = torch.tensor([11.0, 12.5, 14.2], dtype=torch.float64)
    transform = torch.eye(4, dtype=torch.float64)
    transform[:3] = torch.tensor([[0.0, -0.1, 0.0, 1.0], [0.1, 0.0, 0.0, 2.0], [0.0, 0.0, 0.1, 3.0]])
    mesh = marching_cubes((points - center).norm(dim=-1) - 8.0, world_from_grid=transform)
    world_center = transform[:3, :3] @ center + transform[:3, 3]
    assert torch.allclose((mesh.vertices - world_center).norm(dim=1), torch.tensor(0.8, dtype=torch.float64), atol=2e-3)
    assert signed_volume(mesh.vertices - world_center, mesh.faces) == pytest.approx(4 / 3 * torch.pi * 0.8**3, rel=0.01)


def test_linear_function_is_exact() -> None:
    points = grid_points(5, 6, 7, dtype=torch.float64)
    normal = torch.tensor([0.3, -0.5, 0.81], dtype=torch.float64)
    mesh = marching_cubes(points @ normal, iso=1.3)
    assert torch.allclose(mesh.vertices @ normal, torch.tensor(1.3, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("hidden", [False, True])
def test_kernels_equal_reference(dtype: torch.dtype, hidden: bool) -> None:
    values = torch.randn(9, 10, 11, dtype=dtype)
    blocks = torch.randn(7, 8, 8, 8, dtype=dtype)
    if hidden:
        blocks[torch.rand(blocks.shape) < 0.05] = torch.nan
    neighbors = block_neighbors(torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1], [-3, 0, 0]]))
    cells = torch.randint(0, 50, (40, 8)).sort(1).values
    cases = [
        (ops.isosurface_dense, reference.isosurface_dense, (values, 0.2)),
        (ops.crossed_cells_dense, reference.crossed_cells_dense, (values, 0.2)),
        (ops.isosurface_blocks, reference.isosurface_blocks, (blocks, neighbors, -0.1)),
    ]
    for operator, twin, arguments in cases:
        for ours, theirs in zip(operator(*arguments), twin(*arguments)):
            assert torch.equal(ours, theirs)
    assert ops.isosurface_cells(torch.randn(50, dtype=dtype), cells, 0.0)[1].shape[1] == 3


def test_three_forms_agree() -> None:
    values = torch.randn(16, 16, 16)
    dense = marching_cubes(values)
    ids = torch.arange(16**3).reshape(16, 16, 16)
    corner = [ids[c & 1 : 15 + (c & 1), c >> 1 & 1 : 15 + (c >> 1 & 1), c >> 2 : 15 + (c >> 2)] for c in range(8)]
    cells = torch.stack(corner, dim=-1).reshape(-1, 8)
    sparse = marching_cubes_cells(values.flatten(), grid_points(16, 16, 16).reshape(-1, 3), cells)
    assert torch.equal(sparse.faces, dense.faces)
    assert torch.allclose(sparse.vertices, dense.vertices, atol=1e-5)
    blocks = values.reshape(2, 8, 2, 8, 2, 8).permute(0, 2, 4, 1, 3, 5).reshape(8, 8, 8, 8)
    coordinates = torch.cartesian_prod(*[torch.arange(2)] * 3)
    surface = find_isosurface_of_blocks(blocks, coordinates)
    positions = (8 * coordinates[:, None] + grid_points(8, 8, 8).reshape(1, -1, 3)).reshape(-1, 3)
    assert surface.faces.shape == dense.faces.shape
    assert torch.allclose(surface.interpolate(positions).sum(0), dense.vertices.sum(0), rtol=1e-5)


def test_unknown_values_leave_a_hole_and_no_loose_vertices() -> None:
    values = (grid_points(12, 12, 12) - 5.4).norm(dim=-1) - 4
    values[:, :, 9:] = torch.nan
    values[1, 1, 1] = torch.inf
    mesh = marching_cubes(values)
    assert torch.unique(mesh.faces).numel() == mesh.vertex_count
    assert int(edge_counts(mesh.faces)) > 0
    assert bool(torch.isfinite(mesh.vertices).all())


def test_gradients() -> None:
    values = torch.randn(4, 4, 5, dtype=torch.float64, requires_grad=True)
    transform = torch.eye(4, dtype=torch.float64) + 0.1 * torch.randn(4, 4, dtype=torch.float64)
    transform.requires_grad_()
    assert torch.autograd.gradcheck(lambda v, t: marching_cubes(v, world_from_grid=t).vertices, (values, transform), eps=1e-7)
    blocks = torch.randn(1, 8, 8, 8, dtype=torch.float64, requires_grad=True)
    (find_isosurface_of_blocks(blocks, torch.zeros(1, 3, dtype=torch.int64)).weight.sum()).backward()
    assert bool(torch.isfinite(blocks.grad).all()) and float(blocks.grad.abs().sum()) > 0


def test_gradient_stays_finite_between_equal_values() -> None:
    values = torch.zeros(3, 3, 3)
    values[1, 1, 1] = -1e-38
    values.requires_grad_()
    marching_cubes(values).vertices.sum().backward()
    assert bool(torch.isfinite(values.grad).all())


@pytest.mark.parametrize("shape", [(0, 4, 4), (1, 1, 1), (1, 4, 4), (2, 2, 2)])
def test_small_grids(shape: tuple[int, int, int]) -> None:
    assert marching_cubes(torch.ones(shape)).face_count == 0
    assert find_isosurface_of_cells(torch.ones(8), torch.empty((0, 8), dtype=torch.int64)).faces.shape == (0, 3)
    assert find_isosurface_of_blocks(torch.ones(0, 8, 8, 8), torch.empty((0, 3), dtype=torch.int64)).faces.shape == (0, 3)


def test_one_inside_corner_is_one_triangle() -> None:
    values = torch.ones(2, 2, 2)
    values[0, 0, 0] = -1
    mesh = marching_cubes(values)
    a, b, c = mesh.vertices[mesh.faces[0]]
    assert mesh.face_count == 1
    assert torch.allclose(torch.linalg.cross(b - a, c - a), torch.full((3,), 0.25))


def test_errors() -> None:
    with pytest.raises(ArgumentError, match=r"`values` must be \[X, Y, Z\] floats, got float32 \[3, 3\]"):
        marching_cubes(torch.zeros(3, 3))
    with pytest.raises(ArgumentError, match="`cells` must lie in 0 to 7, found 8"):
        find_isosurface_of_cells(torch.zeros(8), torch.full((1, 8), 8))
    with pytest.raises(ArgumentError, match="same block twice"):
        find_isosurface_of_blocks(torch.zeros(2, 8, 8, 8), torch.zeros(2, 3, dtype=torch.int64))


@pytest.mark.parametrize(
    "operator", [ops.crossed_cells_dense, ops.isosurface_dense, ops.isosurface_cells, ops.isosurface_blocks], ids=lambda o: o.name
)
def test_opcheck(operator: object) -> None:
    from unproject.ops.examples import all_examples

    for candidate, make in all_examples():
        if candidate is operator:
            torch.library.opcheck(operator.overload, make(torch.float32))
