"""Analytic antialiasing in plain torch: all pieces of all outlines at once."""

from __future__ import annotations

import torch
from torch import Tensor


def antialias(
    image: Tensor, points: Tensor, faces: Tensor, images: Tensor, edges: Tensor, halfedge_offsets: Tensor, halfedges: Tensor, face: Tensor,
    depth: Tensor, near: float, orthographic: bool, cull: bool,
) -> Tensor:  # fmt: skip
    """Arguments and result as ops.antialias.antialias. Differentiable in image and points."""
    result = image.clone()
    for b, (base, first, count, _) in enumerate(images.tolist()):
        ends, sides = _outlines(points, faces, edges, halfedge_offsets, halfedges, (base, first, count), (near, orthographic, cull))
        z = torch.where(face[b] >= 0, depth[b].double(), torch.inf)
        for steep in (True, False):
            pieces = _pieces(ends, sides, z if steep else z.T, steep, orthographic)
            flat = (image[b] if steep else image[b].transpose(0, 1)).reshape(-1, image.shape[-1])
            for target, source, weight in _exchanges(*pieces, z.shape[1] if steep else z.shape[0]):
                change = weight.to(image.dtype)[:, None] * (flat[source] - flat[target])
                change = torch.zeros_like(flat).index_add(0, target, change)
                change = change.view(*(z.shape if steep else z.T.shape), -1)
                result[b] = result[b] + (change if steep else change.transpose(0, 1))
    return result


def _outlines(
    points: Tensor, faces: Tensor, edges: Tensor, halfedge_offsets: Tensor, halfedges: Tensor, part: tuple[int, int, int],
    look: tuple[float, bool, bool],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Ends [O, 2, 3] (pixel, depth) of the outline edges of one image, cut at the near plane, and the side of their faces [O]."""
    (base, first, count), (near, orthographic, cull) = part, look
    begin, end = halfedge_offsets[first], halfedge_offsets[first + count]
    which = torch.arange(count, device=edges.device).repeat_interleave(halfedge_offsets[first : first + count + 1].diff())
    h = halfedges[begin:end]
    pair = edges[first : first + count] + base
    third = faces[h // 3, (h + 2) % 3] + base
    p = points.detach().double()
    if orthographic:
        p = torch.cat([p[:, :2], torch.ones_like(p[:, 2:])], 1)
    turn = torch.linalg.det(torch.stack([p[pair[which, 0]], p[pair[which, 1]], p[third]], 1)).sign()
    clockwise = torch.where(faces[h // 3, h % 3] + base == pair[which, 0], turn, -turn)
    turn = torch.where(clockwise > 0, 0, turn) if cull else turn
    none = torch.zeros(count, dtype=turn.dtype, device=turn.device)
    high, low = none.scatter_reduce(0, which, turn, "amax"), none.scatter_reduce(0, which, turn, "amin")
    z = points.detach()[pair, 2]
    keep = (high * low == 0) & (high != low) & (z >= near).any(1)
    pair, sides = pair[keep], (high + low)[keep]
    ends = points[pair].double()
    share = ((near - ends[..., 2:]) / torch.where(z[keep, :, None] < near, ends.flip(1)[..., 2:] - ends[..., 2:], 1)).detach()
    cut = ends + share * (ends.flip(1) - ends)
    cut = torch.cat([cut[..., :2], cut[..., 2:] - (cut[..., 2:] - near).detach()], -1)
    ends = torch.where(z[keep, :, None] < near, cut, ends)
    return (ends if orthographic else torch.cat([ends[..., :2] / ends[..., 2:], ends[..., 2:]], -1)), sides


def _pieces(
    ends: Tensor, sides: Tensor, z: Tensor, steep: bool, orthographic: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Cut the steep (or the flat) edges at every row (or column) and find the pixels between which each piece shows.

    Returns:
        step, low, high [P] (the row, and from where to where in it), start and slope [P] of the line, with gradients, boundary [P].
    """
    run = (ends[:, 1] - ends[:, 0]).detach()
    chosen = (run[:, 1].abs() >= run[:, 0].abs()) == steep
    chosen &= (run[:, 1] if steep else run[:, 0]).abs() > 1e-9
    ends, sides, run = ends[chosen], sides[chosen], run[chosen]
    inside_high = sides * run[:, 1] < 0 if steep else sides * run[:, 0] > 0
    major, minor = (ends[..., 1], ends[..., 0]) if steep else (ends[..., 0], ends[..., 1])
    lowest, highest = major.detach().amin(1).clamp_min(0), major.detach().amax(1).clamp_max(z.shape[0])
    counts = (highest.ceil() - lowest.floor()).clamp_min(0).to(torch.int64)
    edge = torch.arange(len(counts), device=z.device).repeat_interleave(counts)
    step = lowest.floor().to(torch.int64)[edge] + torch.arange(len(edge), device=z.device) - (counts.cumsum(0) - counts)[edge]
    slope = ((minor[:, 1] - minor[:, 0]) / (major[:, 1] - major[:, 0]))[edge]
    start = minor[edge, 0] - slope * major[edge, 0]
    low, high = torch.maximum(lowest[edge], step.double()), torch.minimum(highest[edge], step + 1.0)
    t = ((0.5 * (low + high) - major[edge, 0]) / (major[edge, 1] - major[edge, 0])).detach()
    za, zb = ends.detach()[edge, 0, 2], ends.detach()[edge, 1, 2]
    level = (1 - t) * za + t * zb if orthographic else 1 / ((1 - t) / za + t / zb)
    crossing = (start + slope * (step + 0.5)).detach()
    boundary = _boundary(z, step, crossing, inside_high[edge], level)
    keep = boundary >= 0
    return step[keep], low[keep], high[keep], start[keep], slope[keep], boundary[keep]


def _boundary(z: Tensor, step: Tensor, crossing: Tensor, inside_high: Tensor, level: Tensor) -> Tensor:
    """The upper pixel of the pair between which each piece shows, -1 for none; the rule of the kernel."""
    guess = (crossing - 0.5).clamp(-2, z.shape[1] + 2).floor().to(torch.int64) + 1
    result = torch.full_like(guess, -1)
    for shift in (1, -1, 0):
        upper = guess + shift
        valid = (upper >= 1) & (upper < z.shape[1])
        upper = upper.clamp(1, max(1, z.shape[1] - 1))
        pair = z[step, upper - 1], z[step, upper.clamp_max(z.shape[1] - 1)]
        inner, outer = torch.where(inside_high, pair[1], pair[0]), torch.where(inside_high, pair[0], pair[1])
        shows = (inner < outer) & (outer > level) & (outer.isinf() | (inner - level < 0.5 * (outer - level)))
        result = torch.where(valid & shows, upper, result)
    return result


def _exchanges(step: Tensor, low: Tensor, high: Tensor, start: Tensor, slope: Tensor, boundary: Tensor, width: int) -> list:
    """(target pixel, source pixel, weight) of every piece for every column that it may reach; pixels are flat indices."""
    exchanges = []
    if len(step) == 0:
        return exchanges
    o0, o1 = (start + slope * low).detach(), (start + slope * high).detach()
    first = torch.minimum(boundary - 1, torch.minimum(o0, o1).floor().to(torch.int64))
    last = torch.maximum(boundary, torch.maximum(o0, o1).floor().to(torch.int64))
    for k in range(int((last - first).max()) + 1):
        column = first + k
        keep = (column <= last) & (column >= 0) & (column < width)
        bottom, top, border, row = low[keep], high[keep], boundary[keep], step[keep] * width
        column = column[keep]
        area = _area(bottom, top, start[keep], slope[keep], column)
        upper = column >= border
        weight = torch.where(upper, area, (top - bottom) - area)
        exchanges.append((row + column, row + torch.where(upper, border - 1, border), weight))
    return exchanges


def _area(low: Tensor, high: Tensor, start: Tensor, slope: Tensor, column: Tensor) -> Tensor:
    """Integral over the heights [low, high] of how much of a column lies below the line, in [0, 1]. The heights are held fixed."""
    level = slope.detach().abs() < 1e-12
    divisor = torch.where(level, 1, slope.detach())
    enter, leave = (column - start.detach()) / divisor, (column + 1 - start.detach()) / divisor
    first = torch.maximum(low, torch.minimum(enter, leave))
    last = torch.maximum(first, torch.minimum(high, torch.maximum(enter, leave)))
    rising = slope.detach() > 0
    above = torch.where(rising, high - torch.maximum(low, leave), torch.minimum(high, leave) - low).clamp_min(0)
    value = (start + slope * 0.5 * (low + high)).detach()
    within = level & (value > column) & (value < column + 1)
    first = torch.where(level, low, first)
    last = torch.where(level, torch.where(within, high, low), last)
    above = torch.where(level, torch.where(value >= column + 1, high - low, 0), above)
    middle = 0.5 * (first + last)
    return above + (last - first) * (start + slope * middle - column)
