"""STL, binary and ASCII. Every facet has vertices of its own; nothing is merged unless asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..errors import ArgumentError, FormatError
from ..geometry.mesh import Mesh
from .atomic import OutputFiles, write_all
from .options import LoadOptions, SaveOptions
from .parts import for_each_part
from .ply_write import array
from .source import PADDING, Source, warn_file
from .text_table import Text, repair_hard_numbers
from .text_writer import Cell, Literal, write_rows

_ROWS = 1 << 13  # facets of a piece
FACET = np.dtype([("normal", "<f4", (3,)), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_REASONS = {
    1: "{token} is not a number",
    6: "the file ends within a facet",
    20: "unknown word {token}",
    21: "{token} stands where it does not belong: a facet has three vertices",
}


def read_stl(source: Source, options: LoadOptions) -> Mesh:
    """Read an STL file. The facets' normals are not kept: they follow from the vertices.

    Raises:
        FormatError: with line or byte.
    """
    return _read_binary(source) if is_binary(source) else _read_ascii(source)


def is_binary(source: Source) -> bool:
    """Whether an STL is binary: its size fits its facet count, or it does not begin as text. Many binary ones begin with "solid"."""
    head = source.head(1024)
    if source.size >= 84:
        count = int.from_bytes(head[80:84], "little")
        if source.size == 84 + 50 * count:
            return True
    text = head.lstrip()[:5].lower() == b"solid" and b"\0" not in head
    return not text


def _read_binary(source: Source) -> Mesh:
    if source.size < 84:
        raise FormatError(f"a binary STL has at least 84 bytes, the file {source.size}", path=source.path)
    count = int(source.read(80, 4).view("<u4")[0])
    needed = 84 + 50 * count
    if needed > source.size:
        raise FormatError(f"the header promises {count} facets, {needed} bytes; the file has {source.size}", path=source.path, byte=80)
    if needed < source.size:
        warn_file(source.path, f"there are {source.size - needed} bytes behind the {count} facets that the header announces; not read")
    vertices, attributes = np.empty((count, 3, 3), np.float32), np.empty(count, np.uint16)
    for begin in range(0, count, 1 << 14):
        facets = source.read(84 + 50 * begin, 50 * min(1 << 14, count - begin)).view(FACET)
        vertices[begin : begin + len(facets)] = facets["corners"]
        attributes[begin : begin + len(facets)] = facets["attribute"]
    extra = {"stl_attribute": torch.from_numpy(attributes.astype(np.int32))} if attributes.any() else {}
    faces = torch.arange(3 * count).reshape(-1, 3)
    return Mesh(vertices=torch.from_numpy(vertices.reshape(-1, 3)), faces=faces, face_attributes=extra)


def _read_ascii(source: Source) -> Mesh:
    from ..kernels.parse_stl import parse_stl

    data = source.text()
    text = Text(data, len(data) - PADDING, source.path)
    start, end = text.address, text.address + text.end
    solids, state = np.zeros((4096, 2), np.int64), np.zeros(3, np.int64)
    none = np.zeros((0, 3), np.int64)
    count, names = parse_stl(start, end, False, 0, solids, none, state)
    vertices = np.empty((3 * count, 3), np.float32)
    room = 1024
    while not state[0]:
        hard, state = np.zeros((room, 3), np.int64), np.zeros(3, np.int64)
        parse_stl(start, end, True, vertices.ctypes.data, solids, hard, state)
        if state[0] or state[2] <= room:
            repair_hard_numbers(hard[: int(state[2])] if not state[0] else none, text)
            break
        room = int(state[2])
    if state[0]:
        offset = int(state[1]) - text.address
        raise FormatError(_REASONS[int(state[0])].format(token=text.token_at(offset)), path=source.path, line=text.line_of(offset))
    found = solids[: min(int(names), len(solids))]
    labels = [text.line_at(int(place) - text.address) for place in found[:, 0]]
    numbers = np.repeat(np.arange(len(found)), np.diff([*found[:, 1], count])) if len(found) else np.zeros(0, np.int64)
    many = len(found) > 1 and len(numbers) == count
    return Mesh(
        vertices=torch.from_numpy(vertices),
        faces=torch.arange(3 * count).reshape(-1, 3),
        face_attributes={"object": torch.from_numpy(numbers)} if many else {},
        metadata={"object_names": tuple(labels)} if any(labels) else {},
    )


def write_stl(mesh: Mesh, path: Path, outputs: OutputFiles, options: SaveOptions) -> None:
    """Write a binary STL, or one in ASCII."""
    if options.encoding not in (None, "binary", "ascii"):
        raise ArgumentError(f"save: STL has the encodings binary and ascii, not {options.encoding!r}")
    file = outputs.open(path)
    if options.encoding == "ascii":
        normals, corners = np.empty((mesh.face_count, 3), np.float32), np.empty((mesh.face_count, 3, 3), np.float32)
        _fill_facets(mesh, normals, corners)
        name = "_".join((mesh.metadata.get("object_names") or ("unproject",))[0].split()) or "unproject"
        write_all(file, f"solid {name}\n".encode())
        cells: list[Cell | Literal] = [Literal("facet no"), Literal("rmal "), *(Cell(normals[:, k]) for k in range(3))]
        cells += [Literal("\nouter l"), Literal("oop\n")]
        for corner in range(3):
            cells += [Literal("vertex "), *(Cell(corners[:, corner, k], " " if k < 2 else "\n") for k in range(3))]
        cells += [Literal("endloop\n"), Literal("endfacet"), Literal("\n")]
        write_rows(file, mesh.face_count, cells)
        write_all(file, f"endsolid {name}\n".encode())
        return
    if mesh.face_count >= 2**32:
        raise ArgumentError("save: a binary STL has fewer than 2**32 facets")
    facets = np.zeros(mesh.face_count, FACET)
    _fill_facets(mesh, facets["normal"], facets["corners"])
    attribute = mesh.face_attributes.get("stl_attribute")
    if attribute is not None:
        facets["attribute"] = array(attribute)
    write_all(file, b"binary STL by unproject".ljust(80) + np.uint32(mesh.face_count).tobytes())
    write_all(file, facets.view(np.uint8).data)


def _fill_facets(mesh: Mesh, normals: np.ndarray, corners: np.ndarray) -> None:
    """Normals [F, 3] and corners [F, 3, 3] of the faces, on several threads in pieces that fit into the cache."""
    vertices, faces = array(mesh.vertices.to(torch.float32)), array(mesh.faces)

    def fill(part: int) -> None:
        rows = slice(part * _ROWS, (part + 1) * _ROWS)
        a, b, c = (vertices[faces[rows, k]] for k in range(3))
        normal = np.cross(b - a, c - a)
        length = np.sqrt(np.einsum("ij,ij->i", normal, normal))
        normals[rows] = normal / np.maximum(length, 1e-30)[:, None]
        corners[rows, 0], corners[rows, 1], corners[rows, 2] = a, b, c

    for_each_part(fill, -(-mesh.face_count // _ROWS))
