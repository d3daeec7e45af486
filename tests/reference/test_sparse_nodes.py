"""Sparse lattice nodes: the bitmap kernels against sorted keys."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unproject.ops.sparse_nodes import find_nodes, interpolate_nodes, sparse_nodes
from unproject.reference import sparse_nodes as reference

SIZE = (9, 8, 133)  # three words along z, the last one partly used


def random_cells(count: int) -> torch.Tensor:
    high = torch.tensor(SIZE) - 1
    return (torch.rand(count, 3) * high).to(torch.int32)


@pytest.mark.parametrize("count", [0, 1, 25])
@pytest.mark.parametrize("dilations", [0, 1, 2])
def test_nodes_are_dilated_corners(count: int, dilations: int) -> None:
    cells = random_cells(count)
    words, rank, nodes, _, _ = sparse_nodes(cells, list(SIZE), dilations)
    expected = reference.sparse_nodes(cells, SIZE, dilations)
    assert torch.equal(nodes.long(), expected)
    everywhere = torch.cartesian_prod(*(torch.arange(-1, n + 1) for n in SIZE)).to(torch.int32)
    assert torch.equal(find_nodes(everywhere, words, rank, SIZE[2]), reference.find_nodes(everywhere, expected))


def test_neighbours_at_word_borders() -> None:
    cells = torch.tensor([[2, 2, 62], [2, 3, 63], [3, 3, 64], [7, 6, 131]], dtype=torch.int32)
    _, _, nodes, columns, present = sparse_nodes(cells, list(SIZE), 1)
    expected = reference.neighbors(nodes.long())
    bits = (present[:, None] >> torch.arange(27)) & 1
    assert torch.equal(bits.bool(), expected >= 0)
    first = columns.long()
    middle = bits[:, 1::3].long()
    found = torch.stack([first - 1, first, first + middle], dim=2).reshape(-1, 27)  # below, at, above
    assert torch.equal(torch.where(bits.bool(), found, -1), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_interpolation_agrees_with_reference(dtype: torch.dtype) -> None:
    words, rank, nodes, _, _ = sparse_nodes(random_cells(20), list(SIZE), 1)
    values = torch.randn(len(nodes), dtype=dtype)
    points = (torch.rand(2000, 3, dtype=dtype) * 1.2 - 0.1) * (torch.tensor(SIZE) - 1)
    value, gradient = interpolate_nodes(points, values, words, rank, SIZE[2])
    expected, slope = reference.interpolate_nodes(points, values, nodes.long())
    inside = ~value.isnan()
    assert 20 < int(inside.sum()) < 1980
    assert torch.equal(inside, ~expected.isnan())
    torch.testing.assert_close(value, expected, equal_nan=True)
    torch.testing.assert_close(gradient, slope, equal_nan=True)


def test_interpolation_is_exact_for_linear_functions() -> None:
    words, rank, nodes, _, _ = sparse_nodes(torch.tensor([[3, 3, 60]], dtype=torch.int32), list(SIZE), 3)
    slope = torch.tensor([0.5, -2.0, 1.5], dtype=torch.float64)
    points = torch.tensor([[3.2, 4.7, 63.9], [5.0, 4.0, 61.0]], dtype=torch.float64)
    value, gradient = interpolate_nodes(points, nodes.double() @ slope, words, rank, SIZE[2])
    np.testing.assert_allclose(value, points @ slope, rtol=1e-12)
    np.testing.assert_allclose(gradient, slope.expand(2, 3), rtol=1e-12)
