"""The data of a binary PLY file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..errors import FormatError
from .parts import for_each_range
from .ply_columns import Columns
from .ply_header import BIG, Header, Property
from .source import Source, warn_file

_CHUNK = 1 << 18
_LONGEST = 64
"""Longest lists that are tried as rows of equal size."""


def read_binary(source: Source, header: Header, columns: Mapping[str, Columns]) -> None:
    position, big = header.size, header.encoding == BIG
    for drawn in columns.values():
        if drawn.lists and drawn.element.count:
            position = _read_uniform(source, drawn, position, big) or _read_ragged(source, drawn, position, big)
            continue
        drawn.allocate()
        drawn.allocate_lists([0] * len(drawn.lists))
        position = _read_fixed(source, drawn, position, big) if drawn.element.count else position
    rest = source.read(position, min(source.size - position, 1 << 16)).tobytes()
    if rest.strip(b" \t\r\n\0\x1a"):
        warn_file(source.path, "there is data behind the last element that the header announces; it is not read")


def _read_fixed(source: Source, drawn: Columns, position: int, big: bool) -> int:
    """Read rows without lists."""
    row_bytes = drawn.element.least_row_bytes(False)
    end = position + row_bytes * drawn.element.count
    block = drawn.blocks[0][1] if len(drawn.blocks) == 1 else None
    properties = [(p.name, p.kind) for p in drawn.element.properties]
    if block is not None and not big and properties == [(name, block.dtype.str[1:]) for name in drawn.blocks[0][0]]:
        source.read_into(position, block)  # the file has what is wanted
        return end
    run_program(source, position, drawn.element.count, row_bytes, _program(drawn, (), big))
    return end


def _program(drawn: Columns, lengths: Sequence[int], big: bool) -> np.ndarray:
    """The program that takes rows with lists of these lengths apart."""
    cells: list[tuple[str, list[np.ndarray | None]]] = []
    expected: dict[int, int] = {}
    limits: dict[int, int] = {}
    remaining = iter(lengths)
    for p in drawn.element.properties:
        column, limit = drawn.columns[p.name], drawn.index_limit(p)
        assert isinstance(column, np.ndarray)
        if p.count_kind is None:
            cells.append((p.kind, [column]))
            continue
        expected[len(cells)] = next(remaining)
        cells.append((p.count_kind, [None]))
        if limit is not None:
            limits[len(cells)] = limit
        cells.append((p.kind, list(column.T)))
    return unpack_program(cells, big=big, expected=expected, limits=limits)


def unpack_program(
    cells: Sequence[tuple[str, Sequence[np.ndarray | None]]],
    *,
    big: bool = False,
    expected: Mapping[int, int] | None = None,
    limits: Mapping[int, int] | None = None,
) -> np.ndarray:
    """The program of kernels/unpack_rows.py for rows of a fixed size.

    Args:
        cells: what follows each other in a row: the type, and the [rows] targets of as many values of it; None: passed over.
        expected: by number of the cell: it must be this integer.
        limits: by number of the cell: integers below this, stored as int64.
    """
    from ..kernels.unpack_rows import BIG as BIG_ENDIAN
    from ..kernels.unpack_rows import EXPECT, INDEX, MOVE, SWAP

    program, offset, order = [], 0, (BIG_ENDIAN if big else 0)
    for number, (kind, targets) in enumerate(cells):
        size = np.dtype(kind).itemsize
        for target in targets:
            address, stride = (0, 0) if target is None else (target.__array_interface__["data"][0], target.strides[0])
            if expected and number in expected:
                program.append([EXPECT + size + order, offset, 0, 0, expected[number]])
            elif limits and number in limits:
                program.append([INDEX + size + order, offset, address, stride, limits[number]])
            elif target is not None:
                program.append([(SWAP if big and size > 1 else MOVE) + size, offset, address, stride, 0])
            offset += size
    return np.array(program, np.int64).reshape(-1, 5)


def run_program(source: Source, position: int, count: int, row_bytes: int, program: np.ndarray) -> int:
    """Take rows apart, on all threads; returns the first row with something unexpected, or `count`."""
    from ..kernels import unpack_rows as kernels

    from_file = lambda b, e, fd: kernels.read_rows(b, e, fd, position, row_bytes, program)
    from_memory = lambda b, e, address: kernels.unpack_rows(b, e, address, row_bytes, program)
    return _in_parts(source, position, count, row_bytes, from_file, from_memory)


def _in_parts(
    source: Source, position: int, count: int, row_bytes: int, from_file: Callable[..., int], from_memory: Callable[..., int]
) -> int:
    """Run a kernel over rows on all threads; returns the first row that it stopped at, or `count`.

    Args:
        from_file: called with (begin, end, file descriptor); from_memory: with (begin, end, address of row `begin`).
    """
    if position + count * row_bytes > source.size:
        raise FormatError(f"the file ends at byte {source.size}, within its data", path=source.path)
    stops = [count]

    def body(first: int, last: int) -> None:
        if source.data is not None:
            row = from_memory(first, last, source.data.__array_interface__["data"][0] + position + first * row_bytes)
        elif source.descriptor is not None:
            row = from_file(first, last, source.descriptor)
        else:
            row, step = last, max(1, _CHUNK // row_bytes)
            for begin in range(first, last, step):
                end = min(last, begin + step)
                part = source.read(position + begin * row_bytes, (end - begin) * row_bytes)
                row = from_memory(begin, end, part.ctypes.data)
                if row < end:
                    break
        if row < last:
            stops.append(row)

    for_each_range(body, count, grain=2 * _CHUNK // max(row_bytes, 1))
    return min(stops)


def _read_uniform(source: Source, drawn: Columns, position: int, big: bool) -> int:
    """Read rows whose lists are all as long as those of the first; returns the place behind them, or 0 if they are not."""
    lengths, at = [], position
    for p in drawn.element.properties:
        if p.count_kind is not None:
            kind = np.dtype(p.count_kind)
            if kind.kind not in "iu" or at + kind.itemsize > source.size:
                return 0
            lengths.append(int.from_bytes(source.read(at, kind.itemsize).tobytes(), "big" if big else "little", signed=kind.kind == "i"))
            if not 0 <= lengths[-1] <= _LONGEST:
                return 0
            at += kind.itemsize + lengths[-1] * np.dtype(p.kind).itemsize
        else:
            at += np.dtype(p.kind).itemsize
    row_bytes, count = at - position, drawn.element.count
    if row_bytes * count > source.size - position:
        return 0
    drawn.allocate()
    drawn.allocate_lists(lengths)
    if _is_triangles(drawn, lengths, big):
        done = _read_triangles(source, drawn, position)
    else:
        done = run_program(source, position, count, row_bytes, _program(drawn, lengths, big))
    drawn.indices_checked = done == count
    return position + row_bytes * count if done == count else 0


def _is_triangles(drawn: Columns, lengths: Sequence[int], big: bool) -> bool:
    p = drawn.element.properties[0]
    plain = len(drawn.element.properties) == 1 and p.count_kind == "u1" and p.kind in ("i4", "u4")
    return plain and lengths == [3] and not big and drawn.index_limit(p) is not None


def _read_triangles(source: Source, drawn: Columns, position: int) -> int:
    """The layout of nearly every mesh: a byte 3 and three little-endian indices a row."""
    from ..kernels import unpack_rows as kernels

    p, count = drawn.lists[0], drawn.element.count
    faces, limit = drawn.columns[p.name], drawn.index_limit(p)
    from_file = lambda b, e, fd: kernels.read_triangles(b, e, fd, position, limit, faces)
    from_memory = lambda b, e, address: kernels.unpack_triangles(b, e, address, limit, faces)
    return _in_parts(source, position, count, 13, from_file, from_memory)


def _read_ragged(source: Source, drawn: Columns, position: int, big: bool) -> int:
    """Read rows with lists of any length: find them one after the other, then copy on all threads."""
    from ..kernels.unpack_rows import copy_values, scan_rows

    element = drawn.element
    if any(np.dtype(p.count_kind or "u1").kind not in "iu" for p in element.properties):
        raise FormatError(f"element {element.name!r}: the length of a list must be an integer", path=source.path)
    data = np.empty(source.size - position + 16, np.uint8)
    source.read_into(position, data[:-16])
    start, end = data.ctypes.data, data.ctypes.data + len(data) - 16
    layout = np.array([_layout(p) for p in element.properties], np.int64)
    starts, counts = np.empty(element.count + 1, np.int64), np.zeros((element.count, len(drawn.lists)), np.int64)
    state = np.zeros(2, np.int64)
    stop = scan_rows(start, end, element.count, layout, big, starts, counts, state)
    if state[0]:
        reason = "the file ends early" if state[0] == 1 else "a list has a negative length"
        message = f"{reason}, in row {state[1]} of {element.count} of element {element.name!r}"
        raise FormatError(message, path=source.path, byte=position + stop - start)
    offsets = np.zeros((element.count + 1, len(drawn.lists)), np.int64)
    np.cumsum(counts, axis=0, out=offsets[1:])
    totals = iter(offsets[-1].tolist())
    raw = [np.empty(next(totals) if p.is_list else element.count, (">" if big else "<") + p.kind) for p in element.properties]
    targets = np.array([flat.ctypes.data for flat in raw], np.int64)
    for_each_range(lambda b, e: copy_values(b, e, starts, layout, offsets, targets), element.count, grain=20000)
    flat_lists = []
    drawn.allocate()
    for p, flat in zip(element.properties, raw):
        if p.is_list:
            flat_lists.append(flat.astype(drawn.list_kind(p), copy=False))
        else:
            drawn.columns[p.name][...] = flat  # type: ignore[index]
    drawn.set_lists(offsets, flat_lists)
    return position + stop - start


def _layout(p: Property) -> tuple[int, int, bool]:
    """Bytes of a value, bytes of a list's length, whether that is signed: what kernels/unpack_rows.py reads."""
    return np.dtype(p.kind).itemsize, np.dtype(p.count_kind or "V0").itemsize, (p.count_kind or "u")[0] == "i"
