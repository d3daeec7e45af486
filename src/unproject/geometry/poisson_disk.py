"""Points on surfaces that keep a distance from each other: as random as independent ones, but without clumps and gaps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import ArgumentError
from .batch import MeshBatch
from .mesh import Mesh
from .neighbors import radius_search
from .normals import face_areas
from .point_index import build_index
from .sample import SurfaceSamples, sample_surface

_DENSEST = math.sqrt(2 / math.sqrt(3))  # distance between points of a hexagonal lattice with one point a unit of area
_SURE = 0.86  # no random arrangement keeps more of that distance; the search for the distance begins there
_STEPS = 9


def sample_poisson_disk(
    mesh: Mesh | MeshBatch, count: int, *, candidates: int = 8, generator: torch.Generator | None = None
) -> SurfaceSamples:
    """`count` points on a mesh that keep the largest distance from each other that a random choice finds; of a batch, for each mesh.

    `candidates * count` uniform points are drawn. In a random order, each stays unless a point before it that stays is nearer than the
    distance; the largest distance that leaves enough is found by bisection, and the few points in excess are dropped at random.

    Args:
        mesh: a Mesh or a MeshBatch.
        count: points a mesh.
        candidates: how many points are drawn for each one that stays, at least 2; more make the distance larger.
        generator: of the random numbers; torch's global one without.

    Returns:
        SurfaceSamples. The distance is straight through space, not along the surface: the two sides of a thin plate see each other.

    Raises:
        DataError: a mesh without area.

    Gradient: vertices, through `positions` (the places on the faces are held fixed).
    Source: Cook 1986, "Stochastic sampling in computer graphics" (dart throwing); Luby 1986 (in parallel, by random priorities).
    """
    if candidates < 2:
        raise ArgumentError(f"sample_poisson_disk: `candidates` must be at least 2, got {candidates}")
    if count < 0:
        raise ArgumentError(f"sample_poisson_disk: `count` must be at least 0, got {count}")
    drawn = sample_surface(mesh, candidates * count, generator=generator)
    if count == 0:
        return drawn
    areas = face_areas(mesh.vertices.detach(), mesh.faces).to(torch.float64)
    face_offsets = mesh.face_offsets.tolist() if isinstance(mesh, MeshBatch) else [0, mesh.face_count]
    chosen = []
    for b, begin in enumerate(drawn.offsets[:-1].tolist()):
        area = float(areas[face_offsets[b] : face_offsets[b + 1]].sum())
        points = drawn.positions.detach()[begin : begin + candidates * count]
        chosen.append(begin + _choose(points, count, area, generator))
    kept = torch.cat(chosen)
    return SurfaceSamples(
        positions=drawn.positions[kept],
        faces=drawn.faces[kept],
        barycentrics=drawn.barycentrics[kept],
        offsets=torch.arange(len(chosen) + 1, device=kept.device) * count,
    )


def _choose(points: Tensor, count: int, area: float, generator: torch.Generator | None) -> Tensor:
    """[count] which points stay, ascending. Points are drawn without order, so that their numbers are their random priorities."""
    high = _SURE * _DENSEST * math.sqrt(area / count)
    found = radius_search(index := build_index(points), index, high)
    earlier = found.index < found.query
    first, second, squares = found.index[earlier], found.query[earlier], found.squared_distance[earlier]
    low, best = 0.0, torch.ones(len(points), dtype=torch.bool, device=points.device)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        near = squares < middle * middle
        stays = _independent(first[near], second[near], len(points))
        if int(stays.sum()) >= count:
            low, best = middle, stays
        else:
            high = middle
    kept = best.nonzero()[:, 0]
    dropped = torch.randperm(len(kept), generator=generator, device=kept.device)[: len(kept) - count]
    remains = torch.ones(len(kept), dtype=torch.bool, device=kept.device)
    remains[dropped] = False
    return kept[remains]


def _independent(first: Tensor, second: Tensor, count: int) -> Tensor:
    """[count] the points that stay when each, in order of their numbers, stays unless a neighbour before it does. Pairs: first < second."""
    stays = torch.zeros(count, dtype=torch.bool, device=first.device)
    open_ = torch.ones_like(stays)
    while bool(open_.any()):
        waits = torch.zeros_like(stays)
        waits[second] = True  # a neighbour before it is still undecided
        wins = open_ & ~waits
        stays |= wins
        loses = torch.zeros_like(stays)
        loses[second[wins[first]]] = True
        open_ &= ~(wins | loses)
        left = open_[first] & open_[second]
        first, second = first[left], second[left]
    return stays
