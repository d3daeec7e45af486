"""The formats that trimesh reads and writes: STL, OFF, glTF/GLB, 3MF, COLLADA and the like."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from ..errors import FormatError
from ..geometry.mesh import Mesh
from .atomic import OutputFiles
from .options import LoadOptions, SaveOptions
from .source import Source


def read_scene(source: Source, kind: str, options: LoadOptions) -> Mesh:
    """Read a file through trimesh."""
    import trimesh

    try:
        data = trimesh.load(io.BytesIO(source.bytes()), file_type=kind, process=False, maintain_order=True)
    except Exception as error:
        raise FormatError(f"cannot be read ({error})", path=source.path) from error
    if isinstance(data, trimesh.Scene):
        data = data.to_geometry()
    faces = np.asarray(getattr(data, "faces", np.zeros((0, 3))), dtype=np.int64).reshape(-1, 3)
    vertices = np.asarray(getattr(data, "vertices", np.zeros((0, 3))), dtype=np.float32).reshape(-1, 3)
    return Mesh(vertices=torch.from_numpy(vertices), faces=torch.from_numpy(faces))


def write_scene(mesh: Mesh, path: Path, outputs: OutputFiles, options: SaveOptions) -> None:
    """Write a file through trimesh."""
    import trimesh

    data = trimesh.Trimesh(mesh.vertices.detach().cpu().numpy(), mesh.faces.cpu().numpy(), process=False)
    exported = data.export(file_type=path.suffix.lower().lstrip("."))
    outputs.write(path, exported if isinstance(exported, bytes) else str(exported).encode())
