"""The smooth implicit function's solver against dense matrices and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch

from unproject.fit.implicit import Lattice, inner_nodes, make_lattice, node_positions, prepare_data, solve_implicit
from unproject.ops.smooth_field import field_bending, field_stencils, solve_field
from unproject.reference import smooth_field as reference


def ball_points(count: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 3, dtype=dtype), dim=1)


def small_system(dtype: torch.dtype, count: int = 40, spacing: float = 0.7) -> tuple[Lattice, dict[str, torch.Tensor]]:
    points = ball_points(count, dtype)
    low, high = torch.full((3,), -2.0, dtype=dtype), torch.full((3,), 2.0, dtype=dtype)
    lattice = make_lattice(points, low=low, high=high, spacing=spacing, dilations=2)
    data = prepare_data(lattice, points)
    system = {
        "points": data.points,
        "normals": ball_points(count, dtype),
        "value_weight": 0.5 + torch.rand(count, dtype=dtype),
        "slope_weight": torch.rand(count, dtype=dtype),
        "stiffness": 0.1 + torch.rand(lattice.node_count, dtype=dtype),
        "anchor": 0.1 * torch.rand(lattice.node_count, dtype=dtype),
    }
    return lattice, system


def assemble(lattice: Lattice, system: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    data = prepare_data(lattice, lattice.low + lattice.spacing * system["points"])
    weights = [system[name][data.order].contiguous() for name in ("normals", "value_weight", "slope_weight")]
    where = (data.data_nodes, lattice.nodes, lattice.columns, lattice.present, data.starts, data.points)
    stencils, values = field_stencils(*where, *weights)
    right = torch.zeros_like(system["anchor"]).index_add(0, data.data_nodes.long(), values)
    return stencils, right, data.data_row


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_solution_is_that_of_the_dense_system(dtype: torch.dtype) -> None:
    lattice, system = small_system(dtype)
    stencils, right, data_row = assemble(lattice, system)
    start = torch.randn(lattice.node_count, dtype=dtype)
    arguments = (system["stiffness"], system["anchor"], data_row, stencils, lattice.columns, lattice.present)
    found, report = solve_field(start, right, *arguments, 2000, 1e-7 if dtype == torch.float32 else 1e-13)
    matrix, expected_right = reference.field_system(lattice.nodes.long(), **{name: value.double() for name, value in system.items()})
    torch.testing.assert_close(right.double(), expected_right, rtol=1e-4, atol=1e-5)
    expected = torch.linalg.solve(matrix, expected_right)
    tolerance = 2e-3 if dtype == torch.float32 else 1e-7
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)
    assert 10 < float(report[0]) < 2000


def test_solution_agrees_with_scipy() -> None:
    lattice, system = small_system(torch.float64)
    stencils, right, data_row = assemble(lattice, system)
    arguments = (system["stiffness"], system["anchor"], data_row, stencils, lattice.columns, lattice.present)
    found, _ = solve_field(torch.zeros_like(right), right, *arguments, 2000, 1e-13)
    matrix, _ = reference.field_system(lattice.nodes.long(), **system)
    expected = scipy.sparse.linalg.spsolve(scipy.sparse.csc_matrix(matrix.numpy()), right.numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)


def test_solution_does_not_depend_on_threads() -> None:
    lattice, system = small_system(torch.float32, 5000, 0.05)
    assert lattice.node_count > 40_000  # several slices
    stencils, right, data_row = assemble(lattice, system)
    arguments = (system["stiffness"], system["anchor"], data_row, stencils, lattice.columns, lattice.present)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(solve_field(torch.zeros_like(right), right, *arguments, 30, 0.0)[0])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_bending_agrees_with_dense_differences() -> None:
    lattice, _ = small_system(torch.float64)
    values = torch.randn(lattice.node_count, dtype=torch.float64)
    torch.testing.assert_close(field_bending(values, lattice.columns, lattice.present), reference.bending(values, lattice.nodes.long()))


def test_function_of_a_plane_is_its_distance() -> None:
    normal = torch.nn.functional.normalize(torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64), dim=0)
    points = torch.rand(300, 3, dtype=torch.float64) * 2 - 1
    points = points - (points @ normal)[:, None] * normal
    lattice = make_lattice(points, low=torch.full((3,), -2.0).double(), high=torch.full((3,), 2.0).double(), spacing=0.2)
    ones = torch.ones(300, dtype=torch.float64)
    stiffness = torch.ones(lattice.node_count, dtype=torch.float64)
    exact = node_positions(lattice) @ normal
    guess = exact + 0.05 * torch.randn_like(exact) * inner_nodes(lattice)
    found = solve_implicit(
        lattice,
        prepare_data(lattice, points),
        guess,
        normals=normal.expand(300, 3),
        value_weight=ones,
        slope_weight=ones,
        stiffness=stiffness,
        iterations=2000,
        tolerance=1e-10,
    )
    torch.testing.assert_close(found, exact, rtol=0, atol=1e-6)
