"""Decimation: fewer faces for nearly the same surface."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape, describe
from ..ops.decimate import decimate as collapse_cheapest
from .batch import MeshBatch, batch_meshes, split_meshes
from .halfedge_surface import SURFACE_ARRAYS, close_surface, open_surface
from .mesh import Mesh
from .transfer import transfer_attributes


def decimate(mesh: Mesh, face_count: int, *, feature_angle_deg: float | None = None, keep_faces: Tensor | None = None) -> Mesh:
    """Reduce a mesh to at most `face_count` faces by collapsing the edges that change the surface least.

    Each vertex moves to where the squared distances to the planes of all faces merged into it are least. A manifold stays one, topology
    does not change, and no face turns over: so the result may keep more faces than asked for (a closed part keeps four). Boundaries keep
    their shape like features do, and what lies at edges that are not manifold stays.

    Attributes are moved as in `remesh_isotropic`.

    Args:
        mesh: the surface. Faces that name a vertex twice, and vertices without faces, are left out.
        face_count: faces to keep.
        feature_angle_deg: edges whose faces turn by more than this count like boundaries; None for none.
        keep_faces: [F] mask of faces to leave as they are.

    Returns:
        The new mesh, without gradients; faces and vertices in the order of the input's.

    Raises:
        ArgumentError: shapes, a count below 0, vertices that are not finite.
    Source: Garland and Heckbert 1997, "Surface simplification using quadric error metrics".
    """
    check_shape(mesh.vertices, ["V", 3], name="mesh.vertices", where="decimate", finite=True)
    if face_count < 0:
        raise ArgumentError(f"decimate: `face_count` must be at least 0, got {face_count}")
    if keep_faces is not None and (keep_faces.dtype != torch.bool or keep_faces.shape != (mesh.face_count,)):
        raise ArgumentError(f"decimate: `keep_faces` must be [{mesh.face_count}] truth values, got {describe(keep_faces)}")
    sizes = torch.ones(mesh.vertex_count)
    surface = open_surface(mesh, sizes=sizes, feature_angle_deg=feature_angle_deg, keep_faces=keep_faces)
    if surface.corners.numel() > 0:
        arrays = collapse_cheapest(*surface.arrays, face_count)
        surface = dataclasses.replace(surface, **dict(zip(SURFACE_ARRAYS, arrays)))
    vertices, faces = close_surface(surface, mesh)
    return transfer_attributes(mesh, vertices, faces)


def decimate_batch(batch: MeshBatch, face_count: int, *, feature_angle_deg: float | None = None) -> MeshBatch:
    """`decimate` of every mesh of a batch, to `face_count` faces each."""
    return batch_meshes([decimate(mesh, face_count, feature_angle_deg=feature_angle_deg) for mesh in split_meshes(batch)])
