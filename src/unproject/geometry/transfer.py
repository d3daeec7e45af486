"""What a mesh carries, moved to another mesh of the same surface."""

from __future__ import annotations

import torch
from torch import Tensor

from .mesh import Mesh
from .query import closest_point
from .sample import interpolate_vertices


def transfer_attributes(source: Mesh, vertices: Tensor, faces: Tensor) -> Mesh:
    """A mesh of new vertices and faces with what `source` carries at the closest points of its surface.

    Vertex normals, colours, UVs and attributes are interpolated (integer ones taken from the nearest corner); face attributes and
    materials come from the face nearest to each new face's middle. UVs with an index of their own and corner normals are dropped: a new
    face may lie across a seam.
    """
    face_fields = bool(source.face_attributes) or source.face_materials is not None
    per_vertex_uvs = source.uvs if source.face_uvs is None else None
    optional = (source.vertex_normals, source.vertex_colors, per_vertex_uvs)
    result = Mesh(vertices=vertices, faces=faces, materials=source.materials, metadata=source.metadata)
    if source.face_count == 0 or not (face_fields or source.vertex_attributes or any(value is not None for value in optional)):
        return result
    surface = (source.vertices.detach(), source.faces)
    found = closest_point(vertices, surface)

    def mix(values: Tensor | None) -> Tensor | None:
        if values is None:
            return None
        if values.is_floating_point():
            return interpolate_vertices(values.detach(), source.faces, found.face, found.barycentrics)
        corner = found.barycentrics.argmax(dim=1, keepdim=True)
        return values[source.faces[found.face].gather(1, corner)[:, 0]]

    normals, colors, uvs = (mix(value) for value in optional)
    attributes = {name: mixed for name, value in source.vertex_attributes.items() if (mixed := mix(value)) is not None}
    face_materials, face_attributes = None, {}
    if face_fields:
        nearest = closest_point(vertices[faces].mean(1), surface).face
        face_materials = None if source.face_materials is None else source.face_materials[nearest]
        face_attributes = {name: value.detach()[nearest] for name, value in source.face_attributes.items()}
    return Mesh(
        vertices=vertices,
        faces=faces,
        vertex_normals=None if normals is None else torch.nn.functional.normalize(normals, dim=-1),
        vertex_colors=colors,
        uvs=uvs,
        materials=source.materials,
        face_materials=face_materials,
        vertex_attributes=attributes,
        face_attributes=face_attributes,
        metadata=source.metadata,
    )
