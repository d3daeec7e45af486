"""Consistent orientation of normals over a cloud, open or closed, by patches.

Patches grow over safe neighbours first (a spanning forest with bounded trees, so that no single wrong edge turns half of the cloud). The
signs of the patches then maximize the energy of the field of all normals: of all orientations of a closed surface's normals the consistent
one is closest to a gradient. Points that no patch took, or the wrong one, follow the field of those near. The field is not smoothed by
more than the points are apart: else two sides of a thin part look like one sheet, and agree best when both point the same way.
Source: propagation: Hoppe et al. 1992; field energy between patches: Metzer et al. 2021 (dipole propagation); the fixed point that the
last step iterates: Hou et al. 2022, Lin et al. 2024.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.neighbors import knn
from ..geometry.point_index import PointIndex, build_index
from ..ops.orientation import dipole_energy, orient_patches
from .poisson import charge_field, make_poisson_grid

_LIMIT = 250  # patches have at most this fraction of the points
_SAMPLES = 12000  # points that stand for all in the energy between patches
_PATCHES = 1000
_SOFT = 1.0  # distances between those samples: where the field of a dipole stops to grow
_VOTERS, _FEWER = 48, 24  # dipoles near that decide about a point; about one of a large cloud
_MEMBERS = 100_000  # points of a large cloud that decide about all
_SOFT_NEAR = 2.0  # spacings: the same as _SOFT, for points one by one, which lie off the surface
_CHUNK = 1 << 13


def orient_by_patches(points: Tensor, normals: Tensor, neighbors: Tensor, areas: Tensor) -> Tensor:
    """Flip unit normals [N, 3] so that they agree and point out of the surface.

    Args:
        points: [N, 3].
        neighbors: int64 [N, K], the K nearest others of each point, nearest first.
        areas: [N] the area that each point stands for.

    Returns:
        [N, 3] the same normals, some of them negated. Out of an open surface is where its convex side is.
    """
    patch, normals = _grow_patches(points, normals, neighbors)
    grid = make_poisson_grid(points, resolution=48)
    outward = charge_field(grid, areas)
    patch, sign, known = _orient_large_patches(points, normals, areas, patch, (outward * normals).sum(1) * areas)
    normals = normals * sign[patch][:, None]
    normals = _follow_field(points, normals, areas, known[patch])
    total = (areas * (outward * normals).sum(1)).sum()
    return -normals if float(total) < 0 else normals


def follow_members(points: Tensor, normals: Tensor, members: Tensor, of_members: Tensor, areas: Tensor) -> Tensor:
    """Normals [N, 3] of points [N, 3], negated where the field of the members [M, 3] near, with normals and areas [M], says so."""
    index = build_index(members)
    told = [_told(*parts, index, of_members, areas) for parts in zip(points.split(_CHUNK), normals.split(_CHUNK))]
    return torch.where(torch.cat(told)[:, None] < 0, -normals, normals)


def _told(points: Tensor, normals: Tensor, index: PointIndex, of_index: Tensor, areas: Tensor) -> Tensor:
    return _votes(points, normals, index, of_index, areas, min(_FEWER, index.point_count))[1].sum(1)


def safe_edges(points: Tensor, normals: Tensor, neighbors: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both ends of each edge, its cost, and whether it is safe: nearly the same plane at both ends, and the edge lies in it."""
    count, k = neighbors.shape
    first, second = torch.arange(count).repeat_interleave(k), neighbors.reshape(-1)
    step = points[second] - points[first]
    length = step.norm(dim=1).clamp(min=1e-30)
    parallel = (normals[first] * normals[second]).sum(1).abs()
    across = torch.maximum((step * normals[first]).sum(1).abs(), (step * normals[second]).sum(1).abs()) / length
    return first, second, 1 - parallel + 0.2 * across.square(), (parallel > 0.8) & (across < 0.6)


def _grow_patches(points: Tensor, normals: Tensor, neighbors: Tensor) -> tuple[Tensor, Tensor]:
    first, second, cost, safe = safe_edges(points, normals, neighbors)
    chosen = safe.nonzero()[:, 0]
    order = chosen[torch.sort(cost[chosen], stable=True).indices]
    limit = max(points.shape[0] // _LIMIT, 30)
    root, sign = orient_patches(normals.contiguous(), first, second.contiguous(), order, limit)
    return root, normals * sign.to(normals.dtype)[:, None]


def _orient_large_patches(points: Tensor, normals: Tensor, areas: Tensor, root: Tensor, outward: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Patch index [N] from 0 on, sign [P] of each patch, and bool [P] whether it was large enough to be decided."""
    _, patch, size = root.unique(return_inverse=True, return_counts=True)
    order = torch.sort(size, descending=True, stable=True).indices
    smallest = max(points.shape[0] // (20 * _LIMIT), 3)
    large = order[:_PATCHES][size[order[:_PATCHES]] >= smallest]
    sign, known = torch.ones(len(size), dtype=points.dtype), torch.zeros(len(size), dtype=torch.bool)
    if len(large) == 0:
        return patch, sign, known
    rank = torch.full((len(size),), -1, dtype=torch.int64)
    rank[large] = torch.arange(len(large))
    member = (rank[patch] >= 0).nonzero()[:, 0]
    stride = max(1, -(-len(member) // _SAMPLES))
    chosen = member[torch.sort(rank[patch[member]], stable=True).indices][::stride]
    starts = torch.searchsorted(rank[patch[chosen]].contiguous(), torch.arange(len(large) + 1))
    unit = areas[chosen].median().sqrt()
    moments = normals[chosen] * (areas[chosen] * stride / unit**2)[:, None]
    energy = dipole_energy((points[chosen] / unit).float(), moments.float(), starts, _SOFT * stride**0.5)
    start = torch.zeros(len(large), dtype=torch.float64).index_add(0, rank[patch[member]], outward[member].double())
    sign[large] = _maximize((energy + energy.T) / 2, torch.where(start < 0, -1.0, 1.0).double()).to(points.dtype)
    known[large] = True
    return patch, sign, known


def _maximize(energy: Tensor, start: Tensor, attempts: int = 8) -> Tensor:
    """Signs s that make s^T energy s large: best single flips from the start, the leading eigenvector, and disturbed best solutions."""
    generator = torch.Generator().manual_seed(0)
    best, best_value = start, -torch.inf
    for attempt in range(attempts):
        if attempt == 0:
            sign = start.clone()
        elif attempt == 1:
            leading = torch.linalg.eigh(energy).eigenvectors[:, -1]
            sign = torch.where(leading < 0, -1.0, 1.0).double()
        else:
            sign = torch.where(torch.rand(len(start), generator=generator) < 0.2, -best, best)
        sign = _climb(energy, sign)
        value = float(sign @ energy @ sign)
        if value > best_value + 1e-9 * abs(best_value if best_value > -torch.inf else 1):
            best, best_value = sign, value
    return best


def _climb(energy: Tensor, sign: Tensor) -> Tensor:
    field = energy @ sign
    tiny = 1e-12 * float(energy.abs().sum())
    for _ in range(20 * len(sign)):
        gain = -sign * field
        worst = int(gain.argmax())
        if float(gain[worst]) <= tiny:
            break
        sign[worst] = -sign[worst]
        field += 2 * sign[worst] * energy[:, worst]
    return sign


def _follow_field(points: Tensor, normals: Tensor, areas: Tensor, known: Tensor, rounds: int = 8) -> Tensor:
    """Signs of single points, by the field of the dipoles near. Uncertain points begin with weight 0."""
    stride = -(-points.shape[0] // _MEMBERS)
    index, of_index, weight = build_index(points[::stride].contiguous()), normals[::stride], areas[::stride]
    near, votes = _votes(index, of_index, index, of_index, weight, min(_VOTERS, index.point_count - 1))
    belief = known[::stride].to(points.dtype)
    for _ in range(rounds):
        belief = (0.5 * belief + 2 * (votes * belief[near]).sum(1)).clamp(-1, 1)
    if stride > 1:
        return follow_members(points, normals, index.points, of_index * belief[:, None], weight)
    return torch.where(belief[:, None] < 0, -normals, normals)


def _votes(
    points: Tensor | PointIndex, normals: Tensor, index: PointIndex, of_index: Tensor, areas: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """The nearest dipoles [P, count] of an index, others than the point itself, and what the field of each says about the point's normal:
    positive if both belong to one orientation; the sizes add up to 1."""
    found = knn(points, index, count, exclude_self=points is index).index
    places = points.points if isinstance(points, PointIndex) else points
    square = float(areas.median().clamp(min=1e-30))
    votes = []
    for place, normal, near in zip(places.split(_CHUNK), normals.split(_CHUNK), found.split(_CHUNK)):
        step, of_near = (place[:, None] - index.points[near]) / square**0.5, of_index[near]
        inverse = 1 / (step.square().sum(2) + _SOFT_NEAR**2)
        along = (normal[:, None] * step).sum(2) * (of_near * step).sum(2)
        vote = inverse**1.5 * ((normal[:, None] * of_near).sum(2) - 3 * inverse * along) * (areas[near] / square)
        votes.append(vote / vote.abs().sum(1, keepdim=True).clamp(min=1e-30))
    return found, torch.cat(votes)
