"""The rim of a surface, and a cap that closes it. Corners in the same place count as one, whatever their numbers."""

from __future__ import annotations

import torch
from torch import Tensor

_ODD = (0x9E3779B97F4A7C15 - (1 << 64), 0xC2B2AE3D27D4EB4F - (1 << 64), 0x165667B19E3779F9)  # factors that spread bits


def rim_cap(vertices: Tensor, faces: Tensor, face_offsets: Tensor, largest: int) -> tuple[Tensor, Tensor, Tensor] | None:
    """Faces that close the meshes of a batch.

    Every edge of a mesh and its cap is walked as often in one direction as in the other, also where edges have three faces, or a rim runs
    through the same place twice: together they go a whole number of times around each point.

    Args:
        largest: None is returned where rims have more edges in all.

    Returns:
        Vertices [3 C, 3], faces [C, 3] and offsets [B + 1] of the caps.
    """
    places = _hash(vertices + 0.0)[faces]  # + 0.0: no negative zeros
    start, end = places.flatten(), places.roll(-1, 1).flatten()
    mesh = torch.repeat_interleave(torch.arange(len(face_offsets) - 1), 3 * face_offsets.diff())
    balance = _mix(start, end) - _mix(end, start)  # a chance of 2^-64 that those of a rim add up to zero
    if bool((balance.new_zeros(len(face_offsets) - 1).index_add(0, mesh, balance) == 0).all()):
        return vertices.new_empty((0, 3)), faces.new_empty((0, 3)), torch.zeros_like(face_offsets)
    edge, order = (_mix(torch.minimum(start, end), torch.maximum(start, end)) + mesh).sort()
    _, group = edge.unique_consecutive(return_inverse=True)
    times = torch.zeros(int(group[-1]) + 1, dtype=torch.int64)
    times = times.index_add(0, group, (end > start).long()[order] - (end < start).long()[order])  # how much oftener upwards than downwards
    if int(times.abs().sum()) > largest:
        return None
    first = torch.ones_like(group, dtype=torch.bool)
    first[1:] = group[1:] != group[:-1]
    chosen = torch.repeat_interleave(order[first], times.abs())
    forward = torch.repeat_interleave(times > 0, times.abs()) == (end > start)[chosen]
    here, there = faces.flatten()[chosen], faces.roll(-1, 1).flatten()[chosen]
    walked = torch.stack([torch.where(forward, here, there), torch.where(forward, there, here)], 1)
    triangles, counts = [], []
    for item in range(len(face_offsets) - 1):
        edges = walked[mesh[chosen] == item]
        _, names = torch.unique(_hash(vertices[edges.flatten()] + 0.0), return_inverse=True)
        patch = [triangle for loop in _loops(edges[:, 0].tolist(), *names.reshape(-1, 2).T.tolist()) for triangle in _patch(loop)]
        triangles += patch
        counts.append(len(patch))
    corners = vertices[torch.tensor(triangles, dtype=torch.int64).reshape(-1)]
    offsets = torch.tensor([0, *counts]).cumsum(0)
    return corners, torch.arange(len(corners)).reshape(-1, 3), offsets


def _loops(vertices: list[int], start: list[int], end: list[int]) -> list[list[int]]:
    """Closed walks that take each edge once; as many edges leave a place as lead to it. Of each, the vertices that its edges begin at."""
    leaving: dict[int, list[int]] = {}
    for i, place in enumerate(start):
        leaving.setdefault(place, []).append(i)
    loops = []
    for first in leaving:
        while leaving[first]:
            loop, place = [], first
            while not loop or place != first:
                edge = leaving[place].pop()
                loop.append(vertices[edge])
                place = end[edge]
            loops.append(loop)
    return loops


def _patch(loop: list[int]) -> list[tuple[int, int, int]]:
    """Triangles over a loop, which walk it back: the largest in the middle and ever smaller ones to the rim, so that few are near."""
    triangles, spans = [], [(0, len(loop) - 1)]
    while spans:
        a, b = spans.pop()
        if b - a >= 2:
            middle = (a + b) // 2
            triangles.append((loop[b], loop[middle], loop[a]))
            spans += [(a, middle), (middle, b)]
    return triangles


def _hash(points: Tensor) -> Tensor:
    """int64 [N], equal for equal points."""
    numbers = points.contiguous().view(torch.int32 if points.dtype == torch.float32 else torch.int64).long()
    x, y, z = numbers.unbind(-1)
    return _mix(_mix(x, y), z)


def _mix(a: Tensor, b: Tensor) -> Tensor:
    """int64, a hash of two in this order."""
    value = a * _ODD[0] + b * _ODD[1]
    value = (value ^ (value >> 29)) * _ODD[2]
    return value ^ (value >> 32)
