"""Wavefront OBJ to meshes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..errors import FormatError
from ..geometry.material import Material
from ..geometry.mesh import Mesh
from .mtl import parse_mtl
from .options import LoadOptions
from .parts import for_each_part
from .ply import unit_colors
from .polygons import Polygons, triangulate
from .source import Source, warn_file
from .text_table import Text, repair_hard_numbers

_HARD = 1024
_MOST_OTHERS = 4096
_FLOAT32, _FLOAT64 = 8, 9
_REASONS = {
    1: "{token} is not a number",
    2: "the line has too few values",
    3: "the line has too many values, from {token} on",
    10: "{token} is not a face corner (v, v/vt, v//vn or v/vt/vn)",
    11: "{token} refers to something that the file does not have",
}

_QUIET = ("t", "vw")
"""Statements of other programs that extend the format: subdivision tags and skin weights."""


@dataclass
class _Lines:
    """What a pass over an OBJ found, in arrays.

    Attributes:
        cuts: [S + 1] offsets of slices; counts: [S, 11] per slice; others: [S] of [n, 3] other statements of each slice.
    """

    cuts: list[int]
    counts: np.ndarray
    others: list[np.ndarray]

    def total(self, index: int) -> int:
        return int(self.counts[:, index].sum())


@dataclass
class _Arrays:
    """The contents of an OBJ as arrays; corner indices are -1 where a corner has none."""

    positions: np.ndarray
    uvs: np.ndarray
    normals: np.ndarray
    colors: np.ndarray | None
    weights: np.ndarray | None
    corner_vertices: np.ndarray
    corner_uvs: np.ndarray | None
    corner_normals: np.ndarray | None
    offsets: np.ndarray | None
    dangling: list[str] = field(default_factory=list)

    @property
    def polygon_count(self) -> int:
        return len(self.corner_vertices) // 3 if self.offsets is None else len(self.offsets) - 1


def read_obj(source: Source, options: LoadOptions) -> Mesh:
    """Read an OBJ file with its materials.

    Raises:
        FormatError: with the line.
    """
    data = source.text()
    text = Text(data, len(data) - 24, source.path)
    if b"\0" in data[: min(len(data) - 24, 4096)].tobytes():
        raise FormatError("binary data, not an OBJ text", path=source.path, byte=int(np.flatnonzero(data == 0)[0]))
    lines = _scan(text)
    if lines.total(10):
        _join_continued(text)
        lines = _scan(text)
    arrays = _parse(text, lines, _FLOAT32)
    if needs_double(arrays.positions):
        arrays = _parse(text, lines, _FLOAT64)
    statements = _Statements(text)
    statements.read(lines)
    for what in arrays.dangling:
        warn_file(source.path, f"faces refer to {what}, but the file has none; they are ignored")
    return _mesh(arrays, statements, source, options)


def needs_double(positions: np.ndarray) -> bool:
    """Whether float32 would move points by more than 1e-5 of the model's size: it lies far from the origin."""
    if len(positions) < 2:
        return False
    with np.errstate(all="ignore"):
        low, high = np.nanmin(positions, axis=0), np.nanmax(positions, axis=0)
        extent, reach = float((high - low).max()), float(np.maximum(np.abs(low), np.abs(high)).max())
    return bool(np.isfinite(extent) and np.isfinite(reach) and extent > 0 and reach * 2.0**-24 > 1e-5 * extent)


def _scan(text: Text) -> _Lines:
    from ..kernels.parse_obj import scan_lines

    cuts = text.slices(0, text.end)
    counts = np.zeros((len(cuts) - 1, 11), np.int64)
    others = [np.zeros((0, 3), np.int64)] * (len(cuts) - 1)

    def body(slot: int) -> None:
        room = np.empty((_MOST_OTHERS, 3), np.int64)
        start, end = text.address + cuts[slot], text.address + cuts[slot + 1]
        scan_lines(start, end, counts[slot], room)
        found = int(counts[slot, 9])
        if found > len(room):
            counts[slot], room = 0, np.empty((found, 3), np.int64)
            scan_lines(start, end, counts[slot], room)
        others[slot] = room[:found].copy()

    for_each_part(body, len(cuts) - 1)
    return _Lines(cuts, counts, others)


def _join_continued(text: Text) -> None:
    """Make a backslash and the line break behind it blanks, except in comments."""
    content = text.data[: text.end].tobytes()
    removed = []
    for match in re.finditer(rb"\\\r?\n", content):
        begin = max(content.rfind(b"\n", 0, match.start()), content.rfind(b"\r", 0, match.start())) + 1
        if not content[begin : match.start()].lstrip().startswith(b"#"):
            text.data[match.start() : match.end()] = 32
            removed.append(match.start())
    text.removed_breaks = np.array(removed, np.int64)


def _parse(text: Text, lines: _Lines, kind: int) -> _Arrays:
    from ..kernels.parse_obj import parse_lines

    before = np.zeros((len(lines.counts) + 1, 5), np.int64)
    np.cumsum(lines.counts[:, :5], axis=0, out=before[1:])
    v, t, n, f, c = before[-1].tolist()
    widths = int(np.bitwise_or.reduce(lines.counts[:, 6])) if len(lines.counts) else 0
    channels = 4 if widths & 1 << 7 else 3 if widths & 1 << 6 else 0
    arrays = _Arrays(
        positions=np.empty((v, 3), np.float32 if kind == _FLOAT32 else np.float64),
        uvs=np.zeros((t, 2), np.float32),
        normals=np.empty((n, 3), np.float32),
        colors=np.ones((v, channels), np.float32) if channels else None,  # white where a vertex has none
        weights=np.ones(v, np.float32) if widths & 1 << 4 else None,
        corner_vertices=np.empty(c, np.int64),
        corner_uvs=np.empty(c, np.int64) if lines.total(7) else None,
        corner_normals=np.empty(c, np.int64) if lines.total(8) else None,
        offsets=np.zeros(f + 1, np.int64) if lines.total(5) else None,
    )
    ends = None if arrays.offsets is None else arrays.offsets[1:]
    parts = (arrays.positions, arrays.colors, arrays.weights, arrays.uvs, arrays.normals)
    corners = (arrays.corner_vertices, arrays.corner_uvs, arrays.corner_normals, ends)
    addresses = [0 if part is None else part.ctypes.data for part in (*parts, *corners)]
    targets = np.array([*addresses, 4 * channels], np.int64)
    totals = np.array([v, t, n], np.int64)
    errors: list[tuple[int, int]] = []
    dangling = np.zeros(2, np.bool_)

    def body(slot: int) -> None:
        start, end = text.address + lines.cuts[slot], text.address + lines.cuts[slot + 1]
        room = _HARD
        while True:
            hard, state = np.zeros((room, 3), np.int64), np.zeros(5, np.int64)
            parse_lines(start, end, before[slot].copy(), totals, kind, targets, hard, state)
            if state[2] <= room:
                break
            room = int(state[2])
        if state[0]:
            errors.append((int(state[1]) - text.address, int(state[0])))
        repair_hard_numbers(hard[: int(state[2])], text)
        dangling[:] |= state[3:5] != 0

    for_each_part(body, len(lines.counts))
    if errors:
        offset, reason = min(errors)
        raise FormatError(_REASONS[reason].format(token=text.token_at(offset)), path=text.path, line=text.line_of(offset))
    arrays.dangling = [what for what, is_so in zip(("texture coordinates (vt)", "normals (vn)"), dangling) if is_so]
    return arrays


class _Statements:
    """The statements besides v, vt, vn and f: what faces belong to, lines, points, and libraries.

    Attributes:
        segments: for "usemtl", "g", "o" and "s": (face from which on, value).
    """

    def __init__(self, text: Text):
        self.text = text
        self.libraries: list[str] = []
        self.segments: dict[str, list[tuple[int, str]]] = {"usemtl": [], "g": [], "o": [], "s": []}
        self.lines: list[list[int]] = []
        self.points: list[int] = []

    def read(self, lines: _Lines) -> None:
        """Read them in the order of the file."""
        unknown: dict[str, int] = {}
        vertices = faces = 0
        total = lines.total(0)
        for slot, places in enumerate(lines.others):
            for address, seen_vertices, seen_faces in places.tolist():
                offset = address - self.text.address
                word = self._read_one(offset, vertices + seen_vertices, faces + seen_faces, total)
                if word:
                    unknown.setdefault(word, offset)
            vertices, faces = vertices + int(lines.counts[slot, 0]), faces + int(lines.counts[slot, 3])
        for word, offset in unknown.items():
            if not re.fullmatch("[A-Za-z_]{1,24}2?", word):
                raise FormatError(f"unknown statement {word[:40]!r}", path=self.text.path, line=self.text.line_of(offset))
        skipped = [word for word in unknown if word not in _QUIET]
        if skipped:
            warn_file(self.text.path, f"the statements {', '.join(map(repr, skipped[:8]))} are ignored")

    def _read_one(self, offset: int, vertices: int, faces: int, total: int) -> str:
        """Read a statement; returns its keyword if it has no meaning here."""
        data = self.text.data
        end = offset
        while data[end : end + 256].tobytes().find(b"\n") < 0:
            end += 256
        end += data[end : end + 256].tobytes().find(b"\n")
        statement = data[offset:end].tobytes()
        words = statement.split(None, 1)
        keyword = words[0].decode("latin-1")
        rest = words[1].strip() if len(words) > 1 else b""
        if keyword in self.segments:
            self.segments[keyword].append((faces, _decode(rest)))
        elif keyword == "mtllib":
            self.libraries.append(_decode(rest))
        elif keyword in ("l", "p"):
            indices = [self._index(word, offset, vertices, total) for word in rest.split(b"#")[0].split()]
            if keyword == "l":
                self.lines.append(indices)
            else:
                self.points += indices
        else:
            return keyword
        return ""

    def _index(self, word: bytes, offset: int, vertices: int, total: int) -> int:
        try:
            value = int(word.split(b"/")[0])
        except ValueError:
            value = 0
        index = value - 1 if value > 0 else vertices + value
        if value == 0 or not 0 <= index < total:
            message = f"{word[:40].decode('latin-1')!r} is not the index of one of the {total} vertices"
            raise FormatError(message, path=self.text.path, line=self.text.line_of(offset))
        return index


def _decode(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _mesh(arrays: _Arrays, statements: _Statements, source: Source, options: LoadOptions) -> Mesh:
    count = arrays.polygon_count
    fields: dict[str, Any] = {"metadata": {}, "vertex_attributes": {}, "face_attributes": {}}
    corners, polygons = _triangles(arrays, source)
    take = lambda values: values.reshape(-1, 3) if corners is None else values[corners]
    spread = lambda values: values if polygons is None else values[polygons]
    faces = take(arrays.corner_vertices)
    if arrays.colors is not None:
        fields["vertex_colors"] = unit_colors(arrays.colors, source.path)
    if arrays.weights is not None:
        fields["vertex_attributes"]["w"] = torch.from_numpy(arrays.weights)
    _uv_fields(fields, arrays, None if arrays.corner_uvs is None else take(arrays.corner_uvs), faces)
    _normal_fields(fields, arrays, None if arrays.corner_normals is None else take(arrays.corner_normals), faces)
    _material_fields(fields, statements, count, spread, source, options)
    _segment_fields(fields, statements, count, spread)
    if statements.lines:
        fields["metadata"]["lines"] = tuple(torch.tensor(line, dtype=torch.int64) for line in statements.lines)
    if statements.points:
        fields["metadata"]["points"] = torch.tensor(statements.points, dtype=torch.int64)
    if options.keep_polygons:
        offsets = np.arange(count + 1) * 3 if arrays.offsets is None else arrays.offsets
        indices = (arrays.corner_vertices, arrays.corner_uvs, arrays.corner_normals)
        vertices, uvs, normals = (None if i is None else torch.from_numpy(i) for i in indices)
        assert vertices is not None
        fields["metadata"]["polygons"] = Polygons(offsets=torch.from_numpy(offsets), vertices=vertices, uvs=uvs, normals=normals)
        fields["face_attributes"]["polygon"] = torch.from_numpy(np.arange(count) if polygons is None else polygons)
    return Mesh(vertices=torch.from_numpy(arrays.positions), faces=torch.from_numpy(faces), **fields)


def _triangles(arrays: _Arrays, source: Source) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(corner of each triangle corner, polygon of each triangle); None for a file of triangles."""
    if arrays.offsets is None:
        return None, None
    found = triangulate(arrays.positions, arrays.offsets, arrays.corner_vertices, source.path)
    return found.corners, found.polygons


def _uv_fields(fields: dict[str, Any], arrays: _Arrays, face_uvs: np.ndarray | None, faces: np.ndarray) -> None:
    if not len(arrays.uvs) or face_uvs is None:
        return
    uvs = arrays.uvs
    missing = face_uvs < 0
    if missing.any():
        if missing.all():
            return
        uvs = np.concatenate([uvs, np.zeros((1, 2), np.float32)])
        face_uvs = np.where(missing, len(uvs) - 1, face_uvs)
    fields["uvs"] = torch.from_numpy(uvs)
    if len(uvs) != len(arrays.positions) or not np.array_equal(face_uvs, faces):
        fields["face_uvs"] = torch.from_numpy(face_uvs)


def _normal_fields(fields: dict[str, Any], arrays: _Arrays, indices: np.ndarray | None, faces: np.ndarray) -> None:
    """Normals as those of vertices where each vertex has one, else as those of corners."""
    normals = arrays.normals
    if not len(normals):
        return
    if indices is None or not len(faces):
        if not len(faces) and len(normals) == len(arrays.positions):
            fields["vertex_normals"] = torch.from_numpy(normals)
        return
    if len(normals) == len(arrays.positions) and np.array_equal(indices, faces):
        fields["vertex_normals"] = torch.from_numpy(normals)
        return
    if (indices < 0).all():
        return
    chosen = np.full(len(arrays.positions), -1, np.int64)
    chosen[faces.reshape(-1)] = indices.reshape(-1)
    if (indices >= 0).all() and np.array_equal(chosen[faces], indices):
        per_vertex = np.where((chosen >= 0)[:, None], normals[np.maximum(chosen, 0)], np.float32(0))
        fields["vertex_normals"] = torch.from_numpy(per_vertex)
        return
    corner_normals = normals[np.maximum(indices, 0)]
    missing = (indices < 0).any(axis=1)
    if missing.any():
        a, b, c = (arrays.positions[faces[missing, k]] for k in range(3))
        flat = np.cross(b - a, c - a)
        flat = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-30)
        corner_normals[missing] = np.where((indices[missing] < 0)[:, :, None], flat[:, None], corner_normals[missing])
    fields["corner_normals"] = torch.from_numpy(corner_normals)


def _numbered(segments: Sequence[tuple[int, str]], count: int, first: Sequence[str] = ()) -> tuple[np.ndarray, list[str]]:
    """([count] index of the value that each face has, -1 before the first; the values), from (face from which on, value)."""
    names = list(first)
    index = {name: k for k, name in enumerate(names)}
    starts, values = [0], [-1]
    for face, name in segments:
        if name not in index:
            index[name] = len(names)
            names.append(name)
        starts.append(face)
        values.append(index[name])
    return np.repeat(np.array(values), np.diff([*starts, count])), names


def _material_fields(
    fields: dict[str, Any], statements: _Statements, count: int, spread: Any, source: Source, options: LoadOptions
) -> None:
    materials: dict[str, Material] = {}
    for library in statements.libraries:
        for data in _library_files(library, source):
            for name, material in parse_mtl(data, source, load_textures=options.load_textures).items():
                materials.setdefault(name, material)
    segments = [(face, name) for face, name in statements.segments["usemtl"] if name]
    used, names = _numbered(segments, count, list(materials))
    for name in names[len(materials) :]:
        if statements.libraries:
            warn_file(source.path, f"no material library has {name!r}; it gets default properties")
        materials[name] = Material(name=name)
    fields["materials"] = tuple(materials[name] for name in names)
    if names and (len(names) > 1 or not (used == 0).all()):
        fields["face_materials"] = torch.from_numpy(spread(used))


def _library_files(statement: str, source: Source) -> list[bytes]:
    """The files of an mtllib statement: one name, which may have spaces, or several."""
    whole = source.resources.read(statement)
    if whole is not None:
        return [whole]
    names = [name.replace("\0", " ") for name in statement.replace("\\ ", "\0").split()]
    found = [data for name in names if len(names) > 1 or name != statement for data in [source.resources.read(name)] if data is not None]
    if not found:
        warn_file(source.path, f"the material library {statement!r} is missing; the mesh is loaded without it")
    return found


def _segment_fields(fields: dict[str, Any], statements: _Statements, count: int, spread: Any) -> None:
    """Groups, objects and smoothing groups: names in the metadata, the number of each face's as attributes."""
    for keyword, name in (("g", "group"), ("o", "object")):
        segments = statements.segments[keyword]
        if not segments:
            continue
        numbers, names = _numbered(segments, count)
        if count:  # those without faces are left out
            used, compact = np.unique(numbers[numbers >= 0], return_inverse=True)
            numbers[numbers >= 0], names = compact, [names[k] for k in used.tolist()]
        fields["metadata"][f"{name}_names"] = tuple(names)
        if len(names) > 1 or (numbers < 0).any():
            fields["face_attributes"][name] = torch.from_numpy(spread(numbers))
    smooth = [(face, 0 if value.lower() in ("off", "null", "") else value) for face, value in statements.segments["s"]]
    if any(value for _, value in smooth):
        values = [0, *(int(value) if str(value).isdigit() and len(str(value)) < 10 else int(value == "on") for _, value in smooth)]
        numbers = np.repeat(np.array(values), np.diff([0, *(face for face, _ in smooth), count]))
        fields["face_attributes"]["smoothing_group"] = torch.from_numpy(spread(numbers))
