"""Load and save: the format is chosen by content, then by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from ..errors import FileAccessError, FormatError
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud


def load(path: str | os.PathLike[str]) -> Mesh | PointCloud:
    """Read a mesh, or a point cloud where the file has no faces."""
    mesh = load_mesh(path)
    if mesh.face_count == 0 and mesh.vertex_count > 0:
        return load_points(path)
    return mesh


def load_mesh(path: str | os.PathLike[str]) -> Mesh:
    """Read a triangle mesh."""
    import trimesh

    if not Path(path).is_file():
        raise FileAccessError(f"{path}: there is no such file")
    try:
        data = trimesh.load(path, process=False, maintain_order=True)
    except Exception as error:
        raise FormatError(f"cannot be read ({error})", path=path) from error
    if isinstance(data, trimesh.Scene):
        data = data.to_geometry()
    faces = np.asarray(getattr(data, "faces", np.zeros((0, 3))), dtype=np.int64).reshape(-1, 3)
    vertices = np.asarray(getattr(data, "vertices", np.zeros((0, 3))), dtype=np.float32).reshape(-1, 3)
    visual = getattr(data, "visual", None)
    colors = visual.vertex_colors if visual is not None and visual.kind == "vertex" else getattr(data, "colors", None)
    colors = torch.from_numpy(np.array(colors, np.float32) / 255) if colors is not None and len(colors) == len(vertices) else None
    normals = data.metadata.get("_ply_raw", {}).get("vertex", {}).get("data")
    if normals is not None and getattr(normals.dtype, "names", None) and "nx" in normals.dtype.names:
        normals = torch.from_numpy(np.stack([normals[n] for n in ("nx", "ny", "nz")], 1).astype(np.float32))
    else:
        normals = None
    return Mesh(vertices=torch.from_numpy(vertices), faces=torch.from_numpy(faces), vertex_normals=normals, vertex_colors=colors)


def load_points(path: str | os.PathLike[str]) -> PointCloud:
    """Read a point cloud; of a mesh, its vertices."""
    mesh = load_mesh(path)
    colors = None if mesh.vertex_colors is None else mesh.vertex_colors[:, :3]
    return PointCloud(positions=mesh.vertices, normals=mesh.vertex_normals, colors=colors)


def save(value: Mesh | PointCloud, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Write a mesh or a point cloud; the format is the name's ending. The file appears whole or not at all.

    Args:
        overwrite: whether an existing file is replaced; otherwise FileAccessError.
    """
    import trimesh

    target = Path(path)
    if not overwrite and target.exists():
        raise FileAccessError(f"{target}: exists already")
    color = lambda c: None if c is None else (c.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    if isinstance(value, Mesh):
        data = trimesh.Trimesh(
            value.vertices.detach().cpu().numpy(),
            value.faces.cpu().numpy(),
            vertex_colors=color(value.vertex_colors),
            vertex_normals=None if value.vertex_normals is None else value.vertex_normals.detach().cpu().numpy(),
            process=False,
        )
    else:
        data = trimesh.PointCloud(value.positions.detach().cpu().numpy(), colors=color(value.colors))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        data.export(temporary, file_type=target.suffix.lower().lstrip("."))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
