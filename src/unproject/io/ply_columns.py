"""The columns of a PLY element, as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .ply_header import Element, Property

INDEX_NAMES = ("vertex_indices", "vertex_index")


@dataclass(frozen=True)
class Lists:
    """A list column whose rows differ in length.

    Attributes:
        offsets: [rows + 1] where each row's values begin.
        values: the values of all rows.
    """

    offsets: np.ndarray
    values: np.ndarray


Column = np.ndarray | Lists
"""[rows] numbers, [rows, L] lists of the same length, or Lists."""

Group = Sequence[str]
"""Names of properties whose columns shall lie together, as [rows, len(group)]."""


def together(columns: Mapping[str, Column], names: Sequence[str]) -> np.ndarray | None:
    """[rows, len(names)] of number columns, without a copy where they were read as a group; None if one is missing or a list."""
    found = [columns.get(name) for name in names]
    arrays = [c for c in found if isinstance(c, np.ndarray) and c.ndim == 1]
    if len(arrays) < len(names):
        return None
    base = arrays[0].base
    one_block = isinstance(base, np.ndarray) and base.shape == (len(arrays[0]), len(names))
    if isinstance(base, np.ndarray) and one_block and all(a.base is base and _same_place(a, base[:, k]) for k, a in enumerate(arrays)):
        return base
    return np.stack(arrays, axis=1)


def _same_place(a: np.ndarray, b: np.ndarray) -> bool:
    return a.__array_interface__["data"] == b.__array_interface__["data"]


class Columns:
    """The columns of one element while they are read."""

    def __init__(self, element: Element, groups: Sequence[Group], vertex_count: int | None):
        self.element, self.columns = element, {}
        self.lists = tuple(p for p in element.properties if p.is_list)
        self.list_flags = [p.is_list for p in element.properties]
        self.blocks: list[tuple[Group, np.ndarray]] = []
        self.indices_checked = False
        self._groups, self._vertex_count = groups, vertex_count

    def index_limit(self, p: Property) -> int | None:
        """How many vertices there are, where a property holds vertex indices of faces."""
        return self._vertex_count if self.element.name == "face" and p.name in INDEX_NAMES and p.kind[0] in "iu" else None

    def list_kind(self, p: Property) -> str:
        """The type that a list's values are kept in."""
        return "i8" if self.index_limit(p) is not None else p.kind

    def allocate(self) -> None:
        """Make the arrays of all number columns, those of a group in one."""
        kinds = {p.name: np.dtype(p.kind) for p in self.element.properties if not p.is_list}
        self.columns, self.blocks = {}, []
        for group in self._groups:
            # Of one type only: values are copied as they are. Others are joined, and widened, by `together`.
            if all(name in kinds and name not in self.columns for name in group) and len({kinds[name] for name in group}) == 1:
                block = np.empty((self.element.count, len(group)), kinds[group[0]])
                self.blocks.append((group, block))
                self.columns |= {name: block[:, k] for k, name in enumerate(group)}
        for name, kind in kinds.items():
            if name not in self.columns:
                self.columns[name] = np.empty(self.element.count, kind)

    def allocate_lists(self, lengths: Sequence[int]) -> None:
        """Make the arrays of list columns whose rows have the same length."""
        self.columns |= {p.name: np.empty((self.element.count, n), self.list_kind(p)) for p, n in zip(self.lists, lengths)}

    def set_lists(self, offsets: np.ndarray, values: Sequence[np.ndarray]) -> None:
        """Take over list columns: [rows + 1, lists] offsets, and the values of each."""
        for k, (p, flat) in enumerate(zip(self.lists, values)):
            counts = np.diff(offsets[:, k])
            if (counts == counts[:1]).all():
                self.columns[p.name] = flat.reshape(len(counts), int(counts[0]) if len(counts) else 0)
            else:
                self.columns[p.name] = Lists(np.ascontiguousarray(offsets[:, k]), flat)

    def drop(self, p: Property) -> None:
        """Leave a column out of the result."""
        self.columns.pop(p.name, None)
