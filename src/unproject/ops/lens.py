"""Undistortion of points without gradients: camera/distortion.py adds these by Newton steps in torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .operator import operator


@operator("unproject::undistort")
def undistort(points: Tensor, coefficients: Tensor, limit: Tensor) -> Tensor:
    """Ideal points [*batch, N, 2] of distorted ones [..., N, 2], for lenses [..., C] that are one to one up to a radius [...]."""
    from ..kernels.lens import undistort_range

    batch = torch.broadcast_shapes(points.shape[:-2], coefficients.shape[:-1])
    result = points.new_empty(*batch, *points.shape[-2:])
    lenses = torch.nn.functional.pad(coefficients, (0, 12 - coefficients.shape[-1]))
    _run(undistort_range, points.expand(result.shape).reshape(-1, 2), batch, lenses, limit, result.view(-1, 2))
    return result


@operator("unproject::fisheye_angles")
def fisheye_angles(distorted: Tensor, coefficients: Tensor, limit: Tensor) -> Tensor:
    """theta [*batch, N] from theta_d [..., N], for lenses [..., 4] that are one to one up to an angle [...]."""
    from ..kernels.lens import fisheye_angles_range

    batch = torch.broadcast_shapes(distorted.shape[:-1], coefficients.shape[:-1])
    result = distorted.new_empty(*batch, distorted.shape[-1])
    _run(fisheye_angles_range, distorted.expand(result.shape).reshape(-1), batch, coefficients, limit, result.view(-1))
    return result


def _run(kernel: Any, points: Tensor, batch: torch.Size, coefficients: Tensor, limit: Tensor, result: Tensor) -> None:
    """Call a kernel over points that follow each other lens by lens."""
    count = points.shape[0]
    if count == 0:
        return
    if limit.numel() > 1:
        coefficients, limit = coefficients.expand(*batch, -1), limit.expand(batch)
    lenses = coefficients.double().reshape(-1, coefficients.shape[-1]).contiguous().numpy()
    limits = limit.double().reshape(-1).contiguous().numpy()
    parallel_for(kernel, count, points.contiguous().numpy(), count // len(limits), lenses, limits, result.numpy(), grain=1024)


@undistort.register_fake
def _(points: Tensor, coefficients: Tensor, limit: Tensor) -> Tensor:
    return points.new_empty(*torch.broadcast_shapes(points.shape[:-2], coefficients.shape[:-1]), *points.shape[-2:])


@fisheye_angles.register_fake
def _(distorted: Tensor, coefficients: Tensor, limit: Tensor) -> Tensor:
    return distorted.new_empty(*torch.broadcast_shapes(distorted.shape[:-1], coefficients.shape[:-1]), distorted.shape[-1])


@example(undistort)
def _(dtype: torch.dtype) -> tuple[Tensor, ...]:
    return (
        torch.tensor([[0.1, 0.2], [0.0, 0.0]], dtype=dtype),
        torch.tensor([-0.1, 0.01, 0, 0, 0], dtype=dtype),
        torch.tensor(1.5, dtype=dtype),
    )


@example(fisheye_angles)
def _(dtype: torch.dtype) -> tuple[Tensor, ...]:
    return torch.tensor([0.1, 0.5], dtype=dtype), torch.tensor([0.05, -0.02, 0, 0], dtype=dtype), torch.tensor(1.5, dtype=dtype)
