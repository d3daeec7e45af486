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
    with torch.no_grad():  # where distances agree, near an edge or a corner, face goes before edge and edge before corner
        squared = (candidates @ relative).square().sum(-1)
        tie = 1 - 16 * torch.finfo(points.dtype).eps * (candidates > 0).sum(-1)
        rank = squared * tie
        rank[..., 3] = torch.where(interior[1], rank[..., 3], torch.inf)
        best = rank.argmin(-1, keepdim=True)
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


def closest_point_vjp(
    points: Tensor,
    vertices: Tensor,
    faces: Tensor,
    face: Tensor,
    weights: Tensor,
    weights_pull: Tensor | None,
    nearest_pull: Tensor | None,
    squared_pull: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Cotangents of points and vertices from those of the closest points: the kernel's formula in plain torch, itself differentiable.

    Args:
        face: [N] closest faces, -1 for none.
        weights: [N, 3] their barycentrics: what is 0 says which edge or corner is closest; the values are computed anew.
        weights_pull, nearest_pull, squared_pull: [N, 3], [N, 3], [N], or None for zero.
    """
    found = (face >= 0).unsqueeze(-1)
    triangles = faces[face.clamp_min(0)]
    corners = vertices[triangles] - points.unsqueeze(-2)
    active = weights > 0
    weights = _weights_within(corners, active)
    residual = (weights.unsqueeze(-2) @ corners).squeeze(-2)
    pulled = torch.zeros_like(points) if nearest_pull is None else nearest_pull
    pull = (corners @ pulled.unsqueeze(-1)).squeeze(-1) + (0 if weights_pull is None else weights_pull)
    multipliers = _multipliers(corners, active, pull)
    shift = (multipliers.unsqueeze(-2) @ corners).squeeze(-2)
    double = torch.zeros_like(points) if squared_pull is None else 2 * squared_pull.unsqueeze(-1)
    direct = weights.unsqueeze(-1) * (pulled - shift + double * residual).unsqueeze(-2)
    onto = torch.where(found.unsqueeze(-1), direct - multipliers.unsqueeze(-1) * residual.unsqueeze(-2), 0)
    points_grad = torch.where(found, shift - double * residual, 0)
    return points_grad, torch.zeros_like(vertices).index_add(0, triangles.reshape(-1), onto.reshape(-1, 3))


def _weights_within(corners: Tensor, active: Tensor) -> Tensor:
    """Weights [N, 3] of the origin's projection on the plane, line or corner that the active [N, 3] corners [N, 3, 3] span."""
    first = active.to(torch.int8).argmax(-1, keepdim=True)
    start = torch.nn.functional.one_hot(first.squeeze(-1), 3).to(corners.dtype)
    at_start = (start.unsqueeze(-2) @ corners).squeeze(-2)
    return start - _multipliers(corners, active, (corners @ at_start.unsqueeze(-1)).squeeze(-1))


def _multipliers(corners: Tensor, active: Tensor, pull: Tensor) -> Tensor:
    """m [N, 3] with sum 0, zero off the active corners: along each active edge e, e.(sum m_k corner_k) is the difference of pull."""
    a, b, c = corners.unbind(-2)
    u, v = b - a, c - a
    uu, uv, vv = u.square().sum(-1), (u * v).sum(-1), v.square().sum(-1)
    determinant = torch.linalg.cross(u, v).square().sum(-1)
    p, q = pull[:, 1] - pull[:, 0], pull[:, 2] - pull[:, 0]
    whole = active.all(-1) & (determinant > 0)
    scale = torch.where(whole, 1 / torch.where(whole, determinant, 1), 0)
    y, z = (vv * p - uv * q) * scale, (uu * q - uv * p) * scale
    result = torch.stack([-y - z, y, z], -1)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        length = (corners[:, j] - corners[:, i]).square().sum(-1)
        edge = active[:, i] & active[:, j] & ~active[:, 3 - i - j] & (length > 0)
        step = torch.where(edge, (pull[:, j] - pull[:, i]) / torch.where(edge, length, 1), 0)
        signs = torch.zeros(3, dtype=step.dtype, device=step.device)
        signs[i], signs[j] = -1, 1
        result = result + step.unsqueeze(-1) * signs
    return result


def closest_point(
    points: Tensor, vertices: Tensor, faces: Tensor, query_offsets: Tensor, face_offsets: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """By trying all faces of the own mesh: barycentrics [N, 3] (0), nearest point [N, 3], squared distance [N] (inf), face [N] (-1: none).

    Gradient: points and vertices, through all but the face.
    """
    face = closest_face(points.detach(), vertices.detach(), faces, query_offsets, face_offsets)
    if faces.shape[0] == 0:
        return torch.zeros_like(points), torch.full_like(points, torch.inf), points.new_full(face.shape, torch.inf), face
    found = (face >= 0).unsqueeze(-1)
    corners = vertices[faces[face.clamp_min(0)]]
    weights = torch.where(found, closest_on_triangle(points, corners), 0)
    nearest = (weights.unsqueeze(-2) @ corners).squeeze(-2)
    squared = torch.where(found, nearest - points, 0).square().sum(-1)
    return weights, torch.where(found, nearest, torch.inf), torch.where(found.squeeze(-1), squared, torch.inf), face


def closest_face(points: Tensor, vertices: Tensor, faces: Tensor, query_offsets: Tensor, face_offsets: Tensor) -> Tensor:
    """Index int64 [N] of the closest face of the own mesh, -1 where there is none."""
    face = torch.full((points.shape[0],), -1, dtype=torch.int64, device=points.device)
    queries, bounds = query_offsets.tolist(), face_offsets.tolist()
    for batch in range(len(queries) - 1):
        corners = vertices[faces[bounds[batch] : bounds[batch + 1]]]
        count = corners.shape[0]
        step = max(1, _PAIRS // max(count, 1))
        for begin in range(queries[batch], queries[batch + 1] if count else queries[batch], step):
            rows = slice(begin, min(begin + step, queries[batch + 1]))
            relative = corners - points[rows, None, None]
            weights = closest_on_triangle(points[rows, None], corners)
            squared, best = (weights.unsqueeze(-2) @ relative).squeeze(-2).square().sum(-1).nan_to_num(torch.inf).min(-1)
            face[rows] = torch.where(squared.isinf(), -1, best + bounds[batch])
    return face


def closest_to_face(vertices: Tensor, faces: Tensor, points: Tensor, face_offsets: Tensor, target_offsets: Tensor) -> Tensor:
    """Index int64 [F] of the point of the own cloud closest to each face, by trying all; -1 where there is none."""
    index = torch.full((faces.shape[0],), -1, dtype=torch.int64, device=faces.device)
    bounds, targets = face_offsets.tolist(), target_offsets.tolist()
    for batch in range(len(bounds) - 1):
        cloud = points[targets[batch] : targets[batch + 1]]
        step = max(1, _PAIRS // max(len(cloud), 1))
        for begin in range(bounds[batch], bounds[batch + 1] if len(cloud) else bounds[batch], step):
            rows = slice(begin, min(begin + step, bounds[batch + 1]))
            corners = vertices[faces[rows]].unsqueeze(1)
            weights = closest_on_triangle(cloud, corners)
            relative = corners - cloud[None, :, None]
            squared = (weights.unsqueeze(-2) @ relative).squeeze(-2).square().sum(-1)
            index[rows] = squared.nan_to_num(torch.inf).argmin(-1) + targets[batch]
    return index
