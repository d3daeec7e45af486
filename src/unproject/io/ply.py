"""PLY to meshes and point clouds: which element and property means what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import FormatError
from ..geometry.material import Material
from ..geometry.mesh import Mesh
from .images import load_texture
from .options import LoadOptions
from .ply_binary import read_binary
from .ply_columns import INDEX_NAMES, Column, Columns, Lists, together
from .ply_header import ASCII, NAMES, Element, Header, parse_header
from .ply_text import read_text
from .polygons import Triangles, kept, triangulate
from .source import Source, warn_file

POSITIONS = ("x", "y", "z")
NORMALS = (("nx", "ny", "nz"), ("normal_x", "normal_y", "normal_z"))
COLORS = (
    ("red", "green", "blue", "alpha"),
    ("red", "green", "blue"),
    ("r", "g", "b", "a"),
    ("r", "g", "b"),
    ("diffuse_red", "diffuse_green", "diffuse_blue"),
)
UVS = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texcoord_u", "texcoord_v"))
TEXTURE_COMMENT = "TextureFile"

_GROUPS = {"vertex": (POSITIONS, *NORMALS, *COLORS, *UVS), "face": COLORS}
_TORCH_KINDS = {"u2": "i4", "u4": "i8", "u8": "i8"}

Table = dict[str, Column]


def read_ply(source: Source, options: LoadOptions) -> Mesh:
    """Read a PLY file. Without faces it becomes a mesh without faces.

    Raises:
        FormatError: with line or byte.
    """
    header = _header(source)
    columns = _read_elements(source, header)
    tables = {name: drawn.columns for name, drawn in columns.items()}
    checked = "face" in columns and columns["face"].indices_checked
    vertex = tables.pop("vertex", {})
    faces = _faces(source, header, tables, checked)
    fields: dict[str, Any] = {"metadata": {}, "vertex_attributes": {}, "face_attributes": {}}
    positions = _positions(source, header, vertex, faces)
    _vertex_fields(fields, vertex, faces is not None, source)
    if faces is not None:
        _face_fields(fields, faces, positions, source, options)
    else:
        fields["faces"] = torch.zeros((0, 3), dtype=torch.int64)
    _materials(fields, header, source, options)
    _metadata(fields, header, tables)
    return Mesh(vertices=torch.from_numpy(positions), **fields)


def has_faces(source: Source) -> bool:
    """Whether a PLY file has faces, by its header."""
    header = _header(source)
    return any(e.count > 0 for e in header.elements if e.name in ("face", "tristrips"))


def _header(source: Source) -> Header:
    return parse_header(source.head(1 << 16) if b"end_header" in source.head(1 << 16) else source.bytes(), source.path)


def _read_elements(source: Source, header: Header) -> dict[str, Columns]:
    _check_promises(source, header)
    vertex = header.element("vertex")
    columns = {e.name: Columns(e, _GROUPS.get(e.name, ()), vertex.count if vertex else None) for e in header.elements}
    if header.encoding == ASCII:
        read_text(source, header, columns)
    else:
        read_binary(source, header, columns)
    return columns


def _check_promises(source: Source, header: Header) -> None:
    """Refuse a header that promises more than the file can hold, before anything is allocated for it."""
    text = header.encoding == ASCII
    left = source.size - header.size + (1 if text else 0)
    for element in header.elements:
        least = element.count * element.least_row_bytes(text)
        if least > left:
            message = f"the header promises {element.count} rows of {element.name!r}, at least {least} bytes, but {max(left, 0)} are left"
            raise FormatError(message, path=source.path, byte=header.size)
        left -= least


@dataclass(frozen=True)
class _Faces:
    """Polygons and what belongs to them.

    Attributes:
        corners: [C] vertex indices, or [F, 3] where all polygons are triangles.
        offsets: [P + 1]; None where all polygons are triangles.
        table: the other columns.
    """

    corners: np.ndarray
    offsets: np.ndarray | None
    table: Table

    @property
    def count(self) -> int:
        return len(self.corners) if self.offsets is None else len(self.offsets) - 1

    def corner_offsets(self) -> np.ndarray:
        """[P + 1] where each polygon's corners begin."""
        return np.arange(self.count + 1) * 3 if self.offsets is None else self.offsets


def _faces(source: Source, header: Header, tables: dict[str, Table], checked: bool) -> _Faces | None:
    """The polygons of the elements face and tristrips; None if the file has neither."""
    face, strips = header.element("face"), header.element("tristrips")
    if face is None and strips is None:
        return None
    vertex = header.element("vertex")
    count = vertex.count if vertex else 0
    faces = _Faces(np.zeros((0, 3), np.int64), None, {})
    if face is not None:
        table = tables.pop("face")
        column = next((table.pop(name) for name in INDEX_NAMES if name in table), None)
        if column is None and face.count > 0:
            raise FormatError("element 'face' has no list property 'vertex_indices'", path=source.path)
        if column is not None and face.count > 0:
            faces = _polygons(column, table, count, checked, source.path)
    if strips is not None:
        table_of_strips = tables.pop("tristrips")
        column = next((table_of_strips[name] for name in INDEX_NAMES if name in table_of_strips), None)
        if column is not None and strips.count > 0:
            triangles = _indices(strip_triangles(*_ragged(column)), count, source.path)
            if faces.offsets is None:
                return _Faces(np.concatenate([faces.corners, triangles]), None, {})
            offsets = np.concatenate([faces.offsets, faces.offsets[-1] + 3 * np.arange(1, len(triangles) + 1)])
            return _Faces(np.concatenate([faces.corners, triangles.reshape(-1)]), offsets, {})
    return faces


def _polygons(column: Column, table: Table, count: int, checked: bool, path: Path) -> _Faces:
    if isinstance(column, np.ndarray) and column.shape[1:] == (3,):
        return _Faces(column if checked and column.dtype == np.int64 else _indices(column, count, path), None, table)
    offsets, corners = _ragged(column)
    return _Faces(corners if checked and corners.dtype == np.int64 else _indices(corners, count, path), offsets, table)


def _ragged(column: Column) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(column, Lists):
        return column.offsets, column.values
    rows, length = column.shape if column.ndim == 2 else (len(column), 1)
    return np.arange(rows + 1) * length, column.reshape(-1)


def _indices(values: np.ndarray, count: int, path: Path) -> np.ndarray:
    """Vertex indices as int64, in range."""
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.floor(values)).all()):
        raise FormatError("a vertex index is not an integer", path=path)
    indices = values.astype(np.int64, copy=False)
    if indices.size:
        low, high = int(indices.min()), int(indices.max())
        if low < 0 or high >= count:
            bad = low if low < 0 else high
            raise FormatError(f"a face has the vertex index {bad}, but there are {count} vertices (0 to {count - 1})", path=path)
    return indices


def strip_triangles(offsets: np.ndarray, values: np.ndarray) -> np.ndarray:
    """[T, 3] triangles of strips that -1 separates. Every second triangle is turned; degenerate ones are joints and left out."""
    pieces = []
    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist()):
        strip = values[begin:end].astype(np.int64)
        cuts = [-1, *np.flatnonzero(strip < 0).tolist(), len(strip)]
        for a, b in pairwise(cuts):
            run = strip[a + 1 : b]
            if len(run) < 3:
                continue
            triangles = np.stack([run[:-2], run[1:-1], run[2:]], axis=1)
            triangles[1::2] = triangles[1::2][:, [1, 0, 2]]
            pieces.append(triangles)
    if not pieces:
        return np.zeros((0, 3), np.int64)
    triangles = np.concatenate(pieces)
    a, b, c = triangles.T
    return triangles[(a != b) & (b != c) & (a != c)]


def _positions(source: Source, header: Header, vertex: Table, faces: _Faces | None) -> np.ndarray:
    """[V, 3] positions, taken out of the vertex table."""
    element = header.element("vertex")
    if element is None or element.count == 0:
        for name in POSITIONS:
            vertex.pop(name, None)
        return np.zeros((0, 3), np.float32)
    block = together(vertex, POSITIONS)
    if block is None:
        missing = [name for name in POSITIONS if name not in vertex]
        raise FormatError(f"element 'vertex' has no number property {', '.join(map(repr, missing or POSITIONS))}", path=source.path)
    for name in POSITIONS:
        vertex.pop(name)
    if block.dtype.kind in "iu":
        block = block.astype(np.float32 if block.dtype.itemsize < 4 else np.float64)
    return block


def _take(table: Table, choices: Sequence[Sequence[str]]) -> np.ndarray | None:
    """The first of several groups of columns that is there, taken out of the table."""
    for names in choices:
        block = together(table, names)
        if block is not None:
            for name in names:
                table.pop(name)
            return block
    return None


def _vertex_fields(fields: dict[str, Any], vertex: Table, is_mesh: bool, source: Source) -> None:
    normals = _take(vertex, NORMALS)
    if normals is not None:
        fields["vertex_normals"] = _floats(normals)
    colors = _take(vertex, COLORS)
    if colors is not None:
        fields["vertex_colors"] = unit_colors(colors, source.path)
        if colors.dtype.kind == "f":
            fields["metadata"]["float_colors"] = True
    uvs = _take(vertex, UVS) if is_mesh else None
    if uvs is not None:
        fields["uvs"] = _floats(uvs)
    _attributes(fields, "vertex", vertex, fields["vertex_attributes"])


def _attributes(fields: dict[str, Any], element: str, table: Table, attributes: dict[str, Tensor]) -> None:
    """What remains of a table: tensors as attributes, lists of different lengths into the metadata."""
    for name, column in table.items():
        if isinstance(column, Lists):
            fields["metadata"].setdefault("ply_lists", {}).setdefault(element, {})[name] = _as_tensors(column)
        else:
            attributes[name] = _tensor(column)
            if column.dtype.str[1:] in _TORCH_KINDS:
                kinds = fields["metadata"].setdefault("ply_types", {}).setdefault(element, {})
                kinds[name] = NAMES[column.dtype.str[1:]]


def _floats(block: np.ndarray) -> Tensor:
    return torch.from_numpy(block if block.dtype.kind == "f" else block.astype(np.float32))


def _tensor(column: np.ndarray) -> Tensor:
    """An array of any of PLY's types as a tensor; unsigned integers that torch hardly knows become the next larger signed ones."""
    kind = column.dtype.str[1:]
    return torch.from_numpy(np.ascontiguousarray(column.astype(_TORCH_KINDS.get(kind, kind), copy=False)))


def _as_tensors(column: Column) -> Any:
    return (torch.from_numpy(column.offsets), _tensor(column.values)) if isinstance(column, Lists) else _tensor(column)


def unit_colors(block: np.ndarray, path: Path) -> Tensor:
    """Colours as float32 in [0, 1]: integers by the range of their type (wide ones hold 0 to 255), floats as they are."""
    if block.dtype.kind == "f":
        colors = block.astype(np.float32, copy=False)
        highest = float(np.nanmax(colors, initial=0.0))
        if 2.0 < highest <= 255.0:
            warn_file(path, "colours are floats up to 255; they were divided by 255")
            return torch.from_numpy(colors / np.float32(255))
        return torch.from_numpy(colors)
    high = 65535 if block.dtype.itemsize == 2 and block.dtype.kind == "u" else 255
    if block.dtype.itemsize > 1 and block.size and int(block.max()) > 255:
        high = 65535
    return torch.from_numpy(np.divide(block, np.float32(high), dtype=np.float32, casting="unsafe"))


def _face_fields(fields: dict[str, Any], faces: _Faces, positions: np.ndarray, source: Source, options: LoadOptions) -> None:
    table, metadata = faces.table, fields["metadata"]
    triangles: Triangles | None = None
    if faces.offsets is None:
        fields["faces"] = torch.from_numpy(faces.corners)
    else:
        triangles = triangulate(positions, faces.offsets, faces.corners, source.path)
        fields["faces"] = torch.from_numpy(faces.corners[triangles.corners])
    spread = lambda column: column if triangles is None else column[triangles.polygons]
    _corner_uvs(fields, faces, None if triangles is None else triangles.corners, source)
    normals = table.get("corner_normals")
    if triangles is None and isinstance(normals, np.ndarray) and normals.shape[1:] == (9,):
        fields["corner_normals"] = _floats(table.pop("corner_normals").reshape(-1, 3, 3))  # type: ignore[union-attr]
    colors = _take(table, COLORS)
    if colors is not None:
        fields["face_attributes"]["colors"] = unit_colors(spread(colors), source.path)
    number = table.get("texnumber")
    if isinstance(number, np.ndarray) and number.ndim == 1:
        fields["face_materials"] = torch.from_numpy(spread(table.pop("texnumber")).astype(np.int64))
    even = {name: spread(column) for name, column in table.items() if isinstance(column, np.ndarray)}
    uneven = {name: column for name, column in table.items() if isinstance(column, Lists) and triangles is None}
    _attributes(fields, "face", {**even, **uneven}, fields["face_attributes"])
    if options.keep_polygons:
        metadata["polygons"] = kept(faces.corner_offsets(), faces.corners.reshape(-1))
        polygons = np.arange(faces.count) if triangles is None else triangles.polygons
        fields["face_attributes"]["polygon"] = torch.from_numpy(polygons)


def _corner_uvs(fields: dict[str, Any], faces: _Faces, corners: np.ndarray | None, source: Source) -> None:
    """Texture coordinates of each corner, the list property "texcoord": two numbers a corner."""
    column = faces.table.get("texcoord")
    if column is None or (isinstance(column, np.ndarray) and column.ndim == 1):
        return
    offsets, values = _ragged(column)
    if not np.array_equal(offsets, 2 * faces.corner_offsets()):
        warn_file(source.path, "the lists 'texcoord' do not have two numbers for each corner of a face; they are not read as UV")
        return
    faces.table.pop("texcoord")
    fields["uvs"] = _floats(values.reshape(-1, 2))
    fields["face_uvs"] = torch.from_numpy(np.arange(faces.corners.size).reshape(-1, 3) if corners is None else corners)


def _materials(fields: dict[str, Any], header: Header, source: Source, options: LoadOptions) -> None:
    """One material for each "comment TextureFile NAME"."""
    names = [c[len(TEXTURE_COMMENT) :].strip() for c in header.comments if c.startswith(TEXTURE_COMMENT + " ")]
    materials = []
    for name in names:
        texture = load_texture(source, name) if options.load_textures else None
        materials.append(Material(name=Path(name).stem, diffuse_texture=texture, texture_paths=(("map_Kd", Path(name)),)))
    fields["materials"] = tuple(materials)
    numbers = fields.get("face_materials")
    if numbers is not None:
        fields["face_materials"] = torch.where((numbers >= 0) & (numbers < len(materials)), numbers, -1)


def _metadata(fields: dict[str, Any], header: Header, tables: Mapping[str, Table]) -> None:
    metadata = fields["metadata"]
    comments = tuple(c for c in header.comments if not c.startswith(TEXTURE_COMMENT + " "))
    if comments:
        metadata["comments"] = comments
    if header.object_info:
        metadata["obj_info"] = header.object_info
    others = {e.name: _others(e, tables[e.name]) for e in header.elements if e.name in tables and e.name not in ("vertex", "face")}
    if others:
        metadata["ply_elements"] = others


def _others(element: Element, table: Table) -> dict[str, Any]:
    """An element without a meaning here, kept to be written back: {"count", "types", and the column of each property}."""
    types = {p.name: f"list {NAMES[p.count_kind]} {NAMES[p.kind]}" if p.count_kind else NAMES[p.kind] for p in element.properties}
    return {"count": element.count, "types": types, "columns": {name: _as_tensors(column) for name, column in table.items()}}
