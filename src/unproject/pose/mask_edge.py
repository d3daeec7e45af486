"""A mask that is too large or too small all around, as segmentations often are: the image's colours change at the object's true outline."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_REACH, _LEAST_PX, _MOST_PX = 0.05, 2, 6  # how far off an outline may be: share of the mask's longer side, pixels; less is as good as exact
_HALF_STEP = 1.5  # pixels to either side of a line, between which colours are compared
_MOST_CONTRAST = 0.2  # a line in the image counts no more than this, however bright
_CLEARLY = 0.12  # by how much colours must change more at another line than at the mask's own outline
_PEAKED, _FLANK = 0.04, 3  # and than on both sides of it, so many pixels away: else it is the object's texture
_ALIKE = 0.05  # of two lines whose contrasts differ by no more, the one nearer to the mask's outline


def settle_outline(mask: Tensor, color: Tensor) -> Tensor:
    """A mask [H, W], shrunk or grown to where the colours [H, W, 3] change most along its whole outline; as it is if that is not clear.

    Too large a mask makes an object too near: by the share of its size, times its distance.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    inside = (mask > 0.5).numpy()
    if not inside.any() or inside.all():
        return mask
    rows, columns = inside.any(1).nonzero()[0], inside.any(0).nonzero()[0]
    side = max(np.ptp(rows), np.ptp(columns)) + 1
    reach = min(_MOST_PX, int(_REACH * side))
    if reach < _LEAST_PX:
        return mask
    margin = reach + _FLANK + 4
    window = tuple(slice(max(0, int(r.min()) - margin), int(r.max()) + margin + 1) for r in (rows, columns))
    within = inside[window]
    distance = np.where(within, 0.5 - np.asarray(distance_transform_edt(within)), np.asarray(distance_transform_edt(~within)) - 0.5)
    smooth = gaussian_filter(color.numpy()[window], (0.7, 0.7, 0.0))
    levels = np.arange(-reach - _FLANK, reach + _FLANK + 1)
    contrast = np.array([_contrast(distance, smooth, level) for level in levels.tolist()])
    offset = _peak(levels, contrast)
    if offset == 0:
        return mask
    result = torch.zeros_like(mask)
    result[window] = torch.from_numpy(distance < offset).to(mask)
    return result


def _peak(levels: np.ndarray, contrast: np.ndarray) -> int:
    """The level at which the contrast has a clear peak, or nearer to 0 (which is in the middle) where it is hardly less; else 0."""
    own = contrast[len(levels) // 2]
    best = _FLANK + int(contrast[_FLANK:-_FLANK].argmax())
    beside = max(contrast[best - _FLANK], contrast[best + _FLANK])
    if contrast[best] < max((1 + _CLEARLY) * own, (1 + _PEAKED) * beside):
        return 0
    alike = levels[contrast >= contrast[best] / (1 + _ALIKE)]
    offset = int(alike[np.abs(alike).argmin()])
    return offset if abs(offset) >= _LEAST_PX else 0


def _contrast(distance: np.ndarray, color: np.ndarray, level: float) -> float:
    """Mean change of colour across the line at a signed distance (px) from the outline."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    smooth = gaussian_filter(distance, 1.0)
    on_line = np.abs(smooth - level) < 0.5
    on_line[:2], on_line[-2:], on_line[:, :2], on_line[:, -2:] = False, False, False, False
    rows, columns = on_line.nonzero()
    if len(rows) < 8:
        return 0.0
    slope = np.stack([np.gradient(smooth, axis=axis)[rows, columns] for axis in (0, 1)])
    normal = slope / np.maximum(np.linalg.norm(slope, axis=0), 1e-6)
    place = np.stack([rows, columns]) - (smooth[rows, columns] - level) * normal
    look = lambda way: np.stack([map_coordinates(color[..., c], place + way * normal, order=1, mode="nearest") for c in range(3)])
    return float(np.minimum(np.linalg.norm(look(_HALF_STEP) - look(-_HALF_STEP), axis=0), _MOST_CONTRAST).mean())
