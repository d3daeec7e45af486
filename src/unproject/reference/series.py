"""Entire functions of a squared angle, exact with all their derivatives at zero: what exp, log and their Jacobians are made of.

sin(t)/t and its kin are smooth functions of x = t*t, but not as their formulas are written: at t = 0 these divide by zero, and near it
they cancel, in the derivatives more than in the values. Here each function is a Taylor series below a threshold and its closed form
above, and its derivative is again such a function, of the same accuracy, so that autograd never differentiates either formula.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

# Below the threshold the series of so many terms is exact to rounding; above it the closed form loses few digits.
_STUMPFF = {torch.float64: (4.0, 16), torch.float32: (4.0, 10)}
_ARCTAN = {torch.float64: (0.05, 14), torch.float32: (0.1, 9)}


def stumpff(x: Tensor, first: int, count: int) -> tuple[Tensor, ...]:
    """Stumpff functions c_k(x) = sum over n of (-x)^n / (2n + k)!, for k = first, ..., first + count - 1.

    With x = t*t: c_0 = cos(t), c_1 = sin(t)/t, c_2 = (1 - cos(t))/t^2, c_3 = (t - sin(t))/t^3.

    Args:
        x: [...] at least 0.

    Gradient: x, all orders.
    Source: Stumpff 1959; c_k' = (k c_(k+2) - c_(k+1)) / 2 and x c_(k+2) = 1/k! - c_k.
    """
    return _Stumpff.apply(x, first, count).unbind(0)


def arctan_ratio(y: Tensor) -> Tensor:
    """arctan(u)/u as a function of y = u*u, at least 0: an angle from its tangent, smooth at zero.

    Gradient: y, all orders.
    """
    return _ArctanRatio.apply(y, 0)


class _Stumpff(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, first: int, count: int) -> Tensor:
        return _stumpff_values(x, first, first + count - 1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.first, ctx.count = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        return (gradients[0] * _stumpff_slopes(x, ctx.first, ctx.count)).sum(0), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        (x,) = ctx.saved_tensors
        return tangents[0] * _stumpff_slopes(x, ctx.first, ctx.count)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], x: Tensor, first: int, count: int) -> tuple[Tensor, int]:
        return _Stumpff.apply(x.movedim(in_dims[0], 0), first, count), 1


def _stumpff_slopes(x: Tensor, first: int, count: int) -> Tensor:
    values = _Stumpff.apply(x, first + 1, count + 1)
    next_one, next_but_one = values[:-1], values[1:]
    k = torch.arange(first, first + count, dtype=x.dtype, device=x.device).reshape(-1, *[1] * x.dim())
    return 0.5 * (k * next_but_one - next_one)


def _stumpff_values(x: Tensor, first: int, last: int) -> Tensor:
    """c_first ... c_last, stacked [last - first + 1, ...]."""
    work = x if x.dtype in _STUMPFF else x.float()
    threshold, terms = _STUMPFF[work.dtype]
    coefficients = _stumpff_coefficients(last, terms, work.dtype, work.device).reshape(terms, 2, *[1] * x.dim())
    # Small: two series for the last two functions, and downwards from them (x c_(k+2) leaves 1/k! without cancellation).
    bounded = work.clamp(max=threshold)
    pair = coefficients[0] * bounded
    for term in coefficients[1:-1]:
        pair.add_(term).mul_(bounded)
    pair.add_(coefficients[-1])
    small = {last: pair[0], last - 1: pair[1]}
    for k in range(last - 2, first - 1, -1):
        small[k] = 1 / math.factorial(k) - bounded * small[k + 2]
    # Large: from sine and cosine upwards. 1 - cos(t) is written with the half angle.
    bounded = work.clamp(min=threshold)
    angle = bounded.sqrt()
    large = {1: angle.sin() / angle}
    if first == 0:
        large[0] = angle.cos()
    if last >= 2:
        large[2] = 2 * (0.5 * angle).sin().square() / bounded
    for k in range(3, last + 1):
        large[k] = (1 / math.factorial(k - 2) - large[k - 2]) / bounded
    pick = work < threshold
    keys = range(first, last + 1)
    return torch.where(pick, torch.stack([small[k] for k in keys]), torch.stack([large[k] for k in keys])).to(x.dtype)


def _stumpff_coefficients(last: int, terms: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Taylor coefficients of c_last and c_(last - 1), highest power first, [terms, 2]."""
    rows = [[(-1) ** n / math.factorial(2 * n + k) if k >= 0 else 0.0 for k in (last, last - 1)] for n in reversed(range(terms))]
    return torch.tensor(rows, dtype=dtype, device=device)


class _ArctanRatio(torch.autograd.Function):
    @staticmethod
    def forward(y: Tensor, order: int) -> Tensor:
        return _arctan_ratio_values(y, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        y, ctx.order = inputs
        ctx.save_for_backward(y)
        ctx.save_for_forward(y)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return gradients[0] * _ArctanRatio.apply(y, ctx.order + 1), None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        (y,) = ctx.saved_tensors
        return tangents[0] * _ArctanRatio.apply(y, ctx.order + 1)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], y: Tensor, order: int) -> tuple[Tensor, int]:
        return _ArctanRatio.apply(y.movedim(in_dims[0], 0), order), 0


def _arctan_ratio_values(y: Tensor, order: int) -> Tensor:
    """The derivative of that order. Large y: from 2 y T' = 1/(1 + y) - T, differentiated again and again."""
    work = y if y.dtype in _ARCTAN else y.float()
    threshold, terms = _ARCTAN[work.dtype]
    powers = range(order + terms - 1, order - 1, -1)
    coefficients = [(-1) ** m * math.perm(m, order) / (2 * m + 1) for m in powers]
    bounded = work.clamp(max=threshold)
    small = coefficients[0] * bounded
    for coefficient in coefficients[1:-1]:
        small.add_(coefficient).mul_(bounded)
    small.add_(coefficients[-1])
    bounded = work.clamp(min=threshold)
    root = bounded.sqrt()
    large = root.atan() / root
    for n in range(order):
        large = ((-1) ** n * math.factorial(n) / (1 + bounded) ** (n + 1) - (2 * n + 1) * large) / (2 * bounded)
    return torch.where(work < threshold, small, large).to(y.dtype)
