"""The colours that a mesh and the light give its surface, for comparing with images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.mesh import Mesh
from ..geometry.normals import face_normals, vertex_normals
from ..geometry.query import closest_point
from ..geometry.sample import interpolate_rows
from ..render.interpolate import corner_table
from ..render.texture import sample_texture
from ..struct import TensorStruct
from .view import View

_CREASE = 0.5  # cosine between the normals of a face and of a vertex, below which there is an edge
_RIM, _SAMPLES = 2, 600  # pixels from the outline, and how many pixels tell the light
_TEXELS = 256  # along a texture's longer side: an image of an object rarely has more pixels across it


@dataclass(frozen=True, kw_only=True)
class Paint(TensorStruct):
    """Colours in [0, 255] over a surface: of vertices, or of textures times the material's colour.

    Attributes:
        vertices, faces: of the mesh, which is the one that views show.
        corner_rows: [F, 3, 6] of the corners: factors of the colour in [0, 255], and normal.
        corner_uvs: [F, 3, 2], or None without textures.
        face_texture: [F] which of `textures`, -1 for none.
        textures: [h, w, 3] each.
        is_plain: whether the mesh has no colours, or one for all.
    """

    vertices: Tensor
    faces: Tensor
    corner_rows: Tensor
    corner_uvs: Tensor | None
    face_texture: Tensor
    textures: tuple[Tensor, ...]
    is_plain: bool


@dataclass(frozen=True, kw_only=True)
class Coat(TensorStruct):
    """What a view shows of a paint.

    Attributes:
        shown: [h, w] which pixels show the mesh: P of them.
        color: [P, 3] in [0, 255], without light.
        normals: [P, 3] in the camera frame.
    """

    shown: Tensor
    color: Tensor
    normals: Tensor


def make_paint(mesh: Mesh, center: Tensor) -> Paint:
    """The paint of a mesh, moved by -center [3]."""
    color = torch.full((mesh.face_count, 3, 3), 255.0)
    number = torch.full((mesh.face_count,), -1, dtype=torch.int64)
    textures: list[Tensor] = []
    corner_uvs = None
    if mesh.vertex_colors is not None:
        color = color * mesh.vertex_colors[..., :3].float()[mesh.faces]
    if mesh.materials:
        of_face = mesh.face_materials if mesh.face_materials is not None else torch.zeros(mesh.face_count, dtype=torch.int64)
        for k, material in enumerate(mesh.materials):
            mine = of_face == k
            color[mine] = color[mine] * material.diffuse.float()[:3]
            if material.diffuse_texture is not None and mesh.uvs is not None:
                number[mine] = len(textures)
                textures.append(_small(material.diffuse_texture))
        if textures and mesh.uvs is not None:
            corner_uvs = mesh.uvs[mesh.face_uvs if mesh.face_uvs is not None else mesh.faces].float()
    return Paint(
        vertices=(mesh.vertices.double() - center).float(),
        faces=mesh.faces,
        corner_rows=torch.cat([color, _corner_normals(mesh)], 2),
        corner_uvs=corner_uvs,
        face_texture=number,
        textures=tuple(textures),
        is_plain=not textures and float(color.flatten(0, 1).std(0).max()) < 1,
    )


def _corner_normals(mesh: Mesh) -> Tensor:
    """[F, 3, 3] the mesh's own normals; or else those of its vertices, and of the faces themselves at edges."""
    if mesh.corner_normals is not None:
        return mesh.corner_normals.float()
    if mesh.vertex_normals is not None:
        return mesh.vertex_normals.float()[mesh.faces]
    flat = face_normals(mesh.vertices, mesh.faces)[:, None]
    smooth = vertex_normals(mesh.vertices, mesh.faces)[mesh.faces]
    return torch.where((smooth * flat).sum(2, keepdim=True) > _CREASE, smooth, flat.expand_as(smooth)).float()


def _small(texture: Tensor) -> Tensor:
    color = texture[..., :3].float().expand(*texture.shape[:2], 3).permute(2, 0, 1)[None]
    factor = max(1, max(color.shape[-2:]) // _TEXELS)
    return torch.nn.functional.avg_pool2d(color, factor, ceil_mode=True, count_include_pad=False)[0].permute(1, 2, 0).contiguous()


def coat_of(paint: Paint, view: View) -> Coat:
    """What a view shows."""
    color, normals = _surface(paint, view, view.mask)
    return Coat(shown=view.mask, color=color, normals=normals)


def seen_samples(image: Tensor, paint: Paint, view: View, *, hidden: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Colours [S, 3] of a uint8 image [H, W, 3] at some pixels well inside of a view; and colours and normals [S, 3] of the paint there.

    Args:
        hidden: [h, w] pixels of the view that show something else.
    """
    inside = torch.nn.functional.max_pool2d((~view.mask)[None, None].float(), 2 * _RIM + 1, stride=1, padding=_RIM)[0, 0] == 0
    if hidden is not None:
        inside &= ~hidden
    pixels = inside.nonzero()
    rows, columns = pixels[:: max(1, len(pixels) // _SAMPLES)].unbind(1)
    x = ((columns + 0.5) / view.scale + view.corner[0]).long().clamp(max=image.shape[1] - 1)
    y = ((rows + 0.5) / view.scale + view.corner[1]).long().clamp(max=image.shape[0] - 1)
    return image[y, x].float(), *_surface(paint, view, (rows, columns))


def _surface(paint: Paint, view: View, chosen: Tensor | tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """[P, 3] each: colours, and normals in the camera frame, at chosen pixels."""
    rows = rows_at(paint, view.face[chosen], view.fragments.barycentrics[chosen])
    return rows[:, :3], torch.nn.functional.normalize(rows[:, 3:] @ view.camera_from_object[:3, :3].T, dim=1)


def coarse_paint(paint: Paint, mesh: Mesh) -> Tensor:
    """[F, 6] colour and normal of the paint at the middle of each face of a coarser mesh in the same frame."""
    return nearest_rows(paint, mesh.vertices[mesh.faces].mean(1))


def nearest_rows(paint: Paint, points: Tensor) -> Tensor:
    """[..., 6] colour and normal of the paint nearest to points [..., 3] of the object's frame."""
    near = closest_point(points.reshape(-1, 3), (paint.vertices, paint.faces))
    return rows_at(paint, near.face, near.barycentrics).reshape(*points.shape[:-1], 6)


def rows_at(paint: Paint, face: Tensor, weights: Tensor) -> Tensor:
    """[P, 6] colour and normal, in the object's frame, at points of faces."""
    corners = corner_table(len(paint.faces), face.device)
    rows = interpolate_rows(paint.corner_rows.reshape(-1, 6), corners, face, weights)
    if paint.corner_uvs is not None:
        uvs = interpolate_rows(paint.corner_uvs.reshape(-1, 2), corners, face, weights)
        number = paint.face_texture[face]
        for k, texture in enumerate(paint.textures):
            mine = number == k
            if bool(mine.any()):
                rows[mine, :3] *= sample_texture(texture, uvs[mine])
    return rows
