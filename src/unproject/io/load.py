"""Load and save: the format is chosen by content, then by name."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import ArgumentError, ArgumentTypeError, FormatError, check_indices, check_shape, describe
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud
from .atomic import OutputFiles, check_target
from .convert import merge_vertices, mesh_from_points, points_from_mesh
from .detect import detect_format
from .formats import CLOUD_FORMATS, CLOUD_TEXTS, NEED_FACES, output_format
from .options import LoadOptions, SaveOptions
from .source import Source, open_source

PathLike = str | os.PathLike[str]

_TEXTS = dict.fromkeys(CLOUD_TEXTS, "clouds:read_cloud")
_READERS = {"ply": "ply:read_ply", "obj": "obj:read_obj", "stl": "stl:read_stl", "off": "off:read_off", "pcd": "pcd:read_pcd", **_TEXTS}
_WRITERS = {"ply": "ply_write:write_ply", "obj": "obj_write:write_obj", "stl": "stl:write_stl", "off": "off:write_off"}
_WRITERS |= {"pcd": "pcd:write_pcd"} | dict.fromkeys(CLOUD_TEXTS, "clouds:write_cloud")


def load(path: PathLike, options: LoadOptions | None = None) -> Mesh | PointCloud:
    """Read a file as what it is: a mesh if it has faces (or is empty), a point cloud if it has points only.

    Formats: PLY, OBJ with MTL, STL, OFF, glTF/GLB, 3MF and what else trimesh reads; XYZ, PTS, CSV, PCD clouds; each also in gzip, bzip2,
    xz, or alone in a zip archive. Vertices and faces keep the order of the file and nothing is merged.

    Raises:
        FileAccessError: the file cannot be read.
        FormatError: the file is damaged or of an unknown format; names the file, the line or byte, and the reason.
    """
    value = _read(path, options or LoadOptions())
    if isinstance(value, Mesh) and value.face_count == 0 and value.vertex_count > 0:
        return points_from_mesh(value)
    return value


def load_mesh(path: PathLike, options: LoadOptions | None = None) -> Mesh:
    """Read a triangle mesh. Polygons become triangles; missing materials and images are warnings (FileWarning).

    Raises:
        FileAccessError: the file cannot be read.
        FormatError: the file is damaged, or is a point cloud.
    """
    value = _read(path, options or LoadOptions())
    if isinstance(value, PointCloud):
        raise FormatError("a point cloud, without faces (load_points reads it)", path=path)
    return value


def load_points(path: PathLike, options: LoadOptions | None = None) -> PointCloud:
    """Read a point cloud; of a mesh, its vertices with their normals, colours and attributes. Points that are NaN in the file stay.

    Raises:
        FileAccessError: the file cannot be read.
        FormatError: the file is damaged.
    """
    value = _read(path, options or LoadOptions())
    return points_from_mesh(value) if isinstance(value, Mesh) else value


def save(value: Mesh | PointCloud, path: PathLike, options: SaveOptions | None = None, *, overwrite: bool = True) -> None:
    """Write a mesh or a point cloud; the format is the ending of the name. The file appears whole or not at all.

    A mesh saved in a format of clouds (.xyz, .pts, .csv, .pcd) becomes its vertices. An OBJ gets an MTL and PNG textures beside it,
    named after it.

    Args:
        overwrite: whether existing files are replaced.

    Raises:
        FileAccessError: a file cannot be written, or exists while `overwrite` is False; nothing is changed then.
        ArgumentError: an unknown ending, or an option that the format does not have.
    """
    if not isinstance(value, (Mesh, PointCloud)):
        raise ArgumentTypeError(f"save: the value must be a Mesh or a PointCloud, got {type(value).__name__}")
    target, chosen = Path(path), options or SaveOptions()
    kind = output_format(target)
    _check(value, kind)
    check_target(target, overwrite=overwrite)
    if kind in CLOUD_FORMATS and isinstance(value, Mesh):
        value = points_from_mesh(value)
    elif kind in NEED_FACES and isinstance(value, PointCloud):
        raise ArgumentError(f"save: .{kind} cannot hold points without faces; .ply, .pcd and .xyz can")
    elif kind not in ("ply", *CLOUD_FORMATS):
        value = mesh_from_points(value)
    with OutputFiles(overwrite=overwrite, durable=chosen.durable) as outputs:
        _function(_WRITERS.get(kind, "scene_write:write_scene"))(value, target, outputs, chosen)


def _function(name: str) -> Callable[..., Any]:
    """A reader or writer by "module:function"; imported when needed, so that `import unproject` stays quick."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(f".{module}", __package__), attribute)


def _check(value: Mesh | PointCloud, kind: str) -> None:
    """Refuse fields whose rows do not match, before a file is begun. The writer of PLY checks the faces itself."""
    if isinstance(value, Mesh):
        check_shape(value.vertices, ["V", 3], name="vertices", where="save")
        check_shape(value.faces, ["F", 3], name="faces", where="save", integer=True)
        if kind != "ply":
            check_indices(value.faces, value.vertex_count, name="faces", where="save")
        rows = {"vertex_normals": value.vertex_normals, "vertex_colors": value.vertex_colors, **value.vertex_attributes}
        face_rows = {"face_uvs": value.face_uvs, "corner_normals": value.corner_normals, "face_materials": value.face_materials}
        _check_rows({**face_rows, **value.face_attributes}, value.face_count)
        if value.face_uvs is not None and value.uvs is not None:
            check_indices(value.face_uvs, len(value.uvs), name="face_uvs", where="save")
        if value.face_materials is not None and value.face_materials.numel():
            check_indices(value.face_materials + 1, len(value.materials) + 1, name="face_materials + 1", where="save")
        _check_rows(rows, value.vertex_count)
    else:
        check_shape(value.positions, ["N", 3], name="positions", where="save")
        _check_rows({"normals": value.normals, "colors": value.colors, **value.attributes}, value.point_count)


def _check_rows(tensors: Mapping[str, Tensor | None], count: int) -> None:
    for name, tensor in tensors.items():
        if tensor is not None and (tensor.dim() == 0 or len(tensor) != count):
            raise ArgumentError(f"save: `{name}` must have {count} rows, got {describe(tensor)}")


def _read(path: PathLike, options: LoadOptions) -> Mesh | PointCloud:
    with open_source(path, allow_outside=options.allow_outside, maximum_unpacked=options.maximum_unpacked) as source:
        if source.size == 0:
            raise FormatError("the file is empty", path=path)
        value = _read_source(source, options)
    if options.dtype is not None:
        value = value.to(options.dtype)
    return merge_vertices(value) if options.merge_vertices and isinstance(value, Mesh) else value


def _read_source(source: Source, options: LoadOptions) -> Mesh | PointCloud:
    kind = detect_format(source)
    return _function(_READERS[kind])(source, options) if kind in _READERS else _function("scene:read_scene")(source, kind, options)
