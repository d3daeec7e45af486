"""SparseGrid: samples in blocks of 8^3, only where they are needed, found by a hash table. Memory grows with the surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..ops.trilinear import block_find, block_hash, gather, locate_blocks
from ..struct import TensorStruct
from .isosurface import apply_affine, block_surface_positions, find_isosurface_of_blocks
from .mesh import Mesh
from .voxels import VoxelGrid

BLOCK = 8


@dataclass(frozen=True, kw_only=True)
class BlockIndex(TensorStruct):
    """A hash table from block positions to rows: open addressing in a power of two of slots. Made by `build_block_index`.

    Attributes:
        keys: [S] int64, -1 for an empty slot.
        rows: [S] int32.
    """

    keys: Tensor
    rows: Tensor


@dataclass(frozen=True, kw_only=True)
class SparseGrid(TensorStruct):
    """A lattice of which only blocks of 8^3 samples exist. Other meanings as in VoxelGrid.

    Attributes:
        values: [B, 8, 8, 8] or [B, 8, 8, 8, D]; sample [b, i, j, k] belongs to the grid point 8 * coordinates[b] + (i, j, k); NaN: unknown.
        coordinates: [B, 3] int64 block positions, distinct, in [-2^20, 2^20).
        index: rows of `coordinates` by position.
        world_from_grid: [4, 4] affine.
    """

    values: Tensor
    coordinates: Tensor
    index: BlockIndex
    world_from_grid: Tensor

    @property
    def block_count(self) -> int:
        return self.coordinates.shape[0]

    def __getitem__(self, index: Any) -> SparseGrid:
        """The grid of some of the blocks: by slice, indices or mask."""
        if isinstance(index, int):
            index = slice(index, index + 1 or None)
        return make_sparse_grid(self.values[index], self.coordinates[index], world_from_grid=self.world_from_grid)


def build_block_index(coordinates: Int[Tensor, "B 3"]) -> BlockIndex:
    """The hash table of block positions.

    Raises:
        ArgumentError: the same block twice, or further than 2^20 blocks from the origin.
    """
    check_shape(coordinates, ["B", 3], name="coordinates", where="build_block_index", integer=True)
    blocks = coordinates.to(torch.int64).contiguous()
    if blocks.numel() and (int(blocks.min()) < -(1 << 20) or int(blocks.max()) >= 1 << 20):
        raise ArgumentError("build_block_index: `coordinates` must lie within 2^20 blocks of the origin")
    capacity = 1 << max(3, (2 * blocks.shape[0] - 1).bit_length())
    try:
        keys, rows = block_hash(blocks.cpu(), capacity)
    except ValueError as error:
        raise ArgumentError(f"build_block_index: {error}") from None
    return BlockIndex(keys=keys.to(blocks.device), rows=rows.to(blocks.device))


def make_sparse_grid(values: Tensor, coordinates: Int[Tensor, "B 3"], *, world_from_grid: Tensor | None = None) -> SparseGrid:
    """A sparse grid from blocks, checked.

    Raises:
        ArgumentError: shapes, or the same block twice.
    """
    blocks = coordinates.to(torch.int64)
    count = blocks.shape[0]
    if not isinstance(values, Tensor) or values.shape[:4] != (count, BLOCK, BLOCK, BLOCK) or values.dim() not in (4, 5):
        shown = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ArgumentError(f"make_sparse_grid: `values` must be [{count}, 8, 8, 8] or [{count}, 8, 8, 8, D], got {shown}")
    if world_from_grid is None:
        world_from_grid = torch.eye(4, dtype=values.dtype, device=values.device)
    check_shape(world_from_grid, [4, 4], name="world_from_grid", where="make_sparse_grid", finite=True)
    return SparseGrid(values=values, coordinates=blocks, index=build_block_index(blocks), world_from_grid=world_from_grid)


def find_blocks(index: BlockIndex, coordinates: Int[Tensor, "N 3"]) -> Int[Tensor, "N"]:
    """The row of the block at each position, -1 where there is none."""
    check_shape(coordinates, ["N", 3], name="coordinates", where="find_blocks", integer=True)
    return block_find(coordinates.to(torch.int64).contiguous(), index.keys, index.rows)


def sparse_points(grid: SparseGrid) -> Float[Tensor, "B 8 8 8 3"]:
    """World positions of all samples."""
    local = torch.cartesian_prod(*[torch.arange(BLOCK, device=grid.coordinates.device)] * 3).reshape(BLOCK, BLOCK, BLOCK, 3)
    lattice = BLOCK * grid.coordinates[:, None, None, None] + local
    return apply_affine(grid.world_from_grid, lattice.to(grid.world_from_grid.dtype))


def sample_sparse(grid: SparseGrid, points: Float[Tensor, "... 3"], *, outside: float = torch.nan) -> Float[Tensor, "... *D"]:
    """Trilinear interpolation at world points; `outside` where one of a point's eight samples is in no block.

    Gradient: values, points and world_from_grid. Second derivatives too.
    """
    check_shape(points, [..., 3], name="points", where="sample_sparse")
    local = apply_affine(torch.linalg.inv(grid.world_from_grid.to(points.dtype)), points).reshape(-1, 3)
    index, fraction = locate_blocks(local.detach().contiguous(), grid.index.keys, grid.index.rows)
    features = grid.values.to(points.dtype).reshape(grid.block_count * BLOCK**3, grid.values.shape[4:].numel())
    inside = (index >= 0).all(1, keepdim=True)
    if grid.block_count == 0:
        result = local.new_full((local.shape[0], grid.values.shape[4:].numel()), outside)
    else:
        slope = torch.where(inside, local - local.detach(), 0)
        result = torch.where(inside, gather(features.contiguous(), index, fraction + slope), outside)
    return result.reshape(*points.shape[:-1], *grid.values.shape[4:])


def sparse_to_mesh(grid: SparseGrid, *, iso: float = 0.0) -> Mesh:
    """Marching cubes of a grid [B, 8, 8, 8], without cracks between blocks; cells with an unknown (NaN) corner have no surface.

    Gradient: values and world_from_grid.
    """
    surface = find_isosurface_of_blocks(grid.values, grid.coordinates, iso=iso)
    vertices = block_surface_positions(surface, grid.coordinates, dtype=grid.world_from_grid.dtype)
    return Mesh(vertices=apply_affine(grid.world_from_grid, vertices), faces=surface.faces)


def sparse_from_dense(grid: VoxelGrid, *, active: Bool[Tensor, "X Y Z"], fill: float = torch.nan) -> SparseGrid:
    """The blocks of a dense grid that contain an active sample. Samples beyond the dense grid's end are `fill`. Gradient: values."""
    if active.shape != grid.values.shape[:3]:
        raise ArgumentError(f"sparse_from_dense: `active` must be {list(grid.values.shape[:3])}, got {list(active.shape)}")
    pads = [p for n in reversed(grid.size) for p in (0, -n % BLOCK)]
    channels = grid.values.dim() == 4
    values = torch.nn.functional.pad(grid.values, ([0, 0] if channels else []) + pads, value=fill)
    blocks = _blocked(values)
    wanted = _blocked(torch.nn.functional.pad(active, pads)).flatten(3).any(-1)
    coordinates = wanted.nonzero()
    return make_sparse_grid(blocks[wanted], coordinates, world_from_grid=grid.world_from_grid)


def _blocked(values: Tensor) -> Tensor:
    """[X, Y, Z, ...] with sizes in eights as [X/8, Y/8, Z/8, 8, 8, 8, ...]."""
    x, y, z = (n // BLOCK for n in values.shape[:3])
    parts = values.reshape(x, BLOCK, y, BLOCK, z, BLOCK, *values.shape[3:])
    return parts.permute(0, 2, 4, 1, 3, 5, *range(6, parts.dim()))


def sparse_to_dense(grid: SparseGrid, *, fill: float = torch.nan) -> VoxelGrid:
    """A dense grid over the bounding box of the blocks, `fill` where there is no block. Gradient: values.

    Raises:
        ArgumentError: no blocks, or more than 2^31 samples.
    """
    if grid.block_count == 0:
        raise ArgumentError("sparse_to_dense: the grid has no blocks")
    low, high = grid.coordinates.amin(0), grid.coordinates.amax(0)
    x, y, z = (int(n) for n in high - low + 1)
    if x * y * z * BLOCK**3 > 2**31:
        raise ArgumentError(f"sparse_to_dense: {x * 8} x {y * 8} x {z * 8} samples are too many for a dense grid")
    tail = grid.values.shape[4:]
    flat = ((grid.coordinates - low) * torch.tensor([y * z, z, 1], device=low.device)).sum(1)
    blocks = grid.values.new_full((x * y * z, BLOCK, BLOCK, BLOCK, *tail), fill).index_copy(0, flat, grid.values)
    parts = blocks.reshape(x, y, z, BLOCK, BLOCK, BLOCK, *tail)
    values = parts.permute(0, 3, 1, 4, 2, 5, *range(6, parts.dim())).reshape(8 * x, 8 * y, 8 * z, *tail)
    move = torch.eye(4, dtype=grid.world_from_grid.dtype, device=grid.world_from_grid.device)
    move[:3, 3] = (low * BLOCK).to(move.dtype)
    return VoxelGrid(values=values, world_from_grid=grid.world_from_grid @ move)


def gather_lists(
    grid: SparseGrid, *, kernel_size: int = 3, active: Bool[Tensor, "B 8 8 8"] | None = None
) -> tuple[tuple[Int[Tensor, "3"], Int[Tensor, "M"], Int[Tensor, "M"]], ...]:
    """What a sparse convolution gathers and scatters: for each offset of its kernel the pairs of samples that are so far apart.

    With features [B * 512, D] and weights [K, D, E]: out = sum over offsets k of
    zeros.index_add(0, target_k, features[source_k] @ weights[k]).

    Args:
        kernel_size: odd; all offsets in the cube of that width, x slowest.
        active: samples that take part; by default all of the blocks'.

    Returns:
        For each offset: (offset, source, target), flat sample rows 512 b + 64 i + 8 j + k; source lies at target + offset.
    """
    if kernel_size % 2 == 0 or kernel_size < 1:
        raise ArgumentError(f"gather_lists: `kernel_size` must be odd, got {kernel_size}")
    device = grid.coordinates.device
    if active is None:
        active = torch.ones((grid.block_count, BLOCK, BLOCK, BLOCK), dtype=torch.bool, device=device)
    target = active.reshape(-1).nonzero()[:, 0]
    local = torch.stack([target >> 6 & 7, target >> 3 & 7, target & 7], dim=1)
    lattice = BLOCK * grid.coordinates[target >> 9] + local
    reach = torch.arange(kernel_size, device=device) - kernel_size // 2
    lists = []
    for offset in torch.cartesian_prod(reach, reach, reach).reshape(-1, 3):
        place = lattice + offset
        inner = place & 7
        block = find_blocks(grid.index, place >> 3)
        source = block * 512 + inner[:, 0] * 64 + inner[:, 1] * 8 + inner[:, 2]
        there = block >= 0
        there[there.clone()] = active.reshape(-1)[source[there]]
        lists.append((offset, source[there], target[there]))
    return tuple(lists)
