"""The texture's say on a pose: brightness at points of the surface, compared with an earlier image (a keyframe)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops import grey_pyramid as ops
from ..reference import grey_pyramid as reference
from ..struct import TensorStruct
from .view import View

LEVELS = 3
_SLOW = 0.12  # of the view's size: half of the window whose mean brightness does not count
_CELL, _MARGIN = 7, 3  # pixels: one point in each cell, where the texture is strongest; and how far from the outline
_FEWEST = 12
_WEAKEST = 3.0  # grey levels a pixel


@dataclass(frozen=True, kw_only=True)
class Pyramid(TensorStruct):
    """The part of an image that a view covers, at its resolution, half and a quarter of it, without its slow changes of brightness.

    Attributes:
        levels: [3, h, w] each: grey value, and its derivative along x and y, per pixel of that level.
        corner: [2] of the part in the image, pixels.
        scale: pixels of the first level per pixel of the image.
    """

    levels: tuple[Tensor, Tensor, Tensor]
    corner: Tensor
    scale: float


@dataclass(frozen=True, kw_only=True)
class Keyframe(TensorStruct):
    """Points of the surface with their brightness in one image.

    Attributes:
        rows: [N, 3 + LEVELS] points in the object's frame, and grey values in that image's pyramid.
        camera_from_object: [4, 4] pose then.
    """

    rows: Tensor
    camera_from_object: Tensor

    def samples(self, level: int) -> Tensor:
        """[N, 4] points with their grey values at a level."""
        return torch.cat([self.rows[:, :3], self.rows[:, 3 + level : 4 + level]], 1)


def make_pyramid(image: Tensor, view: View, *, paint: Tensor | None = None) -> Pyramid:
    """The pyramid of what a view covers of a uint8 image [H, W, 3]; paint: [h, w] over it, as bright as what it covers; negative: none."""
    run = ops.grey_pyramid if image.device.type == "cpu" else reference.grey_pyramid
    radius = max(2, round(_SLOW * max(view.face.shape)))
    levels = run(image, view.corner, view.scale, view.face, view.corner.new_empty((0, 0)) if paint is None else paint, radius)
    return Pyramid(levels=levels, corner=view.corner, scale=view.scale)


def make_keyframe(pyramid: Pyramid, view: View) -> Keyframe | None:
    """Well-textured points that the view shows, away from its outline; None if there are hardly any."""
    run = ops.texture_points if view.face.device.type == "cpu" else reference.texture_points
    inverse = torch.linalg.inv(view.camera.intrinsics)
    rows, number = run(*pyramid.levels, view.face, view.depth, inverse, view.camera_from_object, _CELL, _MARGIN, _WEAKEST)
    if int(number) < _FEWEST:
        return None
    return Keyframe(rows=rows[: int(number)], camera_from_object=view.camera_from_object)
