"""The undistortion kernels against their torch twins."""

from __future__ import annotations

import pytest
import torch

from unproject.ops import lens as ops
from unproject.reference import lens as reference

LENS = [-0.28, 0.09, 1e-3, -2e-3, 0.01, 0.02, 0.03, -0.001, 1e-3, 2e-3, -1e-3, 5e-4]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
each_type = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


@each_type
@pytest.mark.parametrize("count", [4, 5, 8, 12])
@pytest.mark.parametrize("shapes", [((7,), ()), ((2, 7), (2,)), ((7,), (3, 2)), ((3, 1, 7), (1, 2)), ((0,), ()), ((1,), ())], ids=str)
def test_undistort(count: int, shapes: tuple[tuple[int, ...], tuple[int, ...]], dtype: torch.dtype) -> None:
    points = torch.rand(*shapes[0], 2, dtype=dtype) - 0.5
    lenses = torch.tensor(LENS[:count], dtype=dtype) * (1 + 0.2 * torch.rand(*shapes[1], 1, dtype=dtype))
    limit = 1 + torch.rand(shapes[1], dtype=dtype)
    ours, twin = ops.undistort(points, lenses, limit), reference.undistort(points, lenses, limit)
    torch.testing.assert_close(ours, twin, atol=TOLERANCE[dtype], rtol=0)


@each_type
@pytest.mark.parametrize("shapes", [((7,), ()), ((2, 7), (2,)), ((7,), (3, 2)), ((3, 1, 7), (1, 2)), ((0,), ()), ((1,), ())], ids=str)
def test_fisheye_angles(shapes: tuple[tuple[int, ...], tuple[int, ...]], dtype: torch.dtype) -> None:
    distorted = 1.2 * torch.rand(*shapes[0], dtype=dtype)
    lenses = torch.tensor([0.05, -0.02, 0.003, -0.0004], dtype=dtype) * (1 + 0.2 * torch.rand(*shapes[1], 1, dtype=dtype))
    limit = 1 + torch.rand(shapes[1], dtype=dtype)
    ours, twin = ops.fisheye_angles(distorted, lenses, limit), reference.fisheye_angles(distorted, lenses, limit)
    torch.testing.assert_close(ours, twin, atol=TOLERANCE[dtype], rtol=0)


def test_opcheck() -> None:
    lens = torch.tensor(LENS[:5], dtype=torch.float64)
    torch.library.opcheck(ops.undistort.overload, (torch.rand(2, 3, 2).double(), lens, torch.tensor(1.5).double()))
    torch.library.opcheck(ops.fisheye_angles.overload, (torch.rand(2, 3).double(), lens[:4], torch.tensor(1.5).double()))
