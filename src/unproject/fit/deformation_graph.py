"""Embedded deformation: a few nodes with an affine motion each carry all points near them along (Sumner, Schmid and Pauly 2007)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..geometry.mesh import Mesh
from ..geometry.neighbors import farthest_points
from ..geometry.topology import Topology, mesh_topology
from ..struct import TensorStruct


@dataclass(frozen=True, kw_only=True)
class DeformationGraph(TensorStruct):
    """Nodes on a surface, who is next to whom, and how much each vertex follows which.

    Attributes:
        nodes: [N, 3] rest positions.
        edges: [E, 2] pairs of nodes that move a vertex together, the lower one first.
        vertex_nodes: [V, K] nodes that move each vertex.
        vertex_weights: [V, K] by how much; they add up to 1.
    """

    nodes: Tensor
    edges: Tensor
    vertex_nodes: Tensor
    vertex_weights: Tensor

    @property
    def node_count(self) -> int:
        return self.nodes.shape[0]


def build_graph(mesh: Mesh, node_count: int = 150, *, neighbors: int = 4, topology: Topology | None = None) -> DeformationGraph:
    """Spread nodes evenly over a mesh and bind its vertices to the nearest ones, measured along edges: a hand at the hip stays free of it.

    Args:
        mesh: the rest shape.
        node_count: nodes, by farthest-point sampling of the vertices; at most one a vertex.
        neighbors: nodes that move a vertex.
        topology: of the mesh, if it is at hand.

    Raises:
        ArgumentError: no faces, fewer than 1 node or neighbour.

    Source: Sumner, Schmid and Pauly 2007, section 3, with weights (1 - d / d_max)^2.
    """
    where = "build_graph"
    check_shape(mesh.vertices, ["V", 3], name="vertices", where=where, finite=True)
    if mesh.face_count == 0:
        raise ArgumentError(f"{where}: the mesh has no faces")
    if node_count < 1 or neighbors < 1:
        raise ArgumentError(f"{where}: need at least 1 node and 1 neighbour, got {node_count} and {neighbors}")
    topology = mesh_topology(mesh) if topology is None else topology
    positions = mesh.vertices.detach().double()
    used = topology.faces.unique()
    chosen = used[farthest_points(mesh.vertices.detach()[used].contiguous(), min(node_count, len(used)))]
    nearest, distance = _nearest_nodes(positions, topology, chosen, min(neighbors + 1, len(chosen)))
    kept = min(neighbors, len(chosen))
    if distance.shape[1] > kept:
        limit = distance[:, -1:].clamp_min(1e-30)
        weights = (1 - distance[:, :kept] / limit).clamp_min(0).square()
    else:
        weights = 1 / (distance + 1e-6 * float(distance.max()) + 1e-30)
    total = weights.sum(1, keepdim=True)
    weights = torch.where(total > 1e-12, weights / total.clamp_min(1e-12), 1 / kept)
    nearest = nearest[:, :kept]
    return DeformationGraph(
        nodes=mesh.vertices.detach()[chosen], edges=_graph_edges(nearest, weights), vertex_nodes=nearest,
        vertex_weights=weights.to(mesh.vertices),
    )  # fmt: skip


def deform_with_graph(
    graph: DeformationGraph, points: Float[Tensor, "V 3"], matrices: Float[Tensor, "N 3 3"], shifts: Float[Tensor, "N 3"]
) -> Float[Tensor, "V 3"]:
    """The points that the graph was bound to, moved: sum over their nodes k of w_k (A_k (p - g_k) + g_k + t_k).

    Raises:
        ArgumentError: shapes.

    Gradient: points, matrices and shifts.
    """
    where = "deform_with_graph"
    check_shape(points, [graph.vertex_nodes.shape[0], 3], name="points", where=where)
    check_shape(matrices, [graph.node_count, 3, 3], name="matrices", where=where)
    check_shape(shifts, [graph.node_count, 3], name="shifts", where=where)
    node, nodes = graph.vertex_nodes, graph.nodes.to(points)
    arm = points[:, None] - nodes[node]
    moved = (matrices[node] @ arm[..., None])[..., 0] + (nodes + shifts)[node]
    return (graph.vertex_weights.to(points)[..., None] * moved).sum(1)


def graph_matrix(graph: DeformationGraph, points: Tensor) -> csr_matrix:
    """D [V, 4 N] of float64: each coordinate of the moved points is D times that coordinate's rows of all nodes (a_1, a_2, a_3, g + t)."""
    node = graph.vertex_nodes.numpy()
    arm = (points[:, None] - graph.nodes[graph.vertex_nodes]).double()
    entries = torch.cat([arm, torch.ones_like(arm[..., :1])], 2) * graph.vertex_weights.double()[..., None]
    rows = np.repeat(np.arange(len(node)), node.shape[1] * 4)
    columns = (4 * node[:, :, None] + np.arange(4)).ravel()
    return csr_matrix((entries.numpy().ravel(), (rows, columns)), shape=(len(node), 4 * graph.node_count))


def edge_matrix(graph: DeformationGraph) -> csr_matrix:
    """R [2 E, 4 N] for each coordinate: where node j would put node k, less where k is, both ways along every edge (eq. 5 of the paper)."""
    j, k = torch.cat([graph.edges, graph.edges.flip(1)]).T
    nodes = graph.nodes.double()
    one = torch.ones(len(j), 1, dtype=torch.float64)
    arm = torch.cat([nodes[k] - nodes[j], one, -one], 1)
    columns = torch.cat([4 * j[:, None] + torch.arange(4), 4 * k[:, None] + 3], 1)
    rows = np.repeat(np.arange(len(j)), 5)
    return csr_matrix((arm.numpy().ravel(), (rows, columns.numpy().ravel())), shape=(len(j), 4 * graph.node_count))


def _nearest_nodes(positions: Tensor, topology: Topology, chosen: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` nearest nodes of each vertex and their distances [V, count] along edges; parts without nodes: in space."""
    i, j = topology.edges.numpy().T
    length = (positions[topology.edges[:, 0]] - positions[topology.edges[:, 1]]).norm(dim=1).clamp_min(1e-30).numpy()
    graph = coo_matrix((length, (i, j)), shape=(len(positions),) * 2).tocsr()
    along = torch.from_numpy(dijkstra(graph, directed=False, indices=chosen.numpy())).T
    straight = torch.cdist(positions, positions[chosen])
    far = 10 * float((positions.amax(0) - positions.amin(0)).norm())
    distance, index = torch.where(along.isinf(), far + straight, along).topk(count, 1, largest=False)
    # Where a nearer part has fewer nodes than asked for, those of other parts do not count.
    foreign = distance >= far
    distance = torch.where(foreign & ~foreign[:, :1], distance[:, -1:], distance)
    return index, distance


def _graph_edges(nearest: Tensor, weights: Tensor) -> Tensor:
    pairs = []
    for a in range(nearest.shape[1]):
        for b in range(a):
            both = (weights[:, a] > 0) & (weights[:, b] > 0)
            pairs.append(torch.stack([nearest[both, a], nearest[both, b]], 1))
    if not pairs:
        return torch.empty(0, 2, dtype=torch.int64)
    joined = torch.cat(pairs).sort(1).values
    return joined[joined[:, 0] != joined[:, 1]].unique(dim=0)
