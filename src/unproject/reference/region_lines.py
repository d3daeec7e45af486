"""Where a contour lies along lines across it, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def region_lines(
    image: Tensor, odds: Tensor, centers: Tensor, normals: Tensor, reach: Tensor, stride: int, length: int, offsets: int, trust: float
) -> Tensor:
    """See ops/region_lines.py."""
    bits = (odds.shape[0].bit_length() - 1) // 3
    at = torch.arange(-length, length, device=image.device)
    t = (at.float() + 0.5) * stride
    x, y = (centers.float()[:, None] + t[:, None] * normals.float()[:, None]).floor().long().unbind(-1)
    known = (x >= 0) & (x < image.shape[1]) & (y >= 0) & (y < image.shape[0]) & (at >= -reach[:, :1]) & (at < reach[:, 1:])
    colors = image[y.clamp(0, image.shape[0] - 1), x.clamp(0, image.shape[1] - 1)].long() >> (8 - bits)
    evidence = odds.float()[(((colors[..., 0] << bits) | colors[..., 1]) << bits) | colors[..., 2]] * trust
    evidence = torch.where(known, evidence, torch.zeros_like(evidence))
    d = torch.arange(-offsets, offsets + 1, device=image.device)
    inside = at < d[:, None]  # [D, 2 length]: which samples lie inside of an edge at d
    weight = (evidence[:, None] * inside).sum(-1).softmax(-1)
    mean = (weight * d).sum(-1)
    variance = (weight * d * d).sum(-1) - mean * mean
    return torch.stack([mean * stride, variance * stride * stride, known.float().mean(-1)], dim=-1)
