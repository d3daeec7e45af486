"""Operators: a part of an image in grey, without its slow changes, at three resolutions; and an object's points with texture there."""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .operator import operator


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Of the whole, the half and the quarter."""
    sizes = [(height, width)]
    for _ in range(2):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


@operator("unproject::grey_pyramid")
def grey_pyramid(image: Tensor, corner: Tensor, scale: float, face: Tensor, paint: Tensor, radius: int) -> tuple[Tensor, Tensor, Tensor]:
    """Grey value and its derivatives along x and y, per pixel of that level: float32 [3, h_l, w_l] each.

    image: uint8 [H, W, 3]; corner: [2] (x, y) of the part, whose [h, w] pixels are 1 / scale >= 1 wide; face: int64 [h, w], -1 for none;
    paint: [h, w] to be seen instead, made as bright as what it covers, negative for nothing, or empty; radius: of the window whose mean
    over what shows the object is taken off.
    """
    from ..kernels.grey_pyramid import grey_pyramid_once

    levels = tuple(torch.empty((3, *size), dtype=torch.float32) for size in level_sizes(*face.shape))
    arrays = image.contiguous().numpy(), corner.contiguous().double().numpy(), scale, face.contiguous().numpy()
    parallel_for(grey_pyramid_once, 1, *arrays, paint.contiguous().float().numpy(), radius, *(t.numpy() for t in levels))
    return levels[0], levels[1], levels[2]


@operator("unproject::texture_points")
def texture_points(
    whole: Tensor, half: Tensor, quarter: Tensor, face: Tensor, depth: Tensor, inverse: Tensor, pose: Tensor, cell: int, margin: int,
    weakest: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The point of the object in each cell of `cell` pixels at which the image changes most, with its values at the three resolutions.

    face, depth, inverse, pose: as in `contour`. margin: pixels from what is not the object. weakest: change a pixel that counts.

    Returns:
        Rows float32 [C, 6] for all cells, 0 where there are not so many; and how many there are, int64 [1].
    """
    from ..kernels.grey_pyramid import texture_points_once

    rows = torch.zeros((cell_count(face.shape[0], face.shape[1], cell), 6), dtype=torch.float32)
    number = torch.zeros(1, dtype=torch.int64)
    singles = [t.contiguous().float().numpy() for t in (whole, half, quarter, depth)]
    doubles = [t.contiguous().double().numpy() for t in (inverse, pose)]
    arrays = (*singles[:3], face.contiguous().numpy(), singles[3], *doubles)
    parallel_for(texture_points_once, 1, *arrays, cell, margin, weakest, rows.numpy(), number.numpy())
    return rows, number


def cell_count(height: int, width: int, cell: int) -> int:
    """Cells that cover an image."""
    return -(-height // cell) * -(-width // cell)


@grey_pyramid.register_fake
def _(image: Tensor, corner: Tensor, scale: float, face: Tensor, paint: Tensor, radius: int) -> tuple[Tensor, Tensor, Tensor]:
    a, b, c = (corner.new_empty((3, *size), dtype=torch.float32) for size in level_sizes(*face.shape))
    return a, b, c


@texture_points.register_fake
def _(
    whole: Tensor, half: Tensor, quarter: Tensor, face: Tensor, depth: Tensor, inverse: Tensor, pose: Tensor, cell: int, margin: int,
    weakest: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return whole.new_empty((cell_count(face.shape[0], face.shape[1], cell), 6), dtype=torch.float32), face.new_empty(1)


@example(grey_pyramid)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    image = (torch.arange(24 * 32 * 3).reshape(24, 32, 3) * 5 % 256).to(torch.uint8)
    face = torch.full((9, 12), -1).tril(3)
    return image, torch.tensor([3.0, 2.0], dtype=dtype), 0.6, face, torch.full((9, 12), 30.0, dtype=dtype).tril(2) - 1, 3


@example(texture_points)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    levels = [torch.sin(torch.arange(3 * h * w, dtype=dtype)).reshape(3, h, w) * 20 for h, w in level_sizes(12, 16)]
    face = torch.zeros((12, 16), dtype=torch.int64)
    face[:, :3] = -1
    inverse = torch.diag(torch.tensor([0.1, 0.1, 1.0], dtype=dtype))
    return *levels, face, torch.ones(12, 16, dtype=dtype), inverse, torch.eye(4, dtype=dtype), 4, 1, 5.0
