"""The smoothness losses in plain torch: what other devices get, and what second derivatives are taken of."""

from __future__ import annotations

import torch
from torch import Tensor


def edge_length_loss(vertices: Tensor, edges: Tensor, targets: Tensor, edge_offsets: Tensor) -> Tensor:
    """Mean over meshes of the mean over edges of (length - target)^2."""
    length = _length(vertices.index_select(0, edges[:, 0]) - vertices.index_select(0, edges[:, 1]))
    return ((length - targets).square() * mean_weights(edge_offsets, edges.shape[0]).to(vertices.dtype)).sum()


def cotangent_weights(vertices: Tensor, faces: Tensor, halfedge_offsets: Tensor, halfedges: Tensor, smallest_sine: float) -> Tensor:
    """[E] half the sum of the cotangents opposite to each edge, bounded."""
    face, corner = halfedges // 3, halfedges % 3
    a, b, c = (vertices.index_select(0, faces[face, (corner + i) % 3]) for i in range(3))
    u, v = a - c, b - c
    dots, floor = (u * v).sum(-1), smallest_sine * (u.square() + v.square() + (u - v).square()).sum(-1)
    down = torch.maximum(_length(torch.linalg.cross(u, v)), floor)
    cotangents = torch.where(down > 0, dots / torch.where(down > 0, down, 1), 0)
    edge = torch.arange(halfedge_offsets.shape[0] - 1, device=faces.device).repeat_interleave(halfedge_offsets.diff())
    return vertices.new_zeros(halfedge_offsets.shape[0] - 1).index_add(0, edge, 0.5 * cotangents)


def cotangent_scales(neighbor_offsets: Tensor, neighbor_edges: Tensor, edge_weights: Tensor) -> Tensor:
    """[V] one over the sum of a vertex's weights, bounded where negative weights almost cancel it."""
    count = neighbor_offsets.shape[0] - 1
    rows = torch.arange(count, device=neighbor_edges.device).repeat_interleave(neighbor_offsets.diff())
    weights = edge_weights[neighbor_edges]
    total = weights.new_zeros(count).index_add(0, rows, weights)
    down = torch.maximum(total, 0.05 * weights.new_zeros(count).index_add(0, rows, weights.abs()))
    return torch.where(down > 0, 1 / torch.where(down > 0, down, 1), 0)


def vertex_areas(vertices: Tensor, faces: Tensor) -> Tensor:
    """[V] sum of the areas of the faces around each vertex."""
    a, b, c = (vertices.index_select(0, corner) for corner in faces.unbind(1))
    areas = 0.5 * _length(torch.linalg.cross(b - a, c - a))
    return vertices.new_zeros(vertices.shape[0]).index_add(0, faces.reshape(-1), areas.repeat_interleave(3))


def laplacian_loss(
    vertices: Tensor,
    neighbor_offsets: Tensor,
    neighbors: Tensor,
    neighbor_edges: Tensor,
    edge_weights: Tensor,
    scales: Tensor,
    vertex_offsets: Tensor,
    squared: bool,
) -> Tensor:
    """Mean over meshes of the mean over vertices of |scale_i * sum of w_ij (v_j - v_i)|, or of its square. No weights: uniform."""
    degrees = neighbor_offsets.diff()
    rows = torch.arange(degrees.shape[0], device=vertices.device).repeat_interleave(degrees)
    steps = vertices.index_select(0, neighbors) - vertices.index_select(0, rows)
    if edge_weights.shape[0] == 0:
        scales = torch.where(degrees > 0, 1 / degrees.clamp(min=1).to(vertices.dtype), 0)
    else:
        steps = edge_weights[neighbor_edges][:, None] * steps
    offset = scales[:, None] * torch.zeros_like(vertices).index_add(0, rows, steps)
    size = offset.square().sum(-1) if squared else _length(offset)
    return (size * mean_weights(vertex_offsets, vertices.shape[0]).to(vertices.dtype)).sum()


def normal_consistency_loss(vertices: Tensor, faces: Tensor, pairs: Tensor, pair_offsets: Tensor, smallest_sine: float) -> Tensor:
    """Mean over meshes of the mean over pairs of faces of 1 - cosine between their normals; 1 where a face is degenerate."""
    a, b, c = (vertices.index_select(0, corner) for corner in faces.unbind(1))
    cross = torch.linalg.cross(b - a, c - a)
    length = _length(cross)
    valid = length > smallest_sine * ((b - a).square() + (c - a).square()).sum(-1)
    normals = torch.where(valid[:, None], cross / torch.where(valid, length, 1)[:, None], 0)
    face = pairs // 3
    starts = faces.reshape(-1)[pairs]
    sign = torch.where(starts[:, 0] == starts[:, 1], -1, 1).to(vertices.dtype)
    apart = normals.index_select(0, face[:, 0]) - sign[:, None] * normals.index_select(0, face[:, 1])
    bend = torch.where(valid[face].all(1), 0.5 * apart.square().sum(-1), 1)
    return (bend * mean_weights(pair_offsets, pairs.shape[0]).to(vertices.dtype)).sum()


def mean_weights(offsets: Tensor, count: int) -> Tensor:
    """[count] float64 weights that make a sum over items the mean over meshes of the mean over each mesh's items."""
    counts = offsets.diff()
    weights = 1 / (counts.clamp(min=1).to(torch.float64) * max(counts.shape[0], 1))
    return weights.repeat_interleave(counts, output_size=count)


def _length(vectors: Tensor) -> Tensor:
    """Euclidean length with gradient zero, not NaN, at zero."""
    squares = vectors.square().sum(-1)
    zero = squares == 0
    return torch.where(zero, 0, torch.sqrt(torch.where(zero, 1, squares)))
