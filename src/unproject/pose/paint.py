"""The brightness that a mesh's own colours give its surface, for comparing with images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.mesh import Mesh
from ..lie.se3 import se3_apply
from ..render.interpolate import corner_table, interpolate_rows
from ..render.rasterize import rasterize
from ..render.texture import sample_texture
from ..struct import TensorStruct
from .view import View

_TEXELS = 256  # along a texture's longer side: an image of an object rarely has more pixels across it


@dataclass(frozen=True, kw_only=True)
class Paint(TensorStruct):
    """Grey values in [0, 255] over a surface: of vertices, or of textures times the material's colour.

    Attributes:
        vertices, faces: of the mesh.
        corner_grey: [F, 3, 1] factors of the corners.
        corner_uvs: [F, 3, 2], or None without textures.
        face_texture: [F] which of `textures`, -1 for none.
        textures: [h, w, 1] each.
        is_whole: whether views show this very mesh.
    """

    vertices: Tensor
    faces: Tensor
    corner_grey: Tensor
    corner_uvs: Tensor | None
    face_texture: Tensor
    textures: tuple[Tensor, ...]
    is_whole: bool


def make_paint(mesh: Mesh, center: Tensor, *, is_whole: bool) -> Paint | None:
    """The paint of a mesh, moved by -center [3]; None if it has neither vertex colours nor textures."""
    grey = torch.full((mesh.face_count, 3, 1), 255.0)
    number = torch.full((mesh.face_count,), -1, dtype=torch.int64)
    textures: list[Tensor] = []
    corner_uvs = None
    if mesh.vertex_colors is not None:
        grey = grey * mesh.vertex_colors[..., :3].float().mean(-1)[mesh.faces][..., None]
    if mesh.materials:
        of_face = mesh.face_materials if mesh.face_materials is not None else torch.zeros(mesh.face_count, dtype=torch.int64)
        for k, material in enumerate(mesh.materials):
            mine = of_face == k
            grey[mine] = grey[mine] * material.diffuse.float().mean()
            if material.diffuse_texture is not None and mesh.uvs is not None:
                number[mine] = len(textures)
                textures.append(_small(material.diffuse_texture))
        if textures and mesh.uvs is not None:
            corner_uvs = mesh.uvs[mesh.face_uvs if mesh.face_uvs is not None else mesh.faces].float()
    if not textures and float(grey.std()) < 1:
        return None
    vertices = (mesh.vertices.double() - center).float()
    return Paint(
        vertices=vertices, faces=mesh.faces, corner_grey=grey, corner_uvs=corner_uvs, face_texture=number, textures=tuple(textures),
        is_whole=is_whole,
    )  # fmt: skip


def _small(texture: Tensor) -> Tensor:
    grey = texture[..., :3].float().mean(-1)[None, None]
    factor = max(1, max(grey.shape[-2:]) // _TEXELS)
    return torch.nn.functional.avg_pool2d(grey, factor, ceil_mode=True, count_include_pad=False)[0, 0, :, :, None]


def painted_view(paint: Paint, view: View) -> Tensor:
    """Grey values [h, w] of the painted mesh where the view shows it, -1 elsewhere. A view of fewer faces is drawn anew."""
    fragments = view.fragments
    if not paint.is_whole:
        with torch.no_grad():
            fragments = rasterize(se3_apply(view.camera_from_object, paint.vertices), paint.faces, view.camera)
    shown = fragments.mask
    face, weights = fragments.face[shown], fragments.barycentrics[shown]
    corners = corner_table(len(paint.faces), face.device)
    grey = interpolate_rows(paint.corner_grey.reshape(-1, 1), corners, face, weights)
    if paint.corner_uvs is not None:
        uvs = interpolate_rows(paint.corner_uvs.reshape(-1, 2), corners, face, weights)
        number = paint.face_texture[face]
        for k, texture in enumerate(paint.textures):
            mine = number == k
            if bool(mine.all()):
                grey = grey * sample_texture(texture, uvs)
            elif bool(mine.any()):
                grey[mine] = grey[mine] * sample_texture(texture, uvs[mine])
    image = torch.full_like(fragments.depth, -1.0)
    image[shown] = grey[:, 0]
    return image
