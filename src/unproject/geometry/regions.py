"""Regions to grasp: large, flat areas of a surface that a tool can reach along their normal."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..camera.viewpoints import fibonacci_directions
from ..errors import ArgumentError, DataError
from ..struct import TensorStruct
from .bvh import build_bvh
from .manifold import components
from .mesh import Mesh
from .neighbors import nearest
from .normals import face_areas, face_normals
from .query import occluded
from .topology import face_pairs, mesh_topology

_DIRECTIONS = 300  # directions of normals that regions begin with
_PROBES = 64  # rays that test whether a region can be reached


@dataclass(frozen=True, kw_only=True)
class RegionOptions:
    """What counts as a region.

    Attributes:
        count: how many at most.
        angle_deg: how far a face's normal may turn from the region's, degrees.
        flatness: how far a face's centre may lie from the region's plane; scene units, by default 1 % of the mesh's diagonal.
        min_area: of a region, scene units squared; by default 0.5 % of the mesh's area.
        approach: direction [3] in which a tool can move towards the part, such as (0, 0, -1) for from above; by default any.
        approach_deg: how far a region's inward normal may turn from it, degrees.
    """

    count: int = 20
    angle_deg: float = 15.0
    flatness: float | None = None
    min_area: float | None = None
    approach: tuple[float, float, float] | None = None
    approach_deg: float = 60.0


@dataclass(frozen=True, kw_only=True)
class Region(TensorStruct):
    """A flat, connected area.

    Attributes:
        faces: [K] int64 of the mesh.
        centre: [3] on the surface, as far from the region's border as it gets.
        normal: [3] unit, out of the surface.
        area: scene units squared.
        extent: [2] length and width of the region in its plane.
        axes: [2, 3] unit directions of the length and the width.
        clearance: distance of the centre from the border: the largest round pad there, scene units.
        roughness: root mean square distance of the region's face centres from its plane, scene units.
        curvature: mean absolute mean curvature, 1 / scene units; 0 for a plane, 1 / (2 r) for a cylinder.
        reachable: share of the region from which the way out along the normal is free.
        score: area over the mesh's area, times `reachable`, less with roughness.
    """

    faces: Tensor
    centre: Tensor
    normal: Tensor
    area: float
    extent: Tensor
    axes: Tensor
    clearance: float
    roughness: float
    curvature: float
    reachable: float
    score: float

    def __getitem__(self, index: object) -> Region:
        raise ArgumentError("Region: index its tensors instead")


def find_regions(mesh: Mesh, options: RegionOptions | None = None) -> tuple[Region, ...]:
    """Large, flat, reachable regions of a surface, best first. A face belongs to at most one of them.

    Args:
        mesh: faces counter-clockwise from outside; equal vertices must be merged for regions to go on across their edges.

    Raises:
        ArgumentError: options out of range.
        DataError: a mesh without area.

    Gradient: none.
    """
    options = options or RegionOptions()
    if options.count < 1 or not 0 < options.angle_deg < 90 or not 0 < options.approach_deg <= 180:
        raise ArgumentError(f"find_regions: need count >= 1, angle_deg in (0, 90) and approach_deg in (0, 180], got {options}")
    surface = _Surface(mesh, options)
    found = [surface.describe(faces) for faces in surface.grow()]
    found = [region for region in found if surface.allowed(region)]
    return tuple(sorted(found, key=lambda region: -region.score)[: options.count])


class _Surface:
    """Areas, normals and neighbours of the faces, and how regions grow over them."""

    def __init__(self, mesh: Mesh, options: RegionOptions):
        self.options = options
        self.vertices, self.faces = mesh.vertices.detach().double(), mesh.faces
        self.areas = face_areas(self.vertices, self.faces)
        self.total = float(self.areas.sum())
        if not self.total > 0:
            raise DataError("find_regions: the mesh has no area")
        self.normals = face_normals(self.vertices, self.faces)
        self.centres = self.vertices[self.faces].mean(1)
        self.pairs = face_pairs(mesh_topology(mesh))
        self.diagonal = float((self.vertices.amax(0) - self.vertices.amin(0)).norm())
        self.flatness = options.flatness or 0.01 * self.diagonal
        self.min_area = options.min_area or 0.005 * self.total
        self.least_cosine = math.cos(math.radians(options.angle_deg))
        self.tree = build_bvh(self.vertices, self.faces)

    def grow(self) -> Iterator[Int[Tensor, "K"]]:
        """Regions from the largest seeds, each of the faces that earlier ones left."""
        directions = fibonacci_directions(_DIRECTIONS, dtype=torch.float64)
        nearest_direction = (self.normals @ directions.T).argmax(1)
        seeds = self._connected(torch.ones(len(self.faces), dtype=torch.bool), nearest_direction)
        seed_area = torch.zeros(int(seeds.max()) + 1, dtype=torch.float64).index_add_(0, seeds, self.areas)
        free = self.areas > 0
        for seed in seed_area.argsort(descending=True)[: 4 * self.options.count].tolist():
            faces = ((seeds == seed) & free).nonzero()[:, 0]
            if len(faces) == 0 or float(self.areas[faces].sum()) < 0.2 * self.min_area:
                continue
            for _ in range(3):
                faces = self._around(faces, free)
                if len(faces) == 0:
                    break
            if len(faces) and float(self.areas[faces].sum()) >= self.min_area:
                free[faces] = False
                yield faces

    def _around(self, faces: Tensor, free: Tensor) -> Tensor:
        """The largest connected set of free faces that lie in the plane of those given."""
        centre, normal = self._plane(faces)
        level = (((self.centres - centre) @ normal).abs() <= self.flatness) & (self.normals @ normal >= self.least_cosine) & free
        label = self._connected(level, None)
        area = torch.zeros(int(label.max()) + 1, dtype=torch.float64).index_add_(0, label, torch.where(level, self.areas, 0))
        return ((label == area.argmax()) & level).nonzero()[:, 0]

    def _connected(self, among: Tensor, kinds: Tensor | None) -> Tensor:
        """Component [F] of each face; only faces `among`, and of one kind, are joined."""
        first, second = self.pairs.T
        joined = among[first] & among[second]
        if kinds is not None:
            joined &= kinds[first] == kinds[second]
        return components(first[joined], second[joined], len(self.faces))

    def _plane(self, faces: Tensor) -> tuple[Tensor, Tensor]:
        weight = self.areas[faces, None]
        centre = (weight * self.centres[faces]).sum(0) / weight.sum()
        return centre, torch.nn.functional.normalize((weight * self.normals[faces]).sum(0), dim=0)

    def describe(self, faces: Tensor) -> Region:
        """Centre, size, curvature and reach of a region."""
        mean, normal = self._plane(faces)
        area = float(self.areas[faces].sum())
        centre, clearance = self._inmost(faces, mean)
        length, axes = self._extent(faces, mean, normal)
        height = (self.centres[faces] - mean) @ normal
        roughness = float(((self.areas[faces] * height.square()).sum() / area).sqrt())
        reachable = self._reachable(faces, normal)
        share = area / self.total
        return Region(
            faces=faces,
            centre=centre,
            normal=normal,
            area=area,
            extent=length,
            axes=axes,
            clearance=clearance,
            roughness=roughness,
            curvature=self._curvature(faces, area),
            reachable=reachable,
            score=share * reachable * math.exp(-((roughness / self.flatness) ** 2)),
        )

    def allowed(self, region: Region) -> bool:
        """Whether a tool may come along the region's normal."""
        if self.options.approach is None:
            return True
        direction = torch.nn.functional.normalize(torch.tensor(self.options.approach, dtype=torch.float64), dim=0)
        return float(-region.normal @ direction) >= math.cos(math.radians(self.options.approach_deg))

    def _inmost(self, faces: Tensor, mean: Tensor) -> tuple[Tensor, float]:
        """A place on the region farthest from its border, and how far that is."""
        edges = torch.cat([self.faces[faces][:, [i, (i + 1) % 3]] for i in range(3)])
        _, owner, count = torch.unique(edges.sort(1).values, dim=0, return_inverse=True, return_counts=True)
        border = edges[count[owner] == 1]
        corners = self.vertices[self.faces[faces]]
        places = torch.cat([mean[None], self.centres[faces], *(corners.roll(-i, 1)[:, :2].mean(1) for i in range(3))])
        if len(border) == 0:
            return self.centres[faces[0]], float(self.diagonal)
        share = torch.linspace(0, 1, 9, dtype=torch.float64)[:, None, None]
        points = (self.vertices[border[:, 0]] * (1 - share) + self.vertices[border[:, 1]] * share).reshape(-1, 3)
        distance = nearest(places, points).squared_distance.sqrt()
        on_surface = nearest(mean[None], self.centres[faces]).squared_distance[0].sqrt() <= float(self.areas[faces].max()) ** 0.5
        if not bool(on_surface):
            distance[0] = 0
        best = int(distance.argmax())
        return places[best], float(distance[best])

    def _extent(self, faces: Tensor, mean: Tensor, normal: Tensor) -> tuple[Float[Tensor, "2"], Float[Tensor, "2 3"]]:
        """Length and width of the smallest of 90 boxes around the region in its plane."""
        helper = torch.eye(3, dtype=torch.float64)[int(normal.abs().argmin())]
        u = torch.nn.functional.normalize(torch.linalg.cross(normal, helper), dim=0)
        frame = torch.stack([u, torch.linalg.cross(normal, u)])
        flat = (self.vertices[self.faces[faces].unique()] - mean) @ frame.T
        angle = torch.arange(90, dtype=torch.float64) * (math.pi / 180)
        turn = torch.stack([torch.stack([angle.cos(), angle.sin()], 1), torch.stack([-angle.sin(), angle.cos()], 1)], 1)
        turned = flat @ turn.mT
        size = turned.amax(1) - turned.amin(1)
        best = int(size.prod(1).argmin())
        order = size[best].argsort(descending=True)
        return size[best][order], (turn[best] @ frame)[order]

    def _curvature(self, faces: Tensor, area: float) -> float:
        """Half of the turning angles times the lengths of the edges within the region, over its area."""
        member = torch.zeros(len(self.faces), dtype=torch.bool)
        member[faces] = True
        first, second = self.pairs[member[self.pairs].all(1)].T
        angle = torch.atan2(
            torch.linalg.cross(self.normals[first], self.normals[second]).norm(dim=1), (self.normals[first] * self.normals[second]).sum(1)
        )
        shared = (self.faces[first][:, :, None] == self.faces[second][:, None]).any(2)
        ends = torch.where(shared[..., None], self.vertices[self.faces[first]], 0)
        total = ends.sum(1)  # a + b of the shared edge, whose length is |2 a - (a + b)|
        one = ends.gather(1, shared.long().argmax(1)[:, None, None].expand(-1, 1, 3))[:, 0]
        length = torch.where(shared.sum(1) == 2, (2 * one - total).norm(dim=1), 0)
        return float((angle * length).sum()) / (2 * area)

    def _reachable(self, faces: Tensor, normal: Tensor) -> float:
        """Share of the region whose way out along the normal is free."""
        chosen = faces[torch.linspace(0, len(faces) - 1, min(_PROBES, len(faces))).long()]
        origins = self.centres[chosen] + 1e-4 * self.diagonal * normal
        blocked = occluded(origins, normal.expand_as(origins).contiguous(), (self.vertices, self.faces), bvh=self.tree)
        weight = self.areas[chosen]
        return float((weight * ~blocked).sum() / weight.sum())
