"""Operator: Gauss-Newton steps of a pose by outline, texture and depth; see kernels/track_terms.py."""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .operator import operator

TERMS, SIZE = 4, 43


@operator("unproject::fit_pose")
def fit_pose(
    image: Tensor, odds: Tensor, contour: Tensor, line: list[int], trust: float, doubt: float, level: Tensor, corner: Tensor,
    scale: float, texture: Tensor, paint: Tensor, grey: float, depth: Tensor, surface: Tensor, reach: float, intrinsics: Tensor,
    pose: Tensor, moved: Tensor, prior: Tensor, limits: list[float], alike: list[float], steps: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """A pose after `steps` steps, and what each term says there.

    Args:
        image: uint8 [H, W, 3]. odds: [8^n] log odds that a colour is the object's. contour: [L, 7] as `contour` returns it, the reach in
            pixels of the image. line: stride, length and offsets of the samples across it, as in `region_lines`, with `trust`. doubt:
            how fast lines that disagree with most lose their weight, which is (1 + (distance / typical)^2)^-doubt.
        level: [3, h, w] of a grey pyramid, from `corner` [2] on, with `scale` of its pixels a pixel of the image.
        texture, paint: [N, 4] points of the object and grey values expected there. grey: least standard deviation of those.
        depth: [H, W] camera z, 0 for none. surface: [S, 6] points and normals of the object. reach: how far it may be from its measurement.
        pose: [4, 4] of an object whose centre is its origin. moved: [6] (shift, turn) from where it was expected. prior: [6] its precision.
        limits: longest shift and turn of a step. alike: for outline, texture and depth, how many data know what one does.

    A term whose data have no rows says nothing.

    Returns:
        Pose [4, 4] and moved [6], float64; and for outline, texture, paint and depth [4, 43] float64: 36 entries of the Hessian, 6 of
        the gradient, and the support.
    """
    from ..kernels.track_terms import fit_pose_once

    odds_, contour_, level_, texture_, paint_, depth_, surface_ = (
        t.contiguous().float().numpy() for t in (odds, contour, level, texture, paint, depth, surface)
    )
    corner_, intrinsics_, prior_ = (t.contiguous().double().numpy() for t in (corner, intrinsics, prior))
    pose, moved = (torch.empty(t.shape, dtype=torch.float64).copy_(t) for t in (pose, moved))
    out = torch.empty((TERMS, SIZE), dtype=torch.float64)
    shift = 8 - (odds.shape[0].bit_length() - 1) // 3
    parallel_for(
        fit_pose_once, 1, image.contiguous().numpy(), odds_, shift, contour_, (*line, trust, doubt), level_, corner_, scale, texture_,
        paint_, grey, depth_, surface_, reach, intrinsics_, prior_, tuple(limits), tuple(alike), steps, pose.numpy(), moved.numpy(),
        out.numpy(),
    )  # fmt: skip
    return pose, moved, out


@fit_pose.register_fake
def _(
    image: Tensor, odds: Tensor, contour: Tensor, line: list[int], trust: float, doubt: float, level: Tensor, corner: Tensor,
    scale: float, texture: Tensor, paint: Tensor, grey: float, depth: Tensor, surface: Tensor, reach: float, intrinsics: Tensor,
    pose: Tensor, moved: Tensor, prior: Tensor, limits: list[float], alike: list[float], steps: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    shapes = ((4, 4), (6,), (TERMS, SIZE))
    a, b, c = (pose.new_empty(shape, dtype=torch.float64) for shape in shapes)
    return a, b, c


@example(fit_pose)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    points = torch.tensor([[x, y, 0.1 * x * y] for x in (-1.0, -0.3, 0.4, 1.0) for y in (-0.8, 0.0, 0.9)], dtype=dtype)
    intrinsics = torch.tensor([[30.0, 0, 16], [0, 30, 12], [0, 0, 1]], dtype=dtype)
    pose = torch.eye(4, dtype=dtype)
    pose[2, 3] = 4.0
    image = (torch.arange(24 * 32 * 3).reshape(24, 32, 3) * 5 % 256).to(torch.uint8)
    normals = torch.nn.functional.normalize(points[:, :2] + 0.1, dim=1)
    contour = torch.cat([points, normals, torch.full((len(points), 2), 6.0, dtype=dtype)], 1)
    level = torch.sin(torch.arange(3 * 12 * 16, dtype=dtype)).reshape(3, 12, 16) * 20
    samples = torch.cat([points, 20 * torch.cos(torch.arange(len(points), dtype=dtype))[:, None]], 1)
    surface = torch.cat([points, torch.nn.functional.normalize(points - 2, dim=1)], 1)
    prior = torch.full((6,), 100.0, dtype=dtype)
    return (
        image, torch.linspace(-2, 2, 64, dtype=dtype), contour, [1, 6, 4], 0.5, 2.0, level, torch.zeros(2, dtype=dtype), 0.5, samples,
        samples + 0.1, 4.0, torch.full((24, 32), 4.0, dtype=dtype), surface, 1.0, intrinsics, pose, torch.zeros(6, dtype=dtype), prior,
        [0.3, 0.3], [3.0, 4.0, 4.0], 1,
    )  # fmt: skip
