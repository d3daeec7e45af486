"""Winding numbers: how often a surface goes around a point; inside and outside, also for meshes with holes and for oriented clouds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NoReturn, TypeAlias

import torch
from torch import Tensor

from ..errors import ArgumentError, ArgumentTypeError, check_shape
from ..ops import winding as kernels
from ..ops.bvh import build_point_bvh
from ..reference import winding as reference
from ..struct import TensorStruct
from .batch import PointCloudBatch
from .bvh import Bvh, build_bvh, check_offsets
from .neighbors import knn
from .point_index import build_index
from .points import PointCloud
from .query import MeshLike, closest_point, mesh_and_tree
from .rim import rim_cap

_EXACT = 512  # up to so many faces or points a set, everything is summed exactly
_LARGEST_CAP = 1 << 14  # edges of rims
_CAP_ACCURACY = 2.0
_NEIGHBORS = 12  # that say how much area a point stands for


@dataclass(frozen=True, kw_only=True)
class WindingTree(TensorStruct):
    """A surface as `winding_number` asks for it: a tree and its nodes' far fields. Made by `winding_tree` or `point_winding_tree`.

    The layout is the kernels' own and may change.

    Attributes:
        positions: [V, 3] vertices, or the points of a cloud.
        items: [F, 3] faces, or the vector areas (area times normal) [N, 3] of a cloud.
        offsets: [B + 1] where each mesh's faces, or each cloud's points, begin.
        children, blocks, roots, depth: as in Bvh.
        boxes: [M, 6, 8] as in Bvh, of faces; empty for a cloud.
        field: [M, 23, 8] far fields of each node's children.
        block_areas: [K, 3, 8] the vector areas of each leaf of a cloud; empty for faces.
        cap: of faces that close the surface; None where these would be many, or of a cloud.
    """

    positions: Tensor
    items: Tensor
    offsets: Tensor
    children: Tensor
    blocks: Tensor
    roots: Tensor
    depth: int
    boxes: Tensor
    field: Tensor
    block_areas: Tensor
    cap: WindingTree | None = None

    @property
    def of_points(self) -> bool:
        return self.items.is_floating_point()

    def __getitem__(self, index: Any) -> NoReturn:
        raise ArgumentTypeError("WindingTree: a tree has no rows to index; build one over the part that you want")


Surface: TypeAlias = MeshLike | PointCloud | PointCloudBatch | WindingTree


def winding_tree(mesh: MeshLike, *, bvh: Bvh | None = None, face_offsets: Tensor | None = None) -> WindingTree:
    """Prepare a mesh, closed or not, for `winding_number`.

    Args:
        mesh: a mesh, a batch, or (vertices [V, 3], faces [F, 3]).
        bvh: `build_bvh` of these very vertices, to be reused; None builds one.
        face_offsets: [B + 1] where each mesh's faces begin, for a packed pair of tensors.
    """
    vertices, faces, tree = mesh_and_tree(mesh, bvh, face_offsets, None, "winding_tree")
    vertices = vertices.detach()
    result = _tree_of_faces(vertices, faces, tree)
    largest = min(_LARGEST_CAP, 64 + len(faces) // 2)
    cap = rim_cap(vertices, faces, tree.face_offsets, largest) if vertices.device.type == "cpu" else None
    if cap is None:
        return result
    corners, sides, offsets = cap
    return replace(result, cap=_tree_of_faces(corners, sides, build_bvh(corners, sides, face_offsets=offsets)))


def _tree_of_faces(vertices: Tensor, faces: Tensor, tree: Bvh) -> WindingTree:
    none = vertices.new_empty(0)
    return WindingTree(
        positions=vertices,
        items=faces,
        offsets=tree.face_offsets,
        children=tree.children,
        blocks=tree.blocks,
        roots=tree.roots,
        depth=tree.depth,
        boxes=tree.boxes,
        field=kernels.face_winding_field(tree.children, tree.blocks) if vertices.device.type == "cpu" else none,
        block_areas=none,
    )


def point_winding_tree(positions: Tensor, normals: Tensor, areas: Tensor | None = None, *, offsets: Tensor | None = None) -> WindingTree:
    """Prepare an oriented point cloud for `winding_number`.

    Args:
        positions: [N, 3] finite.
        normals: [N, 3] unit vectors out of the surface.
        areas: [N] what each point stands for; None estimates it from the distance to its neighbours (the twelfth, by the area of a disc).
        offsets: [B + 1] where each cloud of a packed batch begins; None for one.
    """
    where = "point_winding_tree"
    check_shape(positions, ["N", 3], name="positions", where=where, finite=True)
    check_shape(normals, [positions.shape[0], 3], name="normals", where=where, finite=True)
    bounds = check_offsets(offsets, positions.shape[0], name="offsets", where=where, device=positions.device)
    positions = positions.detach().contiguous()
    if areas is None:
        areas = _disc_areas(positions, bounds)
    check_shape(areas, [positions.shape[0]], name="areas", where=where, finite=True)
    vectors = (normals * areas.unsqueeze(-1)).detach().to(positions.dtype).contiguous()
    none = positions.new_empty(0)
    children, blocks, roots, field, block_areas, depth = none, none, none, none, none, 0
    if positions.device.type == "cpu":
        _, children, blocks, block_items, roots, deepest = build_point_bvh(positions, bounds)
        field = kernels.point_winding_field(children, blocks, block_items, vectors)
        present = (block_items >= 0).unsqueeze(-1)
        block_areas = torch.where(present, vectors[block_items.clamp_min(0).long()], 0) if len(vectors) else vectors.new_empty((0, 8, 3))
        block_areas, depth = block_areas.transpose(1, 2).contiguous(), int(deepest)
    return WindingTree(
        positions=positions,
        items=vectors,
        offsets=bounds,
        children=children,
        blocks=blocks,
        roots=roots,
        depth=depth,
        boxes=none,
        field=field,
        block_areas=block_areas,
    )


def winding_number(
    points: Tensor,
    surface: Surface,
    *,
    accuracy: float = 2.0,
    query_offsets: Tensor | None = None,
    face_offsets: Tensor | None = None,
) -> Tensor:
    """The generalized winding number of a surface about each point: 1 inside and 0 outside of a closed surface, between for an open one.

    Args:
        points: [..., 3]; in a batch [N, 3], packed.
        surface: a mesh, a batch, (vertices, faces), or a point cloud with normals; or what `winding_tree` and `point_winding_tree` made of
            it, which spares the preparation.
        accuracy: clusters farther than so many of their radii are approximated to second order, at least 1. Worst errors for a surface of
            sphere's shape: 2: 3e-3, 3: 6e-4, 4: 1e-4, with cost about accuracy squared; `math.inf` sums exactly, and so are small
            surfaces (512 faces) anyway.
        query_offsets: [B + 1] where the points of each item of a batch begin.
        face_offsets: [B + 1] where each mesh's faces begin, for a packed (vertices, faces).

    Returns:
        [...] winding numbers; on the surface itself, any of the values beside it.

    Gradient: none. Source: Jacobson et al. 2013; Barill et al. 2018.
    """
    where = "winding_number"
    check_shape(points, [..., 3], name="points", where=where)
    if not accuracy >= 1:
        raise ArgumentError(f"{where}: `accuracy` must be at least 1, got {accuracy}")
    tree = _as_tree(surface, face_offsets, where)
    if tree.positions.dtype != points.dtype or tree.positions.device != points.device:
        raise ArgumentError(
            f"{where}: the surface is {tree.positions.dtype} on {tree.positions.device}, the points are {points.dtype} on {points.device}"
        )
    queries = points.detach().reshape(-1, 3).contiguous()
    offsets = check_offsets(query_offsets, queries.shape[0], name="query_offsets", where=where, device=points.device)
    if offsets.shape != tree.offsets.shape:
        raise ArgumentError(f"{where}: {len(offsets) - 1} sets of points (query_offsets) for {len(tree.offsets) - 1} surfaces")
    if points.device.type != "cpu":
        exact = reference.point_winding if tree.of_points else reference.face_winding
        return exact(queries, tree.positions, tree.items, offsets, tree.offsets).reshape(points.shape[:-1])
    reach = math.inf if len(tree.items) <= _EXACT * (len(tree.offsets) - 1) else float(accuracy)
    common = (queries, offsets, tree.roots, tree.field, tree.children, tree.blocks)
    if tree.of_points:
        return kernels.point_winding(*common, tree.block_areas, tree.depth, reach).reshape(points.shape[:-1])
    return kernels.face_winding(*common, tree.depth, reach).reshape(points.shape[:-1])


def signed_distance(
    points: Tensor,
    mesh: MeshLike,
    *,
    bvh: Bvh | None = None,
    winding: WindingTree | None = None,
    accuracy: float = 1.5,
    query_offsets: Tensor | None = None,
    face_offsets: Tensor | None = None,
) -> Tensor:
    """Distance to a mesh, positive outside and negative where the winding number exceeds 1/2, which also answers for holes and overlaps.

    Args:
        points: [..., 3]; in a batch [N, 3], packed.
        mesh: a mesh, a batch, or (vertices, faces), faces counter-clockwise seen from outside.
        bvh, winding: `build_bvh` and `winding_tree` of this very mesh, to be reused; None builds them.
        accuracy: of the winding number, see there, where it is approximated: for surfaces whose rim has more than half as many edges as
            there are faces, and for points as near to a face as rounding. At 1.5 its worst errors are 0.03, far less than what changes
            its side of 1/2.
        query_offsets, face_offsets: [B + 1] of a packed batch; None for one item.

    Returns:
        [...] signed distances; infinite where there is no face.

    Gradient: points and vertices. On the surface it is that of the closest face's plane; at its edges and corners it is one of many.
    """
    vertices, faces, tree = mesh_and_tree(mesh, bvh, face_offsets, points, "signed_distance")
    closest = closest_point(points, (vertices, faces), bvh=tree, query_offsets=query_offsets)
    if winding is None:
        winding = winding_tree((vertices, faces), bvh=tree)
    inside = is_inside(points.detach().reshape(-1, 3).contiguous(), winding, accuracy, query_offsets).reshape(points.shape[:-1])
    rounding = 8 * torch.finfo(points.dtype).eps * points.detach().abs().amax(-1)  # nearer, the direction to the surface is noise
    apart = closest.squared_distance > rounding.square()
    distance = torch.where(apart, closest.squared_distance, 1).sqrt()
    signed = torch.where(inside, -distance, distance)
    if bool(apart.all()) or not (signed.requires_grad and torch.is_grad_enabled()):
        return torch.where(apart, signed, 0)
    corners = vertices[faces[closest.face.clamp_min(0)]].detach()
    normal = torch.linalg.cross(corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :])
    normal = torch.nn.functional.normalize(normal, dim=-1, eps=torch.finfo(normal.dtype).tiny)
    offset = points - torch.where(apart.unsqueeze(-1), points, closest.point)
    return torch.where(apart, signed, (offset * normal).sum(-1))


def is_inside(points: Tensor, tree: WindingTree, accuracy: float = 1.5, query_offsets: Tensor | None = None) -> Tensor:
    """Whether the winding number about points [N, 3] exceeds 1/2: that of the surface with its cap, which is whole, without the cap's."""
    if tree.cap is None or len(tree.items) == 0:
        return winding_number(points, tree, accuracy=accuracy, query_offsets=query_offsets) > 0.5
    offsets = check_offsets(query_offsets, points.shape[0], name="query_offsets", where="signed_distance", device=points.device)
    sides = tree.boxes[tree.roots.clamp_min(0).long()]  # of the root's children; empty ones are inside out
    bounds = torch.cat([sides[:, :3].amin(-1), sides[:, 3:].amax(-1)], 1)
    number = _crossings(points, offsets, bounds, tree)
    is_open = number == kernels.LEFT_OPEN
    if len(tree.cap.items) > 0:
        cap = _crossings(points, offsets, bounds, tree.cap)
        is_open = is_open | (cap == kernels.LEFT_OPEN)
        part = (tree.cap.roots, tree.cap.field, tree.cap.children, tree.cap.blocks, tree.cap.depth)
        number = number + cap - kernels.face_winding(points, offsets, *part, _CAP_ACCURACY)
    inside = number > 0.5
    if bool(is_open.any()):
        rows = is_open.nonzero()[:, 0]
        inside[rows] = winding_number(points[rows], tree, accuracy=accuracy, query_offsets=torch.searchsorted(rows, offsets)) > 0.5
    return inside


def _crossings(points: Tensor, offsets: Tensor, bounds: Tensor, tree: WindingTree) -> Tensor:
    return kernels.crossing_number(points, offsets, bounds, tree.roots, tree.boxes, tree.children, tree.blocks, tree.depth)


def _as_tree(surface: Surface, face_offsets: Tensor | None, where: str) -> WindingTree:
    if isinstance(surface, WindingTree):
        return surface
    if isinstance(surface, PointCloud | PointCloudBatch):
        if surface.normals is None:
            raise ArgumentError(f"{where}: the point cloud needs normals; estimate and orient them first")
        offsets = surface.offsets if isinstance(surface, PointCloudBatch) else None
        return point_winding_tree(surface.positions, surface.normals, offsets=offsets)
    return winding_tree(surface, face_offsets=face_offsets)


def _disc_areas(positions: Tensor, offsets: Tensor) -> Tensor:
    """[N] the area of the disc that reaches to a point's k-th neighbour, over k."""
    counts = offsets.diff()
    counts = counts[counts > 0]
    if counts.numel() == 0:
        return positions.new_empty(0)
    count = min(_NEIGHBORS, int(counts.min()) - 1)
    if count < 1:
        raise ArgumentError("point_winding_tree: give `areas`: a cloud of one point does not say what it stands for")
    index = build_index(positions, offsets=offsets)
    return knn(index, index, count, exclude_self=True).squared_distance[:, -1] * (math.pi / count)
