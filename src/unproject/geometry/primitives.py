"""Simple closed surfaces, and a plane: counter-clockwise seen from outside, no vertex twice."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import ArgumentError
from .mesh import Mesh
from .subdivide import split_faces

_GOLDEN = (1 + math.sqrt(5)) / 2
_ICOSAHEDRON_VERTICES = [
    [-1, _GOLDEN, 0], [1, _GOLDEN, 0], [-1, -_GOLDEN, 0], [1, -_GOLDEN, 0],
    [0, -1, _GOLDEN], [0, 1, _GOLDEN], [0, -1, -_GOLDEN], [0, 1, -_GOLDEN],
    [_GOLDEN, 0, -1], [_GOLDEN, 0, 1], [-_GOLDEN, 0, -1], [-_GOLDEN, 0, 1],
]  # fmt: skip
_ICOSAHEDRON_FACES = [
    [0, 11, 5], [0, 5, 1], [0, 1, 7], [0, 7, 10], [0, 10, 11], [1, 5, 9], [5, 11, 4], [11, 10, 2], [10, 7, 6], [7, 1, 8],
    [3, 9, 4], [3, 4, 2], [3, 2, 6], [3, 6, 8], [3, 8, 9], [4, 9, 5], [2, 4, 11], [6, 2, 10], [8, 6, 7], [9, 8, 1],
]  # fmt: skip


def icosphere(level: int = 4, *, radius: float = 1.0, dtype: torch.dtype = torch.float32) -> Mesh:
    """A sphere about the origin from an icosahedron whose faces are cut in four `level` times: 20 * 4^level faces of like size.

    Level 4 has 2,562 vertices and 5,120 faces. The vertices of a level are the first of the next one.
    """
    if not 0 <= level <= 10:
        raise ArgumentError(f"icosphere: `level` must lie in 0 to 10 (21 million faces), got {level}")
    vertices = torch.tensor(_ICOSAHEDRON_VERTICES, dtype=torch.float64)
    vertices = vertices / vertices.norm(dim=1, keepdim=True)
    faces = torch.tensor(_ICOSAHEDRON_FACES)
    for _ in range(level):
        faces, edges = split_faces(faces, vertices.shape[0])
        middle = vertices[edges].sum(1)
        vertices = torch.cat([vertices, middle / middle.norm(dim=1, keepdim=True)])
    return Mesh(vertices=(radius * vertices).to(dtype), faces=faces)


def torus(
    major_radius: float = 1.0, minor_radius: float = 0.4, *, segments: tuple[int, int] = (64, 32), dtype: torch.dtype = torch.float32
) -> Mesh:
    """A torus about the z axis: `segments` around the axis and around the tube."""
    around, tube = _segments("torus", segments, 3)
    u = torch.arange(around, dtype=torch.float64)[:, None] * (2 * math.pi / around)
    v = torch.arange(tube, dtype=torch.float64)[None] * (2 * math.pi / tube)
    reach = major_radius + minor_radius * v.cos()
    vertices = torch.stack([reach * u.cos(), reach * u.sin(), (minor_radius * v.sin()).expand(around, -1)], dim=-1)
    return Mesh(vertices=vertices.reshape(-1, 3).to(dtype), faces=_grid_faces(around, tube, wrap=(True, True)))


def plane(size: tuple[float, float] = (1.0, 1.0), *, segments: tuple[int, int] = (1, 1), dtype: torch.dtype = torch.float32) -> Mesh:
    """A rectangle in the plane z = 0 about the origin, facing +z, cut into `segments` along x and y, with UVs."""
    nx, ny = _segments("plane", segments, 1)
    x, y = torch.linspace(0, 1, nx + 1, dtype=torch.float64), torch.linspace(0, 1, ny + 1, dtype=torch.float64)
    uvs = torch.stack(torch.meshgrid(x, y, indexing="ij"), dim=-1).reshape(-1, 2)
    flat = (uvs - 0.5) * torch.tensor(size, dtype=torch.float64)
    vertices = torch.cat([flat, torch.zeros_like(flat[:, :1])], dim=1)
    return Mesh(vertices=vertices.to(dtype), faces=_grid_faces(nx + 1, ny + 1, wrap=(False, False)), uvs=uvs.to(dtype))


def box(size: tuple[float, float, float] = (1.0, 1.0, 1.0), *, segments: int = 1, dtype: torch.dtype = torch.float32) -> Mesh:
    """A box about the origin with edges `size` along x, y, z, each side cut into `segments` x `segments` squares. Corners are shared."""
    if segments < 1:
        raise ArgumentError(f"box: `segments` must be at least 1, got {segments}")
    n = segments + 1
    grid = torch.stack(torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij"), dim=-1).reshape(-1, 2)
    side_faces = _grid_faces(n, n, wrap=(False, False))
    keys, faces = [], []
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        for end in (0, segments):
            lattice = torch.empty(n * n, 3, dtype=torch.int64)
            lattice[:, axis], lattice[:, first], lattice[:, second] = end, grid[:, 0], grid[:, 1]
            keys.append((lattice[:, 0] * n + lattice[:, 1]) * n + lattice[:, 2])
            faces.append((side_faces if end else side_faces.flip(1)) + len(faces) * n * n)
    unique, index = torch.unique(torch.cat(keys), return_inverse=True)
    lattice = torch.stack([unique // (n * n), unique // n % n, unique % n], dim=1)
    vertices = (lattice.to(torch.float64) / segments - 0.5) * torch.tensor(size, dtype=torch.float64)
    return Mesh(vertices=vertices.to(dtype), faces=index[torch.cat(faces)])


def cylinder(radius: float = 0.5, height: float = 1.0, *, segments: tuple[int, int] = (32, 1), dtype: torch.dtype = torch.float32) -> Mesh:
    """A closed cylinder about the z axis, centred: `segments` around and along."""
    around, along = _segments("cylinder", segments, 1)
    z = torch.linspace(-height / 2, height / 2, along + 1, dtype=torch.float64)
    return _revolved(torch.full_like(z, radius), z, around, height / 2, dtype)


def capsule(radius: float = 0.5, height: float = 1.0, *, segments: tuple[int, int] = (32, 8), dtype: torch.dtype = torch.float32) -> Mesh:
    """A cylinder of `height` about the z axis, centred, with half a sphere at each end (overall height + 2 radius).

    `segments`: around the axis, and along each half sphere.
    """
    around, rings = _segments("capsule", segments, 1)
    angle = torch.linspace(0, math.pi / 2, rings + 1, dtype=torch.float64)[:-1]
    profile, rise = radius * angle.cos(), height / 2 + radius * angle.sin()
    return _revolved(torch.cat([profile.flip(0), profile]), torch.cat([-rise.flip(0), rise]), around, height / 2 + radius, dtype)


def _revolved(radii: Tensor, z: Tensor, around: int, top: float, dtype: torch.dtype) -> Mesh:
    """Rings of the given radii and heights about the z axis, closed by a vertex at -top and one at +top."""
    if around < 3:
        raise ArgumentError(f"a surface of revolution needs at least 3 segments around its axis, got {around}")
    angle = torch.arange(around, dtype=torch.float64)[:, None] * (2 * math.pi / around)
    sides = torch.stack([radii * angle.cos(), radii * angle.sin(), z.expand(around, -1)], dim=-1).reshape(-1, 3)
    poles = torch.tensor([[0, 0, -top], [0, 0, top]], dtype=torch.float64)
    rings, count = len(z), sides.shape[0]
    start = torch.arange(around) * rings
    ahead = start.roll(-1)
    bottom = torch.stack([torch.full_like(start, count), ahead, start], dim=1)
    lid = torch.stack([torch.full_like(start, count + 1), start + rings - 1, ahead + rings - 1], dim=1)
    faces = torch.cat([_grid_faces(around, rings, wrap=(True, False)), bottom, lid])
    return Mesh(vertices=torch.cat([sides, poles]).to(dtype), faces=faces)


def _grid_faces(rows: int, columns: int, *, wrap: tuple[bool, bool]) -> Tensor:
    """Two triangles for every square of a grid of vertices, row by row; the normal is row direction x column direction."""
    index = torch.arange(rows * columns).view(rows, columns)
    if wrap[0]:
        index = torch.cat([index, index[:1]])
    if wrap[1]:
        index = torch.cat([index, index[:, :1]], dim=1)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    return torch.stack([torch.stack([a, b, c], dim=-1), torch.stack([a, c, d], dim=-1)], dim=2).reshape(-1, 3)


def _segments(name: str, segments: tuple[int, int], least: int) -> tuple[int, int]:
    if min(segments) < least:
        raise ArgumentError(f"{name}: `segments` must be at least {least}, got {segments}")
    return segments
