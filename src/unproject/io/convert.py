"""Meshes to points and back, and merging of equal vertices, for files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud


def points_from_mesh(mesh: Mesh) -> PointCloud:
    """The vertices of a mesh as points, with normals, colours and attributes. An alpha channel becomes the attribute "alpha"."""
    attributes = dict(mesh.vertex_attributes)
    colors = mesh.vertex_colors
    if colors is not None and colors.shape[1] == 4:
        attributes["alpha"] = colors[:, 3].contiguous()
        colors = colors[:, :3].contiguous()
    metadata = {key: value for key, value in mesh.metadata.items() if key not in ("polygons", "lines", "points")}
    return PointCloud(positions=mesh.vertices, normals=mesh.vertex_normals, colors=colors, attributes=attributes, metadata=metadata)


def mesh_from_points(value: Mesh | PointCloud) -> Mesh:
    """Points as a mesh without faces; a mesh as it is."""
    if isinstance(value, Mesh):
        return value
    return Mesh(
        vertices=value.positions,
        faces=torch.zeros((0, 3), dtype=torch.int64, device=value.positions.device),
        vertex_normals=value.normals,
        vertex_colors=value.colors,
        vertex_attributes=value.attributes,
        metadata=value.metadata,
    )


def merge_vertices(mesh: Mesh) -> Mesh:
    """Merge vertices of exactly the same position; the first of each stays, in the order of the file.

    Texture coordinates and normals that differ between merged vertices become those of face corners; colours and attributes are the
    first vertex's.
    """
    rows = np.ascontiguousarray(mesh.vertices.detach().cpu().numpy()) + 0.0  # -0.0 becomes 0.0
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * 3))).reshape(-1)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    if len(first) == len(rows):
        return mesh
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    kept = torch.from_numpy(first[order])
    renumber = torch.from_numpy(rank[inverse.reshape(-1)])
    pick = lambda tensor: None if tensor is None else tensor[kept]
    corner_normals = mesh.corner_normals
    if mesh.vertex_normals is not None and not torch.equal(mesh.vertex_normals, mesh.vertex_normals[kept][renumber]):
        corner_normals = mesh.vertex_normals[mesh.faces]
    per_vertex_uvs = mesh.uvs is not None and mesh.face_uvs is None
    return replace(
        mesh,
        vertices=mesh.vertices[kept],
        faces=renumber[mesh.faces],
        vertex_normals=pick(mesh.vertex_normals) if corner_normals is mesh.corner_normals else None,
        corner_normals=corner_normals,
        vertex_colors=pick(mesh.vertex_colors),
        face_uvs=mesh.faces if per_vertex_uvs else mesh.face_uvs,
        vertex_attributes={name: value[kept] for name, value in mesh.vertex_attributes.items()},
    )
