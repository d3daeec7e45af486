"""The mean of group elements: what so3_mean, se3_mean and sim3_mean share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape

_ITERATIONS = 100


@dataclass(frozen=True)
class Group:
    """A matrix Lie group by its functions."""

    exp: Callable[[Tensor], Tensor]
    log: Callable[[Tensor], Tensor]
    inverse: Callable[[Tensor], Tensor]
    left_jacobian_inverse: Callable[[Tensor], Tensor]


def group_mean(elements: Tensor, weights: Tensor | None, group: Group, *, where: str) -> Tensor:
    """The element m [..., n, n] with sum of w_i log(m^-1 x_i) = 0, for elements [..., N, n, n].

    Source: Karcher 1977; Pennec and Arsigny 2013, "Exponential barycenters" (for groups without an invariant metric).
    """
    count = elements.shape[-3]
    if count == 0:
        raise ArgumentError(f"{where}: there must be at least one element, got {list(elements.shape)}")
    weights = _normalized(weights, elements, where)[..., None]
    residual = lambda mean: group.log(group.inverse(mean)[..., None, :, :] @ elements)
    with torch.no_grad():
        heaviest = weights.argmax(-2)[..., None, None].expand(*elements.shape[:-3], 1, *elements.shape[-2:])
        mean = group.exp(group.log(torch.take_along_dim(elements, heaviest, -3)[..., 0, :, :]))
        for _ in range(_ITERATIONS):
            step = (weights * residual(mean)).sum(-2)
            mean = mean @ group.exp(step)
            if bool((step.abs() <= 1e-3 * (1 + mean.abs().amax((-2, -1)))[..., None]).all()):
                break
        for _ in range(2):
            mean = mean @ group.exp(_newton_step(residual(mean), weights, group))
    if torch.is_grad_enabled() and (elements.requires_grad or weights.requires_grad):
        # From the solution, each Newton step gets twice as many derivatives right: 1 after the first, 3 after the second.
        for _ in range(2):
            mean = mean @ group.exp(_newton_step(residual(mean), weights, group))
    return mean


def _newton_step(logs: Tensor, weights: Tensor, group: Group) -> Tensor:
    """The d [..., k] that solves sum of w_i log(exp(-d) exp(l_i)) = 0 to first order."""
    matrix = (weights[..., None] * group.left_jacobian_inverse(logs)).sum(-3)
    return torch.linalg.solve(matrix, (weights * logs).sum(-2))


def _normalized(weights: Tensor | None, elements: Tensor, where: str) -> Tensor:
    """Weights [..., N] that add up to one."""
    shape = elements.shape[:-2]
    if weights is None:
        return elements.new_full(shape, 1 / shape[-1])
    check_shape(weights, [..., shape[-1]], name="weights", where=where)
    total = weights.sum(-1, keepdim=True)
    if bool((weights < 0).any()) or not bool((total > 0).all()):
        raise ArgumentError(f"{where}: `weights` must not be negative nor add up to zero")
    return (weights / total).expand(shape)
