"""Representations of rotations into each other; the hub is the matrix [..., 3, 3].

Names read `target_from_source`: quaternions (quaternions.py), axis-angle, Euler angles, six numbers; and the nearest rotation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape
from .quaternions import matrix_from_quaternion, quaternion_exp, quaternion_from_matrix, quaternion_log
from .so3 import so3_exp, so3_log, vee

EULER_ORDERS = tuple(
    order for low in ("xyz", "xzy", "yxz", "yzx", "zxy", "zyx", "xyx", "xzx", "yxy", "yzy", "zxz", "zyz") for order in (low, low.upper())
)


def matrix_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """Rotation matrix [..., 3, 3] of axis times angle [..., 3], radians; the same as `so3_exp`."""
    return so3_exp(axis_angle)


def axis_angle_from_matrix(rotation: Tensor) -> Tensor:
    """Axis times angle [..., 3], angle in [0, pi], of a rotation matrix [..., 3, 3]; the same as `so3_log`."""
    return so3_log(rotation)


def quaternion_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """Unit quaternion [..., 4] (w, x, y, z) of axis times angle [..., 3]; the same as `quaternion_exp`."""
    return quaternion_exp(axis_angle)


def axis_angle_from_quaternion(quaternion: Tensor) -> Tensor:
    """Axis times angle [..., 3], angle in [0, pi], of a quaternion [..., 4]; the same as `quaternion_log`."""
    return quaternion_log(quaternion)


def matrix_from_euler(angles: Tensor, order: str) -> Tensor:
    """Rotation matrix [..., 3, 3] of Euler angles [..., 3] in radians, in the order of the letters.

    Args:
        order: three axis letters, neighbours different. Upper case: intrinsic, each turn about the axes already turned
            ("ZYX": yaw, pitch, roll; R = Rz(a0) Ry(a1) Rx(a2)). Lower case: extrinsic, about the fixed axes
            ("xyz": R = Rz(a2) Ry(a1) Rx(a0)). The same notation as SciPy's.

    Raises:
        ArgumentError: another order.
    """
    check_shape(angles, [..., 3], name="angles", where="matrix_from_euler")
    axes = _axes(order, "matrix_from_euler")
    first, second, third = (_turn(axis, angle) for axis, angle in zip(axes, angles.unbind(-1)))
    return first @ second @ third if order.isupper() else third @ second @ first


def euler_from_matrix(rotation: Tensor, order: str) -> Tensor:
    """Euler angles [..., 3] of a rotation matrix [..., 3, 3], inverse of `matrix_from_euler`.

    The middle angle lies in [-pi/2, pi/2], or in [0, pi] where the first and the last axis are the same. At either end of that range
    (gimbal lock) the other two are not unique: there, the last angle in the intrinsic order (the first in the extrinsic one) is 0.

    Args:
        order: as in `matrix_from_euler`.

    Raises:
        ArgumentError: another order.
    Gradient: finite everywhere; grows without bound towards gimbal lock, as the angles' own sensitivity does.
    """
    check_shape(rotation, [..., 3, 3], name="rotation", where="euler_from_matrix")
    axes = _axes(order, "euler_from_matrix")
    # Extrinsic x-y-z is intrinsic z-y-x with the angles in reverse.
    i, j, k = axes if order.isupper() else axes[::-1]
    proper = i == k
    k = 3 - i - j
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    r = lambda row, column: rotation[..., row, column]
    if proper:
        opposite, adjacent = (r(i, j), sign * r(i, k)), r(i, i)
        first_pair, last_pair = (r(j, i), -sign * r(k, i)), opposite
    else:
        opposite, adjacent = (-sign * r(i, j), r(i, i)), sign * r(i, k)
        first_pair, last_pair = (-sign * r(j, k), r(k, k)), opposite
    squared = opposite[0].square() + opposite[1].square()
    locked = squared.detach() < (16 * torch.finfo(rotation.dtype).eps) ** 2
    radius = torch.where(locked, 0.0, torch.where(locked, 1.0, squared).sqrt())
    middle = torch.atan2(radius, adjacent) if proper else torch.atan2(adjacent, radius)
    # In gimbal lock only the sum or difference of the outer angles is known; the block that is left is a turn about axis i.
    first = _angle(*(torch.where(locked, a, b) for a, b in zip((sign * r(k, j), r(j, j)), first_pair)))
    last = torch.where(locked, 0.0, _angle(torch.where(locked, 0.0, last_pair[0]), torch.where(locked, 1.0, last_pair[1])))
    angles = (first, middle, last) if order.isupper() else (last, middle, first)
    return torch.stack(angles, -1)


def matrix_from_six(six: Tensor) -> Tensor:
    """Rotation matrix [..., 3, 3] of six numbers [..., 6]: its first two columns before orthonormalization.

    Where they do not span a plane (zero, parallel), a coordinate axis stands in, so that values and gradients stay finite.

    Source: Zhou et al. 2019, "On the continuity of rotation representations in neural networks", section 4.2. (PyTorch3D's
        rotation_6d holds rows instead: transpose the result.)
    """
    check_shape(six, [..., 6], name="six", where="matrix_from_six")
    a, b = six[..., :3], six[..., 3:]
    first = _unit_or(a, torch.eye(3, dtype=six.dtype, device=six.device)[0].expand_as(a))
    smallest = first.detach().abs().argmin(-1, keepdim=True)
    spare = torch.zeros_like(a).scatter(-1, smallest, 1.0)
    spare = spare - (first * spare).sum(-1, keepdim=True) * first
    across = b - (first * b).sum(-1, keepdim=True) * first
    usable = across.detach().square().sum(-1, keepdim=True) > (8 * torch.finfo(six.dtype).eps) ** 2 * b.detach().square().sum(
        -1, keepdim=True
    )
    across = torch.where(usable, across, spare)
    second = across / torch.linalg.vector_norm(across, dim=-1, keepdim=True)
    return torch.stack([first, second, torch.linalg.cross(first, second)], -1)


def six_from_matrix(rotation: Tensor) -> Tensor:
    """Six numbers [..., 6] of a rotation matrix [..., 3, 3]: its first column, then its second."""
    check_shape(rotation, [..., 3, 3], name="rotation", where="six_from_matrix")
    return rotation[..., :2].mT.flatten(-2)


def nearest_rotation(matrix: Tensor) -> Tensor:
    """The rotation [..., 3, 3] nearest to a matrix [..., 3, 3] in the Frobenius norm (orthogonal Procrustes, determinant +1).

    It is unique unless the two smallest singular values cancel (rank below 2, or a reflection that leaves a choice); there it is one
    of the nearest, and the gradient is zero.

    Gradient: matrix, first and second order, also where singular values are equal (as a rotation's are), unlike the SVD's own.
    Source: Kabsch 1976; Umeyama 1991.
    """
    check_shape(matrix, [..., 3, 3], name="matrix", where="nearest_rotation")
    with torch.no_grad():
        u, _, vt = torch.linalg.svd(matrix)
        flip = torch.linalg.det(u @ vt).sign()
        u = torch.cat([u[..., :2], u[..., 2:] * flip[..., None, None]], -1)
        rotation = u @ vt
    if torch.is_grad_enabled() and matrix.requires_grad:
        # R^T M is symmetric at the solution. Each Newton step towards that gets twice as many derivatives right.
        for _ in range(2):
            rotation = rotation @ so3_exp(_procrustes_step(rotation, matrix))
    return rotation


def _procrustes_step(rotation: Tensor, matrix: Tensor) -> Tensor:
    """The d [..., 3] for which exp(-d) R^T M is symmetric to first order; zero where that has no unique solution."""
    a = rotation.mT @ matrix
    trace = a.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    system = trace * torch.eye(3, dtype=a.dtype, device=a.device) - 0.5 * (a + a.mT)
    columns = [torch.linalg.cross(system[..., i - 2], system[..., i - 1]) for i in range(3)]
    adjugate = torch.stack(columns, -2)
    determinant = (adjugate[..., 0, :] * system[..., 0]).sum(-1)[..., None]
    size = system.detach().abs().amax((-2, -1))[..., None]
    regular = determinant.detach().abs() > 64 * torch.finfo(a.dtype).eps * size**3
    step = (adjugate @ (2 * vee(a))[..., None])[..., 0] / torch.where(regular, determinant, 1.0)
    return torch.where(regular, step, 0.0)


def _axes(order: str, where: str) -> list[int]:
    if order not in EULER_ORDERS:
        raise ArgumentError(f"{where}: `order` must be three of xyz (extrinsic) or XYZ (intrinsic), neighbours different, got {order!r}")
    return ["xyz".index(letter) for letter in order.lower()]


def _turn(axis: int, angle: Tensor) -> Tensor:
    """Rotation about a coordinate axis."""
    c, s, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    entries = {
        0: [one, zero, zero, zero, c, -s, zero, s, c],
        1: [c, zero, s, zero, one, zero, -s, zero, c],
        2: [c, -s, zero, s, c, zero, zero, zero, one],
    }
    return torch.stack(entries[axis], -1).unflatten(-1, (3, 3))


def _angle(sine: Tensor, cosine: Tensor) -> Tensor:
    return torch.atan2(sine, cosine)


def _unit_or(vector: Tensor, substitute: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(vector.detach(), dim=-1, keepdim=True)
    usable = length > torch.finfo(vector.dtype).tiny ** 0.5
    vector = torch.where(usable, vector, substitute)
    return vector / torch.linalg.vector_norm(vector, dim=-1, keepdim=True)


__all__ = [
    "EULER_ORDERS",
    "axis_angle_from_matrix",
    "axis_angle_from_quaternion",
    "euler_from_matrix",
    "matrix_from_axis_angle",
    "matrix_from_euler",
    "matrix_from_quaternion",
    "matrix_from_six",
    "nearest_rotation",
    "quaternion_from_axis_angle",
    "quaternion_from_matrix",
    "six_from_matrix",
]
