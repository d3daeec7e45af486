"""VoxelGrid: a dense grid of samples as a value: signed distance, TSDF, occupancy or features."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..ops.trilinear import gather, locate_dense
from ..struct import TensorStruct
from .isosurface import apply_affine, find_isosurface
from .mesh import Mesh
from .points import PointCloud


@dataclass(frozen=True, kw_only=True)
class VoxelGrid(TensorStruct):
    """Samples on a lattice. What they mean is the caller's: signed distances are positive outside and in world units, a TSDF is the
    signed distance over the truncation distance, cut to [-1, 1], occupancy is 0 to 1 and belongs to the cube of one cell around its
    sample.

    Attributes:
        values: [X, Y, Z] or [X, Y, Z, D]; value [i, j, k] belongs to the point (i, j, k) in grid coordinates.
        world_from_grid: [4, 4] affine; p_world = world_from_grid @ p_grid.
    """

    values: Tensor
    world_from_grid: Tensor

    @property
    def size(self) -> tuple[int, int, int]:
        """Number of samples along x, y, z."""
        return (self.values.shape[0], self.values.shape[1], self.values.shape[2])

    def __getitem__(self, index: Any) -> VoxelGrid:
        """A part of the grid, by slices along x, y, z; the transform moves along."""
        slices = (index if isinstance(index, tuple) else (index,)) + (slice(None),) * 3
        ranges = []
        for part, length in zip(slices[:3], self.size):
            if not isinstance(part, slice) or (part.step or 1) <= 0:
                raise ArgumentError(f"VoxelGrid: index with slices with positive steps, got {part!r}")
            ranges.append(range(length)[part])
        move = torch.eye(4, dtype=self.world_from_grid.dtype, device=self.world_from_grid.device)
        for axis, kept in enumerate(ranges):
            move[axis, axis], move[axis, 3] = kept.step, kept.start
        return VoxelGrid(values=self.values[slices[:3]], world_from_grid=self.world_from_grid @ move)


def make_grid(values: Any, *, world_from_grid: Tensor | None = None) -> VoxelGrid:
    """A grid from samples, checked. Without a transform, world and grid coordinates are the same.

    Args:
        values: [X, Y, Z] or [X, Y, Z, D]; floating point is kept, anything else becomes float32.
        world_from_grid: [4, 4] affine and invertible.

    Raises:
        ArgumentError: shapes, or a singular transform.
    """
    samples = torch.as_tensor(values)
    samples = samples if samples.is_floating_point() else samples.to(torch.float32)
    if samples.dim() not in (3, 4):
        raise ArgumentError(f"make_grid: `values` must be [X, Y, Z] or [X, Y, Z, D], got {list(samples.shape)}")
    if world_from_grid is None:
        return VoxelGrid(values=samples, world_from_grid=torch.eye(4, dtype=samples.dtype, device=samples.device))
    check_shape(world_from_grid, [4, 4], name="world_from_grid", where="make_grid", finite=True)
    if float(torch.linalg.det(world_from_grid[:3, :3].detach().double())) == 0:
        raise ArgumentError("make_grid: `world_from_grid` is singular: it has no inverse")
    return VoxelGrid(values=samples, world_from_grid=world_from_grid)


def grid_transform(low: Float[Tensor, "3"], high: Float[Tensor, "3"], size: tuple[int, int, int]) -> Float[Tensor, "4 4"]:
    """world_from_grid of a grid whose first sample lies at `low` and whose last at `high`."""
    check_shape(low, [3], name="low", where="grid_transform")
    check_shape(high, [3], name="high", where="grid_transform")
    steps = torch.tensor([max(n - 1, 1) for n in size], dtype=low.dtype, device=low.device)
    top = torch.cat([torch.diag((high - low) / steps), low[:, None]], dim=1)
    return torch.cat([top, top.new_tensor([[0.0, 0.0, 0.0, 1.0]])])


def surrounding_grid(points: Float[Tensor, "N 3"], *, resolution: int, margin: float = 2.0) -> tuple[Tensor, tuple[int, int, int]]:
    """A lattice of cubic cells around points.

    Args:
        points: what to surround, for example the vertices of a mesh.
        resolution: samples along the longest side, at least 2.
        margin: free cells around the points.

    Returns:
        world_from_grid [4, 4] and the size (X, Y, Z) <= resolution.

    Raises:
        ArgumentError: no points, or a resolution that leaves no room between the margins.
    """
    check_shape(points, ["N", 3], name="points", where="surrounding_grid", finite=True)
    if points.shape[0] == 0:
        raise ArgumentError("surrounding_grid: `points` is empty")
    if resolution < 2 or resolution - 1 <= 2 * margin:
        raise ArgumentError(f"surrounding_grid: `resolution` {resolution} leaves no cells between margins of {margin}")
    low, high = points.detach().amin(0), points.detach().amax(0)
    longest = float((high - low).max()) or 1.0
    cell = longest / (resolution - 1 - 2 * margin)
    size = [min(resolution, math.ceil(float(side) / cell + 2 * margin) + 1) for side in high - low]
    center = (low + high) / 2
    half = center.new_tensor([(n - 1) / 2 * cell for n in size])
    return grid_transform(center - half, center + half, (size[0], size[1], size[2])), (size[0], size[1], size[2])


def grid_points(grid: VoxelGrid) -> Float[Tensor, "X Y Z 3"]:
    """World positions of all samples."""
    return lattice_points(grid.size, grid.world_from_grid)


def lattice_points(size: tuple[int, int, int], world_from_grid: Float[Tensor, "4 4"]) -> Float[Tensor, "X Y Z 3"]:
    """World positions of a lattice. Gradient: world_from_grid."""
    axes = [torch.arange(n, dtype=world_from_grid.dtype, device=world_from_grid.device) for n in size]
    return apply_affine(world_from_grid, torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1))


def cell_size(grid: VoxelGrid) -> float:
    """Edge length of a cell, world units; the geometric mean of the three where they differ."""
    return float(torch.linalg.det(grid.world_from_grid[:3, :3].detach().double()).abs()) ** (1 / 3)


def sample_grid(grid: VoxelGrid, points: Float[Tensor, "... 3"], *, outside: float | None = None) -> Float[Tensor, "... *D"]:
    """Trilinear interpolation at world points.

    Args:
        points: positions; their dtype is the result's.
        outside: the value beyond the outermost samples; None continues the border. NaN points give NaN (or `outside`).

    Returns:
        [...] for a grid [X, Y, Z], [..., D] for features.

    Gradient: values, points and world_from_grid; zero for a point beyond the border. Second derivatives too (eikonal terms).
    """
    check_shape(points, [..., 3], name="points", where="sample_grid")
    matrix = torch.linalg.inv(grid.world_from_grid.to(points.dtype))
    local = apply_affine(matrix, points).reshape(-1, 3)
    values = grid.values.to(points.dtype)
    size = grid.size
    if min(size) == 0:
        raise ArgumentError("sample_grid: the grid has no samples")
    index, fraction = locate_dense(local.detach().contiguous(), *size)
    limit = local.new_tensor([n - 1.0 for n in size])
    inside = (local >= 0) & (local <= limit)  # false for NaN
    # The op clamps and floors; here only the slope is needed, 1 inside along each axis and 0 beyond.
    place = fraction + torch.where(inside, local - local.detach(), 0)
    features = values.reshape(math.prod(size), -1)
    result = gather(features.contiguous(), index, place)
    if outside is not None:
        result = torch.where(inside.all(1, keepdim=True), result, outside)
    else:
        result = torch.where(torch.isfinite(local).all(1, keepdim=True), result, torch.nan)
    return result.reshape(*points.shape[:-1], *grid.values.shape[3:])


def grid_to_channels(grid: VoxelGrid) -> Float[Tensor, "1 D X Y Z"]:
    """The samples in the layout of torch's 3-D convolutions (a batch of one)."""
    values = grid.values if grid.values.dim() == 4 else grid.values[..., None]
    return values.permute(3, 0, 1, 2)[None]


def grid_from_channels(channels: Float[Tensor, "1 D X Y Z"], world_from_grid: Float[Tensor, "4 4"]) -> VoxelGrid:
    """The inverse of `grid_to_channels`; one channel gives a grid [X, Y, Z]."""
    check_shape(channels, [1, "D", "X", "Y", "Z"], name="channels", where="grid_from_channels")
    values = channels[0].permute(1, 2, 3, 0)
    return VoxelGrid(values=values[..., 0] if values.shape[-1] == 1 else values, world_from_grid=world_from_grid)


def truncate(distance: VoxelGrid, *, truncation: float) -> VoxelGrid:
    """A TSDF in [-1, 1] of signed distances. Gradient: values within the truncation distance."""
    if not truncation > 0:
        raise ArgumentError(f"truncate: `truncation` must be positive, got {truncation}")
    return replace(distance, values=(distance.values / truncation).clamp(-1, 1))


def occupancy_of(distance: VoxelGrid, *, softness: float = 0.0) -> VoxelGrid:
    """Occupancy of signed distances: 1 where negative; with a softness the sigmoid of -distance / softness. Gradient: the latter."""
    if softness > 0:
        return replace(distance, values=torch.sigmoid(-distance.values / softness))
    return replace(distance, values=(distance.values < 0).to(distance.values.dtype))


def grid_to_mesh(grid: VoxelGrid, *, iso: float = 0.0) -> Mesh:
    """Marching cubes of a grid [X, Y, Z] of signed distances, in world coordinates. For occupancy pass `iso=-0.5` and negated values."""
    from .isosurface import marching_cubes

    check_shape(grid.values, ["X", "Y", "Z"], name="grid.values", where="grid_to_mesh")
    return marching_cubes(grid.values, iso=iso, world_from_grid=grid.world_from_grid)


def grid_to_points(grid: VoxelGrid, *, threshold: float = 0.5) -> PointCloud:
    """Centres of the voxels whose first channel is above a threshold (occupancy or density); further channels become the points' colours
    (three) or the attribute "features". Gradient: the transform, colours and features.
    """
    values = grid.values if grid.values.dim() == 4 else grid.values[..., None]
    place = (values[..., 0] > threshold).nonzero()
    positions = apply_affine(grid.world_from_grid, place.to(grid.world_from_grid.dtype))
    rest = values[place[:, 0], place[:, 1], place[:, 2], 1:]
    if rest.shape[1] == 3:
        return PointCloud(positions=positions, colors=rest)
    return PointCloud(positions=positions, attributes={"features": rest} if rest.shape[1] else {})


def surface_points(distance: VoxelGrid, *, iso: float = 0.0) -> PointCloud:
    """Where the surface crosses the grid's edges, with unit normals out of it. Gradient: values."""
    check_shape(distance.values, ["X", "Y", "Z"], name="distance.values", where="surface_points")
    surface = find_isosurface(distance.values, iso=iso)
    positions = surface.interpolate(grid_points(distance).reshape(-1, 3))
    slopes = torch.stack([torch.gradient(distance.values, dim=axis)[0] for axis in range(3)], dim=-1).reshape(-1, 3)
    normals = surface.interpolate(slopes) @ torch.linalg.inv(distance.world_from_grid[:3, :3]).to(slopes.dtype)
    return PointCloud(positions=positions, normals=torch.nn.functional.normalize(normals, dim=-1))
