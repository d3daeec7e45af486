"""Poses to try: every direction and turn, placed so that the silhouette fits the mask's or the box's place and size (closed form)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..lie.so3 import so3_exp
from .observation import PoseImage
from .refine import Scored
from .views import Views

_MOST_HIDDEN, _LEAST_HIDDEN = 0.4, 0.9  # shares of an object's length that are seen, if something hides one end
_HARDLY_MEASURED = 0.25  # share of the pixels that show an object
_CUTS = 8  # directions in which something may hide a part
_CUT_POINTS = 3  # every third point tells where the middle of a part is
_ROWS = 128  # poses that are compared with all others at once


def turned_views(views: Views, turns: int) -> tuple[Tensor, Tensor]:
    """Every view turned about the optical axis: rotations [V * turns, 3, 3] and their views [V * turns]."""
    angle = torch.arange(turns, dtype=torch.float64) * (2 * math.pi / turns)
    axis = torch.zeros(turns, 3, dtype=torch.float64)
    axis[:, 2] = angle
    rotations = (so3_exp(axis)[None] @ views.poses[:, None, :3, :3]).flatten(0, 1)
    return rotations, torch.arange(len(views.poses)).repeat_interleave(turns)


def place_by_mask(image: PoseImage, views: Views, rotations: Tensor, view: Tensor) -> Tensor:
    """Poses [N, 4, 4] whose silhouettes have the mask's centroid and area, or with depth, its median depth.

    Args:
        rotations: [N, 3, 3] for an object on the optical axis; they are turned along to the ray of the mask.
    """
    weight, ray, area = _moments(image)
    cosine = 1 / float(ray.norm())
    solid_angle = area * cosine**3
    distance = (views.areas.double()[view] / solid_angle).sqrt()
    measured = _median_depth(image, weight > 0.5)
    if measured is not None:
        distance = measured / cosine + views.nearer.double()[view]
    toward = ray * cosine
    turn = rotation_between(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), toward)
    offset = _in_plane(rotations, views, view)
    return _poses(turn @ rotations, distance[:, None] * toward - offset @ turn.T)


def place_cut(image: PoseImage, views: Views, rotations: Tensor, view: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Poses [8 N, 4, 4] of an object of which something hides a share, on one side of a line in any of eight directions, and their views.

    What is left of each silhouette has the mask's centroid and area, or with depth, its median depth.
    """
    weight, ray, area = _moments(image)
    whole = rotation_between(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), ray / ray.norm()) @ rotations
    seen = torch.einsum("nij,npj->npi", whole[:, :2].float(), views.points[:, ::_CUT_POINTS, :3][view])
    depth = (views.areas.double()[view] * (1 - share) / area).sqrt()
    measured = _median_depth(image, weight > 0.5)
    if measured is not None:
        depth = measured + views.nearer.double()[view]
    poses = []
    for k in range(_CUTS):
        angle = 2 * math.pi * k / _CUTS
        along = seen[..., 0] * math.cos(angle) + seen[..., 1] * math.sin(angle)
        left = along.topk(round((1 - share) * along.shape[1]), dim=1).indices
        middle = seen.gather(1, left[..., None].expand(-1, -1, 2)).mean(1).double()
        poses.append(_poses(whole, depth[:, None] * ray - torch.nn.functional.pad(middle, (0, 1))))
    return torch.cat(poses), view.repeat(_CUTS)


def _moments(image: PoseImage) -> tuple[Tensor, Tensor, float]:
    """The mask's weights [H, W]; the ray [3] at depth 1 through its centroid, and its area there."""
    assert image.foreground is not None
    weight = image.foreground.double() * image.known
    height, width = weight.shape
    fx, fy, cx, cy = (float(v) for v in (image.camera.intrinsics[0, 0], image.camera.intrinsics[1, 1], *image.camera.intrinsics[:2, 2]))
    total = float(weight.sum())
    x = float((weight.sum(0) * (torch.arange(width) + 0.5)).sum()) / total
    y = float((weight.sum(1) * (torch.arange(height) + 0.5)).sum()) / total
    return weight, torch.tensor([(x - cx) / fx, (y - cy) / fy, 1.0], dtype=torch.float64), total / (fx * fy)


def place_by_box(image: PoseImage, views: Views, rotations: Tensor, view: Tensor) -> Tensor:
    """Poses [N, 4, 4] whose outlines have the box's middle and size; with depth, the distance is measured."""
    camera, (x0, y0, x1, y1) = image.camera, image.box
    fx, fy, cx, cy = (float(v) for v in (camera.intrinsics[0, 0], camera.intrinsics[1, 1], *camera.intrinsics[:2, 2]))
    ray = torch.tensor([((x0 + x1) / 2 - cx) / fx, ((y0 + y1) / 2 - cy) / fy, 1.0], dtype=torch.float64)
    cosine = 1 / float(ray.norm())
    toward = ray * cosine
    turn = rotation_between(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), toward)
    whole = turn @ rotations
    rim = torch.einsum("nij,npj->npi", whole.float(), views.rim[view])
    low, high = rim.amin(1).double(), rim.amax(1).double()
    size = high - low
    wanted = torch.tensor([(x1 - x0) / fx, (y1 - y0) / fy], dtype=torch.float64)
    depth = (size[:, 0] * size[:, 1] / (wanted[0] * wanted[1])).sqrt()
    measured = _median_depth(image, _middle_of_box(image), least=0.0)  # if it is what lies behind, it is not far behind
    if measured is not None:
        depth = measured + views.nearer.double()[view]
    position = depth[:, None] * ray
    position[:, :2] -= (low[:, :2] + high[:, :2]) / 2
    return _poses(whole, position)


def place_behind(image: PoseImage, views: Views, rotations: Tensor, view: Tensor) -> tuple[Tensor, Tensor]:
    """Poses [N, 4, 4] of an object of which the mask or the box shows a part, because something hides one end, and their views [N].

    Across a hidden end the part is as wide as the object: this width gives the distance. Along it, one of both ends is the object's.
    """
    shown = _extent(image)
    ray = torch.cat([shown.mean(0), shown.new_ones(1)])
    whole = rotation_between(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), ray / ray.norm()) @ rotations
    rim = torch.einsum("nij,npj->npi", whole[:, :2].float(), views.rim[view]).double()
    poses, chosen = [], []
    for angle in (0.0, math.pi / 4) if image.is_sharp else (0.0,):
        axes = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]], dtype=torch.float64)
        (low, high), (rim_low, rim_high) = (torch.aminmax(p @ axes.T, dim=-2) for p in (shown, rim))
        ways = (rim_high - rim_low) / (high - low)  # the distance by each width
        for across in (0, 1):
            hidden = ways[:, across] / ways[:, 1 - across]
            cut = ((hidden > _MOST_HIDDEN) & (hidden < _LEAST_HIDDEN)).nonzero()[:, 0]
            depth = ways[cut, across, None]
            for ends in ((low, rim_low), (high, rim_high)):
                place = depth * (low + high) / 2 - (rim_low + rim_high)[cut] / 2
                along = depth * ends[0] - ends[1][cut]
                place[:, 1 - across] = along[:, 1 - across]
                poses.append(_poses(whole[cut], torch.cat([place @ axes, depth], 1)))
                chosen.append(view[cut])
    return torch.cat(poses), torch.cat(chosen)


def _extent(image: PoseImage) -> Tensor:
    """[N, 2] points of the image plane at depth 1: the pixels of a mask, or two corners of a box."""
    k = image.camera.intrinsics.double()
    if image.is_sharp and image.foreground is not None:
        pixels = ((image.foreground > 0.5) & image.known).nonzero().flip(1).double() + 0.5
    else:
        pixels = torch.tensor(image.box, dtype=torch.float64).view(2, 2)
    return (pixels - k[:2, 2]) / k[[0, 1], [0, 1]]


def _median_depth(image: PoseImage, where: Tensor, *, least: float = _HARDLY_MEASURED) -> float | None:
    """Median of what is measured at pixels [H, W]; None if that is less than a share of them, and may lie behind the object's edges."""
    if image.depth is None:
        return None
    values = image.depth[where & (image.depth > 0)]
    return float(values.median()) if len(values) >= max(5.0, least * float(where.sum())) else None


def _middle_of_box(image: PoseImage) -> Tensor:
    x0, y0, x1, y1 = image.box
    height, width = image.known.shape
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    inner = lambda v, low, high: (v - (low + high) / 2).abs() <= 0.25 * (high - low) + 0.5
    return inner(y, y0, y1)[:, None] & inner(x, x0, x1)[None]


def _in_plane(rotations: Tensor, views: Views, view: Tensor) -> Tensor:
    """[N, 3] offset of each silhouette's centroid from the object's middle, in the plane of the image."""
    turn = (rotations @ views.poses[view][:, :3, :3].transpose(1, 2))[:, :2, :2]
    offset = (turn @ views.centroids.double()[view][..., None])[..., 0]
    return torch.nn.functional.pad(offset, (0, 1))


def _poses(rotations: Tensor, positions: Tensor) -> Tensor:
    result = torch.eye(4, dtype=torch.float64).repeat(len(rotations), 1, 1)
    result[:, :3, :3], result[:, :3, 3] = rotations, positions
    return result


def rotation_between(one: Tensor, other: Tensor) -> Tensor:
    """The smallest rotation [3, 3] that takes a unit vector to another."""
    axis = torch.linalg.cross(one, other)
    sine = axis.norm()
    if float(sine) < 1e-12:
        return torch.eye(3, dtype=one.dtype)
    return so3_exp(axis / sine * torch.atan2(sine, one @ other))


def distinct(scored: Scored, count: int, *, angle_deg: float, shift: float) -> Scored:
    """The best `count` that differ from all better ones by more than an angle or a shift (diameters)."""
    return scored.pick(distinct_rows(scored.poses, scored.cost, count, angle_deg=angle_deg, shift=shift))


def distinct_rows(poses: Tensor, cost: Tensor, count: int, *, angle_deg: float, shift: float) -> Tensor:
    """Indices of the best `count` poses, best first, that differ from all better ones by more than an angle or a shift."""
    order = cost.argsort()[: 8 * count + 64]
    rotations, positions = poses[order, :3, :3].flatten(1), poses[order, :3, 3]
    kept: list[int] = []
    near = taken = torch.zeros(len(order), dtype=torch.bool)
    for i in range(len(order)):
        if i % _ROWS == 0:  # mostly, the first few thousand are not looked at to the end
            rows = slice(i, i + _ROWS)
            alike = rotations[rows] @ rotations.T > 1 + 2 * math.cos(math.radians(angle_deg))
            near = alike & (torch.cdist(positions[rows], positions) < shift)
        if not taken[i]:
            kept.append(i)
            if len(kept) == count:
                break
            taken = taken | near[i % _ROWS]
    return order[torch.tensor(kept)]
