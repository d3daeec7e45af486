"""How well poses explain an image, in plain torch: the twin of kernels/pose_terms.py, one pose after the other."""

from __future__ import annotations

import torch
from torch import Tensor

REGION, OUTLINE, COVER, COLOR, DEPTH, EDGE = range(6)
_BEYOND = 0.5
_Rows = tuple[Tensor, ...]  # gradients [N, 3] at camera points, residuals [N], weights [N]


def pose_terms(
    points: Tensor, rim: Tensor, areas: Tensor, views: Tensor, poses: Tensor, maps: Tensor, outline: Tensor, lens: Tensor,
    sigmas: Tensor, weights: Tensor, mask_area: float, near_gap: float, derive: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Costs [B, 12], matrices [B, 6, 6] and slopes [B, 6]; see ops/pose_terms.py."""
    points, rim, areas, poses, maps, outline = (t.double() for t in (points, rim, areas, poses, maps, outline))
    lens, sigmas, weights = lens.double(), sigmas.double(), weights.double()
    costs, matrices, slopes = poses.new_zeros(len(poses), 12), poses.new_zeros(len(poses), 6, 6), poses.new_zeros(len(poses), 6)
    for b in range(len(poses)):
        view, pose = int(views[b]), poses[b]
        surface = _Surface(points[view], pose, maps, lens, near_gap)
        pixels = areas[view] * lens[0] * lens[1] / pose[2, 3].square().clamp(min=1e-4) / max(int(surface.facing.sum()), 1)
        if weights[REGION] > 0:
            known, common = (surface.sure * surface.drawn).sum(), pixels * (surface.sure * surface.foreground * surface.drawn).sum()
            union = mask_area + _BEYOND * (pixels * known - common)
            costs[b, REGION] = 1 - (common / union).clamp(max=1) if union > 0 else 1.0
            costs[b, 6 + REGION] = known / points.shape[1]
        edge = _Rim(rim[view], pose, maps, lens, near_gap)
        for term in (COLOR, DEPTH, OUTLINE, EDGE, COVER):
            if weights[term] > 0:
                costs[b, term], costs[b, 6 + term], at, rows = _term(term, surface, edge, maps, outline, lens, sigmas, near_gap)
                if derive and rows is not None:
                    gradient, residual, weight = rows
                    jacobian = torch.cat([gradient, torch.linalg.cross(at - pose[:3, 3], gradient)], 1)
                    matrices[b] += weights[term] * jacobian.T @ (weight[:, None] * jacobian)
                    slopes[b] += weights[term] * jacobian.T @ (weight * residual)
    return costs, matrices, slopes


def _term(term: int, surface: _Surface, edge: _Rim, maps: Tensor, outline: Tensor, lens: Tensor, sigmas: Tensor, near_gap: float):
    """Cost, share of the points it is from, camera points, and what the normal equations need there."""
    if term == COLOR:
        return _color(surface, maps, lens, sigmas[2], sigmas[5])
    if term == DEPTH:
        return _depth(surface, maps, sigmas[3], near_gap)
    if term == COVER:
        return _cover(edge, outline, lens, sigmas[1])
    channel, sigma = (2, sigmas[0]) if term == OUTLINE else (7, sigmas[4])
    return _along_rim(edge, maps, channel, lens, sigma)


class _Surface:
    """Surface points of a view before the maps."""

    def __init__(self, points: Tensor, pose: Tensor, maps: Tensor, lens: Tensor, near_gap: float):
        self.at, self.normal, self.albedo = points[:, :3] @ pose[:3, :3].T + pose[:3, 3], points[:, 3:6] @ pose[:3, :3].T, points[:, 6:]
        self.facing = (self.at[:, 2] >= 1e-2) & ((self.at * self.normal).sum(1) < 0)
        self.pixel, inside = _project(self.at, maps, lens)
        self.drawn = self.facing & inside
        here = _lookup(maps, self.pixel, self.drawn)
        self.foreground, self.distance, self.depth = here[:, 0], here[:, 2], here[:, 6]
        hidden = (self.depth > 0) & (self.depth < self.at[:, 2] - near_gap) & (self.foreground < 0.5)
        self.sure = torch.where(hidden, torch.zeros_like(here[:, 1]), here[:, 1])


class _Rim:
    """The rim of a view before the maps."""

    def __init__(self, rim: Tensor, pose: Tensor, maps: Tensor, lens: Tensor, near_gap: float):
        self.at = rim @ pose[:3, :3].T + pose[:3, 3]
        self.pixel, inside = _project(self.at, maps, lens)
        here = _lookup(maps, self.pixel, inside)
        hidden = (here[:, 6] > 0) & (here[:, 6] < self.at[:, 2] - near_gap) & (here[:, 0] < 0.5)
        self.known = inside & ~hidden & (here[:, 1] >= 0.5)


def _project(at: Tensor, maps: Tensor, lens: Tensor) -> tuple[Tensor, Tensor]:
    front = at[:, 2] >= 1e-2
    pixel = at[:, :2] / at[:, 2:].clamp(min=1e-2) * lens[:2] + lens[2:]
    pixel = torch.where(front[:, None], pixel, torch.full_like(pixel, -1e9))
    size = pixel.new_tensor([maps.shape[1], maps.shape[0]])
    return pixel, ((pixel >= 0.5) & (pixel <= size - 0.5)).all(1)


def _lookup(maps: Tensor, pixel: Tensor, inside: Tensor) -> Tensor:
    column, row = torch.where(inside[:, None], pixel, torch.ones_like(pixel)).long().unbind(1)
    return maps[row, column]


def _bilinear(maps: Tensor, channel: int, pixel: Tensor) -> tuple[Tensor, Tensor]:
    """Values [N] and derivatives [N, 2]."""
    x, y = (pixel - 0.5).unbind(1)
    c, r = x.floor().long().clamp(0, maps.shape[1] - 2), y.floor().long().clamp(0, maps.shape[0] - 2)
    s, t, image = x - c, y - r, maps[..., channel]
    a, b, d, e = image[r, c], image[r, c + 1], image[r + 1, c], image[r + 1, c + 1]
    top, bottom = a + s * (b - a), d + s * (e - d)
    return top + t * (bottom - top), torch.stack([(b - a) * (1 - t) + (e - d) * t, bottom - top], 1)


def _robust(u: Tensor) -> tuple[Tensor, Tensor]:
    share = 1 / (1 + u.square())
    return 1 - share, share.square()


def _to_camera(slope: Tensor, at: Tensor, lens: Tensor) -> Tensor:
    """Gradients [N, 3] at camera points from slopes [N, 2] in the image."""
    flat = slope * lens[:2] / at[:, 2:]
    return torch.cat([flat, -(flat * at[:, :2]).sum(1, keepdim=True) / at[:, 2:]], 1)


def _color(
    surface: _Surface, maps: Tensor, lens: Tensor, sigma: Tensor, border: Tensor
) -> tuple[float | Tensor, float, Tensor, _Rows | None]:  # fmt: skip
    chosen = surface.drawn & (surface.sure > 0.5) & (surface.foreground > 0.3) & (surface.distance < -border)
    seen = int(chosen.sum())
    if seen < 12:
        return 1.0, 0.0, surface.at, None
    at, normal, pixel, total, parts = surface.at[chosen], surface.normal[chosen], surface.pixel[chosen], 0.0, []
    for c in range(3):
        value, slope = _bilinear(maps, 3 + c, pixel)
        albedo = surface.albedo[chosen, c : c + 1]
        basis = torch.cat([albedo, albedo * normal, torch.ones_like(albedo)], 1)
        weight = torch.ones_like(value)
        for turn in range(2):
            power, count = (weight * albedo[:, 0].square()).sum(), weight.sum()
            prior = torch.stack([1e-3 * power, *[0.05 * power] * 3, 0.2 * count]) + 1e-6
            light = torch.linalg.solve(basis.T @ (weight[:, None] * basis) + prior.diag(), basis.T @ (weight * value))
            weight = _robust((value - basis @ light) / (2 * sigma))[1] if turn == 0 else weight
        u = (value - basis @ light) / sigma
        cost, weight = _robust(u)
        total = total + cost.sum() / (3 * seen)
        parts.append((_to_camera(slope / sigma, at, lens), u, weight / (3 * seen)))
    return total, seen / len(chosen), at.repeat(3, 1), tuple(torch.cat(p) for p in zip(*parts))


def _depth(surface: _Surface, maps: Tensor, sigma: Tensor, near_gap: float) -> tuple[float | Tensor, float, Tensor, _Rows | None]:
    measured = surface.drawn & (surface.depth > 0)
    hidden = measured & (surface.depth < surface.at[:, 2] - near_gap) & (surface.foreground < 0.5)
    used = measured & ~hidden
    count = int(used.sum())
    if count < 8:
        return 1.0, 0.0, surface.at, None
    at, normal, depth = surface.at[used], surface.normal[used], surface.depth[used]
    u = (at * normal).sum(1) * (depth / at[:, 2] - 1) / sigma
    cost, weight = _robust(u)
    gap, _ = _robust(((depth - at[:, 2]).abs() - 8 * sigma).clamp(min=0) / (8 * sigma))
    total = (torch.maximum(cost, gap).sum() + 0.4 * hidden.sum()) / (count + hidden.sum())
    return total, count / max(int(surface.drawn.sum()), 1), at, (-normal / sigma, u, weight * (1 - gap) / count)


def _along_rim(edge: _Rim, maps: Tensor, channel: int, lens: Tensor, sigma: Tensor) -> tuple[float | Tensor, float, Tensor, _Rows | None]:
    count = int(edge.known.sum())
    if count < 6:
        return 1.0, 0.0, edge.at, None
    at = edge.at[edge.known]
    value, slope = _bilinear(maps, channel, edge.pixel[edge.known])
    cost, weight = _robust(value / sigma)
    return cost.mean(), count / len(edge.known), at, (_to_camera(slope / sigma, at, lens), value / sigma, weight / count)


def _cover(edge: _Rim, outline: Tensor, lens: Tensor, sigma: Tensor) -> tuple[float | Tensor, float, Tensor, _Rows | None]:
    used = outline[:, 4].sum()
    if used < 1:
        return 1.0, 0.0, edge.at, None
    gap = edge.pixel[None] - outline[:, None, :2]
    distance, nearest = gap.square().sum(-1).min(1)
    share = outline[:, 4] / used
    cost, weight = _robust(distance.sqrt() / sigma)
    front = edge.at[nearest, 2] > 1e-2
    normal = outline[:, 2:4]
    residual = (normal * gap[torch.arange(len(outline)), nearest]).sum(1) / sigma
    at = edge.at[nearest][front]
    rows = (_to_camera(normal[front] / sigma, at, lens), residual[front], (weight * share)[front])
    return (cost * share).sum(), float(used) / len(outline), at, rows
