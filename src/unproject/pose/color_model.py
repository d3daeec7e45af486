"""Which colours are the object's and which its surroundings': two histograms, and the odds that follow from them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..struct import TensorStruct

COLOR_BITS = 5  # a channel
_UNSEEN_FOREGROUND, _UNSEEN_BACKGROUND = 0.05, 0.2  # shares of colours that are still to be seen: surroundings hold more surprises
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


def hue_of(color: Tensor) -> Tensor:
    """How far each channel of colours [..., 3] is from their mean."""
    return color - color.mean(-1, keepdim=True)


def color_index(image: Tensor) -> Tensor:
    """The histogram bin [...] of each pixel of a uint8 image [..., 3]."""
    r, g, b = (image >> (8 - COLOR_BITS)).long().unbind(-1)
    return (((r << COLOR_BITS) | g) << COLOR_BITS) | b


def learn_colors(model: ColorModel | None, counts: Tensor, *, rate: float) -> ColorModel:
    """Take the colours of an image into the model.

    Args:
        model: what is known so far, or None.
        counts: [2, 32768] shares of colours of the object and of its surroundings (ops/color_counts.py); 0 where nothing was seen.
        rate: share of the new histograms; 1 where there is no model.
    """
    fore, back = counts
    if model is not None:
        fore, back = (
            old + rate * (new - old) if bool(new.any()) else old for old, new in ((model.foreground, fore), (model.background, back))
        )
    return ColorModel(foreground=fore, background=back, odds=_odds(fore, back))


def odds_against(model: ColorModel, background: Tensor) -> Tensor:
    """[32768] log odds that a pixel of a colour shows the object rather than something with other shares [32768] of colours."""
    return _odds(model.foreground, background)


def _odds(fore: Tensor, back: Tensor) -> Tensor:
    even = 1 / len(fore)
    likely = [(1 - unseen) * known + unseen * even for known, unseen in ((fore, _UNSEEN_FOREGROUND), (back, _UNSEEN_BACKGROUND))]
    return (likely[0] / likely[1]).log().clamp(-_CERTAINTY, _CERTAINTY)
