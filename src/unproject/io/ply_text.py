"""The data of an ASCII PLY file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .ply_columns import Columns
from .ply_header import Header
from .source import Source, warn_file
from .text_table import Number, TableError, Text, count_rows, parse_list_rows, parse_rows, scan_list_rows

LINES, LOOSE, EXTRA = 0, 1, 2
"""A row is a line; a row ends where its last value ends; a row is the beginning of a line."""
NOT_A_NUMBER, TOO_MANY, OUT_OF_RANGE = 1, 3, 4


def read_text(source: Source, header: Header, columns: Mapping[str, Columns]) -> None:
    text = Text(source.text(header.size), source.size - header.size, source.path, lines_before=header.lines)
    cuts, rows = count_rows(text, 0, text.end)
    done, position = 0, -1  # rows read line by line; or, once that was not possible, the place in the text
    doubt: TableError | None = None
    for drawn in columns.values():
        count = drawn.element.count
        if not drawn.element.properties or count == 0:
            drawn.allocate()
            drawn.allocate_lists([0] * len(drawn.lists))
            continue
        if position < 0:
            try:
                _read_lines(text, drawn, cuts, rows, done)
                done += count
                continue
            except TableError as error:
                doubt, position = error, _place_of_row(text, cuts, rows, done)
        try:
            position = _read_list_rows(text, drawn, position, LOOSE)
        except TableError as error:
            last = drawn is list(columns.values())[-1]
            if last and doubt and doubt.reason == TOO_MANY and _read_with_extra(text, drawn, position):
                return
            raise text.error(doubt or error, f"element {drawn.element.name!r}") from None
    rest = text.data[position : text.end].tobytes() if position >= 0 else b"more" * (int(rows[-1]) > done)
    if rest.strip(b" \t\r\n\0\x1a"):
        if doubt:
            raise text.error(doubt)
        warn_file(source.path, "there is data behind the last element that the header announces; it is not read")


def _place_of_row(text: Text, cuts: Sequence[int], rows: np.ndarray, row: int) -> int:
    from ..kernels.parse_table import skip_rows

    slot = min(int(np.searchsorted(rows, row, side="right")) - 1, len(cuts) - 2)
    return skip_rows(text.address + cuts[slot], text.address + text.end, 0, row - int(rows[slot])) - text.address


def _read_lines(text: Text, drawn: Columns, cuts: Sequence[int], rows: np.ndarray, begin: int) -> None:
    """Read an element with one line for each row: on all threads if all rows have lists as long as the first, else one after the other."""
    count, start = drawn.element.count, _place_of_row(text, cuts, rows, begin)
    first = scan_list_rows(text, start, 1, drawn.list_flags, LINES)
    lengths = first.offsets[1].tolist()
    tokens = sum(lengths) + len(drawn.element.properties)
    if begin + count <= rows[-1] and 2 * tokens * count <= text.end + 2 - start:
        drawn.allocate()
        drawn.allocate_lists(lengths)
        try:
            parse_rows(text, _uniform_numbers(drawn), cuts, rows, begin, begin + count)
            drawn.indices_checked = True
            return
        except TableError as error:
            if not drawn.lists or error.reason in (NOT_A_NUMBER, OUT_OF_RANGE):
                raise
    _read_list_rows(text, drawn, start, LINES)


def _uniform_numbers(drawn: Columns) -> list[Number]:
    numbers = []
    for p in drawn.element.properties:
        column = drawn.columns[p.name]
        assert isinstance(column, np.ndarray)
        if not p.is_list:
            numbers.append(Number(column))
            continue
        limit = drawn.index_limit(p)
        numbers.append(Number(None, low=column.shape[1]))
        for k in range(column.shape[1]):
            numbers.append(Number(column[:, k]) if limit is None else Number(column[:, k], 0, limit - 1))
    return numbers


def _read_list_rows(text: Text, drawn: Columns, start: int, mode: int) -> int:
    """Read an element row after row from a place on; returns the place behind it."""
    found = scan_list_rows(text, start, drawn.element.count, drawn.list_flags, mode)
    drawn.allocate()
    flat = [np.empty(int(n), drawn.list_kind(p)) for p, n in zip(drawn.lists, found.offsets[-1])]
    values, numbers = iter(flat), []
    for p in drawn.element.properties:
        limit = drawn.index_limit(p)
        target = next(values) if p.is_list else drawn.columns[p.name]
        assert isinstance(target, np.ndarray)
        numbers.append(Number(target) if limit is None else Number(target, 0, limit - 1))
    parse_list_rows(text, numbers, drawn.list_flags, found)
    drawn.indices_checked = True
    drawn.set_lists(found.offsets, flat)
    return int(found.starts[-1]) - text.address


def _read_with_extra(text: Text, drawn: Columns, start: int) -> bool:
    """Rows of lists with more values behind them than announced (an old MeshLab fault): the lists are kept, numbers behind them are not."""
    if not drawn.lists or drawn.element.name != "face":
        return False
    try:
        _read_list_rows(text, drawn, start, EXTRA)
    except TableError:
        return False
    after = drawn.element.properties[max(k for k, is_list in enumerate(drawn.list_flags) if is_list) + 1 :]
    for p in after:
        drawn.drop(p)
    names = ", ".join(repr(p.name) for p in after)
    warn_file(text.path, f"lines of element 'face' have more values than the header says{f'; {names} are not read' if names else ''}")
    return True
