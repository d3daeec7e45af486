"""Weights of fragments, given as logarithms, as shares of the sum of their pixel's, and the way back."""

from __future__ import annotations

import math

from .jit import kernel


@kernel
def share_range(begin, end, power, pixel, strongest, total, share):
    """Shares [P] of the fragments [begin, end): all fragments of a pixel are in one range.

    Args:
        strongest, total: [rows] work space: -inf and 0 at every pixel.
    """
    for p in range(begin, end):
        strongest[pixel[p]] = max(strongest[pixel[p]], power[p])
    for p in range(begin, end):
        share[p] = math.exp(power[p] - strongest[pixel[p]])
        total[pixel[p]] += share[p]
    for p in range(begin, end):
        share[p] /= total[pixel[p]]


@kernel
def share_gradient(begin, end, pixel, share, of_share, mean, of_power):
    """Gradient [P] of the logarithms. mean: [rows] work space, 0 at every pixel."""
    for p in range(begin, end):
        mean[pixel[p]] += share[p] * of_share[p]
    for p in range(begin, end):
        of_power[p] = share[p] * (of_share[p] - mean[pixel[p]])
