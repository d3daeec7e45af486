"""Laws of SO(3), SE(3) and Sim(3): the same for all three, over batch shapes, angles from 1e-12 to pi, float64 and float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unproject.errors import ArgumentError, UnprojectError
from unproject.lie import se3, sim3, so3

ANGLES = [0.0, 1e-12, 1e-9, 1e-6, 1e-3, 0.1, 1.0, 2.0, 3.0, math.pi - 1e-3, math.pi - 1e-6, math.pi - 1e-9, math.pi]
SHAPES = [(), (3,), (2, 3)]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
DTYPES = [torch.float64, torch.float32]


@dataclass(frozen=True)
class Case:
    """A group's functions by one name each."""

    module: ModuleType
    name: str
    dimension: int

    def __getattr__(self, function: str) -> Callable[..., Any]:
        return getattr(self.module, f"{self.name}_{function}")

    def inverse_of(self, element: Tensor) -> Tensor:
        return element.mT if self.name == "so3" else self.inverse(element)

    def generator(self, tangent: Tensor) -> Tensor:
        """The matrix whose exponential the group element is."""
        phi = tangent if self.name == "so3" else tangent[..., 3:6]
        m = so3.hat(phi)
        if self.name == "so3":
            return m
        if self.name == "sim3":
            m = m + tangent[..., 6, None, None] * torch.eye(3, dtype=m.dtype)
        m = torch.cat([m, tangent[..., :3, None]], -1)
        return torch.cat([m, torch.zeros_like(m[..., :1, :])], -2)

    def tangent(self, angle: float, shape: tuple[int, ...] = (), dtype: torch.dtype = torch.float64) -> Tensor:
        """A random tangent vector with a rotation of that angle."""
        axis = torch.nn.functional.normalize(torch.randn(*shape, 3, dtype=torch.float64), dim=-1)
        rest = torch.randn(*shape, 4, dtype=torch.float64)
        parts = {"so3": [angle * axis], "se3": [rest[..., :3], angle * axis], "sim3": [rest[..., :3], angle * axis, 0.5 * rest[..., 3:]]}
        return torch.cat(parts[self.name], -1).to(dtype)


GROUPS = [Case(so3, "so3", 3), Case(se3, "se3", 6), Case(sim3, "sim3", 7)]
each_group = pytest.mark.parametrize("group", GROUPS, ids=lambda g: g.name)
each_angle = pytest.mark.parametrize("angle", ANGLES)
each_type = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def close(a: Tensor, b: Tensor, tolerance: float | None = None) -> None:
    assert a.dtype == b.dtype
    tolerance = TOLERANCE[a.dtype] if tolerance is None else tolerance
    torch.testing.assert_close(a, b.expand(a.shape), atol=tolerance, rtol=tolerance)


@each_group
@each_angle
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_exp_is_the_matrix_exponential(group: Case, angle: float, shape: tuple[int, ...]) -> None:
    tangent = group.tangent(angle, shape)
    element = group.exp(tangent)
    assert element.shape[:-2] == shape
    close(element, torch.linalg.matrix_exp(group.generator(tangent)), 2e-13)


@each_group
@each_angle
@each_type
def test_log_inverts_exp(group: Case, angle: float, dtype: torch.dtype) -> None:
    tangent = group.tangent(angle, (2, 3), dtype)
    element = group.exp(tangent)
    again = group.log(element)
    close(group.exp(again), element)
    if angle < math.pi - 1e-2:
        close(again, tangent)
    elif dtype == torch.float64 and angle < math.pi:
        close(again, tangent, 1e-6)  # the rotation part keeps all digits, but its axis turns as the angle's rounding says


@pytest.mark.parametrize("angle", [1e-12, 1e-9, 1e-6, 1e-3])
@each_type
def test_small_rotations_keep_their_relative_precision(angle: float, dtype: torch.dtype) -> None:
    omega = GROUPS[0].tangent(angle, (10,), dtype)
    error = (so3.so3_log(so3.so3_exp(omega)) - omega).norm(dim=-1) / angle
    assert error.max() < 10 * torch.finfo(dtype).eps


@each_group
@each_type
def test_axioms(group: Case, dtype: torch.dtype) -> None:
    a, b, c = (group.random((4,), dtype=dtype) for _ in range(3))
    identity = torch.eye(a.shape[-1], dtype=dtype)
    close((a @ b) @ c, a @ (b @ c))
    close(a @ group.inverse_of(a), identity)
    close(group.inverse_of(a) @ a, identity)
    close(group.inverse_of(a @ b), group.inverse_of(b) @ group.inverse_of(a))
    close(group.exp(torch.zeros(group.dimension, dtype=dtype)), identity, 0.0)
    close(group.log(identity), torch.zeros(group.dimension, dtype=dtype), 0.0)
    close(group.exp(-group.log(a)), group.inverse_of(a))


@each_group
@each_angle
def test_adjoint_moves_tangents(group: Case, angle: float) -> None:
    element, tangent = group.random((2,), dtype=torch.float64), group.tangent(angle, (2,))
    moved = (group.adjoint(element) @ tangent[..., None])[..., 0]
    close(group.exp(moved), element @ group.exp(tangent) @ group.inverse_of(element))
    close(group.adjoint(element[0] @ element[1]), group.adjoint(element[0]) @ group.adjoint(element[1]))


@each_group
@each_angle
def test_jacobians_are_the_derivatives_of_exp(group: Case, angle: float) -> None:
    tangent = group.tangent(angle)
    forward = torch.autograd.functional.jacobian(group.exp, tangent)  # [n, n, k]
    inverse = group.inverse_of(group.exp(tangent))
    generators = group.generator(torch.eye(group.dimension, dtype=torch.float64))  # [k, n, n]
    left = torch.einsum("iak,aj->kij", forward, inverse)
    close(torch.einsum("mk,mij->kij", group.left_jacobian(tangent), generators), left)
    right = torch.einsum("ia,ajk->kij", inverse, forward)
    close(torch.einsum("mk,mij->kij", group.right_jacobian(tangent), generators), right)


@each_group
@each_angle
@each_type
def test_inverse_jacobians(group: Case, angle: float, dtype: torch.dtype) -> None:
    tangent = group.tangent(angle, (3,), dtype)
    identity = torch.eye(group.dimension, dtype=dtype)
    tolerance = 10 * TOLERANCE[dtype]
    close(group.left_jacobian(tangent) @ group.left_jacobian_inverse(tangent), identity, tolerance)
    close(group.right_jacobian(tangent) @ group.right_jacobian_inverse(tangent), identity, tolerance)
    close(group.adjoint(group.exp(tangent)) @ group.right_jacobian(tangent), group.left_jacobian(tangent), tolerance)


@each_group
@pytest.mark.parametrize("angle", [1e-12, 1e-6, 1e-2, 1.0, 3.0, math.pi - 1e-5])
@each_type
def test_derivative_of_log_after_exp_is_the_identity(group: Case, angle: float, dtype: torch.dtype) -> None:
    tangent = group.tangent(angle, (), dtype)
    jacobian = torch.autograd.functional.jacobian(lambda t: group.log(group.exp(t)), tangent)
    close(jacobian, torch.eye(group.dimension, dtype=dtype), 1e-9 if dtype == torch.float64 else 2e-4)


@each_group
@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-4, 1.0, 3.0])
def test_gradcheck(group: Case, angle: float) -> None:
    tangent = group.tangent(angle).requires_grad_()
    element = group.exp(group.tangent(angle)).requires_grad_()
    assert torch.autograd.gradcheck(group.exp, tangent)
    assert torch.autograd.gradgradcheck(group.exp, tangent)
    assert torch.autograd.gradcheck(group.log, element)
    assert torch.autograd.gradgradcheck(lambda t: group.log(group.exp(t)), tangent)
    assert torch.autograd.gradcheck(group.left_jacobian, tangent)
    assert torch.autograd.gradcheck(group.right_jacobian_inverse, tangent)


@each_group
@each_angle
@each_type
def test_first_and_second_derivatives_are_finite(group: Case, angle: float, dtype: torch.dtype) -> None:
    for axis in torch.cat([torch.eye(3), torch.randn(1, 3)]):
        tangent = group.tangent(angle, (), dtype)
        tangent[(slice(None) if group.name == "so3" else slice(3, 6))] = angle * torch.nn.functional.normalize(axis, dim=0).to(dtype)
        tangent.requires_grad_()
        element = group.exp(tangent)
        for value in (element, group.log(element), group.left_jacobian(tangent), group.left_jacobian_inverse(tangent)):
            (first,) = torch.autograd.grad((value * torch.randn_like(value)).sum(), tangent, create_graph=True)
            (second,) = torch.autograd.grad((first * torch.randn_like(first)).sum(), tangent, retain_graph=True)
            assert torch.isfinite(first).all() and torch.isfinite(second).all()


@each_group
@settings(max_examples=30, deadline=None)
@given(exponent=st.floats(-12, math.log10(3.1)), scale=st.floats(-3, 3), seed=st.integers(0, 10**6))
def test_round_trip_at_any_scale(group: Case, exponent: float, scale: float, seed: int) -> None:
    torch.manual_seed(seed)
    tangent = group.tangent(10**exponent)
    if group.name != "so3":
        tangent[:3] *= 10**scale
    size = tangent.abs().max()
    assert (group.log(group.exp(tangent)) - tangent).abs().max() <= 1e-10 * max(1.0, float(size))


@each_group
def test_action_broadcasts_and_composes(group: Case) -> None:
    a, b = group.random((2, 1), dtype=torch.float64), group.random((3,), dtype=torch.float64)
    points = torch.randn(5, 3, dtype=torch.float64)
    moved = group.apply(a @ b, points)
    assert moved.shape == (2, 3, 5, 3)
    close(moved, group.apply(a, group.apply(b, points)))


@each_group
@each_type
def test_interpolation(group: Case, dtype: torch.dtype) -> None:
    a, b = group.random((3,), dtype=dtype), group.random((3,), dtype=dtype)
    close(group.interpolate(a, b, 0.0), a)
    close(group.interpolate(a, b, 1.0), b)
    t = torch.tensor([0.25, 0.5, 0.75], dtype=dtype)
    close(group.interpolate(a, b, t), group.interpolate(b, a, 1 - t), 1e-4 if dtype == torch.float32 else 1e-10)
    half = group.interpolate(a, b, 0.5)
    close(group.interpolate(a, half, 0.5), group.interpolate(a, b, 0.25), 1e-4 if dtype == torch.float32 else 1e-10)


@each_group
def test_interpolation_gradients(group: Case) -> None:
    a, b = group.log(group.random(dtype=torch.float64)).requires_grad_(), group.log(group.random(dtype=torch.float64)).requires_grad_()
    t = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b, t: group.interpolate(group.exp(a), group.exp(b), t), (a, b, t))


@each_group
@each_type
def test_mean(group: Case, dtype: torch.dtype) -> None:
    center = group.random((2,), dtype=dtype)
    tangents = 0.5 * torch.randn(2, 5, group.dimension, dtype=dtype)
    elements = center[:, None] @ group.exp(tangents)
    mean = group.mean(elements)
    residual = group.log(group.inverse_of(mean)[:, None] @ elements).mean(1)
    close(residual, torch.zeros_like(residual), 1e-5 if dtype == torch.float32 else 1e-12)
    left, right = group.random(dtype=dtype), group.random(dtype=dtype)
    close(group.mean(left @ elements @ right), left @ mean @ right, 1e-4 if dtype == torch.float32 else 1e-11)
    close(group.mean(elements, torch.tensor([0, 0, 1, 0, 0], dtype=dtype)), elements[:, 2])
    pair = torch.stack([center[0], center[1]])
    weights = torch.tensor([3, 1], dtype=dtype)
    close(group.mean(pair, weights), group.interpolate(pair[0], pair[1], 0.25), 1e-4 if dtype == torch.float32 else 1e-10)


@each_group
def test_mean_gradients(group: Case) -> None:
    tangents = (0.4 * torch.randn(3, group.dimension, dtype=torch.float64)).requires_grad_()
    weights = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64, requires_grad=True)
    mean = lambda tangents, weights: group.mean(group.exp(tangents), weights)
    assert torch.autograd.gradcheck(mean, (tangents, weights), fast_mode=True)
    if group.name == "so3":
        assert torch.autograd.gradgradcheck(mean, (tangents, weights), fast_mode=True, atol=1e-4)


@each_group
def test_retraction_optimizes(group: Case) -> None:
    target, element = group.random(dtype=torch.float64), group.random(dtype=torch.float64)
    for _ in range(100):
        tangent = torch.zeros(group.dimension, dtype=torch.float64, requires_grad=True)
        loss = group.log(group.inverse_of(target) @ group.retract(element, tangent)).square().sum()
        (gradient,) = torch.autograd.grad(loss, tangent)
        element = group.retract(element, -0.2 * gradient).detach()
    close(element, target, 1e-6)


def test_random_rotations_are_uniform() -> None:
    r = so3.so3_random((20000,), dtype=torch.float64)
    assert r.mean(0).abs().max() < 0.03
    angle = so3.so3_distance(r, torch.eye(3, dtype=torch.float64))
    # The angle's density is (1 - cos a) / pi: its mean is pi/2 + 2/pi.
    assert abs(angle.mean() - (math.pi / 2 + 2 / math.pi)) < 0.03


@each_group
def test_random_takes_a_generator_and_a_type(group: Case) -> None:
    a, b = (group.random((2,), dtype=torch.float64, generator=torch.Generator().manual_seed(7)) for _ in range(2))
    assert a.dtype == torch.float64 and torch.equal(a, b)
    with pytest.raises(ArgumentError, match="shape"):
        group.random(3)


def test_sim3_of_unit_scale_is_se3() -> None:
    tangent = torch.randn(4, 6, dtype=torch.float64)
    padded = torch.cat([tangent, torch.zeros(4, 1, dtype=torch.float64)], -1)
    close(sim3.sim3_exp(padded), se3.se3_exp(tangent))
    close(sim3.sim3_left_jacobian(padded)[:, :6, :6], se3.se3_left_jacobian(tangent))


@each_group
def test_function_transforms(group: Case) -> None:
    tangent = group.tangent(1.0, (2,))
    by_rows = torch.func.vmap(group.exp)(tangent)
    close(by_rows, group.exp(tangent))
    forward = torch.func.vmap(torch.func.jacfwd(group.exp))(tangent)
    close(forward, torch.func.vmap(torch.func.jacrev(group.exp))(tangent))


@each_group
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_low_precision_does_not_crash(group: Case, dtype: torch.dtype) -> None:
    element = group.exp(group.tangent(1.0, (2,), dtype))
    assert element.dtype == dtype and torch.isfinite(element.float()).all()


@each_group
def test_empty_batches(group: Case) -> None:
    element = group.exp(torch.zeros(0, group.dimension))
    assert element.shape[0] == 0 and group.log(element).shape == (0, group.dimension)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: so3.so3_exp(torch.zeros(4)), r"so3_exp: `omega` must be \[\.\.\., 3\] floats, got float32 \[4\]"),
        (lambda: so3.so3_log(torch.zeros(3, dtype=torch.int64)), "so3_log: `rotation`"),
        (lambda: se3.se3_exp(torch.zeros(7)), "se3_exp: `xi`"),
        (lambda: se3.se3_apply(torch.eye(4), torch.zeros(3)), "se3_apply: `points`"),
        (lambda: sim3.sim3_exp(torch.zeros(6)), "sim3_exp: `xi`"),
        (lambda: so3.so3_mean(torch.zeros(0, 3, 3)), "so3_mean: there must be at least one"),
        (lambda: se3.se3_mean(torch.eye(4).repeat(2, 1, 1), torch.tensor([1.0, -1.0])), "se3_mean: `weights`"),
        (lambda: se3.se3_mean(torch.eye(4).repeat(2, 1, 1), torch.zeros(2)), "se3_mean: `weights`"),
        (lambda: sim3.sim3_random(scale_range=(0.0, 1.0)), "sim3_random: `scale_range`"),
        (lambda: sim3.sim3_log(torch.diag(torch.tensor([1.0, 1, -1, 1]))), "positive determinant"),
    ],
)
def test_errors_name_the_argument(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(UnprojectError, match=message):
        call()
