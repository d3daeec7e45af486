"""What of an image matters to an object's pose: its box and its surroundings, with no more pixels than poses need."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..camera.camera import crop_camera
from .observation import PoseImage, resample

_AROUND = 1.0  # of the box's longer side: surroundings, where hidden parts may lie and colours tell the object from what is not
_ENOUGH = 300.0  # pixels of the box's longer side that are always kept; poses are refined at no more


def windowed(image: PoseImage) -> PoseImage:
    """The image cut down to its box and what surrounds it, whole pixels averaged where the object has many more than are looked at.

    Without this, all steps go over all pixels: a photograph of 12 million takes ten times as long, for the same pose.
    """
    x0, y0, x1, y1 = image.box
    side = max(x1 - x0, y1 - y0, 1.0)
    pad = _AROUND * side
    left, top = max(0, int(x0 - pad)), max(0, int(y0 - pad))
    right, bottom = min(image.camera.width, int(x1 + pad) + 1), min(image.camera.height, int(y1 + pad) + 1)
    shrink = max(1, int(side / _ENOUGH))
    size = (max(1, (bottom - top) // shrink), max(1, (right - left) // shrink))
    across, down = size[1] / (right - left), size[0] / (bottom - top)
    mean = lambda values: averaged(values[top:bottom, left:right], size)
    nearest = lambda values: resample(values, [left, top], [right - left, bottom - top], size, False)  # means of depth lie on no surface
    return replace(
        image,
        camera=crop_camera(image.camera, (left, top, right, bottom), size),
        color=None if image.color is None else mean(image.color),
        foreground=None if image.foreground is None else mean(image.foreground[..., None])[..., 0],
        known=mean(image.known[..., None].float())[..., 0] > 0.999,
        depth=None if image.depth is None else nearest(image.depth[..., None])[..., 0],
        box=((x0 - left) * across, (y0 - top) * down, (x1 - left) * across, (y1 - top) * down),
    )


def averaged(values: Tensor, size: tuple[int, int]) -> Tensor:
    """An image [H, W, C] as means over areas, [h, w, C]."""
    return torch.nn.functional.adaptive_avg_pool2d(values.permute(2, 0, 1)[None], size)[0].permute(1, 2, 0).contiguous()
