"""What kind of surface a mesh is: components, boundary loops, Euler number, genus; manifold, consistently wound, watertight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from .topology import Topology, boundary_edges, edge_face_counts, halfedge_twins, pair_signs


@dataclass(frozen=True, kw_only=True)
class SurfaceKind:
    """What `classify_surface` found.

    Attributes:
        vertex_count, edge_count, face_count: vertices count where a face names them.
        component_count: parts that no edge joins.
        boundary_edge_count: edges of one face.
        boundary_loop_count: closed boundary curves that keep one winding.
        euler_number: vertices - edges + faces.
        genus: handles of all components together; None where the surface is not an oriented manifold.
        edge_manifold: no edge has more than two faces.
        vertex_manifold: the faces of every vertex form one fan.
        consistently_wound: every two faces of an edge run along it in opposite directions.
        watertight: closed: every edge has exactly two faces, consistently wound, and there is a face at all.
    """

    vertex_count: int
    edge_count: int
    face_count: int
    component_count: int
    boundary_edge_count: int
    boundary_loop_count: int
    euler_number: int
    genus: int | None
    edge_manifold: bool
    vertex_manifold: bool
    consistently_wound: bool
    watertight: bool


def classify_surface(topology: Topology) -> SurfaceKind:
    """Everything that this module tells of a surface, in one value."""
    return SurfaceKind(
        vertex_count=int((topology.corner_offsets.diff() > 0).sum()),
        edge_count=topology.edge_count,
        face_count=topology.face_count,
        component_count=component_count(topology),
        boundary_edge_count=len(boundary_edges(topology)),
        boundary_loop_count=len(boundary_loops(topology)),
        euler_number=euler_number(topology),
        genus=genus(topology),
        edge_manifold=is_edge_manifold(topology),
        vertex_manifold=is_vertex_manifold(topology),
        consistently_wound=is_consistently_wound(topology),
        watertight=is_watertight(topology),
    )


def is_edge_manifold(topology: Topology) -> bool:
    """Whether no edge has more than two faces, and no face names a vertex twice."""
    counts = edge_face_counts(topology)
    return not bool((counts > 2).any()) and not bool((topology.face_edges < 0).any())


def is_vertex_manifold(topology: Topology) -> bool:
    """Whether the faces around every vertex form one fan, open or closed, joined across edges."""
    _, count = corner_fans(topology)
    return count == int((topology.corner_offsets.diff() > 0).sum())


def is_consistently_wound(topology: Topology) -> bool:
    """Whether all faces that share an edge run along it in opposite directions."""
    return bool((pair_signs(topology) > 0).all())


def is_watertight(topology: Topology) -> bool:
    """Whether the surface is closed and has an inside: every edge has exactly two faces, in opposite directions."""
    if topology.face_count == 0 or bool((topology.face_edges < 0).any()):
        return False
    return bool((edge_face_counts(topology) == 2).all()) and is_consistently_wound(topology)


def euler_number(topology: Topology) -> int:
    """Vertices - edges + faces, over the vertices that faces name."""
    return int((topology.corner_offsets.diff() > 0).sum()) - topology.edge_count + topology.face_count


def genus(topology: Topology) -> int | None:
    """Handles of an oriented manifold surface with or without boundary, all components together: 0 for spheres, 1 for a torus.

    None where the surface is not manifold or not consistently wound: the genus is not defined by counting then.
    """
    if not (is_edge_manifold(topology) and is_consistently_wound(topology) and is_vertex_manifold(topology)):
        return None
    return (2 * component_count(topology) - euler_number(topology) - len(boundary_loops(topology))) // 2


def face_components(topology: Topology) -> Tensor:
    """[F] number of the component each face belongs to; faces that share an edge share a component. Numbered by first face."""
    pairs = topology.pairs // 3
    # an edge of very many faces lists each with its nearest ones only; they still form one chain
    return components(pairs[:, 0], pairs[:, 1], topology.face_count)


def vertex_components(topology: Topology) -> Tensor:
    """[V] number of the component each vertex belongs to; edges join. A vertex without faces is a component of its own."""
    return components(topology.edges[:, 0], topology.edges[:, 1], topology.vertex_count)


def component_count(topology: Topology) -> int:
    """How many parts the surface has that no shared edge joins."""
    labels = face_components(topology)
    return int(labels.max()) + 1 if labels.numel() else 0


def corner_fans(topology: Topology) -> tuple[Tensor, int]:
    """[3 F] number of the fan each corner (3 f + i) belongs to, and how many there are: corners of a vertex joined across edges.

    A vertex whose corners lie in several fans is where surfaces touch in a point.
    """
    faces, pairs = topology.faces, topology.pairs
    flat = faces.reshape(-1)
    ends = torch.where(pairs % 3 == 2, pairs - 2, pairs + 1)  # the half-edge's end is its face's next corner
    same = (flat[pairs[:, 0]] == flat[pairs[:, 1]])[:, None]  # both run the same way (wound against each other): start meets start
    second_of_start = torch.where(same[:, 0], pairs[:, 1], ends[:, 1])
    second_of_end = torch.where(same[:, 0], ends[:, 1], pairs[:, 1])
    labels = components(torch.cat([pairs[:, 0], ends[:, 0]]), torch.cat([second_of_start, second_of_end]), flat.shape[0])
    return labels, int(labels.max()) + 1 if labels.numel() else 0


def boundary_loops(topology: Topology) -> list[Tensor]:
    """The closed boundary curves, each a sequence of vertices in the direction of the faces beside it, longest first.

    Where two boundaries touch in a vertex, each loop keeps to its own fan of faces. Curves that run into a place which is not
    manifold or changes its winding do not close and are left out.
    """
    halfedges = topology.edge_halfedges[topology.edge_halfedge_offsets[:-1][boundary_edges(topology)]].sort().values
    if halfedges.numel() == 0:
        return []
    successor = _next_boundary_halfedge(topology, halfedges)
    position = torch.full((3 * topology.face_count,), -1, dtype=torch.int64, device=halfedges.device)
    position[halfedges] = torch.arange(halfedges.shape[0], device=halfedges.device)
    after = np.where(successor.cpu().numpy() >= 0, position[successor.clamp(min=0)].cpu().numpy(), -1).tolist()
    origins = topology.faces.reshape(-1)[halfedges]
    loops = [origins[torch.tensor(cycle, device=origins.device)] for cycle in _cycles(after)]
    return sorted(loops, key=len, reverse=True)


def _next_boundary_halfedge(topology: Topology, halfedges: Tensor) -> Tensor:
    """The half-edge that continues each boundary half-edge, found by turning around its end vertex; -1 where none is reached."""
    twins = halfedge_twins(topology)
    is_boundary = torch.zeros_like(twins, dtype=torch.bool)
    is_boundary[halfedges] = True
    current = _next_in_face(halfedges)
    for _ in range(int(topology.corner_offsets.diff().max())):
        across = twins[current]
        if not bool((across >= 0).any()):
            break
        current = torch.where(across >= 0, _next_in_face(across), current)
    return torch.where(is_boundary[current], current, -1)


def _next_in_face(halfedges: Tensor) -> Tensor:
    return torch.where(halfedges % 3 == 2, halfedges - 2, halfedges + 1)


def _cycles(after: list[int]) -> list[list[int]]:
    """The closed cycles of a successor list; chains that end are dropped."""
    cycles, seen = [], [False] * len(after)
    for start in range(len(after)):
        chain, current = [], start
        while current >= 0 and not seen[current]:
            seen[current] = True
            chain.append(current)
            current = after[current]
        if chain and current == start:
            cycles.append(chain)
    return cycles


def components(first: Tensor, second: Tensor, count: int) -> Tensor:
    """Connected components of a graph of `count` nodes, numbered by their lowest node."""
    if count == 0:
        return first.new_zeros(0)
    rows, columns = first.cpu().numpy(), second.cpu().numpy()
    graph = scipy.sparse.coo_matrix((np.ones(rows.shape[0]), (rows, columns)), shape=(count, count)).tocsr()
    labels = connected_components(graph, directed=False)[1]
    return torch.from_numpy(labels.astype(np.int64)).to(first.device)
