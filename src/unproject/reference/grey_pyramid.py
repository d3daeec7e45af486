"""Grey pyramids and textured points, in plain torch. See ops/grey_pyramid.py."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, max_pool2d

_BEHIND = 1e-3


def grey_pyramid(image: Tensor, corner: Tensor, scale: float, face: Tensor, paint: Tensor, radius: int) -> tuple[Tensor, Tensor, Tensor]:
    """See ops/grey_pyramid.py."""
    (left, top), (height, width) = corner.double().tolist(), face.shape
    part = _shares(top, scale, height, image.shape[0]) @ image.double().mean(-1) @ _shares(left, scale, width, image.shape[1]).T
    if paint.numel():
        shown = paint >= 0
        if bool(shown.any()):
            gain = part[shown].sum() / paint.double()[shown].sum().clamp(min=int(shown.sum()))
            part = torch.where(shown, (gain * paint.double()).clamp(max=255), part)
    part = part[None, None]
    cover = torch.where(face >= 0, 1.0, _BEHIND)[None, None].double()
    slow, near = (avg_pool2d(t, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False) for t in (part * cover, cover))
    part = part - slow / near
    levels = []
    for level in range(3):
        if level:
            part = avg_pool2d(part, 2, ceil_mode=True, count_include_pad=False)
        smooth = avg_pool2d(part, 3, stride=1, padding=1, count_include_pad=False)
        padded = torch.nn.functional.pad(smooth, (1, 1, 1, 1), mode="replicate")[0, 0]
        along_x, along_y = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2, (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
        levels.append(torch.stack([smooth[0, 0], along_x, along_y]).float())
    return levels[0], levels[1], levels[2]


def _shares(start: float, scale: float, count: int, size: int) -> Tensor:
    """[count, size]: how much of each pixel of the part lies in each of the image; beyond the border the last one counts."""
    low = start + torch.arange(count, dtype=torch.float64)[:, None] / scale
    edges = torch.arange(size + 1, dtype=torch.float64)
    edges[0], edges[-1] = -torch.inf, torch.inf
    return (torch.minimum(low + 1 / scale, edges[1:]) - torch.maximum(low, edges[:-1])).clamp(min=0) * scale


def texture_points(
    whole: Tensor, half: Tensor, quarter: Tensor, face: Tensor, depth: Tensor, inverse: Tensor, pose: Tensor, cell: int, margin: int,
    weakest: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """See ops/grey_pyramid.py."""
    height, width = face.shape
    away = torch.nn.functional.pad((face < 0).double(), [margin] * 4, value=1.0)
    inner = max_pool2d(away[None], 2 * margin + 1, stride=1)[0] == 0
    strength = torch.where(inner, whole[1:].double().norm(dim=0), torch.zeros_like(whole[0], dtype=torch.float64))
    best, index = max_pool2d(strength[None, None], cell, ceil_mode=True, return_indices=True)
    index = index[best > weakest]
    rows, columns = index // width, index % width
    pixel = torch.stack([columns + 0.5, rows + 0.5, torch.ones_like(rows)], 1).double()
    placed = (pixel @ inverse.double().T) * depth[rows, columns].double()[:, None]
    found = [(placed - pose[:3, 3].double()) @ pose[:3, :3].double()]
    for scale, level in ((1, whole), (2, half), (4, quarter)):
        place = pixel[:, :2] / scale
        grid = 2 * place / place.new_tensor([level.shape[2], level.shape[1]]) - 1
        found.append(grid_sample(level[None, :1].double(), grid[None, None], padding_mode="border", align_corners=False)[0, :, 0].T)
    result = torch.zeros((-(-height // cell) * -(-width // cell), 6), dtype=torch.float32)
    result[: len(rows)] = torch.cat(found, 1).float()
    return result, torch.tensor([len(rows)])
