"""Principal axes of neighbourhoods in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def neighborhood_pca(points: Tensor, index: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Twin of ops.pca.neighborhood_pca. Sums in float64 (float32 where the device has no other)."""
    exact = torch.float32 if points.device.type == "mps" else torch.float64
    counts = offsets.diff()
    owner = torch.repeat_interleave(torch.arange(len(counts), device=points.device), counts)
    weight = 1 / counts.clamp(min=1).to(exact)
    gathered = points.detach()[index].to(exact)
    mean = torch.zeros((len(counts), 3), dtype=exact, device=points.device).index_add(0, owner, gathered) * weight[:, None]
    apart = gathered - mean[owner]
    outer = apart[:, :, None] * apart[:, None, :]
    covariance = torch.zeros((len(counts), 3, 3), dtype=exact, device=points.device).index_add(0, owner, outer) * weight[:, None, None]
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    axes = vectors.transpose(1, 2)
    largest = axes.gather(2, axes.abs().argmax(2, keepdim=True))
    axes = torch.where(largest < 0, -axes, axes)
    return mean.to(points.dtype), eigenvalues.clamp(min=0).to(points.dtype), axes.to(points.dtype)
