"""Several meshes as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import ArgumentError
from .mesh import Mesh


def join_meshes(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of all vertices and faces, in order; with vertex colours if all have them. Nothing else is kept, and nothing is merged.

    Raises:
        ArgumentError: no meshes.
    """
    if not meshes:
        raise ArgumentError("join_meshes: `meshes` is empty")
    counts = [0, *(mesh.vertex_count for mesh in meshes)]
    faces = [mesh.faces + sum(counts[: i + 1]) for i, mesh in enumerate(meshes)]
    colors = [mesh.vertex_colors for mesh in meshes if mesh.vertex_colors is not None]
    return Mesh(
        vertices=torch.cat([mesh.vertices for mesh in meshes]),
        faces=torch.cat(faces),
        vertex_colors=torch.cat(colors) if len(colors) == len(meshes) else None,
    )
