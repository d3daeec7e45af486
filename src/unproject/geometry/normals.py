"""Areas and normals of faces and vertices. A degenerate face has the zero vector for a normal and passes no gradient through it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ArgumentError, check_indices, check_shape


def face_corners(vertices: Tensor, faces: Tensor, *, where: str = "face_corners") -> tuple[Tensor, Tensor, Tensor]:
    """Positions of the three corners of each face, [F, 3] each.

    Raises:
        ArgumentError: shapes, or indices out of range.
    """
    check_shape(vertices, ["V", 3], name="vertices", where=where)
    check_shape(faces, ["F", 3], name="faces", where=where, integer=True)
    check_indices(faces, vertices.shape[0], name="faces", where=where)
    a, b, c = (vertices.index_select(0, corner) for corner in faces.to(torch.int64).unbind(1))
    return a, b, c


def face_area_vectors(vertices: Tensor, faces: Tensor) -> Tensor:
    """[F, 3] the normal of each face times its area. Gradient: vertices, everywhere."""
    a, b, c = face_corners(vertices, faces, where="face_area_vectors")
    return 0.5 * torch.linalg.cross(b - a, c - a)


def face_areas(vertices: Tensor, faces: Tensor) -> Tensor:
    """[F] areas, in squared scene units. Gradient: vertices; zero at faces without area."""
    a, b, c = face_corners(vertices, faces, where="face_areas")
    return 0.5 * _length(torch.linalg.cross(b - a, c - a))


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """[F, 3] unit normals to the outside (counter-clockwise faces).

    A face counts as degenerate where twice its area is below 1e-6 (float64: 1e-12) of its squared edge lengths, which is
    rounding error: its normal is zero.

    Gradient: vertices; zero and finite at degenerate faces.
    """
    a, b, c = face_corners(vertices, faces, where="face_normals")
    u, v = b - a, c - a
    return _direction(torch.linalg.cross(u, v), u.square().sum(-1) + v.square().sum(-1))


def vertex_normals(vertices: Tensor, faces: Tensor, *, weighting: str = "angle") -> Tensor:
    """[V, 3] unit normals at the vertices: the weighted mean of the normals of the faces around each.

    A vertex without faces, or whose faces cancel, has the zero vector.

    Args:
        vertices: [V, 3].
        faces: [F, 3].
        weighting: "angle" weights a face by its angle at the vertex, which does not depend on how a flat part is cut into triangles;
            "area" weights it by its area, which is cheaper.

    Gradient: vertices; finite at degenerate faces.
    Source: Thürmer and Wüthrich 1998, "Computing vertex normals from polygonal facets" (angle).
    """
    if weighting not in ("angle", "area"):
        raise ArgumentError(f'vertex_normals: `weighting` must be "angle" or "area", got {weighting!r}')
    a, b, c = face_corners(vertices, faces, where="vertex_normals")
    vectors = torch.linalg.cross(b - a, c - a)
    if weighting == "area":
        corner_vectors = vectors[:, None].expand(-1, 3, -1)
    else:
        squares = (b - a).square().sum(-1) + (c - a).square().sum(-1)
        corner_vectors = corner_angles(vertices, faces)[..., None] * _direction(vectors, squares)[:, None]
    index = faces.to(torch.int64).reshape(-1, 1).expand(-1, 3)
    summed = torch.zeros_like(vertices).scatter_add(0, index, corner_vectors.reshape(-1, 3))
    return _direction(summed, None)


def corner_angles(vertices: Tensor, faces: Tensor) -> Tensor:
    """[F, 3] the angle of each face at each corner, radians in [0, pi]. Gradient: vertices; zero at corners without an angle."""
    a, b, c = face_corners(vertices, faces, where="corner_angles")
    sides = (b - a, c - b, a - c)
    sines = _length(torch.linalg.cross(sides[0], -sides[2]))
    angles = []
    for i in range(3):
        cosines = -(sides[i] * sides[i - 1]).sum(-1)
        flat = (sines == 0) & (cosines == 0)
        angles.append(torch.where(flat, 0, torch.atan2(sines, torch.where(flat, 1, cosines))))
    return torch.stack(angles, dim=-1)


def _length(vectors: Tensor) -> Tensor:
    """Euclidean length with gradient zero, not NaN, at zero."""
    squares = vectors.square().sum(-1)
    zero = squares == 0
    return torch.where(zero, 0, torch.sqrt(torch.where(zero, 1, squares)))


def _direction(vectors: Tensor, scale: Tensor | None) -> Tensor:
    """Unit vectors; zero where the length is rounding error beside `scale` (or is nothing at all)."""
    length = _length(vectors)
    floor = (1e-6 if vectors.dtype == torch.float32 else 1e-12) * scale.detach() if scale is not None else torch.zeros_like(length)
    void = ~(length > floor)
    return torch.where(void[..., None], 0, vectors / torch.where(void, 1, length)[..., None])
