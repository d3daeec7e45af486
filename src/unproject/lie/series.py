"""Stumpff functions by kernel or torch twin, and which of both a tensor gets."""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops import lie as ops
from ..reference import series as reference


def has_kernel(value: Tensor) -> bool:
    """Whether the CPU kernels take a tensor; else the torch twin is called, which also knows torch.func's transforms."""
    transformed = torch._C._are_functorch_transforms_active()  # custom operators with a backward refuse them
    return value.device.type == "cpu" and value.dtype in (torch.float32, torch.float64) and not transformed


def stumpff(x: Tensor, first: int, count: int) -> tuple[Tensor, ...]:
    """Stumpff functions c_k(x) = sum over n of (-x)^n / (2n + k)!, k = first, ..., first + count - 1, of a squared angle x >= 0.

    c_0 = cos(t), c_1 = sin(t)/t, c_2 = (1 - cos(t))/t^2, c_3 = (t - sin(t))/t^3, with x = t*t.

    Gradient: x, all orders, exact at zero.
    """
    if has_kernel(x):
        return ops.stumpff(x, first, count).unbind(0)
    return reference.stumpff(x, first, count)
