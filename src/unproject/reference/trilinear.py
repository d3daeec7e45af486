"""Trilinear interpolation in plain torch, with the signatures of the operators."""

from __future__ import annotations

import torch
from torch import Tensor


def _corner_offsets(device: torch.device) -> Tensor:
    corner = torch.arange(8, device=device)
    return torch.stack([corner & 1, corner >> 1 & 1, corner >> 2], dim=1)


def locate_dense(points: Tensor, size_x: int, size_y: int, size_z: int) -> tuple[Tensor, Tensor]:
    """Corner indices int32 [N, 8] and fractions [N, 3] of grid coordinates [N, 3]; points outside move to the border."""
    size = torch.tensor([size_x, size_y, size_z], device=points.device)
    points = torch.where(torch.isfinite(points).all(1, keepdim=True), points, 0)
    cell = torch.minimum(points.floor().clamp_min(0), (size - 2).clamp_min(0)).long()
    corner = torch.minimum(cell[:, None] + _corner_offsets(points.device), size - 1)
    index = (corner[..., 0] * size_y + corner[..., 1]) * size_z + corner[..., 2]
    return index.to(torch.int32), (points - cell).clamp(0, 1)


def locate_blocks(points: Tensor, keys: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    """The same in blocks of 8^3 with their hash table; -1 for a corner without a block, unless it has no weight."""
    place = points.double()
    near = (place - (place + 0.5).floor()).abs() <= 2 * torch.finfo(points.dtype).eps * (1 + place.abs())
    place = torch.where(near, (place + 0.5).floor(), place)
    known = (place.abs() < 8_000_000).all(1, keepdim=True)
    place = torch.where(known, place, 0)
    cell = place.floor().long()
    corner = cell[:, None] + _corner_offsets(points.device)
    index = _block_samples(corner, keys, slots)
    needed = torch.where(place[:, None] > cell[:, None], _corner_offsets(points.device), 0)
    index = torch.where(index < 0, _block_samples(cell[:, None] + needed, keys, slots), index)
    return torch.where(known, index, -1).to(torch.int32), (place - cell).to(points.dtype)


def _block_samples(lattice: Tensor, keys: Tensor, slots: Tensor) -> Tensor:
    owner = block_find((lattice >> 3).reshape(-1, 3), keys, slots).reshape(lattice.shape[:-1])
    local = (lattice[..., 0] & 7) * 64 + (lattice[..., 1] & 7) * 8 + (lattice[..., 2] & 7)
    return torch.where(owner >= 0, owner * 512 + local, -1)


def block_find(coordinates: Tensor, keys: Tensor, slots: Tensor) -> Tensor:
    """The number of the block at each position [N, 3], or -1: a search in the sorted keys of the table."""
    x, y, z = (coordinates + (1 << 20)).unbind(1)
    wanted = x << 42 | y << 21 | z
    ordered, order = torch.sort(keys)
    place = torch.searchsorted(ordered, wanted).clamp_max(len(ordered) - 1)
    return torch.where(ordered[place] == wanted, slots[order[place]].long(), -1)


def _weights(fraction: Tensor) -> Tensor:
    sides = torch.stack([1 - fraction, fraction], dim=-1)  # [N, 3, 2]
    offset = _corner_offsets(fraction.device)
    return sides[:, 0, offset[:, 0]] * sides[:, 1, offset[:, 1]] * sides[:, 2, offset[:, 2]]


def gather(values: Tensor, index: Tensor, fraction: Tensor) -> Tensor:
    """Interpolate rows of values [P, D] at corners `index` [N, 8] by `fraction` [N, 3]: [N, D]; 0 where an index is -1."""
    weight = torch.where((index >= 0).all(1, keepdim=True), _weights(fraction), 0)
    return (weight[..., None] * values[index.clamp_min(0).long()]).sum(1)


def gather_backward(grad: Tensor, values: Tensor, index: Tensor, fraction: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of `gather` with respect to values and fraction; itself differentiable."""
    whole = (index >= 0).all(1, keepdim=True)
    rows = index.clamp_min(0).long()
    weight = torch.where(whole, _weights(fraction), 0)
    grad_values = torch.zeros_like(values).index_add(0, rows.flatten(), (weight[..., None] * grad[:, None]).flatten(0, 1))
    flow = torch.where(whole, (grad[:, None] * values[rows]).sum(-1), 0)  # [N, 8]
    offset = _corner_offsets(fraction.device).to(fraction.dtype)
    sides = torch.where(offset > 0, fraction[:, None], 1 - fraction[:, None])  # [N, 8, 3]
    others = torch.stack([sides[..., 1] * sides[..., 2], sides[..., 0] * sides[..., 2], sides[..., 0] * sides[..., 1]], dim=-1)
    return grad_values, (flow[..., None] * (2 * offset - 1) * others).sum(1)
