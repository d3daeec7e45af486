"""The texture's say on a pose: brightness at points of the surface, compared with an earlier image (a keyframe)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..ops import track_terms as ops
from ..reference import track_terms as reference
from ..struct import TensorStruct
from .track_terms import NormalEquations, unpack
from .view import View

LEVELS = 3
_CELL = 7  # pixels: one point in each, where the texture is strongest
_WEAKEST = 4.0  # grey levels a pixel
_NOISE = 4.0  # grey levels
_PIXELS_ALIKE = 4.0


@dataclass(frozen=True, kw_only=True)
class Pyramid(TensorStruct):
    """The part of an image around the object, at half, quarter ... resolution, without its slow changes of brightness.

    Attributes:
        levels: [3, h, w] each: grey value, and its derivative along x and y, per pixel of that level.
        corner: [2] of the part in the image, pixels.
    """

    levels: tuple[Tensor, ...]
    corner: Tensor


@dataclass(frozen=True, kw_only=True)
class Keyframe(TensorStruct):
    """Points of the surface with their brightness in one image.

    Attributes:
        points: [N, 3] in the object's frame.
        values: [LEVELS, N] grey values in that image's pyramid.
        camera_from_object: [4, 4] pose then.
    """

    points: Tensor
    values: Tensor
    camera_from_object: Tensor


def make_pyramid(image: Tensor, view: View, *, margin: int = 48) -> Pyramid:
    """The pyramid of a uint8 image [H, W, 3] around what the view shows."""
    height, width = view.mask.shape
    low = (view.corner - margin).clamp(min=0).long()
    high = (view.corner + view.corner.new_tensor([width / view.scale, height / view.scale]) + margin).ceil().long()
    part = image[int(low[1]) : int(high[1]), int(low[0]) : int(high[0])].float().mean(-1)[None, None]
    slow = torch.nn.functional.avg_pool2d(part, 4, stride=4, ceil_mode=True, count_include_pad=False)
    slow = torch.nn.functional.avg_pool2d(slow, 9, stride=1, padding=4, count_include_pad=False)
    part = part - torch.nn.functional.interpolate(slow, size=part.shape[-2:], mode="bilinear")
    levels = []
    for level in range(LEVELS):
        if level:
            part = torch.nn.functional.avg_pool2d(part, 2, ceil_mode=True, count_include_pad=False)
        smooth = torch.nn.functional.avg_pool2d(part, 3, stride=1, padding=1, count_include_pad=False)
        padded = torch.nn.functional.pad(smooth, (1, 1, 1, 1), mode="replicate")[0, 0]
        along_x, along_y = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2, (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
        levels.append(torch.stack([smooth[0, 0], along_x, along_y]))
    return Pyramid(levels=tuple(levels), corner=low.to(view.corner))


def painted_pyramid(image: Tensor, view: View, grey: Tensor) -> Pyramid:
    """The pyramid of an image whose object is painted over with grey values [h, w] of the view, as bright as what they replace."""
    height, width = grey.shape
    x0, y0 = view.corner.long().tolist()
    size = (round(height / view.scale), round(width / view.scale))
    whole = torch.nn.functional.interpolate(torch.stack([grey, view.mask.to(grey)])[None], size=size, mode="bilinear")[0]
    top, left, bottom, right = max(0, y0), max(0, x0), min(image.shape[0], y0 + size[0]), min(image.shape[1], x0 + size[1])
    shade, cover = whole[:, top - y0 : bottom - y0, left - x0 : right - x0]
    under = image[top:bottom, left:right].float().mean(-1)
    shown = cover > 0.5
    if bool(shown.any()):
        shade = shade * float(under[shown].mean()) / max(float(shade[shown].mean()), 1.0)
    painted = image.clone()
    painted[top:bottom, left:right] = torch.where(shown, shade, under)[..., None].clamp(0, 255).to(torch.uint8)
    return make_pyramid(painted, view)


def sample_pyramid(pyramid: Pyramid, level: int, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Value and derivatives per pixel of the image [3, N] at pixels [N, 2], and which of them lie inside [N]."""
    part = pyramid.levels[level]
    place = (pixels - pyramid.corner) / 2**level
    size = place.new_tensor([part.shape[2], part.shape[1]])
    inside = ((place >= 0.5) & (place <= size - 0.5)).all(1)
    grid = (2 * place / size - 1)[None, None]
    found = torch.nn.functional.grid_sample(part[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0, :, 0]
    scale = found.new_tensor([1.0, 2.0**-level, 2.0**-level])
    return found * scale[:, None], inside


def make_keyframe(pyramid: Pyramid, view: View) -> Keyframe | None:
    """Well-textured points that the view shows, away from its outline; None if there are hardly any."""
    mask = view.mask.float()[None, None]
    inner = (-torch.nn.functional.max_pool2d(-mask, 7, stride=1, padding=3))[0, 0] > 0
    rows, columns = inner.nonzero().unbind(1)
    if len(rows) == 0:
        return None
    pixels = view.corner + torch.stack([columns + 0.5, rows + 0.5], 1).to(view.depth) / view.scale
    found, inside = sample_pyramid(pyramid, 0, pixels)
    strength = found[1:].norm(dim=0) * inside
    map_ = torch.zeros_like(view.depth)
    map_[rows, columns] = strength
    best, index = torch.nn.functional.max_pool2d(map_[None, None], _CELL, ceil_mode=True, return_indices=True)
    index = index[best > _WEAKEST]
    if len(index) < 12:
        return None
    rows, columns = index // map_.shape[1], index % map_.shape[1]
    center = torch.stack([columns + 0.5, rows + 0.5, torch.ones_like(rows)], 1).to(view.depth)
    placed = (center @ torch.linalg.inv(view.camera.intrinsics).T) * view.depth[rows, columns][:, None]
    pixels = view.corner + center[:, :2] / view.scale
    pose = view.camera_from_object
    values = torch.stack([sample_pyramid(pyramid, level, pixels)[0][0] for level in range(LEVELS)])
    return Keyframe(points=(placed - pose[:3, 3]) @ pose[:3, :3], values=values, camera_from_object=pose)


def texture_term(pyramid: Pyramid, keyframe: Keyframe, camera: Camera, pose: Tensor, center: Tensor, *, level: int) -> NormalEquations:
    """Differences of brightness between an image and the keyframe, with the gain between both estimated and outliers weighed down.

    Its support is the normalized correlation of both, in [-1, 1].
    """
    run = ops.texture_equations if pose.device.type == "cpu" else reference.texture_equations
    image = (pyramid.levels[level], pyramid.corner, 2.0**-level)
    return unpack(run(*image, keyframe.points, keyframe.values[level], camera.intrinsics, pose, center, _NOISE, _PIXELS_ALIKE))
