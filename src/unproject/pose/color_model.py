"""Which colours are the object's and which its surroundings': two histograms, and the odds that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..struct import TensorStruct

_BITS = 5  # a channel
_UNSEEN_FOREGROUND, _UNSEEN_BACKGROUND = 0.02, 0.2  # shares of colours that are still to be seen: surroundings hold more surprises
_CERTAINTY = 2.5


@dataclass(frozen=True, kw_only=True)
class ColorModel(TensorStruct):
    """Colour histograms, each with sum 1.

    Attributes:
        foreground, background: [32768] shares of colours with 5 bits a channel.
        odds: [32768] log odds that a pixel of a colour shows the object.
    """

    foreground: Tensor
    background: Tensor
    odds: Tensor


def color_index(image: Tensor) -> Tensor:
    """The histogram bin [...] of each pixel of a uint8 image [..., 3]."""
    r, g, b = (image >> (8 - _BITS)).long().unbind(-1)
    return (((r << _BITS) | g) << _BITS) | b


def learn_colors(model: ColorModel | None, image: Tensor, inside: Tensor, outside: Tensor, *, rate: float = 0.2) -> ColorModel:
    """Take an image into the model.

    Args:
        model: what is known so far, or None.
        image: [H, W, 3] uint8.
        inside, outside: [H, W] bool, pixels that show the object, and its surroundings.
        rate: share of the new histograms; 1 where there is no model.
    """
    bins = color_index(image)
    fore, back = (_histogram(bins[part]) for part in (inside, outside))
    if model is not None:
        fore, back = (old + rate * (new - old) if new.any() else old for old, new in ((model.foreground, fore), (model.background, back)))
    even = 1 / len(fore)
    likely = [(1 - unseen) * known + unseen * even for known, unseen in ((fore, _UNSEEN_FOREGROUND), (back, _UNSEEN_BACKGROUND))]
    odds = (likely[0] / likely[1]).log().clamp(-_CERTAINTY, _CERTAINTY)
    return ColorModel(foreground=fore, background=back, odds=odds)


def _histogram(bins: Tensor) -> Tensor:
    """Smoothed over neighbouring colours, so that noise and a changing light find what was learnt."""
    side = 1 << _BITS
    counts = torch.bincount(bins, minlength=side**3).float().reshape(side, side, side)
    for axis in (0, 1, 2, 0, 1, 2):
        wide = counts.clone()
        wide.narrow(axis, 1, side - 1).add_(counts.narrow(axis, 0, side - 1))
        wide.narrow(axis, 0, side - 1).add_(counts.narrow(axis, 1, side - 1))
        counts = wide
    return counts.flatten() / counts.sum().clamp(min=1e-12)
