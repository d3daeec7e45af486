"""The paint of a mesh of many faces, laid on one of few that stands for it: a texture with a square of texels for each face."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..geometry.mesh import Mesh
from .paint import Paint, nearest_rows

_ACROSS = 200  # texels along the object's diameter: views are no sharper
_SQUARES = (4, 8, 16, 32, 64)  # texels along a face's edges
_INSET = 0.3  # how far within a face the normals of its corners are looked up: at an edge, those of its own side
_WIDTH = 1024  # texels of a row: a multiple of all squares


def bake_paint(paint: Paint, mesh: Mesh) -> Paint:
    """The same colours and normals on another mesh, in the same frame, by what is nearest.

    Source: a square a face, as in mesh colours (Yuksel et al. 2010).
    """
    corners = mesh.vertices[mesh.faces]
    diameter = float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).norm())
    longest = (corners - corners.roll(1, 1)).norm(dim=2).amax(1)
    sizes = torch.tensor(_SQUARES)
    kind = torch.bucketize(longest * (_ACROSS / diameter) + 1, sizes).clamp(max=len(sizes) - 1)
    places, strips, height = torch.zeros(mesh.face_count, 3, 2), [], 0
    for k in kind.unique().tolist():
        mine = kind == k
        strip, places[mine] = _squares(paint, corners[mine], _SQUARES[k])
        places[mine] += torch.tensor([0.0, height])
        height += len(strip)
        strips.append(strip)
    uvs = torch.stack([places[..., 0] / _WIDTH, 1 - places[..., 1] / height], 2)
    normals = nearest_rows(paint, torch.lerp(corners, corners.mean(1, keepdim=True), _INSET))[..., 3:]
    rows = torch.cat([torch.full_like(normals, 255.0), normals], 2)
    return replace(
        paint, vertices=mesh.vertices, faces=mesh.faces, corner_rows=rows, corner_uvs=uvs, face_texture=torch.zeros_like(kind),
        textures=(torch.cat(strips),),
    )  # fmt: skip


def _squares(paint: Paint, corners: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Texels [h, _WIDTH, 3] with a square for each face [N, 3, 3], and where its corners are in them, [N, 3, 2] across and down.

    A face fills the half of its square, so that its corners lie at the middle of three texels; the other half is what lies across its edge.
    """
    count, columns = len(corners), _WIDTH // size
    lines = math.ceil(count / columns)
    step = torch.arange(size) / (size - 1)
    down, across = torch.meshgrid(step, step, indexing="ij")
    weights = torch.stack([1 - across - down, across, down], 2).view(-1, 3)
    color = nearest_rows(paint, weights @ corners)[..., :3] / 255
    color = torch.cat([color, color.new_zeros(lines * columns - count, size * size, 3)])
    texels = color.view(lines, columns, size, size, 3).transpose(1, 2).reshape(lines * size, _WIDTH, 3)
    number = torch.arange(count)
    origin = torch.stack([number % columns, number.div(columns, rounding_mode="floor")], 1) * size + 0.5
    return texels, origin[:, None] + torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]) * (size - 1)
