"""Potentials and fields of softened charges and dipoles at their own places, all pairs in plain torch."""

from __future__ import annotations

from torch import Tensor


def dipole_potential(points: Tensor, moments: Tensor, softening: float) -> Tensor:
    """[N] sum over s of m_s . (p_s - p) / r^3, r^2 with softening^2 added."""
    step, inverse = _pairs(points, softening)
    return (inverse.pow(1.5) * (moments[None] * step).sum(2)).sum(1)


def charge_field(points: Tensor, charges: Tensor, softening: float) -> Tensor:
    """[N, 3] sum over s of c_s (p - p_s) / r^3; charges: [N]."""
    step, inverse = _pairs(points, softening)
    return -((inverse.pow(1.5) * charges[None])[:, :, None] * step).sum(1)


def dipole_field(points: Tensor, moments: Tensor, softening: float) -> Tensor:
    """[N, 3] negative gradient of the dipoles' potential."""
    step, inverse = _pairs(points, softening)
    along = 3 * inverse * (moments[None] * step).sum(2)
    return (inverse.pow(1.5)[:, :, None] * (moments[None] - along[:, :, None] * step)).sum(1)


def _pairs(points: Tensor, softening: float) -> tuple[Tensor, Tensor]:
    step = points[None] - points[:, None]
    return step, 1 / (step.square().sum(2) + softening**2)


__all__ = ["charge_field", "dipole_field", "dipole_potential"]
