"""Twin of the histograms of normals, in plain torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BINS = 11


def normal_histograms(points: Tensor, normals: Tensor, query: Tensor, offsets: Tensor, index: Tensor, signed: bool) -> Tensor:
    """See ops/point_features.py."""
    owner = torch.repeat_interleave(torch.arange(len(query), device=points.device), offsets.diff())
    position, around = points.to(torch.float64), normals.to(torch.float64)
    n, m = around[query[owner]], around[index]
    if not signed:
        m = torch.where((n * m).sum(1, keepdim=True) < 0, -m, m)
    d = position[index] - position[query[owner]]
    length = d.norm(dim=1, keepdim=True)
    d = d / length.where(length > 0, 1)
    v = torch.linalg.cross(n, d)
    side = v.norm(dim=1, keepdim=True)
    good = ((length > 0) & (side > 1e-6))[:, 0]
    v = v / side.where(side > 0, 1)
    w = torch.linalg.cross(n, v)
    dot = lambda a, b: (a * b).sum(1)
    values = (dot(v, m), -1.0, 1.0), (dot(n, d), -1.0, 1.0), (torch.atan2(dot(w, m), dot(n, m)), -math.pi, math.pi)
    result = torch.zeros(len(query), 3 * BINS, dtype=torch.float64, device=points.device)
    for part, (value, low, high) in enumerate(values):
        column = ((value - low) / (high - low) * BINS).long().clamp(0, BINS - 1) + part * BINS
        place = (owner * 3 * BINS + column)[good]
        result.view(-1).index_add_(0, place, torch.ones_like(place, dtype=torch.float64))
    count = result[:, :BINS].sum(1, keepdim=True)
    return (result / count.where(count > 0, 1)).to(points.dtype)
