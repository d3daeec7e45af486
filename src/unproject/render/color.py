"""Colour spaces: sRGB, as images store colours, and linear, in which light adds up."""

from __future__ import annotations

from torch import Tensor


def linear_from_srgb(color: Tensor) -> Tensor:
    """Linear values of sRGB-encoded ones, any shape. Negative values pass straight through the linear part; values above 1 go on.

    Gradient: everywhere, finite.
    Source: IEC 61966-2-1.
    """
    curve = ((color.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4
    return curve.where(color > 0.04045, color / 12.92)


def srgb_from_linear(color: Tensor) -> Tensor:
    """sRGB-encoded values of linear ones; the inverse of `linear_from_srgb`. Gradient: everywhere, at most 12.92."""
    curve = 1.055 * color.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return curve.where(color > 0.0031308, color * 12.92)
