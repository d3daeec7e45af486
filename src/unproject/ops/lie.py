"""Exponentials and logarithms of SO(3) and SE(3): first derivatives by kernels, higher ones through the torch twin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..reference import lie as reference
from .dispatch import parallel_for
from .examples import example
from .operator import operator
from .twice import differentiate_twice


@operator("unproject::so3_exp")
def so3_exp(omega: Tensor) -> Tensor:
    """[..., 3] to [..., 3, 3]."""
    from ..kernels.lie import so3_exp_range

    return _run(so3_exp_range, (3,), (3, 3), omega)


@operator("unproject::so3_exp_backward")
def so3_exp_backward(omega: Tensor, gradient: Tensor) -> Tensor:
    from ..kernels.lie import so3_exp_backward_range

    return _run(so3_exp_backward_range, (3,), (3,), omega, gradient)


@operator("unproject::so3_log")
def so3_log(rotation: Tensor) -> Tensor:
    """[..., 3, 3] to [..., 3]."""
    from ..kernels.lie import so3_log_range

    return _run(so3_log_range, (3, 3), (3,), rotation)


@operator("unproject::so3_log_backward")
def so3_log_backward(rotation: Tensor, gradient: Tensor) -> Tensor:
    from ..kernels.lie import so3_log_backward_range

    return _run(so3_log_backward_range, (3, 3), (3, 3), rotation, gradient)


@operator("unproject::se3_exp")
def se3_exp(xi: Tensor) -> Tensor:
    """[..., 6] to [..., 4, 4]."""
    from ..kernels.lie import se3_exp_range

    return _run(se3_exp_range, (6,), (4, 4), xi)


@operator("unproject::se3_exp_backward")
def se3_exp_backward(xi: Tensor, gradient: Tensor) -> Tensor:
    from ..kernels.lie import se3_exp_backward_range

    return _run(se3_exp_backward_range, (6,), (6,), xi, gradient)


@operator("unproject::se3_log")
def se3_log(motion: Tensor) -> Tensor:
    """[..., 4, 4] to [..., 6]."""
    from ..kernels.lie import se3_log_range

    return _run(se3_log_range, (4, 4), (6,), motion)


@operator("unproject::se3_log_backward")
def se3_log_backward(motion: Tensor, gradient: Tensor) -> Tensor:
    from ..kernels.lie import se3_log_backward_range

    return _run(se3_log_backward_range, (4, 4), (4, 4), motion, gradient)


def _run(kernel: Callable[..., Any], item: tuple[int, ...], item_out: tuple[int, ...], *inputs: Tensor) -> Tensor:
    """Run a kernel over the items of the leading dimensions; `item` is the shape of an item of the first input."""
    first = inputs[0]
    batch = first.shape[: first.dim() - len(item)]
    flat = [t.detach().contiguous().reshape(-1, *t.shape[len(batch) :]) for t in inputs]
    result = first.new_empty(flat[0].shape[0], *item_out)
    parallel_for(kernel, result.shape[0], *(t.numpy() for t in flat), result.numpy(), grain=512)
    return result.reshape(*batch, *item_out)


@operator("unproject::stumpff")
def stumpff(x: Tensor, first: int, count: int) -> Tensor:
    """[...] to [count, ...]: c_first, c_(first + 1), ... of reference/series.py."""
    from ..kernels.lie import stumpff_range

    flat = x.detach().contiguous().reshape(-1)
    values = x.new_empty(count, flat.shape[0])
    parallel_for(stumpff_range, flat.shape[0], flat.numpy(), first, values.numpy(), grain=512)
    return values.reshape(count, *x.shape)


def _setup_stumpff(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, ctx.first, ctx.count = inputs
    ctx.save_for_backward(x)


def _stumpff_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    (x,) = ctx.saved_tensors
    values = stumpff(x, ctx.first + 1, ctx.count + 1)
    k = torch.arange(ctx.first, ctx.first + ctx.count, dtype=x.dtype, device=x.device).reshape(-1, *[1] * x.dim())
    return (0.5 * gradient * (k * values[1:] - values[:-1])).sum(0), None, None


stumpff.register_fake(lambda x, first, count: x.new_empty(count, *x.shape))
stumpff.register_autograd(_stumpff_backward, setup_context=_setup_stumpff)


@example(stumpff)
def _(dtype: torch.dtype) -> tuple[Any, ...]:
    return torch.tensor([0.0, 1e-8, 0.5, 9.0], dtype=dtype), 1, 4


def _register(op: Any, backward_op: Any, item: tuple[int, ...], item_out: tuple[int, ...]) -> None:
    twin = getattr(reference, op.name.split("::")[1])
    count = len(item)

    def setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return backward_op(ctx.saved_tensors[0], gradient)

    def second_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        x, cotangent = ctx.saved_tensors
        of_x, of_cotangent = differentiate_twice(twin, [x], [cotangent], [gradient])
        return of_x, of_cotangent

    op.register_fake(lambda x: x.new_empty(*x.shape[: x.dim() - count], *item_out))
    backward_op.register_fake(lambda x, gradient: x.new_empty(x.shape))
    op.register_autograd(backward, setup_context=setup)
    backward_op.register_autograd(second_backward, setup_context=setup)
    example(op)(lambda dtype: (_example(item, dtype),))
    example(backward_op)(lambda dtype: (_example(item, dtype), torch.ones(2, *item_out, dtype=dtype)))


def _example(item: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    if len(item) == 2:
        return torch.eye(item[0], dtype=dtype).repeat(2, 1, 1)
    return torch.linspace(-1, 1, 2 * item[0], dtype=dtype).reshape(2, -1)


_register(so3_exp, so3_exp_backward, (3,), (3, 3))
_register(so3_log, so3_log_backward, (3, 3), (3,))
_register(se3_exp, se3_exp_backward, (6,), (4, 4))
_register(se3_log, se3_log_backward, (4, 4), (6,))
