"""Where a mesh intersects itself."""

from __future__ import annotations

from torch import Tensor

from ..ops.intersect import self_intersecting_pairs
from ..reference import intersect as reference
from .bvh import Bvh
from .query import MeshLike, mesh_and_tree


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
