"""Where a contour lies along lines across it, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

AMPLITUDE, SLOPE = 0.43, 0.6  # as in the kernel


def region_lines(
    image: Tensor, table: Tensor, centers: Tensor, normals: Tensor, reach: Tensor, step: int, segments: int, offsets: int
) -> Tensor:
    """See ops/region_lines.py."""
    bits = (table.shape[0].bit_length() - 1) // 3
    table = table.float()
    at = torch.arange(-segments, segments + 1, device=image.device)
    t = (at[:, None] * step + torch.arange(step, device=image.device) - 0.5 * (step - 1)).float()
    place = centers.float()[:, None, None] + t[..., None] * normals.float()[:, None, None]
    x, y = place.floor().long().unbind(-1)
    usable = (at >= -reach[:, :1]) & (at <= reach[:, 1:])
    inside = (x >= 0) & (x < image.shape[1]) & (y >= 0) & (y < image.shape[0]) & usable[..., None]
    colors = image[y.clamp(0, image.shape[0] - 1), x.clamp(0, image.shape[1] - 1)].long() >> (8 - bits)
    p = table[(((colors[..., 0] << bits) | colors[..., 1]) << bits) | colors[..., 2]]
    one = torch.ones_like(p)
    fore, back = torch.where(inside, p, one).prod(-1), torch.where(inside, 1 - p, one).prod(-1)
    known = inside.any(-1) & (fore + back > 0)
    share = torch.where(known, fore / (fore + back).clamp(min=1e-38), torch.full_like(fore, 0.5))
    d = torch.arange(-offsets, offsets + 1, device=image.device)
    h = 0.5 - AMPLITUDE * torch.tanh((at - d[:, None]).float() / (2 * SLOPE))
    weight = torch.log(h * share[:, None] + (1 - h) * (1 - share[:, None])).sum(-1).softmax(-1)
    mean = (weight * d).sum(-1)
    variance = (weight * d * d).sum(-1) - mean * mean
    return torch.stack([mean * step, variance * step * step, known.float().mean(-1)], dim=-1)
