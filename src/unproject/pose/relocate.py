"""Look for a lost object in a whole image: how it would look in many rotations is compared with each place of a small image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, max_pool2d

from ..camera.camera import Camera, resize_camera
from ..camera.viewpoints import fibonacci_viewpoints
from ..geometry.mesh import Mesh
from ..lie.so3 import so3_exp, so3_log
from ..ops import color_counts as ops
from ..reference import color_counts as reference
from ..render.rasterize import rasterize
from ..struct import TensorStruct
from .color_model import COLOR_BITS, ColorModel, color_index, odds_against
from .hypotheses import rotation_between
from .looks import Looks, expected_color

_ACROSS = 16.0  # pixels of the small image, across the object
_NARROWEST, _WIDEST = 32, 96  # pixels: small images
_VIEWS, _TURNS = 42, 8
_PARTS = 6  # of the covering, one a frame
_DISTANCES = (1.0, 0.87, 1.0, 1.15)  # times the last one, after each other
_RING = 2  # pixels around a silhouette
_DISLIKE, _ROUGH = 1.25, 40.0  # log odds a factor of e in squared differences of colour; grey levels: differences below that say little
_NOISE = 8.0  # grey levels: contrasts below that say little
_SEEN, _NEW = (1, 1), (1, 2)  # hypotheses of either kind, by either score
_SEEN_PLAIN, _NEW_PLAIN = (1, 0), (3, 0)  # of an object without a pattern
_PLACES = 4  # where templates are compared
_APART_TURN, _APART = 0.35, 0.25  # radians, diameters: nearer ones are the same
_LEARN_FROM = 10_000  # pixels of the image
_LEAST = 9  # pixels of a silhouette


@dataclass(frozen=True, kw_only=True)
class _Sight(TensorStruct):
    """A small image: log odds [h, w] that a place shows the object, and colours [3, h, w]."""

    evidence: Tensor
    color: Tensor


@dataclass(frozen=True, kw_only=True)
class _Templates(TensorStruct):
    """How an object would look: [N, 1, k, k] where it is, and colours [N, 3, k, k] there, 0 elsewhere."""

    mask: Tensor
    color: Tensor


def relocate(
    image: Tensor, colors: ColorModel, mesh: Mesh, camera: Camera, seen: Tensor, *, part: int,
    paint: Tensor | None = None, looks: Looks | None = None,
) -> Iterator[Tensor]:  # fmt: skip
    """Poses [4, 4] float64 that may be the object's: like those in which it was seen before, and others.

    An image is compared with a part of all rotations, so that a frame takes little time; after some frames all were tried.

    Args:
        image: [H, W, 3] uint8.
        colors: what is the object's and what is not.
        mesh: few faces, centred at its origin.
        camera: without lens distortion, at the identity pose.
        seen: [K, 4, 4] in which the object was seen before, its last one first, which also says how far away it is. All are tried.
        part: which of the other rotations are tried; count up from frame to frame.
        paint: [F, 6] colours and normals of the faces, or None.
        looks: of them.
    """
    distance = _DISTANCES[part // _PARTS % len(_DISTANCES)] * float(seen[0, :3, 3].norm())
    radius = float(mesh.vertices.norm(dim=1).max())
    small = _small_camera(camera, radius / distance)
    sight = _sight(image, colors, small)
    forward = torch.tensor([0.0, 0.0, 1.0])
    before = torch.stack([rotation_between(forward, pose[:3, 3]).T @ pose[:3, :3] for pose in seen.float()])
    chosen: list[Tensor] = []
    is_plain = paint is None or float(paint[:, :3].std(0).max()) < 1
    count_seen, count_new = (_SEEN_PLAIN, _NEW_PLAIN) if is_plain else (_SEEN, _NEW)
    for rotations, counts in ((before, count_seen), (_covering()[part % _PARTS :: _PARTS], count_new)):
        for scores, count in zip(_scores(_templates(rotations, distance, radius, mesh, small, paint, looks), sight), counts):
            end = len(chosen) + count
            for number, row, column in _peaks(scores):
                if len(chosen) == end:
                    break
                ray = torch.linalg.inv(small.intrinsics) @ torch.tensor([column + 0.5, row + 0.5, 1.0])
                pose = torch.eye(4)
                pose[:3, :3] = rotation_between(forward, ray) @ rotations[number]
                pose[:3, 3] = distance * ray / ray.norm()
                if all(_differ(pose, other, radius) for other in chosen):
                    chosen.append(pose)
                    yield pose.double()


def _small_camera(camera: Camera, size: float) -> Camera:
    """A camera of fewer pixels; size: radius of the object over its distance."""
    across = 2 * float(camera.intrinsics[0, 0]) * size
    width = min(max(round(camera.width * _ACROSS / across), _NARROWEST), _WIDEST)
    return resize_camera(camera, (max(8, round(width * camera.height / camera.width)), width))


def _sight(image: Tensor, colors: ColorModel, small: Camera) -> _Sight:
    step = max(1, image.shape[1] // (3 * _WIDEST))
    pixels = image[::step, ::step]
    # anything in the image may be taken for the object, not only what was around it before
    run = ops.color_counts if image.device.type == "cpu" else reference.color_counts
    stride = max(1, math.isqrt(image.shape[0] * image.shape[1] // _LEARN_FROM))
    everything = torch.tensor([0, 0, image.shape[1], image.shape[0]])
    nowhere = torch.full((4, 4), -1, dtype=torch.int64)
    counts = run(image, nowhere, torch.zeros(2), 1.0, everything, stride, COLOR_BITS)[1]
    odds = odds_against(colors, (colors.background + counts) / 2)
    both = torch.cat([odds[color_index(pixels)][None], pixels.permute(2, 0, 1).float()])[None]
    images = interpolate(both, size=small.image_size, mode="area")[0]
    return _Sight(evidence=images[0], color=images[1:])


def _templates(
    rotations: Tensor, distance: float, radius: float, mesh: Mesh, small: Camera, paint: Tensor | None, looks: Looks | None
) -> _Templates:
    """Of an object in front of the camera in rotations [N, 3, 3]."""
    focal = float(small.intrinsics[0, 0])
    size = 2 * math.ceil(focal * radius / distance + _RING) + 1
    intrinsics = small.intrinsics.clone()
    intrinsics[:2, 2] = size / 2
    poses = torch.eye(4).repeat(len(rotations), 1, 1)
    poses[:, :3, :3], poses[:, 2, 3] = rotations, distance
    camera = replace(small, intrinsics=intrinsics, image_size=(size, size), camera_from_world=poses)
    with torch.no_grad():
        face = rasterize(mesh.vertices, mesh.faces, camera).face
    mask = (face >= 0).float()[:, None]
    if paint is None or looks is None:
        return _Templates(mask=mask, color=torch.zeros(1, 3, 1, 1).expand(len(mask), 3, size, size))
    normals = (paint[:, 3:] @ rotations.transpose(1, 2)).reshape(-1, 3)
    colors = expected_color(paint[:, :3].repeat(len(rotations), 1), normals, looks)
    shown = colors[face.clamp(min=0) + torch.arange(len(face))[:, None, None] * len(paint)]
    return _Templates(mask=mask, color=mask * shown.permute(0, 3, 1, 2))


def _scores(templates: _Templates, sight: _Sight) -> tuple[Tensor, Tensor]:
    """[N, h, w] with each pixel as the middle, twice.

    The first one is evidence inside of the silhouette less that around it, and how far colours are off at the best gain: it tells where
    something of the object's colours and shape is. The second one is how the colours correlate, which knows a pattern on a background of
    the same colours.
    """
    mask = templates.mask
    margin = mask.shape[-1] // 2
    area = mask.sum((2, 3), keepdim=True)[:, 0].clamp(min=1)
    ring = max_pool2d(mask, 2 * _RING + 1, stride=1, padding=_RING) - mask
    everywhere = torch.ones_like(sight.evidence)
    channels = torch.stack([sight.evidence, everywhere, sight.color.sum(0), sight.color.square().sum(0)])[:, None]
    inside, shown, total, squares = conv2d(channels, mask, padding=margin)
    around, beside = conv2d(channels[:2], ring, padding=margin)
    alike = conv2d(sight.color[None], templates.color, padding=margin)[0]
    power = templates.color.square().sum((1, 2, 3))[:, None, None].clamp(min=1)
    apart = (squares - alike.clamp(min=0).square() / power).clamp(min=0) / (3 * area)
    first = inside / shown.clamp(min=1) - around / beside.clamp(min=1) - _DISLIKE * (apart + _ROUGH**2).log()
    middle = templates.color.sum((1, 2, 3), keepdim=True) / (3 * area[..., None])
    contrast = mask * (templates.color - middle)
    both = conv2d(sight.color[None], contrast, padding=margin)[0]
    least = area * _NOISE**2
    own, seen = contrast.square().sum((1, 2, 3))[:, None, None] + least, (squares - total.square() / (3 * area)).clamp(min=0) + least
    second = both / (own * seen).sqrt()
    is_seen = shown >= area.clamp(min=_LEAST) / 2
    first, second = (torch.where(is_seen, s, torch.full_like(s, -torch.inf)) for s in (first, second))
    return first, second


def _peaks(scores: Tensor) -> Iterator[tuple[int, int, int]]:
    """Template, row and column of the best scores [N, h, w], the best first: all templates at the few best places."""
    best = scores.amax(0)
    peak = (best == max_pool2d(best[None], 3, stride=1, padding=1)[0]) & best.isfinite()
    places = peak.nonzero()
    places = places[best[peak].argsort(descending=True)[:_PLACES]]
    rows, columns = places.unbind(1)
    at_places = scores[:, rows, columns]
    for k in at_places.flatten().argsort(descending=True).tolist():
        number, place = divmod(k, max(len(places), 1))
        yield number, int(rows[place]), int(columns[place])


def _covering() -> Tensor:
    """[N, 3, 3] rotations spread over all."""
    views = fibonacci_viewpoints(_VIEWS)[:, :3, :3].to(torch.float32)
    angles = torch.arange(_TURNS) * (2 * torch.pi / _TURNS)
    turns = so3_exp(torch.stack([torch.zeros(_TURNS), torch.zeros(_TURNS), angles], 1))
    return (turns[:, None] @ views).reshape(-1, 3, 3)


def _differ(a: Tensor, b: Tensor, radius: float) -> bool:
    turn = float(so3_log(a[:3, :3] @ b[:3, :3].T).norm())
    return turn > _APART_TURN or float((a[:3, 3] - b[:3, 3]).norm()) > 2 * _APART * radius
