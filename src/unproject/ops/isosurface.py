"""Operators of marching cubes: which grid edges an isosurface crosses, and the triangles between the crossings."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .operator import operator


@operator("unproject::isosurface_dense")
def isosurface_dense(values: Tensor, iso: float) -> tuple[Tensor, Tensor]:
    """Crossed edges [V, 2] (flat point indices) and triangles [F, 3] (rows of edges) of a grid [X, Y, Z], contiguous."""
    from ..kernels import marching_cubes as mc
    from ..kernels.cube_tables import cube_tables

    first_entry, ambiguous, offset, tables, corners = cube_tables()
    layers, grid = values.shape[0], values.numpy()
    if min(values.shape) < 2:
        return values.new_empty((0, 2), dtype=torch.int64), values.new_empty((0, 3), dtype=torch.int64)
    vertex_count, face_count = np.zeros(layers, np.int64), np.zeros(layers, np.int64)
    slices = _layer_slices(values)
    parallel_for(mc.dense_count_range, layers, grid, iso, first_entry, ambiguous, offset, vertex_count, face_count, slices=slices)
    vertex_start, face_start = _starts(vertex_count), _starts(face_count)
    edges = torch.empty((int(vertex_start[-1]), 2), dtype=torch.int64)
    faces = torch.empty((int(face_start[-1]), 3), dtype=torch.int64)
    out = (vertex_start, face_start, edges.numpy(), faces.numpy())
    parallel_for(mc.dense_emit_range, layers, grid, iso, first_entry, ambiguous, offset, tables, corners, *out, slices=slices)
    return edges, faces


def _layer_slices(values: Tensor) -> int:
    layers = values.shape[0]
    return min(layers, max(16, layers // 16)) if values.numel() > 20_000 and torch.get_num_threads() > 1 else max(1, layers // 16)


@operator("unproject::crossed_cells_dense")
def crossed_cells_dense(values: Tensor, iso: float) -> tuple[Tensor, Tensor]:
    """The cells of a grid [X, Y, Z] that the surface passes through: flat index of the low point [C], table entry [C]."""
    from ..kernels.cube_tables import cube_tables
    from ..kernels.marching_cubes import dense_cells_range

    tables, grid, layers = cube_tables(), values.numpy(), values.shape[0]
    shared = (grid, iso, tables.first_entry, tables.ambiguous)
    count, nothing = np.zeros(layers, np.int64), np.empty(0, np.int64)
    if min(values.shape) > 1:
        parallel_for(dense_cells_range, layers, *shared, count, nothing, nothing, False, slices=_layer_slices(values))
    start = _starts(count)
    points, entries = torch.empty(int(start[-1]), dtype=torch.int64), torch.empty(int(start[-1]), dtype=torch.int64)
    if len(points) > 0:
        parallel_for(dense_cells_range, layers, *shared, start, points.numpy(), entries.numpy(), True, slices=_layer_slices(values))
    return points, entries


@operator("unproject::isosurface_cells")
def isosurface_cells(values: Tensor, cells: Tensor, iso: float) -> tuple[Tensor, Tensor]:
    """The same for values [P] at the corners `cells` [C, 8] of cells of one lattice."""
    from ..kernels import marching_cubes as mc
    from ..kernels.cube_tables import cube_tables

    first_entry, ambiguous, offset, tables, corners = cube_tables()
    count, value, cell = cells.shape[0], values.numpy(), cells.numpy()
    entries, mark = np.empty(count, np.int32), np.zeros(3 * values.shape[0], np.uint8)
    parallel_for(mc.cells_mark_range, count, value, cell, iso, first_entry, ambiguous, offset, tables, corners, entries, mark)
    face_start = _starts(np.where(entries < 0, 0, np.diff(offset)[entries]))
    edges, faces, group_start = _allocate(mark, face_start)
    out = (mark, group_start, face_start, edges.numpy(), faces.numpy())
    parallel_for(mc.cells_emit_range, count, cell, entries, offset, tables, corners, *out)
    return edges, faces


@operator("unproject::isosurface_blocks")
def isosurface_blocks(values: Tensor, neighbors: Tensor, iso: float) -> tuple[Tensor, Tensor]:
    """The same for blocks: values [B, 8, 8, 8]; `neighbors` [B, 8] the block at offset (c & 1, c >> 1 & 1, c >> 2 & 1), or -1."""
    from ..kernels import marching_cubes as mc
    from ..kernels.cube_tables import cube_tables

    count, value, neighbor = values.shape[0], values.view(-1).numpy(), neighbors.numpy()
    face_count, mark = np.zeros(count, np.int64), np.zeros(3 * value.shape[0], np.uint8)
    shared = (value, neighbor, iso, *cube_tables())
    slices = max(1, min(count // 8, 16 + count // 2048))
    parallel_for(mc.blocks_mark_range, count, *shared, face_count, mark, slices=slices)
    face_start = _starts(face_count)
    edges, faces, group_start = _allocate(mark, face_start)
    parallel_for(mc.blocks_emit_range, count, *shared, mark, group_start, face_start, edges.numpy(), faces.numpy(), slices=slices)
    return edges, faces


def _starts(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _allocate(mark: np.ndarray, face_start: np.ndarray) -> tuple[Tensor, Tensor, np.ndarray]:
    from ..kernels.marching_cubes import group_count_range

    groups = (len(mark) + 7) // 8
    group_count = np.empty(groups, np.int64)
    parallel_for(group_count_range, groups, mark, group_count, grain=50_000)
    group_start = _starts(group_count)
    edges = torch.empty((int(group_start[-1]), 2), dtype=torch.int64)
    return edges, torch.empty((int(face_start[-1]), 3), dtype=torch.int64), group_start


def _fake(values: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    context = torch.library.get_ctx()
    vertex_count, face_count = context.new_dynamic_size(), context.new_dynamic_size()
    return values.new_empty((vertex_count, 2), dtype=torch.int64), values.new_empty((face_count, 3), dtype=torch.int64)


isosurface_dense.register_fake(_fake)
isosurface_cells.register_fake(_fake)
isosurface_blocks.register_fake(_fake)


@crossed_cells_dense.register_fake
def _(values: Tensor, iso: float) -> tuple[Tensor, Tensor]:
    count = torch.library.get_ctx().new_dynamic_size()
    return values.new_empty(count, dtype=torch.int64), values.new_empty(count, dtype=torch.int64)


@crossed_cells_dense.register_kernel(["cuda", "mps", "xpu"])
def _(values: Tensor, iso: float) -> tuple[Tensor, Tensor]:
    from ..reference import isosurface

    return isosurface.crossed_cells_dense(values, iso)


@isosurface_dense.register_kernel(["cuda", "mps", "xpu"])
def _(values: Tensor, iso: float) -> tuple[Tensor, Tensor]:
    from ..reference import isosurface

    return isosurface.isosurface_dense(values, iso)


@isosurface_cells.register_kernel(["cuda", "mps", "xpu"])
def _(values: Tensor, cells: Tensor, iso: float) -> tuple[Tensor, Tensor]:
    from ..reference import isosurface

    return isosurface.isosurface_cells(values, cells, iso)


@isosurface_blocks.register_kernel(["cuda", "mps", "xpu"])
def _(values: Tensor, neighbors: Tensor, iso: float) -> tuple[Tensor, Tensor]:
    from ..reference import isosurface

    return isosurface.isosurface_blocks(values, neighbors, iso)


@example(crossed_cells_dense)
@example(isosurface_dense)
def _(dtype: torch.dtype) -> tuple[Tensor, float]:
    return torch.linspace(-1, 1, 4 * 5 * 6, dtype=dtype).sin().reshape(4, 5, 6), 0.1


@example(isosurface_cells)
def _(dtype: torch.dtype) -> tuple[Tensor, Tensor, float]:
    return torch.linspace(-1, 1, 12, dtype=dtype), torch.arange(8).repeat(2, 1) + torch.tensor([[0], [4]]), 0.1


@example(isosurface_blocks)
def _(dtype: torch.dtype) -> tuple[Tensor, Tensor, float]:
    neighbors = torch.full((1, 8), -1)
    neighbors[0, 0] = 0
    return torch.linspace(-1, 1, 512, dtype=dtype).reshape(1, 8, 8, 8), neighbors, 0.1
