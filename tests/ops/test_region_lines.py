"""Contour distances along lines: kernel against twin, and images whose contour is known."""

from __future__ import annotations

import pytest
import torch

from unproject.ops.region_lines import region_lines
from unproject.reference.region_lines import region_lines as reference


def edge_image(column: int) -> tuple[torch.Tensor, torch.Tensor]:
    """White left of a column, black right of it, and odds that take white for the object."""
    image = torch.zeros(40, 80, 3, dtype=torch.uint8)
    image[:, :column] = 255
    odds = torch.full((64,), -2.0)
    odds[-1] = 2.0
    return image, odds


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernel_matches_twin(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (40, 60, 3), generator=generator, dtype=torch.uint8)
    odds = torch.randn(512, generator=generator, dtype=dtype)
    centers = torch.rand(300, 2, generator=generator, dtype=dtype) * torch.tensor([70.0, 50.0], dtype=dtype) - 5
    normals = torch.nn.functional.normalize(torch.randn(300, 2, generator=generator, dtype=dtype), dim=1)
    reach = torch.randint(0, 9, (300, 2), generator=generator)
    for stride in (1, 3):
        line = (stride, 8, 6, 0.7)
        ours = region_lines(image, odds, centers, normals, reach, *line)
        torch.testing.assert_close(ours, reference(image, odds, centers, normals, reach, *line), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shift", [-6, -2, 0, 3, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_sharp_edge_is_found_where_it_is(shift: int, stride: int) -> None:
    image, odds = edge_image(40 + shift)
    centers, normals = torch.tensor([[40.0, 20.5]]), torch.tensor([[1.0, 0.0]])
    found = region_lines(image, odds, centers, normals, torch.tensor([[16, 16]]), stride, 16, 12, 1.0)
    assert abs(float(found[0, 0]) - shift) <= 0.5 * stride + 1e-4
    assert float(found[0, 1]) < stride**2 and float(found[0, 2]) == 1


def test_weak_evidence_on_one_side_does_not_shift_the_edge() -> None:
    image, odds = edge_image(40)
    odds[0] = -0.3
    centers = torch.stack([torch.linspace(38.0, 42.0, 21), torch.full((21,), 20.5)], 1)
    found = region_lines(image, odds, centers, torch.tensor([[1.0, 0.0]]).expand(21, 2), torch.full((21, 2), 16), 1, 16, 12, 1.0)
    spread = float((found[:, 0] + centers[:, 0] - 40).mean())
    assert 0 < spread < 4  # the mean lies where the evidence is weak, by what that evidence allows
    strong, _ = edge_image(40)
    sharp = region_lines(
        strong, edge_image(40)[1], centers, torch.tensor([[1.0, 0.0]]).expand(21, 2), torch.full((21, 2), 16), 1, 16, 12, 1.0
    )
    assert abs(float((sharp[:, 0] + centers[:, 0] - 40).mean())) < 0.2


def test_no_data_is_no_knowledge() -> None:
    image, odds = edge_image(40)
    everywhere, normal = torch.tensor([[16, 16]]), torch.tensor([[1.0, 0.0]])
    outside = region_lines(image, odds, torch.tensor([[-100.0, 0.0]]), normal, everywhere, 1, 16, 12, 1.0)
    flat = region_lines(image, torch.zeros(64), torch.tensor([[40.0, 20.0]]), normal, everywhere, 1, 16, 12, 1.0)
    for found in (outside, flat):
        torch.testing.assert_close(found[0, :2], torch.tensor([0.0, (25**2 - 1) / 12]), rtol=1e-4, atol=1e-4)
    assert float(outside[0, 2]) == 0
    nothing = region_lines(image, odds, torch.zeros(0, 2), torch.zeros(0, 2), torch.zeros(0, 2, dtype=torch.int64), 1, 16, 12, 1.0)
    assert nothing.shape == (0, 3)
