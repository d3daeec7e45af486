"""Normal maps: tangent frames from texture coordinates, and normals bent by a texture."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.sample import interpolate_rows
from .interpolate import Pixels
from .surface import Surface
from .vectors import dot, unit_vectors


def bend_normals(surface: Surface, pixels: Pixels, normal: Tensor, bent: Tensor) -> Tensor:
    """Unit normals [P, 3] of a normal texture.

    Args:
        normal: [P, 3] interpolated unit normals.
        bent: [P, 3] normals in the tangent frame: x along u, y along v (upwards in the image, as in OpenGL and glTF), z along the normal.

    Gradient: everything.
    Source: the frame of glTF 2.0: tangents averaged at vertices, made orthogonal to the normal at the pixel.
    """
    tangents, corners, mirrored, stride = _tangents(surface)
    base = pixels.image * stride if stride else None
    along_u = interpolate_rows(tangents, corners, pixels.face, pixels.barycentrics, base=base)
    along_u = unit_vectors(along_u - dot(along_u, normal) * normal)
    along_v = torch.linalg.cross(normal, along_u)
    flip = mirrored[pixels.face if not stride else pixels.image * surface.faces.shape[0] + pixels.face]
    along_v = torch.where(flip[:, None], -along_v, along_v)
    return unit_vectors(bent[:, :1] * along_u + bent[:, 1:2] * along_v + bent[:, 2:] * normal)


def _tangents(surface: Surface) -> tuple[Tensor, Tensor, Tensor, int]:
    """Tangents [Q, 3], their rows for corners [F, 3], which faces have a mirrored texture, and rows of an image (0: all share them).

    Tangents are means over the faces around a texture vertex that have the same handedness: across a mirror seam they would cancel.
    """
    assert surface.uvs is not None and surface.uv_corners is not None
    images = surface.vertices.shape[0] // surface.stride if surface.stride else 1
    vertices = surface.vertices.view(images, -1, 3)
    corners = vertices[:, surface.faces]  # [I, F, 3, 3]
    uvs = surface.uvs[surface.uv_corners]
    e1, e2 = corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0]
    d1, d2 = uvs[:, 1] - uvs[:, 0], uvs[:, 2] - uvs[:, 0]
    determinant = d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]
    sign = torch.where(determinant < 0, -1.0, 1.0).to(uvs)
    tangent = (d2[:, 1] * sign)[:, None] * e1 - (d1[:, 1] * sign)[:, None] * e2  # times the texture's area: larger faces weigh more
    mirrored = determinant < 0
    rows = 2 * surface.uv_corners + mirrored.to(torch.int64)[:, None]
    count = 2 * surface.uvs.shape[0]
    index = rows.reshape(-1)
    total = tangent.new_zeros(images, count, 3).index_add(1, index, tangent.repeat_interleave(3, 1))
    return total.view(-1, 3), rows, mirrored.repeat(images), count if surface.stride else 0
