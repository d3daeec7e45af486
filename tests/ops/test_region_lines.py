"""Contour distances along lines: kernel against twin, and images whose contour is known."""

from __future__ import annotations

import pytest
import torch

from unproject.ops.region_lines import region_lines
from unproject.reference.region_lines import region_lines as reference


def edge_image(column: int) -> tuple[torch.Tensor, torch.Tensor]:
    """White left of a column, black right of it, and a table that takes white for foreground."""
    image = torch.zeros(40, 60, 3, dtype=torch.uint8)
    image[:, :column] = 255
    table = torch.full((64,), 0.1)
    table[-1] = 0.9
    return image, table


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernel_matches_twin(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (40, 60, 3), generator=generator, dtype=torch.uint8)
    table = torch.rand(512, generator=generator, dtype=dtype) * 0.98 + 0.01
    centers = torch.rand(300, 2, generator=generator, dtype=dtype) * torch.tensor([70.0, 50.0], dtype=dtype) - 5
    normals = torch.nn.functional.normalize(torch.randn(300, 2, generator=generator, dtype=dtype), dim=1)
    reach = torch.randint(0, 7, (300, 2), generator=generator)
    for step in (1, 3):
        ours = region_lines(image, table, centers, normals, reach, step, 6, 5)
        torch.testing.assert_close(ours, reference(image, table, centers, normals, reach, step, 6, 5), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shift", [-6, -2, 0, 3, 7])
@pytest.mark.parametrize("step", [1, 2])
def test_a_sharp_edge_is_found_where_it_is(shift: int, step: int) -> None:
    image, table = edge_image(30 + shift)
    centers, normals = torch.tensor([[30.0, 20.5]]), torch.tensor([[1.0, 0.0]])
    found = region_lines(image, table, centers, normals, torch.tensor([[10, 10]]), step, 10, 8)
    assert abs(float(found[0, 0]) - shift) < 0.6 * step
    assert float(found[0, 1]) < 1.5 * step**2 and float(found[0, 2]) == 1


def test_no_data_is_no_knowledge() -> None:
    image, table = edge_image(30)
    everywhere = torch.tensor([[10, 10]])
    outside = region_lines(image, table, torch.tensor([[-100.0, 0.0]]), torch.tensor([[1.0, 0.0]]), everywhere, 1, 10, 8)
    flat = region_lines(image, torch.full((64,), 0.5), torch.tensor([[30.0, 20.0]]), torch.tensor([[1.0, 0.0]]), everywhere, 1, 10, 8)
    for found in (outside, flat):
        torch.testing.assert_close(found[0, :2], torch.tensor([0.0, (17**2 - 1) / 12]), rtol=1e-4, atol=1e-4)
    assert float(outside[0, 2]) == 0
    assert region_lines(image, table, torch.zeros(0, 2), torch.zeros(0, 2), torch.zeros(0, 2, dtype=torch.int64), 1, 10, 8).shape == (0, 3)
