"""Rows of numbers as ASCII text into a file, formatted on all threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import torch

from .atomic import write_all
from .parts import for_each_part
from .text_table import type_code

_LITERAL = 10
_ROWS = 16384
_BYTES_A_NUMBER = 32


@dataclass(frozen=True)
class Cell:
    """One number of a text row.

    Attributes:
        values: [rows] array, a strided view as well.
        follower: the character behind it, or "".
        add: what is added to integers.
    """

    values: np.ndarray
    follower: str = " "
    add: int = 0

    def row(self) -> list[int]:
        """The program row that kernels/format_table.py reads."""
        return [type_code(self.values.dtype), self.values.ctypes.data, self.values.strides[0], self.add, ord(self.follower or "\0")]


@dataclass(frozen=True)
class Literal:
    """Up to 8 ASCII characters that every row has."""

    text: str

    def row(self) -> list[int]:
        """The program row that kernels/format_table.py reads."""
        data = self.text.encode("ascii")
        assert len(data) <= 8
        return [_LITERAL, int.from_bytes(data.ljust(8, b"\0"), "little", signed=True), len(data), 0, 0]


def row_of(columns: Sequence[np.ndarray], separator: str = " ") -> list[Cell]:
    """The cells of a line: numbers with a separator between and a line break at the end."""
    return [Cell(column, separator if k + 1 < len(columns) else "\n") for k, column in enumerate(columns)]


def write_rows(file: BinaryIO, count: int, cells: Sequence[Cell | Literal]) -> None:
    """Write `count` rows. The arrays of the cells must not be written to meanwhile."""
    from ..kernels.format_table import format_rows

    program = np.array([cell.row() for cell in cells], np.int64).reshape(-1, 5)
    team = max(1, torch.get_num_threads())
    buffers = [np.empty(0, np.uint8)] * team
    used = [0] * team
    for first in range(0, count, team * _ROWS):
        parts = min(team, -(-(count - first) // _ROWS))

        def body(slot: int, first: int = first) -> None:
            begin = first + slot * _ROWS
            stop = min(count, begin + _ROWS)
            if not len(buffers[slot]):
                buffers[slot] = np.empty(min(count, _ROWS) * len(program) * _BYTES_A_NUMBER + 64, np.uint8)
            address = buffers[slot].ctypes.data
            used[slot] = format_rows(begin, stop, program, address) - address

        for_each_part(body, parts)
        for slot in range(parts):
            write_all(file, buffers[slot].data[: used[slot]])
