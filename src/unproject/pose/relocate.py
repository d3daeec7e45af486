"""Look for a lost object in a whole image: where its colours gather, in which of many rotations its silhouette and shades fit them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..camera.camera import Camera, resize_camera
from ..camera.viewpoints import fibonacci_viewpoints
from ..geometry.mesh import Mesh
from ..lie.so3 import so3_exp, so3_log
from ..render.rasterize import rasterize
from ..struct import TensorStruct
from .color_model import ColorModel, color_index
from .hypotheses import rotation_between
from .light import shading

_WIDTH = 96  # pixels of the small image in which hypotheses are compared
_VIEWS, _TURNS = 42, 8
_PARTS = 6  # of the covering, one a frame
_NEARER, _FARTHER = 0.7, 1.4  # how much the distance may have changed
_PLACES, _ROUNDS = 2, 4
_CERTAINTY = 2.5  # log odds worth as much as a correlation of 1
_SEEN, _NEW = 1, 1  # hypotheses to return of either kind
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class _Sight(TensorStruct):
    """A small image [h, w]: log odds that a place shows the object, and grey values."""

    evidence: Tensor
    grey: Tensor


def relocate(
    image: Tensor, colors: ColorModel, mesh: Mesh, camera: Camera, rotations: Tensor, *, around: Tensor, part: int,
    paint: Tensor | None = None, light: Tensor | None = None,
) -> Iterator[Tensor]:  # fmt: skip
    """Poses [4, 4] float64 that may be the object's: of rotations in which it was seen before, and of others.

    An image is searched for a part of all rotations, so that a frame takes little time; after some frames it was searched for all.

    Args:
        image: [H, W, 3] uint8.
        colors: what is the object's and what is not.
        mesh: few faces, centred at its origin.
        camera: without lens distortion, at the identity pose.
        rotations: [K, 3, 3] in which the object was seen before; all of them are tried.
        around: [4, 4] its last pose, which says how far away it is.
        part: which of the other rotations are tried; count up from frame to frame.
        paint: [F, 4] grey values and normals of the faces, or None.
        light: [9] on them, or None.
    """
    small = resize_camera(camera, (max(8, round(_WIDTH * camera.height / camera.width)), _WIDTH))
    sight = _sight(image, colors, small)
    distance = float(around[:3, 3].norm())
    radius = float(mesh.vertices.norm(dim=1).max())
    pixels = float(small.intrinsics[0, 0]) * radius / max(distance, 1e-9)
    places = _gatherings(sight.evidence, max(1, round(pixels)))
    if len(places) == 0:
        return
    patches = [_patch(sight.evidence, place, 1.3 * pixels) for place in places]
    seen, covering = (
        [_hypotheses(place, turns, small, distance, relative=relative) for place, _ in patches]
        for turns, relative in ((rotations.float(), False), (_covering()[part % _PARTS :: _PARTS], True))
    )
    chosen: list[Tensor] = []
    for of_places, count in ((seen, _SEEN), (covering, _NEW)):
        poses = torch.cat([_settled(p, place, area, mesh, small) for p, (place, area) in zip(of_places, patches)])
        scores = torch.cat([_score(batch, sight, mesh, small, paint, light) for batch in poses.split(_BATCH)])
        end = len(chosen) + count
        for k in scores.argsort(descending=True).tolist():
            if float(scores[k]) <= 0 or len(chosen) == end:
                break
            if all(_differ(poses[k], other, radius) for other in chosen):
                chosen.append(poses[k])
                yield poses[k].double()


def _sight(image: Tensor, colors: ColorModel, small: Camera) -> _Sight:
    step = max(1, image.shape[1] // (3 * _WIDTH))
    pixels = image[::step, ::step]
    both = torch.stack([colors.odds[color_index(pixels)], pixels.float().mean(-1)])[None]
    evidence, grey = torch.nn.functional.interpolate(both, size=small.image_size, mode="area")[0]
    return _Sight(evidence=evidence, grey=grey)


def _gatherings(evidence: Tensor, radius: int) -> Tensor:
    """[P, 2] centres in pixels of the small image around which there is most evidence, the strongest first."""
    window = min(2 * radius + 1, 2 * (min(evidence.shape) // 2) - 1)
    share = torch.sigmoid(evidence)[None, None]
    near = torch.nn.functional.avg_pool2d(share, window, stride=1, padding=window // 2, count_include_pad=True)
    peak = (near == _largest(near, window)) & (near > 0.15)
    rows, columns = peak[0, 0].nonzero().unbind(1)
    order = near[0, 0, rows, columns].argsort(descending=True)[:_PLACES]
    return torch.stack([columns[order] + 0.5, rows[order] + 0.5], 1)


def _patch(evidence: Tensor, place: Tensor, radius: float) -> tuple[Tensor, float]:
    """Centre [2] of what is likely the object within a radius of a place, and how many pixels that has."""
    share = (torch.sigmoid(evidence) - 0.5).clamp(min=0)
    rows, columns = torch.meshgrid(*(torch.arange(n) + 0.5 for n in evidence.shape), indexing="ij")
    weight = share
    for _ in range(_ROUNDS):
        weight = share * ((columns - place[0]).square() + (rows - place[1]).square() < radius * radius)
        total = weight.sum().clamp(min=1e-6)
        place = torch.stack([(weight * columns).sum() / total, (weight * rows).sum() / total])
    return place, float((weight > 0.2).sum())


def _settled(poses: Tensor, place: Tensor, area: float, mesh: Mesh, small: Camera) -> Tensor:
    """Poses [N, 4, 4] shifted so that their silhouettes have about the centre and the area of a patch."""
    mask = torch.cat([_faces_seen(batch, mesh, small) >= 0 for batch in poses.split(_BATCH)]).float()
    shown = mask.sum((1, 2)).clamp(min=1)
    rows, columns = (torch.arange(n) + 0.5 for n in small.image_size)
    center = torch.stack([(mask.sum(1) * columns).sum(1), (mask.sum(2) * rows).sum(1)], 1) / shown[:, None]
    zoom = (shown / max(area, 1.0)).sqrt().clamp(_NEARER, _FARTHER)[:, None]
    ray = poses[:, :3, 3] @ small.intrinsics.T
    away = (center - ray[:, :2] / ray[:, 2:]) / zoom
    result = poses.clone()
    pixel = torch.cat([place - away, torch.ones_like(zoom)], 1)
    result[:, :3, 3] = (pixel @ torch.linalg.inv(small.intrinsics).T) * (poses[:, 2:3, 3] * zoom)
    return result


def _faces_seen(poses: Tensor, mesh: Mesh, small: Camera) -> Tensor:
    """[N, h, w] face at each pixel, -1 for none."""
    with torch.no_grad():
        return rasterize(mesh.vertices, mesh.faces, replace(small, camera_from_world=poses)).face


def _covering() -> Tensor:
    """[N, 3, 3] rotations spread over all."""
    views = fibonacci_viewpoints(_VIEWS)[:, :3, :3].to(torch.float32)
    angles = torch.arange(_TURNS) * (2 * torch.pi / _TURNS)
    turns = so3_exp(torch.stack([torch.zeros(_TURNS), torch.zeros(_TURNS), angles], 1))
    return (turns[:, None] @ views).reshape(-1, 3, 3)


def _hypotheses(place: Tensor, rotations: Tensor, small: Camera, distance: float, *, relative: bool) -> Tensor:
    """[R, 4, 4] all rotations [R, 3, 3] at a place [2]; relative: as seen along the ray to the place."""
    ray = torch.linalg.inv(small.intrinsics) @ torch.cat([place, torch.ones(1)])
    ray = ray / ray.norm()
    if relative:
        rotations = rotation_between(torch.tensor([0.0, 0.0, 1.0]), ray) @ rotations
    poses = torch.eye(4).repeat(len(rotations), 1, 1)
    poses[:, :3, :3], poses[:, :3, 3] = rotations, distance * ray
    return poses


def _score(poses: Tensor, sight: _Sight, mesh: Mesh, small: Camera, paint: Tensor | None, light: Tensor | None) -> Tensor:
    """[N] mean evidence inside of each silhouette, less that in the rest of the image that it leaves unexplained nearby; and how like."""
    face = _faces_seen(poses, mesh, small)
    mask = (face >= 0).float()
    around = _largest(mask[:, None], 9)[:, 0] - mask
    area = mask.sum((1, 2)).clamp(min=1)
    inside = (mask * sight.evidence).sum((1, 2)) / area
    outside = (around * sight.evidence).sum((1, 2)) / around.sum((1, 2)).clamp(min=1)
    scores = (inside - outside) / _CERTAINTY
    if paint is not None:
        grey = paint[:, 0].expand(len(poses), -1)
        if light is not None:
            normals = paint[:, 1:] @ poses[:, :3, :3].transpose(1, 2)
            grey = grey * shading(normals.reshape(-1, 3), light).view(grey.shape)
        shown = grey.gather(1, face.clamp(min=0).flatten(1)).view(face.shape)
        scores = scores + _correlation(shown, sight.grey.expand_as(shown), mask)
    return torch.where(mask.sum((1, 2)) >= 9, scores, torch.full_like(inside, -torch.inf))


def _correlation(a: Tensor, b: Tensor, mask: Tensor) -> Tensor:
    """[N] of images [N, h, w] where the masks [N, h, w] are 1."""
    area = mask.sum((1, 2), keepdim=True).clamp(min=1)
    a, b = (mask * (t - (mask * t).sum((1, 2), keepdim=True) / area) for t in (a, b))
    return (a * b).sum((1, 2)) / (a.square().sum((1, 2)) * b.square().sum((1, 2))).sqrt().clamp(min=1e-6)


def _largest(images: Tensor, window: int) -> Tensor:
    """Largest value in a window [odd] around each pixel of images [N, 1, h, w]."""
    rows = torch.nn.functional.max_pool2d(images, (window, 1), stride=1, padding=(window // 2, 0))
    return torch.nn.functional.max_pool2d(rows, (1, window), stride=1, padding=(0, window // 2))


def _differ(a: Tensor, b: Tensor, radius: float) -> bool:
    turn = float(so3_log(a[:3, :3] @ b[:3, :3].T).norm())
    return turn > 0.35 or float((a[:3, 3] - b[:3, 3]).norm()) > radius
