"""Marching cubes in plain torch: the same edges and faces, in the same order, as the kernels."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=4)
def _tables(device: torch.device) -> tuple[Tensor, ...]:
    from ..kernels.cube_tables import cube_tables

    return tuple(torch.from_numpy(table).to(device, torch.int64) for table in cube_tables())


def crossed_cells(values: Tensor, cells: Tensor, iso: float) -> tuple[Tensor, Tensor]:
    """The cells [C', 8] with finite corners that the surface passes through, and their table entries [C']."""
    first_entry, ambiguous, *_ = _tables(values.device)
    corner = values.double()[cells] - iso
    case = ((corner < 0).long() << torch.arange(8, device=values.device)).sum(1)
    active = torch.isfinite(corner).all(1) & (case > 0) & (case < 255)
    cells, corner, case = cells[active], corner[active], case[active]
    sides = ambiguous[case]  # [C', 6, 4]
    a = torch.gather(corner, 1, sides.clamp_min(0).flatten(1)).reshape(-1, 6, 4)
    joined = (a[..., 0] * a[..., 1] > a[..., 2] * a[..., 3]) & (sides[..., 0] >= 0)
    return cells, first_entry[case] + (joined.long() << torch.arange(6, device=values.device)).sum(1)


def isosurface_cells(values: Tensor, cells: Tensor, iso: float) -> tuple[Tensor, Tensor]:
    """Crossed edges [V, 2] and triangles [F, 3] for values [P] at the corners `cells` [C, 8] of cells of one lattice."""
    _, _, offset, triangles, edge_corners = _tables(values.device)
    cells, entry = crossed_cells(values, cells, iso)
    count = offset[entry + 1] - offset[entry]
    cell = torch.repeat_interleave(torch.arange(len(cells), device=values.device), count)
    rank = torch.arange(len(cell), device=values.device) - (count.cumsum(0) - count)[cell]
    edge = triangles[offset[entry][cell] + rank]  # [F, 3]
    ends = torch.gather(cells[cell], 1, edge_corners[edge].flatten(1)).reshape(-1, 3, 2)
    keys, faces = torch.unique(ends[..., 0] * 3 + edge // 4, return_inverse=True)
    edges = values.new_empty((len(keys), 2), dtype=torch.int64)
    edges[faces.flatten()] = ends.flatten(0, 1)
    return edges, faces


def crossed_cells_dense(values: Tensor, iso: float) -> tuple[Tensor, Tensor]:
    """The crossed cells of a grid [X, Y, Z]: flat index of the low point, table entry."""
    cells, entry = crossed_cells(values.reshape(-1), mixed_cells(values, iso), iso)
    return cells[:, 0], entry


def isosurface_dense(values: Tensor, iso: float) -> tuple[Tensor, Tensor]:
    """The same for a grid [X, Y, Z]."""
    return isosurface_cells(values.reshape(-1), mixed_cells(values, iso), iso)


def mixed_cells(values: Tensor, iso: float) -> Tensor:
    """Corner indices [C, 8] of a grid's cells with corners on both sides, layer by layer: memory is that of one layer and the surface."""
    ids = torch.arange(values.numel(), device=values.device).reshape(values.shape)
    found = [values.new_empty((0, 8), dtype=torch.int64)]
    for x in range(values.shape[0] - 1):
        inside = values[x : x + 2] < iso
        sides = torch.stack([_shifted(inside, c) for c in range(8)])
        mixed = sides.any(0) & ~sides.all(0)
        found.append(torch.stack([_shifted(ids[x : x + 2], c)[mixed] for c in range(8)], dim=-1))
    return torch.cat(found)


def _shifted(grid: Tensor, corner: int) -> Tensor:
    return grid[tuple(slice(corner >> axis & 1, n - 1 + (corner >> axis & 1)) for axis, n in enumerate(grid.shape))]


def isosurface_blocks(values: Tensor, neighbors: Tensor, iso: float) -> tuple[Tensor, Tensor]:
    """The same for blocks [B, 8, 8, 8] with their neighbours [B, 8] (-1: none)."""
    local = torch.cartesian_prod(*[torch.arange(8, device=values.device)] * 3)  # [512, 3]
    corner = torch.arange(8, device=values.device)
    offset = torch.stack([corner & 1, corner >> 1 & 1, corner >> 2 & 1], dim=1)
    position = local[:, None] + offset  # [512, 8, 3]
    wrap, inner = position >> 3, position & 7
    owner = neighbors[:, wrap[..., 0] | wrap[..., 1] << 1 | wrap[..., 2] << 2]  # [B, 512, 8]
    cells = owner * 512 + inner[..., 0] * 64 + inner[..., 1] * 8 + inner[..., 2]
    whole = (owner >= 0).all(-1)
    return isosurface_cells(values.reshape(-1), cells[whole], iso)
