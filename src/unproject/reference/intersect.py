"""Intersecting pairs of triangles in plain torch: all pairs whose boxes overlap, by signs of determinants in double precision."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

_PAIRS = 1 << 20  # boxes compared at once
_ZERO = 2.0**-50  # of the size of its terms, below which a determinant counts as zero


def self_intersecting_pairs(vertices: Tensor, faces: Tensor, face_offsets: Tensor) -> Tensor:
    """Pairs int64 [N, 2] of faces of one mesh that share more than the corners or the edge they have in common; sorted."""
    corners = vertices.double()[faces]
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    left, right = u.roll(1, -1) * v.roll(-1, -1), u.roll(-1, -1) * v.roll(1, -1)  # a cross product may fuse them and miss an exact zero
    solid = (left != right).any(-1)
    low, high = corners.amin(1), corners.amax(1)
    found = [faces.new_empty((0, 2))]
    bounds = face_offsets.tolist()
    for first, last in itertools.pairwise(bounds):
        step = max(1, _PAIRS // max(last - first, 1))
        for begin in range(first, last, step):
            rows = torch.arange(begin, min(begin + step, last), device=faces.device)
            others = torch.arange(first, last, device=faces.device)
            near = (low[rows, None] <= high[None, others]).all(-1) & (high[rows, None] >= low[None, others]).all(-1)
            near &= (rows[:, None] < others) & solid[rows, None] & solid[None, others]
            i, j = near.nonzero(as_tuple=True)
            pairs = torch.stack([rows[i], others[j]], -1)
            found.append(pairs[_intersect(corners[pairs[:, 0]], corners[pairs[:, 1]])])
    return torch.cat(found)


def _intersect(f: Tensor, g: Tensor) -> Tensor:
    """Bool [N] for triangles f and g [N, 3, 3]."""
    same = (f.unsqueeze(2) == g.unsqueeze(1)).all(-1)
    shared = same.sum((1, 2))
    result = shared >= 3
    for count, test in ((0, _apart_intersect), (1, _corner_intersect), (2, _edge_intersect)):
        rows = (shared == count).nonzero().squeeze(-1)
        if len(rows):
            result[rows] = test(f[rows], g[rows], same[rows])
    return result


def _apart_intersect(f: Tensor, g: Tensor, same: Tensor) -> Tensor:
    return torch.stack([_segment_meets(a[:, k], a[:, (k + 1) % 3], b) for a, b in ((f, g), (g, f)) for k in range(3)]).any(0)


def _corner_intersect(f: Tensor, g: Tensor, same: Tensor) -> Tensor:
    f, g = _turned(f, same.any(2).long().argmax(1)), _turned(g, same.any(1).long().argmax(1))
    return _segment_meets(f[:, 1], f[:, 2], g) | _segment_meets(g[:, 1], g[:, 2], f)


def _edge_intersect(f: Tensor, g: Tensor, same: Tensor) -> Tensor:
    f, g = _turned(f, (~same.any(2)).long().argmax(1)), _turned(g, (~same.any(1)).long().argmax(1))
    seen = _seen(f, torch.stack([f[:, 0], f[:, 1], f[:, 2], g[:, 0]], 1))
    one_side = _area(seen[:, 1], seen[:, 2], seen[:, 0]) == _area(seen[:, 1], seen[:, 2], seen[:, 3])
    return (_volume(f[:, 0], f[:, 1], f[:, 2], g[:, 0]) == 0) & one_side


def _turned(triangle: Tensor, first: Tensor) -> Tensor:
    order = (first.unsqueeze(-1) + torch.arange(3, device=first.device)) % 3
    return triangle.gather(1, order.unsqueeze(-1).expand(-1, -1, 3))


def _segment_meets(p: Tensor, q: Tensor, t: Tensor) -> Tensor:
    a, b, c = t.unbind(1)
    above, below = _volume(a, b, c, p), _volume(a, b, c, q)
    signs = torch.stack([_volume(p, q, a, b), _volume(p, q, b, c), _volume(p, q, c, a)])
    through = (above * below <= 0) & ((signs >= 0).all(0) | (signs <= 0).all(0))
    p, q, a, b, c = _seen(t, torch.stack([p, q, a, b, c], 1)).unbind(1)
    around = torch.stack([_area(a, b, p), _area(b, c, p), _area(c, a, p)])
    within = (around >= 0).all(0) | (around <= 0).all(0) | _cross(p, q, a, b) | _cross(p, q, b, c) | _cross(p, q, c, a)
    return torch.where((above == 0) & (below == 0), within, through)


def _seen(triangle: Tensor, points: Tensor) -> Tensor:
    """Points [N, K, 3] on the two axes [N, K, 2] where the triangle appears largest."""
    normal = torch.linalg.cross(triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0])
    axes = (normal.abs().argmax(-1, keepdim=True) + torch.arange(1, 3, device=normal.device)) % 3
    return points.gather(2, axes.unsqueeze(1).expand(-1, points.shape[1], -1))


def _cross(p: Tensor, q: Tensor, r: Tensor, s: Tensor) -> Tensor:
    a, b, c, d = _area(p, q, r), _area(p, q, s), _area(r, s, p), _area(r, s, q)
    on = lambda sign, x, y, z: (sign == 0) & ((x >= torch.minimum(y, z)) & (x <= torch.maximum(y, z))).all(-1)
    return ((a * b < 0) & (c * d < 0)) | on(a, r, p, q) | on(b, s, p, q) | on(c, p, r, s) | on(d, q, r, s)


def _volume(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Sign of the volume of abcd."""
    u, v, w = a - d, b - d, c - d
    size = (u.abs() * (v.abs().roll(1, -1) * w.abs().roll(-1, -1) + v.abs().roll(-1, -1) * w.abs().roll(1, -1))).sum(-1)
    value = (u * torch.linalg.cross(v, w)).sum(-1)
    return torch.where(value.abs() <= _ZERO * size, 0, value.sign())


def _area(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Sign of the area of the plane triangle abc."""
    u, v = a - c, b - c
    left, right = u[:, 0] * v[:, 1], u[:, 1] * v[:, 0]
    return torch.where((left - right).abs() <= _ZERO * (left.abs() + right.abs()), 0, (left - right).sign())
