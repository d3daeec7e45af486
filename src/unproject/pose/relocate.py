"""Look for a lost object in a whole image: where its colours gather, in which of many rotations its silhouette fits them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ..camera.camera import Camera, resize_camera
from ..camera.viewpoints import fibonacci_viewpoints
from ..geometry.mesh import Mesh
from ..lie.so3 import so3_exp, so3_log
from ..render.rasterize import rasterize
from .color_model import ColorModel, color_index

_WIDTH = 96  # pixels of the small image in which hypotheses are compared
_VIEWS, _TURNS = 42, 6
_SCALES = (0.8, 1.0, 1.25)
_PLACES = 2
_SEEN, _NEW = 3, 4  # hypotheses to return of either kind
_BATCH = 256


def relocate(image: Tensor, colors: ColorModel, mesh: Mesh, camera: Camera, rotations: Tensor, *, around: Tensor) -> Iterator[Tensor]:
    """Poses [4, 4] float64 that may be the object's, the likeliest first.

    Args:
        image: [H, W, 3] uint8.
        colors: what is the object's and what is not.
        mesh: few faces, centred at its origin.
        camera: without lens distortion, at the identity pose.
        rotations: [K, 3, 3] in which the object was seen before; they are tried beside a covering of all.
        around: [4, 4] its last pose, which says how far away it is.
    """
    small = resize_camera(camera, (max(8, round(_WIDTH * camera.height / camera.width)), _WIDTH))
    evidence = _evidence(image, colors, small)
    distance = float(around[:3, 3].norm())
    radius = float(mesh.vertices.norm(dim=1).max())
    pixels = float(small.intrinsics[0, 0]) * radius / max(distance, 1e-9)
    places = _gatherings(evidence, max(1, round(pixels)))
    if len(places) == 0:
        return
    seen = _hypotheses(places, rotations.float(), small, distance, _SCALES, relative=False)
    covering = _hypotheses(places, _covering(), small, distance, (1.0,), relative=True)
    chosen: list[Tensor] = []
    for poses, count in ((seen, _SEEN), (covering, _NEW)):
        scores = torch.cat([_score(batch, evidence, mesh, small) for batch in poses.split(_BATCH)])
        end = len(chosen) + count
        for k in scores.argsort(descending=True).tolist():
            if float(scores[k]) <= 0 or len(chosen) == end:
                break
            if all(_differ(poses[k], other, radius) for other in chosen):
                chosen.append(poses[k])
                yield poses[k].double()


def _evidence(image: Tensor, colors: ColorModel, small: Camera) -> Tensor:
    """[h, w] log odds that a place of the small image shows the object."""
    step = max(1, image.shape[1] // (4 * _WIDTH))
    odds = colors.odds[color_index(image[::step, ::step])][None, None]
    return torch.nn.functional.interpolate(odds, size=small.image_size, mode="area")[0, 0]


def _gatherings(evidence: Tensor, radius: int) -> Tensor:
    """[P, 2] centres in pixels of the small image around which there is most evidence, the strongest first."""
    window = min(2 * radius + 1, 2 * (min(evidence.shape) // 2) - 1)
    share = torch.sigmoid(evidence)[None, None]
    near = torch.nn.functional.avg_pool2d(share, window, stride=1, padding=window // 2, count_include_pad=True)
    peak = (near == torch.nn.functional.max_pool2d(near, window, stride=1, padding=window // 2)) & (near > 0.15)
    rows, columns = peak[0, 0].nonzero().unbind(1)
    order = near[0, 0, rows, columns].argsort(descending=True)[:_PLACES]
    return torch.stack([columns[order] + 0.5, rows[order] + 0.5], 1)


def _covering() -> Tensor:
    """[N, 3, 3] rotations spread over all."""
    views = fibonacci_viewpoints(_VIEWS)[:, :3, :3].to(torch.float32)
    angles = torch.arange(_TURNS) * (2 * torch.pi / _TURNS)
    turns = so3_exp(torch.stack([torch.zeros(_TURNS), torch.zeros(_TURNS), angles], 1))
    return (turns[:, None] @ views).reshape(-1, 3, 3)


def _hypotheses(places: Tensor, rotations: Tensor, small: Camera, distance: float, scales: tuple[float, ...], *, relative: bool) -> Tensor:
    """[N, 4, 4] all rotations [R, 3, 3] at all places [P, 2] and distances; relative: as seen along the ray to the place."""
    rays = torch.cat([places, torch.ones(len(places), 1)], 1).float() @ torch.linalg.inv(small.intrinsics).T
    rays = torch.nn.functional.normalize(rays, dim=1)
    poses = torch.eye(4).repeat(len(places), len(scales), len(rotations), 1, 1)
    poses[..., :3, :3] = rotations
    if relative:
        axis = torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0]).expand_as(rays), rays)
        tilt = so3_exp(axis / axis.norm(dim=1, keepdim=True).clamp(min=1e-9) * torch.atan2(axis.norm(dim=1), rays[:, 2])[:, None])
        poses[..., :3, :3] = (tilt[:, None] @ rotations)[:, None]
    poses[..., :3, 3] = rays[:, None, None] * (distance * torch.tensor(scales))[None, :, None, None]
    return poses.reshape(-1, 4, 4)


def _score(poses: Tensor, evidence: Tensor, mesh: Mesh, small: Camera) -> Tensor:
    """[N] mean evidence inside of each silhouette, less that in the rest of the image that it leaves unexplained nearby."""
    with torch.no_grad():
        mask = rasterize(mesh.vertices, mesh.faces, replace(small, camera_from_world=poses)).mask.float()
    around = torch.nn.functional.max_pool2d(mask[:, None], 9, stride=1, padding=4)[:, 0] - mask
    area = mask.sum((1, 2)).clamp(min=1)
    inside = (mask * evidence).sum((1, 2)) / area
    outside = (around * evidence).sum((1, 2)) / around.sum((1, 2)).clamp(min=1)
    return torch.where(mask.sum((1, 2)) >= 9, inside - outside, torch.full_like(inside, -torch.inf))


def _differ(a: Tensor, b: Tensor, radius: float) -> bool:
    turn = float(so3_log(a[:3, :3] @ b[:3, :3].T).norm())
    return turn > 0.35 or float((a[:3, 3] - b[:3, 3]).norm()) > radius
