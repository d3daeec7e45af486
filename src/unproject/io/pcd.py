"""PCD, the point clouds of PCL: ASCII, binary and compressed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentError, FormatError
from ..geometry.points import PointCloud
from .atomic import OutputFiles, write_all
from .options import LoadOptions, SaveOptions
from .ply_write import array, bytes_of_colors
from .source import PADDING, Source, warn_file
from .text_table import Number, TableError, Text, count_rows, parse_rows
from .text_writer import row_of, write_rows

_KINDS = {("F", 4): "<f4", ("F", 8): "<f8"} | {(t, s): f"<{k}{s}" for t, k in (("I", "i"), ("U", "u")) for s in (1, 2, 4, 8)}
_WIDER = {"u2": "i4", "u4": "i8", "u8": "i8"}
_NORMALS = ("normal_x", "normal_y", "normal_z")


@dataclass(frozen=True)
class PcdField:
    """A column: its name, NumPy type, and values a point."""

    name: str
    kind: str
    count: int


@dataclass(frozen=True)
class PcdHeader:
    """What a PCD file says before its data."""

    fields: tuple[PcdField, ...]
    width: int
    height: int
    points: int
    data: str
    viewpoint: tuple[float, ...]
    size: int
    lines: int

    @property
    def row_bytes(self) -> int:
        return sum(np.dtype(f.kind).itemsize * f.count for f in self.fields)


def read_pcd(source: Source, options: LoadOptions) -> PointCloud:
    """Read a PCD file. Points that are NaN stay; width, height and viewpoint go into the metadata.

    Raises:
        FormatError: with line or byte.
    """
    header = parse_pcd_header(source)
    if header.data == "ascii":
        columns = _read_ascii(source, header)
    elif header.data == "binary":
        columns = _read_binary(source, header)
    else:
        columns = _read_compressed(source, header, options)
    return _cloud(source, header, columns)


def parse_pcd_header(source: Source) -> PcdHeader:
    """Read the header.

    Raises:
        FormatError: with the line.
    """
    head = source.head(1 << 16)
    entries: dict[str, list[str]] = {}
    position = line = 0
    while "DATA" not in entries:
        end = head.find(b"\n", position)
        if end < 0 and position >= len(head):
            raise FormatError("the header does not end (no DATA line)", path=source.path, line=line + 1)
        end = len(head) if end < 0 else end
        words = head[position:end].decode("latin-1").split("#")[0].split()
        position, line = min(end + 1, len(head)), line + 1
        if words:
            keyword = "FIELDS" if words[0] == "COLUMNS" else words[0]
            if keyword not in ("VERSION", "FIELDS", "SIZE", "TYPE", "COUNT", "WIDTH", "HEIGHT", "VIEWPOINT", "POINTS", "DATA"):
                raise FormatError(f"unknown header line {' '.join(words)[:60]!r}", path=source.path, line=line)
            entries[keyword] = words[1:]
    try:
        return _header(entries, position, line)
    except ValueError as error:
        raise FormatError(str(error), path=source.path, line=line) from None


def _header(entries: dict[str, list[str]], size: int, line: int) -> PcdHeader:
    names = entries.get("FIELDS", [])
    sizes, types = entries.get("SIZE", ["4"] * len(names)), entries.get("TYPE", ["F"] * len(names))
    counts = [_natural(c, "COUNT") for c in entries.get("COUNT", ["1"] * len(names))]
    if not names or not len(names) == len(sizes) == len(types) == len(counts):
        raise ValueError("FIELDS, SIZE, TYPE and COUNT do not have the same number of entries")
    fields, taken = [], set()
    for name, width, kind, count in zip(names, sizes, types, counts):
        if (kind, _natural(width, "SIZE")) not in _KINDS:
            raise ValueError(f"the field {name!r} has an unknown TYPE and SIZE {kind} {width}")
        while name in taken and name != "_":
            name += "_2"
        taken.add(name)
        fields.append(PcdField(name, _KINDS[kind, int(width)], count))
    width, height = (_natural((entries.get(k) or ["1"])[0], k) for k in ("WIDTH", "HEIGHT"))
    points = _natural(entries["POINTS"][0], "POINTS") if entries.get("POINTS") else width * height
    if "WIDTH" in entries and width * height != points:
        raise ValueError(f"WIDTH {width} times HEIGHT {height} are not the POINTS {points}")
    data = (entries["DATA"] or [""])[0].lower()
    if data not in ("ascii", "binary", "binary_compressed"):
        raise ValueError(f"unknown DATA {data!r}; there are ascii, binary and binary_compressed")
    viewpoint = tuple(float(v) for v in entries.get("VIEWPOINT", ()))
    return PcdHeader(tuple(fields), width, height, points, data, viewpoint, size, line)


def _natural(word: str, what: str) -> int:
    if not (word.isascii() and word.isdigit()) or len(word) > 18:
        raise ValueError(f"{what} {word[:40]!r} is not a possible number")
    return int(word)


def _check_size(source: Source, header: PcdHeader, bytes_a_row: int) -> None:
    needed, left = header.points * bytes_a_row, source.size - header.size
    if needed > left + 1:
        message = f"the header promises {header.points} points, at least {needed} bytes, but {left} are left"
        raise FormatError(message, path=source.path, byte=header.size)


def _read_ascii(source: Source, header: PcdHeader) -> dict[str, np.ndarray]:
    _check_size(source, header, 2 * sum(f.count for f in header.fields))
    data = source.text(header.size)
    text = Text(data, len(data) - PADDING, source.path, lines_before=header.lines)
    columns = {f.name: np.empty((header.points, f.count), f.kind) for f in header.fields if f.name != "_"}
    numbers = []
    for f in header.fields:
        numbers += [Number(None if f.name == "_" else columns[f.name][:, k]) for k in range(f.count)]
    cuts, rows = count_rows(text, 0, text.end)
    if rows[-1] < header.points:
        message = f"the header promises {header.points} points, but there are {rows[-1]} lines"
        raise FormatError(message, path=source.path, line=text.line_of(text.end))
    try:
        parse_rows(text, numbers, cuts, rows, 0, header.points)
    except TableError as error:
        raise text.error(error) from None
    if rows[-1] > header.points:
        warn_file(source.path, "there are more lines than the header has points; they are not read")
    return columns


def _read_binary(source: Source, header: PcdHeader) -> dict[str, np.ndarray]:
    from .ply_binary import run_program, unpack_program

    _check_size(source, header, header.row_bytes)
    columns = {f.name: np.empty((header.points, f.count), f.kind) for f in header.fields if f.name != "_"}
    positions = _together(header)
    if positions is not None:
        block = np.empty((header.points, 3), positions)
        columns |= {name: block[:, k : k + 1] for k, name in enumerate("xyz")}
    cells = [(f.kind, [None] * f.count if f.name == "_" else list(columns[f.name].T)) for f in header.fields]
    run_program(source, header.size, header.points, header.row_bytes, unpack_program(cells))
    return columns


def _together(header: PcdHeader) -> str | None:
    """The type of x, y and z, if it is the same."""
    kinds = [f.kind for name in "xyz" for f in header.fields if f.name == name and f.count == 1]
    return kinds[0] if len(kinds) == 3 and len(set(kinds)) == 1 else None


def _read_compressed(source: Source, header: PcdHeader, options: LoadOptions) -> dict[str, np.ndarray]:
    """One column after the other, packed with LZF."""
    from ..kernels.lzf import decompress

    if header.size + 8 > source.size:
        raise FormatError("the file ends before its data", path=source.path, byte=source.size)
    packed_size, size = (int(n) for n in source.read(header.size, 8).view("<u4"))
    if header.size + 8 + packed_size > source.size:
        raise FormatError(f"{packed_size} bytes of data are promised, {source.size - header.size - 8} are there", path=source.path)
    fields = [f for f in header.fields if f.name != "_" or size == header.points * header.row_bytes]
    expected = header.points * sum(np.dtype(f.kind).itemsize * f.count for f in fields)
    if size != expected:
        raise FormatError(f"the data unpack to {size} bytes, {header.points} points need {expected}", path=source.path, byte=header.size)
    limit = options.maximum_unpacked or 100 * packed_size + (64 << 20)
    if size > limit:
        raise FormatError(f"the data unpack to {size} bytes, more than {limit} (maximum_unpacked allows more)", path=source.path)
    packed, data = source.read(header.size + 8, packed_size), np.empty(size, np.uint8)
    done = decompress(packed.ctypes.data, packed_size, data.ctypes.data, size)
    if done != size:
        raise FormatError(f"the compressed data are damaged: {done} of {size} bytes come out", path=source.path, byte=header.size + 8)
    columns, position = {}, 0
    for f in fields:
        length = header.points * f.count * np.dtype(f.kind).itemsize
        if f.name != "_":
            columns[f.name] = data[position : position + length].view(f.kind).reshape(header.points, f.count)
        position += length
    return columns


def _cloud(source: Source, header: PcdHeader, columns: dict[str, np.ndarray]) -> PointCloud:
    missing = [name for name in "xyz" if name not in columns or columns[name].shape[1] != 1]
    if missing:
        raise FormatError(f"there is no field {', '.join(map(repr, missing))}", path=source.path, line=header.lines)
    metadata: dict[str, Any] = {}
    if header.viewpoint:
        metadata["viewpoint"] = header.viewpoint
    if header.height > 1:
        metadata |= {"width": header.width, "height": header.height}
    positions = _block([columns.pop(name) for name in "xyz"])
    if positions.dtype.kind != "f":
        positions = positions.astype(np.float32 if positions.dtype.itemsize < 4 else np.float64)
    normals = None
    if all(name in columns and columns[name].shape[1] == 1 for name in _NORMALS):
        normals = torch.from_numpy(_block([columns.pop(name) for name in _NORMALS]).astype(positions.dtype, copy=False))
    attributes: dict[str, Tensor] = {}
    colors = None
    for name in ("rgb", "rgba"):
        if name in columns and columns[name].dtype.itemsize == 4 and columns[name].shape[1] == 1:
            packed = np.ascontiguousarray(columns.pop(name)).view("<u4").reshape(-1)
            colors = torch.from_numpy(_unpacked(packed, (16, 8, 0)))
            alpha = packed >> 24
            if name == "rgba" and bool((alpha != alpha[:1]).any()):
                attributes["alpha"] = torch.from_numpy(_unpacked(packed, (24,)).reshape(-1))
            break
    for name, column in columns.items():
        values = column.astype(_WIDER.get(column.dtype.str[1:], column.dtype.str[1:]), copy=False)
        attributes[name] = torch.from_numpy(np.ascontiguousarray(values[:, 0] if values.shape[1] == 1 else values))
    return PointCloud(positions=torch.from_numpy(positions), normals=normals, colors=colors, attributes=attributes, metadata=metadata)


def _block(columns: list[np.ndarray]) -> np.ndarray:
    base = columns[0].base
    if isinstance(base, np.ndarray) and base.shape == (len(columns[0]), 3) and all(c.base is base for c in columns):
        return base
    return np.concatenate(columns, axis=1)


def _unpacked(packed: np.ndarray, shifts: tuple[int, ...]) -> np.ndarray:
    return np.stack([((packed >> shift) & 255).astype(np.float32) / np.float32(255) for shift in shifts], axis=1)


def write_pcd(cloud: PointCloud, path: Path, outputs: OutputFiles, options: SaveOptions) -> None:
    """Write a PCD file: binary, "ascii" or "compressed"."""
    names = {None: "binary", "binary": "binary", "ascii": "ascii", "compressed": "binary_compressed"}
    if options.encoding not in names:
        raise ArgumentError(f"save: PCD has the encodings binary, ascii and compressed, not {options.encoding!r}")
    columns = _columns(cloud)
    count, width = cloud.point_count, int(cloud.metadata.get("width", cloud.point_count))
    height = int(cloud.metadata.get("height", 1))
    if width * height != count:
        width, height = count, 1
    viewpoint = " ".join(f"{float(v):.9g}" for v in cloud.metadata.get("viewpoint", (0, 0, 0, 1, 0, 0, 0)))
    letters = {"f": "F", "i": "I", "u": "U"}
    lines = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        f"FIELDS {' '.join(columns)}",
        f"SIZE {' '.join(str(c.dtype.itemsize) for c in columns.values())}",
        f"TYPE {' '.join(letters[c.dtype.kind] for c in columns.values())}",
        f"COUNT {' '.join(str(c.shape[1]) for c in columns.values())}",
        f"WIDTH {width}",
        f"HEIGHT {height}",
        f"VIEWPOINT {viewpoint}",
        f"POINTS {count}",
        f"DATA {names[options.encoding]}",
    ]
    file = outputs.open(path)
    write_all(file, ("\n".join(lines) + "\n").encode())
    if options.encoding == "ascii":
        write_rows(file, count, row_of([c[:, k] for c in columns.values() for k in range(c.shape[1])]))
    elif options.encoding == "compressed":
        write_all(file, _packed(b"".join(np.ascontiguousarray(c).tobytes() for c in columns.values())))
    else:
        kind = np.dtype([(name, c.dtype.newbyteorder("<"), (c.shape[1],)) for name, c in columns.items()])
        for begin in range(0, count, 1 << 15):
            rows = np.empty(min(1 << 15, count - begin), kind)
            for name, c in columns.items():
                rows[name] = c[begin : begin + len(rows)]
            write_all(file, rows.view(np.uint8).data)


def _columns(cloud: PointCloud) -> dict[str, np.ndarray]:
    positions = array(cloud.positions)
    columns = {name: positions[:, k : k + 1] for k, name in enumerate("xyz")}
    attributes = dict(cloud.attributes)
    if cloud.normals is not None:
        normals = array(cloud.normals)
        columns |= {name: normals[:, k : k + 1] for k, name in enumerate(_NORMALS)}
    if cloud.colors is not None:
        red, green, blue = bytes_of_colors(cloud.colors)[:, :3].astype(np.uint32).T
        packed, name = (red << 16) | (green << 8) | blue, "rgb"
        alpha = attributes.get("alpha")
        if alpha is not None and alpha.is_floating_point() and alpha.dim() == 1:
            packed, name = packed | (bytes_of_colors(attributes.pop("alpha")).astype(np.uint32) << 24), "rgba"
        columns[name] = packed[:, None] if name == "rgba" else packed.view(np.float32)[:, None]
    for name, tensor in attributes.items():
        values = array(tensor)
        columns.setdefault("_".join(name.split()), values[:, None] if values.ndim == 1 else values.reshape(len(values), -1))
    return columns


def _packed(data: bytes) -> bytes:
    from ..kernels.lzf import compress

    if len(data) >= 2**32:
        raise ArgumentError("save: a compressed PCD holds less than 4 GiB; use encoding='binary'")
    source, target = np.frombuffer(data, np.uint8), np.empty(len(data) + len(data) // 32 + 64, np.uint8)
    size = compress(source.ctypes.data, len(data), target.ctypes.data) if data else 0
    return np.array([size, len(data)], "<u4").tobytes() + target[:size].tobytes()
