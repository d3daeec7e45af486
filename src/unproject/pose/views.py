"""Views of an object: what is seen from a direction, as a few hundred points of its surface and of its outline; kept on disk a mesh."""

from __future__ import annotations

import io
import math
import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..camera.viewpoints import fibonacci_viewpoints
from ..io.atomic import atomic_write
from ..render.rasterize import rasterize
from ..struct import TensorStruct
from .object_model import ObjectModel, colors_at

VERSION = 4
_CHUNK = 32
_TURNS, _ASPECT_SPREAD = 24, 0.25  # turns by up to half a circle; how far the logarithm of a box's aspect may be off


@dataclass(frozen=True, kw_only=True)
class Views(TensorStruct):
    """Sparse views [V] of an object in its working frame.

    Attributes:
        poses: [V, 4, 4] float64 the views were rendered at.
        points: [V, P, 9] xyz, unit normal towards the camera, colour.
        rim: [V, C, 3] points on the outline.
        areas: [V] area of the silhouette where it is as far away as the object's middle, diameters squared.
        centroids: [V, 2] of the silhouette from the middle's projection, at that distance.
        nearer: [V] how far the seen surface (its median) lies in front of the middle.
    """

    poses: Tensor
    points: Tensor
    rim: Tensor
    areas: Tensor
    centroids: Tensor
    nearer: Tensor

    @property
    def directions(self) -> Tensor:
        """[V, 3] from the object's middle to the camera, object frame."""
        return toward_camera(self.poses)


def toward_camera(poses: Tensor) -> Tensor:
    """[B, 3] unit directions in which the camera lies, seen from the object, in its frame."""
    direction = -(poses[:, :3, :3].transpose(1, 2) @ poses[:, :3, 3:])[..., 0]
    return torch.nn.functional.normalize(direction, dim=1)


def nearest_view(views: Views, poses: Tensor) -> Tensor:
    """[B] the view that looks at the object most like each pose."""
    return (toward_camera(poses) @ views.directions.T).argmax(1)


def render_views(
    model: ObjectModel, poses: Tensor, *, size: int = 96, point_count: int = 192, rim_count: int = 96, blurred: bool = False
) -> Views:
    """Render the object at poses [B, 4, 4] of the working frame, each into a square of `size` pixels around it."""
    parts = [_render(model, chunk, size, point_count, rim_count, blurred) for chunk in poses.double().split(_CHUNK)]
    return Views(**{name: torch.cat([getattr(p, name) for p in parts]) for name in parts[0].__dataclass_fields__})


def template_views(model: ObjectModel, *, count: int, distance: float, folder: Path | None, blurred: bool = True) -> Views:
    """Views from all sides, rendered once a mesh.

    Args:
        count: directions, evenly over the sphere.
        distance: of the camera, diameters.
        folder: where they are kept from one run to the next, or None.
    """
    file = None if folder is None else folder / f"{model.key}-{count}-{distance:.2f}-v{VERSION}.pt"
    if file is not None and file.is_file():
        try:
            return Views(**torch.load(io.BytesIO(file.read_bytes()), weights_only=True))
        except (OSError, RuntimeError, TypeError, ValueError, EOFError, pickle.UnpicklingError):
            pass  # damaged or of another version: rendered anew below
    views = render_views(model, fibonacci_viewpoints(count, distance, dtype=torch.float64), blurred=blurred)
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(file) as stream:
                torch.save({name: getattr(views, name) for name in views.__dataclass_fields__}, stream)
        except OSError:
            pass  # a cache that cannot be written costs time only
    return views


def box_fill(views: Views, aspect: float) -> float:
    """Share of the box around the object that its silhouette fills, on average over the turns whose box has about such an aspect.

    Args:
        aspect: width over height of the box.
    """
    angle = torch.arange(_TURNS) * (torch.pi / _TURNS)
    axes = torch.stack([torch.stack([angle.cos(), angle.sin()], 1), torch.stack([-angle.sin(), angle.cos()], 1)], 1)
    flat = views.rim @ views.poses[:, :2, :3].float().transpose(1, 2)
    turned = torch.einsum("tij,vcj->vtci", axes, flat)
    width, height = (turned.amax(2) - turned.amin(2)).clamp(min=1e-6).unbind(-1)
    fill = (views.areas.float()[:, None] / (width * height)).clamp(max=1.0)
    likely = torch.exp(-((width / height).log() - math.log(aspect)).square() / (2 * _ASPECT_SPREAD**2)) + 1e-6
    return float((likely * fill).sum() / likely.sum())


def _render(model: ObjectModel, poses: Tensor, size: int, point_count: int, rim_count: int, blurred: bool) -> Views:
    depth = poses[:, 2, 3]
    focal = 0.43 * size * (depth.square() - 0.25).clamp(min=0.05 * depth.square()).sqrt() / 0.5
    intrinsics = torch.zeros(len(poses), 3, 3, dtype=torch.float64)
    intrinsics[:, 0, 0], intrinsics[:, 1, 1], intrinsics[:, 2, 2] = focal, focal, 1
    intrinsics[:, :2, 2] = size / 2 - focal[:, None] * poses[:, :2, 3] / depth[:, None]
    camera = Camera(camera_from_world=poses.float(), intrinsics=intrinsics.float(), image_size=(size, size))
    with torch.no_grad():
        fragments = rasterize(model.mesh.vertices, model.mesh.faces, camera)
    mask = fragments.mask
    count = mask.flatten(1).view(torch.uint8).sum(1, dtype=torch.int32)
    chosen = _spread(mask, point_count)
    face = fragments.face.flatten(1).gather(1, chosen).clamp(min=0)
    weights = fragments.barycentrics.flatten(1, 2).gather(1, chosen[..., None].expand(-1, -1, 3))
    points = (model.mesh.vertices[model.mesh.faces[face]] * weights[..., None]).sum(2)
    normals = model.normals[face]
    eye = -(poses[:, :3, :3].transpose(1, 2) @ poses[:, :3, 3:])[:, None, :, 0].float()
    normals = torch.where(((eye - points) * normals).sum(-1, keepdim=True) < 0, -normals, normals)
    pixel = torch.stack([(chosen % size), chosen.div(size, rounding_mode="floor")], -1) + 0.5
    middle = intrinsics[:, None, :2, 2] + focal[:, None, None] * poses[:, None, :2, 3] / depth[:, None, None]
    seen_depth = fragments.depth.flatten(1).gather(1, chosen)
    return Views(
        poses=poses,
        points=torch.cat([points, normals, colors_at(model, points, blurred=blurred)], -1),
        rim=_rim(fragments.depth, mask, poses, intrinsics, rim_count),
        areas=(count * (depth / focal).square()).float(),
        centroids=((pixel - middle).mean(1) * (depth / focal)[:, None]).float(),
        nearer=(depth - seen_depth.median(1).values).float(),
    )


def _spread(mask: Tensor, count: int) -> Tensor:
    """[B, count] flat indices of pixels of each mask [B, H, W], evenly in reading order; 0 for an empty mask."""
    flat = mask.flatten(1)
    total = flat.view(torch.uint8).sum(1, dtype=torch.int32).long()  # five times faster than of bools
    begin = torch.cat([total.new_zeros(1), total.cumsum(0)])[:-1]
    pixels = flat.flatten().nonzero()[:, 0] % flat.shape[1]
    if len(pixels) == 0:
        return torch.zeros(len(mask), count, dtype=torch.int64)
    rank = ((torch.arange(count) + 0.5) / count * total[:, None]).long()
    return pixels[(begin[:, None] + rank).clamp(max=len(pixels) - 1)] * (total > 0)[:, None]


def _rim(depth: Tensor, mask: Tensor, poses: Tensor, intrinsics: Tensor, count: int) -> Tensor:
    """[B, count, 3] points on the outlines, object frame, half a pixel outside of the outermost pixels' centres."""
    size = mask.shape[-1]
    kept = mask.clone()  # pixels with all four neighbours
    kept[:, 1:] &= mask[:, :-1]
    kept[:, :-1] &= mask[:, 1:]
    kept[:, :, 1:] &= mask[:, :, :-1]
    kept[:, :, :-1] &= mask[:, :, 1:]
    chosen = _spread(mask & ~kept, count)
    normal = _outward(mask, chosen)
    pixel = torch.stack([(chosen % size), chosen.div(size, rounding_mode="floor")], -1) + 0.5 + 0.5 * normal
    z = depth.flatten(1).gather(1, chosen).double()
    focal = intrinsics[:, 0, 0, None]
    x, y = ((pixel[..., a] - intrinsics[:, a, 2, None]) * z / focal for a in (0, 1))
    placed = torch.stack([x, y, z], -1) - poses[:, None, :3, 3]
    return (placed @ poses[:, :3, :3]).float()


def _outward(mask: Tensor, chosen: Tensor) -> Tensor:
    """[B, C, 2] unit normals of masks [B, H, W] at pixels [B, C] (flat indices): downhill of the mask, smoothed over 5 x 5 pixels."""
    size = mask.shape[-1]
    row, column = chosen.div(size, rounding_mode="floor"), chosen % size
    window = torch.arange(-3, 4)
    rows, columns = ((index[..., None] + window) for index in (row, column))
    inside = ((rows >= 0) & (rows < size))[..., :, None] & ((columns >= 0) & (columns < size))[..., None, :]
    flat = rows.clamp(0, size - 1)[..., :, None] * size + columns.clamp(0, size - 1)[..., None, :]
    near = (mask.flatten(1).gather(1, flat.flatten(1)).view(flat.shape) & inside).float()
    slope = torch.tensor([-1.0, -1.0, 0.0, 0.0, 0.0, 1.0, 1.0])  # the difference of two means over five, two apart
    across = torch.stack([near[..., 1:-1, :].sum(-2) @ slope, near[..., :, 1:-1].sum(-1) @ slope], -1)
    return -across / across.norm(dim=-1, keepdim=True).clamp(min=1e-6)
