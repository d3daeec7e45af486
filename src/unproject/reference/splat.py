"""Soft discs and spheres in plain torch: every disc at every pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from .soft import NOTHING, pixel_centers

_PAIRS = 1 << 19  # pixel-disc pairs held at once
_RIM = 0.01  # as kernels.splat


def splat(
    discs: Tensor, attributes: Tensor, exponents: Tensor, images: int, height: int, width: int, near: float, far: float, soft: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Arguments and results as ops.splat.splat. Differentiable."""
    pixels, results = pixel_centers(height, width, discs), []
    for image, (offset, slope) in enumerate(exponents.tolist()):
        each = discs.view(images, -1, 5)[image]
        values = attributes if attributes.shape[0] == each.shape[0] else attributes.view(images, -1, attributes.shape[1])[image]
        drawn = (each[:, 2] >= near) & (each[:, 2] <= far)
        each, values, parts = each[drawn], values[drawn], []
        for part in pixels.split(max(1, _PAIRS // max(1, each.shape[0]))):
            parts.append(_blend(part, each, values, offset, slope, soft))
        results.append([torch.cat(p).unflatten(0, (height, width)) for p in zip(*parts)])
    if not results:
        empty = discs.new_zeros((0, height, width))
        return discs.new_zeros((0, height, width, attributes.shape[1])), empty, empty.clone(), empty.clone()
    blended, depth, transmittance, weight = (torch.stack(each) for each in zip(*results))
    return blended, depth, transmittance, weight


def _blend(
    pixels: Tensor, discs: Tensor, values: Tensor, offset: float, slope: float, soft: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    offsets = pixels[:, None] - discs[:, :2]
    squared = offsets.square().sum(-1)
    distance = torch.where(squared > 0, torch.where(squared > 0, squared, 1).sqrt(), 0)
    t = ((discs[:, 3] - distance) / soft + 0.5).clamp(0, 1)
    coverage = t * t * (3 - 2 * t)
    above = 1 - squared / discs[:, 3].square().clamp_min(1e-12)
    depth = discs[:, 2] - discs[:, 4] * torch.where(above > _RIM, above.clamp_min(_RIM), _RIM).sqrt()
    counts = coverage > 0
    power = torch.where(counts, torch.where(counts, coverage, 1).log() + offset - slope * depth, -torch.inf)
    weight = torch.cat([power, power.new_full((len(pixels), 1), NOTHING)], 1).logsumexp(1)
    share = torch.where(counts, (power - weight[:, None]).exp(), 0)
    return share @ values, (share * depth).sum(-1), (1 - coverage).prod(-1), weight
