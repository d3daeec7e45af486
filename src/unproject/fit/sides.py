"""Two sides of a thin part that noise has mixed: points go back to the side that their normals tell.

Where a part is about as thin as the points scatter, points of the front lie behind those of the back, and no function that is zero at all
of them has two sides there. A normal says which side its point belongs to; the points of the same side near say where that is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.neighbors import knn
from ..geometry.point_index import PointIndex, build_index

_NEIGHBORS = 192
_LARGE, _FEWER = 100_000, 48  # of more points, so many neighbours say where a side is
_PLACES = 20_000  # where thickness is measured
_AROUND = 48  # places that decide about a point
_SAMPLES = 2000  # points that tell the noise
_FEWEST, _BEYOND = 6, 8.0  # neighbours that tell the noise, and deviations that they reach
_STILL = 0.3  # spacings: noise below mixes nothing
_ALIKE = 0.5  # length of the difference of two normals of one side at which they count e^-1/2
_SAME, _OPPOSED = 0.6, -0.3  # cosines of normals of one side, of two sides
_OTHERS = 0.15  # share of the neighbours that are the other side's, for a thickness
_VOTES = 8  # places with a thickness for a judgement
_THIN = (0.75, 3.0)  # standard deviations of noise: thinner is no part but a sheet, and thicker parts keep their sides apart
_SHARE = 0.25  # of the places around that are thin
_WIDTH = 2.7  # spacings: a mean over so wide a Gaussian leaves 15 % of the noise
_APART = 2.0  # deviations of noise along the normal at which a neighbour counts e^-1/2
_ROUNDS = 3
_CHUNK = 1 << 13


def separate_sides(points: Tensor, normals: Tensor, spacing: float, *, tellers: Tensor | None = None) -> Tensor:
    """Move points [P, 3] along their unit normals [P, 3] to their own side, where a part is so thin that noise mixes its sides.

    Args:
        spacing: distance between neighbouring points.
        tellers: bool [P], points that say where sides are, for all; by default all.

    Returns:
        [P, 3]; points elsewhere stay where they are.
    """
    telling = slice(None) if tellers is None else tellers.nonzero()[:, 0]
    noise = scatter(points[telling], normals[telling])
    if noise < _STILL * spacing:
        return points
    mixed = _on_thin_parts(points, normals, noise).nonzero()[:, 0]
    width = max(noise, _WIDTH * spacing)
    count = _FEWER if points.shape[0] > _LARGE else _NEIGHBORS
    stride = max(1, round(2 * torch.pi * (2 * width / spacing) ** 2 / count))  # so that they reach over the Gaussian
    of_index = normals[telling][::stride]
    for _ in range(_ROUNDS if len(mixed) else 0):
        index = build_index(points[telling][::stride].contiguous())
        chunks = zip(points[mixed].split(_CHUNK), normals[mixed].split(_CHUNK))
        height = torch.cat([_height_of_side(place, normal, index, of_index, width, noise, count) for place, normal in chunks])
        points = points.index_add(0, mixed, normals[mixed] * height[:, None])
    return points


def scatter(points: Tensor, normals: Tensor) -> float:
    """Standard deviation of the points [P, 3] along their normals, from the heights of neighbours of the same side.

    Among many neighbours the shape's own details would count as noise, and among few that are no farther off than points scatter most
    are of the same height. So as few are asked as reach far enough beyond the noise.
    """
    stride = max(1, points.shape[0] // _SAMPLES)
    found = knn(points[::stride].contiguous(), points, min(_NEIGHBORS, points.shape[0]))
    height = _heights(points[::stride], normals[::stride], points[found.index], normals[found.index])
    same = (normals[::stride, None] * normals[found.index]).sum(2) > _SAME
    count = _FEWEST
    while True:
        few = slice(1, count)  # without the points themselves
        deviation = 1.4826 * float(height[:, few][same[:, few]].abs().median()) / 2**0.5
        width = float(found.squared_distance[:, few][:, -1].median()) ** 0.5
        if count >= found.index.shape[1] or width > _BEYOND * deviation:
            return deviation
        count *= 2


def _on_thin_parts(points: Tensor, normals: Tensor, noise: float) -> Tensor:
    """bool [P]: a thickness is measured at some places; places near with normals alike share theirs, and points follow the places near."""
    stride = -(-points.shape[0] // _PLACES)
    places, of_places = points[::stride].contiguous(), normals[::stride]
    index = build_index(points)
    chunks = zip(places.split(_CHUNK), of_places.split(_CHUNK))
    thickness = torch.cat([_thickness(place, normal, index, normals) for place, normal in chunks])
    near = build_index(places)
    around = knn(places, near, min(_AROUND, near.point_count)).index
    votes = ((of_places[:, None] * of_places[around]).sum(2) > _SAME) & ~thickness[around].isnan()
    usual = (thickness.nan_to_num(0)[around] * votes).sum(1) / votes.sum(1).clamp(min=1)
    thin = (votes.sum(1) >= _VOTES) & (usual > _THIN[0] * noise) & (usual < _THIN[1] * noise)
    if not bool(thin.any()):
        return torch.zeros(points.shape[0], dtype=torch.bool)
    around = around if stride == 1 else knn(points, near, min(_AROUND, near.point_count)).index
    return thin[around].to(points.dtype).mean(1) > _SHARE


def _thickness(points: Tensor, normals: Tensor, index: PointIndex, of_index: Tensor) -> Tensor:
    """[P] how far below the points of the other side near are in the mean; NaN where there are few."""
    found = knn(points, index, min(_NEIGHBORS, index.point_count)).index
    other = (normals[:, None] * of_index[found]).sum(2) < _OPPOSED
    depth = (0.5 * (of_index[found] - normals[:, None]) * (index.points[found] - points[:, None])).sum(2)
    count = other.sum(1)
    return torch.where(count >= _OTHERS * found.shape[1], (depth * other).sum(1) / count.clamp(min=1), torch.nan)


def _heights(points: Tensor, normals: Tensor, near: Tensor, of_near: Tensor) -> Tensor:
    """[P, K] how much higher the neighbours [P, K, 3] are, along the mean of both normals: 0 on spheres and cylinders, too."""
    return (0.5 * (normals[:, None] + of_near) * (near - points[:, None])).sum(2)


def _height_of_side(points: Tensor, normals: Tensor, index: PointIndex, of_index: Tensor, width: float, noise: float, count: int) -> Tensor:
    """[P] of the points' own side above them: a mean over neighbours, by how near they are beside the normal, and along it (the next
    part may face the same way), and how alike theirs is."""
    found = knn(points, index, min(count, index.point_count))
    near, of_near = index.points[found.index], of_index[found.index]
    across = found.squared_distance - ((near - points[:, None]) * normals[:, None]).sum(2).square()
    weight = torch.exp(across / (-2 * width**2) - (normals[:, None] - of_near).square().sum(2) / (2 * _ALIKE**2))
    height = _heights(points, normals, near, of_near)
    weight = weight * torch.exp(height.square() / (-2 * (_APART * noise) ** 2))
    return (weight * height).sum(1) / weight.sum(1).clamp(min=1e-12)


__all__ = ["scatter", "separate_sides"]
