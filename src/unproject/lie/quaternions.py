"""Quaternions (w, x, y, z): algebra, and the exact way between rotation matrices and rotation vectors.

q and -q are the same rotation; functions that return a quaternion of a rotation return the one with w >= 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import check_shape
from ..reference import lie as reference
from .series import stumpff


def quaternion_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product [..., 4] of quaternions a and b [..., 4] that broadcast: first rotate by b, then by a."""
    check_shape(a, [..., 4], name="a", where="quaternion_multiply")
    check_shape(b, [..., 4], name="b", where="quaternion_multiply")
    u, v = a[..., 1:], b[..., 1:]
    s, t = a[..., :1], b[..., :1]
    w = s * t - (u * v).sum(-1, keepdim=True)
    return torch.cat([w, s * v + t * u + torch.linalg.cross(*torch.broadcast_tensors(u, v))], -1)


def quaternion_conjugate(quaternion: Tensor) -> Tensor:
    """(w, -x, -y, -z): the inverse of a unit quaternion."""
    check_shape(quaternion, [..., 4], name="quaternion", where="quaternion_conjugate")
    return torch.cat([quaternion[..., :1], -quaternion[..., 1:]], -1)


def quaternion_apply(quaternion: Tensor, points: Tensor) -> Tensor:
    """Rotate points [..., N, 3] by unit quaternions [..., 4]; leading dimensions [...] broadcast."""
    check_shape(quaternion, [..., 4], name="quaternion", where="quaternion_apply")
    check_shape(points, [..., "N", 3], name="points", where="quaternion_apply")
    w, v = quaternion[..., None, :1], quaternion[..., None, 1:]
    v, points = torch.broadcast_tensors(v, points)
    twice = 2 * torch.linalg.cross(v, points)
    return points + w * twice + torch.linalg.cross(v, twice)


def quaternion_exp(rotation_vector: Tensor) -> Tensor:
    """Unit quaternion [..., 4] of a rotation vector [..., 3] (axis times angle).

    Gradient: exact for any angle, all orders.
    """
    check_shape(rotation_vector, [..., 3], name="rotation_vector", where="quaternion_exp")
    half = 0.5 * rotation_vector
    cosine, sine_ratio = stumpff(half.square().sum(-1, keepdim=True), 0, 2)
    return torch.cat([cosine, sine_ratio * half], -1)


def quaternion_log(quaternion: Tensor) -> Tensor:
    """Rotation vector [..., 3] of a quaternion [..., 4] of any length except 0, with an angle in [0, pi].

    Gradient: exact from angle 0 to pi (where the vector jumps to its negative), all orders.
    """
    check_shape(quaternion, [..., 4], name="quaternion", where="quaternion_log")
    return reference.quaternion_log(quaternion)


def matrix_from_quaternion(quaternion: Tensor) -> Tensor:
    """Rotation matrix [..., 3, 3] of a quaternion [..., 4] of any length; the zero quaternion gives the identity.

    Gradient: quaternion.
    """
    check_shape(quaternion, [..., 4], name="quaternion", where="matrix_from_quaternion")
    scale = 2 / quaternion.square().sum(-1, keepdim=True).clamp(min=torch.finfo(quaternion.dtype).tiny)
    w, x, y, z = quaternion.unbind(-1)
    _, sx, sy, sz = (quaternion * scale).unbind(-1)
    xx, yy, zz, xy, xz, yz, wx, wy, wz = x * sx, y * sy, z * sz, x * sy, x * sz, y * sz, w * sx, w * sy, w * sz
    rows = [1 - yy - zz, xy - wz, xz + wy, xy + wz, 1 - xx - zz, yz - wx, xz - wy, yz + wx, 1 - xx - yy]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def quaternion_from_matrix(rotation: Tensor) -> Tensor:
    """Unit quaternion [..., 4] with w >= 0 of a rotation matrix [..., 3, 3].

    Gradient: exact for any rotation, angles of 0 and pi included.
    Source: Shepperd 1978; of the four formulas, the one with the largest divisor.
    """
    check_shape(rotation, [..., 3, 3], name="rotation", where="quaternion_from_matrix")
    q = reference.quaternion_multiple(rotation)
    q = q / torch.linalg.vector_norm(q, dim=-1, keepdim=True)
    return torch.where(q[..., :1] < 0, -q, q)


def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Quaternions [..., 4] on the shorter way from unit quaternions a (t = 0) to b (t = 1), at constant angular speed.

    Args:
        a, b: [..., 4].
        t: [...] or a number; outside of [0, 1] the rotation goes on.

    Gradient: a, b and t.
    """
    t = torch.as_tensor(t, dtype=a.dtype, device=a.device)
    return quaternion_multiply(a, quaternion_exp(t[..., None] * quaternion_log(quaternion_multiply(quaternion_conjugate(a), b))))
