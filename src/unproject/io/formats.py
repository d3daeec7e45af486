"""The formats of geometry files by their endings: which are read, and which written."""

from __future__ import annotations

from pathlib import Path

from ..errors import ArgumentError

CLOUD_TEXTS = ("xyz", "xyzn", "xyzrgb", "pts", "csv", "txt", "asc")
CLOUD_FORMATS = (*CLOUD_TEXTS, "pcd")
OUR_FORMATS = ("ply", "obj", *CLOUD_FORMATS)
TRIMESH_READS = ("stl", "off", "gltf", "glb", "3mf", "dae", "3dxml", "xaml")
TRIMESH_WRITES = ("stl", "off", "gltf", "glb", "3mf", "dae")
NEED_FACES = ("stl", "3mf", "dae")
READABLE = (*OUR_FORMATS, *TRIMESH_READS)


def output_format(path: Path) -> str:
    """The format that a file to be written shall have, by the ending of its name.

    Raises:
        ArgumentError: an ending that nothing here writes.
    """
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in (*OUR_FORMATS, *TRIMESH_WRITES):
        known = ", ".join(f".{name}" for name in (*OUR_FORMATS, *TRIMESH_WRITES))
        raise ArgumentError(f"save: {path.name!r} has no ending that can be written; there are {known}")
    return suffix
