"""Affine maps: the kernel beside plain torch, with points of all images and with own ones, and the gradient."""

from __future__ import annotations

import pytest
import torch

from unproject.ops.affine import map_affine
from unproject.reference import affine as reference


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("images", "count"), [(1, 1), (3, 0), (0, 4), (3, 7), (2, 70_000)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernel_is_the_product_of_matrices(images: int, count: int, shared: bool, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(images + count)
    points = torch.randn(1 if shared else images, count, 3, generator=generator, dtype=dtype)
    matrices = torch.randn(images, 3, 4, generator=generator, dtype=dtype)
    torch.testing.assert_close(map_affine(points, matrices), reference.map_affine(points, matrices))


@pytest.mark.parametrize("shared", [True, False])
def test_gradient(shared: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(1 if shared else 2, 4, 3, generator=generator, dtype=torch.float64).requires_grad_()
    matrices = torch.randn(2, 3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(map_affine, (points, matrices))
    assert torch.autograd.gradgradcheck(map_affine, (points, matrices))
