"""`unproject info`: what is in a file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from ..geometry.manifold import SurfaceKind, classify_surface
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud
from ..geometry.topology import mesh_topology
from ..io.convert import merge_vertices
from ..io.load import load
from ..io.memory import memory_bytes
from ..io.options import LoadOptions
from .manners import Manners, Terminal


@dataclass(frozen=True, kw_only=True)
class Options:
    file: tyro.conf.Positional[Path]
    """Mesh or point cloud: PLY, OBJ, STL, OFF, glTF/GLB, 3MF, PCD, XYZ, PTS, CSV; also compressed."""
    allow_outside: bool = False
    """Let paths inside the file (materials, textures, buffers) lead out of its folder."""
    manners: Manners = field(default_factory=Manners)


def run(options: Options, terminal: Terminal) -> dict[str, Any]:
    """Print a table of counts, bounds, attributes, materials and the kind of surface; return the same."""
    begin = time.perf_counter()
    value = load(options.file, LoadOptions(allow_outside=options.allow_outside))
    seconds = time.perf_counter() - begin
    result: dict[str, Any] = {"file": options.file, "file_bytes": options.file.stat().st_size, "load_seconds": seconds}
    result |= describe_mesh(value) if isinstance(value, Mesh) else describe_points(value)
    result["memory_bytes"] = memory_bytes(value)
    terminal.table(str(options.file), [(key.replace("_", " "), _text(key, item)) for key, item in result.items() if key != "file"])
    return result


def describe_points(cloud: PointCloud) -> dict[str, Any]:
    """Counts, bounds and attributes of a cloud."""
    named = {"normals": cloud.normals, "colors": cloud.colors, **cloud.attributes}
    return {"kind": "point cloud", "points": cloud.point_count, **_bounds(cloud.positions), "attributes": _attributes(named)}


def describe_mesh(mesh: Mesh) -> dict[str, Any]:
    """Counts, bounds, attributes, materials and the kind of surface of a mesh."""
    named = {
        "vertex_normals": mesh.vertex_normals, "corner_normals": mesh.corner_normals, "vertex_colors": mesh.vertex_colors,
        "uvs": mesh.uvs, "face_uvs": mesh.face_uvs, "face_materials": mesh.face_materials,
        **mesh.vertex_attributes, **mesh.face_attributes,
    }  # fmt: skip
    result: dict[str, Any] = {"kind": "mesh", "vertices": mesh.vertex_count, "faces": mesh.face_count, **_bounds(mesh.vertices)}
    result["attributes"] = _attributes(named)
    result["materials"] = [_material(m.name, m.diffuse_texture) for m in mesh.materials]
    used = torch.zeros(mesh.vertex_count, dtype=torch.bool)
    used[mesh.faces.reshape(-1)] = True
    result["unused_vertices"] = int((~used).sum())
    result["degenerate_faces"] = degenerate_face_count(mesh)
    if mesh.face_count:
        result |= _surface(mesh)
    return result


def degenerate_face_count(mesh: Mesh) -> int:
    """How many faces name a vertex twice or have no area."""
    a, b, c = mesh.faces.T
    twice = (a == b) | (b == c) | (a == c)
    corners = mesh.vertices.to(torch.float64)[mesh.faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1)
    return int((twice | ~(area > 0)).sum())


def _surface(mesh: Mesh) -> dict[str, Any]:
    kind = classify_surface(mesh_topology(mesh))
    result = _surface_rows(kind)
    merged = merge_vertices(mesh)
    if merged.vertex_count < mesh.vertex_count:
        joined = classify_surface(mesh_topology(merged))
        result["equal_vertices"] = mesh.vertex_count - merged.vertex_count
        result |= {f"{name}_when_merged": value for name, value in _surface_rows(joined).items()}
    return result


def _surface_rows(kind: SurfaceKind) -> dict[str, Any]:
    return {
        "watertight": kind.watertight,
        "components": kind.component_count,
        "boundary_edges": kind.boundary_edge_count,
        "boundary_loops": kind.boundary_loop_count,
        "genus": kind.genus,
        "manifold": kind.edge_manifold and kind.vertex_manifold,
        "consistently_wound": kind.consistently_wound,
    }


def _bounds(positions: Tensor) -> dict[str, Any]:
    finite = positions[torch.isfinite(positions).all(dim=1)]
    bad = len(positions) - len(finite)
    result: dict[str, Any] = {"type": str(positions.dtype).removeprefix("torch.")}
    if len(finite):
        low, high = finite.amin(dim=0), finite.amax(dim=0)
        result |= {"bounds_min": low.tolist(), "bounds_max": high.tolist(), "size": (high - low).tolist()}
    return result | ({"not_finite": bad} if bad else {})


def _attributes(named: Mapping[str, Tensor | None]) -> list[str]:
    shape = lambda t: f" x {' x '.join(map(str, t.shape[1:]))}" if t.dim() > 1 else ""
    return [f"{name} ({str(t.dtype).removeprefix('torch.')}{shape(t)})" for name, t in named.items() if t is not None]


def _material(name: str, texture: Tensor | None) -> str:
    return name or "unnamed" if texture is None else f"{name or 'unnamed'} (texture {texture.shape[1]} x {texture.shape[0]})"


def _text(key: str, value: Any) -> str:
    """A value for the table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    if key.endswith("_bytes"):
        return f"{value / 1e6:.3g} MB" if value >= 1e5 else f"{value} bytes"
    if key.endswith("_seconds"):
        return f"{value:.3f} s"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list) and value and isinstance(value[0], float):
        return "  ".join(f"{v:.6g}" for v in value)
    if isinstance(value, list):
        shown = value[:12]
        return ("\n".join(map(str, shown)) + (f"\n... {len(value) - 12} more" if len(value) > 12 else "")) or "none"
    return str(value)
