"""Meshes and point clouds to PLY."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentError, check_indices
from ..geometry.material import Material
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud
from .atomic import PAGE, OutputFiles, reserve_space, write_all
from .images import encode_png, texture_name
from .options import SaveOptions
from .parts import for_each_range
from .ply import TEXTURE_COMMENT
from .ply_header import ASCII, BIG, LITTLE, TYPES, Element, Header, Property, format_header
from .source import warn_file
from .text_writer import Cell, Literal, write_rows

ENCODINGS = {None: LITTLE, "binary": LITTLE, "big_endian": BIG, "ascii": ASCII}
_ROWS = 1 << 14
_TRIANGLES = 1 << 18  # 3.4 MB in one writing


@dataclass(frozen=True)
class Field:
    """One property to be written: [rows] numbers, [rows, L] lists of equal length, or (offsets, values)."""

    name: str
    values: np.ndarray | tuple[np.ndarray, np.ndarray]
    kind: str
    count_kind: str | None = None

    def property(self) -> Property:
        return Property(self.name, self.kind, self.count_kind)


def write_ply(value: Mesh | PointCloud, path: Path, outputs: OutputFiles, options: SaveOptions) -> None:
    """Write a PLY file and the textures of its materials."""
    if options.encoding not in ENCODINGS:
        raise ArgumentError(f"save: PLY has the encodings binary, big_endian and ascii, not {options.encoding!r}")
    encoding = ENCODINGS[options.encoding]
    tables: list[tuple[str, int, list[Field]]] = []
    comments: list[str] = [str(c) for c in value.metadata.get("comments", ())]
    file = outputs.open(path)
    if isinstance(value, Mesh):
        textures, numbers = _textures(value, path, outputs, options)
        comments += [f"{TEXTURE_COMMENT} {name}" for name in textures]
        tables.append(("vertex", value.vertex_count, _vertex_fields(value, options)))
        faces = _face_fields(value, numbers, options)
        if not _only_triangles(faces, encoding):
            check_indices(value.faces, value.vertex_count, name="faces", where="save")
        tables.append(("face", value.face_count, faces))
    else:
        tables.append(("vertex", value.point_count, _point_fields(value, options)))
    tables += _other_tables(value.metadata)
    elements = tuple(Element(name, count, tuple(f.property() for f in fields)) for name, count, fields in tables)
    header = Header(encoding, elements, tuple(comments), tuple(str(c) for c in value.metadata.get("obj_info", ())))
    write_all(file, format_header(header))
    for name, count, fields in tables:
        if name == "face" and isinstance(value, Mesh) and _only_triangles(fields, encoding):
            _write_triangles(file, value.faces, value.vertex_count)
        else:
            _write_table(file, count, fields, encoding)


def array(tensor: Tensor) -> np.ndarray:
    """A tensor as an array that PLY has a type for: bool as uint8, half precision as float32."""
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bool:
        tensor = tensor.to(torch.uint8)
    elif tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.to(torch.float32)
    return tensor.numpy()


def _numbers(names: Sequence[str], block: np.ndarray) -> list[Field]:
    return [Field(name, block[:, k], block.dtype.str[1:]) for k, name in enumerate(names)]


def _colors(colors: Tensor, options: SaveOptions, metadata: Mapping[str, Any]) -> list[Field]:
    names = ("red", "green", "blue", "alpha")[: colors.shape[1]]
    as_floats = metadata.get("float_colors", False) if options.float_colors is None else options.float_colors
    if as_floats:
        return _numbers(names, array(colors))
    return _numbers(names, bytes_of_colors(colors))


def bytes_of_colors(colors: Tensor) -> np.ndarray:
    """Colours in [0, 1] as bytes, rounded; NaN becomes 0."""
    return (colors.detach().cpu().to(torch.float32).nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def _point_fields(cloud: PointCloud, options: SaveOptions) -> list[Field]:
    fields = _numbers("xyz", array(cloud.positions))
    if cloud.normals is not None:
        fields += _numbers(("nx", "ny", "nz"), array(cloud.normals))
    attributes = dict(cloud.attributes)
    if cloud.colors is not None:
        colors, alpha = cloud.colors, attributes.get("alpha")
        if colors.shape[1] == 3 and alpha is not None and alpha.is_floating_point() and alpha.dim() == 1:
            colors = torch.cat([colors, attributes.pop("alpha")[:, None].to(colors)], dim=1)
        fields += _colors(colors, options, cloud.metadata)
    return fields + _attribute_fields("vertex", attributes, cloud.metadata, {f.name for f in fields})


def _vertex_fields(mesh: Mesh, options: SaveOptions) -> list[Field]:
    fields = _numbers("xyz", array(mesh.vertices))
    if mesh.vertex_normals is not None:
        fields += _numbers(("nx", "ny", "nz"), array(mesh.vertex_normals))
    if mesh.vertex_colors is not None:
        fields += _colors(mesh.vertex_colors, options, mesh.metadata)
    if mesh.uvs is not None and mesh.face_uvs is None and len(mesh.uvs) == mesh.vertex_count:
        fields += _numbers(("s", "t"), array(mesh.uvs))
    return fields + _attribute_fields("vertex", mesh.vertex_attributes, mesh.metadata, {f.name for f in fields})


def _face_fields(mesh: Mesh, numbers: np.ndarray | None, options: SaveOptions) -> list[Field]:
    kind = "i4" if mesh.vertex_count <= 2**31 else "u4"
    fields = [Field("vertex_indices", array(mesh.faces), kind, "u1")]
    if mesh.uvs is not None and mesh.face_uvs is not None:
        corners = array(mesh.uvs)[array(mesh.face_uvs)].reshape(mesh.face_count, 6)
        fields.append(Field("texcoord", corners, corners.dtype.str[1:], "u1"))
    if mesh.corner_normals is not None:
        normals = array(mesh.corner_normals).reshape(mesh.face_count, 9)
        fields.append(Field("corner_normals", normals, normals.dtype.str[1:], "u1"))
    if numbers is not None:
        fields.append(Field("texnumber", numbers, "i4"))
    attributes = dict(mesh.face_attributes)
    colors = attributes.get("colors")
    if colors is not None and colors.dim() == 2 and colors.shape[1] in (3, 4):
        fields += _colors(attributes.pop("colors"), options, mesh.metadata)
    return fields + _attribute_fields("face", attributes, mesh.metadata, {f.name for f in fields})


def _attribute_fields(element: str, attributes: Mapping[str, Tensor], metadata: Mapping[str, Any], taken: set[str]) -> list[Field]:
    """Attributes as numbers or, with more than one value a row, as lists; and the uneven lists of the file they came from."""
    declared = metadata.get("ply_types", {}).get(element, {})
    fields = []
    for name, tensor in attributes.items():
        name = "_".join(name.split()) or "attribute"
        if name in taken:
            continue
        values = array(tensor)
        kind = _fitting_kind(values, TYPES.get(declared.get(name, ""), ""))
        flat = values if values.ndim == 1 else values.reshape(len(values), -1)
        count_kind = None if flat.ndim == 1 else "u1" if flat.shape[1] < 256 else "i4"
        fields.append(Field(name, flat, kind, count_kind))
    for name, (offsets, values) in metadata.get("ply_lists", {}).get(element, {}).items():
        flat = array(values)
        fields.append(Field(name, (array(offsets), flat), _fitting_kind(flat, ""), "i4"))
    return fields


def _fitting_kind(values: np.ndarray, declared: str) -> str:
    """The PLY type for values: the declared one if they fit; for 64-bit integers, which PLY does not have, the first that holds them."""
    kind = values.dtype.str[1:]
    if values.dtype.kind == "f" or (kind not in ("i8", "u8") and not declared):
        return kind
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for candidate in (declared, "i4", "u4"):
        if candidate and candidate[0] in "iu" and np.iinfo(candidate).min <= low and high <= np.iinfo(candidate).max:
            return candidate
    return "f8" if max(-low, high) <= 2**53 else "i8"


def _textures(mesh: Mesh, path: Path, outputs: OutputFiles, options: SaveOptions) -> tuple[list[str], np.ndarray | None]:
    """Write textures; returns their file names and, if faces have different ones, the number of each face's."""
    names: list[str] = []
    number_of = []
    for material in mesh.materials:
        name = write_texture(material, "diffuse", material.diffuse_texture, "map_Kd", path, outputs, options)
        number_of.append(len(names) if name else -1)
        names += [name] if name else []
    plain = [m for m in mesh.materials if m.diffuse_texture is None and not any(key == "map_Kd" for key, _ in m.texture_paths)]
    if plain:
        warn_file(path, "PLY keeps the diffuse textures of materials, not their other properties")
    if not names or mesh.face_materials is None or (len(mesh.materials) == 1 and bool((mesh.face_materials == 0).all())):
        return names, None
    table = np.array([*number_of, -1], np.int32)
    return names, table[array(mesh.face_materials)]


def write_texture(
    material: Material, kind: str, texture: Tensor | None, key: str, path: Path, outputs: OutputFiles, options: SaveOptions
) -> str:
    """Write one texture beside a model file as PNG; returns what the model shall call it ("" if it has none)."""
    named = next((str(p) for k, p in material.texture_paths if k == key), "")
    if texture is None or not options.write_textures:
        return named
    name = texture_name(path.stem, material.name, kind)
    outputs.write(path.with_name(name), encode_png(texture))
    return name


def _other_tables(metadata: Mapping[str, Any]) -> list[tuple[str, int, list[Field]]]:
    """Elements that a PLY file had besides vertices and faces."""
    tables = []
    for name, element in metadata.get("ply_elements", {}).items():
        if name == "tristrips":
            continue
        fields = []
        for column, kinds in element["types"].items():
            words = kinds.split()
            values = element["columns"].get(column)
            if values is None:
                continue
            flat = (array(values[0]), array(values[1])) if isinstance(values, tuple) else array(values)
            fields.append(Field(column, flat, TYPES[words[-1]], TYPES[words[1]] if len(words) == 3 else None))
        tables.append((name, element["count"], fields))
    return tables


def _only_triangles(fields: Sequence[Field], encoding: str) -> bool:
    return encoding == LITTLE and len(fields) == 1 and fields[0].kind == "i4"


def _write_table(file: BinaryIO, count: int, fields: list[Field], encoding: str) -> None:
    if count == 0 or not fields:
        return
    if any(isinstance(f.values, tuple) for f in fields):
        _write_uneven(file, count, fields, encoding)
    elif encoding == ASCII:
        _write_text(file, count, fields)
    else:
        _write_binary(file, count, fields, ">" if encoding == BIG else "<")


def _write_text(file: BinaryIO, count: int, fields: Sequence[Field]) -> None:
    cells: list[Cell | Literal] = []
    for f in fields:
        assert isinstance(f.values, np.ndarray)
        values = f.values if f.values.dtype.kind in "iuf" and f.kind[0] != "f" else f.values.astype(f.kind, copy=False)
        if f.count_kind:
            length = values.shape[1]
            cells += [Literal(f"{length} "), *(Cell(values[:, k]) for k in range(length))]
        else:
            cells.append(Cell(values))
    last = cells[-1]
    cells[-1] = replace(last, follower="\n") if isinstance(last, Cell) else Literal(last.text[:-1] + "\n")
    write_rows(file, count, cells)


def _write_triangles(file: BinaryIO, indices: Tensor, vertex_count: int) -> None:
    """Faces that have nothing but their vertices; the indices are checked as they are packed.

    Raises:
        ArgumentError: an index out of range.
    """
    from ..kernels.unpack_rows import pack_triangles

    faces = np.ascontiguousarray(array(indices), np.int64)
    reserve_space(file, 13 * len(faces))
    buffer = np.empty(13 * min(len(faces), _TRIANGLES) + PAGE + 16, np.uint8)
    view, address, kept = buffer.data, buffer.ctypes.data, 0
    place = file.tell() if file.seekable() else 0
    fit: list[bool] = []
    for begin in range(0, len(faces), _TRIANGLES):  # packing beside the system's copying would slow both: one after the other
        end, to = min(len(faces), begin + _TRIANGLES), address + kept - 13 * begin

        def pack(b: int, e: int, first: int = begin, to: int = to) -> None:
            fit.append(pack_triangles(first + b, first + e, faces, vertex_count, to + 13 * (first + b)))

        for_each_range(pack, end - begin, grain=_ROWS)
        if not all(fit):
            check_indices(indices, vertex_count, name="faces", where="save")
        filled = kept + 13 * (end - begin)
        cut = filled if end == len(faces) else filled - (place + filled) % PAGE  # whole pages are written faster
        write_all(file, view[:cut])
        place, kept = place + cut, filled - cut
        buffer[:kept] = buffer[cut:filled]


def _write_binary(file: BinaryIO, count: int, fields: Sequence[Field], order: str) -> None:
    kinds: list[Any] = []
    for f in fields:
        assert isinstance(f.values, np.ndarray)
        if f.count_kind:
            kinds += [(f"#{f.name}", order + f.count_kind), (f.name, order + f.kind, (f.values.shape[1],))]
        else:
            kinds.append((f.name, order + f.kind))
    whole = _one_block(fields, order)
    if whole is not None:
        reserve_space(file, whole.nbytes)
        write_all(file, whole.reshape(-1).view(np.uint8).data)
        return
    rows = np.empty(min(count, _ROWS), kinds)
    reserve_space(file, count * rows.dtype.itemsize)
    for begin in range(0, count, max(len(rows), 1)):
        part = rows[: min(len(rows), count - begin)]
        for f in fields:
            assert isinstance(f.values, np.ndarray)
            part[f.name] = f.values[begin : begin + len(part)]
            if f.count_kind:
                part[f"#{f.name}"] = f.values.shape[1]
        write_all(file, part.view(np.uint8).data)


def _one_block(fields: Sequence[Field], order: str) -> np.ndarray | None:
    """The array that already has the bytes of the rows, if the fields are all of its columns."""
    first = fields[0].values
    base = first.base if isinstance(first, np.ndarray) else None
    if not isinstance(base, np.ndarray) or base.ndim != 2 or base.shape[1] != len(fields) or not base.flags.c_contiguous or order == ">":
        return None
    same = all(isinstance(f.values, np.ndarray) and f.values.ctypes.data == base[:, k].ctypes.data for k, f in enumerate(fields))
    return base if same and all(f.kind == base.dtype.str[1:] and not f.count_kind for f in fields) else None


def _write_uneven(file: BinaryIO, count: int, fields: Sequence[Field], encoding: str) -> None:
    """Rows with lists of different lengths, one after the other: rare, and kept only to be written back."""
    order = ">" if encoding == BIG else "<"
    lines = []
    for row in range(count):
        cells = []
        for f in fields:
            if isinstance(f.values, tuple):
                values = f.values[1][f.values[0][row] : f.values[0][row + 1]]
            else:
                values = np.atleast_1d(f.values[row])
            if f.count_kind:
                cells.append(np.array([len(values)], order + f.count_kind))
            cells.append(values.astype(order + f.kind))
        if encoding == ASCII:
            lines.append((" ".join(str(x) for cell in cells for x in cell.tolist()) + "\n").encode())
        else:
            lines.append(b"".join(cell.tobytes() for cell in cells))
    write_all(file, b"".join(lines))
