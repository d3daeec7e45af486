"""Operator: how often colours occur in an object and around it."""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .operator import operator


@operator("unproject::color_counts")
def color_counts(image: Tensor, face: Tensor, corner: Tensor, scale: float, box: Tensor, step: int, bits: int) -> Tensor:
    """Shares of colours of the object (row 0) and of what is around it (row 1), smoothed over neighbouring colours: float32 [2, 8^bits].

    image: uint8 [H, W, 3]; face: int64 [h, w], -1 for none, of the part from `corner` [2] on, with `scale` pixels a pixel of the image;
    box: int64 [4] (x0, y0, x1, y1) within the image, of which every `step`-th pixel along both axes is looked at; bits a channel.
    """
    from ..kernels.color_counts import color_counts_once

    out = torch.zeros((2, 8**bits), dtype=torch.float32)
    arrays = (image.contiguous().numpy(), face.contiguous().numpy(), corner.contiguous().double().numpy())
    parallel_for(color_counts_once, 1, *arrays, scale, box.numpy(), step, bits, out.numpy())
    return out


@color_counts.register_fake
def _(image: Tensor, face: Tensor, corner: Tensor, scale: float, box: Tensor, step: int, bits: int) -> Tensor:
    return corner.new_empty((2, 8**bits), dtype=torch.float32)


@example(color_counts)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    image = (torch.arange(24 * 32 * 3).reshape(24, 32, 3) * 5 % 256).to(torch.uint8)
    face = torch.full((10, 10), -1)
    face[2:8, 3:9] = 0
    return image, face, torch.tensor([4.0, 3.0], dtype=dtype), 0.8, torch.tensor([1, 0, 30, 22]), 2, 3
