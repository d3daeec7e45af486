"""How often colours occur in an object and around it, in plain torch. See ops/color_counts.py."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad


def color_counts(image: Tensor, face: Tensor, corner: Tensor, scale: float, box: Tensor, step: int, bits: int) -> Tensor:
    """See ops/color_counts.py."""
    x, y = (torch.arange(int(box[a]), int(box[a + 2]), step) for a in (0, 1))
    column, row = (((v + 0.5 - c) * scale).floor().long() for v, c in zip((x, y), corner.double()))
    height, width = face.shape
    mask = (face >= 0).float()
    inner = -max_pool2d(-pad(mask, (2, 2, 2, 2))[None], 5, stride=1)[0] > 0
    near = max_pool2d(pad(mask, (4, 4, 4, 4))[None], 5, stride=1)[0] > 0  # up to two pixels beyond the border
    known = ((row >= 0) & (row < height))[:, None] & ((column >= 0) & (column < width))
    close = ((row >= -2) & (row < height + 2))[:, None] & ((column >= -2) & (column < width + 2))
    shows = known & inner[row.clamp(0, height - 1)[:, None], column.clamp(0, width - 1)]
    misses = ~(close & near[row.clamp(-2, height + 1)[:, None] + 2, column.clamp(-2, width + 1) + 2])
    r8, g8, b8 = (image[y[:, None], x] >> (8 - bits)).long().unbind(-1)
    color = (((r8 << bits) | g8) << bits) | b8
    return torch.stack([_shares(color[chosen], bits) for chosen in (shows, misses)])


def _shares(colors: Tensor, bits: int) -> Tensor:
    side = 1 << bits
    counts = torch.bincount(colors, minlength=side**3).float().reshape(side, side, side)
    for axis in (0, 1, 2, 0, 1, 2):
        wide = counts.clone()
        wide.narrow(axis, 1, side - 1).add_(counts.narrow(axis, 0, side - 1))
        wide.narrow(axis, 0, side - 1).add_(counts.narrow(axis, 1, side - 1))
        counts = wide
    return counts.flatten() / counts.sum().clamp(min=1e-12)
