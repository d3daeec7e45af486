"""Operators: normal equations of a step of a pose, from outlines and from texture; float64 [43], see kernels/track_terms.py."""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .operator import operator

SIZE = 43


@operator("unproject::outline_equations")
def outline_equations(
    image: Tensor, odds: Tensor, points: Tensor, normals: Tensor, reach: Tensor, intrinsics: Tensor, pose: Tensor, center: Tensor,
    stride: int, length: int, offsets: int, trust: float, alike: float,
) -> Tensor:  # fmt: skip
    """Equations of where colours say that an outline lies.

    image: uint8 [H, W, 3]; odds: [8^n]; points: [L, 3] of the object; normals: [L, 2]; reach: int64 [L, 2] samples; pose: [4, 4];
    center: [3] in the camera frame; alike: how many lines know what one does. The rest as in `region_lines`.
    """
    from ..kernels.track_terms import outline_equations_once

    out = torch.zeros(SIZE, dtype=torch.float64)
    bits = (odds.shape[0].bit_length() - 1) // 3
    singles = [t.contiguous().float().numpy() for t in (odds, points, normals)]
    doubles = [t.contiguous().double().numpy() for t in (intrinsics, pose, center)]
    arrays = (image.contiguous().numpy(), singles[0], 8 - bits, singles[1], singles[2], reach.contiguous().numpy(), *doubles)
    parallel_for(outline_equations_once, 1, *arrays, stride, length, offsets, trust, alike, out.numpy())
    return out


@outline_equations.register_fake
def _(
    image: Tensor, odds: Tensor, points: Tensor, normals: Tensor, reach: Tensor, intrinsics: Tensor, pose: Tensor, center: Tensor,
    stride: int, length: int, offsets: int, trust: float, alike: float,
) -> Tensor:  # fmt: skip
    return points.new_empty(SIZE, dtype=torch.float64)


@operator("unproject::texture_equations")
def texture_equations(
    level: Tensor, corner: Tensor, scale: float, points: Tensor, values: Tensor, intrinsics: Tensor, pose: Tensor, center: Tensor,
    noise: float, alike: float,
) -> Tensor:  # fmt: skip
    """Equations of brightness at points of the object.

    level: [3, h, w] value and derivatives along x and y per pixel of the level; corner: [2] of it in the image; scale: pixels of the level
    per pixel of the image; points: [N, 3]; values: [N] expected; noise: least standard deviation; alike: how many know what one does.
    """
    from ..kernels.track_terms import texture_equations_once

    out = torch.zeros(SIZE, dtype=torch.float64)
    first, points_, values_ = (t.contiguous().float().numpy() for t in (level, points, values))
    corner_, *doubles = (t.contiguous().double().numpy() for t in (corner, intrinsics, pose, center))
    parallel_for(texture_equations_once, 1, first, corner_, scale, points_, values_, *doubles, noise, alike, out.numpy())
    return out


@texture_equations.register_fake
def _(
    level: Tensor, corner: Tensor, scale: float, points: Tensor, values: Tensor, intrinsics: Tensor, pose: Tensor, center: Tensor,
    noise: float, alike: float,
) -> Tensor:  # fmt: skip
    return points.new_empty(SIZE, dtype=torch.float64)


def _scene(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points around the origin, a camera of 32 x 24 pixels, a pose and its centre."""
    points = torch.tensor([[x, y, 0.1 * x * y] for x in (-1.0, -0.3, 0.4, 1.0) for y in (-0.8, 0.0, 0.9)], dtype=dtype)
    intrinsics = torch.tensor([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]], dtype=dtype)
    pose = torch.eye(4, dtype=dtype)
    pose[2, 3] = 4.0
    return points, intrinsics, pose, pose[:3, 3].clone()


@example(outline_equations)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    image = (torch.arange(24 * 32 * 3).reshape(24, 32, 3) * 5 % 256).to(torch.uint8)
    points, intrinsics, pose, center = _scene(dtype)
    normals = torch.nn.functional.normalize(points[:, :2] + 0.1, dim=1)
    reach = torch.full((len(points), 2), 6)
    return image, torch.linspace(-2, 2, 64, dtype=dtype), points, normals, reach, intrinsics, pose, center, 1, 6, 4, 0.5, 3.0


@example(texture_equations)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    points, intrinsics, pose, center = _scene(dtype)
    level = torch.sin(torch.arange(3 * 12 * 16, dtype=dtype)).reshape(3, 12, 16) * 20
    values = torch.cos(torch.arange(len(points), dtype=dtype)) * 20
    return level, torch.zeros(2, dtype=dtype), 0.5, points, values, intrinsics, pose, center, 4.0, 4.0
