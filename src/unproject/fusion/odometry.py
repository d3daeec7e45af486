"""Camera motion between two RGB-D images: all pixels at once, coarse to fine, geometry and brightness, robust."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ArgumentError, check_shape, describe
from ..lie.rotations import nearest_rotation
from ..lie.se3 import se3_exp, se3_matrix
from ..ops.odometry import align_sums, describe_image, halve


@dataclass(frozen=True, kw_only=True)
class OdometryOptions:
    """How two images are aligned.

    Attributes:
        levels: pyramid levels; the coarsest has 1 / 2^levels of the image's width.
        finest: level to stop at; 1 is half the resolution, which loses little and saves three quarters of the time.
        iterations: Gauss-Newton steps a level at most.
        relative_jump: neighbouring depths further apart than this fraction lie on different surfaces.
        depth_noise: expected distance between the same surface in two images, as a fraction of depth.
        light_noise: expected difference in brightness (0 to 1).
        light_share: what brightness counts against geometry.
        max_depth: measurements beyond are not used, scene units.
    """

    levels: int = 4
    finest: int = 1
    iterations: int = 12
    relative_jump: float = 0.05
    depth_noise: float = 0.004
    light_noise: float = 0.04
    light_share: float = 1.0
    max_depth: float = 8.0


@dataclass(frozen=True)
class RgbdLevel:
    """One level of a pyramid: depth, intensity [h, w], normals, gradients, and its intrinsics (fx, fy, cx, cy)."""

    depth: Tensor
    intensity: Tensor
    normal: Tensor
    gradient: Tensor
    k: list[float]


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Where one image's camera was seen from another's.

    Attributes:
        target_from_source: [4, 4] float64.
        information: [6, 6] inverse covariance of a tangent (translation, rotation) on the left of it; it assumes independent pixels.
        overlap: share of the source's pixels with depth that the target sees.
        inliers: share of those in view that lie on the same surface within the noise.
        residual: mean distance to the target's surface as a fraction of depth.
        light_residual: mean difference in brightness.
    """

    target_from_source: Tensor
    information: Tensor
    overlap: float
    inliers: float
    residual: float
    light_residual: float

    @property
    def quality(self) -> float:
        """From 0, nothing fits, to 1: share of the source's pixels that fit."""
        return self.overlap * self.inliers


def rgbd_pyramid(
    depth: Float[Tensor, "H W"], rgb: Tensor, intrinsics: Float[Tensor, "3 3"], options: OdometryOptions | None = None
) -> list[RgbdLevel]:
    """Levels of an RGB-D image, finest first.

    Args:
        depth: scene units; 0, negative or not finite: none.
        rgb: [H, W, 3] uint8.
        intrinsics: without skew, pixel coordinates from the image's corner.

    Raises:
        ArgumentError: shapes, or an image too small for the levels.
    """
    options = options or OdometryOptions()
    check_shape(depth, ["H", "W"], name="depth", where="rgbd_pyramid")
    check_shape(intrinsics, [3, 3], name="intrinsics", where="rgbd_pyramid")
    if rgb.dtype != torch.uint8 or rgb.shape != (*depth.shape, 3):
        raise ArgumentError(f"rgbd_pyramid: `rgb` must be uint8 {[*depth.shape, 3]}, got {describe(rgb)}")
    if min(depth.shape) >> options.levels < 4:
        raise ArgumentError(f"rgbd_pyramid: an image {list(depth.shape)} is too small for {options.levels} levels")
    depth = depth.to(torch.float32)
    depth = torch.where((depth > 0) & (depth <= options.max_depth), depth, 0).contiguous()
    intensity = (rgb.to(torch.float32) @ torch.tensor([0.299, 0.587, 0.114], device=rgb.device)) / 255
    k = [float(intrinsics[i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))]
    levels = []
    for level in range(options.levels + 1):
        if level >= options.finest:
            normal, gradient = describe_image(depth, intensity, k, options.relative_jump)
            levels.append(RgbdLevel(depth, intensity, normal, gradient, k))
        depth, intensity = halve(depth, intensity, options.relative_jump)
        k = [x / 2 for x in k]
    return levels


def align_rgbd(
    source: list[RgbdLevel], target: list[RgbdLevel], *, start: Float[Tensor, "4 4"] | None = None, options: OdometryOptions | None = None
) -> Alignment:
    """The motion from the source's camera to the target's.

    Args:
        source, target: pyramids of two images of one camera.
        start: a guess of target_from_source; the identity by default.

    Source: Steinbrücker et al. 2011 and Park et al. 2017 (brightness with geometry), Chen and Medioni 1992 (point to plane), Tukey's
    biweight for robustness.
    """
    options = options or OdometryOptions()
    pose = torch.eye(4, dtype=torch.float64) if start is None else nearest_motion(start.detach().to("cpu", torch.float64))
    sums = torch.zeros(33, dtype=torch.float64)
    scales = _Scales(options)
    for depth, (here, there) in enumerate(zip(reversed(source), reversed(target))):
        scales = scales.at_level(options, len(source) - 1 - depth)
        pose, sums, scales = _descend(here, there, pose, scales, options)
    return _alignment(source[0], pose, sums, scales)


@dataclass(frozen=True)
class _Scales:
    """The widths of both residuals' distributions, which follow the data from level to level."""

    depth: float
    light: float
    gap: float

    def __init__(self, options: OdometryOptions, depth: float | None = None, light: float | None = None, gap: float = 0.2):
        object.__setattr__(self, "depth", options.depth_noise * 4 if depth is None else depth)
        object.__setattr__(self, "light", options.light_noise * 2 if light is None else light)
        object.__setattr__(self, "gap", gap)

    def at_level(self, options: OdometryOptions, level: int) -> _Scales:
        return _Scales(options, self.depth, self.light, max(0.03 * 2**level, 0.05))

    def updated(self, options: OdometryOptions, sums: Tensor) -> _Scales:
        """From mean absolute residuals (1.25 of them are a normal distribution's deviation), never far from the expected noise."""
        depth = 1.25 * self.depth * float(sums[30] / sums[32].clamp_min(1))
        light = 1.25 * self.light * float(sums[31] / sums[29].clamp_min(1))
        clip = lambda x, noise: min(max(x, 0.5 * noise), 5 * noise)
        return _Scales(options, clip(depth, options.depth_noise), clip(light, options.light_noise), self.gap)


def _descend(
    source: RgbdLevel, target: RgbdLevel, pose: Tensor, scales: _Scales, options: OdometryOptions
) -> tuple[Tensor, Tensor, _Scales]:
    """Gauss-Newton at one level, until the step is below a hundredth of a pixel."""
    images = [source.depth, source.intensity], [target.depth, target.intensity, target.normal, target.gradient]
    sums = torch.zeros(33, dtype=torch.float64)
    for _ in range(options.iterations):
        sums = align_sums(*images, target.k, pose, [scales.gap, scales.depth, scales.light, options.light_share])
        if float(sums[29]) < 20:
            break
        matrix, vector = _normal_equations(sums)
        step = torch.linalg.solve(matrix + torch.diag(matrix.diagonal() * 1e-6 + 1e-9), -vector)
        pose = nearest_motion(se3_exp(step) @ pose)
        scales = scales.updated(options, sums)
        if float(step[3:].norm()) * target.k[0] < 0.01 and float(step[:3].norm()) * target.k[0] < 0.01:
            break
    return pose, sums, scales


def nearest_motion(matrix: Tensor) -> Tensor:
    """The rigid motion next to an almost rigid matrix [4, 4]. Without it, rounding grows from frame to frame: inverses are transposes."""
    return se3_matrix(nearest_rotation(matrix[:3, :3]), matrix[:3, 3])


def _normal_equations(sums: Tensor) -> tuple[Tensor, Tensor]:
    matrix = torch.zeros(6, 6, dtype=torch.float64)
    rows, columns = torch.triu_indices(6, 6)
    matrix[rows, columns] = matrix[columns, rows] = sums[:21]
    return matrix, sums[21:27]


def _alignment(source: RgbdLevel, pose: Tensor, sums: Tensor, scales: _Scales) -> Alignment:
    pixels = max(float((source.depth > 0).sum()), 1.0)
    in_view = max(float(sums[28]), 1.0)
    return Alignment(
        target_from_source=pose,
        information=_normal_equations(sums)[0],
        overlap=float(sums[28]) / pixels,
        inliers=float(sums[29]) / in_view,
        residual=scales.depth / 1.25,
        light_residual=scales.light / 1.25,
    )
