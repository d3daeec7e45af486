"""Dense RGB-D alignment in plain torch, with the signatures of the operators."""

from __future__ import annotations

import torch
from torch import Tensor


def halve(depth: Tensor, intensity: Tensor, jump: float) -> tuple[Tensor, Tensor]:
    """The next pyramid level: see the operator."""
    height, width = depth.shape[0] // 2, depth.shape[1] // 2
    fours = lambda image: image[: 2 * height, : 2 * width].reshape(height, 2, width, 2).permute(0, 2, 1, 3).reshape(height, width, 4)
    d = fours(depth)
    nearest = torch.where(d > 0, d, torch.inf).amin(-1, keepdim=True)
    used = (d > 0) & (d <= nearest * (1 + jump))
    mean = torch.where(used, d, 0).sum(-1) / used.sum(-1).clamp_min(1)
    return mean, fours(intensity).mean(-1)


def _neighbours(image: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """The values before and after along a dimension, the image's own at its border, and how far apart they are."""
    count = image.shape[dim]
    place = torch.arange(count, device=image.device)
    before, after = (place - 1).clamp_min(0), (place + 1).clamp_max(count - 1)
    shape = [1, 1]
    shape[dim] = count
    return image.index_select(dim, before), image.index_select(dim, after), (after - before).clamp_min(1).reshape(shape)


def describe_image(depth: Tensor, intensity: Tensor, k: list[float], jump: float) -> tuple[Tensor, Tensor]:
    """Normals and intensity gradients: see the operator."""
    slopes, there = [], depth > 0
    gradient = torch.stack([(b - a) / n for a, b, n in (_neighbours(intensity, 1), _neighbours(intensity, 0))], dim=-1)
    for dim in (1, 0):
        before, after, distance = _neighbours(depth, dim)
        there = there & (before > 0) & (after > 0) & ((before - depth).abs() <= jump * depth) & ((after - depth).abs() <= jump * depth)
        there = there & (depth.shape[dim] > 1)
        slopes.append((after - before) / distance)
    x, y = _rays(depth, k)
    nx, ny = slopes[0] * k[0], slopes[1] * k[1]
    normal = torch.nn.functional.normalize(torch.stack([nx, ny, -depth - x * nx - y * ny], dim=-1), dim=-1)
    return torch.where(there[..., None], normal, 0), gradient


def _rays(depth: Tensor, k: list[float]) -> tuple[Tensor, Tensor]:
    columns = torch.arange(depth.shape[1], dtype=depth.dtype, device=depth.device)
    rows = torch.arange(depth.shape[0], dtype=depth.dtype, device=depth.device)
    return ((columns + 0.5 - k[2]) / k[0])[None], ((rows + 0.5 - k[3]) / k[1])[:, None]


def _bilinear(image: Tensor, u: Tensor, v: Tensor) -> Tensor:
    x, y = u - 0.5, v - 0.5
    column, row = x.long(), y.long()
    s, t = x - column, y - row
    if image.dim() == 3:
        s, t = s[:, None], t[:, None]
    above = image[row, column] + s * (image[row, column + 1] - image[row, column])
    below = image[row + 1, column] + s * (image[row + 1, column + 1] - image[row + 1, column])
    return above + t * (below - above)


def _tukey(residual: Tensor) -> Tensor:
    return (1 - (residual / 4.685).square()).clamp_min(0).square()


def align_sums(source: list[Tensor], target: list[Tensor], k: list[float], pose: Tensor, scales: list[float]) -> Tensor:
    """Normal equations of one step: see the operator."""
    gap, depth_scale, light_scale, light_share = scales
    depth, intensity = source
    target_depth, target_intensity, normals, gradients = target
    x, y = _rays(depth, k)
    points = torch.stack([x * depth, y * depth, depth], dim=-1)[depth > 0]
    intensity = intensity[depth > 0]
    motion = pose.to(points)
    points = points @ motion[:3, :3].mT + motion[:3, 3]
    u, v = points[:, 0] / points[:, 2] * k[0] + k[2], points[:, 1] / points[:, 2] * k[1] + k[3]
    height, width = target_depth.shape
    view = (points[:, 2] > 1e-6) & (u >= 1) & (v >= 1) & (u < width - 1) & (v < height - 1)
    points, intensity, u, v = points[view], intensity[view], u[view], v[view]
    row, column = v.long(), u.long()
    seen = target_depth[row, column]
    same = (seen > 0) & ((seen - points[:, 2]).abs() <= gap * points[:, 2])
    points, intensity, u, v, row, column, seen = (t[same] for t in (points, intensity, u, v, row, column, seen))

    normal = normals[row, column]
    has_normal = normal[:, 2] != 0
    other = torch.stack([(column + 0.5 - k[2]) / k[0] * seen, (row + 0.5 - k[3]) / k[1] * seen, seen], dim=-1)
    scale = depth_scale * points[:, 2]
    distance = (normal * (points - other)).sum(-1) / scale
    weight = torch.where(has_normal, _tukey(distance), 0)
    inlier = ~has_normal | (weight > 0)
    plane = torch.cat([normal, torch.linalg.cross(points, normal)], dim=1) / scale[:, None]

    difference = (_bilinear(target_intensity, u, v) - intensity) / light_scale
    slope = _bilinear(gradients, u, v) * torch.tensor(k[:2], device=u.device) / points[:, 2:] / light_scale
    slope = torch.cat([slope, -(slope * points[:, :2]).sum(-1, keepdim=True) / points[:, 2:]], dim=1)
    light = torch.cat([slope, torch.linalg.cross(points, slope)], dim=1)
    light_weight = torch.where(inlier, light_share * _tukey(difference), 0)

    jacobian, residual = torch.cat([plane, light]).double(), torch.cat([distance, difference]).double()
    weights = torch.cat([weight, light_weight]).double()
    squares = (jacobian * weights[:, None]).mT @ jacobian
    upper = squares[torch.triu_indices(6, 6)[0], torch.triu_indices(6, 6)[1]]
    mean = torch.stack([distance.abs().clamp_max(3)[has_normal].sum(), difference.abs().clamp_max(3)[inlier].sum()]).double()
    counts = upper.new_tensor([int(view.sum()), int(inlier.sum())])
    tail = [(weights * residual**2).sum()[None], counts, mean, has_normal.sum()[None].double()]
    return torch.cat([upper, jacobian.mT @ (weights * residual), *tail]).cpu()
