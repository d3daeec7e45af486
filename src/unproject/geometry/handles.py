"""Small handles of a surface, as noise makes them: found, cut and capped. Large ones, which shapes have, stay.

A handle has a closed curve around it and one through it, which cross once. It is small where both are short. Cutting the surface along
either and closing both ends takes it away and nothing else. The curves come from a tree of shortest paths over the vertices and a tree over
the faces beside it: each edge in neither closes one curve, and together these are a basis of all that do not bound.
Source: Eppstein 2003 (tree and cotree), Erickson and Whittlesey 2005 (the shortest ones); cutting: Guskov and Wood 2001.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree
from torch import Tensor

from ..struct import TensorStruct
from .manifold import boundary_loops, components, corner_fans, euler_number, is_edge_manifold, vertex_components
from .mesh import Mesh
from .topology import Topology, boundary_edges, boundary_vertices, make_topology
from .untangle import spread_marks, untangle_near

_ROUNDS = 8
_DETOUR = 1.6  # limits that the curve through a handle may take, as a walk over the middles of faces, which is no straight line
_RELAXED_RINGS, _RELAXATIONS = 2, 6


@dataclass(frozen=True, kw_only=True)
class HandleCut(TensorStruct):
    """A surface without its small handles.

    Attributes:
        mesh: vertices and faces only.
        source: int64 [V] the vertex of the first surface that each comes from; for the middle of a cap one of its rim.
        cuts: how many handles went.
    """

    mesh: Mesh
    source: Tensor
    cuts: int


def cut_handles(mesh: Mesh, limit: Tensor) -> HandleCut:
    """Take small handles off an oriented manifold surface, open or closed; on any other it changes nothing.

    Args:
        limit: [V] how long the curves around and through a handle there may be, for it to be small.
    """
    source, touched = torch.arange(mesh.vertex_count), torch.zeros(mesh.vertex_count, dtype=torch.bool)
    cuts, current = 0, Mesh(vertices=mesh.vertices, faces=mesh.faces)
    for number in range(_ROUNDS):
        topology = make_topology(current.faces, current.vertex_count)
        if not _has_handles(topology):
            break
        cycles = _small_cycles(current, topology, limit[source], seed=number)
        if not cycles:
            break
        current, origin, caps = _cut_along(current, topology, cycles)
        source, touched = source[origin], touched[origin] | caps
        cuts += len(cycles)
    if cuts:
        current = untangle_near(current, touched)
    return HandleCut(mesh=current, source=source, cuts=cuts)


def _has_handles(topology: Topology) -> bool:
    if topology.face_count == 0 or not is_edge_manifold(topology):
        return False
    _, count = _rims(topology)
    parts = len(vertex_components(topology)[topology.faces[:, 0]].unique())
    return euler_number(topology) + count < 2 * parts


def _small_cycles(mesh: Mesh, topology: Topology, limit: Tensor, *, seed: int) -> list[np.ndarray]:
    """Closed paths of vertices that do not touch each other, one for each handle to cut, shortest first."""
    free = ~boundary_vertices(topology).numpy()
    dual: csr_array | None = None
    chosen = []
    for length, path in _basis_cycles(mesh, topology, seed):
        allowed = float(limit[torch.from_numpy(path)].mean())
        if length > allowed or len(path) < 3 or not free[path].all():
            continue
        dual = _face_graph(mesh, topology) if dual is None else dual
        if _detour(topology, dual, path, _DETOUR * allowed):
            chosen.append(path)
            beside = np.isin(topology.faces.numpy(), path).any(1)
            free[topology.faces.numpy()[beside]] = False
    return chosen


def _basis_cycles(mesh: Mesh, topology: Topology, seed: int) -> list[tuple[float, np.ndarray]]:
    """A basis of the closed curves that bound nothing, boundaries aside: lengths and paths, shortest first."""
    edges, count = topology.edges.numpy(), topology.vertex_count
    first, second = edges.T
    length = (mesh.vertices[topology.edges[:, 0]] - mesh.vertices[topology.edges[:, 1]]).norm(dim=1).double().numpy() + 1e-12
    distance, before = _shortest_paths(coo_array((length, (first, second)), shape=(count, count)).tocsr(), topology, seed)
    rest = np.flatnonzero((before[first] != second) & (before[second] != first))
    sides, side_count = _sides(topology)
    cost = distance[first] + distance[second] + length
    left, right = sides[rest].min(1), sides[rest].max(1)
    weights = cost[rest].max(initial=0) + 1 - cost[rest]  # the tree over the faces takes the longest ones
    tree = minimum_spanning_tree(coo_array((weights, (left, right)), shape=(side_count, side_count)).tocsr()).tocoo()
    taken = np.isin(left * side_count + right, tree.row.astype(np.int64) * side_count + tree.col)
    found = []
    for edge in rest[~taken]:
        path = _joined(_path(before, first[edge]), _path(before, second[edge]))
        ends = np.roll(path, -1)
        found.append((float((mesh.vertices[path] - mesh.vertices[ends]).norm(dim=1).sum()), path))
    return sorted(found, key=lambda item: item[0])


def _shortest_paths(graph: csr_array, topology: Topology, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each vertex from one of its component, and the vertex before it on the way (negative at the first)."""
    part = vertex_components(topology).numpy()
    mixed = np.random.default_rng(seed).permutation(len(part))
    start = np.zeros(part.max() + 1, dtype=np.int64)
    start[part[mixed]] = mixed
    distance, before, _ = dijkstra(graph, directed=False, indices=start, return_predecessors=True, min_only=True)
    return distance, before


def _path(before: np.ndarray, vertex: int) -> list[int]:
    path = [int(vertex)]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return path


def _joined(first: list[int], second: list[int]) -> np.ndarray:
    """The closed path of two ways to the same vertex, without what they share."""
    place = {vertex: index for index, vertex in enumerate(first)}
    meeting = next(index for index, vertex in enumerate(second) if vertex in place)
    return np.array(first[: place[second[meeting]] + 1] + second[:meeting][::-1], dtype=np.int64)


def _rims(topology: Topology) -> tuple[Tensor, int]:
    """Which boundary each boundary edge belongs to, and how many there are."""
    rim = topology.edges[boundary_edges(topology)]
    if len(rim) == 0:
        return rim.new_zeros(0), 0
    label = components(rim[:, 0], rim[:, 1], topology.vertex_count)[rim[:, 0]].unique(return_inverse=True)[1]
    return label, int(label.max()) + 1


def _sides(topology: Topology) -> tuple[np.ndarray, int]:
    """[E, 2] the faces of each edge, and how many there are: beyond a boundary is a face of its own for each."""
    starts, ends = topology.edge_halfedge_offsets[:-1], topology.edge_halfedge_offsets[1:] - 1
    sides = torch.stack([topology.edge_halfedges[starts], topology.edge_halfedges[ends]], dim=1) // 3
    label, count = _rims(topology)
    sides[boundary_edges(topology), 1] = topology.face_count + label
    return sides.numpy(), topology.face_count + count


def _face_graph(mesh: Mesh, topology: Topology) -> csr_array:
    """Distances of neighbouring faces, middle to middle."""
    first, second = (topology.pairs // 3).T
    middle = mesh.vertices[mesh.faces].mean(1)
    step = (middle[first] - middle[second]).norm(dim=1).double().numpy() + 1e-12
    ends = np.r_[first, second], np.r_[second, first]
    graph = coo_array((np.r_[step, step], ends), shape=(topology.face_count, topology.face_count)).tocsr()
    graph.sort_indices()
    return graph


def _detour(topology: Topology, graph: csr_array, path: np.ndarray, limit: float) -> bool:
    """Whether a walk over faces no longer than `limit` leads from one side of a closed path to the other without crossing it."""
    left, right = _beside(topology, path)
    places = [_entry(graph, a, b) for a, b in zip(np.r_[left, right], np.r_[right, left], strict=True)]
    kept = graph.data[places].copy()
    graph.data[places] = np.inf
    distance = dijkstra(graph, indices=np.unique(left), min_only=True, limit=limit)
    graph.data[places] = kept
    return bool(np.isfinite(distance[right]).any())


def _entry(graph: csr_array, row: int, column: int) -> int:
    begin, end = graph.indptr[row], graph.indptr[row + 1]
    return int(begin + np.flatnonzero(graph.indices[begin:end] == column)[0])


def _edges_of(topology: Topology, path: np.ndarray) -> Tensor:
    """The edge of each step of a closed path."""
    ends = torch.from_numpy(np.stack([path, np.roll(path, -1)], 1)).sort(dim=1).values
    keys = topology.edges[:, 0] * topology.vertex_count + topology.edges[:, 1]
    return torch.searchsorted(keys, ends[:, 0] * topology.vertex_count + ends[:, 1])


def _beside(topology: Topology, path: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The faces left and right of each step of a closed path away from boundaries."""
    halfedges = topology.edge_halfedges[topology.edge_halfedge_offsets[:-1][_edges_of(topology, path)][:, None] + torch.arange(2)]
    ahead = topology.faces.reshape(-1)[halfedges[:, 0]] == torch.from_numpy(path)
    left = torch.where(ahead, halfedges[:, 0], halfedges[:, 1]) // 3
    right = torch.where(ahead, halfedges[:, 1], halfedges[:, 0]) // 3
    return left.numpy(), right.numpy()


def _cut_along(mesh: Mesh, topology: Topology, cycles: list[np.ndarray]) -> tuple[Mesh, Tensor, Tensor]:
    """The surface cut along closed paths, both ends of each closed by a fan and smoothed; the vertex each comes from; bool [V] the caps."""
    cut = torch.zeros(topology.edge_count, dtype=torch.bool)
    on_path = torch.zeros(topology.vertex_count, dtype=torch.bool)
    for path in cycles:
        cut[_edges_of(topology, path)] = True
        on_path[path] = True
    whole = ~cut[topology.face_edges.reshape(-1)[topology.pairs[:, 0]]]
    corners, count = corner_fans(replace(topology, pairs=topology.pairs[whole]))  # a vertex on a path has two fans now
    source = torch.empty(count, dtype=torch.int64)
    source[corners] = mesh.faces.reshape(-1)
    faces = corners.reshape(-1, 3)
    rims = [rim for rim in boundary_loops(make_topology(faces, count)) if bool(on_path[source[rim]].all())]
    vertices, caps = mesh.vertices[source], []
    for number, rim in enumerate(rims):
        caps.append(torch.stack([rim.roll(-1), rim, torch.full_like(rim, count + number)], dim=1))
    middles = torch.stack([vertices[rim].mean(0) for rim in rims])
    source = torch.cat([source, torch.stack([source[rim[0]] for rim in rims])])
    touched = torch.zeros(len(source), dtype=torch.bool)
    touched[torch.cat(caps).reshape(-1)] = True
    capped = Mesh(vertices=torch.cat([vertices, middles]), faces=torch.cat([faces, *caps]))
    return _relaxed(capped, touched), source, touched


def _relaxed(mesh: Mesh, touched: Tensor) -> Mesh:
    """Smooth around some vertices, so that the two ends of a cut draw apart."""
    topology = make_topology(mesh.faces, mesh.vertex_count)
    i, j = topology.edges.T
    strength = 0.5 * spread_marks(touched.float(), topology.edges, _RELAXED_RINGS) * ~boundary_vertices(topology)
    degree = topology.neighbor_offsets.diff().clamp_min(1)[:, None]
    vertices = mesh.vertices
    for _ in range(_RELAXATIONS):
        mean = torch.zeros_like(vertices).index_add(0, i, vertices[j]).index_add(0, j, vertices[i]) / degree
        vertices = torch.lerp(vertices, mean, strength[:, None].to(vertices.dtype))
    return Mesh(vertices=vertices, faces=mesh.faces)
