"""Closest point on triangles in plain torch: the differentiable formula, and the search by brute force."""

from __future__ import annotations

import torch
from torch import Tensor

_PAIRS = 1 << 19  # point-triangle pairs held at once


def closest_on_triangle(points: Tensor, corners: Tensor) -> Tensor:
    """Barycentrics of the point of a triangle that is closest to a query point, for broadcastable leading dimensions.

    The least of four candidates: the projection on the plane where it lies inside, and the nearest point of each edge. A triangle
    without area has only its edges, an edge without length only its first end, so every value and every gradient is finite.

    Args:
        points: [..., 3].
        corners: [..., 3, 3], corner by coordinate.

    Returns:
        [..., 3] weights of the corners, none negative beyond rounding, with sum 1.

    Gradient: points and corners, of the formula of the region (face, edge or vertex) that the closest point lies in.
    """
    relative = corners - points.unsqueeze(-2)
    a, b, c = relative.unbind(-2)
    candidates = torch.stack([*_edge_candidates(a, b, c), *(interior := _interior_candidate(a, b, c))[:1]], dim=-2)
    with torch.no_grad():
        squared = (candidates @ relative).square().sum(-1)
        squared[..., 3] = torch.where(interior[1], squared[..., 3], torch.inf)
        best = squared.argmin(-1, keepdim=True)
    return candidates.gather(-2, best.unsqueeze(-1).expand(*best.shape, 3)).squeeze(-2)


def _edge_candidates(a: Tensor, b: Tensor, c: Tensor) -> list[Tensor]:
    """Barycentrics of the origin's nearest point on the edges ab, bc and ca."""
    found = []
    for place, (start, end) in enumerate(((a, b), (b, c), (c, a))):
        edge = end - start
        length = edge.square().sum(-1)
        whole = length > 0
        t = torch.where(whole, -(start * edge).sum(-1) / torch.where(whole, length, 1), 0).clamp(0, 1)
        weights = [1 - t, t, torch.zeros_like(t)]
        found.append(torch.stack(weights[-place:] + weights[:-place] if place else weights, dim=-1))
    return found


def _interior_candidate(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Barycentrics of the origin's projection on the plane, and whether it lies inside a triangle with area."""
    ab, ac = b - a, c - a
    normal = torch.linalg.cross(ab, ac)
    squared_area = normal.square().sum(-1)
    tiny = (16 * torch.finfo(a.dtype).eps) ** 2 * ab.square().sum(-1) * ac.square().sum(-1) + torch.finfo(a.dtype).tiny
    flat = squared_area <= tiny
    scaled = normal / torch.where(flat, 1, squared_area).unsqueeze(-1)
    v = (torch.linalg.cross(ac, a) * scaled).sum(-1)
    w = (torch.linalg.cross(a, ab) * scaled).sum(-1)
    u = 1 - v - w
    return torch.stack([u, v, w], dim=-1), (u >= 0) & (v >= 0) & (w >= 0) & ~flat


def closest_point(
    points: Tensor, vertices: Tensor, faces: Tensor, query_offsets: Tensor, face_offsets: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """By trying all faces of the own mesh: face [N] (-1 where there is none), barycentrics [N, 3], squared distance [N]."""
    face = torch.full((points.shape[0],), -1, dtype=torch.int64, device=points.device)
    barycentrics = points.new_zeros((points.shape[0], 3))
    squared = points.new_full((points.shape[0],), torch.inf)
    queries, bounds = query_offsets.tolist(), face_offsets.tolist()
    for batch in range(len(queries) - 1):
        corners = vertices[faces[bounds[batch] : bounds[batch + 1]]]
        count = corners.shape[0]
        step = max(1, _PAIRS // max(count, 1))
        for begin in range(queries[batch], queries[batch + 1] if count else queries[batch], step):
            rows = slice(begin, min(begin + step, queries[batch + 1]))
            weights = closest_on_triangle(points[rows, None], corners)
            distances = ((weights.unsqueeze(-2) @ corners).squeeze(-2) - points[rows, None]).square().sum(-1)
            distances = torch.where(distances.isnan(), torch.inf, distances)
            squared[rows], best = distances.min(-1)
            face[rows] = torch.where(squared[rows].isinf(), -1, best + bounds[batch])
            barycentrics[rows] = weights[torch.arange(best.shape[0], device=best.device), best]
    barycentrics[face < 0] = 0
    return face, barycentrics, squared
