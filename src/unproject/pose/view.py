"""What a pose says that an image shows: the object rendered into a crop around it, and its contour."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..camera.camera import Camera, crop_camera
from ..camera.transform import screen_to_camera
from ..geometry.mesh import Mesh
from ..lie.se3 import se3_apply
from ..render.rasterize import rasterize
from ..struct import TensorStruct

_MARGIN = 0.12  # of the object's size, around it
_REACH = 24  # pixels of the crop that are looked at across the contour


@dataclass(frozen=True, kw_only=True)
class View(TensorStruct):
    """The object as a pose shows it.

    Attributes:
        camera: of the crop, in the camera frame (identity pose).
        camera_from_object: [4, 4].
        face: [h, w] face at each pixel, -1 for none.
        depth: [h, w] camera z, 0 for none.
        corner: [2] the crop's upper left corner in the image, pixels.
        scale: pixels of the crop per pixel of the image.
    """

    camera: Camera
    camera_from_object: Tensor
    face: Tensor
    depth: Tensor
    corner: Tensor
    scale: float

    @property
    def mask(self) -> Tensor:
        """[h, w] where the object is."""
        return self.face >= 0


@dataclass(frozen=True, kw_only=True)
class Contour(TensorStruct):
    """Points on the outline.

    Attributes:
        points: [L, 3] in the object's frame.
        normals: [L, 2] unit, outward in the image.
        reach: [L, 2] pixels of the image from the outline inward that still show the object, and outward that still do not.
    """

    points: Tensor
    normals: Tensor
    reach: Tensor


def render_view(mesh: Mesh, camera: Camera, camera_from_object: Tensor, *, resolution: int = 200) -> View | None:
    """Render into a crop whose longer side has at most `resolution` pixels; None if nothing of the object is in front and in the image.

    Args:
        camera: without lens distortion; its own pose is not used.
    """
    placed = se3_apply(camera_from_object, mesh.vertices)
    front = placed[placed[:, 2] > camera.near]
    if len(front) == 0 or not bool(torch.isfinite(placed).all()):
        return None
    pixels = (front / front[:, 2:]) @ camera.intrinsics.T
    low, high = pixels[:, :2].amin(0), pixels[:, :2].amax(0)
    margin = _MARGIN * float((high - low).max()) + 4
    size = high.new_tensor([camera.width, camera.height])
    low, high = (low - margin).clamp(min=-margin).floor(), torch.minimum(high + margin, size + margin).ceil()
    extent = high - low
    if bool((extent < 2).any()) or bool((low >= size).any()) or bool((high <= 0).any()):
        return None
    scale = min(1.0, resolution / float(extent.max()))
    width, height = ((extent * scale).ceil().long() + 1).tolist()
    corner = (float(low[0]), float(low[1]))
    box = (*corner, corner[0] + width / scale, corner[1] + height / scale)
    here = replace(camera, camera_from_world=torch.eye(4).to(camera.camera_from_world))
    crop = crop_camera(here, box, (height, width))
    with torch.no_grad():
        fragments = rasterize(placed, mesh.faces, crop)
    if not bool(fragments.mask.any()):
        return None
    return View(camera=crop, camera_from_object=camera_from_object, face=fragments.face, depth=fragments.depth, corner=low, scale=scale)


def contour_of(view: View, *, count: int = 200) -> Contour:
    """At most `count` points, evenly along the outline, each half a pixel outside of the outermost pixel centre that shows the object."""
    mask = view.mask
    rows, columns = _rim(mask).nonzero().unbind(1)
    if len(rows) > count:
        keep = torch.linspace(0, len(rows) - 1, count).round().long()
        rows, columns = rows[keep], columns[keep]
    slope = _slope(mask, rows, columns)
    normal = -slope / slope.norm(dim=1, keepdim=True).clamp(min=1e-6)
    depth = view.depth[rows, columns]
    pixel = torch.stack([columns, rows], 1) + 0.5 + 0.5 * normal
    placed = screen_to_camera(view.camera, torch.cat([pixel, depth[:, None]], 1))
    pose = view.camera_from_object
    points = (placed - pose[:3, 3]) @ pose[:3, :3]
    return Contour(points=points, normals=normal, reach=_reach(view.mask, pixel, normal) / view.scale)


def _rim(mask: Tensor) -> Tensor:
    """[h, w] pixels of the mask that touch what is not, in eight directions; none at the border."""
    inner = mask[:, :-2] & mask[:, 1:-1] & mask[:, 2:]
    inner = inner[:-2] & inner[1:-1] & inner[2:]
    rim = torch.zeros_like(mask)
    rim[1:-1, 1:-1] = mask[1:-1, 1:-1] & ~inner
    return rim


def _slope(mask: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """[L, 2]: derivative of the mask along x and y at pixels, smoothed over five of them."""
    shift = torch.arange(-2, 3)
    y = (rows[:, None, None] + shift[:, None]).clamp(0, mask.shape[0] - 1)
    x = (columns[:, None, None] + shift).clamp(0, mask.shape[1] - 1)
    patch = mask[y, x].float().flatten(1)
    smooth, along = patch.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]), patch.new_tensor([-1.0, -2.0, 0.0, 2.0, 1.0])
    return patch @ torch.stack([smooth[:, None] * along, along[:, None] * smooth]).flatten(1).T


def _reach(mask: Tensor, pixel: Tensor, normal: Tensor) -> Tensor:
    """[L, 2]: pixels of the crop from the outline inward to its other side, and outward to another part of the object."""
    steps = torch.arange(1, _REACH + 1).to(pixel)
    result = []
    for sign, expected in ((-1.0, True), (1.0, False)):
        x, y = (pixel[:, None] + sign * (steps - 0.5)[:, None] * normal[:, None]).floor().long().unbind(-1)
        known = (x >= 0) & (x < mask.shape[1]) & (y >= 0) & (y < mask.shape[0])
        shows = mask[y.clamp(0, mask.shape[0] - 1), x.clamp(0, mask.shape[1] - 1)]
        as_expected = torch.where(known, shows == expected, torch.full_like(shows, not expected))
        as_expected[:, 0] = True  # the outline's own pixel is never sure
        length = as_expected.int().cumprod(1).sum(1)
        result.append(torch.where(length == _REACH, torch.full_like(length, 1000), length))
    return torch.stack(result, 1).to(pixel)
