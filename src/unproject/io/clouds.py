"""Point clouds as plain text: XYZ, PTS, CSV and the like. Which column is what is told by names, else by number and values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentError, FormatError
from ..geometry.points import PointCloud
from .atomic import OutputFiles, write_all
from .obj import needs_double
from .options import LoadOptions, SaveOptions
from .ply import unit_colors
from .ply_write import array, bytes_of_colors
from .source import PADDING, Source, warn_file
from .text_table import Number, TableError, Text, count_rows, parse_rows
from .text_writer import row_of, write_rows

_COMMENT = ord("#")
_MEANINGS = {
    "x": ("x", "x", "points0", "px", "positionx", "coordx", "xcoord", "easting"),
    "y": ("y", "y", "points1", "py", "positiony", "coordy", "ycoord", "northing"),
    "z": ("z", "z", "points2", "pz", "positionz", "coordz", "zcoord", "elevation"),
    "nx": ("nx", "normalx", "normals0"),
    "ny": ("ny", "normaly", "normals1"),
    "nz": ("nz", "normalz", "normals2"),
    "red": ("r", "red", "rgb0"),
    "green": ("g", "green", "rgb1"),
    "blue": ("b", "blue", "rgb2"),
    "alpha": ("a", "alpha"),
    "intensity": ("i", "intensity", "reflectance"),
}
_NAMES = {spelling: meaning for meaning, spellings in _MEANINGS.items() for spelling in spellings}


@dataclass(frozen=True)
class _Layout:
    """How the lines of a file are made.

    Attributes:
        begin: where the data begin; delimiter: the character between values, 0 for blanks.
        columns: values a line; names: what a header calls them, or ().
        promised: how many points a first line promises, or -1.
    """

    begin: int
    delimiter: int
    columns: int
    names: tuple[str, ...]
    promised: int


def read_cloud(source: Source, options: LoadOptions) -> PointCloud:
    """Read a text of one point a line.

    Without a header, three columns after the position are normals if they have unit length, else colours if they lie in 0 to 255; a
    column that is neither is an attribute, the first of them "intensity". PTS files have the intensity before the colours.

    Raises:
        FormatError: with the line.
    """
    data = source.text()
    text = Text(data, len(data) - PADDING, source.path)
    layout = _layout(text)
    if layout.delimiter == ord(";") and b"," in data[layout.begin : layout.begin + 4096].tobytes():
        region = data[layout.begin : text.end]  # decimal commas
        region[region == ord(",")] = ord(".")
    values = _read_values(text, layout, source.suffix)
    meanings = _meanings(layout, values, source)
    return _cloud(values, meanings, source)


def _layout(text: Text) -> _Layout:
    names: tuple[str, ...] = ()
    promised, position = -1, 0
    for _ in range(64):
        line, begin, position = _next_line(text, position)
        if line is None:
            raise FormatError("there are no points in the file", path=text.path)
        content = line.strip()
        if content.startswith(("#", "//")):
            words = _split(content.lstrip("#/ \t"))[0]
            if sum(_meaning(word) in ("x", "y", "z") for word in words) == 3:
                names = tuple(words)
            continue
        if not content:
            continue
        words, delimiter = _split(re.split(r"\s(?:#|//)", content)[0])
        if all(_is_number(word) for word in words):
            if len(words) == 1 and promised < 0 and words[0].isdigit() and len(words[0]) < 18:
                promised = int(words[0])
                continue
            if len(words) < 3:
                raise FormatError(f"a point needs three numbers, the line has {len(words)}", path=text.path, line=text.line_of(begin))
            used = names if len(names) == len(words) else ()
            return _Layout(begin, ord(delimiter) if delimiter else 0, len(words), used, promised)
        if names or promised >= 0 or not any(re.search("[A-Za-z]", word) for word in words):
            raise FormatError(f"{content[:40]!r} is not a point", path=text.path, line=text.line_of(begin))
        names = tuple(word.strip("\"'") for word in words)
    raise FormatError("no points in the first 64 lines", path=text.path)


def _next_line(text: Text, position: int) -> tuple[str | None, int, int]:
    """(the line at a place, its begin, the place behind it); None at the end."""
    if position >= text.end:
        return None, position, position
    end = position
    while 10 not in text.data[end : end + 4096]:
        end += 4096
    end += int(np.flatnonzero(text.data[end : end + 4096] == 10)[0])
    return text.data[position:end].tobytes().decode("latin-1"), position, end + 1


def _split(line: str) -> tuple[list[str], str]:
    """(words, delimiter) of a line; "" stands for blanks."""
    for delimiter in (";", ","):
        if delimiter in line:
            words = [word.strip() for word in line.split(delimiter)]
            return (words[:-1] if words and not words[-1] else words), delimiter
    return line.split(), ""


def _is_number(word: str) -> bool:
    try:
        float(word.lower().replace("d", "e") if re.fullmatch(r"[-+.\d]+[dD][-+\d]+", word) else word.replace(",", "."))
    except ValueError:
        return bool(re.match(r"[-+]?(nan|1\.#)", word.lower()))
    return "_" not in word


def _read_values(text: Text, layout: _Layout, suffix: str) -> list[np.ndarray]:
    """The columns: [N, 3] positions and an [N] array for each further one. float32, or float64 where that is not enough."""
    cuts, rows = count_rows(text, layout.begin, text.end, _COMMENT)
    blocks = _blocks(text, layout, cuts, rows)
    count = sum(end - begin for begin, end in blocks)
    positions = np.empty((count, 3), np.float32)
    others = np.empty((layout.columns - 3, count), np.float32)
    _parse_blocks(text, layout, cuts, rows, blocks, [*positions.T, *others])
    columns: list[np.ndarray] = list(others)
    wide = [k for k in range(len(columns)) if needs_double(columns[k][:, None])]
    wide_positions = needs_double(positions)
    if wide or wide_positions:
        result = np.empty((count, 3), np.float64) if wide_positions else positions
        for k in wide:
            columns[k] = np.empty(count, np.float64)
        again = [*(result.T if wide_positions else (None,) * 3), *(columns[k] if k in wide else None for k in range(len(columns)))]
        _parse_blocks(text, layout, cuts, rows, blocks, again)
        positions = result
    return [positions, *columns]


def _blocks(text: Text, layout: _Layout, cuts: Sequence[int], rows: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of lines with points. After a first line with their number (PTS), as many follow, and then perhaps another number."""
    total = int(rows[-1])
    if layout.promised < 0:
        return [(0, total)]
    blocks, begin, promised = [], 0, layout.promised
    while True:
        if begin + promised > total:
            message = f"{promised} points are promised, but {total - begin} lines follow"
            raise FormatError(message, path=text.path, line=text.line_of(text.end))
        blocks.append((begin, begin + promised))
        begin += promised
        if begin == total:
            return blocks
        number = np.zeros(1, np.int64)
        try:
            parse_rows(text, [Number(number, 1, 2**62)], cuts, rows, begin, begin + 1, comment=_COMMENT)
        except TableError:
            warn_file(text.path, f"{blocks[0][1]} points are promised, but {total} lines follow; all are read")
            return [(0, total)] if len(blocks) == 1 else [*blocks[:-1], (blocks[-1][0], total)]
        begin, promised = begin + 1, int(number[0])


def _parse_blocks(
    text: Text,
    layout: _Layout,
    cuts: Sequence[int],
    rows: np.ndarray,
    blocks: Sequence[tuple[int, int]],
    targets: Sequence[np.ndarray | None],
) -> None:
    first = 0
    for begin, end in blocks:
        numbers = [Number(None if target is None else target[first : first + end - begin]) for target in targets]
        try:
            parse_rows(text, numbers, cuts, rows, begin, end, comment=_COMMENT, delimiter=layout.delimiter)
        except TableError as error:
            raise text.error(error, f"the first point has {layout.columns} values") from None
        first += end - begin


def _meaning(name: str) -> str:
    """What a column of this name is: one of _MEANINGS, or the name itself."""
    plain = re.sub(r"[\[(].*?[\])]|[^a-z0-9]", "", name.lower().split("[")[0])
    return _NAMES.get(plain, name)


def _meanings(layout: _Layout, values: list[np.ndarray], source: Source) -> list[str]:
    """What each column is: "x", "nx", "red", ... or the name of an attribute."""
    if layout.names and len(layout.names) == layout.columns:
        found = [_meaning(name) for name in layout.names]
        found = [m if m not in found[:k] else f"{layout.names[k]}_{k}" for k, m in enumerate(found)]
        if all(m in found for m in ("x", "y", "z")):
            return found
        names = ", ".join(layout.names[:12])
        raise FormatError(f"the header has no columns x, y and z, but {names}", path=source.path, line=1)
    meanings, rest, k = ["x", "y", "z"], values[1:], 0
    while k < len(rest):
        triple = np.stack(rest[k : k + 3], axis=1) if k + 3 <= len(rest) else None
        if triple is not None and "nx" not in meanings and _like_normals(triple) and source.suffix != ".xyzrgb":
            meanings += ["nx", "ny", "nz"]
            k += 3
        elif triple is not None and "red" not in meanings and _like_colors(triple) and not _intensity_first(rest[k:], source.suffix):
            meanings += ["red", "green", "blue"]
            k += 3
            if k < len(rest) and len(rest) in (4, 7) and _like_colors(rest[k]) and source.suffix != ".pts":
                meanings.append("alpha")
                k += 1
        else:
            meanings.append("intensity" if "intensity" not in meanings else f"scalar_{k}")
            k += 1
    return meanings


def _intensity_first(rest: Sequence[np.ndarray], suffix: str) -> bool:
    """PTS files have four columns: intensity, red, green, blue."""
    return suffix == ".pts" and len(rest) == 4


def _like_normals(triple: np.ndarray) -> bool:
    finite = triple[np.isfinite(triple).all(axis=1)]
    lengths = np.linalg.norm(finite, axis=1)
    fitting = np.abs(lengths - 1) < 0.02
    return len(finite) > 0 and bool(fitting.any()) and bool((fitting | (lengths == 0)).mean() > 0.99) and not _only_bytes(finite)


def _only_bytes(values: np.ndarray) -> bool:
    """Integers from 0 that go beyond 1: they can be nothing but colours."""
    return bool((values >= 0).all() and (values == np.floor(values)).all() and (values > 1).any())


def _like_colors(values: np.ndarray) -> bool:
    finite = values[np.isfinite(values)]
    if not finite.size or float(finite.min()) < 0:
        return False
    highest = float(finite.max())
    return highest <= 1 or (highest <= 65535 and bool((finite == np.floor(finite)).all()) and highest <= 255)


def _cloud(values: list[np.ndarray], meanings: Sequence[str], source: Source) -> PointCloud:
    flat = [*values[0].T, *values[1:]]
    columns = dict(zip(meanings, flat))
    positions = values[0] if list(meanings[:3]) == ["x", "y", "z"] else np.stack([columns[n] for n in "xyz"], axis=1)
    normals, colors = None, None
    if all(name in columns for name in ("nx", "ny", "nz")):
        normals = torch.from_numpy(np.stack([columns.pop(name) for name in ("nx", "ny", "nz")], axis=1))
    attributes: dict[str, Tensor] = {}
    if all(name in columns for name in ("red", "green", "blue")):
        names = ["red", "green", "blue", *(["alpha"] if "alpha" in columns else [])]
        block = np.stack([columns.pop(name) for name in names], axis=1)
        if np.nanmax(block[:, :3], initial=0.0) > 1:
            block = block / np.float32(65535 if np.nanmax(block) > 255 else 255)
        unit = unit_colors(block, source.path)
        colors = unit[:, :3].contiguous()
        if unit.shape[1] == 4:
            attributes["alpha"] = unit[:, 3].contiguous()
    attributes |= {name: torch.from_numpy(column) for name, column in columns.items() if name not in ("x", "y", "z")}
    return PointCloud(positions=torch.from_numpy(np.ascontiguousarray(positions)), normals=normals, colors=colors, attributes=attributes)


def write_cloud(cloud: PointCloud, path: Path, outputs: OutputFiles, options: SaveOptions) -> None:
    """Write one point a line.

    XYZ, TXT and ASC: x y z, red green blue (0 to 255), normal. XYZN: x y z, normal. XYZRGB: x y z, colour in [0, 1]. PTS: the number of
    points, then x y z intensity red green blue. CSV: everything, with a header.
    """
    if options.encoding not in (None, "ascii"):
        raise ArgumentError(f"save: {path.suffix} is always ascii, not {options.encoding!r}")
    kind = path.suffix.lower().lstrip(".")
    columns = _columns_for(kind, cloud, path)
    file = outputs.open(path)
    if kind == "pts":
        write_all(file, f"{cloud.point_count}\n".encode())
    elif kind == "csv":
        write_all(file, (",".join(columns) + "\n").encode())
    write_rows(file, cloud.point_count, row_of(list(columns.values()), "," if kind == "csv" else " "))


def _columns_for(kind: str, cloud: PointCloud, path: Path) -> dict[str, np.ndarray]:
    split = lambda names, block: {name: block[:, k] for k, name in enumerate(names)}
    columns = split("xyz", array(cloud.positions))
    normals = {} if cloud.normals is None else split(("nx", "ny", "nz"), array(cloud.normals))
    colors = {} if cloud.colors is None else split(("red", "green", "blue"), bytes_of_colors(cloud.colors[:, :3]))
    attributes = {name: array(tensor) for name, tensor in cloud.attributes.items() if tensor.dim() == 1}
    if kind == "xyzn":
        if not normals:
            raise ArgumentError("save: .xyzn holds normals, but the cloud has none; use .xyz")
        return columns | normals
    if kind == "xyzrgb":
        if cloud.colors is None:
            raise ArgumentError("save: .xyzrgb holds colours, but the cloud has none; use .xyz")
        return columns | split(("red", "green", "blue"), array(cloud.colors[:, :3]))
    if kind == "csv":
        if colors and "alpha" in attributes and attributes["alpha"].dtype.kind == "f":
            colors["alpha"] = bytes_of_colors(cloud.attributes["alpha"])
            attributes.pop("alpha")
        plain = {re.sub(r"[,;\s]+", "_", name): column for name, column in attributes.items()}
        return columns | normals | colors | {name: column for name, column in plain.items() if name not in columns}
    intensity = attributes.get("intensity")
    if kind == "pts":
        if colors:
            columns["intensity"] = np.zeros(cloud.point_count, np.int32) if intensity is None else intensity
        elif intensity is not None:
            columns["intensity"] = intensity
        written = {"intensity"}
        columns |= colors
    else:
        columns |= colors | normals
        written = set()
    lost = [name for name in cloud.attributes if name not in written] + (["normals"] if kind == "pts" and normals else [])
    if lost:
        warn_file(path, f".{kind} cannot hold {', '.join(map(repr, lost[:8]))}; not written (.csv, .pcd and .ply can)")
    return columns
