"""Barycentric interpolation in plain torch, with the signature of the operator."""

from __future__ import annotations

import torch
from torch import Tensor


def interpolate(values: Tensor, corners: Tensor, face: Tensor, base: Tensor, weights: Tensor) -> Tensor:
    """Arguments and result as ops.interpolate.interpolate. Differentiable any number of times."""
    rows = corners[face.clamp_min(0)] if corners.shape[0] else torch.zeros((*face.shape, 3), dtype=torch.int64, device=face.device)
    if base.numel():
        rows = rows + base[:, None]
    if values.shape[0] == 0:
        return values.new_zeros((face.shape[0], values.shape[1])) + 0 * weights.sum()
    mixed = (values[rows] * weights[..., None]).sum(-2)
    return torch.where((face >= 0)[:, None], mixed, 0)
