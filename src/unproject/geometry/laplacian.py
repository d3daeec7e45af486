"""Laplacians of triangle meshes as sparse matrices, and the areas that belong to vertices.

Every Laplacian L here is positive: (L u)_i is the weighted sum of u_i - u_j over the neighbours j of i, so that constants give zero.
`normalized` divides each row by its sum of weights: then (L u)_i is u_i minus the weighted mean of its neighbours.
A vertex without neighbours has an empty row (a zero diagonal). Batches give one block a mesh.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape
from .topology import Topology

_SMALLEST_SINE = 1e-5  # cotangents are bounded by about 1e5: more is rounding error of a needle and only spoils solves


def uniform_laplacian(topology: Topology, *, normalized: bool = False, dtype: torch.dtype = torch.float32) -> Tensor:
    """The graph Laplacian, degree - adjacency: sparse [V, V], coalesced COO, symmetric unless normalized."""
    weights = torch.ones(topology.neighbors.shape[0], dtype=dtype, device=topology.faces.device)
    return laplacian_of_weights(topology, weights, normalized=normalized)


def cotangent_laplacian(vertices: Tensor, topology: Topology, *, normalized: bool = False) -> Tensor:
    """The cotangent Laplacian (stiffness matrix of linear elements) as sparse [V, V], coalesced COO, symmetric unless normalized.

    The weight of an edge is half the sum of the cotangents of the angles opposite to it; a boundary edge has one angle (zero
    derivative across the boundary). It is positive semidefinite also with obtuse and degenerate triangles.

    Gradient: vertices, through the weights; finite at degenerate triangles.
    Source: Pinkall and Polthier 1993, "Computing discrete minimal surfaces and their conjugates".
    """
    weights = cotangent_weights(vertices, topology)[topology.neighbor_edges]
    return laplacian_of_weights(topology, weights, normalized=normalized)


def mean_value_laplacian(vertices: Tensor, topology: Topology, *, normalized: bool = False) -> Tensor:
    """The mean-value Laplacian as sparse [V, V], coalesced COO: weights are never negative, but not symmetric.

    Gradient: vertices, through the weights. Source: Floater 2003, "Mean value coordinates".
    """
    return laplacian_of_weights(topology, mean_value_weights(vertices, topology), normalized=normalized)


def cotangent_weights(vertices: Tensor, topology: Topology) -> Tensor:
    """[E] half the sum of the cotangents opposite to each edge.

    Cotangents of needles and of triangles without area are bounded (to about 1e5) in a way that keeps the Laplacian positive.
    """
    return _sum_over_edges(topology, 0.5 * corner_cotangents(vertices, topology.faces).roll(1, dims=1))


def corner_cotangents(vertices: Tensor, faces: Tensor) -> Tensor:
    """[F, 3] cotangents of the angles at the corners of each face, bounded to about 1e5 in magnitude."""
    a, b, c = _corners(vertices, faces)
    u, v, w = b - a, c - b, a - c
    dots = -torch.stack([(u * w).sum(-1), (v * u).sum(-1), (w * v).sum(-1)], dim=-1)
    floor = _SMALLEST_SINE * (u.square() + v.square() + w.square()).sum(-1).detach()
    double_area = _root(torch.linalg.cross(u, v).square().sum(-1))
    denominator = torch.maximum(double_area, floor)
    return torch.where(denominator[:, None] > 0, dots / torch.where(denominator > 0, denominator, 1)[:, None], 0)


def mean_value_weights(vertices: Tensor, topology: Topology) -> Tensor:
    """[2 E] the mean-value weight of every neighbour in the order of `topology.neighbors`, in 1 / scene units."""
    corners = _corners(vertices, topology.faces)
    halves = []
    for i in range(3):
        u, v = corners[(i + 1) % 3] - corners[i], corners[(i + 2) % 3] - corners[i]
        reach = _root(u.square().sum(-1)) * _root(v.square().sum(-1))
        down = torch.maximum(reach + (u * v).sum(-1), _SMALLEST_SINE * reach.detach())
        halves.append(_root(torch.linalg.cross(u, v).square().sum(-1)) / torch.where(down > 0, down, 1))
    half_tangents = torch.stack(halves, dim=-1)
    position = _directed_positions(topology)
    edges, faces = topology.face_edges, topology.faces
    weights = half_tangents.new_zeros(topology.neighbors.shape[0])
    for i, edge_corner in ((0, 0), (1, 1), (2, 2), (0, 2), (1, 0), (2, 1)):  # a corner lies at the start of one edge, the end of another
        edge = edges[:, edge_corner]
        kept = edge >= 0
        edge, start = edge[kept], faces[kept, i]
        place = position[edge + topology.edge_count * (topology.edges[edge, 0] == start)]
        weights = weights.index_add(0, place, half_tangents[kept, i])
    ends = topology.edges[topology.neighbor_edges]
    length = _root((vertices.index_select(0, ends[:, 0]) - vertices.index_select(0, ends[:, 1])).square().sum(-1))
    least = _SMALLEST_SINE * length.detach().mean() if length.numel() else 1.0
    floored = length.clamp(min=least)
    return torch.where(floored > 0, weights / torch.where(floored > 0, floored, 1), 0)


def lumped_mass(vertices: Tensor, topology: Topology, *, kind: str = "barycentric") -> Tensor:
    """[V] the area that belongs to each vertex; they sum to the area of the surface.

    Args:
        vertices: [V, 3].
        topology: of the mesh.
        kind: "barycentric", a third of each face; "voronoi", the part of each face that is nearest to the vertex, and in an obtuse
            face half of it at the obtuse corner and a quarter at the others (mixed Voronoi areas).

    Gradient: vertices. Source: Meyer et al. 2003, "Discrete differential-geometry operators for triangulated 2-manifolds", fig. 4.
    """
    if kind not in ("barycentric", "voronoi"):
        raise ArgumentError(f'lumped_mass: `kind` must be "barycentric" or "voronoi", got {kind!r}')
    a, b, c = _corners(vertices, topology.faces)
    area = 0.5 * _root(torch.linalg.cross(b - a, c - a).square().sum(-1))
    if kind == "barycentric":
        shares = (area / 3)[:, None].expand(-1, 3)
    else:
        shares = _voronoi_shares((a, b, c), corner_cotangents(vertices, topology.faces), area)
    return vertices.new_zeros(topology.vertex_count).index_add(0, topology.faces.reshape(-1), shares.reshape(-1))


def _voronoi_shares(corners: tuple[Tensor, Tensor, Tensor], cotangents: Tensor, area: Tensor) -> Tensor:
    squares = torch.stack([(corners[(i + 1) % 3] - corners[i]).square().sum(-1) for i in range(3)], dim=-1)
    pieces = squares * cotangents.roll(1, dims=1) / 8  # the edge from corner i lies opposite to corner i + 2
    obtuse = cotangents < 0
    split = torch.where(obtuse, 0.5, 0.25) * area[:, None]
    return torch.where(obtuse.any(1, keepdim=True), split, pieces + pieces.roll(1, dims=1))


def laplacian_of_weights(topology: Topology, weights: Tensor, *, normalized: bool = False) -> Tensor:
    """The Laplacian of any weights as sparse [V, V], coalesced COO.

    Args:
        topology: of the mesh.
        weights: [2 E], one for each of `topology.neighbors` (edge weights [E] become such by `[topology.neighbor_edges]`).
        normalized: whether rows are divided by their sums; rows whose weights do not sum to a positive number stay as they are.
    """
    check_shape(weights, [topology.neighbors.shape[0]], name="weights", where="laplacian_of_weights")
    count, device = topology.vertex_count, topology.faces.device
    degrees = topology.neighbor_offsets.diff()
    rows = torch.arange(count, device=device).repeat_interleave(degrees)
    sums = weights.new_zeros(count).index_add(0, rows, weights)
    diagonal = sums
    if normalized:
        positive = sums > 0
        divisor = torch.where(positive, sums, 1)
        weights, diagonal = weights / divisor[rows], torch.where(positive, 1, sums)
    # Rows ascend, and so do neighbours: the diagonal goes between the lower and the higher ones, without a sort.
    above = topology.neighbors > rows
    places = torch.arange(rows.shape[0], device=device) + rows + above
    lower = torch.zeros(count, dtype=torch.int64, device=device).index_add(0, rows, (~above).to(torch.int64))
    diagonal_places = topology.neighbor_offsets[:-1] + torch.arange(count, device=device) + lower
    total = rows.shape[0] + count
    indices = torch.empty(2, total, dtype=torch.int64, device=device)
    indices[0, places], indices[1, places] = rows, topology.neighbors
    indices[:, diagonal_places] = torch.arange(count, device=device)
    values = weights.new_zeros(total).index_copy(0, torch.cat([places, diagonal_places]), torch.cat([-weights, diagonal]))
    return torch.sparse_coo_tensor(indices, values, (count, count), is_coalesced=True, check_invariants=False)


def _corners(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    check_shape(vertices, ["V", 3], name="vertices", where="laplacian")
    a, b, c = (vertices.index_select(0, corner) for corner in faces.unbind(1))
    return a, b, c


def _sum_over_edges(topology: Topology, values: Tensor) -> Tensor:
    """[E] sums of values given for half-edges, [F, 3]."""
    edges, flat = topology.face_edges.reshape(-1), values.reshape(-1)
    if bool((edges < 0).any()):
        edges, flat = edges[edges >= 0], flat[edges >= 0]
    return flat.new_zeros(topology.edge_count).index_add(0, edges, flat)


def _directed_positions(topology: Topology) -> Tensor:
    """[2 E] where in `neighbors` the neighbour of (edge e seen from its higher vertex: e, from its lower: E + e) stands."""
    count = topology.edge_count
    starts = torch.arange(topology.vertex_count, device=topology.faces.device).repeat_interleave(topology.neighbor_offsets.diff())
    from_lower = topology.neighbors > starts
    position = torch.empty_like(topology.neighbors)
    position[topology.neighbor_edges + count * from_lower] = torch.arange(position.shape[0], device=position.device)
    return position


def _root(squares: Tensor) -> Tensor:
    """Square root with gradient zero, not infinite, at zero."""
    zero = squares == 0
    return torch.where(zero, 0, torch.sqrt(torch.where(zero, 1, squares)))
