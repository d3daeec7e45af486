"""Gauss-Newton steps of a pose, in plain torch. See ops/track_terms.py."""

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


def fit_pose(
    image: Tensor, odds: Tensor, contour: Tensor, line: list[int], trust: float, doubt: float, level: Tensor, corner: Tensor,
    scale: float, texture: Tensor, paint: Tensor, grey: float, depth: Tensor, surface: Tensor, reach: float, intrinsics: Tensor,
    pose: Tensor, moved: Tensor, prior: Tensor, limits: list[float], alike: list[float], steps: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """See ops/track_terms.py."""
    pose, moved, prior, intrinsics = (t.double() for t in (pose, moved, prior, intrinsics))
    limit = torch.tensor([limits[0]] * 3 + [limits[1]] * 3, dtype=torch.float64)
    for step in range(steps + 1):
        terms = torch.stack([
            _outline(image, odds, contour, intrinsics, pose, line, trust, doubt, alike[0]),
            _texture(level, corner, scale, texture, intrinsics, pose, grey, alike[1]),
            _texture(level, corner, scale, paint, intrinsics, pose, grey, alike[1]),
            _depth(depth, surface, intrinsics, pose, reach, alike[2]),
        ])  # fmt: skip
        total = terms.sum(0)
        x, failed = torch.linalg.solve_ex(total[:36].view(6, 6) + prior.diag(), total[36:42] - prior * moved)
        if step == steps or int(failed):
            break
        x = x / max(1.0, float((x.abs() / limit).max()))
        moved, pose = moved + x, _turned(pose, x)
    return pose, moved, terms


def _turned(pose: Tensor, x: Tensor) -> Tensor:
    """The pose after a step."""
    zero = torch.zeros_like(x[0])
    turn = torch.stack([zero, -x[5], x[4], x[5], zero, -x[3], -x[4], x[3], zero]).view(3, 3).matrix_exp()
    result = pose.clone()
    result[:3, :3] = turn @ pose[:3, :3]
    result[:3, 3] = pose[:3, 3] + x[:3]
    return result


def _outline(
    image: Tensor, odds: Tensor, contour: Tensor, intrinsics: Tensor, pose: Tensor, line: list[int], trust: float, doubt: float,
    alike: float,
) -> Tensor:  # fmt: skip
    stride, length, offsets = line
    points, normals, reach = contour.double().split([3, 2, 2], dim=1)
    placed, pixels, rows = project_with_rows(points, intrinsics, pose, pose[:3, 3])
    reach = reach.long().div(stride, rounding_mode="floor").clamp(min=1)
    distance, variance, known = region_lines(image, odds, pixels, normals, reach, stride, length, offsets, trust).double().unbind(-1)
    asked = (known > 0.6) & (placed[:, 2] > 0)
    flat = stride**2 * offsets * (offsets + 1) / 3
    seen = distance.abs() + variance.clamp(min=0).sqrt() < 0.9 * offsets * stride
    usable = asked & (variance < 0.5 * flat) & seen
    if not bool(usable.any()):
        return torch.zeros(43, dtype=torch.float64)
    typical = distance[usable].abs().median() + 0.5 * stride
    robust = usable * (1 + (distance / typical).square()) ** -doubt
    weight = robust / ((variance + 0.5 * stride**2) * alike)
    agrees = usable / (1 + (distance / (1.5 * stride + 0.5)).square())
    support = float(agrees.sum() / asked.sum()) if int(asked.sum()) >= 0.25 * len(points) else 0.0
    equations = _pack((normals[:, None] @ rows)[:, 0], distance, weight, support)
    step, failed = torch.linalg.solve_ex(equations[:36].view(6, 6), equations[36:42])
    scale = (agrees.sum() / (0.5 * asked.sum())).square().clamp(max=1)
    if not int(failed):
        left = (weight * distance.square()).sum() - step @ equations[36:42]
        scale = scale / (left / (robust.sum() / alike)).clamp(min=1)
    equations[:42] *= scale
    return equations


def _texture(
    level: Tensor, corner: Tensor, scale: float, samples: Tensor, intrinsics: Tensor, pose: Tensor, grey: float, alike: float
) -> Tensor:
    points, values = samples.double().split([3, 1], dim=1)
    placed, pixels, rows = project_with_rows(points, intrinsics, pose, pose[:3, 3])
    place = (pixels - corner.double()) * scale
    size = place.new_tensor([level.shape[2], level.shape[1]])
    inside = ((place >= 0.5) & (place <= size - 0.5)).all(1) & (placed[:, 2] > 0)
    if int(inside.sum()) < 8:
        return torch.zeros(43, dtype=torch.float64)
    grid = (2 * place[inside] / size - 1)[None, None]
    sampled = torch.nn.functional.grid_sample(level.double()[None], grid, padding_mode="border", align_corners=False)[0, :, 0]
    seen, slope, expected = sampled[0], sampled[1:].T * scale, values[inside, 0]
    contrast, before = seen.abs().median(), expected.abs().median()
    gain = (contrast / before.clamp(min=1)).clamp(0.3, 3.0)
    residual = gain * expected - seen
    sigma = (1.5 * residual.abs().median()).clamp(min=grey)
    weight = (1 - (residual / (4.7 * sigma)).square()).clamp(min=0).square() / (sigma**2 * alike)
    p, q = torch.tanh(seen / (2 * contrast.clamp(min=1))), torch.tanh(expected / (2 * before.clamp(min=1)))
    support = float((p * q).sum() / (p.norm() * q.norm()).clamp(min=1e-6))
    return _pack((slope[:, None] @ rows[inside])[:, 0], residual, weight * max(support, 0.0) ** 2, support)


def _depth(depth: Tensor, surface: Tensor, intrinsics: Tensor, pose: Tensor, reach: float, alike: float) -> Tensor:
    points, normals = surface.double().split([3, 3], dim=1)
    placed, pixels, _ = project_with_rows(points, intrinsics, pose, pose[:3, 3])
    x, y = pixels.floor().long().unbind(1)
    seen = (placed[:, 2] > 0) & (x >= 0) & (x < depth.shape[1]) & (y >= 0) & (y < depth.shape[0])
    placed, normals, x, y = placed[seen], normals[seen] @ pose[:3, :3].T, x[seen], y[seen]
    measured = depth.double()[y, x]
    known = measured > 0
    usable = known & ((measured - placed[:, 2]).abs() < reach)
    if int(usable.sum()) < 10:
        return torch.zeros(43, dtype=torch.float64)
    placed, normals, measured = placed[usable], normals[usable], measured[usable]
    distance = (measured / placed[:, 2] - 1) * (normals * placed).sum(1)
    sigma = (1.5 * distance.abs().median()).clamp(min=0.01 * reach)
    weight = (1 - (distance / (4.7 * sigma)).square()).clamp(min=0).square() / (sigma**2 * alike)
    rows = torch.cat([normals, torch.linalg.cross(placed - pose[:3, 3], normals)], 1)
    return _pack(rows, distance, weight, float(usable.sum() / known.sum()))


def _pack(rows: Tensor, residual: Tensor, weight: Tensor, support: float) -> Tensor:
    weighted = rows * weight[:, None]
    return torch.cat([(weighted.T @ rows).flatten(), weighted.T @ residual, rows.new_tensor([support])])
