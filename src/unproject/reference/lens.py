"""Lens models in plain torch: distortion, its Newton steps, and the iterations on any device. Shapes as in camera/distortion.py."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NEWTON_STEPS = 30


def distort(points: Tensor, coefficients: Tensor) -> Tensor:
    """The perspective models; see camera/distortion.py."""
    c = coefficients[..., None, :].unbind(-1)
    x, y = points.unbind(-1)
    r2 = x * x + y * y
    radial = _radial(r2, c)
    xy2 = 2 * x * y
    u = x * radial + c[2] * xy2 + c[3] * (r2 + 2 * x * x)
    v = y * radial + c[2] * (r2 + 2 * y * y) + c[3] * xy2
    if len(c) == 12:
        u = u + r2 * (c[8] + r2 * c[9])
        v = v + r2 * (c[10] + r2 * c[11])
    return torch.stack([u, v], -1)


def _radial(r2: Tensor, c: Sequence[Tensor]) -> Tensor:
    k3 = c[4] if len(c) > 4 else torch.zeros_like(c[0])
    radial = 1 + r2 * (c[0] + r2 * (c[1] + r2 * k3))
    return radial / (1 + r2 * (c[5] + r2 * (c[6] + r2 * c[7]))) if len(c) >= 8 else radial


def _radial_slope(r2: Tensor, c: Sequence[Tensor]) -> Tensor:
    """Derivative of the radial factor with respect to r2."""
    k3 = c[4] if len(c) > 4 else torch.zeros_like(c[0])
    slope = c[0] + r2 * (2 * c[1] + 3 * r2 * k3)
    if len(c) < 8:
        return slope
    numerator = 1 + r2 * (c[0] + r2 * (c[1] + r2 * k3))
    denominator = 1 + r2 * (c[5] + r2 * (c[6] + r2 * c[7]))
    return (slope * denominator - numerator * (c[5] + r2 * (2 * c[6] + 3 * r2 * c[7]))) / denominator.square()


def newton_step(solution: Tensor, target: Tensor, coefficients: Tensor) -> Tensor:
    """J^-1 (distort(solution) - target), zero where J is singular."""
    c = coefficients[..., None, :].unbind(-1)
    x, y = solution.unbind(-1)
    r2 = x * x + y * y
    radial, slope = _radial(r2, c), 2 * _radial_slope(r2, c)
    ux = radial + x * x * slope + 2 * c[2] * y + 6 * c[3] * x
    uy = x * y * slope + 2 * c[2] * x + 2 * c[3] * y
    vx = uy
    vy = radial + y * y * slope + 6 * c[2] * y + 2 * c[3] * x
    if len(c) == 12:
        a, b = 2 * c[8] + 4 * r2 * c[9], 2 * c[10] + 4 * r2 * c[11]
        ux, uy, vx, vy = ux + a * x, uy + a * y, vx + b * x, vy + b * y
    determinant = ux * vy - uy * vx
    regular = determinant.abs() > 1e-6
    inverse = torch.where(regular, 1 / torch.where(regular, determinant, 1.0), 0.0)
    du, dv = (distort(solution, coefficients) - target).unbind(-1)
    return torch.stack([(vy * du - uy * dv) * inverse, (ux * dv - vx * du) * inverse], -1)


def undistort(points: Tensor, coefficients: Tensor, limit: Tensor) -> Tensor:
    """Newton's method from the distorted points [..., N, 2], kept within a radius [...]."""
    limit = limit[..., None, None]
    solution = _within(points + torch.zeros_like(coefficients[..., None, :1]), limit)
    tolerance = 4 * torch.finfo(points.dtype).eps
    for _ in range(NEWTON_STEPS):
        new = _within(solution - newton_step(solution, points, coefficients), limit)
        done = bool(((new - solution).abs() <= tolerance * (1 + new.abs())).all())
        solution = new
        if done:
            break
    return solution


def _within(points: Tensor, limit: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(points, dim=-1, keepdim=True)
    return torch.where(length > limit, points * (limit / length.clamp(min=1e-30)), points)


def fisheye_factor(s: Tensor, coefficients: Tensor) -> Tensor:
    """theta_d / theta as a function of s = theta^2 [..., N, 1]."""
    k1, k2, k3, k4 = coefficients[..., None, :].split(1, -1)
    return 1 + s * (k1 + s * (k2 + s * (k3 + s * k4)))


def fisheye_step(s: Tensor, squared: Tensor, coefficients: Tensor) -> Tensor:
    """Newton step for s factor(s)^2 = theta_d^2."""
    k1, k2, k3, k4 = coefficients[..., None, :].split(1, -1)
    factor = fisheye_factor(s, coefficients)
    slope = factor * (factor + 2 * s * (k1 + s * (2 * k2 + s * (3 * k3 + s * 4 * k4))))
    regular = slope.abs() > 1e-6
    return torch.where(regular, (s * factor.square() - squared) / torch.where(regular, slope, 1.0), 0.0)


def fisheye_angles(distorted: Tensor, coefficients: Tensor, limit: Tensor) -> Tensor:
    """theta [..., N] from theta_d [..., N] by Newton's method, kept within an angle [...]."""
    k1, k2, k3, k4 = coefficients[..., None, :].unbind(-1)
    limit = limit[..., None]
    theta = torch.minimum(distorted, limit)
    for _ in range(NEWTON_STEPS):
        s = theta.square()
        factor = 1 + s * (k1 + s * (k2 + s * (k3 + s * k4)))
        slope = 1 + s * (3 * k1 + s * (5 * k2 + s * (7 * k3 + s * 9 * k4)))
        step = (theta * factor - distorted) / torch.where(slope.abs() > 1e-6, slope, 1.0)
        new = torch.minimum((theta - step).clamp(min=0), limit)
        done = bool(((new - theta).abs() <= 4 * torch.finfo(theta.dtype).eps).all())
        theta = new
        if done:
            break
    return theta
