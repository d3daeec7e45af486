"""Questions to a mesh: the closest point, what a ray hits first, whether anything blocks it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..ops.closest_point import closest_face
from ..ops.raycast import any_hit, first_hit
from ..reference import closest_point as brute_closest_point
from ..reference import raycast as brute_raycast
from ..struct import TensorStruct
from .batch import MeshBatch
from .bvh import Bvh, build_bvh, check_offsets
from .mesh import Mesh

MeshLike: TypeAlias = Mesh | MeshBatch | tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class ClosestPoint(TensorStruct):
    """Where each query point touches the mesh. Leading dimensions are those of the query points.

    Attributes:
        face: [...] index of the closest face; -1 where there is none (an empty mesh, or a NaN query).
        barycentrics: [..., 3] weights of the face's corners, sum 1; 0 where there is none.
        point: [..., 3] the closest point; infinite where there is none.
        squared_distance: [...] to it; infinite where there is none.
    """

    face: Tensor
    barycentrics: Tensor
    point: Tensor
    squared_distance: Tensor


@dataclass(frozen=True, kw_only=True)
class RayHit(TensorStruct):
    """What each ray hits first. Leading dimensions are those of the rays.

    Attributes:
        face: [...] index of the face; -1 for a miss.
        distance: [...] from the origin in lengths of the direction (scene units for a unit direction); infinite for a miss.
        barycentrics: [..., 3] weights of the face's corners at the hit, sum 1; 0 for a miss.
    """

    face: Tensor
    distance: Tensor
    barycentrics: Tensor


def closest_point(
    points: Tensor,
    mesh: MeshLike,
    *,
    bvh: Bvh | None = None,
    query_offsets: Tensor | None = None,
    face_offsets: Tensor | None = None,
) -> ClosestPoint:
    """The closest point of a triangle mesh to each query point.

    Args:
        points: [..., 3]; in a batch [N, 3], packed.
        mesh: a mesh, a batch, or (vertices [V, 3], faces [F, 3]); in a packed batch, faces index all of the vertices.
        bvh: `build_bvh(vertices, faces)` of these very vertices, to be reused; None builds one for this call.
        query_offsets, face_offsets: [B + 1] where the points and faces of each item of a batch begin; None for one item. A MeshBatch and
            a tree have the faces' own.

    Raises:
        ArgumentError: shapes, an index out of range, a tree of another mesh.

    Gradient: points and vertices, through everything but the face; the face and the region of it (inside, edge, corner) that the
    closest point lies in are held fixed, which is exact almost everywhere. Always finite, also for triangles without area.
    """
    where = "closest_point"
    check_shape(points, [..., 3], name="points", where=where)
    vertices, faces, tree = mesh_and_tree(mesh, bvh, face_offsets, points, where)
    queries = points.reshape(-1, 3).contiguous()
    offsets = check_offsets(query_offsets, queries.shape[0], name="query_offsets", where=where, device=points.device)
    _check_batch(offsets, tree, where)
    if points.device.type == "cpu":
        tensors = (tree.boxes, tree.children, tree.blocks, tree.block_items, tree.roots)
        barycentrics, nearest, squared, face = closest_face(queries, vertices, faces, offsets, *tensors, tree.depth)
    else:
        barycentrics, nearest, squared, face = brute_closest_point.closest_point(queries, vertices, faces, offsets, tree.face_offsets)
    shape = points.shape[:-1]
    return ClosestPoint(
        face=face.reshape(shape),
        barycentrics=barycentrics.reshape(points.shape),
        point=nearest.reshape(points.shape),
        squared_distance=squared.reshape(shape),
    )


def ray_cast(
    origins: Tensor,
    directions: Tensor,
    mesh: MeshLike,
    *,
    bvh: Bvh | None = None,
    min_distance: float | Tensor = 0.0,
    max_distance: float | Tensor = math.inf,
    query_offsets: Tensor | None = None,
    face_offsets: Tensor | None = None,
) -> RayHit:
    """The first face that each ray hits, from either side.

    Rays through shared edges and corners do not slip through (Woop, Benthin and Wald 2013). Rays within a face's plane do not hit it.

    Args:
        origins, directions: [..., 3] each, broadcast against each other; directions need not be unit vectors. In a batch [N, 3], packed.
        mesh: a mesh, a batch, or (vertices [V, 3], faces [F, 3]); in a packed batch, faces index all of the vertices.
        bvh: `build_bvh(vertices, faces)` of these very vertices, to be reused; None builds one for this call.
        min_distance, max_distance: hits outside of this range do not count; a number, or a tensor that broadcasts to the rays.
        query_offsets, face_offsets: [B + 1] where the rays and faces of each item of a batch begin; None for one item. A MeshBatch and a
            tree have the faces' own.

    Returns:
        RayHit; a miss has face -1 and an infinite distance, and so has a ray with NaN or a zero direction.

    Raises:
        ArgumentError: shapes, an index out of range, a tree of another mesh.

    Gradient: origins, directions and vertices, through distance and barycentrics; the face is held fixed.
    """
    where = "ray_cast"
    origins, directions, near, far, shape = _rays(origins, directions, min_distance, max_distance, where)
    vertices, faces, tree = mesh_and_tree(mesh, bvh, face_offsets, origins, where)
    offsets = check_offsets(query_offsets, origins.shape[0], name="query_offsets", where=where, device=origins.device)
    _check_batch(offsets, tree, where)
    if origins.device.type == "cpu":
        tensors = (tree.boxes, tree.children, tree.blocks, tree.block_items, tree.roots)
        barycentrics, distance, face = first_hit(origins, directions, near, far, vertices, faces, offsets, *tensors, tree.depth)
    else:
        barycentrics, distance, face = brute_raycast.ray_cast(origins, directions, near, far, vertices, faces, offsets, tree.face_offsets)
    return RayHit(face=face.reshape(shape), distance=distance.reshape(shape), barycentrics=barycentrics.reshape(*shape, 3))


def occluded(
    origins: Tensor,
    directions: Tensor,
    mesh: MeshLike,
    *,
    bvh: Bvh | None = None,
    min_distance: float | Tensor = 0.0,
    max_distance: float | Tensor = math.inf,
    query_offsets: Tensor | None = None,
    face_offsets: Tensor | None = None,
) -> Tensor:
    """Whether anything lies on each ray between two distances: a shadow test, cheaper than the first hit. Arguments as in `ray_cast`.

    A shadow ray starts on a surface: let `min_distance` (or an origin moved along the normal) keep it from hitting that very face.

    Returns:
        [...] bool. No gradient.
    """
    where = "occluded"
    origins, directions, near, far, shape = _rays(origins.detach(), directions.detach(), min_distance, max_distance, where)
    vertices, faces, tree = mesh_and_tree(mesh, bvh, face_offsets, origins, where)
    offsets = check_offsets(query_offsets, origins.shape[0], name="query_offsets", where=where, device=origins.device)
    _check_batch(offsets, tree, where)
    if origins.device.type == "cpu":
        tensors = (tree.boxes, tree.children, tree.blocks, tree.block_items, tree.roots)
        hit = any_hit(origins, directions, near, far, offsets, *tensors, tree.depth)
    else:
        hit = brute_raycast.ray_cast(origins, directions, near, far, vertices.detach(), faces, offsets, tree.face_offsets)[2] >= 0
    return hit.reshape(shape)


def mesh_and_tree(
    mesh: MeshLike, bvh: Bvh | None, face_offsets: Tensor | None, like: Tensor | None, where: str
) -> tuple[Tensor, Tensor, Bvh]:
    """Vertices, faces and tree of a mesh argument, checked against each other and against queries `like`."""
    vertices, faces = mesh if isinstance(mesh, tuple) else (mesh.vertices, mesh.faces)
    if isinstance(mesh, MeshBatch):
        face_offsets = mesh.face_offsets
    like = vertices if like is None else like
    check_shape(vertices, ["V", 3], name="vertices", where=where)
    check_shape(faces, ["F", 3], name="faces", where=where, integer=True)
    if vertices.dtype != like.dtype or vertices.device != like.device:
        raise ArgumentError(f"{where}: the mesh is {vertices.dtype} on {vertices.device}, the queries are {like.dtype} on {like.device}")
    if bvh is None:
        bvh = build_bvh(vertices.detach(), faces, face_offsets=face_offsets)
    elif bvh.roots.numel() == 0 and bvh.face_offsets.shape[0] > 1 and like.device.type == "cpu":
        raise ArgumentError(f"{where}: `bvh` was built on another device; call build_bvh on the CPU")
    elif bvh.boxes.dtype != like.dtype:
        raise ArgumentError(f"{where}: `bvh` is {bvh.boxes.dtype}, the mesh is {like.dtype}")
    elif bvh.face_count != faces.shape[0] or bvh.vertex_count != vertices.shape[0]:
        raise ArgumentError(
            f"{where}: `bvh` was built for {bvh.face_count} faces and {bvh.vertex_count} vertices, "
            f"the mesh has {faces.shape[0]} and {vertices.shape[0]}"
        )
    return vertices.contiguous(), bvh.faces, bvh


def _check_batch(query_offsets: Tensor, bvh: Bvh, where: str) -> None:
    queries, meshes = query_offsets.shape[0] - 1, bvh.face_offsets.shape[0] - 1
    if queries != meshes:
        raise ArgumentError(f"{where}: {queries} sets of queries (query_offsets) for {meshes} meshes (face_offsets)")


def _rays(
    origins: Tensor, directions: Tensor, near: float | Tensor, far: float | Tensor, where: str
) -> tuple[Tensor, Tensor, Tensor, Tensor, torch.Size]:
    """Origins and directions [N, 3], limits [N] or [1] for all, and the shape that they had."""
    check_shape(origins, [..., 3], name="origins", where=where)
    check_shape(directions, [..., 3], name="directions", where=where)
    if origins.dtype != directions.dtype:
        raise ArgumentError(f"{where}: origins are {origins.dtype}, directions are {directions.dtype}")
    origins, directions = torch.broadcast_tensors(origins, directions)
    shape = origins.shape[:-1]
    limits = [torch.as_tensor(x, dtype=origins.dtype, device=origins.device).detach() for x in (near, far)]
    limits = [x.expand(shape).reshape(-1) if x.dim() else x.reshape(1) for x in limits]
    return (
        origins.reshape(-1, 3).contiguous(),
        directions.reshape(-1, 3).contiguous(),
        limits[0].contiguous(),
        limits[1].contiguous(),
        shape,
    )
