"""Lens distortion: OpenCV's polynomial and rational models (4, 5, 8 or 12 coefficients) and its fisheye model, and their inverses.

All functions work on normalized coordinates, (x, y) = (X/Z, Y/Z) in camera coordinates, [..., N, 2]; coefficients [..., C] broadcast with
the leading dimensions [...].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..lie.series import has_kernel, stumpff
from ..ops import lens as ops
from ..reference import lens as reference
from ..reference.series import arctan_ratio

_SOLVED = 1e-4  # a step below it says that Newton's method has arrived; larger where there is no solution


def distort_points(points: Tensor, coefficients: Tensor) -> Tensor:
    """Where a lens images normalized points.

    Beyond some radius (`distortion_radius`) the model folds back; what lies there has no meaningful image.

    Args:
        points: [..., N, 2] ideal (undistorted) normalized coordinates.
        coefficients: [..., C], C = 4, 5, 8 or 12: k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4]]].

    Returns:
        [..., N, 2] distorted normalized coordinates.

    Raises:
        ArgumentError: wrong shapes, or another number of coefficients.
    Gradient: points and coefficients.
    Source: OpenCV documentation, "Camera calibration and 3D reconstruction".
    """
    check_shape(points, [..., "N", 2], name="points", where="distort_points")
    _check_coefficients(coefficients, (4, 5, 8, 12), "distort_points")
    return reference.distort(points, coefficients)


def undistort_points(points: Tensor, coefficients: Tensor) -> Tensor:
    """Inverse of `distort_points`, by Newton's method.

    What no ideal point within `distortion_radius` is imaged to gets the nearest that the iteration found;
    `undistortion_residual` tells these.

    Args:
        points: [..., N, 2] distorted normalized coordinates.
        coefficients: [..., C] as in `distort_points`.

    Returns:
        [..., N, 2] ideal normalized coordinates.

    Raises:
        ArgumentError: as `distort_points`.
    Gradient: points and coefficients, first and second order, through the solution (not through the iteration).
    """
    check_shape(points, [..., "N", 2], name="points", where="undistort_points")
    _check_coefficients(coefficients, (4, 5, 8, 12), "undistort_points")
    with torch.no_grad():
        limit = 0.999 * distortion_radius(coefficients)
        solve = ops.undistort if has_kernel(points) else reference.undistort
        solution = solve(points.detach(), coefficients.detach().to(points.dtype), limit.to(points.dtype))
    if torch.is_grad_enabled() and (points.requires_grad or coefficients.requires_grad):
        # From an exact solution, each Newton step gets twice as many derivatives right: 1 after the first, 3 after the second.
        with torch.no_grad():
            step = reference.newton_step(solution, points, coefficients)
            solved = step.abs().amax(-1, keepdim=True) < _SOLVED
        for _ in range(2):
            solution = solution - torch.where(solved, reference.newton_step(solution, points, coefficients), 0.0)
    return solution


def undistortion_residual(points: Tensor, undistorted: Tensor, coefficients: Tensor) -> Tensor:
    """Distance [..., N] between distorted points and the image of what `undistort_points` made of them; large where it failed."""
    return torch.linalg.vector_norm(distort_points(undistorted, coefficients) - points, dim=-1)


def distortion_radius(coefficients: Tensor) -> Tensor:
    """The radius [...] of normalized coordinates up to which the radial part of the model grows, infinity if everywhere.

    Only ideal points within it have a meaningful image. Not differentiable.
    """
    _check_coefficients(coefficients, (4, 5, 8, 12), "distortion_radius")
    return _by_lens(coefficients, _radius_of_lens)


def fisheye_angle(coefficients: Tensor) -> Tensor:
    """The angle [...] off the axis, at most pi, up to which a fisheye model grows. Only directions within it have a meaningful image."""
    _check_coefficients(coefficients, (4,), "fisheye_angle")
    return _by_lens(coefficients, _angle_of_lens)


def distort_fisheye(points: Tensor, coefficients: Tensor) -> Tensor:
    """Where a fisheye lens images points, by their angle to the axis; up to 180 degrees, the point straight behind excepted.

    Args:
        points: [..., N, 3] in camera coordinates (only directions matter; the camera's centre counts as straight ahead).
        coefficients: [..., 4] k1 k2 k3 k4 of theta_d = theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 + k4 theta^8).

    Returns:
        [..., N, 2] normalized image coordinates, theta_d times the direction off the axis.

    Raises:
        ArgumentError: wrong shapes.
    Gradient: points and coefficients.
    Source: OpenCV documentation, "Fisheye camera model" (there only for points in front, Z > 0).
    """
    check_shape(points, [..., "N", 3], name="points", where="distort_fisheye")
    _check_coefficients(coefficients, (4,), "distort_fisheye")
    nowhere = torch.linalg.vector_norm(points.detach(), dim=-1, keepdim=True) == 0
    points = torch.where(nowhere, points.new_tensor([0.0, 0.0, 1.0]), points)
    direction = points / torch.linalg.vector_norm(points, dim=-1, keepdim=True)
    # tan(theta / 2) by either of two formulas, each without cancellation on its side.
    front = 1 + direction[..., 2:].clamp(min=0)
    squared_sine = direction[..., :2].square().sum(-1, keepdim=True)
    behind = direction[..., 2:] < 0
    safe = torch.where(behind, squared_sine.clamp(min=torch.finfo(points.dtype).eps ** 2), 1.0)
    scale = torch.where(behind, (1 - direction[..., 2:]) / safe, 1 / front)
    tangent = direction[..., :2] * scale
    ratio = 2 * arctan_ratio(tangent.square().sum(-1, keepdim=True))
    half = tangent * ratio  # theta times the unit direction off the axis
    return half * reference.fisheye_factor(half.square().sum(-1, keepdim=True), coefficients)


def undistort_fisheye(points: Tensor, coefficients: Tensor) -> Tensor:
    """Inverse of `distort_fisheye`: the direction that is imaged to a point.

    Args:
        points: [..., N, 2] normalized image coordinates.
        coefficients: [..., 4].

    Returns:
        [..., N, 3] unit directions in camera coordinates. Divide by z for OpenCV's undistorted coordinates.

    Raises:
        ArgumentError: wrong shapes.
    Gradient: points and coefficients, first and second order.
    """
    check_shape(points, [..., "N", 2], name="points", where="undistort_fisheye")
    _check_coefficients(coefficients, (4,), "undistort_fisheye")
    squared = points.square().sum(-1, keepdim=True)
    with torch.no_grad():
        limit = (1 - 1e-6) * fisheye_angle(coefficients)
        solve = ops.fisheye_angles if has_kernel(points) else reference.fisheye_angles
        length = torch.linalg.vector_norm(points.detach(), dim=-1)
        s = solve(length, coefficients.detach().to(points.dtype), limit.to(points.dtype)).square()[..., None]
    if torch.is_grad_enabled() and (points.requires_grad or coefficients.requires_grad):
        solved = reference.fisheye_step(s, squared, coefficients).detach().abs() < _SOLVED
        for _ in range(2):
            s = s - torch.where(solved, reference.fisheye_step(s, squared, coefficients), 0.0)
    cosine, sine_ratio = stumpff(s, 0, 2)
    return torch.cat([points * (sine_ratio / reference.fisheye_factor(s, coefficients)), cosine], -1)


def _by_lens(coefficients: Tensor, limit: Callable[[np.ndarray], float]) -> Tensor:
    """A limit [...] of each lens [..., C]; lenses that occur again and again are solved once."""
    rows = coefficients.detach().double().cpu().reshape(-1, coefficients.shape[-1]).numpy()
    lenses, which = np.unique(rows, axis=0, return_inverse=True) if len(rows) > 1 else (rows, np.zeros(len(rows), int))
    limits = np.array([limit(lens) for lens in lenses])[which.reshape(-1)] if len(rows) else np.zeros(0)
    return torch.from_numpy(limits).to(coefficients).reshape(coefficients.shape[:-1])


def _radius_of_lens(c: np.ndarray) -> float:
    numerator = np.array([1, c[0], c[1], c[4] if len(c) > 4 else 0])
    denominator = np.array([1, *c[5:8]]) if len(c) >= 8 else np.ones(1)
    powers = np.arange(4)
    # With s = r^2, the derivative of r N(s)/D(s) vanishes where N D + 2 s (N' D - N D') does; the model has a pole where D does.
    slope = np.convolve(numerator * (1 + 2 * powers), denominator) - np.convolve(numerator, denominator * 2 * powers[: len(denominator)])
    return math.sqrt(min(_smallest_root(slope), _smallest_root(denominator)))


def _angle_of_lens(c: np.ndarray) -> float:
    return min(math.pi, math.sqrt(_smallest_root(np.array([1, *(c * (3, 5, 7, 9))]))))


def _smallest_root(polynomial: np.ndarray) -> float:
    """Smallest positive root of a polynomial with constant 1 (lowest power first), infinity if there is none."""
    if not np.isfinite(polynomial).all() or (polynomial >= 0).all():
        return math.inf
    roots = np.roots(polynomial[::-1])
    positive = roots.real[(np.abs(roots.imag) <= 1e-7 * np.abs(roots)) & (roots.real > 0)]
    return float(positive.min(initial=math.inf))


def _check_coefficients(coefficients: Tensor, counts: tuple[int, ...], where: str) -> None:
    check_shape(coefficients, [..., "C"], name="coefficients", where=where)
    if coefficients.shape[-1] not in counts:
        wanted = ", ".join(map(str, counts))
        raise ArgumentError(
            f"{where}: `coefficients` must be {wanted} numbers, got {list(coefficients.shape)} (a tilted sensor, 14, is not supported)"
        )
