"""Ragged batches: items of several sets, one after the other, and offsets [B + 1] that say where each set begins."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape


def offsets_of(counts: Tensor | Sequence[int]) -> Tensor:
    """Offsets [B + 1] from the counts of B sets: [2, 0, 3] gives [0, 2, 2, 5]."""
    counts = torch.as_tensor(counts, dtype=torch.int64)
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def check_offsets(offsets: Tensor, count: int, *, name: str, where: str) -> Tensor:
    """Check that offsets begin with 0, never fall, and end with `count`; return them.

    Raises:
        ArgumentError: they do not.
    """
    check_shape(offsets, ["B + 1"], name=name, where=where, integer=True)
    if offsets.shape[0] == 0 or int(offsets[0]) != 0 or int(offsets[-1]) != count or bool((offsets.diff() < 0).any()):
        raise ArgumentError(f"{where}: `{name}` must rise from 0 to {count}, got {offsets.tolist()[:8]}{'...' if len(offsets) > 8 else ''}")
    return offsets


def set_of_item(offsets: Tensor) -> Tensor:
    """[N] the set that each item belongs to: offsets [0, 2, 2, 5] give [0, 0, 2, 2, 2]."""
    return torch.arange(offsets.shape[0] - 1, device=offsets.device).repeat_interleave(offsets.diff())


def split_packed(values: Tensor, offsets: Tensor) -> list[Tensor]:
    """The sets of packed values [N, ...] one by one, as views."""
    return list(values.split(offsets.diff().tolist()))


def pad_packed(values: Tensor, offsets: Tensor, *, fill: float = 0.0, size: int | None = None) -> Tensor:
    """Packed values [N, ...] as [B, M, ...], M the largest count or `size`; the rest is `fill`. Gradient: values."""
    check_offsets(offsets, values.shape[0], name="offsets", where="pad_packed")
    counts = offsets.diff()
    largest = int(counts.max()) if counts.numel() else 0
    if size is not None and size < largest:
        raise ArgumentError(f"pad_packed: `size` {size} is less than the largest set, {largest}")
    width = largest if size is None else size
    batch = set_of_item(offsets)
    place = batch * width + torch.arange(values.shape[0], device=values.device) - offsets[:-1][batch]
    padded = values.new_full((counts.shape[0] * width, *values.shape[1:]), fill)
    return padded.index_copy(0, place, values).view(counts.shape[0], width, *values.shape[1:])


def pack_padded(padded: Tensor, counts: Tensor) -> Tensor:
    """The first `counts[b]` values of each row of [B, M, ...], packed: [N, ...]. Gradient: padded."""
    check_shape(counts, [padded.shape[0]], name="counts", where="pack_padded", integer=True)
    if counts.numel() and (int(counts.min()) < 0 or int(counts.max()) > padded.shape[1]):
        raise ArgumentError(f"pack_padded: `counts` must lie in 0 to {padded.shape[1]}, got {int(counts.min())} to {int(counts.max())}")
    return padded[padded_mask(counts, padded.shape[1])]


def padded_mask(counts: Tensor, size: int) -> Tensor:
    """[B, size] which places of a padded batch hold a value."""
    return torch.arange(size, device=counts.device) < counts[:, None]


def ragged_sum(values: Tensor, offsets: Tensor) -> Tensor:
    """[B, ...] the sum of each set of packed values [N, ...]; 0 for an empty set. Gradient: values."""
    return values.new_zeros(offsets.shape[0] - 1, *values.shape[1:]).index_add(0, set_of_item(offsets), values)


def ragged_mean(values: Tensor, offsets: Tensor) -> Tensor:
    """[B, ...] the mean of each set of packed values [N, ...]; 0 for an empty set. Gradient: values."""
    counts = offsets.diff().clamp(min=1).to(values.dtype)
    return ragged_sum(values, offsets) / counts.view(-1, *[1] * (values.dim() - 1))
