"""Sculpting: shapes as signed-distance functions, joined smoothly, and the mesh of the result.

A shape is a function from points [..., 3] to signed distances [...] (positive outside), built by the functions here or written by hand.
Distances of joined shapes are bounds, exact at the surface. All are differentiable in the points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import TypeAlias

import torch
from torch import Tensor

from ..errors import ArgumentError, DataError
from .isosurface import marching_cubes
from .mesh import Mesh

Sdf: TypeAlias = Callable[[Tensor], Tensor]
Point: TypeAlias = Sequence[float]

_CHUNK = 1 << 18  # points evaluated at a time
_BLOCK = 8  # grid points along a block


def sdf_sphere(center: Point, radius: float) -> Sdf:
    """A ball."""
    return lambda p: (p - p.new_tensor(center)).norm(dim=-1) - radius


def sdf_ellipsoid(center: Point, radii: Point) -> Sdf:
    """An ellipsoid along the axes; the distance is a first-order estimate."""

    def distance(p: Tensor) -> Tensor:
        scaled = (p - p.new_tensor(center)) / p.new_tensor(radii)
        size, slope = scaled.norm(dim=-1), (scaled / p.new_tensor(radii)).norm(dim=-1)
        return torch.where(slope > 0, size * (size - 1) / slope.clamp(min=1e-12), -min(radii))

    return distance


def sdf_capsule(start: Point, end: Point, radius: float, end_radius: float | None = None) -> Sdf:
    """A round rod from start to end whose radius changes evenly from `radius` to `end_radius` (the same without)."""
    last = radius if end_radius is None else end_radius

    def distance(p: Tensor) -> Tensor:
        a, b = p.new_tensor(start), p.new_tensor(end)
        along = ((p - a) @ (b - a) / (b - a).square().sum().clamp(min=1e-20)).clamp(0, 1)
        return (p - a - along[..., None] * (b - a)).norm(dim=-1) - (radius + along * (last - radius))

    return distance


def sdf_torus(center: Point, axis: Point, major_radius: float, minor_radius: float) -> Sdf:
    """A ring about an axis through its center."""

    def distance(p: Tensor) -> Tensor:
        up = torch.nn.functional.normalize(p.new_tensor(axis), dim=0)
        offset = p - p.new_tensor(center)
        height = offset @ up
        reach = (offset - height[..., None] * up).norm(dim=-1)
        return torch.hypot(reach - major_radius, height) - minor_radius

    return distance


def sdf_box(center: Point, size: Point, *, rounding: float = 0.0) -> Sdf:
    """A box along the axes with edges `size`, its edges and corners rounded by a radius."""

    def distance(p: Tensor) -> Tensor:
        beyond = (p - p.new_tensor(center)).abs() - (0.5 * p.new_tensor(size) - rounding)
        return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(dim=-1).clamp(max=0) - rounding

    return distance


def sdf_union(*shapes: Sdf) -> Sdf:
    """What lies in any of the shapes."""
    return lambda p: reduce(torch.minimum, [shape(p) for shape in shapes])


def sdf_intersection(*shapes: Sdf) -> Sdf:
    """What lies in all of the shapes."""
    return lambda p: reduce(torch.maximum, [shape(p) for shape in shapes])


def sdf_difference(shape: Sdf, *others: Sdf) -> Sdf:
    """What lies in the first shape and in none of the others."""
    return lambda p: reduce(torch.maximum, [shape(p), *[-other(p) for other in others]])


def sdf_smooth_union(*shapes: Sdf, radius: float) -> Sdf:
    """The union with a fillet of about `radius` where shapes meet, joined one after the other.

    Source: the quadratic polynomial minimum of Quilez, "Smooth minimum".
    """
    _check_radius(radius, "sdf_smooth_union")
    return lambda p: reduce(lambda a, b: _smooth_minimum(a, b, radius), [shape(p) for shape in shapes])


def sdf_smooth_difference(shape: Sdf, *others: Sdf, radius: float) -> Sdf:
    """The difference with rounded rims."""
    _check_radius(radius, "sdf_smooth_difference")
    return lambda p: -reduce(lambda a, b: _smooth_minimum(a, b, radius), [-shape(p), *[other(p) for other in others]])


def sdf_moved(shape: Sdf, world_from_shape: Tensor) -> Sdf:
    """A shape turned and moved by a rigid transform [4, 4]."""

    def distance(p: Tensor) -> Tensor:
        turn, shift = world_from_shape[:3, :3].to(p), world_from_shape[:3, 3].to(p)
        return shape((p - shift) @ turn)

    return distance


def sdf_mirrored(shape: Sdf, axis: int) -> Sdf:
    """A shape and its mirror image across the plane through the origin where coordinate `axis` is zero (made of the positive side)."""

    def distance(p: Tensor) -> Tensor:
        sides = p.clone()
        sides[..., axis] = p[..., axis].abs()
        return shape(sides)

    return distance


def mesh_sdf(shape: Sdf, low: Point, high: Point, *, resolution: int = 128, dtype: torch.dtype = torch.float32) -> Mesh:
    """The surface of a shape by marching cubes.

    Args:
        shape: signed-distance function; it may rise up to twice as fast as a true distance, since only places are looked at where
            the distance at the middle of a block does not exclude a surface.
        low, high: corners of a box around it.
        resolution: cells along the longest side of the box; cells are cubes.
        dtype: of the vertices.

    Raises:
        ArgumentError: a box without volume, or a resolution below 1.
        DataError: the shape does not lie inside the box, or there is none in it.

    Gradient: none. Source: Lorensen and Cline 1987.
    """
    corner, extent = torch.tensor(low, dtype=dtype), torch.tensor(high, dtype=dtype) - torch.tensor(low, dtype=dtype)
    if resolution < 1 or not bool((extent > 0).all()):
        raise ArgumentError(f"mesh_sdf: `high` must exceed `low` and `resolution` be at least 1, got {low}, {high}, {resolution}")
    cell = float(extent.max()) / resolution
    sizes = [max(2, int(torch.ceil(side / cell - 1e-4)) + 1) for side in extent]
    with torch.no_grad():
        values = _evaluate(shape, corner, cell, sizes)
    if not bool((values < 0).any()):
        raise DataError("mesh_sdf: the shape has no inside on this grid; enlarge the box or the resolution")
    faces_of_box = [values.select(axis, side) for axis in range(3) for side in (0, -1)]
    if any(bool((face < 0).any()) for face in faces_of_box):
        raise DataError("mesh_sdf: the shape reaches out of the box; enlarge it")
    world_from_grid = torch.eye(4, dtype=dtype)
    world_from_grid[:3, :3] *= cell
    world_from_grid[:3, 3] = corner
    return marching_cubes(values, world_from_grid=world_from_grid)


def _evaluate(shape: Sdf, corner: Tensor, cell: float, sizes: list[int]) -> Tensor:
    """Values on a grid; in blocks far from the surface, the value at the block's middle."""
    blocks = [-(-size // _BLOCK) for size in sizes]
    grid = lambda counts: torch.stack(torch.meshgrid(*[torch.arange(count) for count in counts], indexing="ij"), dim=-1)
    middles = corner + cell * (_BLOCK * grid(blocks).to(corner.dtype).reshape(-1, 3) + 0.5 * (_BLOCK - 1))
    values = torch.cat([shape(part) for part in middles.split(_CHUNK)])
    near = (values.abs() <= 2 * 0.5 * 3**0.5 * _BLOCK * cell).nonzero()[:, 0]
    dense = values[:, None].repeat(1, _BLOCK**3)
    inside = (cell * (grid([_BLOCK] * 3).to(corner.dtype).reshape(-1, 3) - 0.5 * (_BLOCK - 1)))[None]
    for part in near.split(_CHUNK // _BLOCK**3):
        dense[part] = shape(middles[part, None] + inside)
    dense = dense.view(*blocks, _BLOCK, _BLOCK, _BLOCK).permute(0, 3, 1, 4, 2, 5)
    return dense.reshape([_BLOCK * count for count in blocks])[: sizes[0], : sizes[1], : sizes[2]].contiguous()


def _smooth_minimum(a: Tensor, b: Tensor, radius: float) -> Tensor:
    overlap = (radius - (a - b).abs()).clamp(min=0) / radius
    return torch.minimum(a, b) - 0.25 * radius * overlap.square()


def _check_radius(radius: float, where: str) -> None:
    if not radius > 0:
        raise ArgumentError(f"{where}: `radius` must be positive, got {radius}")
