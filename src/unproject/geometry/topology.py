"""Topology: who touches whom in a triangle mesh, computed once and passed to whatever loops over it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ArgumentError, ArgumentTypeError, check_indices, check_shape
from ..struct import TensorStruct
from .batch import MeshBatch
from .mesh import Mesh
from .ragged import check_offsets

MAX_PAIR_RANK = 64  # an edge of k faces pairs each with at most this many earlier ones: k^2 pairs of a broken file never fill the memory


@dataclass(frozen=True, kw_only=True)
class Topology(TensorStruct):
    """Edges, adjacency and their batch offsets. A half-edge h = 3 f + i runs from corner i to corner i + 1 of face f.

    Edges whose two ends are one vertex (of a face that names a vertex twice) are left out.

    Attributes:
        faces: [F, 3] vertex indices (global in a batch).
        edges: [E, 2] the lower vertex first, in ascending order.
        face_edges: [F, 3] edge of each half-edge, -1 where it has none.
        edge_halfedge_offsets: [E + 1] into `edge_halfedges`.
        edge_halfedges: [H] half-edges of each edge, ascending; their faces are `edge_halfedges // 3`.
        pairs: [P, 2] half-edges that meet at an edge: one pair for an interior edge of a manifold, k (k - 1) / 2 where k faces meet.
        neighbor_offsets: [V + 1] into `neighbors` and `neighbor_edges`.
        neighbors: [2 E] vertices that an edge joins to each vertex, ascending.
        neighbor_edges: [2 E] the edge to that neighbour.
        corner_offsets: [V + 1] into `corners`.
        corners: [3 F] corners (3 f + i) at each vertex, ascending.
        vertex_offsets, face_offsets, edge_offsets, pair_offsets: [B + 1] where each mesh of a batch begins; [0, n] for one mesh.
    """

    faces: Tensor
    edges: Tensor
    face_edges: Tensor
    edge_halfedge_offsets: Tensor
    edge_halfedges: Tensor
    pairs: Tensor
    neighbor_offsets: Tensor
    neighbors: Tensor
    neighbor_edges: Tensor
    corner_offsets: Tensor
    corners: Tensor
    vertex_offsets: Tensor
    face_offsets: Tensor
    edge_offsets: Tensor
    pair_offsets: Tensor

    @property
    def vertex_count(self) -> int:
        return self.corner_offsets.shape[0] - 1

    @property
    def face_count(self) -> int:
        return self.faces.shape[0]

    @property
    def edge_count(self) -> int:
        return self.edges.shape[0]

    @property
    def batch_size(self) -> int:
        return self.vertex_offsets.shape[0] - 1

    def __getitem__(self, index: object) -> Topology:
        raise ArgumentTypeError("a Topology is ragged and is not indexed; build one from the part of the mesh")


def mesh_topology(mesh: Mesh | MeshBatch) -> Topology:
    """The topology of a mesh or of a batch of meshes."""
    if isinstance(mesh, MeshBatch):
        offsets = {"vertex_offsets": mesh.vertex_offsets, "face_offsets": mesh.face_offsets}
        return make_topology(mesh.faces, mesh.vertex_count, **offsets)
    return make_topology(mesh.faces, mesh.vertex_count)


def make_topology(
    faces: Tensor, vertex_count: int, *, vertex_offsets: Tensor | None = None, face_offsets: Tensor | None = None
) -> Topology:
    """Edges and adjacency of a triangle mesh or of a packed batch of them, in O(F log F).

    Args:
        faces: [F, 3] vertex indices below `vertex_count`.
        vertex_count: vertices of all meshes together.
        vertex_offsets: [B + 1] where each mesh's vertices begin; one mesh without.
        face_offsets: [B + 1] where each mesh's faces begin; a mesh's faces name only its own vertices.

    Raises:
        ArgumentError: shapes, indices out of range, or offsets that do not fit.
    """
    where = "make_topology"
    check_shape(faces, ["F", 3], name="faces", where=where, integer=True)
    check_indices(faces, vertex_count, name="faces", where=where)
    faces = faces.to(torch.int64)
    if (vertex_offsets is None) != (face_offsets is None):
        raise ArgumentError(f"{where}: give both `vertex_offsets` and `face_offsets`, or neither")
    if vertex_offsets is None or face_offsets is None:
        vertex_offsets, face_offsets = faces.new_tensor([0, vertex_count]), faces.new_tensor([0, faces.shape[0]])
    check_offsets(vertex_offsets, vertex_count, name="vertex_offsets", where=where)
    check_offsets(face_offsets, faces.shape[0], name="face_offsets", where=where)
    edges, face_edges, halfedge_offsets, halfedges = _edges(faces, vertex_count)
    pairs = _pairs(halfedge_offsets, halfedges)
    neighbor_offsets, neighbors, neighbor_edges = _neighbors(edges, vertex_count)
    corner_order = torch.sort(faces.reshape(-1), stable=True).indices
    edge_offsets = _first_at_least(edges[:, 0], vertex_offsets)
    pair_offsets = _first_at_least(face_edges.view(-1)[pairs[:, 0]], edge_offsets)
    return Topology(
        faces=faces,
        edges=edges,
        face_edges=face_edges,
        edge_halfedge_offsets=halfedge_offsets,
        edge_halfedges=halfedges,
        pairs=pairs,
        neighbor_offsets=neighbor_offsets,
        neighbors=neighbors,
        neighbor_edges=neighbor_edges,
        corner_offsets=_offsets(faces.reshape(-1), vertex_count),
        corners=corner_order,
        vertex_offsets=vertex_offsets,
        face_offsets=face_offsets,
        edge_offsets=edge_offsets,
        pair_offsets=pair_offsets,
    )


def unique_edges(faces: Tensor, vertex_count: int) -> Tensor:
    """The edges of a triangle mesh, [E, 2]: each once, the lower vertex first, in ascending order."""
    check_shape(faces, ["F", 3], name="faces", where="unique_edges", integer=True)
    check_indices(faces, vertex_count, name="faces", where="unique_edges")
    return _edges(faces.to(torch.int64), vertex_count)[0]


def edge_faces(topology: Topology) -> tuple[Tensor, Tensor]:
    """The faces of each edge: (faces [H], offsets [E + 1])."""
    return topology.edge_halfedges // 3, topology.edge_halfedge_offsets


def face_pairs(topology: Topology) -> Tensor:
    """Pairs of faces that share an edge, [P, 2]."""
    return topology.pairs // 3


def vertex_faces(topology: Topology) -> tuple[Tensor, Tensor]:
    """The faces of each vertex: (faces [3 F], offsets [V + 1])."""
    return topology.corners // 3, topology.corner_offsets


def edge_face_counts(topology: Topology) -> Tensor:
    """How many faces (half-edges) each edge has, [E]: 1 at a boundary, 2 inside a manifold."""
    return topology.edge_halfedge_offsets.diff()


def boundary_edges(topology: Topology) -> Tensor:
    """Indices of the edges that only one face has."""
    return (edge_face_counts(topology) == 1).nonzero()[:, 0]


def boundary_vertices(topology: Topology) -> Tensor:
    """[V] whether a vertex lies on a boundary edge."""
    mask = torch.zeros(topology.vertex_count, dtype=torch.bool, device=topology.faces.device)
    mask[topology.edges[boundary_edges(topology)].reshape(-1)] = True
    return mask


def halfedge_origins(faces: Tensor) -> tuple[Tensor, Tensor]:
    """Start and end vertex of every half-edge, [3 F] each."""
    return faces.reshape(-1), faces.roll(-1, dims=1).reshape(-1)


def halfedge_twins(topology: Topology) -> Tensor:
    """[3 F] the half-edge on the other side, -1 at boundaries and at edges that are not manifold or not wound consistently."""
    twins = torch.full((3 * topology.face_count,), -1, dtype=torch.int64, device=topology.faces.device)
    starts = topology.edge_halfedge_offsets[:-1][edge_face_counts(topology) == 2]
    first, second = topology.edge_halfedges[starts], topology.edge_halfedges[starts + 1]
    origins = topology.faces.reshape(-1)
    opposite = origins[first] != origins[second]
    first, second = first[opposite], second[opposite]
    twins[first], twins[second] = second, first
    return twins


def pair_signs(topology: Topology) -> Tensor:
    """[P] +1 where the two faces of a pair are wound alike (they run along their edge in opposite directions), else -1."""
    origins = topology.faces.reshape(-1)[topology.pairs]
    return torch.where(origins[:, 0] == origins[:, 1], -1, 1)


def _edges(faces: Tensor, vertex_count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    ahead = faces.roll(-1, dims=1)
    low, high = torch.minimum(faces, ahead).reshape(-1), torch.maximum(faces, ahead).reshape(-1)
    keys, order = torch.sort(low * vertex_count + high, stable=True)
    collapsed = low == high
    if bool(collapsed.any()):
        kept = ~collapsed[order]
        keys, order = keys[kept], order[kept]
    first = torch.ones_like(keys, dtype=torch.bool)
    torch.ne(keys[1:], keys[:-1], out=first[1:])
    starts = first.nonzero()[:, 0]
    keys_of_edges = keys[starts]
    edges = torch.stack([keys_of_edges // max(vertex_count, 1), keys_of_edges % max(vertex_count, 1)], dim=1)
    face_edges = torch.full_like(low, -1)
    face_edges[order] = first.cumsum(0) - 1
    offsets = torch.cat([starts, starts.new_tensor([keys.shape[0]])])
    return edges, face_edges.view(-1, 3), offsets, order


def _pairs(offsets: Tensor, halfedges: Tensor) -> Tensor:
    """Every half-edge with each earlier one of its edge."""
    counts = offsets.diff()
    if counts.numel() == 0 or int(counts.max()) <= 2:
        starts = offsets[:-1][counts == 2]
        return torch.stack([halfedges[starts], halfedges[starts + 1]], dim=1)
    rank = torch.arange(halfedges.shape[0], device=halfedges.device) - offsets[:-1].repeat_interleave(counts)
    earlier = rank.clamp(max=MAX_PAIR_RANK)
    second = torch.arange(halfedges.shape[0], device=halfedges.device).repeat_interleave(earlier)
    within = torch.arange(second.shape[0], device=halfedges.device) - (earlier.cumsum(0) - earlier).repeat_interleave(earlier)
    first = second - 1 - within
    return torch.stack([halfedges[first], halfedges[second]], dim=1)


def _neighbors(edges: Tensor, vertex_count: int) -> tuple[Tensor, Tensor, Tensor]:
    start = torch.cat([edges[:, 1], edges[:, 0]])  # edges ascend, so a stable sort leaves lower neighbours before higher ones
    end = torch.cat([edges[:, 0], edges[:, 1]])
    order = torch.sort(start, stable=True).indices
    return _offsets(start, vertex_count), end[order], order % max(edges.shape[0], 1)


def _offsets(values: Tensor, count: int) -> Tensor:
    """[count + 1] where each value begins among the sorted values."""
    return torch.cat([values.new_zeros(1), torch.bincount(values, minlength=count).cumsum(0)])


def _first_at_least(ascending: Tensor, bounds: Tensor) -> Tensor:
    return torch.searchsorted(ascending.contiguous(), bounds.contiguous())
