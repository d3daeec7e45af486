"""Robust penalties: how much a squared residual costs. Each is a function of the squared residual, smooth where the residual is zero."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import ArgumentError

Penalty = Callable[[Tensor], Tensor]


def squared(squared_residual: Tensor) -> Tensor:
    """Least squares: the squared residual as it is."""
    return squared_residual


def unsquared(squared_residual: Tensor) -> Tensor:
    """The residual itself, a distance. Gradient: 0, not NaN, at residual zero."""
    positive = squared_residual > 0
    return torch.where(positive, torch.where(positive, squared_residual, 1).sqrt(), 0)


def huber(threshold: float) -> Penalty:
    """Squared up to a threshold, beyond it linear: 2 threshold |r| - threshold^2. Source: Huber 1964, twice his rho.

    Args:
        threshold: in the unit of the residual, above 0.
    """
    limit = _positive(threshold, "threshold", "huber") ** 2

    def penalty(squared_residual: Tensor) -> Tensor:
        linear = 2 * threshold * squared_residual.clamp(min=limit).sqrt() - limit
        return torch.where(squared_residual <= limit, squared_residual, linear)

    return penalty


def cauchy(scale: float) -> Penalty:
    """scale^2 log(1 + r^2 / scale^2): outliers count, but ever less. Source: Black and Rangarajan 1996 (Lorentzian).

    Args:
        scale: residual at which an observation's weight is halved, above 0.
    """
    square = _positive(scale, "scale", "cauchy") ** 2
    return lambda squared_residual: square * torch.log1p(squared_residual / square)


def geman_mcclure(scale: float) -> Penalty:
    """scale^2 r^2 / (scale^2 + r^2): far outliers cost a constant. Source: Geman and McClure 1987.

    Args:
        scale: residual at which half of the greatest cost is reached, above 0.
    """
    square = _positive(scale, "scale", "geman_mcclure") ** 2
    return lambda squared_residual: squared_residual / (1 + squared_residual / square)


def _positive(value: float, name: str, where: str) -> float:
    if not 0 < value < float("inf"):
        raise ArgumentError(f"{where}: `{name}` must be above 0, got {value}")
    return value
