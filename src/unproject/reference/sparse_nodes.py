"""Sparse lattice nodes in plain torch, by sorted keys instead of bitmaps."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

_OFFSETS = torch.tensor(list(itertools.product((-1, 0, 1), repeat=3)))
_CORNERS = torch.tensor(list(itertools.product((0, 1), repeat=3)))


def sparse_nodes(cells: Tensor, size: tuple[int, int, int], dilations: int) -> Tensor:
    """int64 [N, 3], lexicographic: the corners of cells [C, 3] and their neighbours up to `dilations` rings away, inside of the lattice."""
    nodes = (cells.long()[:, None] + _CORNERS).reshape(-1, 3).unique(dim=0)
    for _ in range(dilations):
        nodes = (nodes[:, None] + _OFFSETS).reshape(-1, 3).unique(dim=0)
        nodes = nodes[((nodes >= 0) & (nodes < torch.tensor(size))).all(1)]
    return nodes


def find_nodes(coordinates: Tensor, nodes: Tensor) -> Tensor:
    """Index of the node at each coordinate [..., 3], -1 where there is none."""
    key = lambda t: ((t[..., 0].long() + 1) << 42) + ((t[..., 1].long() + 1) << 21) + t[..., 2].long() + 1
    known, wanted = key(nodes), key(coordinates)
    if len(known) == 0:
        return torch.full_like(wanted, -1)
    place = torch.searchsorted(known, wanted).clamp(max=len(known) - 1)
    return torch.where(known[place] == wanted, place, -1)


def neighbors(nodes: Tensor) -> Tensor:
    """int64 [N, 27] index of the neighbour at each offset, z fastest; -1 where there is none."""
    return find_nodes(nodes[:, None] + _OFFSETS, nodes)


def trilinear(points: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Corner nodes int64 [P, 8], their weights [P, 8] and the weights' gradients [P, 8, 3] at points in node units; index -1 if missing."""
    base = points.floor()
    part = (points - base)[:, None]
    corner = find_nodes(base.long()[:, None] + _CORNERS, nodes)
    factors = torch.where(_CORNERS.bool(), part, 1 - part)
    sign = torch.where(_CORNERS.bool(), 1.0, -1.0).to(points.dtype)
    others = torch.stack([factors[..., 1] * factors[..., 2], factors[..., 0] * factors[..., 2], factors[..., 0] * factors[..., 1]], dim=-1)
    return corner, factors.prod(-1), sign * others


def interpolate_nodes(points: Tensor, values: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Value [P] and gradient [P, 3]; NaN where a corner is missing."""
    corner, weight, slope = trilinear(points, nodes)
    at = values[corner.clamp(min=0)]
    whole = (corner >= 0).all(1)
    value = torch.where(whole, (weight * at).sum(1), torch.nan)
    return value, torch.where(whole[:, None], (slope * at[:, :, None]).sum(1), torch.nan)
