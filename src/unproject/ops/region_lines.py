"""Operator: where a contour lies along lines across it."""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .operator import operator


@operator("unproject::region_lines")
def region_lines(
    image: Tensor, odds: Tensor, centers: Tensor, normals: Tensor, reach: Tensor, stride: int, length: int, offsets: int, trust: float
) -> Tensor:
    """Mean and variance of the contour's distance along each line, px and px^2, and the share of its samples with data: float32 [L, 3].

    image: uint8 [H, W, 3]; odds: [8^n] log odds of colours with n bits a channel; centers, normals: [L, 2] (x, y); reach: int64 [L, 2]
    samples inside and outside that may be used; offsets < length. See kernels/region_lines.py.
    """
    from ..kernels.region_lines import region_lines_range

    bits = (odds.shape[0].bit_length() - 1) // 3
    out = torch.empty((centers.shape[0], 3), dtype=torch.float32)
    floats = [t.contiguous().float().numpy() for t in (odds, centers, normals)]
    arrays = (image.contiguous().numpy(), floats[0], 8 - bits, floats[1], floats[2], reach.contiguous().numpy())
    parallel_for(region_lines_range, centers.shape[0], *arrays, stride, length, offsets, trust, out.numpy(), grain=256)
    return out


@region_lines.register_fake
def _(
    image: Tensor, odds: Tensor, centers: Tensor, normals: Tensor, reach: Tensor, stride: int, length: int, offsets: int, trust: float
) -> Tensor:
    return centers.new_empty((centers.shape[0], 3), dtype=torch.float32)


@example(region_lines)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    image = (torch.arange(12 * 16 * 3).reshape(12, 16, 3) * 5 % 256).to(torch.uint8)
    odds = torch.linspace(-2, 2, 64, dtype=dtype)
    centers = torch.tensor([[8.0, 6.0], [3.2, 4.1]], dtype=dtype)
    normals = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=dtype)
    return image, odds, centers, normals, torch.tensor([[3, 3], [2, 3]]), 2, 3, 2, 0.5
