"""What hides an object in an image: patches inside of its silhouette that show colours of the surroundings, or not what they should."""

from __future__ import annotations

import torch
from torch import Tensor

from .color_model import ColorModel, color_index, hue_of
from .view import View

_STEP = 2  # pixels of a view: how finely patches are looked at
_PATCH = 0.06  # of the view's size: half of the narrowest that counts; less is how far a pose may be off
_MOSTLY = 0.8  # of a patch
_SURELY, _PERHAPS = -1.6, 0.0  # log odds below which a pixel does not show the object; the second one where its brightness is wrong too
_WRONG = 25.0  # grey levels
_WRONG_HUE, _HUE_NOISES = 25.0, 3.0  # grey levels, standard deviations: a hue that far off is not the object's there or near there
_DIMMER = 2.0  # how much the light may have changed
_NEAR = 0.08  # of the view's size: how far off a pose may be
_AROUND = 0.03  # of the view's size: blurred edges of what is in front


def covered_pixels(image: Tensor, view: View, colors: ColorModel, expected: Tensor | None, *, hue_noise: float = 20.0) -> Tensor:
    """Which cells [h', w'] of 2 x 2 pixels of a view show, in a uint8 image [H, W, 3], something in front of the object.

    Args:
        expected: colours [h, w, 3] where the view shows the object, or None if they are not known.
        hue_noise: standard deviation of the differences of their channels from brightness.
    """
    shown = view.mask[1::_STEP, 1::_STEP]
    height, width = shown.shape
    rows = ((torch.arange(height) * _STEP + 1.5) / view.scale + view.corner[1]).long().clamp(max=image.shape[0] - 1)
    columns = ((torch.arange(width) * _STEP + 1.5) / view.scale + view.corner[0]).long().clamp(max=image.shape[1] - 1)
    size = max(height, width)
    seen = image[rows][:, columns]
    odds = colors.odds[color_index(seen)]
    strange = odds < _SURELY
    if expected is not None:
        known = expected[1::_STEP, 1::_STEP]
        brightness, usual = seen.float().mean(-1, keepdim=True), known.mean(-1, keepdim=True)
        strange |= ((brightness - usual)[..., 0].abs() > _WRONG) & (odds < _PERHAPS)
        scale = (usual / brightness.clamp(min=1)).clamp(1 / _DIMMER, _DIMMER)  # hues are as strong as the light, if it is known
        hue = hue_of(seen.float())
        away = _outside(torch.stack([hue, scale * hue]), hue_of(known), shown, round(_NEAR * size)).amin(0)
        strange |= away > max(_WRONG_HUE, _HUE_NOISES * hue_noise)
    radius, margin = max(1, round(_PATCH * size)), max(1, round(_AROUND * size))
    share = _mean(torch.where(shown, strange, torch.zeros_like(strange)), radius) / _mean(shown, radius).clamp(min=1e-6)
    cores = (share > _MOSTLY) & shown
    reach = radius + margin
    rows = torch.nn.functional.max_pool2d(cores[None, None].float(), (2 * reach + 1, 1), stride=1, padding=(reach, 0))
    return torch.nn.functional.max_pool2d(rows, (1, 2 * reach + 1), stride=1, padding=(0, reach))[0, 0] > 0


def _outside(seen: Tensor, expected: Tensor, shown: Tensor, radius: int) -> Tensor:
    """[..., h, w] how far values [..., h, w, C] are from the range of those expected at the cells `shown` within about a radius."""
    both = torch.stack([expected, -expected]).masked_fill(~shown[..., None], -torch.inf).permute(0, 3, 1, 2).contiguous()
    both = torch.nn.functional.max_pool2d(both, 2, ceil_mode=True)  # the range need not be exact
    window = 2 * max(1, round(radius / 2)) + 1
    for size in ((window, 1), (1, window)):
        both = torch.nn.functional.max_pool2d(both, size, stride=1, padding=(size[0] // 2, size[1] // 2))
    both = both.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., : shown.shape[0], : shown.shape[1]].permute(0, 2, 3, 1)
    return torch.maximum(seen - both[0], -both[1] - seen).clamp(min=0).nan_to_num().norm(dim=-1)


def covered_view(covered: Tensor, view: View) -> Tensor:
    """[h, w] the pixels of a view that lie in covered cells."""
    whole = covered.repeat_interleave(_STEP, 0).repeat_interleave(_STEP, 1)
    height, width = view.face.shape
    return torch.nn.functional.pad(whole, (0, width - whole.shape[1], 0, height - whole.shape[0]))


def is_covered(points: Tensor, covered: Tensor, view: View) -> Tensor:
    """[N] which points [N, 3] of the object lie in covered cells of the view."""
    pose = view.camera_from_object
    pixels = (points @ pose[:3, :3].T + pose[:3, 3]) @ view.camera.intrinsics.T
    places = (pixels[:, :2] / (_STEP * pixels[:, 2:])).long()
    column, row = places[:, 0].clamp(0, covered.shape[1] - 1), places[:, 1].clamp(0, covered.shape[0] - 1)
    return covered[row, column]


def at_pixels(covered: Tensor, view: View, rows: Tensor, columns: Tensor) -> Tensor:
    """[h, w] which pixels of the image at rows [h] and columns [w] lie in covered cells of the view."""
    row, column = (((p + 0.5 - c) * view.scale / _STEP).floor().long() for p, c in ((rows, view.corner[1]), (columns, view.corner[0])))
    within = ((row >= 0) & (row < covered.shape[0]))[:, None] & (column >= 0) & (column < covered.shape[1])
    return within & covered[row.clamp(0, covered.shape[0] - 1)][:, column.clamp(0, covered.shape[1] - 1)]


def _mean(cells: Tensor, radius: int) -> Tensor:
    rows = torch.nn.functional.avg_pool2d(cells[None, None].float(), (2 * radius + 1, 1), stride=1, padding=(radius, 0))
    return torch.nn.functional.avg_pool2d(rows, (1, 2 * radius + 1), stride=1, padding=(0, radius))[0, 0]
