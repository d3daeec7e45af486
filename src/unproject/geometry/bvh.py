"""Bvh: a tree of boxes over triangles or points, built once and passed to the queries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from ..errors import ArgumentError, ArgumentTypeError, check_indices, check_shape, describe
from ..ops.bvh import build_face_bvh, refit_face_bvh
from ..struct import TensorStruct


@dataclass(frozen=True, kw_only=True)
class Bvh(TensorStruct):
    """A bounding volume hierarchy over the faces of one mesh or of a ragged batch of meshes.

    Build it with `build_bvh`, follow moving vertices with `refit`, pass it to queries. The layout is the kernels' own and may change.

    Attributes:
        faces: [F, 3] vertex indices that the tree was built for.
        face_offsets: [B + 1] where each mesh's faces begin; each mesh has its own tree.
        vertex_count: of the vertices that `faces` points to.
        boxes: [M, 6, 8] least and greatest coordinates of each node's eight children.
        children: int32 [M, 8] nodes, or -2 - block.
        blocks: [K, 9, 8] corner coordinates of the up to eight faces of each leaf.
        block_items: int32 [K, 8] these faces.
        roots: int32 [B] a node of each mesh, -1 for one without faces.
        depth: of the deepest tree.
    """

    faces: Tensor
    face_offsets: Tensor
    vertex_count: int
    boxes: Tensor
    children: Tensor
    blocks: Tensor
    block_items: Tensor
    roots: Tensor
    depth: int

    @property
    def face_count(self) -> int:
        return self.faces.shape[0]

    def __getitem__(self, index: Any) -> NoReturn:
        raise ArgumentTypeError("Bvh: a tree has no rows to index; build one over the faces that you want")


def build_bvh(vertices: Tensor, faces: Tensor, *, face_offsets: Tensor | None = None) -> Bvh:
    """Build the tree of a mesh, or of each mesh of a packed batch.

    Args:
        vertices: [V, 3] finite positions.
        faces: [F, 3] vertex indices (into all of `vertices`, also in a batch).
        face_offsets: [B + 1] where each mesh's faces begin, from 0 to F; None for one mesh.

    Raises:
        ArgumentError: shapes, an index out of range, NaN or infinite vertices, offsets that do not cover the faces.
    """
    check_shape(vertices, ["V", 3], name="vertices", where="build_bvh", finite=True)
    check_shape(faces, ["F", 3], name="faces", where="build_bvh", integer=True)
    check_indices(faces, vertices.shape[0], name="faces", where="build_bvh")
    offsets = check_offsets(face_offsets, faces.shape[0], name="face_offsets", where="build_bvh", device=faces.device)
    triangles = faces.to(torch.int64).contiguous()
    if vertices.device.type == "cpu":
        boxes, children, blocks, block_items, roots, depth = build_face_bvh(vertices.detach().contiguous(), triangles, offsets)
    else:  # queries elsewhere go by brute force and need no tree
        boxes, children, blocks, block_items, roots, depth = (vertices.new_empty(0) for _ in range(6))
    return Bvh(
        faces=triangles,
        face_offsets=offsets,
        vertex_count=vertices.shape[0],
        boxes=boxes,
        children=children,
        blocks=blocks,
        block_items=block_items,
        roots=roots,
        depth=int(depth) if depth.numel() else 0,
    )


def refit(bvh: Bvh, vertices: Tensor) -> Bvh:
    """The same tree around moved vertices: for small motions, far cheaper than a new one, and as exact.

    The result is right for any motion, but queries slow down when neighbouring faces drift apart; then build anew.

    Args:
        vertices: [V, 3] finite positions, in the order of those that the tree was built for.

    Raises:
        ArgumentError: another vertex count, NaN or infinity.
    """
    check_shape(vertices, [bvh.vertex_count, 3], name="vertices", where="refit", finite=True)
    if bvh.roots.numel() == 0:
        return bvh
    boxes, blocks = refit_face_bvh(vertices.detach().contiguous(), bvh.faces, bvh.children, bvh.block_items)
    return replace(bvh, boxes=boxes, blocks=blocks)


def check_offsets(offsets: Tensor | None, count: int, *, name: str, where: str, device: torch.device) -> Tensor:
    """Offsets of a packed batch, checked: [B + 1] ascending integers from 0 to `count`. None is one item of everything."""
    if offsets is None:
        return torch.tensor([0, count], dtype=torch.int64, device=device)
    check_shape(offsets, ["B + 1"], name=name, where=where, integer=True)
    ends = offsets.shape[0] > 0 and int(offsets[0]) == 0 and int(offsets[-1]) == count
    if not ends or bool((offsets[1:] < offsets[:-1]).any()):
        raise ArgumentError(f"{where}: `{name}` must ascend from 0 to {count}, got {describe(offsets)} {offsets.tolist()[:8]}")
    return offsets.to(dtype=torch.int64, device=device)
