"""SE(3): rigid motions as matrices [..., 4, 4], tangent vectors [..., 6] = (translation part rho, rotation part phi).

exp((rho, phi)) has the rotation exp(phi) and the translation J(phi) rho, J the left Jacobian of SO(3). Composition is `a @ b`. Leading
dimensions broadcast everywhere. Gradients are exact in float32 and float64 for every angle from 0 to pi, to all orders.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..ops import lie as ops
from ..reference import lie as reference
from ..struct import broadcast_shapes
from .mean import Group, group_mean
from .series import has_kernel, stumpff
from .so3 import hat, so3_left_jacobian, so3_left_jacobian_inverse, so3_random


def se3_matrix(rotation: Tensor, translation: Tensor) -> Tensor:
    """The motion [..., 4, 4] with a rotation [..., 3, 3] and a translation [..., 3] that broadcast."""
    check_shape(rotation, [..., 3, 3], name="rotation", where="se3_matrix")
    check_shape(translation, [..., 3], name="translation", where="se3_matrix")
    return affine_matrix(rotation, translation)


def se3_exp(xi: Tensor) -> Tensor:
    """Rigid motion [..., 4, 4] of a tangent vector [..., 6] = (rho, phi)."""
    check_shape(xi, [..., 6], name="xi", where="se3_exp")
    return ops.se3_exp(xi) if has_kernel(xi) else reference.se3_exp(xi)


def se3_log(motion: Tensor) -> Tensor:
    """Tangent vector [..., 6] = (rho, phi) of a rigid motion [..., 4, 4], with |phi| in [0, pi]."""
    check_shape(motion, [..., 4, 4], name="motion", where="se3_log")
    return ops.se3_log(motion) if has_kernel(motion) else reference.se3_log(motion)


def se3_inverse(motion: Tensor) -> Tensor:
    """The inverse [..., 4, 4] of a rigid motion, by transposition."""
    check_shape(motion, [..., 4, 4], name="motion", where="se3_inverse")
    back = motion[..., :3, :3].mT
    return affine_matrix(back, -(back @ motion[..., :3, 3:])[..., 0])


def se3_apply(motion: Tensor, points: Tensor) -> Tensor:
    """Move points [..., N, 3] by matrices [..., 4, 4]; leading dimensions broadcast."""
    check_shape(motion, [..., 4, 4], name="motion", where="se3_apply")
    check_shape(points, [..., "N", 3], name="points", where="se3_apply")
    return points @ motion[..., :3, :3].mT + motion[..., None, :3, 3]


def se3_adjoint(motion: Tensor) -> Tensor:
    """Ad [..., 6, 6] with T exp(xi) T^-1 = exp(Ad xi)."""
    check_shape(motion, [..., 4, 4], name="motion", where="se3_adjoint")
    rotation = motion[..., :3, :3]
    return _block_triangular(rotation, hat(motion[..., :3, 3]) @ rotation)


def se3_left_jacobian(xi: Tensor) -> Tensor:
    """J [..., 6, 6] with exp(xi + d) = exp(J d) exp(xi) for small d.

    Source: Barfoot, State Estimation for Robotics, eq. 7.85 and 7.86.
    """
    check_shape(xi, [..., 6], name="xi", where="se3_left_jacobian")
    return _block_triangular(so3_left_jacobian(xi[..., 3:]), _coupling(xi))


def se3_right_jacobian(xi: Tensor) -> Tensor:
    """J [..., 6, 6] with exp(xi + d) = exp(xi) exp(J d) for small d."""
    return se3_left_jacobian(-xi)


def se3_left_jacobian_inverse(xi: Tensor) -> Tensor:
    """Inverse [..., 6, 6] of `se3_left_jacobian`, for angles below 2 pi: log(exp(d) exp(xi)) = xi + J^-1 d for small d."""
    check_shape(xi, [..., 6], name="xi", where="se3_left_jacobian_inverse")
    inverse = so3_left_jacobian_inverse(xi[..., 3:])
    return _block_triangular(inverse, -(inverse @ _coupling(xi) @ inverse))


def se3_right_jacobian_inverse(xi: Tensor) -> Tensor:
    """Inverse [..., 6, 6] of `se3_right_jacobian`: log(exp(xi) exp(d)) = xi + J^-1 d for small d."""
    return se3_left_jacobian_inverse(-xi)


def se3_retract(motion: Tensor, tangent: Tensor) -> Tensor:
    """T exp(tangent): the step of an optimizer that keeps motions rigid.

    Optimize `tangent` from zero with any torch optimizer and fold it in: `motion = se3_retract(motion, tangent).detach()`.
    """
    return motion @ se3_exp(tangent)


def se3_interpolate(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Motions [..., 4, 4] from a (t = 0) to b (t = 1) along a screw of constant speed: a exp(t log(a^-1 b)).

    Args:
        a, b: [..., 4, 4].
        t: [...] or a number.
    """
    check_shape(b, [..., 4, 4], name="b", where="se3_interpolate")
    t = torch.as_tensor(t, dtype=b.dtype, device=b.device)
    return a @ se3_exp(t[..., None] * se3_log(se3_inverse(a) @ b))


def se3_mean(motions: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean [..., 4, 4] of motions [..., N, 4, 4]: the m with sum of w_i log(m^-1 T_i) = 0, the same in any frame.

    Args:
        weights: [..., N], not negative; equal by default.

    Raises:
        ArgumentError: no motions, or weights that are negative or add up to zero.
    Gradient: motions and weights, through the solution; first and second order.
    """
    check_shape(motions, [..., "N", 4, 4], name="motions", where="se3_mean")
    return group_mean(motions, weights, _SE3, where="se3_mean")


def se3_random(
    shape: tuple[int, ...] = (), *, extent: float = 1.0, dtype: torch.dtype = torch.float32, generator: torch.Generator | None = None
) -> Tensor:
    """Motions [*shape, 4, 4] with uniform rotations and translations uniform in the cube [-extent, extent]^3."""
    if isinstance(shape, int):
        raise ArgumentError(f"se3_random: `shape` must be a tuple, got {shape}: se3_random(({shape},))")
    rotation = so3_random(shape, dtype=dtype, generator=generator)
    return affine_matrix(rotation, extent * (2 * torch.rand(*shape, 3, dtype=dtype, generator=generator) - 1))


def affine_matrix(linear: Tensor, translation: Tensor) -> Tensor:
    """[..., 4, 4] from [..., 3, 3] and [..., 3] that broadcast, with the last row (0, 0, 0, 1)."""
    batch = broadcast_shapes(linear.shape[:-2], translation.shape[:-1])
    upper = torch.cat([linear.expand(*batch, 3, 3), translation[..., None].expand(*batch, 3, 1)], -1)
    last = torch.eye(4, dtype=upper.dtype, device=upper.device)[3:]
    return torch.cat([upper, last.expand(*batch, 1, 4)], -2)


def _block_triangular(diagonal: Tensor, upper: Tensor) -> Tensor:
    """[[D, U], [0, D]]."""
    return torch.cat([torch.cat([diagonal, upper], -1), torch.cat([torch.zeros_like(upper), diagonal], -1)], -2)


def _coupling(xi: Tensor) -> Tensor:
    """The upper right block Q of the left Jacobian. Its coefficients are Stumpff functions, which do not cancel at small angles."""
    p, w = hat(xi[..., :3]), hat(xi[..., 3:])
    c3, c4, c5 = stumpff(xi[..., 3:].square().sum(-1)[..., None, None], 3, 3)
    wp, pw = w @ p, p @ w
    wpw, wwp, pww = wp @ w, w @ wp, pw @ w
    return 0.5 * p + c3 * (wp + pw + wpw) + c4 * (wwp + pww - 3 * wpw) + 0.5 * (c4 - 3 * c5) * (wpw @ w + w @ wpw)


_SE3 = Group(exp=se3_exp, log=se3_log, inverse=se3_inverse, left_jacobian_inverse=se3_left_jacobian_inverse)
