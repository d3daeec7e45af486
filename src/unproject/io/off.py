"""OFF, with its relatives for colours, normals and texture coordinates (COFF, NOFF, STOFF)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import ArgumentError, FormatError
from ..geometry.mesh import Mesh
from .atomic import OutputFiles, write_all
from .obj import needs_double
from .options import LoadOptions, SaveOptions
from .ply import unit_colors
from .ply_write import array, bytes_of_colors
from .polygons import kept, triangulate
from .source import PADDING, Source, warn_file
from .text_table import Number, TableError, Text, count_rows, parse_list_rows, parse_rows, scan_list_rows
from .text_writer import Cell, Literal, row_of, write_rows

_EXTRA = 2
_NUMBER = rb"(\d{1,18})(?![\d.])"
_COUNTS = re.compile(rb"\s*" + _NUMBER + rb"[ \t]*\n?\s*" + _NUMBER + rb"(?:[ \t]+-?\d{1,18}(?![\d.]))?[ \t\r]*(?:\n|$)")
"""Vertices, faces, and perhaps edges."""


@dataclass(frozen=True)
class _Header:
    normals: bool
    colors: bool
    uvs: bool
    vertices: int
    faces: int
    end: int


def read_off(source: Source, options: LoadOptions) -> Mesh:
    """Read an OFF file.

    Raises:
        FormatError: with the line.
    """
    data = source.text()
    text = Text(data, len(data) - PADDING, source.path)
    _blank_comments(text)
    header = _header(text)
    if 2 * (3 * header.vertices + header.faces) > text.end - header.end + 2:
        message = f"the header promises {header.vertices} vertices and {header.faces} faces, more than the file can hold"
        raise FormatError(message, path=source.path, line=text.line_of(header.end - 1))
    try:
        fields, position = _vertices(text, header)
        offsets, corners, colors = _faces(text, header, position)
    except TableError as error:
        raise text.error(error) from None
    positions = fields["vertices"].numpy()
    if colors is not None:
        fields["face_attributes"] = {"colors": unit_colors(colors, source.path)}
    found = triangulate(positions, offsets, corners, source.path)
    fields["faces"] = torch.from_numpy(corners[found.corners])
    if colors is not None:
        fields["face_attributes"]["colors"] = fields["face_attributes"]["colors"][torch.from_numpy(found.polygons)]
    if options.keep_polygons:
        fields["metadata"] = {"polygons": kept(offsets, corners)}
        fields.setdefault("face_attributes", {})["polygon"] = torch.from_numpy(found.polygons)
    return Mesh(**fields)


def _blank_comments(text: Text) -> None:
    """Make comments blanks: from "#" to the end of the line."""
    for begin in np.flatnonzero(text.data[: text.end] == ord("#")).tolist():
        end = begin
        while text.data[end] != 10:
            end += 1
        text.data[begin:end] = 32


def _header(text: Text) -> _Header:
    """The keyword, which may be missing or glued to the counts, and the counts, on one line or several."""
    content = text.data[: min(text.end, 1 << 16)].tobytes()
    match = re.match(rb"\s*((?:ST)?C?N?4?n?OFF)?\s*(BINARY)?", content)
    assert match is not None
    kind = (match.group(1) or b"").decode()
    if match.group(2):
        raise FormatError("binary OFF is not read; convert it to ASCII", path=text.path, line=1)
    if "4" in kind or "n" in kind:
        raise FormatError(f"{kind} has points of other than three dimensions", path=text.path, line=text.line_of(match.start(1)))
    counts = _COUNTS.match(content, match.end())
    if counts is None:
        raise FormatError("after OFF the numbers of vertices, faces and edges must follow", path=text.path, line=text.line_of(match.end()))
    vertices, faces = int(counts.group(1)), int(counts.group(2))
    return _Header("N" in kind, "C" in kind, "ST" in kind, vertices, faces, counts.end())


def _vertices(text: Text, header: _Header) -> tuple[dict[str, Any], int]:
    """The vertex fields, and the place behind the vertices."""
    count = header.vertices
    fields: dict[str, Any] = {"vertices": torch.zeros((0, 3))}
    if count == 0:
        return fields, header.end
    first = scan_list_rows(text, header.end, 1, [False, False, False], _EXTRA)
    line = text.line_at(int(first.starts[0]) - text.address).split()
    normals = 3 if header.normals else 0
    uvs = 2 if header.uvs else 0
    colors = len(line) - 3 - normals - uvs
    if colors not in (0, 3, 4) or (header.colors and not colors):
        message = f"a vertex line has {len(line)} values"
        raise FormatError(message, path=text.path, line=text.line_of(int(first.starts[0]) - text.address))
    columns = np.empty((count, len(line)), np.float32)
    positions = np.empty((count, 3), np.float32)
    cuts, rows = count_rows(text, header.end, text.end)
    if rows[-1] < count:
        raise TableError(6, text.end, 0, 0)
    parse_rows(
        text, [*(Number(positions[:, k]) for k in range(3)), *(Number(columns[:, k]) for k in range(3, len(line)))], cuts, rows, 0, count
    )
    if needs_double(positions):
        positions = np.empty((count, 3), np.float64)
        parse_rows(text, [*map(Number, positions.T), *[Number(None)] * (len(line) - 3)], cuts, rows, 0, count)
    fields["vertices"] = torch.from_numpy(positions)
    at = 3
    if normals:
        fields["vertex_normals"] = torch.from_numpy(columns[:, at : at + 3].copy())
        at += 3
    if colors:
        block = columns[:, at : at + colors].copy()
        whole = bool((block == np.floor(block)).all()) and float(block.max(initial=0)) > 1
        fields["vertex_colors"] = unit_colors(block.astype(np.uint8) if whole and block.max() <= 255 else block, text.path)
        at += colors
    if uvs:
        fields["uvs"] = torch.from_numpy(columns[:, at : at + 2].copy())
    from ..kernels.parse_table import skip_rows

    return fields, skip_rows(text.address + header.end, text.address + text.end, 0, count) - text.address


def _faces(text: Text, header: _Header, position: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """(offsets, corners, colours if every face line ends with three or four)."""
    found = scan_list_rows(text, position, header.faces, [True], _EXTRA)
    offsets = found.offsets[:, 0]
    corners = np.empty(int(offsets[-1]), np.int64)
    parse_list_rows(text, [Number(corners, 0, header.vertices - 1)], [True], found)
    colors = _face_colors(text, found.starts, offsets)
    end = int(found.starts[-1]) - text.address
    if text.data[end : text.end].tobytes().strip(b" \t\r\n\0"):
        warn_file(text.path, "there are lines behind the faces that the header announces; they are not read")
    return np.ascontiguousarray(offsets), corners, colors


def _face_colors(text: Text, starts: np.ndarray, offsets: np.ndarray) -> np.ndarray | None:
    """Colours behind the indices: read one by one, as they are rare; None unless all faces have as many values."""
    if len(starts) < 2:
        return None
    first = text.line_at(int(starts[0]) - text.address).split()
    channels = len(first) - 1 - int(offsets[1])
    if channels not in (3, 4):
        return None
    colors = np.zeros((len(starts) - 1, channels))
    whole = True
    for k, place in enumerate(starts[:-1].tolist()):
        words = text.line_at(place - text.address).split()[1 + int(offsets[k + 1] - offsets[k]) :]
        try:
            colors[k] = [float(word) for word in words]
        except ValueError:
            return None
        whole = whole and all("." not in word for word in words)
    return colors.clip(0, 255).astype(np.uint8) if whole else colors.astype(np.float32)


def write_off(mesh: Mesh, path: Path, outputs: OutputFiles, options: SaveOptions) -> None:
    """Write an OFF; with vertex normals a NOFF, with colours a COFF."""
    if options.encoding not in (None, "ascii"):
        raise ArgumentError(f"save: OFF is always ascii, not {options.encoding!r}")
    file = outputs.open(path)
    positions = array(mesh.vertices)
    columns = [positions[:, k] for k in range(3)]
    kind = ""
    if mesh.vertex_normals is not None:
        normals = array(mesh.vertex_normals)
        columns, kind = columns + [normals[:, k] for k in range(3)], "N"
    if mesh.vertex_colors is not None:
        colors = bytes_of_colors(mesh.vertex_colors)
        columns, kind = columns + [colors[:, k] for k in range(colors.shape[1])], f"C{kind}"
    write_all(file, f"{kind}OFF\n{mesh.vertex_count} {mesh.face_count} 0\n".encode())
    write_rows(file, mesh.vertex_count, row_of(columns))
    faces = array(mesh.faces)
    cells: list[Cell | Literal] = [Literal("3 "), *row_of([faces[:, k] for k in range(3)])]
    write_rows(file, mesh.face_count, cells)
