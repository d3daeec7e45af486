"""Distances between points and the surface of a mesh: each point to the surface, each face to the points.

The search structure of the side that stays is built once and passed in: `build_bvh` of the mesh (`refit` where only vertices move),
`build_index` of the points. In a batch everything is packed; a result is the mean over the items, and an item without points (or faces)
adds 0.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import ArgumentError, check_indices, check_shape
from ..geometry.batch import MeshBatch
from ..geometry.bvh import Bvh, check_offsets
from ..geometry.point_index import PointIndex, build_index
from ..geometry.query import MeshLike, closest_point
from ..ops.closest_to_face import closest_to_face, distance_to_face
from ..reference.closest_point import closest_on_triangle
from ..reference.closest_point import closest_to_face as brute_closest_to_face
from .robust import Penalty, squared


def point_to_mesh_distance(
    points: Float[Tensor, "N 3"],
    mesh: MeshLike,
    *,
    penalty: Penalty = squared,
    weights: Float[Tensor, "N"] | None = None,
    bvh: Bvh | None = None,
    query_offsets: Int[Tensor, "B+1"] | None = None,
    face_offsets: Int[Tensor, "B+1"] | None = None,
) -> Float[Tensor, ""]:
    """Mean penalty of the distance from each point to the surface.

    Args:
        points: [N, 3].
        mesh: a mesh, a batch, or (vertices [V, 3], faces [F, 3]).
        penalty: function of squared distances: `squared`, `unsquared`, `huber(threshold)`, ... of losses/robust.py.
        weights: [N] not negative; the mean is weighted by them.
        bvh: `build_bvh` of these very vertices, or its `refit` to them; None builds one for this call.
        query_offsets, face_offsets: [B + 1] of a packed batch.

    Returns:
        [] mean over the batch; 0 without points.

    Raises:
        ArgumentError: shapes, an index out of range, points of an item without faces.

    Gradient: points and vertices, exact wherever the closest point is unique; finite at distance zero and for faces without area.
    Source: the point-to-face half of PyTorch3D's point_mesh_face_distance.
    """
    where = "point_to_mesh_distance"
    check_shape(points, ["N", 3], name="points", where=where)
    offsets = check_offsets(query_offsets, points.shape[0], name="query_offsets", where=where, device=points.device)
    closest = closest_point(points, mesh, bvh=bvh, query_offsets=query_offsets, face_offsets=face_offsets)
    if bool((closest.face < 0).any()):
        raise ArgumentError(f"{where}: point {int((closest.face < 0).nonzero()[0])} has no face to go to: an empty mesh, or it is NaN")
    return _mean(penalty(closest.squared_distance), offsets, weights, where)


def mesh_to_point_distance(
    mesh: MeshLike,
    points: Float[Tensor, "N 3"] | PointIndex,
    *,
    penalty: Penalty = squared,
    weights: Float[Tensor, "F"] | None = None,
    target_offsets: Int[Tensor, "B+1"] | None = None,
    face_offsets: Int[Tensor, "B+1"] | None = None,
) -> Float[Tensor, ""]:
    """Mean penalty of the distance from each face to the point closest to it, to whichever place of the face that is.

    It draws the surface to the points where it lies off them all. It does not say how far all of a face is from the points: for that,
    sample the surface and take `one_sided_chamfer_distance` of the samples.

    Args:
        mesh: a mesh, a batch, or (vertices [V, 3], faces [F, 3]).
        points: [N, 3], or `build_index` of them, to be reused while the mesh moves.
        penalty: function of squared distances, as in `point_to_mesh_distance`.
        weights: [F] not negative, for example face areas; the mean is weighted by them. None counts every face alike.
        target_offsets, face_offsets: [B + 1] of a packed batch; an index and a MeshBatch have their own.

    Returns:
        [] mean over the batch; 0 without faces.

    Raises:
        ArgumentError: shapes, an index out of range, faces of an item without points, NaN.

    Gradient: vertices and points, exact wherever the closest point is unique; finite at distance zero and for faces without area.
    Source: the face-to-point half of PyTorch3D's point_mesh_face_distance.
    """
    where = "mesh_to_point_distance"
    vertices, faces = mesh if isinstance(mesh, tuple) else (mesh.vertices, mesh.faces)
    check_shape(vertices, ["V", 3], name="vertices", where=where, finite=True)
    check_shape(faces, ["F", 3], name="faces", where=where, integer=True)
    check_indices(faces, vertices.shape[0], name="faces", where=where)
    if isinstance(mesh, MeshBatch):
        face_offsets = mesh.face_offsets
    offsets = check_offsets(face_offsets, faces.shape[0], name="face_offsets", where=where, device=faces.device)
    index = _index(points, target_offsets, vertices, where)
    missing = (index.offsets.diff() == 0) & (offsets.diff() > 0) if index.offsets.shape == offsets.shape else None
    if missing is None or bool(missing.any()):
        raise ArgumentError(f"{where}: {len(offsets) - 1} meshes need as many sets of points, none of them empty where there are faces")
    vertices, faces = vertices.contiguous(), faces.to(torch.int64).contiguous()
    if index.tree:
        leaf_points, ids, boxes, _, leaf_offsets = index.tree
        tree = (leaf_points, ids, boxes, leaf_offsets, index.offsets)
        nearest, barycentrics, _ = closest_to_face(vertices.detach(), faces, offsets, *tree)
        own = torch.arange(faces.shape[0], device=faces.device)
        distances = distance_to_face(index.points[nearest], vertices, faces, own, barycentrics)
    else:
        nearest = brute_closest_to_face(vertices.detach(), faces, index.points.detach(), offsets, index.offsets)
        corners = vertices[faces] - index.points[nearest].unsqueeze(-2)
        weights_there = closest_on_triangle(torch.zeros_like(corners[:, 0]), corners)
        distances = (weights_there.unsqueeze(-2) @ corners).squeeze(-2).square().sum(-1)
    return _mean(penalty(distances), offsets, weights, where)


def _index(points: Tensor | PointIndex, offsets: Tensor | None, like: Tensor, where: str) -> PointIndex:
    if isinstance(points, PointIndex):
        if offsets is not None:
            raise ArgumentError(f"{where}: the index has offsets of its own; leave `target_offsets` out")
        index = points
    else:
        check_shape(points, ["N", 3], name="points", where=where, finite=True)
        index = build_index(points, offsets)
    if index.points.dtype != like.dtype or index.points.device != like.device:
        raise ArgumentError(
            f"{where}: the points are {index.points.dtype} on {index.points.device}, the mesh is {like.dtype} on {like.device}"
        )
    return index


def _mean(values: Tensor, offsets: Tensor, weights: Tensor | None, where: str) -> Tensor:
    """Mean over items of the (weighted) means in each; of an empty item, or one without weight, 0."""
    if weights is not None:
        check_shape(weights, [values.shape[0]], name="weights", where=where)
    items = offsets.shape[0] - 1
    if items == 1 and weights is None:
        return values.mean() if len(values) else values.sum()
    weight = torch.ones_like(values) if weights is None else weights
    owner = torch.repeat_interleave(torch.arange(items, device=values.device), offsets.diff())
    zero = values.new_zeros(items)
    total, mass = zero.index_add(0, owner, values * weight), zero.index_add(0, owner, weight)
    return torch.where(mass > 0, total / torch.where(mass > 0, mass, 1), 0).sum() / max(items, 1)
