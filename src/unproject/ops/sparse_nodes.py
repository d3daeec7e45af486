"""Operators: sets of lattice nodes around cells, and trilinear interpolation on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .operator import operator


@operator("unproject::sparse_nodes")
def sparse_nodes(cells: Tensor, size: Sequence[int], dilations: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The corners of cells int32 [C, 3] and their neighbours up to `dilations` rings away, in a lattice of size [X, Y, Z].

    Returns words int64 [X, Y, W] (bitmap along z), rank int32 [X, Y, W] (nodes before each word), nodes int32 [N, 3], columns int32
    [N, 9] and present int32 [N] (neighbours, see kernels/sparse_nodes.py).
    """
    from ..kernels import sparse_nodes as kernels

    words = np.zeros((size[0], size[1], (size[2] + 63) // 64), np.uint64)
    kernels.mark_cells(0, cells.shape[0], cells.numpy(), words)
    for _ in range(dilations):
        wider = np.empty_like(words)
        parallel_for(kernels.dilate_rows, size[0], words, size[2], wider, grain=4)
        words = wider
    count = np.empty(words.size, np.int32)
    parallel_for(kernels.count_rows, words.size, words.reshape(-1), count, grain=65536)
    total = np.cumsum(count, dtype=np.int64)
    if total.size and total[-1] >= 2**31 - 1:
        raise RuntimeError("sparse_nodes: more than 2^31 nodes")
    rank = (total - count).astype(np.int32).reshape(words.shape)
    nodes = np.empty((int(total[-1]) if total.size else 0, 3), np.int32)
    parallel_for(kernels.list_rows, size[0], words, rank, nodes, grain=4)
    columns = np.empty((len(nodes), 9), np.int32)
    present = np.empty(len(nodes), np.int32)
    parallel_for(kernels.neighbor_rows, len(nodes), nodes, words, rank, size[2], columns, present)
    return tuple(torch.from_numpy(a) for a in (words.view(np.int64), rank, nodes, columns, present))  # type: ignore[return-value]


@sparse_nodes.register_fake
def _(cells: Tensor, size: Sequence[int], dilations: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    count = torch.library.get_ctx().new_dynamic_size()
    shape = (size[0], size[1], (size[2] + 63) // 64)
    words = cells.new_empty(shape, dtype=torch.int64)
    return words, cells.new_empty(shape), cells.new_empty((count, 3)), cells.new_empty((count, 9)), cells.new_empty(count)


@operator("unproject::find_nodes")
def find_nodes(coordinates: Tensor, words: Tensor, rank: Tensor, size_z: int) -> Tensor:
    """Index int64 [P] of the nodes at coordinates int32 [P, 3]; -1 where there is none."""
    from ..kernels.sparse_nodes import find_rows

    index = torch.empty(coordinates.shape[0], dtype=torch.int64)
    bitmap = words.numpy().view(np.uint64)
    parallel_for(find_rows, coordinates.shape[0], coordinates.numpy(), bitmap, rank.numpy(), size_z, index.numpy(), grain=8192)
    return index


@find_nodes.register_fake
def _(coordinates: Tensor, words: Tensor, rank: Tensor, size_z: int) -> Tensor:
    return coordinates.new_empty(coordinates.shape[0], dtype=torch.int64)


@operator("unproject::interpolate_nodes")
def interpolate_nodes(points: Tensor, values: Tensor, words: Tensor, rank: Tensor, size_z: int) -> tuple[Tensor, Tensor]:
    """Trilinear value [P] and gradient [P, 3] at points [P, 3] in node units of a function given by values [N] at the nodes.

    NaN where a corner of a point's cell is not among the nodes.
    """
    from ..kernels.sparse_nodes import interpolate_rows

    value, gradient = torch.empty_like(points[:, 0]), torch.empty_like(points)
    bitmap = words.numpy().view(np.uint64)
    arrays = (points.numpy(), bitmap, rank.numpy(), size_z, values.numpy(), value.numpy(), gradient.numpy())
    parallel_for(interpolate_rows, points.shape[0], *arrays, grain=4096)
    return value, gradient


@interpolate_nodes.register_fake
def _(points: Tensor, values: Tensor, words: Tensor, rank: Tensor, size_z: int) -> tuple[Tensor, Tensor]:
    return points.new_empty(points.shape[0]), torch.empty_like(points)


def example_nodes() -> tuple[Tensor, ...]:
    """A small set: two cells in a lattice of 8 x 8 x 8, dilated twice."""
    return sparse_nodes(torch.tensor([[3, 3, 3], [3, 4, 3]], dtype=torch.int32), [8, 8, 8], 2)


@example(sparse_nodes)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    return torch.tensor([[3, 3, 3], [3, 4, 3]], dtype=torch.int32), [8, 8, 8], 2


@example(find_nodes)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    words, rank, nodes, _, _ = example_nodes()
    return nodes + 1, words, rank, 8


@example(interpolate_nodes)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    words, rank, nodes, _, _ = example_nodes()
    return torch.tensor([[3.5, 3.25, 4.0], [2.5, 3.0, 3.5]], dtype=dtype), nodes[:, 0].to(dtype), words, rank, 8
