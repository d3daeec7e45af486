"""Pixels that an outline runs through: how much of each the object covers, from the colours on both sides of it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_REACH = 1.6  # pixels from the outline: what is nearer may be a mixture of both sides
_LEAST_CONTRAST = 0.06  # between both sides (of linear light), below which a mixture tells nothing
_GAMMA = 2.2  # pixels add up light, not its display-encoded values


def matted(color: Tensor, share: Tensor, expected: Tensor) -> Tensor:
    """A foreground [H, W] with pixels at its outline (0.5) covered by as much as their colours [H, W, 3] are a mixture of both sides.

    A mixed pixel looks like neither side. Taken for the background, as it mostly is, it shrinks an object by a quarter of a pixel all
    around.

    Args:
        expected: [H, W, 3] what the object looks like at each pixel, or nearest to it: its colours change towards its outline.
    """
    from scipy.ndimage import distance_transform_edt

    inside = (share > 0.5).numpy()
    if not inside.any() or inside.all():
        return share
    sure_inside, sure_outside = (np.asarray(distance_transform_edt(side)) > _REACH for side in (inside, ~inside))
    if not sure_inside.any() or not sure_outside.any():
        return share
    mixed = ~sure_inside & ~sure_outside
    pixels, lit = color.numpy(), expected.numpy()
    near_inside, near_outside = _nearest(sure_inside, mixed), _nearest(sure_outside, mixed)
    fore = _linear(pixels[near_inside] + lit[mixed] - lit[near_inside])
    back = _linear(pixels[near_outside])
    between = fore - back
    contrast = (between**2).sum(1)
    covered = np.clip(((_linear(pixels[mixed]) - back) * between).sum(1) / np.maximum(contrast, 1e-9), 0, 1)
    result, place = share.clone(), torch.from_numpy(mixed)
    result[place] = torch.where(torch.from_numpy(contrast > _LEAST_CONTRAST**2), torch.from_numpy(covered).to(share), share[place])
    return result


def _nearest(sure: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows [N] and columns [N] of the `sure` pixels next to the N pixels `where`."""
    from scipy.ndimage import distance_transform_edt

    rows, columns = distance_transform_edt(~sure, return_distances=False, return_indices=True)  # pyright: ignore
    return rows[where], columns[where]


def _linear(color: np.ndarray) -> np.ndarray:
    return np.maximum(color, 0) ** _GAMMA
