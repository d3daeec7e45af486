"""Sim(3): similarities as matrices [[s R, t], [0, 1]] [..., 4, 4], tangent vectors [..., 7] = (rho, phi, sigma).

exp((rho, phi, sigma)) has the scale s = exp(sigma), the rotation exp(phi) and the translation V rho, where V is the mean of
exp(u (sigma I + hat(phi))) over u in [0, 1]. Composition is `a @ b`. Leading dimensions broadcast everywhere.

V and the left Jacobian are integrals of smooth functions without special cases, and are computed as such: 16 Gauss-Legendre nodes are
exact to rounding for angles up to 2 pi and scales up to e^20, with all derivatives. The closed forms have five branches.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentError, DataError, check_shape
from .mean import Group, group_mean
from .se3 import affine_matrix
from .series import stumpff
from .so3 import hat, so3_exp, so3_log, so3_random

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)


def sim3_matrix(rotation: Tensor, translation: Tensor, scale: Tensor) -> Tensor:
    """The similarity [..., 4, 4] p -> scale R p + t, from [..., 3, 3], [..., 3] and a positive scale [...] that broadcast."""
    check_shape(rotation, [..., 3, 3], name="rotation", where="sim3_matrix")
    check_shape(translation, [..., 3], name="translation", where="sim3_matrix")
    return affine_matrix(scale[..., None, None] * rotation, translation)


def sim3_exp(xi: Tensor) -> Tensor:
    """Similarity [..., 4, 4] of a tangent vector [..., 7] = (rho, phi, sigma)."""
    check_shape(xi, [..., 7], name="xi", where="sim3_exp")
    rho, phi, sigma = xi[..., :3], xi[..., 3:6], xi[..., 6]
    translation = _translation_factor(phi, sigma) @ rho[..., None]
    return affine_matrix(sigma.exp()[..., None, None] * so3_exp(phi), translation[..., 0])


def sim3_log(similarity: Tensor) -> Tensor:
    """Tangent vector [..., 7] = (rho, phi, sigma) of a similarity [..., 4, 4], with |phi| in [0, pi].

    Raises:
        DataError: a matrix whose linear part has no positive determinant.
    """
    scale, rotation = sim3_scale_rotation(similarity)
    phi, sigma = so3_log(rotation), scale.log()
    rho = torch.linalg.solve(_translation_factor(phi, sigma), similarity[..., :3, 3:])
    return torch.cat([rho[..., 0], phi, sigma[..., None]], -1)


def sim3_scale_rotation(similarity: Tensor) -> tuple[Tensor, Tensor]:
    """Scale [...] and rotation [..., 3, 3] of a similarity [..., 4, 4].

    Raises:
        DataError: a matrix whose linear part has no positive determinant.
    """
    check_shape(similarity, [..., 4, 4], name="similarity", where="sim3_scale_rotation")
    linear = similarity[..., :3, :3]
    determinant = (torch.linalg.cross(linear[..., 0, :], linear[..., 1, :]) * linear[..., 2, :]).sum(-1)
    if not bool((determinant > 0).all()):
        raise DataError("sim3: a similarity's linear part must have a positive determinant")
    scale = determinant.pow(1 / 3)
    return scale, linear / scale[..., None, None]


def sim3_inverse(similarity: Tensor) -> Tensor:
    """The inverse [..., 4, 4] of a similarity."""
    scale, rotation = sim3_scale_rotation(similarity)
    back = rotation.mT / scale[..., None, None]
    return affine_matrix(back, -(back @ similarity[..., :3, 3:])[..., 0])


def sim3_apply(similarity: Tensor, points: Tensor) -> Tensor:
    """Map points [..., N, 3] by matrices [..., 4, 4]; leading dimensions broadcast."""
    check_shape(similarity, [..., 4, 4], name="similarity", where="sim3_apply")
    check_shape(points, [..., "N", 3], name="points", where="sim3_apply")
    return points @ similarity[..., :3, :3].mT + similarity[..., None, :3, 3]


def sim3_adjoint(similarity: Tensor) -> Tensor:
    """Ad [..., 7, 7] with S exp(xi) S^-1 = exp(Ad xi)."""
    _, rotation = sim3_scale_rotation(similarity)
    return _adjoint(similarity, rotation)


def sim3_left_jacobian(xi: Tensor) -> Tensor:
    """J [..., 7, 7] with exp(xi + d) = exp(J d) exp(xi) for small d: the mean of Ad(exp(u xi)) over u in [0, 1]."""
    check_shape(xi, [..., 7], name="xi", where="sim3_left_jacobian")
    nodes, weights = _gauss_legendre(xi)
    along = nodes[:, None] * xi[..., None, :]
    return (weights[:, None, None] * _adjoint(sim3_exp(along), so3_exp(along[..., 3:6]))).sum(-3)


def sim3_right_jacobian(xi: Tensor) -> Tensor:
    """J [..., 7, 7] with exp(xi + d) = exp(xi) exp(J d) for small d."""
    return sim3_left_jacobian(-xi)


def sim3_left_jacobian_inverse(xi: Tensor) -> Tensor:
    """Inverse [..., 7, 7] of `sim3_left_jacobian`, for angles below 2 pi: log(exp(d) exp(xi)) = xi + J^-1 d for small d."""
    return torch.linalg.inv(sim3_left_jacobian(xi))


def sim3_right_jacobian_inverse(xi: Tensor) -> Tensor:
    """Inverse [..., 7, 7] of `sim3_right_jacobian`: log(exp(xi) exp(d)) = xi + J^-1 d for small d."""
    return sim3_left_jacobian_inverse(-xi)


def sim3_retract(similarity: Tensor, tangent: Tensor) -> Tensor:
    """S exp(tangent): the step of an optimizer over similarities. See `se3_retract`."""
    return similarity @ sim3_exp(tangent)


def sim3_interpolate(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Similarities [..., 4, 4] from a (t = 0) to b (t = 1): a exp(t log(a^-1 b)); t is [...] or a number."""
    check_shape(b, [..., 4, 4], name="b", where="sim3_interpolate")
    t = torch.as_tensor(t, dtype=b.dtype, device=b.device)
    return a @ sim3_exp(t[..., None] * sim3_log(sim3_inverse(a) @ b))


def sim3_mean(similarities: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean [..., 4, 4] of similarities [..., N, 4, 4]: the m with sum of w_i log(m^-1 S_i) = 0, the same in any frame.

    Args:
        weights: [..., N], not negative; equal by default.

    Raises:
        ArgumentError: no similarities, or weights that are negative or add up to zero.
    Gradient: similarities and weights, through the solution; first and second order.
    """
    check_shape(similarities, [..., "N", 4, 4], name="similarities", where="sim3_mean")
    return group_mean(similarities, weights, _SIM3, where="sim3_mean")


def sim3_random(
    shape: tuple[int, ...] = (),
    *,
    extent: float = 1.0,
    scale_range: tuple[float, float] = (0.5, 2.0),
    dtype: torch.dtype = torch.float32,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Similarities [*shape, 4, 4]: uniform rotations, translations uniform in [-extent, extent]^3, log-uniform scales."""
    if isinstance(shape, int):
        raise ArgumentError(f"sim3_random: `shape` must be a tuple, got {shape}: sim3_random(({shape},))")
    low, high = scale_range
    if not 0 < low <= high:
        raise ArgumentError(f"sim3_random: `scale_range` must be (low, high) with 0 < low <= high, got {scale_range!r}")
    rotation = so3_random(shape, dtype=dtype, generator=generator)
    translation = extent * (2 * torch.rand(*shape, 3, dtype=dtype, generator=generator) - 1)
    return sim3_matrix(rotation, translation, low * (high / low) ** torch.rand(shape, dtype=dtype, generator=generator))


def _translation_factor(phi: Tensor, sigma: Tensor) -> Tensor:
    """V = A I + B W + C W W, the mean of exp(u sigma) exp(u W) over u in [0, 1]."""
    u, weights = _gauss_legendre(phi)
    w = hat(phi)
    c1, c2 = stumpff(u * u * phi.square().sum(-1, keepdim=True), 1, 2)
    growth = weights * (u * sigma[..., None]).exp()
    a, b, c = (v.sum(-1)[..., None, None] for v in (growth, growth * u * c1, growth * u * u * c2))
    return a * torch.eye(3, dtype=w.dtype, device=w.device) + b * w + c * (w @ w)


def _adjoint(similarity: Tensor, rotation: Tensor) -> Tensor:
    t = similarity[..., :3, 3]
    upper = torch.cat([similarity[..., :3, :3], hat(t) @ rotation, -t[..., None]], -1)
    zero = torch.zeros_like(rotation)
    middle = torch.cat([zero, rotation, zero[..., :1]], -1)
    last = torch.eye(7, dtype=t.dtype, device=t.device)[6:].expand(*t.shape[:-1], 1, 7)
    return torch.cat([upper, middle, last], -2)


def _gauss_legendre(like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights [16] on [0, 1]."""
    return like.new_tensor(0.5 + 0.5 * _NODES), like.new_tensor(0.5 * _WEIGHTS)


_SIM3 = Group(exp=sim3_exp, log=sim3_log, inverse=sim3_inverse, left_jacobian_inverse=sim3_left_jacobian_inverse)
