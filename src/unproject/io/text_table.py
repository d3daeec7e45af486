"""Tables of numbers in ASCII text, parsed on all threads: programs, slices of lines, exact repair of long numbers, errors with lines."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..errors import FormatError
from .parts import for_each_part, for_each_range

_CODES = {np.dtype(t): code for code, t in enumerate(("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"))}
_EXPECT, _SKIP = 10, 11
_BYTES_A_SLICE = 1 << 19
_HARD = 1024

_REASONS = {
    1: "{token} is not a number",
    2: "the line has too few values",
    3: "the line has too many values, from {token} on",
    4: "{token} is out of range",
    5: "the list has another length than expected",
    6: "the file ends too early",
}


def type_code(kind: np.dtype) -> int:
    """The code of a number type in the programs of kernels/parse_table.py and format_table.py."""
    return _CODES[kind]


@dataclass(frozen=True)
class Number:
    """One number of a text row and where it goes.

    Attributes:
        target: [rows] array (a strided view) that it is stored in; None: it is read and forgotten.
        low, high: what an integer must lie in; by default the range of the array's type. Equal: the number is expected to be that.
    """

    target: np.ndarray | None
    low: int | None = None
    high: int | None = None

    def row(self) -> list[int]:
        """The program row that kernels/parse_table.py reads."""
        if self.target is None:
            return [_SKIP, 0, 0, 0, 0] if self.low is None else [_EXPECT, 0, 0, self.low, self.low]
        kind = self.target.dtype
        low, high = self.low, self.high
        if kind.kind in "iu":
            limits = np.iinfo(kind)
            low = int(limits.min) if low is None else low
            high = min(int(limits.max), 2**63 - 1) if high is None else high
        stride = self.target.strides[0] if self.target.ndim else 0
        return [_CODES[kind], self.target.ctypes.data, stride, low or 0, high or 0]


class TableError(Exception):
    """A place in the text that does not fit; the caller decides whether another reading does."""

    def __init__(self, reason: int, offset: int, row: int, column: int):
        super().__init__(reason, offset, row, column)
        self.reason, self.offset, self.row, self.column = reason, offset, row, column


class Text:
    """ASCII text in memory (as Source.text gives it) with addresses and line numbers."""

    def __init__(self, data: np.ndarray, end: int, path: Path, *, lines_before: int = 0):
        self.data, self.end, self.path = data, end, path
        self._lines_before = lines_before
        self.address = data.ctypes.data
        self.removed_breaks = np.zeros(0, np.int64)

    def line_of(self, offset: int) -> int:
        """The line number (from 1) of a byte."""
        breaks = int(np.count_nonzero(self.data[: min(offset, self.end)] == 10)) + int(np.count_nonzero(self.removed_breaks < offset))
        return 1 + self._lines_before + breaks

    def token_at(self, offset: int) -> str:
        """The word at a byte, quoted, for messages."""
        word = self.data[offset : min(offset + 40, self.end)].tobytes().split(None, 1)
        return repr(word[0].decode("utf-8", "replace")) if word else "the end of the line"

    def line_at(self, offset: int) -> str:
        """The rest of the line from a byte on, without blanks around."""
        end = offset
        while 10 not in self.data[end : end + 4096]:
            end += 4096
        end += int(np.flatnonzero(self.data[end : end + 4096] == 10)[0])
        raw = self.data[offset : min(end, self.end)].tobytes()
        try:
            return raw.decode().strip()
        except UnicodeDecodeError:
            return raw.decode("latin-1").strip()

    def error(self, error: TableError, what: str = "") -> FormatError:
        """A TableError as the error of the public door."""
        reason = _REASONS[error.reason].format(token=self.token_at(error.offset))
        return FormatError(f"{reason}{f' ({what})' if what else ''}", path=self.path, line=self.line_of(error.offset))

    def slices(self, start: int, end: int) -> list[int]:
        """Offsets of line beginnings that cut [start, end) into slices worth a thread."""
        from ..kernels.parse_table import next_line

        count = max(1, min((end - start) // _BYTES_A_SLICE, 512))
        cuts = [start]
        for k in range(1, count):
            place = start + (end - start) * k // count
            cut = next_line(self.address + place) - self.address
            if cuts[-1] < cut < end:
                cuts.append(cut)
        return [*cuts, end]


def count_rows(text: Text, start: int, end: int, comment: int = 0) -> tuple[list[int], np.ndarray]:
    """(cuts, rows before each cut and in all): where lines with values lie in [start, end)."""
    from ..kernels.parse_table import count_rows as count

    cuts = text.slices(start, end)
    rows = np.zeros(len(cuts), np.int64)

    def body(slot: int) -> None:
        rows[slot + 1] = count(text.address + cuts[slot], text.address + cuts[slot + 1], comment)

    for_each_part(body, len(cuts) - 1)
    return cuts, np.cumsum(rows)


def parse_rows(
    text: Text,
    numbers: Sequence[Number],
    cuts: Sequence[int],
    rows_before: np.ndarray,
    begin: int,
    stop: int,
    *,
    comment: int = 0,
    delimiter: int = 0,
) -> None:
    """Parse rows `begin` to `stop` (counted as in `rows_before`), one line each, into the targets of `numbers` from their row 0 on.

    Raises:
        TableError: the first place that does not fit.
    """
    from ..kernels.parse_table import parse_rows as parse
    from ..kernels.parse_table import skip_rows

    program = np.array([number.row() for number in numbers], np.int64).reshape(-1, 5)
    slots = [s for s in range(len(cuts) - 1) if rows_before[s] < stop and rows_before[s + 1] > begin]
    errors: list[TableError] = []

    def body(slot: int) -> None:
        s = slots[slot]
        first, last = max(begin, int(rows_before[s])), min(stop, int(rows_before[s + 1]))
        start, end = text.address + cuts[s], text.address + cuts[s + 1]
        if first > rows_before[s]:
            start = skip_rows(start, end, comment, first - int(rows_before[s]))

        def run(hard: np.ndarray, state: np.ndarray) -> None:
            parse(start, end, first - begin, last - begin, comment, delimiter, program, hard, state)

        _run(run, text, errors)

    for_each_part(body, len(slots))
    if errors:
        raise min(errors, key=lambda error: error.offset)


def _run(run: Callable[[np.ndarray, np.ndarray], object], text: Text, errors: list[TableError]) -> None:
    """Run a parsing kernel; collect its error; repair the numbers that it could not round."""
    hard, state = np.zeros((_HARD, 3), np.int64), np.zeros(5, np.int64)
    run(hard, state)
    if state[4] > len(hard):
        hard, state = np.zeros((int(state[4]), 3), np.int64), np.zeros(5, np.int64)
        run(hard, state)
    if state[0]:
        errors.append(TableError(int(state[0]), int(state[1]) - text.address, int(state[2]), int(state[3])))
        return
    repair_hard_numbers(hard[: int(state[4])], text)


def repair_hard_numbers(hard: np.ndarray, text: Text) -> None:
    """Round and store the decimals of more than 19 digits that a kernel could not: rows of type, address of the value, place."""
    for kind, target, place in hard.tolist():
        token = text.data[place - text.address :][:4096].tobytes()
        _store_exactly(kind, target, place - text.address, token, text)


def _store_exactly(kind: int, target: int, offset: int, token: bytes, text: Text) -> None:
    """Round a decimal of more than 19 digits exactly, and store it at an address."""
    size = 0
    while size < len(token) and token[size : size + 1] in b"+-.0123456789eEdD":
        size += 1
    if size == len(token):
        token = text.data[offset : text.end].tobytes().split(None, 1)[0]
        size = len(token)
    word = token[:size].lower().replace(b"d", b"e").decode()
    if kind == 9:
        ctypes.c_double.from_address(target).value = float(word)
    else:
        ctypes.c_float.from_address(target).value = nearest_float32(word)


def nearest_float32(word: str) -> float:
    """The float32 nearest to a decimal, ties to even, rounded once."""
    double = float(word)
    with np.errstate(over="ignore"):
        guess = np.float32(double)
    if not np.isfinite(double) or double == 0:
        return float(guess)
    exact = Fraction(word)
    if np.isinf(guess):
        return float(guess) if abs(exact) >= 2**128 - 2**103 else float(np.copysign(np.finfo(np.float32).max, guess))
    with np.errstate(over="ignore"):
        around = (np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf)))
    finite = [c for c in around if np.isfinite(c)]
    return float(min(finite, key=lambda c: (abs(Fraction(float(c)) - exact), int(c.view(np.uint32)) & 1)))


@dataclass(frozen=True)
class ListRows:
    """Where rows with lists lie in a text.

    Attributes:
        starts: [rows + 1] addresses.
        offsets: [rows + 1, lists] values of each list in the rows before.
        mode: as in kernels/parse_table.py: LINES, LOOSE or EXTRA.
    """

    starts: np.ndarray
    offsets: np.ndarray
    mode: int


def scan_list_rows(text: Text, start: int, rows: int, lists: Sequence[bool], mode: int) -> ListRows:
    """Find `rows` rows with lists from `start` on.

    Raises:
        TableError: the first place that does not fit.
    """
    from ..kernels.parse_table import scan_list_rows as scan

    flags = np.array(lists, np.bool_)
    starts = np.zeros(rows + 1, np.int64)
    counts = np.zeros((rows, int(flags.sum())), np.int64)
    state = np.zeros(5, np.int64)
    scan(text.address + start, text.address + text.end, rows, flags, mode, starts, counts, state)
    if state[0]:
        raise TableError(int(state[0]), int(state[1]) - text.address, int(state[2]), int(state[3]))
    offsets = np.zeros((rows + 1, counts.shape[1]), np.int64)
    np.cumsum(counts, axis=0, out=offsets[1:])
    return ListRows(starts, offsets, mode)


def parse_list_rows(text: Text, numbers: Sequence[Number], lists: Sequence[bool], found: ListRows) -> None:
    """Parse rows that scan_list_rows found. The target of a list has the values of all rows, one after the other.

    Raises:
        TableError: the first place that does not fit.
    """
    from ..kernels.parse_table import parse_list_rows as parse

    program = np.array([number.row() for number in numbers], np.int64).reshape(-1, 5)
    flags = np.array(lists, np.bool_)
    rows = len(found.starts) - 1
    errors: list[TableError] = []

    def body(begin: int, end: int) -> None:
        def run(hard: np.ndarray, state: np.ndarray) -> None:
            parse(begin, end, found.starts, flags, found.mode == 1, program, found.offsets, hard, state)

        _run(run, text, errors)

    for_each_range(body, rows, grain=20000)
    if errors:
        raise min(errors, key=lambda error: error.offset)
