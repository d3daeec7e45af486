"""Hard rasterization in plain torch: every triangle against every pixel, in float64, by the same rules as the kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from .clip import clip_near

_PAIRS = 1 << 20  # triangle-pixel pairs held at once
_TINY = 1e-300
_NOISE = {torch.float32: 1e-7, torch.float64: 1e-14}


def rasterize(
    points: Tensor, faces: Tensor, images: Tensor, height: int, width: int, near: float, far: float, orthographic: bool, cull: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Nearest faces; arguments and results as ops.rasterize.rasterize. Differentiable in the points, any number of times."""
    none = points.new_empty((0, 0, 0), dtype=torch.int64)
    return rasterize_behind(points, faces, images, height, width, near, far, orthographic, cull, none, none.to(torch.float64))[:3]


def rasterize_behind(
    points: Tensor,
    faces: Tensor,
    images: Tensor,
    height: int,
    width: int,
    near: float,
    far: float,
    orthographic: bool,
    cull: bool,
    face: Tensor,
    nearness: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The next layer; arguments and results as ops.rasterize.rasterize_behind."""
    shape = (images.shape[0], height, width)
    found = torch.full(shape, -1, dtype=torch.int64, device=points.device)
    best = torch.full(shape, -far if orthographic else 1.0 / far, dtype=torch.float64, device=points.device)
    for image, (first, count, base) in enumerate(images.tolist()):
        behind = (face[image], nearness[image]) if face.numel() else None
        clipped = clip_near(points.detach().double(), faces[first : first + count] + base, near)
        corners, triangles, parent = clipped.points, clipped.triangles, clipped.parent
        inverse = torch.ones_like(corners[:, 2:]) if orthographic else 1.0 / corners[:, 2:]
        flat = torch.cat([corners[:, :2] * inverse, -corners[:, 2:] if orthographic else inverse], -1)
        if cull:
            a, b, c = flat[triangles][..., :2].unbind(1)
            keep = _cross(b - a, c - a) < 0
            triangles, parent = triangles[keep], parent[keep]
        step = max(1, _PAIRS // max(1, height * width))
        for begin in range(0, triangles.shape[0], step):
            part = slice(begin, begin + step)
            _draw(flat[triangles[part]], parent[part] + first, behind, best[image], found[image])
    barycentrics, depth = interpolate_corners(points, faces, images, found, orthographic)
    return barycentrics, depth, found, best


def _draw(corners: Tensor, face: Tensor, behind: tuple[Tensor, Tensor] | None, best: Tensor, found: Tensor) -> None:
    """Draw triangles [T, 3, 3] (pixel, nearness) into `best` and `found` [H, W]."""
    y = torch.arange(best.shape[0], dtype=torch.float64, device=best.device)[:, None] + 0.5
    x = torch.arange(best.shape[1], dtype=torch.float64, device=best.device) + 0.5
    a, b, c = corners.unbind(1)
    area = _cross(b - a, c - a)
    sign = 2.0 * (area > 0).to(torch.float64) - 1.0
    inside = (area != 0)[:, None, None].expand(-1, *best.shape)
    for p, q in ((a, b), (b, c), (c, a)):
        forward = (p[:, 0] < q[:, 0]) | ((p[:, 0] == q[:, 0]) & (p[:, 1] < q[:, 1]))
        origin = torch.where(forward[:, None], p, q)
        run = sign[:, None] * (q - p)
        threshold = _TINY * (forward != (sign > 0)).to(torch.float64)
        value = run[:, 0, None, None] * (y - origin[:, 1, None, None]) - run[:, 1, None, None] * (x - origin[:, 0, None, None])
        inside = inside & (value >= threshold[:, None, None])
    divisor = torch.where(area == 0, 1, area)
    rise_b, rise_c = b[:, 2] - a[:, 2], c[:, 2] - a[:, 2]
    slope_x = (rise_b * (c - a)[:, 1] - rise_c * (b - a)[:, 1]) / divisor
    slope_y = (rise_c * (b - a)[:, 0] - rise_b * (c - a)[:, 0]) / divisor
    row = a[:, 2, None] + slope_y[:, None] * (y[:, 0] - a[:, 1, None])
    near = row[:, :, None] + (slope_x[:, None] * (x - a[:, 0, None]))[:, None, :]
    low, high = corners[:, :, 2].amin(1)[:, None, None], corners[:, :, 2].amax(1)[:, None, None]
    near = torch.minimum(high, torch.maximum(low, near))
    if behind is not None:
        old_face, old_near = behind
        inside = inside & ((near < old_near) | ((near == old_near) & (face[:, None, None] > old_face)))
    near = torch.where(inside, near, -torch.inf)
    top = near.amax(0)
    first = (near == top).to(torch.int8).argmax(0)  # the first, so the lowest face, of equally near ones
    wins = top > best
    best.copy_(torch.where(wins, top, best))
    found.copy_(torch.where(wins, face[first], found))


def _cross(u: Tensor, v: Tensor) -> Tensor:
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def interpolate_corners(points: Tensor, faces: Tensor, images: Tensor, face: Tensor, orthographic: bool) -> tuple[Tensor, Tensor]:
    """Barycentrics [B, H, W, 3] and depth [B, H, W] of the given faces [B, H, W] at pixel centres, differentiable in the points.

    Formula: with the corners relative to the pixel's ray, q = (X, Y) - pixel z, each weight is the cross product of the other two.
    """
    barycentrics, depth = points.new_zeros((*face.shape, 3)), points.new_zeros(face.shape)
    image, row, column = (face >= 0).nonzero(as_tuple=True)
    if image.shape[0] == 0:
        return barycentrics + 0 * points.sum(), depth + 0 * points.sum()
    where = faces[face[image, row, column]] + images.to(face.device)[image, 2:]
    corners = points[where].double()
    pixel = torch.stack([column, row], -1).to(torch.float64) + 0.5
    q = corners[..., :2] - pixel[:, None] * (1.0 if orthographic else corners[..., 2:])
    a, b, c = q.unbind(1)
    weights = torch.stack([_cross(b, c), _cross(c, a), _cross(a, b)], -1)
    weights = weights * torch.where(weights.detach().sum(-1, keepdim=True) >= 0, 1.0, -1.0)
    smallest = _NOISE[points.dtype] * q.detach().square().sum((-2, -1))[:, None]
    clamped = weights + (weights.clamp_min(0) - weights).detach()  # rounding to below 0 does not stop the gradient
    weights = torch.where(weights >= -smallest, clamped, 0)
    total = weights.sum(-1, keepdim=True)
    noise = total.detach() <= smallest
    fixed = torch.where(total > 0, weights / torch.where(total > 0, total, 1), 1 / 3).detach()
    weights = torch.where(noise, fixed, weights / torch.where(noise, 1, total))
    z = torch.where(noise[:, 0], (fixed * corners[..., 2]).sum(-1).detach(), (weights * corners[..., 2]).sum(-1))
    index = (image, row, column)
    return barycentrics.index_put(index, weights.to(points.dtype)), depth.index_put(index, z.to(points.dtype))
