"""Operators of dense RGB-D alignment."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..reference import odometry as reference
from .dispatch import for_each_slice, parallel_for, slice_count
from .examples import example
from .operator import operator

_OTHER = ["cuda", "mps", "xpu"]
_GRAIN = 60  # rows worth a thread


@operator("unproject::rgbd_halve")
def halve(depth: Tensor, intensity: Tensor, jump: float) -> tuple[Tensor, Tensor]:
    """The next pyramid level of depth and intensity [H, W], float32: mean of 2 x 2 pixels, of depth only those on the nearest surface."""
    from ..kernels.odometry import halve_range

    result = _half(depth, intensity)
    arrays = [t.numpy() for t in (depth, intensity)], [t.numpy() for t in result]
    parallel_for(halve_range, result[0].shape[0], *arrays[0], np.float32(jump), *arrays[1], grain=_GRAIN)
    return result


def _half(depth: Tensor, intensity: Tensor) -> tuple[Tensor, Tensor]:
    shape = (depth.shape[0] // 2, depth.shape[1] // 2)
    return depth.new_empty(shape), intensity.new_empty(shape)


@halve.register_fake
def _(depth: Tensor, intensity: Tensor, jump: float) -> tuple[Tensor, Tensor]:
    return _half(depth, intensity)


@operator("unproject::rgbd_describe")
def describe_image(depth: Tensor, intensity: Tensor, k: list[float], jump: float) -> tuple[Tensor, Tensor]:
    """Normals [H, W, 3] in camera space (0: none), towards the camera, and intensity gradients [H, W, 2] per pixel."""
    from ..kernels.odometry import describe_range

    normal, gradient = _described(depth)
    numbers = [np.float32(x) for x in (*k, jump)]
    parallel_for(describe_range, len(depth), depth.numpy(), intensity.numpy(), *numbers, normal.numpy(), gradient.numpy(), grain=_GRAIN)
    return normal, gradient


def _described(depth: Tensor) -> tuple[Tensor, Tensor]:
    return depth.new_empty((*depth.shape, 3)), depth.new_empty((*depth.shape, 2))


@describe_image.register_fake
def _(depth: Tensor, intensity: Tensor, k: list[float], jump: float) -> tuple[Tensor, Tensor]:
    return _described(depth)


@operator("unproject::rgbd_align")
def align_sums(source: list[Tensor], target: list[Tensor], k: list[float], pose: Tensor, scales: list[float]) -> Tensor:
    """Normal equations of one step of `target_from_source`, summed over the source's pixels.

    Args:
        source: depth and intensity [H, W].
        target: depth, intensity, normals, gradients of another image of the same camera.
        pose: [4, 4] float64 on the CPU, target_from_source.
        scales: gap, depth_scale, light_scale, light_share, see the kernel.

    Returns:
        [33] float64: J^T J (21, upper triangle by rows), J^T r (6), cost, pixels in view, inliers, sums of |r| over the scales (depth,
        light), pixels with a normal.
    """
    from ..kernels.odometry import SUMS, align_rows

    rows = source[0].shape[0]
    slices = slice_count(rows, _GRAIN)
    sums = np.zeros((slices, SUMS))
    images = [t.numpy() for t in (*source, *target)]
    numbers = [np.float32(x) for x in k]
    limits = [np.float32(x) for x in scales]
    motion = pose[:3].numpy().astype(np.float32)

    def run(slot: int, begin: int, end: int) -> None:
        align_rows(begin, end, *images, *numbers, motion, *limits, sums[slot])

    for_each_slice(run, rows, slices=slices)
    return torch.from_numpy(sums.sum(0))


@align_sums.register_fake
def _(source: list[Tensor], target: list[Tensor], k: list[float], pose: Tensor, scales: list[float]) -> Tensor:
    return pose.new_empty(33)


halve.register_kernel(_OTHER)(reference.halve)
describe_image.register_kernel(_OTHER)(reference.describe_image)
align_sums.register_kernel(_OTHER)(reference.align_sums)


def _images() -> tuple[Tensor, Tensor]:
    place = torch.arange(12 * 16, dtype=torch.float32).reshape(12, 16)
    depth = 1 + 0.02 * place.div(7).sin()
    depth[3, 4:6] = 0
    return depth, 0.5 + 0.4 * place.div(3).cos()


@example(halve)
def _(dtype: torch.dtype) -> tuple[Tensor, Tensor, float]:
    return *_images(), 0.05


@example(describe_image)
def _example_describe(dtype: torch.dtype) -> tuple[Tensor, Tensor, list[float], float]:
    return *_images(), [15.0, 15.0, 8.0, 6.0], 0.05


@example(align_sums)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    depth, intensity, k, _ = arguments = _example_describe(dtype)
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3] = 0.01
    target = [depth.clone(), intensity.clone(), *describe_image(*arguments)]
    return [depth, intensity], target, k, pose, [0.1, 0.01, 0.1, 0.5]
