"""How a known surface looks in an image: the light on it, its tint, and how far images usually are from what these say."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..struct import TensorStruct
from .color_model import hue_of
from .covered import covered_view
from .light import learn_light, shading
from .paint import Coat, Paint, seen_samples
from .view import View

_NOISE, _LEAST_NOISE, _RATE = 20.0, 4.0, 0.1  # grey levels: at first, at least; how fast it is learnt
_TINT_INERTIA, _STRONGEST = 0.3, 3.0  # weight of what was known, as a share of the pixels; factor of a channel
_TINT_FLOOR = 0.1  # the same as a share of the strongest channel: the blue of something yellow says nothing of the light
_BRIGHTER = 2.0  # how much brighter than expected a surface may be
_ALIKE, _LEAST_ALIKE = 2.5, 12.0  # standard deviations, grey levels: a pixel that is so near looks as it should


@dataclass(frozen=True, kw_only=True)
class Looks(TensorStruct):
    """What is known of how an object looks.

    Attributes:
        light: [9] of the harmonics of light.py, once it is known.
        tint: [3] factors of the channels, 1 on average: cameras and textures see different whites.
        noise: standard deviation of brightness from what paint and light say, grey levels.
        hue_noise: the same of the differences of the channels from brightness.
    """

    light: Tensor | None = None
    tint: Tensor
    noise: float = _NOISE
    hue_noise: float = _NOISE


def unknown_looks() -> Looks:
    """Before anything was seen."""
    return Looks(tint=torch.ones(3))


def expected_color(color: Tensor, normals: Tensor, looks: Looks) -> Tensor:
    """Colours [P, 3] in [0, 255] of a surface with colours [P, 3] without light and normals [P, 3] in the camera frame."""
    tinted = color * looks.tint
    return (tinted if looks.light is None else tinted * shading(normals, looks.light)).clamp(max=255)


def expected_hue(expected: Tensor, seen: Tensor) -> Tensor:
    """Hues of expected colours [..., 3] at the brightness of those seen: hues are as strong as the light."""
    brighter = seen.mean(-1, keepdim=True) / expected.mean(-1, keepdim=True).clamp(min=1)
    return hue_of(expected) * brighter.clamp(max=_BRIGHTER)


def painted_view(coat: Coat, looks: Looks) -> Tensor:
    """Colours [h, w, 3] of a coat; -1 where it is not."""
    image = torch.full((*coat.shown.shape, 3), -1.0)
    image[coat.shown] = expected_color(coat.color, coat.normals, looks)
    return image


def learn_looks(known: Looks, image: Tensor, paint: Paint, view: View, covered: Tensor | None = None) -> tuple[Looks, float]:
    """The looks by which a uint8 image [H, W, 3] shows a paint as a view says; and the share of pixels that look as they then should.

    Args:
        covered: cells of the view where something is in front.
    """
    hidden = None if covered is None else covered_view(covered, view)
    seen, color, normals = seen_samples(image, paint, view, hidden=hidden)
    if len(seen) == 0:
        return known, 0.0
    light = learn_light(known.light, (color * known.tint).mean(1), normals, seen.mean(1))
    fresh = replace(known, light=light)
    fresh = replace(fresh, tint=_tint(fresh, color, normals, seen))
    away, hue_away = _away(seen, expected_color(color, normals, fresh))
    alike = (away < max(_ALIKE * known.noise, _LEAST_ALIKE)) & (hue_away < max(_ALIKE * known.hue_noise, _LEAST_ALIKE))
    if known.light is not None:
        away, hue_away = _away(seen, expected_color(color, normals, known))
        # medians of a normal variable, and of the length of two, over their standard deviation
        noises = (1.5 * float(away.median()), 0.85 * float(hue_away.median()))
        noise, hue_noise = (n + _RATE * (max(m, _LEAST_NOISE) - n) for n, m in zip((known.noise, known.hue_noise), noises))
        fresh = replace(fresh, noise=noise, hue_noise=hue_noise)
    return fresh, float(alike.float().mean())


def _away(seen: Tensor, expected: Tensor) -> tuple[Tensor, Tensor]:
    """[P] how far colours [P, 3] are from others in brightness and in hue."""
    return (seen - expected).mean(1).abs(), (hue_of(seen) - expected_hue(expected, seen)).norm(dim=1)


def _tint(known: Looks, color: Tensor, normals: Tensor, seen: Tensor) -> Tensor:
    """[3] least squares, near what was known; pixels that are far off weigh less."""
    expected = expected_color(color, normals, replace(known, tint=torch.ones(3)))
    _, hue_away = _away(seen, expected_color(color, normals, known))
    weight = 1 / (1 + (hue_away / (2 * hue_away.median().clamp(min=1.0))).square())[:, None]
    energy = expected.square().sum(0)
    prior = _TINT_INERTIA * energy + _TINT_FLOOR * energy.max() + 1.0
    tint = ((weight * expected * seen).sum(0) + prior * known.tint) / ((weight * expected.square()).sum(0) + prior)
    tint = tint.clamp(1 / _STRONGEST, _STRONGEST)
    return tint / tint.mean()
