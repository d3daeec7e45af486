"""Operator: the fragments of a softly blended image, pairs of pixel and face."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .bands import far_nearness, plan_bands
from .examples import example
from .operator import operator
from .soft import LANES
from .soft_blend import soft_blend

_BEYOND = 1e30
_ROOM = 4  # fragments a pixel for which there is room at first; where a band has more, all are listed once more


@operator("unproject::soft_fragments")
def soft_fragments(
    points: Tensor, faces: Tensor, images: Tensor, exponents: Tensor, weight: Tensor, near: float, far: float, orthographic: bool,
    cull: bool, sigma: float, radius: float, least: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Which faces have at least the share `least` of which pixels' weights. No gradient.

    Args:
        points, faces, images, exponents, sigma, radius: as ops.soft_blend.soft_blend, whose result is weight [B, H, W].

    Returns:
        Pixel int64 [P], ascending only in blocks of rows (a row of [B * H * W]), and face int64 [P] (a row of `faces`).
    """
    from ..kernels.soft_fragments import list_fragments

    count, height, width = weight.shape
    pitch = -(-width // LANES) * LANES
    padded = weight.new_full((count, height, pitch), _BEYOND)
    padded[..., :width] = weight
    view = {"size": (height, width), "planes": (near, far), "orthographic": orthographic, "cull": cull, "radius": radius}
    bands = plan_bands(points, faces, images, **view)
    look = (far_nearness(far, orthographic), cull, float(radius), 1.0 / sigma)
    rest = (look, exponents.numpy(), least, padded.view(-1).numpy(), (height, width, pitch))
    counts = np.zeros(bands.count, np.int64)

    def fill(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pixels, found = np.empty(starts[-1], np.int64), np.empty(starts[-1], np.int64)
        bands.draw(list_fragments, *bands.lists, bands.scene[0], orthographic, *rest, starts, counts, pixels, found)
        return pixels, found

    room = _ROOM * width * bands.band
    starts = np.arange(bands.count + 1) * room
    lists = fill(starts)
    if counts.max(initial=0) > room:
        lists = fill(np.concatenate([[0], np.cumsum(counts)]))
    else:
        filled = [slice(start, start + n) for start, n in zip(starts.tolist(), counts.tolist())]
        lists = [np.concatenate([each[part] for part in filled]) if filled else each for each in lists]
    pixels, found = (torch.from_numpy(each) for each in lists)
    return pixels, found


@soft_fragments.register_fake
def _(points: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    count = torch.library.get_ctx().new_dynamic_size()
    return points.new_empty(count, dtype=torch.int64), points.new_empty(count, dtype=torch.int64)


@example(soft_fragments)
def _example(dtype: torch.dtype) -> tuple:
    points = torch.tensor([[2.0, 3, 1], [30, 4, 1.5], [8, 28, 2], [1, 1, 1.2]], dtype=dtype)
    faces, images = torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.tensor([[0, 2, 0]])
    exponents, view = torch.tensor([[20.0, 10.0]], dtype=torch.float64), (0.1, 100.0, False, False, 1.5, 4.0)
    weight = soft_blend(points, faces, images, points[:, :0], torch.tensor([0]), exponents, 24, 20, *view)[3]
    return points, faces, images, exponents, weight, *view, 1e-5
