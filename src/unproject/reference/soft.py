"""Soft silhouettes, soft blending and its fragments in plain torch: every face at every pixel."""

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
        corners, _, _ = drawn_corners(points, faces, image, near, far, orthographic, cull)
        step = max(1, _PAIRS // max(1, corners.shape[0]))
        parts = [uncovered(part[:, None], corners, sigma, radius)[0].prod(-1) for part in pixels.split(step)]
        results.append(torch.cat([points.new_zeros(0), *parts]).view(height, width))
    return torch.stack(results) if results else points.new_zeros((0, height, width))


def pixel_centers(height: int, width: int, like: Tensor) -> Tensor:
    """[H * W, 2]."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2).to(like) + 0.5


def drawn_corners(
    points: Tensor, faces: Tensor, image: list[int], near: float, far: float, orthographic: bool, cull: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels [T, 3, 2] of the faces that one image draws, the corners' rows of `points` [T, 3], and the faces [T]."""
    first, count, base = image
    rows, drawn = faces[first : first + count] + base, first + torch.arange(count, device=faces.device)
    z = points[rows, 2].detach()
    keep = (z >= near).all(-1) & (z <= far).any(-1)
    rows, drawn = rows[keep], drawn[keep]
    corners = points[rows]
    pixels = corners[..., :2] if orthographic else corners[..., :2] / corners[..., 2:]
    if cull:
        keep = area(pixels.detach()) <= 0
        pixels, rows, drawn = pixels[keep], rows[keep], drawn[keep]
    return pixels, rows, drawn


def area(corners: Tensor) -> Tensor:
    """Twice the signed area [...] of triangles [..., 3, 2], 0 where it is rounding."""
    a, b, c = corners.double().unbind(-2)
    u, v = b - a, c - a
    plus, minus = u[..., 0] * v[..., 1], u[..., 1] * v[..., 0]
    return torch.where((plus - minus).abs() > _FLAT * (plus.abs() + minus.abs() + 1), plus - minus, 0)


def uncovered(pixels: Tensor, corners: Tensor, sigma: float, radius: float) -> tuple[Tensor, Tensor, Tensor]:
    """For pixels [..., 2] and faces [..., 3, 2] that broadcast: 1 - coverage, logit of the coverage, whether the face counts there."""
    run = corners.roll(-1, -2) - corners
    offset = pixels[..., None, :] - corners
    along = ((offset * run).sum(-1) / run.square().sum(-1).clamp_min(1e-30)).clamp(0, 1)
    squared = (offset - along[..., None] * run).square().sum(-1)
    nearest = squared.detach().argmin(-1, keepdim=True)
    squared = squared.gather(-1, nearest)[..., 0]
    side = (run[..., 0] * offset[..., 1] - run[..., 1] * offset[..., 0]).detach()
    turn = area(corners.detach()).sign().to(corners.dtype)
    inside = (side * turn[..., None] >= 0).all(-1) & (turn != 0)
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
        corners, rows, _ = drawn_corners(points, faces, image, near, far, orthographic, cull)
        values, depths = attributes[rows - image[2] + more], points[rows, 2]
        step = max(1, _PAIRS // max(1, corners.shape[0]))
        parts = []
        for part in pixels.split(step):
            left, logit, counts = uncovered(part[:, None], corners, sigma, radius)
            weights = clamped_weights(part[:, None], corners, depths, orthographic)
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
    """Perspective-correct barycentrics [..., 3] of pixels [..., 2], clamped to the face [..., 3, 2]; 1/3 each for faces without area."""
    turn = area(corners.detach()).sign().to(corners.dtype)[..., None]
    following, last = corners.roll(-1, -2), corners.roll(-2, -2)
    u, v = following - pixels[..., None, :], last - pixels[..., None, :]
    weights = ((u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]) * turn).clamp_min(0)
    weights = weights if orthographic else weights / depths
    weights = torch.where(turn != 0, weights, 1)
    return weights / weights.sum(-1, keepdim=True)


def soft_fragments(
    points: Tensor, faces: Tensor, images: Tensor, exponents: Tensor, weight: Tensor, near: float, far: float, orthographic: bool,
    cull: bool, sigma: float, radius: float, least: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Pixel and face of each fragment; arguments and results as ops.soft_fragments.soft_fragments, but ascending by pixel."""
    pixels, found = pixel_centers(weight.shape[1], weight.shape[2], points), [points.new_zeros((2, 0), dtype=torch.int64)]
    for index, (image, (offset, slope)) in enumerate(zip(images.tolist(), exponents.tolist())):
        corners, rows, drawn = drawn_corners(points, faces, image, near, far, orthographic, cull)
        step = max(1, _PAIRS // max(1, corners.shape[0]))
        for begin in range(0, len(pixels), step):
            part = pixels[begin : begin + step, None]
            _, logit, counts = uncovered(part, corners, sigma, radius)
            depth = (clamped_weights(part, corners, points[rows, 2], orthographic) * points[rows, 2]).sum(-1)
            power = torch.nn.functional.logsigmoid(logit) + offset - slope * depth
            share = (power - weight[index].reshape(-1)[begin : begin + step, None]).exp()
            pixel, face = (counts & (share >= least)).nonzero(as_tuple=True)
            found.append(torch.stack([pixel + begin + index * len(pixels), drawn[face]]))
    pixel, face = torch.cat(found, 1)
    return pixel, face


def fragment_terms(
    points: Tensor, faces: Tensor, images: Tensor, pixel: Tensor, face: Tensor, exponents: Tensor, height: int, width: int,
    orthographic: bool, sigma: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Barycentrics, depth and exponent of pairs; arguments and results as ops.fragment_terms.fragment_terms. Differentiable."""
    image = pixel // (height * width)
    corners = points[faces[face] + images.to(face.device)[image, 2:]]
    depths = corners[..., 2]
    flat = corners[..., :2] if orthographic else corners[..., :2] / corners[..., 2:]
    center = torch.stack([pixel % width, pixel // width % height], -1).to(flat.dtype) + 0.5
    weights = clamped_weights(center, flat, depths, orthographic)
    depth = (weights * depths).sum(-1)
    _, logit, _ = uncovered(center, flat, sigma, torch.inf)
    offset, slope = exponents.to(flat).unbind(-1)
    return weights, depth, torch.nn.functional.logsigmoid(logit) + offset[image] - slope[image] * depth


def pixel_shares(power: Tensor, pixel: Tensor, count: int) -> Tensor:
    """Arguments and result as ops.pixel_shares.pixel_shares. Differentiable."""
    # Relative to the strongest, not by the logarithm of the sum, whose rounding matters where powers are large.
    strongest = power.new_full((count,), -torch.inf).scatter_reduce(0, pixel, power.detach(), "amax")
    weight = (power - strongest.index_select(0, pixel)).exp()
    total = weight.new_zeros(count).index_add(0, pixel, weight)
    return weight / total.index_select(0, pixel)
