"""Where a mesh goes through itself: smoothing it until it does not."""

from __future__ import annotations

import torch
from torch import Tensor

from .intersect import folded_pairs, self_intersections
from .mesh import Mesh
from .topology import boundary_vertices, make_topology

_ROUNDS, _ROUNDS_A_RING = 48, 4
_FALLOFF = 0.7  # of the smoothing from ring to ring
_MARGIN = 8  # rings around the touched vertices that are searched


def untangle(vertices: Tensor, faces: Tensor, *, ignored: Tensor | None = None, unfold: bool = False) -> tuple[Tensor, int]:
    """Smooth the places where a mesh goes through itself, and where that does not help more rings around them, until it does not.

    Args:
        unfold: also where faces are folded onto their neighbours (`folded_pairs`).
        ignored: [P, 2] pairs of faces that may intersect, such as those of a template whose parts are put into one another: smoothing
            would not part them and would spread over the whole.

    Returns:
        vertices, and the number of pairs of faces that still do (0 unless sheets lie through each other as a whole).
    """
    topology = make_topology(faces, vertices.shape[0])
    i, j = topology.edges.T
    degree = topology.neighbor_offsets.diff().clamp_min(1)[:, None]
    for number in range(_ROUNDS):
        pairs = tangled_pairs(vertices, faces, ignored=ignored, unfold=unfold)
        if len(pairs) == 0:
            return vertices, 0
        marked = torch.zeros(vertices.shape[0])
        marked[faces[pairs.flatten().unique()].flatten()] = 1
        marked = spread_marks(marked, topology.edges, number // _ROUNDS_A_RING)
        for _ in range(3):
            mean = torch.zeros_like(vertices).index_add(0, i, vertices[j]).index_add(0, j, vertices[i]) / degree
            vertices = torch.lerp(vertices, mean, 0.5 * marked[:, None].to(vertices.dtype))
    return vertices, len(tangled_pairs(vertices, faces, ignored=ignored, unfold=unfold))


def tangled_pairs(vertices: Tensor, faces: Tensor, *, ignored: Tensor | None = None, unfold: bool = False) -> Tensor:
    """Pairs of faces [P, 2] that intersect, or are folded onto each other (`unfold`), and share no face with an ignored pair."""
    pairs = self_intersections(Mesh(vertices=vertices, faces=faces))
    if unfold:
        pairs = torch.cat([pairs, folded_pairs(vertices, faces)])
    return pairs if ignored is None else pairs[~torch.isin(pairs, ignored).any(1)]


def untangle_near(mesh: Mesh, touched: Tensor) -> Mesh:
    """The mesh untangled around the vertices `touched` (bool [V]) only, as after an operation that changed it there."""
    topology = make_topology(mesh.faces, mesh.vertex_count)
    near = spread_marks(touched.float(), topology.edges, _MARGIN) > 0
    used, faces = mesh.faces[near[mesh.faces].all(1)].unique(return_inverse=True)
    if len(faces) == 0:
        return mesh
    vertices, _ = untangle(mesh.vertices[used], faces)
    held = boundary_vertices(make_topology(faces, len(used)))[:, None]
    return Mesh(vertices=mesh.vertices.index_copy(0, used, torch.where(held, mesh.vertices[used], vertices)), faces=mesh.faces)


def spread_marks(marked: Tensor, edges: Tensor, rings: int) -> Tensor:
    """Marks [V] in [0, 1] with rings of falling marks around them."""
    i, j = edges.T
    for _ in range(rings):
        wider = marked.clone()
        wider.scatter_reduce_(0, i, _FALLOFF * marked[j], "amax").scatter_reduce_(0, j, _FALLOFF * marked[i], "amax")
        marked = wider
    return marked
