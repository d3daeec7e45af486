"""Operator: where a contour lies along lines across it."""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example


@torch.library.custom_op("unproject::region_lines", mutates_args=(), device_types="cpu")
def region_lines(
    image: Tensor, table: Tensor, centers: Tensor, normals: Tensor, reach: Tensor, step: int, segments: int, offsets: int
) -> Tensor:
    """Mean and variance of the contour's distance along each line, px and px^2, and the share of its segments with data: float32 [L, 3].

    image: uint8 [H, W, 3]; table: [8^n] foreground probabilities of colours with n bits a channel; centers, normals: [L, 2] (x, y);
    reach: int64 [L, 2] segments inside and outside that may be used. See kernels/region_lines.py.
    """
    from ..kernels.region_lines import region_lines_range

    bits = (table.shape[0].bit_length() - 1) // 3
    out = torch.empty((centers.shape[0], 3), dtype=torch.float32)
    floats = [t.contiguous().float().numpy() for t in (table, centers, normals)]
    arrays = (image.contiguous().numpy(), floats[0], 8 - bits, floats[1], floats[2], reach.contiguous().numpy(), step, segments, offsets)
    parallel_for(region_lines_range, centers.shape[0], *arrays, out.numpy(), grain=256)
    return out


@region_lines.register_fake
def _(image: Tensor, table: Tensor, centers: Tensor, normals: Tensor, reach: Tensor, step: int, segments: int, offsets: int) -> Tensor:
    return centers.new_empty((centers.shape[0], 3), dtype=torch.float32)


@example(region_lines)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    image = (torch.arange(12 * 16 * 3).reshape(12, 16, 3) * 5 % 256).to(torch.uint8)
    table = torch.linspace(0.05, 0.95, 64, dtype=dtype)
    centers = torch.tensor([[8.0, 6.0], [3.2, 4.1]], dtype=dtype)
    normals = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=dtype)
    return image, table, centers, normals, torch.tensor([[3, 3], [2, 3]]), 2, 3, 2
