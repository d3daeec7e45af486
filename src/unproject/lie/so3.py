"""SO(3): rotations as matrices [..., 3, 3], tangent vectors as rotation vectors [..., 3] (axis times angle, radians).

Composition is `a @ b`, the inverse `a.mT`. Leading dimensions broadcast everywhere. Gradients are exact in float32 and float64 for every
angle from 0 to pi, to all orders: nothing is clamped and no epsilon is added.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..ops import lie as ops
from ..reference import lie as reference
from .mean import Group, group_mean
from .quaternions import matrix_from_quaternion
from .series import has_kernel, stumpff


def hat(vector: Tensor) -> Tensor:
    """The skew matrix [..., 3, 3] with hat(a) @ b = a x b, for vectors [..., 3]."""
    check_shape(vector, [..., 3], name="vector", where="hat")
    return reference.hat(vector)


def vee(matrix: Tensor) -> Tensor:
    """The vector [..., 3] of a skew matrix [..., 3, 3], inverse of `hat`; of any other matrix, of its skew part."""
    check_shape(matrix, [..., 3, 3], name="matrix", where="vee")
    skew = 0.5 * (matrix - matrix.mT)
    return torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)


def so3_exp(omega: Tensor) -> Tensor:
    """Rotation matrix [..., 3, 3] of a rotation vector [..., 3].

    Source: Rodrigues' formula.
    """
    check_shape(omega, [..., 3], name="omega", where="so3_exp")
    return ops.so3_exp(omega) if has_kernel(omega) else reference.so3_exp(omega)


def so3_log(rotation: Tensor) -> Tensor:
    """Rotation vector [..., 3] of length 0 to pi of a rotation matrix [..., 3, 3], through its quaternion.

    At pi, where two vectors describe the rotation, it is one of them, with that one's gradient.
    """
    check_shape(rotation, [..., 3, 3], name="rotation", where="so3_log")
    return ops.so3_log(rotation) if has_kernel(rotation) else reference.so3_log(rotation)


def so3_adjoint(rotation: Tensor) -> Tensor:
    """Ad with exp(Ad v) = R exp(v) R^-1: for SO(3), the rotation itself."""
    return check_shape(rotation, [..., 3, 3], name="rotation", where="so3_adjoint")


def so3_left_jacobian(omega: Tensor) -> Tensor:
    """J [..., 3, 3] with exp(omega + d) = exp(J d) exp(omega) for small d.

    Source: Barfoot, State Estimation for Robotics, eq. 7.77.
    """
    check_shape(omega, [..., 3], name="omega", where="so3_left_jacobian")
    w = hat(omega)
    c2, c3 = stumpff(omega.square().sum(-1)[..., None, None], 2, 2)
    return torch.eye(3, dtype=w.dtype, device=w.device) + c2 * w + c3 * (w @ w)


def so3_right_jacobian(omega: Tensor) -> Tensor:
    """J [..., 3, 3] with exp(omega + d) = exp(omega) exp(J d) for small d; the left one's transpose."""
    return so3_left_jacobian(omega).mT


def so3_left_jacobian_inverse(omega: Tensor) -> Tensor:
    """Inverse [..., 3, 3] of `so3_left_jacobian`, in closed form; it exists below 2 pi: log(exp(d) exp(omega)) = omega + J^-1 d."""
    check_shape(omega, [..., 3], name="omega", where="so3_left_jacobian_inverse")
    return reference.left_jacobian_inverse(omega)


def so3_right_jacobian_inverse(omega: Tensor) -> Tensor:
    """Inverse [..., 3, 3] of `so3_right_jacobian`: log(exp(omega) exp(d)) = omega + J^-1 d for small d."""
    return so3_left_jacobian_inverse(omega).mT


def so3_apply(rotation: Tensor, points: Tensor) -> Tensor:
    """Rotate points [..., N, 3] by matrices [..., 3, 3]; leading dimensions broadcast."""
    check_shape(rotation, [..., 3, 3], name="rotation", where="so3_apply")
    check_shape(points, [..., "N", 3], name="points", where="so3_apply")
    return points @ rotation.mT


def so3_retract(rotation: Tensor, tangent: Tensor) -> Tensor:
    """R exp(tangent): the step of an optimizer that keeps rotations rotations.

    Optimize `tangent` from zero with any torch optimizer and fold it in: `rotation = so3_retract(rotation, tangent).detach()`.
    """
    return rotation @ so3_exp(tangent)


def so3_distance(a: Tensor, b: Tensor) -> Tensor:
    """Angle [...] in [0, pi] between rotations [..., 3, 3]. Its gradient is zero where they are equal (it has a kink there)."""
    check_shape(a, [..., 3, 3], name="a", where="so3_distance")
    check_shape(b, [..., 3, 3], name="b", where="so3_distance")
    return torch.linalg.vector_norm(so3_log(a.mT @ b), dim=-1)


def so3_interpolate(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Rotations [..., 3, 3] on the shortest way from a (t = 0) to b (t = 1), at constant angular speed.

    Args:
        a, b: [..., 3, 3].
        t: [...] or a number; outside of [0, 1] the rotation goes on.
    """
    check_shape(b, [..., 3, 3], name="b", where="so3_interpolate")
    t = torch.as_tensor(t, dtype=b.dtype, device=b.device)
    return a @ so3_exp(t[..., None] * so3_log(a.mT @ b))


def so3_mean(rotations: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean [..., 3, 3] of rotations [..., N, 3, 3]: the one with the least sum of squared angles to them (Karcher mean).

    It is well defined for rotations within 90 degrees of some centre.

    Args:
        weights: [..., N], not negative; equal by default.

    Raises:
        ArgumentError: no rotations, or weights that are negative or add up to zero.
    Gradient: rotations and weights, through the solution; first and second order.
    """
    check_shape(rotations, [..., "N", 3, 3], name="rotations", where="so3_mean")
    return group_mean(rotations, weights, _SO3, where="so3_mean")


def so3_random(shape: tuple[int, ...] = (), *, dtype: torch.dtype = torch.float32, generator: torch.Generator | None = None) -> Tensor:
    """Rotations [*shape, 3, 3], uniform over SO(3).

    Source: a normal 4-vector has a uniform direction on the sphere of unit quaternions.
    """
    if isinstance(shape, int):
        raise ArgumentError(f"so3_random: `shape` must be a tuple, got {shape}: so3_random(({shape},))")
    return matrix_from_quaternion(torch.randn(*shape, 4, dtype=torch.float64, generator=generator)).to(dtype)


_SO3 = Group(exp=so3_exp, log=so3_log, inverse=lambda r: r.mT, left_jacobian_inverse=so3_left_jacobian_inverse)
