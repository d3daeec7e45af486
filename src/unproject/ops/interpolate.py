"""Operators: values at the corners of faces, interpolated by barycentric weights, and the two adjoints, which close under each other."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .dispatch import for_each_slice, parallel_for
from .examples import example
from .operator import array_of, operator

_GRAIN = 4096  # pixels worth a thread
_SLOTS = 8  # gradient accumulators


@operator("unproject::interpolate")
def interpolate(values: Tensor, corners: Tensor, face: Tensor, base: Tensor, weights: Tensor) -> Tensor:
    """Interpolate.

    Args:
        values: [R, C].
        corners: int64 [F, 3] rows of `values`.
        face: int64 [P], -1 for none. base: int64 [P] what to add to the rows of each pixel, or [0] for nothing.
        weights: [P, 3].

    Returns:
        [P, C]; 0 where there is no face.
    """
    from ..kernels.interpolate import interpolate_range

    out = values.new_empty((face.shape[0], values.shape[1]))
    inputs = (array_of(values), corners.numpy(), face.numpy(), base.numpy(), array_of(weights))
    parallel_for(interpolate_range, face.shape[0], *inputs, out.numpy(), grain=_GRAIN)
    return out


@operator("unproject::interpolate_values_backward")
def values_backward(rows: int, corners: Tensor, face: Tensor, base: Tensor, weights: Tensor, grad: Tensor) -> Tensor:
    """Gradient [rows, C] of the values."""
    from ..kernels.interpolate import spread_range

    count, size = face.shape[0], max(1, rows * grad.shape[1])
    slots = 1 if count < 2 * _GRAIN else max(1, min(_SLOTS, 30_000_000 // size))
    total = np.zeros((slots, rows, grad.shape[1]))
    inputs = (corners.numpy(), face.numpy(), base.numpy(), array_of(weights), array_of(grad))
    for_each_slice(lambda slot, begin, end: spread_range(begin, end, *inputs, total[slot]), count, slices=slots)
    return torch.from_numpy(total.sum(0) if slots > 1 else total[0]).to(grad.dtype)


@operator("unproject::interpolate_weights_backward")
def weights_backward(values: Tensor, corners: Tensor, face: Tensor, base: Tensor, grad: Tensor) -> Tensor:
    """Gradient [P, 3] of the weights."""
    from ..kernels.interpolate import weigh_range

    out = values.new_empty((face.shape[0], 3))
    inputs = (array_of(values), corners.numpy(), face.numpy(), base.numpy(), array_of(grad))
    parallel_for(weigh_range, face.shape[0], *inputs, out.numpy(), grain=_GRAIN)
    return out


@interpolate.register_fake
def _(values: Tensor, corners: Tensor, face: Tensor, base: Tensor, weights: Tensor) -> Tensor:
    return values.new_empty((face.shape[0], values.shape[1]))


@values_backward.register_fake
def _(rows: int, corners: Tensor, face: Tensor, base: Tensor, weights: Tensor, grad: Tensor) -> Tensor:
    return grad.new_empty((rows, grad.shape[1]))


@weights_backward.register_fake
def _(values: Tensor, corners: Tensor, face: Tensor, base: Tensor, grad: Tensor) -> Tensor:
    return values.new_empty((face.shape[0], 3))


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad: Tensor):
    values, corners, face, base, weights = ctx.saved_tensors
    of_values = values_backward(values.shape[0], corners, face, base, weights, grad) if ctx.needs_input_grad[0] else None
    of_weights = weights_backward(values, corners, face, base, grad) if ctx.needs_input_grad[4] else None
    return of_values, None, None, None, of_weights


def _save_values(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[1:])


def _values_again(ctx, cotangent: Tensor):
    corners, face, base, weights, grad = ctx.saved_tensors
    of_weights = weights_backward(cotangent, corners, face, base, grad) if ctx.needs_input_grad[4] else None
    of_grad = interpolate(cotangent, corners, face, base, weights) if ctx.needs_input_grad[5] else None
    return None, None, None, None, of_weights, of_grad


def _weights_again(ctx, cotangent: Tensor):
    values, corners, face, base, grad = ctx.saved_tensors
    of_values = values_backward(values.shape[0], corners, face, base, cotangent, grad) if ctx.needs_input_grad[0] else None
    of_grad = interpolate(values, corners, face, base, cotangent) if ctx.needs_input_grad[4] else None
    return of_values, None, None, None, of_grad


interpolate.register_autograd(_backward, setup_context=_save)
values_backward.register_autograd(_values_again, setup_context=_save_values)
weights_backward.register_autograd(_weights_again, setup_context=_save)


@example(interpolate)
def _example(dtype: torch.dtype) -> tuple:
    values = torch.linspace(-1, 1, 8, dtype=dtype).reshape(4, 2).requires_grad_()
    weights = torch.tensor([[0.2, 0.3, 0.5], [1, 0, 0], [0, 0.5, 0.5]], dtype=dtype, requires_grad=True)
    return values, torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.tensor([0, -1, 1]), torch.zeros(0, dtype=torch.int64), weights


@example(values_backward)
def _example_values(dtype: torch.dtype) -> tuple:
    values, corners, face, base, weights = _example(dtype)
    return values.shape[0], corners, face, base, weights, torch.ones(3, 2, dtype=dtype, requires_grad=True)


@example(weights_backward)
def _example_weights(dtype: torch.dtype) -> tuple:
    values, corners, face, base, _ = _example(dtype)
    return values, corners, face, base, torch.ones(3, 2, dtype=dtype, requires_grad=True)
