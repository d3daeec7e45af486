"""Soft silhouettes in plain torch: every face at every pixel."""

from __future__ import annotations

import torch
from torch import Tensor

_PAIRS = 1 << 19  # pixel-face pairs held at once
_FLAT = 1e-12  # an area below this share of its two terms is rounding


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
    return torch.where((plus - minus).abs() > _FLAT * (plus.abs() + minus.abs()), plus - minus, 0)


def uncovered(pixels: Tensor, corners: Tensor, sigma: float, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """For pixels [P, 2] and faces [T, 3, 2]: 1 - coverage, logit of the coverage, whether the face counts there, [P, T] each."""
    start, run = corners, corners.roll(-1, 1) - corners
    offset = pixels[:, None, None] - start
    along = ((offset * run).sum(-1) / run.square().sum(-1).clamp_min(1e-30)).clamp(0, 1)
    squared = (offset - along[..., None] * run).square().sum(-1)
    nearest = squared.detach().argmin(-1, keepdim=True)
    squared = squared.gather(-1, nearest)[..., 0]
    side = (run[..., 0] * offset[..., 1] - run[..., 1] * offset[..., 0]).detach()
    turn = area(corners.detach()).sign()
    inside = (side * turn[:, None] >= 0).all(-1) & (turn != 0)
    counts = inside | (squared.detach() < radius * radius)
    logit = torch.where(inside, squared, -squared) / sigma
    return torch.where(counts, torch.sigmoid(-logit), 1), logit, counts
