"""Soft silhouettes and soft blending in plain torch: every face at every pixel."""

from __future__ import annotations

import torch
from torch import Tensor

_PAIRS = 1 << 19  # pixel-face pairs held at once
_FLAT = 1e-12  # an area (square pixels) below this, or below this share of its two terms, is none
NOTHING = -1e30  # logarithm of a weight of 0


def soft_silhouette(
    points: Tensor, faces: Tensor, images: Tensor, height: int, width: int, near: float, far: float, orthographic: bool, cull: bool,
    sigma: float, radius: float,
) -> Tensor:  # fmt: skip
    """Transmittance [B, H, W]; arguments as ops.soft.soft_silhouette. Differentiable in the points, any number of times."""
    pixels = pixel_centers(height, width, points)
    results = []
    for image in images.tolist():
        corners, _ = drawn_corners(points, faces, image, near, far, orthographic, cull)
        step = max(1, _PAIRS // max(1, corners.shape[0]))
        parts = [uncovered(part, corners, sigma, radius)[0].prod(-1) for part in pixels.split(step)]
        results.append(torch.cat([points.new_zeros(0), *parts]).view(height, width))
    return torch.stack(results) if results else points.new_zeros((0, height, width))


def pixel_centers(height: int, width: int, like: Tensor) -> Tensor:
    """[H * W, 2]."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2).to(like) + 0.5


def drawn_corners(
    points: Tensor, faces: Tensor, image: list[int], near: float, far: float, orthographic: bool, cull: bool
) -> tuple[Tensor, Tensor]:
    """Pixels [T, 3, 2] of the faces that one image draws, and the corners' rows of `points` [T, 3]."""
    first, count, base = image
    rows = faces[first : first + count] + base
    z = points[rows, 2].detach()
    rows = rows[(z >= near).all(-1) & (z <= far).any(-1)]
    corners = points[rows]
    pixels = corners[..., :2] if orthographic else corners[..., :2] / corners[..., 2:]
    if cull:
        keep = area(pixels.detach()) <= 0
        pixels, rows = pixels[keep], rows[keep]
    return pixels, rows


def area(corners: Tensor) -> Tensor:
    """Twice the signed area [T] of triangles [T, 3, 2], 0 where it is rounding."""
    u, v = (corners.double()[:, k] - corners.double()[:, 0] for k in (1, 2))
    plus, minus = u[:, 0] * v[:, 1], u[:, 1] * v[:, 0]
    return torch.where((plus - minus).abs() > _FLAT * (plus.abs() + minus.abs() + 1), plus - minus, 0)


def uncovered(pixels: Tensor, corners: Tensor, sigma: float, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """For pixels [P, 2] and faces [T, 3, 2]: 1 - coverage, logit of the coverage, whether the face counts there, [P, T] each."""
    start, run = corners, corners.roll(-1, 1) - corners
    offset = pixels[:, None, None] - start
    along = ((offset * run).sum(-1) / run.square().sum(-1).clamp_min(1e-30)).clamp(0, 1)
    squared = (offset - along[..., None] * run).square().sum(-1)
    nearest = squared.detach().argmin(-1, keepdim=True)
    squared = squared.gather(-1, nearest)[..., 0]
    side = (run[..., 0] * offset[..., 1] - run[..., 1] * offset[..., 0]).detach()
    turn = area(corners.detach()).sign().to(corners.dtype)
    inside = (side * turn[:, None] >= 0).all(-1) & (turn != 0)
    counts = inside | (squared.detach() < radius * radius)
    logit = torch.where(inside, squared, -squared) / sigma
    return torch.where(counts, torch.sigmoid(-logit), 1), logit, counts


def soft_blend(
    points: Tensor, faces: Tensor, images: Tensor, attributes: Tensor, attribute_bases: Tensor, exponents: Tensor, height: int, width: int,
    near: float, far: float, orthographic: bool, cull: bool, sigma: float, radius: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Blended attributes, depth, transmittance and weight; arguments and results as ops.soft_blend.soft_blend. Differentiable."""
    pixels = pixel_centers(height, width, points)
    results = []
    for image, more, (offset, slope) in zip(images.tolist(), attribute_bases.tolist(), exponents.tolist()):
        corners, rows = drawn_corners(points, faces, image, near, far, orthographic, cull)
        values, depths = attributes[rows - image[2] + more], points[rows, 2]
        step = max(1, _PAIRS // max(1, corners.shape[0]))
        parts = []
        for part in pixels.split(step):
            left, logit, counts = uncovered(part, corners, sigma, radius)
            weights = clamped_weights(part, corners, depths, orthographic)
            z = (weights * depths).sum(-1)
            power = torch.where(counts, torch.nn.functional.logsigmoid(logit) + offset - slope * z, -torch.inf)
            weight = torch.cat([power, power.new_full((len(part), 1), NOTHING)], 1).logsumexp(1)
            share = torch.where(counts, (power - weight[:, None]).exp(), 0)
            value = torch.einsum("pt,ptk,tkc->pc", share, weights, values)
            parts.append((value, (share * z).sum(-1), left.prod(-1), weight))
        results.append([torch.cat(each).unflatten(0, (height, width)) for each in zip(*parts)])
    if not results:
        empty = points.new_zeros((0, height, width))
        return points.new_zeros((0, height, width, attributes.shape[1])), empty, empty.clone(), empty.clone()
    blended, depth, transmittance, weight = (torch.stack(each) for each in zip(*results))
    return blended, depth, transmittance, weight


def clamped_weights(pixels: Tensor, corners: Tensor, depths: Tensor, orthographic: bool) -> Tensor:
    """Perspective-correct barycentrics [P, T, 3] of pixels, clamped to the face; 1/3 each for faces without area."""
    turn = area(corners.detach()).sign().to(corners.dtype)
    following, last = corners.roll(-1, 1), corners.roll(-2, 1)
    u, v = following - pixels[:, None, None], last - pixels[:, None, None]
    weights = ((u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]) * turn[:, None]).clamp_min(0)
    weights = weights if orthographic else weights / depths
    weights = torch.where((turn != 0)[:, None], weights, 1)
    return weights / weights.sum(-1, keepdim=True)
