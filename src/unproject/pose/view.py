"""What a pose says that an image shows: the object rendered into a crop around it, and its contour."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..camera.camera import Camera, crop_camera
from ..geometry.mesh import Mesh
from ..lie.se3 import se3_apply
from ..ops import contour as ops
from ..reference import contour as reference
from ..render.rasterize import Fragments, rasterize
from ..struct import TensorStruct

_MARGIN = 0.12  # of the object's size, around it


@dataclass(frozen=True, kw_only=True)
class View(TensorStruct):
    """The object as a pose shows it.

    Attributes:
        camera: of the crop, in the camera frame (identity pose).
        camera_from_object: [4, 4].
        fragments: what each pixel [h, w] of the crop sees.
        corner: [2] the crop's upper left corner in the image, pixels.
        scale: pixels of the crop per pixel of the image.
    """

    camera: Camera
    camera_from_object: Tensor
    fragments: Fragments
    corner: Tensor
    scale: float

    @property
    def face(self) -> Tensor:
        """[h, w] face at each pixel, -1 for none."""
        return self.fragments.face

    @property
    def depth(self) -> Tensor:
        """[h, w] camera z, 0 for none."""
        return self.fragments.depth

    @property
    def mask(self) -> Tensor:
        """[h, w] where the object is."""
        return self.fragments.mask


@dataclass(frozen=True, kw_only=True)
class Contour(TensorStruct):
    """Points on the outline.

    Attributes:
        rows: [L, 7] point in the object's frame; unit normal, outward in the image; pixels of the image from the outline inward that still
            show the object, and outward that still do not.
    """

    rows: Tensor


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
    x0, y0, x1, y1 = *low.tolist(), *high.tolist()
    margin = _MARGIN * max(x1 - x0, y1 - y0) + 4
    x0, y0 = math.floor(max(x0 - margin, 0)), math.floor(max(y0 - margin, 0))
    x1, y1 = math.ceil(min(x1 + margin, camera.width)), math.ceil(min(y1 + margin, camera.height))
    if x1 - x0 < 4 or y1 - y0 < 4:
        return None
    scale = min(1.0, resolution / max(x1 - x0, y1 - y0))
    width, height = math.ceil((x1 - x0) * scale), math.ceil((y1 - y0) * scale)
    box = (x0, y0, x0 + width / scale, y0 + height / scale)
    here = replace(camera, camera_from_world=torch.eye(4).to(camera.camera_from_world))
    crop = crop_camera(here, box, (height, width))
    with torch.no_grad():
        fragments = rasterize(placed, mesh.faces, crop)
    if not bool(fragments.mask.any()):
        return None
    corner = low.new_tensor([x0, y0])
    return View(camera=crop, camera_from_object=camera_from_object, fragments=fragments, corner=corner, scale=scale)


def contour_of(view: View, *, count: int = 200) -> Contour:
    """At most `count` points of the outline, to a fraction of a pixel; none where the image's border cuts the object off."""
    run = ops.contour if view.face.device.type == "cpu" else reference.contour
    rows, number = run(view.face, view.depth, torch.linalg.inv(view.camera.intrinsics), view.camera_from_object, count)
    rows = rows[: int(number)]
    rows[:, 5:] /= view.scale
    return Contour(rows=rows)


def surface_of(view: View, face_normals: Tensor, *, count: int) -> Tensor:
    """[S, 6] at most `count` points that the view shows, evenly in reading order, and their normals, in the object's frame.

    Args:
        face_normals: [F, 3] in the object's frame.
    """
    pixels = view.mask.flatten().nonzero()[:, 0]
    if len(pixels) > count:
        pixels = pixels[torch.linspace(0, len(pixels) - 1, count).round().long()]
    rows, columns = pixels.div(view.face.shape[1], rounding_mode="floor"), pixels % view.face.shape[1]
    center = torch.stack([columns + 0.5, rows + 0.5, torch.ones_like(rows)], 1).to(view.depth)
    placed = (center @ torch.linalg.inv(view.camera.intrinsics).T) * view.depth[rows, columns][:, None]
    pose = view.camera_from_object
    return torch.cat([(placed - pose[:3, 3]) @ pose[:3, :3], face_normals[view.face[rows, columns]]], 1)
