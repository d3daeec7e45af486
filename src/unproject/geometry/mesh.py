"""Mesh: one triangle mesh as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import check_indices, check_shape
from ..struct import TensorStruct
from .material import Material


@dataclass(frozen=True, kw_only=True)
class Mesh(TensorStruct):
    """A triangle mesh. Faces are counter-clockwise seen from outside; indices are int64; colours are RGB(A) in [0, 1].

    Vertex order and face order are the file's. Nothing is derived or cached: normals, edges and the like are what functions return.

    Attributes:
        vertices: [V, 3] positions.
        faces: [F, 3] vertex indices.
        vertex_normals: [V, 3] unit normals, or None.
        vertex_colors: [V, 3] or [V, 4], or None.
        uvs: [T, 2] texture coordinates; (0, 0) is the image's lower left corner, (1, 1) its upper right (texel edges), or None.
        face_uvs: [F, 3] indices into `uvs`, or None; without them, `uvs` has one row a vertex.
        corner_normals: [F, 3, 3] a normal for each corner, where it differs between the faces of a vertex, or None.
        materials: what `face_materials` points to.
        face_materials: [F] index into `materials`, -1 for none, or None (then every face has the first material, if any).
        vertex_attributes: further values a vertex, [V, ...].
        face_attributes: further values a face, [F, ...].
        metadata: what a file says besides: comments, group names, original polygons.
    """

    vertices: Tensor
    faces: Tensor
    vertex_normals: Tensor | None = None
    vertex_colors: Tensor | None = None
    uvs: Tensor | None = None
    face_uvs: Tensor | None = None
    corner_normals: Tensor | None = None
    materials: tuple[Material, ...] = ()
    face_materials: Tensor | None = None
    vertex_attributes: Mapping[str, Tensor] = field(default_factory=dict)
    face_attributes: Mapping[str, Tensor] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def vertex_count(self) -> int:
        return self.vertices.shape[0]

    @property
    def face_count(self) -> int:
        return self.faces.shape[0]


def make_mesh(vertices: Any, faces: Any, **fields: Any) -> Mesh:
    """A mesh from arrays, lists or tensors, checked: shapes, finite vertices, indices in range.

    Args:
        vertices: [V, 3]; floating point is kept, anything else becomes float32.
        faces: [F, 3] indices of any integer type.
        fields: further fields of Mesh.

    Raises:
        ArgumentError: shapes, NaN, or an index out of range.
    """
    points = torch.as_tensor(vertices)
    points = points if points.is_floating_point() else points.to(torch.float32)
    triangles = torch.as_tensor(faces)
    if triangles.numel() == 0:
        triangles = torch.zeros((0, 3), dtype=torch.int64, device=points.device)
    check_shape(points, ["V", 3], name="vertices", where="make_mesh", finite=True)
    check_shape(triangles, ["F", 3], name="faces", where="make_mesh", integer=True)
    check_indices(triangles, points.shape[0], name="faces", where="make_mesh")
    return Mesh(vertices=points, faces=triangles.to(torch.int64), **fields)
