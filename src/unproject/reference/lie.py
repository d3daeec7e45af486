"""Exponentials and logarithms of SO(3) and SE(3) in plain torch: any device, any order of derivative, any function transform."""

from __future__ import annotations

import torch
from torch import Tensor

from .series import arctan_ratio, stumpff


def so3_exp(omega: Tensor) -> Tensor:
    """[..., 3] to [..., 3, 3] by Rodrigues' formula."""
    w = hat(omega)
    c1, c2 = stumpff(_squared(omega), 1, 2)
    return torch.eye(3, dtype=w.dtype, device=w.device) + c1 * w + c2 * (w @ w)


def so3_log(rotation: Tensor) -> Tensor:
    """[..., 3, 3] to [..., 3] through the quaternion."""
    return quaternion_log(quaternion_multiple(rotation))


def se3_exp(xi: Tensor) -> Tensor:
    """[..., 6] to [..., 4, 4]: exp(phi) and V rho, with V the left Jacobian of SO(3)."""
    w = hat(xi[..., 3:])
    ww = w @ w
    c1, c2, c3 = stumpff(_squared(xi[..., 3:]), 1, 3)
    identity = torch.eye(3, dtype=w.dtype, device=w.device)
    translation = (identity + c2 * w + c3 * ww) @ xi[..., :3, None]
    upper = torch.cat([identity + c1 * w + c2 * ww, translation], -1)
    last = torch.eye(4, dtype=w.dtype, device=w.device)[3:].expand(*upper.shape[:-2], 1, 4)
    return torch.cat([upper, last], -2)


def se3_log(motion: Tensor) -> Tensor:
    """[..., 4, 4] to [..., 6]."""
    phi = so3_log(motion[..., :3, :3])
    rho = left_jacobian_inverse(phi) @ motion[..., :3, 3:]
    return torch.cat([rho[..., 0], phi], -1)


def hat(vector: Tensor) -> Tensor:
    """The skew matrix [..., 3, 3] with hat(a) @ b = a x b."""
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    rows = vector[..., None, :].expand(*vector.shape, 3)
    return torch.linalg.cross(identity.expand_as(rows), rows)


def left_jacobian_inverse(omega: Tensor) -> Tensor:
    """I - W/2 + b W W, with b = (1 - t/2 cot(t/2)) / t^2 written so that nothing cancels at small t."""
    w = hat(omega)
    c2, c3, c4 = stumpff(_squared(omega), 2, 3)
    return torch.eye(3, dtype=w.dtype, device=w.device) - 0.5 * w + (c3 - 2 * c4) / (2 * c2) * (w @ w)


def quaternion_log(quaternion: Tensor) -> Tensor:
    """Rotation vector [..., 3] of a quaternion [..., 4] of any length.

    tan(angle / 4) = |v| / (|q| + w) has no singular point for w >= 0, so that neither angle 0 nor pi is a special case.
    """
    w, v = quaternion[..., :1], quaternion[..., 1:]
    sign = torch.where(w < 0, -1.0, 1.0).to(w.dtype)
    length = torch.linalg.vector_norm(quaternion, dim=-1, keepdim=True)
    quarter = v * (sign / (length + sign * w).clamp(min=torch.finfo(w.dtype).tiny))
    return 4 * arctan_ratio(quarter.square().sum(-1, keepdim=True)) * quarter


def quaternion_multiple(rotation: Tensor) -> Tensor:
    """A multiple (by 2 to 4, or -4 to -2) of the rotation's quaternion, linear in the matrix: the largest row of 4 q q^T."""
    r00, r01, r02, r10, r11, r12, r20, r21, r22 = rotation.flatten(-2).unbind(-1)
    wx, wy, wz = r21 - r12, r02 - r20, r10 - r01
    xy, xz, yz = r10 + r01, r02 + r20, r21 + r12
    plus, minus, less, more = r00 + r11, r00 - r11, 1 - r22, 1 + r22
    ww, xx, yy, zz = more + plus, less + minus, less - minus, more - plus
    table = torch.stack([ww, wx, wy, wz, wx, xx, xy, xz, wy, xy, yy, yz, wz, xz, yz, zz], -1).unflatten(-1, (4, 4))
    largest = table.detach().diagonal(dim1=-2, dim2=-1).argmax(-1)
    return torch.take_along_dim(table, largest[..., None, None], -2)[..., 0, :]


def _squared(omega: Tensor) -> Tensor:
    return omega.square().sum(-1)[..., None, None]
