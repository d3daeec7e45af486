"""Generalized winding numbers in plain torch: exact sums over all faces or all oriented points."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_PAIRS = 1 << 19  # pairs of a query and an item held at once


def face_winding(points: Tensor, vertices: Tensor, faces: Tensor, query_offsets: Tensor, face_offsets: Tensor) -> Tensor:
    """Winding numbers [N] of each mesh about its points: the sum of signed solid angles over 4 pi.

    Source: Jacobson, Kavan, Sorkine-Hornung 2013; solid angles by van Oosterom and Strackee 1983.
    """
    winding = points.new_zeros(points.shape[0])
    for rows, items in _chunks(query_offsets, face_offsets):
        a, b, c = (vertices[faces[items]] - points[rows, None, None]).unbind(-2)
        x, y, z = a.norm(dim=-1), b.norm(dim=-1), c.norm(dim=-1)
        sine = (a * torch.linalg.cross(b, c)).sum(-1)
        cosine = x * y * z + (a * b).sum(-1) * z + (b * c).sum(-1) * x + (c * a).sum(-1) * y
        winding[rows] = torch.atan2(sine, cosine).sum(-1) / (2 * math.pi)
    return winding


def point_winding(points: Tensor, positions: Tensor, vector_areas: Tensor, query_offsets: Tensor, offsets: Tensor) -> Tensor:
    """Winding numbers [N] of oriented points with vector areas (area times normal). A source at the query itself counts nothing.

    Source: Barill et al. 2018, eq. 6.
    """
    winding = points.new_zeros(points.shape[0])
    for rows, items in _chunks(query_offsets, offsets):
        relative = positions[items] - points[rows, None]
        cubed = relative.square().sum(-1) ** 1.5
        flux = (relative * vector_areas[items]).sum(-1)
        winding[rows] = torch.where(cubed > 0, flux / torch.where(cubed > 0, cubed, 1), 0).sum(-1) / (4 * math.pi)
    return winding


def _chunks(query_offsets: Tensor, offsets: Tensor) -> list[tuple[slice, slice]]:
    """Slices of queries small enough to be held against all items of their set, and these."""
    queries, bounds = query_offsets.tolist(), offsets.tolist()
    chunks = []
    for batch in range(len(queries) - 1):
        step = max(1, _PAIRS // max(bounds[batch + 1] - bounds[batch], 1))
        for begin in range(queries[batch], queries[batch + 1], step):
            chunks.append((slice(begin, min(begin + step, queries[batch + 1])), slice(bounds[batch], bounds[batch + 1])))
    return chunks
