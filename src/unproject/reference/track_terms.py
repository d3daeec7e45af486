"""Normal equations of a step of a pose, in plain torch. See ops/track_terms.py."""

from __future__ import annotations

import torch
from torch import Tensor

from .region_lines import region_lines


def project_with_rows(points: Tensor, intrinsics: Tensor, pose: Tensor, center: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Camera-frame points [N, 3], pixels [N, 2], and the pixels' derivative [N, 2, 6] with respect to a step about the centre [3]."""
    placed = points @ pose[:3, :3].T + pose[:3, 3]
    image = placed @ intrinsics.T
    z = image[:, 2:]
    pixels = image[:, :2] / z
    slope = (intrinsics[:2] - pixels[:, :, None] * intrinsics[2]) / z[:, :, None]
    x, y, w = (placed - center).unbind(-1)
    zero = torch.zeros_like(x)
    turn = torch.stack([zero, w, -y, -w, zero, x, y, -x, zero], -1).reshape(-1, 3, 3)
    return placed, pixels, torch.cat([slope, slope @ turn], -1)


def outline_equations(
    image: Tensor, odds: Tensor, points: Tensor, normals: Tensor, reach: Tensor, intrinsics: Tensor, pose: Tensor, center: Tensor,
    stride: int, length: int, offsets: int, trust: float, alike: float,
) -> Tensor:  # fmt: skip
    """See ops/track_terms.py."""
    geometry = [t.double() for t in (points, intrinsics, pose, center)]
    placed, pixels, rows = project_with_rows(*geometry)
    distance, variance, known = region_lines(image, odds, pixels, normals, reach, stride, length, offsets, trust).double().unbind(-1)
    asked = (known > 0.6) & (placed[:, 2] > 0)
    flat = stride**2 * offsets * (offsets + 1) / 3
    seen = distance.abs() + variance.clamp(min=0).sqrt() < 0.9 * offsets * stride
    usable = asked & (variance < 0.5 * flat) & seen
    if not bool(usable.any()):
        return torch.zeros(43, dtype=torch.float64)
    typical = distance[usable].abs().median() + 0.5 * stride
    weight = usable / ((1 + (distance / typical).square()).square() * (variance + 0.5 * stride**2) * alike)
    agrees = usable & (distance.abs() < 2 * stride + 1)
    support = float(agrees.sum() / asked.sum()) if int(asked.sum()) >= 0.25 * len(points) else 0.0
    return _pack((normals.double()[:, None] @ rows)[:, 0], distance, weight, support)


def texture_equations(
    level: Tensor, corner: Tensor, scale: float, points: Tensor, values: Tensor, intrinsics: Tensor, pose: Tensor, center: Tensor,
    noise: float, alike: float,
) -> Tensor:  # fmt: skip
    """See ops/track_terms.py."""
    geometry = [t.double() for t in (points, intrinsics, pose, center)]
    placed, pixels, rows = project_with_rows(*geometry)
    place = (pixels - corner.double()) * scale
    size = place.new_tensor([level.shape[2], level.shape[1]])
    inside = ((place >= 0.5) & (place <= size - 0.5)).all(1) & (placed[:, 2] > 0)
    if int(inside.sum()) < 8:
        return torch.zeros(43, dtype=torch.float64)
    grid = (2 * place[inside] / size - 1)[None, None]
    sampled = torch.nn.functional.grid_sample(level.double()[None], grid, padding_mode="border", align_corners=False)[0, :, 0]
    seen, slope, expected = sampled[0], sampled[1:].T * scale, values.double()[inside]
    contrast, before = seen.abs().median(), expected.abs().median()
    gain = (contrast / before.clamp(min=1)).clamp(0.3, 3.0)
    residual = gain * expected - seen
    sigma = (1.5 * residual.abs().median()).clamp(min=noise)
    weight = (1 - (residual / (4.7 * sigma)).square()).clamp(min=0).square() / (sigma**2 * alike)
    p, q = torch.tanh(seen / (2 * contrast.clamp(min=1))), torch.tanh(expected / (2 * before.clamp(min=1)))
    support = float((p * q).sum() / (p.norm() * q.norm()).clamp(min=1e-6))
    return _pack((slope[:, None] @ rows[inside])[:, 0], residual, weight, support)


def _pack(rows: Tensor, residual: Tensor, weight: Tensor, support: float) -> Tensor:
    weighted = rows * weight[:, None]
    return torch.cat([(weighted.T @ rows).flatten(), weighted.T @ residual, rows.new_tensor([support])])
