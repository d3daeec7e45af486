"""The kernels of exp and log against their torch twins."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from unproject.ops import lie as ops
from unproject.reference import lie as reference
from unproject.reference import series

NAMES = ["so3_exp", "so3_log", "se3_exp", "se3_log"]
TOLERANCE = {torch.float64: 1e-13, torch.float32: 5e-6}
each_op = pytest.mark.parametrize("name", NAMES)
each_type = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)


def inputs(name: str, count: int, dtype: torch.dtype) -> Tensor:
    """Tangent vectors, or matrices of them, with angles from 1e-12 to 6."""
    tangent = torch.randn(count, 3 if name.startswith("so3") else 6, dtype=torch.float64)
    tangent[:, -3:] *= torch.logspace(-12, 0.3, count, dtype=torch.float64)[:, None]
    value = tangent if name.endswith("exp") else getattr(reference, name.replace("log", "exp"))(tangent)
    return value.to(dtype)


@each_op
@each_type
@pytest.mark.parametrize("count", [0, 1, 40])
def test_kernel_is_its_twin(name: str, dtype: torch.dtype, count: int) -> None:
    value = inputs(name, count, dtype).requires_grad_()
    ours, twin = getattr(ops, name)(value), getattr(reference, name)(value)
    torch.testing.assert_close(ours, twin, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
    cotangent = torch.randn_like(ours)
    (a,), (b,) = (torch.autograd.grad(y, value, cotangent) for y in (ours, twin))
    torch.testing.assert_close(a, b, atol=10 * TOLERANCE[dtype], rtol=10 * TOLERANCE[dtype])


@each_op
def test_derivatives(name: str) -> None:
    value = inputs(name, 4, torch.float64).requires_grad_()
    op = getattr(ops, name)
    assert torch.autograd.gradcheck(op, value)
    assert torch.autograd.gradgradcheck(op, value)


@each_op
def test_opcheck(name: str) -> None:
    value = inputs(name, 2, torch.float64).requires_grad_()
    torch.library.opcheck(getattr(ops, name).overload, (value,))
    cotangent = torch.randn_like(getattr(ops, name)(value).detach())
    torch.library.opcheck(getattr(ops, f"{name}_backward").overload, (value, cotangent))


@each_op
def test_strided_inputs_and_batch_shapes(name: str) -> None:
    value = inputs(name, 6, torch.float64)
    expected = getattr(ops, name)(value)
    strided = torch.stack([value, value], -1)[..., 0]
    assert not strided.is_contiguous()
    torch.testing.assert_close(getattr(ops, name)(strided), expected)
    torch.testing.assert_close(getattr(ops, name)(value.unflatten(0, (2, 3))), expected.unflatten(0, (2, 3)))


def exact(x: float, k: int) -> float:
    """c_k by its series in exact arithmetic."""
    from fractions import Fraction
    from math import factorial

    value = Fraction(x)
    return float(sum((-value) ** n / factorial(2 * n + k) for n in range(40)))


@each_type
@pytest.mark.parametrize("values", [ops.stumpff, lambda *a: torch.stack(series.stumpff(*a))], ids=["kernel", "twin"])
def test_stumpff_functions(dtype: torch.dtype, values: Any) -> None:
    x = torch.tensor([0.0, 1e-24, 1e-10, 1e-3, 0.3, 0.99, 1.0, 2.0, 9.9, 39.0], dtype=dtype)
    for first, count in ((0, 2), (1, 5), (4, 3)):
        expected = torch.tensor([[exact(float(v), k) for v in x] for k in range(first, first + count)], dtype=torch.float64)
        error = (values(x, first, count).double() - expected).abs() / expected.abs().clamp(min=expected[:, :1] * 0.1)
        assert error.max() < 100 * torch.finfo(dtype).eps


def test_stumpff_derivatives() -> None:
    x = torch.tensor([0.0, 1e-9, 0.5, 1.5, 20.0], dtype=torch.float64, requires_grad=True)
    for function in (lambda x: ops.stumpff(x, 0, 4), lambda x: torch.stack(series.stumpff(x, 0, 4))):
        # Central differences reach below zero, where the functions go on (as hyperbolic ones) but these are not meant to.
        assert torch.autograd.gradcheck(function, x[1:].detach().clamp(min=1e-3).requires_grad_())
        assert torch.autograd.gradgradcheck(function, x[1:].detach().clamp(min=1e-3).requires_grad_())
        (first,) = torch.autograd.grad(function(x)[2].sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
        torch.testing.assert_close(first[0].item(), -1 / 24)
        torch.testing.assert_close(second[0].item(), 2 / 720)
    torch.library.opcheck(ops.stumpff.overload, (x, 1, 2))


@each_type
def test_arctan_ratio(dtype: torch.dtype) -> None:
    y = torch.tensor([0.0, 1e-20, 1e-6, 0.049, 0.051, 0.11, 0.5, 1.0, 50.0], dtype=dtype, requires_grad=True)
    value = series.arctan_ratio(y)
    expected = torch.where(y == 0, 1.0, torch.atan(y.double().sqrt()) / y.double().sqrt())
    torch.testing.assert_close(value.double(), expected, atol=0, rtol=10 * torch.finfo(dtype).eps)
    (first,) = torch.autograd.grad(value.sum(), y, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), y)
    torch.testing.assert_close(first[0].item(), -1 / 3)
    torch.testing.assert_close(second[0].item(), 2 / 5)
    assert torch.autograd.gradcheck(series.arctan_ratio, y[4:].detach().double().requires_grad_())
    assert torch.autograd.gradgradcheck(series.arctan_ratio, y[3:].detach().double().requires_grad_())
