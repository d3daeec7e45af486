"""Operators: assembly and solution of the smooth implicit function on sparse lattice nodes (kernels/smooth_field.py has its energy)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .dispatch import for_each_slice, parallel_for
from .examples import example
from .operator import operator
from .sparse_nodes import example_nodes, find_nodes

_SLICE = 16384  # nodes of a slice: sums over slices do not depend on the number of threads


@operator("unproject::field_stencils")
def field_stencils(
    data_nodes: Tensor,
    nodes: Tensor,
    columns: Tensor,
    present: Tensor,
    starts: Tensor,
    points: Tensor,
    normals: Tensor,
    value_weight: Tensor,
    slope_weight: Tensor,
) -> tuple[Tensor, Tensor]:
    """The points' part of the normal equations: stencils [R, 27] and right side [R] of the nodes data_nodes int32 [R].

    points [P, 3] in node units are sorted by the index of their cell's lowest node; starts int32 [N + 1] says where each node's begin.
    """
    from ..kernels.smooth_field import stencil_rows

    count = data_nodes.shape[0]
    stencils, right = points.new_empty((count, 27)), points.new_empty(count)
    tensors = (data_nodes, nodes, columns, present, starts, points, normals, value_weight, slope_weight, stencils, right)
    parallel_for(stencil_rows, count, *(t.numpy() for t in tensors), grain=1024)
    return stencils, right


@field_stencils.register_fake
def _(
    data_nodes: Tensor,
    nodes: Tensor,
    columns: Tensor,
    present: Tensor,
    starts: Tensor,
    points: Tensor,
    normals: Tensor,
    value_weight: Tensor,
    slope_weight: Tensor,
) -> tuple[Tensor, Tensor]:
    return points.new_empty((data_nodes.shape[0], 27)), points.new_empty(data_nodes.shape[0])


@operator("unproject::solve_field")
def solve_field(
    start: Tensor,
    right: Tensor,
    stiffness: Tensor,
    anchor: Tensor,
    data_row: Tensor,
    stencils: Tensor,
    columns: Tensor,
    present: Tensor,
    iterations: int,
    tolerance: float,
) -> tuple[Tensor, Tensor]:
    """Conjugate gradients with the diagonal as preconditioner from `start` [N]: the solution [N], and [2] float64: iterations done and
    the preconditioned residual's norm, relative to the right side's.

    data_row int32 [N]: each node's row of stencils [R, 27], -1 for none. Stops at `tolerance` or after `iterations`.
    """
    from ..kernels import smooth_field as kernels

    count = start.shape[0]
    slices = max(1, min(count // _SLICE, 512))
    f, r = start.clone().numpy(), right.clone().numpy()
    d, product, diagonal = np.empty_like(f), np.empty_like(f), np.empty_like(f)
    hessian, dots = np.zeros((count + 1, 6), f.dtype), np.zeros(slices)
    cols, bits, fixed, rows, coefficients = (t.numpy() for t in (columns, present, anchor, data_row, stencils))
    stiff = stiffness.numpy()
    sources, row_of = _border_sources(cols, bits, rows)

    def over(kernel, *arrays) -> None:
        for_each_slice(lambda _, begin, end: kernel(begin, end, *arrays), count, slices=slices)

    def total(kernel, *arrays) -> float:
        for_each_slice(lambda slot, begin, end: kernel(begin, end, slot, *arrays, dots), count, slices=slices)
        return float(dots.sum())

    def multiply(vector: np.ndarray) -> float:
        over(kernels.hessian_rows, vector, cols, bits, stiff, hessian)
        return total(kernels.product_rows, vector, hessian, cols, sources, fixed, row_of, coefficients, product)

    scalar = f.dtype.type
    over(kernels.diagonal_rows, stiff, cols, bits, fixed, rows, coefficients, diagonal)
    if count:
        np.maximum(diagonal, scalar(1e-12) * diagonal.max() + scalar(1e-30), out=diagonal)
    d[:] = 0
    product[:] = 0
    reference = total(kernels.update_rows, scalar(0), d, product, diagonal, f, r)
    multiply(f)
    square, done = total(kernels.update_rows, scalar(1), d, product, diagonal, f, r), 0
    over(kernels.direction_rows, scalar(0), r, diagonal, d)
    while done < iterations and square > tolerance * tolerance * reference and square > 0:
        curvature = multiply(d)
        if not curvature > 0:
            break
        before = square
        square = total(kernels.update_rows, scalar(before / curvature), d, product, diagonal, f, r)
        over(kernels.direction_rows, scalar(square / before), r, diagonal, d)
        done += 1
    return torch.from_numpy(f), torch.tensor([done, (square / reference) ** 0.5 if reference > 0 else 0.0], dtype=torch.float64)


def _border_sources(columns: np.ndarray, present: np.ndarray, data_row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sources [B, 18] of the nodes that lack neighbours, and [N] each node's row of stencils, or -2 minus its row of sources."""
    from ..kernels.smooth_field import ALL_PRESENT, border_rows

    border = np.flatnonzero(present != ALL_PRESENT)
    sources, row_of = np.empty((len(border), 18), np.int32), data_row.copy()
    row_of[border] = -2 - np.arange(len(border), dtype=np.int32)
    parallel_for(border_rows, len(border), border, columns, present, sources)
    return sources, row_of


@solve_field.register_fake
def _(
    start: Tensor,
    right: Tensor,
    stiffness: Tensor,
    anchor: Tensor,
    data_row: Tensor,
    stencils: Tensor,
    columns: Tensor,
    present: Tensor,
    iterations: int,
    tolerance: float,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(start), torch.empty(2, dtype=torch.float64)


@operator("unproject::field_bending")
def field_bending(values: Tensor, columns: Tensor, present: Tensor) -> Tensor:
    """Frobenius norm [N] of the second differences of values [N] at nodes with all 26 neighbours, 0 at others."""
    from ..kernels.smooth_field import hessian_rows

    hessian = values.new_empty((values.shape[0], 6))
    arrays = (values.numpy(), columns.numpy(), present.numpy(), torch.ones_like(values).numpy(), hessian.numpy())
    parallel_for(hessian_rows, values.shape[0], *arrays, grain=8192)
    hessian[:, 3:] *= 2**0.5
    return hessian.square().sum(1).sqrt()


@field_bending.register_fake
def _(values: Tensor, columns: Tensor, present: Tensor) -> Tensor:
    return torch.empty_like(values)


def _example_system(dtype: torch.dtype) -> dict[str, Tensor]:
    words, rank, nodes, columns, present = example_nodes()
    points = torch.tensor([[3.5, 3.25, 3.75], [3.25, 4.5, 3.5]], dtype=dtype)
    low = find_nodes(points.to(torch.int32), words, rank, 8)
    low, order = low.sort()
    corners = torch.tensor([[e >> 2, (e >> 1) & 1, e & 1] for e in range(8)], dtype=torch.int32)
    data_nodes = find_nodes((nodes[low][:, None] + corners).reshape(-1, 3), words, rank, 8).unique().to(torch.int32)
    starts = torch.searchsorted(low, torch.arange(nodes.shape[0] + 1)).to(torch.int32)
    return {
        "data_nodes": data_nodes,
        "nodes": nodes,
        "columns": columns,
        "present": present,
        "starts": starts,
        "points": points[order].contiguous(),
        "normals": torch.tensor([[0.6, 0.8, 0.0], [0.6, 0.0, 0.8]], dtype=dtype),
        "value_weight": torch.ones(2, dtype=dtype),
        "slope_weight": torch.full((2,), 0.5, dtype=dtype),
    }


@example(field_stencils)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    return tuple(_example_system(dtype).values())


@example(solve_field)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    system = _example_system(dtype)
    stencils, values = field_stencils(*system.values())
    count = system["nodes"].shape[0]
    data_row = torch.full((count,), -1, dtype=torch.int32)
    data_row[system["data_nodes"].long()] = torch.arange(len(values), dtype=torch.int32)
    right = torch.zeros(count, dtype=dtype).index_copy(0, system["data_nodes"].long(), values)
    weight = torch.full((count,), 0.1, dtype=dtype)
    return (
        torch.zeros(count, dtype=dtype),
        right,
        weight,
        weight.clone(),
        data_row,
        stencils,
        system["columns"],
        system["present"],
        50,
        1e-4,
    )


@example(field_bending)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    _, _, nodes, columns, present = example_nodes()
    return nodes.to(dtype).square().sum(1), columns, present
