"""Isosurfaces of sampled functions: marching cubes on dense grids, lists of cells and sparse blocks, differentiable."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import ArgumentError, check_indices, check_shape
from ..ops.isosurface import isosurface_blocks, isosurface_cells, isosurface_dense
from ..struct import TensorStruct
from .mesh import Mesh

# A crossing keeps this distance (in cell widths) from the ends of its edge: where the surface passes through a grid point, the
# triangles around it stay small but whole instead of collapsing to needles and points.
CORNER_MARGIN = 1e-3


@dataclass(frozen=True, kw_only=True)
class Isosurface(TensorStruct):
    """Where a surface crosses the edges of a lattice.

    Attributes:
        edges: [V, 2] the lattice points at both ends of each crossed edge, flat indices.
        weight: [V] in (0, 1), how far from the first to the second end the crossing lies; carries gradients to the values.
        faces: [F, 3] rows of `edges`, counter-clockwise seen from outside (from where values are above the iso value).
    """

    edges: Tensor
    weight: Tensor
    faces: Tensor

    def interpolate(self, samples: Float[Tensor, "P *D"]) -> Float[Tensor, "V *D"]:
        """Values at the crossings, linear between the lattice points' `samples` (positions, colours, ...). Gradient: both."""
        first, second = samples[self.edges[:, 0]], samples[self.edges[:, 1]]
        weight = self.weight.reshape(-1, *[1] * (samples.dim() - 1))
        return first + weight * (second - first)


def marching_cubes(values: Float[Tensor, "X Y Z"], *, iso: float = 0.0, world_from_grid: Float[Tensor, "4 4"] | None = None) -> Mesh:
    """The surface where a sampled function equals `iso`, as a triangle mesh without cracks.

    Vertices are shared. Faces are counter-clockwise seen from where the function is above `iso` (signed distances: from outside). The
    mesh is manifold, and closed except where the surface leaves the grid or touches cells with NaN or infinite corners, which have no
    surface. Ambiguous cell faces are decided by the bilinear interpolant's saddle, alike on both sides.

    Args:
        values: value [i, j, k] belongs to the point (i, j, k) of grid coordinates.
        iso: the level.
        world_from_grid: affine transform of grid coordinates (of the samples, not of cells) to world; identity by default.

    Returns:
        Mesh with vertices in world coordinates, on the grid's edges and at least CORNER_MARGIN cells from grid points.

    Raises:
        ArgumentError: wrong shapes.

    Gradient: values and world_from_grid; which edges are crossed is held fixed.
    Source: Lorensen and Cline 1987; Nielson and Hamann 1991 (asymptotic decider).
    """
    surface = find_isosurface(values, iso=iso)
    _, size_y, size_z = values.shape
    first, second = surface.edges.unbind(1)
    start = torch.stack([first // (size_y * size_z), first // size_z % size_y, first % size_z], dim=1).to(values.dtype)
    step = second - first
    axis = torch.where(step == 1, 2, torch.where(step == size_z, 1, 0))  # sizes of 1 have no cells, so steps are distinct
    vertices = start + surface.weight[:, None] * torch.nn.functional.one_hot(axis, 3).to(values.dtype)
    return Mesh(vertices=apply_affine(world_from_grid, vertices), faces=surface.faces)


def find_isosurface(values: Float[Tensor, "X Y Z"], *, iso: float = 0.0) -> Isosurface:
    """The crossings themselves, for interpolating other grids at them. Points are flat indices of the contiguous grid."""
    check_shape(values, ["X", "Y", "Z"], name="values", where="find_isosurface")
    grid = values.contiguous()
    edges, faces = isosurface_dense(grid.detach(), float(iso))
    if not bool(torch.isfinite(values.detach().sum())):
        edges, faces = _drop_unused(edges, faces)
    return Isosurface(edges=edges, weight=crossing_weight(grid.reshape(-1), edges, iso), faces=faces)


def find_isosurface_of_cells(values: Float[Tensor, "P"], cells: Int[Tensor, "C 8"], *, iso: float = 0.0) -> Isosurface:
    """Marching cubes on a list of cells of one lattice: sparse grids and leaves of an octree join without cracks.

    Cells that share a corner must name it by the same index. An edge is known by its lower corner and axis, so all cells have one size.

    Args:
        values: function values at lattice points; cells with a NaN or infinite corner have no surface.
        cells: corner c of a cell lies at offset (c & 1, c >> 1 & 1, c >> 2 & 1) along x, y, z.
        iso: the level.

    Returns:
        Isosurface; `surface.interpolate(positions)` are the vertices.

    Raises:
        ArgumentError: wrong shapes or indices.

    Gradient: values, through `weight`.
    """
    check_shape(values, ["P"], name="values", where="find_isosurface_of_cells")
    check_shape(cells, ["C", 8], name="cells", where="find_isosurface_of_cells", integer=True)
    check_indices(cells, values.shape[0], name="cells", where="find_isosurface_of_cells")
    edges, faces = isosurface_cells(values.detach().contiguous(), cells.to(torch.int64).contiguous(), float(iso))
    return Isosurface(edges=edges, weight=crossing_weight(values, edges, iso), faces=faces)


def marching_cubes_cells(
    values: Float[Tensor, "P"], positions: Float[Tensor, "P 3"], cells: Int[Tensor, "C 8"], *, iso: float = 0.0
) -> Mesh:
    """The mesh of `find_isosurface_of_cells`, with vertices between the lattice points' `positions`. Gradient: values, positions."""
    check_shape(positions, [values.shape[0], 3], name="positions", where="marching_cubes_cells")
    surface = find_isosurface_of_cells(values, cells, iso=iso)
    return Mesh(vertices=surface.interpolate(positions), faces=surface.faces)


def find_isosurface_of_blocks(values: Float[Tensor, "B 8 8 8"], coordinates: Int[Tensor, "B 3"], *, iso: float = 0.0) -> Isosurface:
    """Marching cubes on blocks of 8^3 samples; cells between neighbouring blocks are included, so that blocks join without cracks.

    Args:
        values: sample [b, i, j, k] belongs to the lattice point 8 * coordinates[b] + (i, j, k); NaN where it is unknown.
        coordinates: distinct integer block positions.
        iso: the level.

    Returns:
        Isosurface with flat indices into `values`: point 512 b + 64 i + 8 j + k.

    Raises:
        ArgumentError: wrong shapes, or the same block twice.

    Gradient: values, through `weight`.
    """
    check_shape(values, ["B", 8, 8, 8], name="values", where="find_isosurface_of_blocks")
    check_shape(coordinates, [values.shape[0], 3], name="coordinates", where="find_isosurface_of_blocks", integer=True)
    neighbors = block_neighbors(coordinates)
    edges, faces = isosurface_blocks(values.detach().contiguous(), neighbors, float(iso))
    return Isosurface(edges=edges, weight=crossing_weight(values.reshape(-1), edges, iso), faces=faces)


def block_surface_positions(
    surface: Isosurface, coordinates: Int[Tensor, "B 3"], *, dtype: torch.dtype | None = None
) -> Float[Tensor, "V 3"]:
    """Lattice positions of the crossings of `find_isosurface_of_blocks`. Gradient: the values, through `surface.weight`."""
    ends = []
    for point in surface.edges.unbind(1):
        local = torch.stack([point >> 6 & 7, point >> 3 & 7, point & 7], dim=1)
        ends.append((8 * coordinates.to(torch.int64)[point >> 9] + local).to(dtype or surface.weight.dtype))
    return ends[0] + surface.weight[:, None] * (ends[1] - ends[0])


def block_neighbors(coordinates: Int[Tensor, "B 3"]) -> Int[Tensor, "B 8"]:
    """For each block the index of the block at offset (c & 1, c >> 1 & 1, c >> 2 & 1), c = 0 .. 7, or -1.

    Raises:
        ArgumentError: the same coordinates twice, or further than 2^20 blocks from the origin.
    """
    blocks = coordinates.to(torch.int64)
    if blocks.shape[0] == 0:
        return blocks.new_empty((0, 8))
    if int(blocks.abs().max()) >= 1 << 20:
        raise ArgumentError("block_neighbors: `coordinates` must lie within 2^20 blocks of the origin")
    keys = block_keys(blocks)
    ordered, order = torch.sort(keys)
    if bool((ordered[1:] == ordered[:-1]).any()):
        raise ArgumentError("block_neighbors: `coordinates` has the same block twice")
    corner = torch.arange(8, device=blocks.device)
    wanted = keys[:, None] + (((corner & 1) << 42) + ((corner >> 1 & 1) << 21) + (corner >> 2))
    place = torch.searchsorted(ordered, wanted).clamp_max(len(ordered) - 1)
    return torch.where(ordered[place] == wanted, order[place], -1)


def block_keys(coordinates: Int[Tensor, "B 3"]) -> Int[Tensor, "B"]:
    """One int64 for each block position, ordered as (x, y, z); components in [-2^20, 2^20)."""
    x, y, z = (coordinates.to(torch.int64) + (1 << 20)).unbind(-1)
    return x << 42 | y << 21 | z


def apply_affine(transform: Float[Tensor, "4 4"] | None, points: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
    """Points under an affine transform; the points themselves for None."""
    if transform is None:
        return points
    check_shape(transform, [4, 4], name="world_from_grid", where="apply_affine")
    transform = transform.to(points)
    return points @ transform[:3, :3].mT + transform[:3, 3]


def crossing_weight(values: Tensor, edges: Tensor, iso: float) -> Tensor:
    """Where the linear interpolant along each edge equals iso. The margin moves the value, not its gradient."""
    first, second = values[edges[:, 0]], values[edges[:, 1]]
    difference = second - first
    tiny = torch.finfo(values.dtype).tiny ** 0.5
    difference = torch.where(difference.abs() < tiny, torch.where(first < iso, tiny, -tiny).to(values.dtype), difference)
    weight = (iso - first) / difference
    return weight + (weight.clamp(CORNER_MARGIN, 1 - CORNER_MARGIN) - weight).detach()


def _drop_unused(edges: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Without the crossings that no cell used, next to unknown values."""
    used = torch.zeros(edges.shape[0], dtype=torch.bool, device=edges.device)
    used[faces.reshape(-1)] = True
    number = torch.cumsum(used, 0) - 1
    return edges[used], number[faces]
