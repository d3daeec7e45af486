"""Points on the outline of what a small image of faces shows, in plain torch. See ops/contour.py."""

from __future__ import annotations

import torch
from torch import Tensor

_REACH, _FAR, _BLUR = 24, 1000.0, 0.634


def contour(face: Tensor, depth: Tensor, inverse: Tensor, pose: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """See ops/contour.py."""
    mask = face >= 0
    rows, columns = _rim(mask).nonzero().unbind(1)
    total = len(rows)
    number = min(total, count)
    result = torch.zeros((count, 7), dtype=torch.float32)
    if number:
        keep = (2 * torch.arange(number) + 1) * total // (2 * number)
        rows, columns = rows[keep], columns[keep]
        normal, away = _edge(mask, rows, columns)
        pixel = torch.stack([columns, rows], 1) + 0.5 + away[:, None] * normal
        ray = torch.cat([pixel, torch.ones_like(pixel[:, :1])], 1) @ inverse.double().T
        points = (ray * depth[rows, columns].double()[:, None] - pose[:3, 3].double()) @ pose[:3, :3].double()
        reach = torch.stack([_free_way(mask, pixel, -normal, True), _free_way(mask, pixel, normal, False)], 1)
        result[:number] = torch.cat([points, normal, reach], 1).float()
    return result, torch.tensor([number])


def _rim(mask: Tensor) -> Tensor:
    """[h, w] pixels of the mask that touch what is not, in four directions; none at the border."""
    rim = torch.zeros_like(mask)
    middle = mask[1:-1, 1:-1]
    rim[1:-1, 1:-1] = middle & ~(mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:])
    return rim


def _edge(mask: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Normals [L, 2] and distances [L] of the outline from pixels' centres."""
    shift = torch.arange(-2, 3)
    y = (rows[:, None, None] + shift[:, None]).clamp(0, mask.shape[0] - 1)
    x = (columns[:, None, None] + shift).clamp(0, mask.shape[1] - 1)
    patch = mask[y, x].double().flatten(1)
    smooth, slope = patch.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16, patch.new_tensor([-1.0, -2.0, 0.0, 2.0, 1.0]) / 8
    windows = torch.stack([smooth[:, None] * slope, slope[:, None] * smooth, smooth[:, None] * smooth]).flatten(1)
    along, cover = (patch @ windows.T).split([2, 1], dim=1)
    return -along / along.norm(dim=1, keepdim=True).clamp(min=1e-6), (_BLUR * cover[:, 0].clamp(0.01, 0.99).logit()).clamp(0, 1)


def _free_way(mask: Tensor, pixel: Tensor, direction: Tensor, expected: bool) -> Tensor:
    """[L]: pixels from each one along a direction that show the object, or that do not."""
    steps = torch.arange(1, _REACH)
    x, y = (pixel[:, None] + (steps + 0.5)[:, None] * direction[:, None]).floor().long().unbind(-1)
    known = (x >= 0) & (x < mask.shape[1]) & (y >= 0) & (y < mask.shape[0])
    shows = mask[y.clamp(0, mask.shape[0] - 1), x.clamp(0, mask.shape[1] - 1)]
    length = 1 + (known & (shows == expected)).int().cumprod(1).sum(1)
    return torch.where(length == _REACH, torch.full_like(length, int(_FAR)), length).double()
