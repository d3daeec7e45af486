"""What packing values into a batch and taking them out again needs: concatenated fields, missing ones noted, members selected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError


class Packer:
    """Concatenates fields of several values, fills up missing ones and notes them in `absent`."""

    def __init__(self, where: str):
        self.where = where
        self.absent: dict[str, Tensor] = {}

    def pack(self, name: str, values: Sequence[Tensor], counts: Sequence[int], *, empty: tuple[int, ...], integer: bool = False) -> Tensor:
        if not values:
            return torch.zeros(empty, dtype=torch.int64 if integer else torch.float32)
        packed = self.pack_optional(name, values, counts)
        assert packed is not None
        return packed

    def pack_optional(
        self, name: str, values: Sequence[Tensor | None], counts: Sequence[int], *, fill: float | None = None
    ) -> Tensor | None:
        present = [value for value in values if value is not None]
        if not present:
            return None
        like = present[0]
        rows = []
        for i, (value, count) in enumerate(zip(values, counts)):
            if value is None:
                filler = fill if fill is not None else (float("nan") if like.is_floating_point() else 0)
                value = like.new_full((count, *like.shape[1:]), filler)
            elif value.shape[0] != count:
                raise ArgumentError(f"{self.where}: `{name}` of item {i} has {value.shape[0]} rows, not {count}")
            elif value.shape[1:] != like.shape[1:] or value.dtype != like.dtype:
                mine, other = (f"{str(v.dtype).removeprefix('torch.')} [..., {str(list(v.shape[1:]))[1:-1]}]" for v in (value, like))
                raise ArgumentError(f"{self.where}: `{name}` of item {i} is {mine}, of another {other}; convert one to batch them")
            rows.append(value)
        if len(present) < len(values):
            self.absent[name] = torch.tensor([value is None for value in values], device=like.device)
        return torch.cat(rows)

    def pack_mappings(self, name: str, mappings: Sequence[Mapping[str, Tensor]], counts: Sequence[int]) -> dict[str, Tensor]:
        keys = list(dict.fromkeys(key for mapping in mappings for key in mapping))
        packed = {key: self.pack_optional(f"{name}.{key}", [mapping.get(key) for mapping in mappings], counts) for key in keys}
        return {key: value for key, value in packed.items() if value is not None}


def member_rows(batch: Any, name: str, values: Tensor | None, i: int, rows: slice) -> Tensor | None:
    if values is None or (name in batch.absent and bool(batch.absent[name][i])):
        return None
    return values[rows]


def member_mapping(batch: Any, name: str, i: int, rows: slice) -> dict[str, Tensor]:
    found = {key: member_rows(batch, f"{name}.{key}", value, i, rows) for key, value in getattr(batch, name).items()}
    return {key: value for key, value in found.items() if value is not None}


def member_index(index: int, size: int) -> int:
    if not -size <= index < size:
        raise IndexError(f"index {index} is out of range for a batch of {size}")
    return index % size


def selected_members(index: Any, size: int) -> list[int]:
    """Members that a slice, a list, a mask or an index tensor names."""
    if isinstance(index, slice):
        return list(range(size))[index]
    chosen = torch.as_tensor(index)
    if chosen.dtype == torch.bool:
        if chosen.shape != (size,):
            raise IndexError(f"a mask of shape {list(chosen.shape)} does not fit a batch of {size}")
        return chosen.nonzero()[:, 0].tolist()
    return [member_index(int(i), size) for i in chosen.reshape(-1).tolist()]


def device_of(values: Sequence[Tensor]) -> torch.device:
    return values[0].device if values else torch.device("cpu")
