"""Operator: points on the outline of what a small image of faces shows."""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .operator import operator


@operator("unproject::contour")
def contour(face: Tensor, depth: Tensor, inverse: Tensor, pose: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """At most `count` points, evenly in reading order.

    face: int64 [h, w], -1 for none; depth: [h, w]; inverse: [3, 3] of the intrinsics; pose: [4, 4] camera_from_object.

    Returns:
        Rows float32 [count, 7]: point in the object's frame, outward normal in the image, pixels inward and outward that show what is
        expected; 0 where there are not so many. And how many there are, int64 [1].
    """
    from ..kernels.contour import contour_once

    rows, number = torch.zeros((count, 7), dtype=torch.float32), torch.zeros(1, dtype=torch.int64)
    doubles = [t.contiguous().double().numpy() for t in (inverse, pose)]
    parallel_for(contour_once, 1, face.contiguous().numpy(), depth.contiguous().float().numpy(), *doubles, rows.numpy(), number.numpy())
    return rows, number


@contour.register_fake
def _(face: Tensor, depth: Tensor, inverse: Tensor, pose: Tensor, count: int) -> tuple[Tensor, Tensor]:
    return face.new_empty((count, 7), dtype=torch.float32), face.new_empty(1)


@example(contour)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    face = torch.full((12, 16), -1)
    face[3:9, 4:12] = 0
    face[3:6, 4:6] = -1
    return face, 2 + 0.1 * (face + 1).to(dtype), torch.diag(torch.tensor([0.1, 0.1, 1.0], dtype=dtype)), torch.eye(4, dtype=dtype), 10
