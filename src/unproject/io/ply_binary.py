"""The data of a binary PLY file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..errors import FormatError
from ..ops.dispatch import for_each_slice, parallel_for
from .ply_columns import Columns
from .ply_header import BIG, Header, Property
from .source import Source, warn_file

_CHUNK = 1 << 20


def read_binary(source: Source, header: Header, columns: Mapping[str, Columns]) -> None:
    position, big = header.size, header.encoding == BIG
    for drawn in columns.values():
        if drawn.lists and drawn.element.count:
            position = _read_uniform(source, drawn, position, big) or _read_ragged(source, drawn, position, big)
        else:
            drawn.allocate()
            drawn.allocate_lists([0] * len(drawn.lists))
            position = _read_fixed(source, drawn, position, big)
    rest = source.read(position, min(source.size - position, 1 << 16)).tobytes()
    if rest.strip(b" \t\r\n\0\x1a"):
        warn_file(source.path, "there is data behind the last element that the header announces; it is not read")


def _row_type(drawn: Columns, big: bool, lengths: Sequence[int]) -> np.dtype:
    """The type of rows whose lists have these lengths; a list's length is the field "#name"."""
    order, fields, lists = (">" if big else "<"), [], iter(lengths)
    for p in drawn.element.properties:
        if p.count_kind:
            fields += [(f"#{p.name}", order + p.count_kind), (p.name, order + p.kind, (next(lists),))]
        else:
            fields.append((p.name, order + p.kind))
    return np.dtype(fields)


def _moves(drawn: Columns, kind: np.dtype) -> list[tuple[np.ndarray, np.dtype]]:
    """What to copy out of rows: (target, row type with the one field "it"), groups in one piece where they lie together in the row."""
    fields, moves = kind.fields or {}, []

    def add(target: np.ndarray, format_: object, offset: int) -> None:
        moves.append((target, np.dtype({"names": ["it"], "formats": [format_], "offsets": [offset], "itemsize": kind.itemsize})))

    for names, block in drawn.blocks:
        types, offsets = [fields[name][0] for name in names], [fields[name][1] for name in names]
        steps = [offsets[0] + k * types[0].itemsize for k in range(len(names))]
        if offsets == steps and len(set(types)) == 1:
            add(block, (types[0], (len(names),)), offsets[0])
        else:
            for k in range(len(names)):
                add(block[:, k], types[k], offsets[k])
    grouped = {name for names, _ in drawn.blocks for name in names}
    for p in drawn.element.properties:
        if p.name not in grouped:
            column = drawn.columns[p.name]
            assert isinstance(column, np.ndarray)
            add(column, fields[p.name][0], fields[p.name][1])
    return moves


def _read_fixed(source: Source, drawn: Columns, position: int, big: bool) -> int:
    """Read rows without lists."""
    kind, count = _row_type(drawn, big, [0] * len(drawn.lists)), drawn.element.count
    moves = _moves(drawn, kind) if count else []
    if len(moves) == 1 and moves[0][0].nbytes == count * kind.itemsize and moves[0][1]["it"].base == moves[0][0].dtype:
        source.read_into(position, moves[0][0])
    elif moves:

        def take(rows: np.ndarray, begin: int, end: int) -> None:
            for target, view in moves:
                target[begin:end] = rows.view(view)["it"]

        _in_chunks(source, position, kind, count, take)
    return position + kind.itemsize * count


def _in_chunks(source: Source, position: int, kind: np.dtype, count: int, take: Callable[[np.ndarray, int, int], None]) -> None:
    """Read rows in chunks that fit the cache, on all threads, and hand them on with their range."""
    step = max(1, _CHUNK // kind.itemsize)
    chunks = -(-count // step)

    def body(slot: int, _begin: int, _end: int) -> None:
        begin, end = slot * step, min(count, (slot + 1) * step)
        rows = np.empty(end - begin, kind)
        source.read_into(position + begin * kind.itemsize, rows)
        take(rows, begin, end)

    for_each_slice(body, chunks, slices=chunks)


def _read_uniform(source: Source, drawn: Columns, position: int, big: bool) -> int:
    """Read rows whose lists are all as long as those of the first; returns the place behind them, or 0 if they are not."""
    count, order = drawn.element.count, ("big" if big else "little")
    lengths, at = [], position
    for p in drawn.element.properties:
        if p.count_kind is not None:
            kind = np.dtype(p.count_kind)
            if kind.kind not in "iu" or at + kind.itemsize > source.size:
                return 0
            lengths.append(int.from_bytes(source.read(at, kind.itemsize).tobytes(), order, signed=kind.kind == "i"))
            if not 0 <= lengths[-1] <= source.size:
                return 0
            at += kind.itemsize + lengths[-1] * np.dtype(p.kind).itemsize
        else:
            at += np.dtype(p.kind).itemsize
    if (at - position) * count > source.size - position:
        return 0
    kind = _row_type(drawn, big, lengths)
    drawn.allocate()
    drawn.allocate_lists(lengths)
    if _is_triangles(drawn, lengths, big):
        return _read_triangles(source, drawn, position)
    moves = _moves(drawn, kind)
    expected = [(f"#{p.name}", length) for p, length in zip(drawn.lists, lengths)]
    uneven: list[int] = []

    def take(rows: np.ndarray, begin: int, end: int) -> None:
        if any((rows[name] != length).any() for name, length in expected):
            uneven.append(begin)
        elif not uneven:
            for target, view in moves:
                target[begin:end] = rows.view(view)["it"]

    _in_chunks(source, position, kind, count, take)
    return 0 if uneven else position + kind.itemsize * count


def _is_triangles(drawn: Columns, lengths: Sequence[int], big: bool) -> bool:
    p = drawn.element.properties[0]
    plain = len(drawn.element.properties) == 1 and p.count_kind == "u1" and p.kind in ("i4", "u4")
    return plain and lengths == [3] and not big and drawn.index_limit(p) is not None


def _read_triangles(source: Source, drawn: Columns, position: int) -> int:
    """The layout of nearly every mesh: a byte 3 and three little-endian indices a row."""
    from ..kernels.unpack_rows import unpack_triangles

    p, count = drawn.lists[0], drawn.element.count
    faces, limit = drawn.columns[p.name], drawn.index_limit(p)
    bad: list[int] = []

    def take(rows: np.ndarray, begin: int, end: int) -> None:
        row = unpack_triangles(begin, end, rows.ctypes.data, limit, faces)
        if row < end:
            bad.append(row)

    _in_chunks(source, position, np.dtype("u1, (3,)u4"), count, take)
    return 0 if bad else position + 13 * count


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
    parallel_for(copy_values, element.count, starts, layout, offsets, targets, grain=20000)
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
