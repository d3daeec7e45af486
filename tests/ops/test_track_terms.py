"""Normal equations of poses: kernels against twins, and against the energy they are the model of."""

from __future__ import annotations

import pytest
import torch

from unproject.ops import track_terms as ops
from unproject.pose.track_terms import step_motion
from unproject.reference import track_terms as reference
from unproject.reference.track_terms import project_with_rows


def scene(count: int, generator: torch.Generator, dtype: torch.dtype) -> list[torch.Tensor]:
    points = torch.randn(count, 3, generator=generator, dtype=dtype)
    intrinsics = torch.tensor([[90.0, 2, 41], [0, 80, 29], [0, 0, 1]], dtype=dtype)
    pose = torch.eye(4, dtype=dtype)
    pose[:3, 3] = torch.tensor([0.1, -0.2, 6.0])
    return [points, intrinsics, pose, pose[:3, 3] + 0.1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [0, 1, 7, 150])
def test_outline_kernel_matches_twin(dtype: torch.dtype, count: int) -> None:
    generator = torch.Generator().manual_seed(1)
    points, intrinsics, pose, center = scene(count, generator, dtype)
    image = torch.randint(0, 256, (60, 80, 3), generator=generator, dtype=torch.uint8)
    image = torch.nn.functional.avg_pool2d(image.float().permute(2, 0, 1), 5, stride=1, padding=2).permute(1, 2, 0).to(torch.uint8)
    odds = 2 * torch.randn(512, generator=generator, dtype=dtype)
    normals = torch.nn.functional.normalize(torch.randn(count, 2, generator=generator, dtype=dtype), dim=1)
    reach = torch.randint(3, 9, (count, 2), generator=generator)
    for stride in (1, 2):
        arguments = (image, odds, points, normals, reach, intrinsics, pose, center, stride, 8, 6, 0.7, 3.0)
        ours, twin = ops.outline_equations(*arguments), reference.outline_equations(*arguments)
        torch.testing.assert_close(ours, twin, rtol=2e-3, atol=2e-3 * max(1.0, float(twin.abs().max())))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [0, 5, 200])
def test_texture_kernel_matches_twin(dtype: torch.dtype, count: int) -> None:
    generator = torch.Generator().manual_seed(2)
    geometry = scene(count, generator, dtype)
    level = 30 * torch.randn(3, 30, 40, generator=generator, dtype=dtype)
    values = 30 * torch.randn(count, generator=generator, dtype=dtype)
    arguments = (level, torch.tensor([1.5, -2.0], dtype=dtype), 0.5, geometry[0], values, *geometry[1:], 4.0, 4.0)
    ours, twin = ops.texture_equations(*arguments), reference.texture_equations(*arguments)
    torch.testing.assert_close(ours, twin, rtol=1e-4, atol=1e-4 * max(1.0, float(twin.abs().max())))


def test_rows_are_the_derivative_of_the_pixels() -> None:
    points, intrinsics, pose, center = scene(5, torch.Generator().manual_seed(3), torch.float64)

    def pixels(step: torch.Tensor) -> torch.Tensor:
        return project_with_rows(points, intrinsics, step_motion(step, center) @ pose, center)[1]

    rows = project_with_rows(points, intrinsics, pose, center)[2]
    expected = torch.autograd.functional.jacobian(pixels, torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(rows, expected)
