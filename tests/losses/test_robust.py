"""Robust penalties: near zero they are least squares, far away they stay bounded as they say, and gradients are finite everywhere."""

from __future__ import annotations

import pytest
import torch

from unproject.errors import ArgumentError
from unproject.losses.robust import cauchy, geman_mcclure, huber, squared, unsquared
from unproject.testing import check_gradients

ROBUST = [huber(0.5), cauchy(0.5), geman_mcclure(0.5)]


@pytest.mark.parametrize("penalty", ROBUST)
def test_small_residuals_cost_their_square(penalty) -> None:
    residual = torch.tensor([0.0, 1e-4, 1e-3], dtype=torch.float64)
    torch.testing.assert_close(penalty(residual**2), residual**2, rtol=1e-5, atol=0)


def test_large_residuals() -> None:
    residual = torch.tensor([10.0, 1000.0], dtype=torch.float64)
    torch.testing.assert_close(huber(0.5)(residual**2), residual - 0.25)
    torch.testing.assert_close(cauchy(0.5)(residual**2), 0.25 * torch.log1p(4 * residual**2))
    torch.testing.assert_close(geman_mcclure(0.5)(residual**2), torch.tensor([0.25, 0.25], dtype=torch.float64), rtol=0.003, atol=0)
    torch.testing.assert_close(unsquared(residual**2), residual)


@pytest.mark.parametrize("penalty", [squared, unsquared, *ROBUST])
def test_gradients(penalty) -> None:
    check_gradients(penalty, [torch.tensor([0.01, 0.2, 0.3, 4.0])], second=True)


@pytest.mark.parametrize("penalty", [squared, unsquared, *ROBUST])
def test_gradient_at_zero_is_finite(penalty) -> None:
    s = torch.tensor([0.0, 1e-45, 3e38], requires_grad=True)
    penalty(s).sum().backward()
    assert bool(torch.isfinite(s.grad).all())


@pytest.mark.parametrize("make", [huber, cauchy, geman_mcclure])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_scales_must_be_positive(make, value: float) -> None:
    with pytest.raises(ArgumentError, match="must be above 0"):
        make(value)
