"""Operator: weights of fragments as shares of their pixel's, a softmax over the fragments of each pixel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .operator import operator


@operator("unproject::pixel_shares")
def pixel_shares(power: Tensor, pixel: Tensor, count: int) -> Tensor:
    """Weights exp(power) [P] divided by their sum over the fragments of the same pixel.

    Relative to the strongest of them, so that nothing overflows. On one thread: it takes far less time than what it serves.

    Args:
        power: [P]. pixel: int64 [P] in any order, below `count`.
    """
    from ..kernels.pixel_shares import share_range

    share, dtype = torch.empty_like(power), power.detach().numpy().dtype
    strongest, total = np.full(count, -np.inf, dtype), np.zeros(count, dtype)
    parallel_for(share_range, len(power), power.detach().numpy(), pixel.numpy(), strongest, total, share.numpy(), slices=1)
    return share


@operator("unproject::pixel_shares_backward")
def pixel_shares_backward(pixel: Tensor, count: int, share: Tensor, of_share: Tensor) -> Tensor:
    """Gradient of power [P] from that of the shares."""
    from ..kernels.pixel_shares import share_gradient

    out, flow = torch.empty_like(share), of_share.contiguous().numpy()
    mean = np.zeros(count, flow.dtype)
    parallel_for(share_gradient, len(share), pixel.numpy(), share.numpy(), flow, mean, out.numpy(), slices=1)
    return out


@pixel_shares.register_fake
def _(power: Tensor, pixel: Tensor, count: int) -> Tensor:
    return torch.empty_like(power)


@pixel_shares_backward.register_fake
def _(pixel: Tensor, count: int, share: Tensor, of_share: Tensor) -> Tensor:
    return torch.empty_like(share)


def _save(ctx, inputs, output) -> None:
    _, pixel, ctx.count = inputs
    ctx.save_for_backward(pixel, output)


def _backward(ctx, of_share: Tensor):
    pixel, share = ctx.saved_tensors
    return pixel_shares_backward(pixel, ctx.count, share, of_share), None, None


pixel_shares.register_autograd(_backward, setup_context=_save)


@example(pixel_shares)
def _example(dtype: torch.dtype) -> tuple:
    return torch.tensor([0.5, 2.0, -1.0, 0.0], dtype=dtype, requires_grad=True), torch.tensor([3, 1, 3, 3]), 5


@example(pixel_shares_backward)
def _example_backward(dtype: torch.dtype) -> tuple:
    power, pixel, count = _example(dtype)
    return pixel, count, pixel_shares(power.detach(), pixel, count), torch.linspace(-1, 1, 4, dtype=dtype)
