"""Which pixels in a box show the object: colours of what surrounds the box against colours inside, and depth where there is any.

Source: the idea of GrabCut (Rother et al. 2004) with histograms and a few mean-field steps in place of graph cuts.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..camera.camera import Camera
from .color_model import color_index
from .planes import rising_odds

_SIDE = 32
EVEN = 1 / _SIDE**3  # probability of a bin if all colours are alike
_ROUNDS, _SMOOTHING_STEPS = 5, 4
_PULL = 2.2  # of like-coloured neighbours
_MOST_ODDS = 3.0
_WELL_MEASURED = 0.5  # share of a box's middle with depth, from which on depth counts fully: of less, most lies at edges
_USUAL_FILL = 0.47  # share of a box that its object fills, if nothing is known
_GAINS = (0.35, 0.5, 0.65, 0.8, 0.95, 1.1)  # of display-encoded colours, from shade to strong light
_EXPECTED = 0.6  # share of the mesh's colours beside those of the picture


def segment_box(
    color: Tensor | None, box: tuple[float, float, float, float], *, depth: Tensor | None = None, prior: Tensor | None = None,
    palette: Tensor | None = None, thinnest: float = 1.0, camera: Camera,
) -> Tensor:  # fmt: skip
    """Probability [H, W] that each pixel shows the object; 0 outside of the box.

    Args:
        color: [H, W, 3] float in [0, 1], or None.
        box: (x0, y0, x1, y1) px.
        depth: [H, W] in diameters of the object, 0 unknown.
        prior: [H, W] probability that is known before (a rendered pose); by default the middle of the box is likelier.
        palette: [N, 3] colours of the object's surface, as its mesh has them, or None.
        thinnest: length of the object along its shortest axis, diameters.
        camera: of the image.
    """
    height, width = camera.image_size
    inside, r = _box_window(box, height, width)
    top, bottom, left, right = r
    window = (slice(top, bottom), slice(left, right))
    in_box = inside[window]
    start = (middle_prior(box, camera.image_size) if prior is None else prior)[window]
    logit = torch.logit(start.clamp(0.05, 0.95))
    if depth is not None:
        likely = start * in_box
        measured = float((likely * (depth[window] > 0)).sum()) / max(float(likely.sum()), 1e-6)
        odds = rising_odds(depth[window], in_box, camera, (top, left), thinnest=thinnest)
        odds = odds + _depth_odds(depth[window], in_box, torch.sigmoid(logit + odds))
        logit = logit + min(1.0, measured / _WELL_MEASURED) * odds
    share = torch.where(in_box, torch.sigmoid(logit), torch.zeros_like(logit))
    if color is not None:
        share = _by_colors(color[window], in_box, logit, share, None if palette is None else _lit_palette(palette))
    result = torch.zeros(height, width)
    result[window] = share
    return result


def _by_colors(color: Tensor, in_box: Tensor, logit: Tensor, share: Tensor, expected: Tensor | None) -> Tensor:
    """Alternate between colour histograms of both sides and the pixels' odds; neighbours of like colour pull each other.

    Args:
        expected: histogram of the object's colours, or None.
    """
    bins = bins_of(color)
    alike = likeness(color)
    for _ in range(_ROUNDS):
        fore, back = histogram(bins, share.flatten()), histogram(bins, 1 - share.flatten())
        fore = fore if expected is None else (1 - _EXPECTED) * fore + _EXPECTED * expected
        odds = ((fore + 2e-5) / (back + 2e-5)).log().clamp(-_MOST_ODDS, _MOST_ODDS)[bins].view_as(share)
        share = agreed(logit + odds, alike, pull=_PULL, within=in_box)
    return share


def agreed(odds: Tensor, alike: list[tuple[tuple[int, int], Tensor]], *, pull: float, within: Tensor | None = None) -> Tensor:
    """Probabilities [h, w] of log odds when neighbours that look alike pull each other (mean field); 0 where not `within`.

    Args:
        alike: of `likeness`.
    """
    settle = lambda value: torch.sigmoid(value) if within is None else torch.sigmoid(value) * within
    share = settle(odds)
    for _ in range(_SMOOTHING_STEPS):
        share = settle(odds + pull * sum(w * (2 * torch.roll(share, shift, (0, 1)) - 1) for shift, w in alike))
    return share


def bins_of(color: Tensor) -> Tensor:
    return color_index((color * 255).round().clamp(0, 255).to(torch.uint8)).flatten()


def _lit_palette(palette: Tensor) -> Tensor:
    """Histogram of the colours that a surface may show, under more or less light."""
    lit = (palette[None] * torch.tensor(_GAINS)[:, None, None]).reshape(-1, 3)
    return histogram(bins_of(lit), torch.ones(len(lit)))


def likeness(color: Tensor) -> list[tuple[tuple[int, int], Tensor]]:
    """For each of the four neighbours, how alike its colour is, 0 to 1."""
    result = []
    scale = 0.0
    gaps = []
    for shift in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        gap = (color - torch.roll(color, shift, (0, 1))).square().sum(-1)
        gaps.append((shift, gap))
        scale += float(gap.mean()) / 4
    for shift, gap in gaps:
        result.append((shift, torch.exp(-gap / max(2 * scale, 1e-6))))
    return result


def histogram(bins: Tensor, weights: Tensor) -> Tensor:
    counts = torch.bincount(bins, weights=weights.double(), minlength=_SIDE**3).float().reshape(1, 1, _SIDE, _SIDE, _SIDE)
    counts = torch.nn.functional.avg_pool3d(counts, 3, stride=1, padding=1)
    return counts.flatten() / counts.sum().clamp(min=1e-9)


def _box_window(box: tuple[float, float, float, float], height: int, width: int) -> tuple[Tensor, tuple[int, int, int, int]]:
    """Pixels inside of the box, and rows and columns of a window that is half again as large."""
    x0, y0, x1, y1 = box
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    inside = ((y > y0) & (y < y1))[:, None] & ((x > x0) & (x < x1))[None]
    pad = 0.3 * max(x1 - x0, y1 - y0) + 2
    top, bottom = max(0, int(y0 - pad)), min(height, int(y1 + pad) + 1)
    left, right = max(0, int(x0 - pad)), min(width, int(x1 + pad) + 1)
    return inside, (top, bottom, left, right)


def middle_prior(box: tuple[float, float, float, float], image_size: tuple[int, int], *, fill: float = _USUAL_FILL) -> Tensor:
    """Probability [H, W] that pixels show the object of a box, higher in its middle than in its corners, and about `fill` on average."""
    x0, y0, x1, y1 = box
    height, width = image_size
    x = (torch.arange(width) + 0.5 - (x0 + x1) / 2) / max((x1 - x0) / 2, 1e-6)
    y = (torch.arange(height) + 0.5 - (y0 + y1) / 2) / max((y1 - y0) / 2, 1e-6)
    radius = (x.square()[None] + y.square()[:, None]).sqrt()
    usual = torch.logit((0.85 - 0.5 * radius).clamp(0.1, 0.8))
    return torch.sigmoid(usual + math.log(fill / (1 - fill)) - math.log(_USUAL_FILL / (1 - _USUAL_FILL)))


def _depth_odds(depth: Tensor, in_box: Tensor, start: Tensor) -> Tensor:
    """What lies much nearer or farther than the middle of the box is not the object."""
    middle = depth[in_box & (depth > 0) & (start > 0.5)]
    if len(middle) < 10:
        return torch.zeros_like(depth)
    reference = float(middle.quantile(0.35))
    off = ((depth - reference).abs() - 0.55).clamp(min=0) / 0.15
    odds = 1.0 - off.clamp(max=4.0)
    return torch.where(depth > 0, odds, torch.zeros_like(odds))
