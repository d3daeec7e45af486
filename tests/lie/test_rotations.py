"""Quaternions, Euler angles, six numbers and the nearest rotation, against the matrices they stand for."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from torch import Tensor

from unproject.errors import ArgumentError
from unproject.lie import quaternions as q
from unproject.lie import rotations as r
from unproject.lie.so3 import so3_distance, so3_exp, so3_interpolate, so3_random

ANGLES = [0.0, 1e-12, 1e-6, 1.0, 3.0, math.pi - 1e-6, math.pi]


def rotations(*shape: int) -> Tensor:
    return so3_random(shape, dtype=torch.float64)


def close(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("axis", [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.6, -0.8, 0.0), (0.48, 0.6, -0.64)])
def test_quaternion_matrix_axis_angle_agree(angle: float, axis: tuple[float, ...]) -> None:
    omega = angle * torch.tensor(axis, dtype=torch.float64)
    matrix = r.matrix_from_axis_angle(omega)
    quaternion = r.quaternion_from_axis_angle(omega)
    by_hand = torch.tensor([math.cos(angle / 2), *(math.sin(angle / 2) * a for a in axis)], dtype=torch.float64)
    close(quaternion, by_hand, 1e-15)
    close(r.matrix_from_quaternion(quaternion), matrix, 1e-15)
    again = r.quaternion_from_matrix(matrix)
    assert again[0] >= 0
    close(r.matrix_from_quaternion(again), matrix, 1e-14)
    if angle < math.pi:
        close(r.axis_angle_from_quaternion(-3 * quaternion), omega, 1e-14)
        close(r.axis_angle_from_matrix(matrix), omega, 1e-9)


def test_quaternion_algebra() -> None:
    a, b = (q.quaternion_from_matrix(rotations(4)) for _ in range(2))
    points = torch.randn(4, 5, 3, dtype=torch.float64)
    close(q.matrix_from_quaternion(q.quaternion_multiply(a, b)), q.matrix_from_quaternion(a) @ q.matrix_from_quaternion(b))
    close(q.quaternion_apply(a, points), points @ q.matrix_from_quaternion(a).mT)
    close(q.quaternion_multiply(a, q.quaternion_conjugate(a)), torch.tensor([1.0, 0, 0, 0], dtype=torch.float64).expand(4, 4))
    i, j, k = torch.eye(4, dtype=torch.float64)[1:]
    close(q.quaternion_multiply(i, j), k, 0.0)
    close(q.matrix_from_quaternion(7 * a), q.matrix_from_quaternion(a))
    close(q.matrix_from_quaternion(torch.zeros(4)), torch.eye(3), 0.0)


def test_slerp_is_interpolation() -> None:
    a, b = rotations(3), rotations(3)
    qa, qb = q.quaternion_from_matrix(a), -q.quaternion_from_matrix(b)
    close(q.matrix_from_quaternion(q.slerp(qa, qb, 0.3)), so3_interpolate(a, b, 0.3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("angle", ANGLES)
def test_quaternion_derivatives_are_finite_and_right(angle: float, dtype: torch.dtype) -> None:
    omega = (angle * torch.tensor([0.48, 0.6, -0.64], dtype=dtype)).requires_grad_()
    for function in (r.quaternion_from_axis_angle, lambda w: r.quaternion_from_matrix(so3_exp(w))):
        value = function(omega)
        (first,) = torch.autograd.grad((value * torch.randn_like(value)).sum(), omega, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), omega)
        assert torch.isfinite(first).all() and torch.isfinite(second).all()
    if dtype == torch.float64 and angle < 3.1:
        assert torch.autograd.gradcheck(r.quaternion_from_axis_angle, omega)
        assert torch.autograd.gradgradcheck(r.quaternion_from_axis_angle, omega)
        assert torch.autograd.gradcheck(r.quaternion_from_matrix, so3_exp(omega).detach().requires_grad_())


@pytest.mark.parametrize("order", r.EULER_ORDERS)
def test_euler_angles(order: str) -> None:
    assert len(r.EULER_ORDERS) == 24
    matrix = rotations(20)
    angles = r.euler_from_matrix(matrix, order)
    close(r.matrix_from_euler(angles, order), matrix)
    close(angles, torch.from_numpy(Rotation.from_matrix(matrix.numpy()).as_euler(order)), 1e-9)
    close(r.matrix_from_euler(angles, order), torch.from_numpy(Rotation.from_euler(order, angles.numpy()).as_matrix()))


@pytest.mark.parametrize("order", r.EULER_ORDERS)
def test_euler_angles_in_gimbal_lock(order: str) -> None:
    for middle in (0.0, math.pi) if order[0] == order[2] else (math.pi / 2, -math.pi / 2):
        matrix = r.matrix_from_euler(torch.tensor([0.3, middle, -1.1], dtype=torch.float64), order).requires_grad_()
        angles = r.euler_from_matrix(matrix, order)
        close(r.matrix_from_euler(angles, order), matrix, 1e-12)
        assert angles[2 if order.isupper() else 0] == 0
        (gradient,) = torch.autograd.grad(angles.sum(), matrix)
        assert torch.isfinite(gradient).all()


def test_euler_order_is_explained() -> None:
    # Yaw 90 degrees about z, then roll 90 degrees about the new x: the body's y axis goes to the world's z.
    angles = torch.tensor([math.pi / 2, 0.0, math.pi / 2], dtype=torch.float64)
    close(r.matrix_from_euler(angles, "ZYX")[:, 1], torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    with pytest.raises(ArgumentError, match=r"matrix_from_euler: `order` .*'xxy'"):
        r.matrix_from_euler(angles, "xxy")
    with pytest.raises(ArgumentError, match=r"`order`"):
        r.euler_from_matrix(torch.eye(3), "XyZ")


def test_euler_gradients() -> None:
    matrix = rotations(2).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: r.euler_from_matrix(m, "ZYX"), matrix)
    assert torch.autograd.gradcheck(lambda m: r.euler_from_matrix(m, "zxz"), matrix)


def test_six_numbers() -> None:
    matrix = rotations(2, 3)
    close(r.matrix_from_six(r.six_from_matrix(matrix)), matrix)
    six = torch.randn(4, 6, dtype=torch.float64)
    made = r.matrix_from_six(six)
    close(made.mT @ made, torch.eye(3, dtype=torch.float64).expand(4, 3, 3))
    close(torch.linalg.det(made), torch.ones(4, dtype=torch.float64))
    close(torch.linalg.cross(made[..., 0], six[:, :3]), torch.zeros(4, 3, dtype=torch.float64))
    assert torch.autograd.gradcheck(r.matrix_from_six, six.requires_grad_())


@pytest.mark.parametrize("six", [[0.0] * 6, [1.0, 2, 3, 2, 4, 6], [0.0, 0, 0, 0, 0, 1], [1e-30, 0, 0, 0, 1e-30, 0], [0.0, 1, 0, 0, 0, 0]])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_six_numbers_that_span_no_plane(six: list[float], dtype: torch.dtype) -> None:
    value = torch.tensor(six, dtype=dtype, requires_grad=True)
    matrix = r.matrix_from_six(value)
    close(matrix.mT @ matrix, torch.eye(3, dtype=dtype), 1e-6)
    (gradient,) = torch.autograd.grad((matrix * torch.randn_like(matrix)).sum(), value)
    assert torch.isfinite(gradient).all()


def test_nearest_rotation_is_nearest() -> None:
    matrix = torch.randn(10, 3, 3, dtype=torch.float64)
    nearest = r.nearest_rotation(matrix)
    close(nearest.mT @ nearest, torch.eye(3, dtype=torch.float64).expand(10, 3, 3))
    close(torch.linalg.det(nearest), torch.ones(10, dtype=torch.float64))
    distance = (nearest - matrix).square().sum((-2, -1))
    for other in (rotations(10), nearest @ so3_exp(1e-3 * torch.randn(10, 3, dtype=torch.float64))):
        assert (distance <= (other - matrix).square().sum((-2, -1)) + 1e-12).all()
    close(r.nearest_rotation(3 * nearest), nearest)


def test_nearest_rotation_gradients_at_rotations_and_elsewhere() -> None:
    for matrix in (torch.randn(3, 3, 3, dtype=torch.float64), rotations(2), 2 * torch.eye(3, dtype=torch.float64)):
        assert torch.autograd.gradcheck(r.nearest_rotation, matrix.clone().requires_grad_())
        assert torch.autograd.gradgradcheck(r.nearest_rotation, matrix.clone().requires_grad_(), atol=1e-4)


@pytest.mark.parametrize("diagonal", [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, 1.0, 0.0), (1.0, 1.0, -1.0), (-1.0, -1.0, -1.0)])
def test_nearest_rotation_of_degenerate_matrices_is_finite(diagonal: tuple[float, ...]) -> None:
    matrix = torch.diag(torch.tensor(diagonal)).requires_grad_()
    nearest = r.nearest_rotation(matrix)
    close(nearest.mT @ nearest, torch.eye(3), 1e-5)
    assert torch.linalg.det(nearest) > 0
    (gradient,) = torch.autograd.grad((nearest * torch.randn(3, 3)).sum(), matrix)
    assert torch.isfinite(gradient).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-4, 4), min_size=4, max_size=4).filter(lambda v: sum(x * x for x in v) > 1e-6))
def test_any_quaternion_is_some_rotation(values: list[float]) -> None:
    quaternion = torch.tensor(values, dtype=torch.float64)
    matrix = q.matrix_from_quaternion(quaternion)
    ours = q.quaternion_from_matrix(matrix)
    close((ours * quaternion).sum().abs() / quaternion.norm(), torch.tensor(1.0, dtype=torch.float64))
    assert so3_distance(matrix, so3_exp(q.quaternion_log(quaternion))) < 1e-12
