"""Texture lookup in plain torch, with the signature of the operator."""

from __future__ import annotations

import torch
from torch import Tensor


def _place(t: Tensor, size: Tensor, wrap: int, nearest: bool) -> tuple[Tensor, Tensor, Tensor]:
    if wrap == 0:
        t = t - t.detach().floor()
    elif wrap == 1:
        t = t.clamp(0, 1)
    else:
        t = t - 2 * (t.detach() / 2).floor()
        t = torch.where(t > 1, 2 - t, t)
    t = torch.where((t >= 0) & (t <= 1), t, 0)
    x = t * size - 0.5
    low = x.detach().floor().long()
    fraction = x - low
    if nearest:
        fraction = (fraction.detach() >= 0.5).to(t.dtype)
    high = low + 1
    if wrap == 0:
        low, high = torch.where(low < 0, low + size, low), torch.where(high >= size, high - size, high)
    return low.clamp_min(0), torch.minimum(high, size - 1), fraction


def texture(texels: Tensor, sizes: Tensor, uvs: Tensor, level: Tensor, wrap_u: int, wrap_v: int, nearest: bool) -> Tensor:
    """Arguments and result as ops.texture.texture. Differentiable in texels and coordinates, any number of times."""
    count = sizes.shape[0]
    detail = level.detach().nan_to_num(0.0, float("inf"), float("-inf")) if level.numel() else uvs.new_zeros(uvs.shape[0])
    detail = detail.clamp(0, count - 1)
    first = detail.long().clamp_max(max(count - 2, 0))
    mix = detail - first
    sizes = sizes.to(uvs.device)
    total = texels.new_zeros((uvs.shape[0], texels.shape[1]))
    for step in range(2 if count > 1 else 1):
        start, height, width = sizes[first + step].unbind(-1)
        share = mix if step else 1 - mix
        x0, x1, fx = _place(uvs[:, 0], width, wrap_u, nearest)
        y0, y1, fy = _place(1 - uvs[:, 1], height, wrap_v, nearest)
        for y, wy in ((y0, 1 - fy), (y1, fy)):
            for x, wx in ((x0, 1 - fx), (x1, fx)):
                total = total + (share * wy * wx)[:, None] * texels[start + y * width + x]
    return total
