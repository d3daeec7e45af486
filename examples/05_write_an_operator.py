"""Write an operator of your own: a compiled kernel over slices, torch's rules for it, a twin in plain torch, and the checks.

Here: the sum of a Gaussian kernel over all pairs, K(x)_i = sum_j exp(-|x_i - y_j|^2 / 2), without an [N, M] table.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from unproject.kernels.jit import kernel
from unproject.ops.dispatch import parallel_for
from unproject.testing import check_against_reference, check_gradients, check_operator


@kernel
def gauss_range(begin, end, x, y, total, slope):
    """Items [begin, end): each writes only its own row, so that slices need no locks."""
    for i in range(begin, end):
        value, sx, sy, sz = 0.0, 0.0, 0.0, 0.0
        for j in range(len(y)):
            dx, dy, dz = x[i, 0] - y[j, 0], x[i, 1] - y[j, 1], x[i, 2] - y[j, 2]
            weight = np.exp(-0.5 * (dx * dx + dy * dy + dz * dz))
            value += weight
            sx -= weight * dx
            sy -= weight * dy
            sz -= weight * dz
        total[i] = value
        slope[i, 0], slope[i, 1], slope[i, 2] = sx, sy, sz


@torch.library.custom_op("example::gauss_sum", mutates_args=(), device_types="cpu")
def gauss_sum(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    total, slope = x.new_empty(len(x)), torch.empty_like(x)
    grain = max(1, 20_000 // max(len(y), 1))  # items that are about 50 us of work
    parallel_for(gauss_range, len(x), x.contiguous().numpy(), y.contiguous().numpy(), total.numpy(), slope.numpy(), grain=grain)
    return total, slope


@gauss_sum.register_fake
def _(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[0]), torch.empty_like(x)


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, grad: Tensor, _: Tensor) -> tuple[Tensor, None]:
    return grad[:, None] * ctx.saved_tensors[0], None  # y is data here, not a parameter


gauss_sum.register_autograd(_backward, setup_context=_save)


def main(quick: bool = False) -> None:
    x, y = torch.randn(100 if quick else 2_000, 3), torch.randn(150 if quick else 3_000, 3)
    twin = lambda x, y: (-0.5 * torch.cdist(x.double(), y.double()).square()).exp().sum(1).to(x)
    constant = y.double()
    check_against_reference(lambda x: gauss_sum(x, constant.to(x))[0], lambda x: twin(x, constant.to(x)), [x])
    check_gradients(lambda x: gauss_sum(x, constant)[0], [x[:5]])
    check_operator(gauss_sum, lambda dtype: (x[:5].to(dtype).requires_grad_(), y.to(dtype)))
    print(f"value and gradient agree with the twin and with differences: {float(gauss_sum(x, y)[0].mean()):.3f} on average")


if __name__ == "__main__":
    main()
