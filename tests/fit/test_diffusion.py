"""Implicit diffusion: it inverts the matrix it says, keeps constants, and its gradient is right twice."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from unproject.errors import ArgumentError
from unproject.fit.diffusion import implicit_diffusion

RING = torch.tensor([[k, (k + 1) % 7] for k in range(7)])


def dense(strength: float) -> torch.Tensor:
    adjacency = torch.zeros(7, 7, dtype=torch.float64)
    adjacency[RING[:, 0], RING[:, 1]] = 1
    adjacency = adjacency + adjacency.T
    return torch.eye(7, dtype=torch.float64) + strength * (torch.diag(adjacency.sum(0)) - adjacency)


@pytest.mark.parametrize("strength", [0.0, 0.3, 50.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inverts_the_matrix(strength: float, dtype: torch.dtype) -> None:
    values = torch.randn(7, 3, dtype=dtype)
    solved = implicit_diffusion(RING, 7, strength)(values)
    assert solved.dtype == dtype
    torch.testing.assert_close((dense(strength) @ solved.double()).to(dtype), values, atol=1e-5, rtol=1e-5)


def test_keeps_constants() -> None:
    solve = implicit_diffusion(RING, 7, 20.0)
    torch.testing.assert_close(solve(torch.full((7, 2), 3.0)), torch.full((7, 2), 3.0))


def test_gradients() -> None:
    solve = implicit_diffusion(RING, 7, 2.0)
    values = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(solve, (values,))
    assert gradgradcheck(solve, (values,))


def test_errors_name_the_argument() -> None:
    with pytest.raises(ArgumentError, match="edges"):
        implicit_diffusion(torch.tensor([[0, 9]]), 7, 1.0)
    with pytest.raises(ArgumentError, match="strength"):
        implicit_diffusion(RING, 7, -1.0)
    with pytest.raises(ArgumentError, match="values"):
        implicit_diffusion(RING, 7, 1.0)(torch.zeros(6, 3))
