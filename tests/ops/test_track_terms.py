"""Steps of poses by outline, texture and depth: kernel against twin, and against the energy they are the model of."""

from __future__ import annotations

import pytest
import torch

from unproject.ops.track_terms import fit_pose
from unproject.pose.track_terms import step_motion
from unproject.reference.track_terms import fit_pose as fit_pose_twin
from unproject.reference.track_terms import project_with_rows


def scene(kinds: set[str], count: int, dtype: torch.dtype, *, steps: int, stride: int = 2, doubt: float = 2.0) -> list:
    """Arguments of `fit_pose` with data of some kinds: noise, of which the terms make what they can."""
    generator = torch.Generator().manual_seed(1)
    noise = lambda *size: torch.randn(*size, generator=generator, dtype=dtype)
    rows = lambda kind: count if kind in kinds else 0
    pose = torch.eye(4, dtype=dtype)
    pose[:3, :3] = torch.linalg.qr(noise(3, 3)).Q
    pose[:3, 3] = torch.tensor([0.1, -0.2, 6.0])
    image = torch.randint(0, 256, (60, 80, 3), generator=generator, dtype=torch.uint8)
    image = torch.nn.functional.avg_pool2d(image.float().permute(2, 0, 1), 5, stride=1, padding=2).permute(1, 2, 0).to(torch.uint8)
    odds = 2 * noise(512)
    n = rows("outline")
    reach = torch.randint(6, 20, (n, 2), generator=generator).to(dtype)
    contour = torch.cat([noise(n, 3), torch.nn.functional.normalize(noise(n, 2), dim=1), reach], 1)
    level = 30 * torch.nn.functional.avg_pool2d(noise(3, 30, 40)[None], 5, stride=1, padding=2)[0]
    texture, paint = (torch.cat([noise(rows(kind), 3), 10 * noise(rows(kind), 1)], 1) for kind in ("texture", "paint"))
    surface = torch.cat([noise(rows("depth"), 3), torch.nn.functional.normalize(noise(rows("depth"), 3), dim=1)], 1)
    depth = 6 + 0.3 * noise(60, 80)
    depth[:, :10] = 0
    intrinsics = torch.tensor([[90.0, 2, 41], [0, 80, 29], [0, 0, 1]], dtype=dtype)
    return [
        image, odds, contour, [stride, 8, 6], 0.7, doubt, level, torch.tensor([1.5, -2.0], dtype=dtype), 0.5, texture, paint, 4.0, depth,
        surface, 1.5, intrinsics, pose, 0.01 * noise(6), torch.full((6,), 50.0, dtype=dtype), [0.2, 0.1], [3.0, 4.0, 4.0], steps,
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kinds", ["outline", "texture", "paint", "depth", "outline texture paint depth", ""])
@pytest.mark.parametrize("steps", [0, 2])
def test_kernel_matches_twin(dtype: torch.dtype, kinds: str, steps: int) -> None:
    for count in (1, 7, 150) if steps == 0 else (150,):
        arguments = scene(set(kinds.split()), count, dtype, steps=steps, doubt=2.0 if steps else 0.5)
        for ours, twin in zip(fit_pose(*arguments), fit_pose_twin(*arguments)):
            torch.testing.assert_close(ours, twin, rtol=5e-3, atol=1e-3 * max(1.0, float(twin.abs().max())))


def test_what_is_not_there_says_nothing() -> None:
    pose, moved, terms = fit_pose(*scene(set(), 10, torch.float64, steps=1))
    assert float(terms.abs().max()) == 0
    torch.testing.assert_close(moved, torch.zeros(6, dtype=torch.float64))  # back to where it was expected
    assert pose.shape == (4, 4)


def test_depth_brings_a_plane_to_where_it_is_measured() -> None:
    arguments = scene({"depth"}, 400, torch.float64, steps=4)
    flat = torch.rand(400, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    surface = torch.zeros(400, 6, dtype=torch.float64)
    surface[:, :2], surface[:, 5] = flat, -1
    pose = step_motion(torch.tensor([0, 0, 0.1, 0.05, -0.08, 0], dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    pose[2, 3] += 6
    arguments[12], arguments[13], arguments[16] = torch.full((60, 80), 6.0), surface, pose
    arguments[17], arguments[18] = torch.zeros(6), torch.full((6,), 1e-3)
    found, _, terms = fit_pose(*arguments)
    assert abs(float(found[2, 3]) - 6) < 1e-3 and float(found[:2, 2].abs().max()) < 1e-3
    assert float(terms[3, 42]) == 1


def test_rows_are_the_derivative_of_the_pixels() -> None:
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    intrinsics = torch.tensor([[90.0, 2, 41], [0, 80, 29], [0, 0, 1]], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 3] = torch.tensor([0.1, -0.2, 6.0])
    center = pose[:3, 3]

    def pixels(step: torch.Tensor) -> torch.Tensor:
        return project_with_rows(points, intrinsics, step_motion(step, center) @ pose, center)[1]

    rows = project_with_rows(points, intrinsics, pose, center)[2]
    expected = torch.autograd.functional.jacobian(pixels, torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(rows, expected)
