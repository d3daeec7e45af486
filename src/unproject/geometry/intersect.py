"""Where a mesh intersects itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..ops.intersect import self_intersecting_pairs
from ..reference import intersect as reference
from .bvh import Bvh
from .normals import face_normals
from .query import MeshLike, mesh_and_tree
from .topology import make_topology


def self_intersections(mesh: MeshLike, *, bvh: Bvh | None = None, face_offsets: Tensor | None = None) -> Tensor:
    """Pairs of faces of one mesh that intersect: that cross, touch, overlap in a plane, or coincide.

    What neighbours have in common does not count: faces that share a corner intersect when they meet in more than that corner, faces that
    share an edge when one is folded flat onto the other. Corners are shared when their positions are equal, by whichever index, so that
    unmerged vertices do no harm. Faces without area are ignored. Decisions are exact for float32 (see kernels/orientation_sign.py).

    Args:
        mesh: a mesh, a batch, or (vertices [V, 3], faces [F, 3]); meshes of a batch do not intersect each other.
        bvh: `build_bvh` of these very vertices, to be reused; None builds one.
        face_offsets: [B + 1] of a packed (vertices, faces).

    Returns:
        [N, 2] face indices, each pair and the list ascending. No gradient.
    """
    vertices, faces, tree = mesh_and_tree(mesh, bvh, face_offsets, None, "self_intersections")
    if vertices.device.type != "cpu":
        return reference.self_intersecting_pairs(vertices.detach(), faces, tree.face_offsets)
    return self_intersecting_pairs(tree.face_offsets, tree.boxes, tree.children, tree.blocks, tree.block_items, tree.roots, tree.depth)


def folded_pairs(vertices: Tensor, faces: Tensor, *, angle_deg: float = 120.0) -> Tensor:
    """Pairs of faces that share an edge and lie nearly on each other: the flipped faces of a mesh that moved.

    Args:
        vertices: [V, 3].
        faces: [F, 3].
        angle_deg: between the normals, from which on two faces are folded.

    Returns:
        [N, 2] face indices, each pair ascending. Faces without area are in none. No gradient.
    """
    normals = face_normals(vertices, faces)
    pairs = make_topology(faces, vertices.shape[0]).pairs // 3
    cosine = (normals[pairs[:, 0]] * normals[pairs[:, 1]]).sum(1)
    return torch.sort(pairs[cosine < math.cos(math.radians(angle_deg))], dim=1).values
