"""Isotropic remeshing: nearly equilateral triangles of a wanted size on the same surface."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..ops.remesh import coarsen_edges, even_edges, move_upright, refine_edges
from .batch import MeshBatch, batch_meshes, split_meshes
from .bvh import build_bvh
from .halfedge_surface import CURVE, SURFACE_ARRAYS, HalfedgeSurface, close_surface, curve_segments, open_surface
from .mesh import Mesh
from .normals import face_areas, face_normals
from .query import closest_point
from .transfer import transfer_attributes

_MOST_FACES = 100_000_000


def remesh_isotropic(
    mesh: Mesh,
    target_length: float | Tensor,
    *,
    iterations: int = 5,
    feature_angle_deg: float | None = None,
    keep_faces: Tensor | None = None,
) -> Mesh:
    """Remesh to edges of about the wanted length: split long edges, collapse short ones, even out valences, smooth, project back.

    Vertices stay on the input surface. No face turns over, a manifold stays one, and topology does not change. Boundaries and features
    are resampled along themselves; their corners stay, and so does whatever lies at edges that are not manifold.

    Vertex attributes, colours and normals are interpolated on the input, face attributes and materials taken from there; UVs with an
    index of their own (`face_uvs`) and corner normals are dropped.

    Args:
        mesh: the surface. Faces that name a vertex twice, and vertices without faces, are left out.
        target_length: wanted edge length in scene units, one or [V] one a vertex (interpolated between them).
        iterations: rounds; 5 are good, 10 a little more even.
        feature_angle_deg: edges whose faces turn by more than this are kept as features; None for none.
        keep_faces: [F] mask of faces to leave as they are, with their vertices.

    Returns:
        The new mesh, without gradients.

    Raises:
        ArgumentError: a length that is not positive or asks for more than 100 million faces; shapes; vertices that are not finite.
    Source: Botsch and Kobbelt 2004, "A remeshing approach to multiresolution modeling".
    """
    sizes = _check(mesh, target_length, keep_faces)
    if feature_angle_deg is not None and not 0 < feature_angle_deg < 180:
        raise ArgumentError(f"remesh_isotropic: `feature_angle_deg` must lie between 0 and 180, got {feature_angle_deg}")
    surface = open_surface(mesh, sizes=sizes, feature_angle_deg=feature_angle_deg, keep_faces=keep_faces)
    if surface.corners.numel() == 0:
        return transfer_attributes(mesh, mesh.vertices[:0], mesh.faces[:0])
    projector = _Projector(surface)
    for _ in range(iterations):
        arrays = coarsen_edges(*refine_edges(*surface.arrays))
        *edges, wanted, normals = even_edges(*arrays)
        surface = dataclasses.replace(surface, **dict(zip(SURFACE_ARRAYS, (*edges, *arrays[3:]))))
        surface = _moved(surface, projector(surface, wanted, normals))
    vertices, faces = close_surface(surface, mesh)
    return transfer_attributes(mesh, vertices, faces)


def remesh_batch(batch: MeshBatch, target_length: float, *, iterations: int = 5, feature_angle_deg: float | None = None) -> MeshBatch:
    """`remesh_isotropic` of every mesh of a batch."""
    options = {"iterations": iterations, "feature_angle_deg": feature_angle_deg}
    return batch_meshes([remesh_isotropic(mesh, target_length, **options) for mesh in split_meshes(batch)])


class _Projector:
    """Puts vertices back on the input: smooth ones on its faces, those on curves on its boundary and feature edges."""

    def __init__(self, surface: HalfedgeSurface):
        self._faces = surface.corners.view(-1, 3)
        self._vertices = surface.positions
        self._tree = build_bvh(self._vertices, self._faces)
        self._normals = face_normals(self._vertices, self._faces)
        self._curve_vertices, self._segments = curve_segments(surface)
        self._curve_tree = build_bvh(self._curve_vertices, self._segments) if self._segments.numel() else None

    def __call__(self, surface: HalfedgeSurface, wanted: Tensor, normals: Tensor) -> Tensor:
        smooth = surface.kinds == 0
        found = closest_point(wanted[smooth], (self._vertices, self._faces), bvh=self._tree)
        # On thin parts the nearest point may lie on the other side: then the vertex only moves in its tangent plane.
        same_side = (self._normals[found.face] * normals[smooth]).sum(-1) >= 0
        wanted[smooth] = torch.where(same_side[:, None], found.point, wanted[smooth])
        if self._curve_tree is not None:
            curve = surface.kinds == CURVE
            wanted[curve] = closest_point(wanted[curve], (self._curve_vertices, self._segments), bvh=self._curve_tree).point
        return wanted


def _moved(surface: HalfedgeSurface, wanted: Tensor) -> HalfedgeSurface:
    positions = move_upright(surface.corners, surface.twins, surface.kinds, surface.positions, wanted)
    return dataclasses.replace(surface, positions=positions)


def _check(mesh: Mesh, target_length: float | Tensor, keep_faces: Tensor | None) -> Tensor:
    """The wanted lengths [V]."""
    where = "remesh_isotropic"
    check_shape(mesh.vertices, ["V", 3], name="mesh.vertices", where=where, finite=True)
    if keep_faces is not None and (keep_faces.dtype != torch.bool or keep_faces.shape != (mesh.face_count,)):
        raise ArgumentError(
            f"{where}: `keep_faces` must be [{mesh.face_count}] truth values, got {keep_faces.dtype} {list(keep_faces.shape)}"
        )
    lengths = torch.as_tensor(target_length, dtype=torch.float64).detach().cpu()
    if lengths.dim() > 0:
        check_shape(lengths, [mesh.vertex_count], name="target_length", where=where)
    sizes = lengths.expand(mesh.vertex_count)
    if sizes.numel() and not bool(((sizes > 0) & sizes.isfinite()).all()):
        raise ArgumentError(f"{where}: `target_length` must be positive, got {float(sizes.min())}")
    areas = face_areas(mesh.vertices.detach().cpu().to(torch.float64), mesh.faces.cpu())
    face_sizes = sizes[mesh.faces.cpu()].amin(1) if mesh.face_count else areas
    expected = float((areas / (math.sqrt(3) / 4 * face_sizes.square())).sum())
    if expected > _MOST_FACES:
        raise ArgumentError(f"{where}: `target_length` asks for about {expected:.1e} faces; it is in scene units, choose a greater one")
    return sizes
