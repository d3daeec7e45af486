"""Meshes to Wavefront OBJ, with MTL and textures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from ..errors import ArgumentError
from ..geometry.mesh import Mesh
from .atomic import OutputFiles, write_all
from .images import encode_png, texture_name
from .mtl import TEXTURES, format_mtl, material_names
from .options import SaveOptions
from .ply_write import array
from .source import warn_of_lost
from .text_writer import Cell, Literal, row_of, write_rows

_MOST_UNIQUE = 3_000_000


def write_obj(mesh: Mesh, path: Path, outputs: OutputFiles, options: SaveOptions) -> None:
    """Write an OBJ; if the mesh has materials, also an MTL and their textures."""
    if options.encoding not in (None, "ascii"):
        raise ArgumentError(f"save: OBJ is always ascii, not {options.encoding!r}")
    file = outputs.open(path)
    lines = [f"# {line}" for comment in mesh.metadata.get("comments", ()) for line in str(comment).splitlines()]
    names = material_names(mesh.materials)
    if mesh.materials:
        library = path.with_suffix(".mtl")
        outputs.write(library, format_mtl(mesh.materials, names, _textures(mesh, names, path, outputs, options)))
        lines.append(f"mtllib {library.name}")
    write_all(file, "".join(f"{line}\n" for line in ["# unproject", *lines]).encode())
    _write_vertices(file, mesh)
    if mesh.uvs is not None:
        _write_block(file, "vt ", array(mesh.uvs))
    normals, indices = _normals(mesh)
    if normals is not None:
        _write_block(file, "vn ", normals)
    _write_faces(file, mesh, names, indices)
    _write_lines(file, mesh)
    _warn_of_losses(mesh, path)


def _textures(mesh: Mesh, names: Sequence[str], path: Path, outputs: OutputFiles, options: SaveOptions) -> dict[tuple[int, str], str]:
    """Write the textures; returns the file name of each, by material and keyword."""
    files: dict[tuple[int, str], str] = {}
    taken: set[str] = set()
    for index, material in enumerate(mesh.materials):
        files |= {(index, key): str(name) for key, name in material.texture_paths}
        for keyword, field, _ in dict.fromkeys(TEXTURES.values()):
            texture = getattr(material, field)
            if texture is None or not options.write_textures:
                continue
            name = texture_name(path.stem, names[index], field.removesuffix("_texture"))
            name = name if name not in taken else f"{Path(name).stem}_{index}.png"
            taken.add(name)
            outputs.write(path.with_name(name), encode_png(texture))
            files[index, keyword] = name
    return files


def _write_block(file: BinaryIO, keyword: str, block: np.ndarray) -> None:
    write_rows(file, len(block), [Literal(keyword), *row_of([block[:, k] for k in range(block.shape[1])])])


def _write_vertices(file: BinaryIO, mesh: Mesh) -> None:
    positions = array(mesh.vertices)
    columns = [positions[:, k] for k in range(3)]
    weight = mesh.vertex_attributes.get("w")
    if mesh.vertex_colors is not None:
        colors = array(mesh.vertex_colors)
        columns += [colors[:, k] for k in range(colors.shape[1])]
    elif weight is not None and weight.dim() == 1:
        columns.append(array(weight))
    write_rows(file, len(positions), [Literal("v "), *row_of(columns)])


def _normals(mesh: Mesh) -> tuple[np.ndarray | None, np.ndarray | None]:
    """([N, 3] normals, [F, 3] their index at each corner)."""
    if mesh.corner_normals is not None:
        flat = np.ascontiguousarray(array(mesh.corner_normals).reshape(-1, 3))
        if len(flat) > _MOST_UNIQUE:
            return flat, np.arange(len(flat)).reshape(-1, 3)
        keys = flat.view(np.dtype((np.void, flat.dtype.itemsize * 3))).reshape(-1)
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        return flat[first], inverse.reshape(-1, 3)
    if mesh.vertex_normals is not None:
        return array(mesh.vertex_normals), array(mesh.faces)
    return None, None


def _write_faces(file: BinaryIO, mesh: Mesh, names: Sequence[str], normal_indices: np.ndarray | None) -> None:
    faces = array(mesh.faces.to(torch.int64))
    uv_indices = None if mesh.uvs is None else array((mesh.faces if mesh.face_uvs is None else mesh.face_uvs).to(torch.int64))
    for begin, end, statements in _segments(mesh, names):
        write_all(file, "".join(f"{line}\n" for line in statements).encode())
        cells: list[Cell | Literal] = [Literal("f ")]
        for k in range(3):
            after = " " if k < 2 else "\n"
            parts = [faces[begin:end, k]]
            if uv_indices is not None:
                parts.append(uv_indices[begin:end, k])
            if normal_indices is not None:
                parts.append(normal_indices[begin:end, k])
            for j, part in enumerate(parts):
                behind = after if j + 1 == len(parts) else "/"
                cells.append(Cell(part, behind, add=1))
                if j == 0 and uv_indices is None and normal_indices is not None:
                    cells.append(Literal("/"))
        write_rows(file, end - begin, cells)


def _segments(mesh: Mesh, names: Sequence[str]) -> Iterator[tuple[int, int, list[str]]]:
    """Ranges of faces that belong to the same object, group, material and smoothing group, with the statements before each."""
    columns: list[tuple[str, np.ndarray, Sequence[str]]] = []
    fixed: list[str] = []
    for keyword, name in (("o", "object"), ("g", "group")):
        labels = [" ".join(str(label).splitlines()) for label in mesh.metadata.get(f"{name}_names", ())]
        numbers = mesh.face_attributes.get(name)
        if numbers is not None and numbers.dim() == 1 and labels:
            columns.append((keyword, array(numbers), labels))
        elif labels:
            fixed.append(f"{keyword} {labels[0]}".rstrip())
    if mesh.face_materials is not None:
        columns.append(("usemtl", array(mesh.face_materials), names))
    elif names:
        fixed.append(f"usemtl {names[0]}")
    smooth = mesh.face_attributes.get("smoothing_group")
    if smooth is not None and smooth.dim() == 1:
        columns.append(("s", array(smooth), ()))
    changes = np.zeros(mesh.face_count, np.bool_)
    for _, numbers, _ in columns:
        changes[1:] |= numbers[1:] != numbers[:-1]
    starts = [0, *np.flatnonzero(changes).tolist()]
    for k, begin in enumerate(starts):
        end = starts[k + 1] if k + 1 < len(starts) else mesh.face_count
        statements = fixed if k == 0 else []
        for keyword, numbers, labels in columns:
            if begin < len(numbers) and (begin == 0 or numbers[begin] != numbers[begin - 1]):
                statements = [*statements, _statement(keyword, int(numbers[begin]), labels)]
        yield begin, end, [s for s in statements if s]


def _statement(keyword: str, number: int, labels: Sequence[str]) -> str:
    if keyword == "s":
        return f"s {number or 'off'}"
    return f"{keyword} {labels[number]}" if 0 <= number < len(labels) else ""


def _write_lines(file: BinaryIO, mesh: Mesh) -> None:
    texts = [f"l {' '.join(str(i + 1) for i in line.tolist())}\n" for line in mesh.metadata.get("lines", ())]
    points = mesh.metadata.get("points")
    if points is not None and len(points):
        texts.append(f"p {' '.join(str(i + 1) for i in points.tolist())}\n")
    write_all(file, "".join(texts).encode())


def _warn_of_losses(mesh: Mesh, path: Path) -> None:
    known = {"object", "group", "smoothing_group", "polygon"}
    lost = [*(name for name in mesh.vertex_attributes if name != "w"), *(name for name in mesh.face_attributes if name not in known)]
    warn_of_lost(path, "OBJ", lost)
