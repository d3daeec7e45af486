"""Analytic antialiasing in plain torch: all pieces of all outlines at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..struct import TensorStruct

FLAT, STEEPEST = 1e-12, 8.0  # as kernels.antialias


def antialias(
    image: Tensor, points: Tensor, faces: Tensor, images: Tensor, edges: Tensor, halfedge_offsets: Tensor, halfedges: Tensor, face: Tensor,
    depth: Tensor, near: float, orthographic: bool, cull: bool,
) -> Tensor:  # fmt: skip
    """Arguments and result as ops.antialias.antialias. Differentiable in image and points."""
    result = image.clone()
    for b, (base, first, count, _) in enumerate(images.tolist()):
        ends, sides = _outlines(points, faces, edges, halfedge_offsets, halfedges, (base, first, count), (near, orthographic, cull))
        z = torch.where(face[b] >= 0, depth[b].double(), torch.inf)
        tolerance = depth_tolerance(points)
        for steep in (True, False):
            pieces = _pieces(ends, sides, z if steep else z.T, steep, orthographic, tolerance)
            flat = (image[b] if steep else image[b].transpose(0, 1)).reshape(-1, image.shape[-1])
            for target, source, weight in _exchanges(pieces, z.shape[1] if steep else z.shape[0]):
                change = weight.to(image.dtype)[:, None] * (flat[source] - flat[target])
                change = torch.zeros_like(flat).index_add(0, target, change)
                change = change.view(*(z.shape if steep else z.T.shape), -1)
                result[b] = result[b] + (change if steep else change.transpose(0, 1))
    return result


def depth_tolerance(points: Tensor) -> float:
    """What depths may differ by and still be those of one surface, scene units."""
    if points.shape[0] == 0:
        return 0.0
    least, most = torch.aminmax(points.detach()[:, 2])
    return 1e-3 * float(most - least) + 1e-6 * float(torch.maximum(most.abs(), least.abs()))


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
    a, b, c = p[pair[which, 0]], p[pair[which, 1]], p[third]
    area = (a * torch.linalg.cross(b, c)).sum(1)
    scale = (a.abs() * (b.roll(-1, 1) * c.roll(-2, 1)).abs().add((b.roll(-2, 1) * c.roll(-1, 1)).abs())).sum(1)
    turn = torch.where(area.abs() > FLAT * scale, area, 0).sign()
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


@dataclass(frozen=True)
class _Pieces(TensorStruct):
    """Parts [P] of edges, one a row; the rules are those of kernels/antialias.py.

    Attributes:
        step, low, high: the row, and from where to where in it.
        start, slope: of the line, with gradients.
        inside_high: whether the face is on the side of higher minor coordinates.
        row, boundary, kind: as find_source gives them. split: as split_of does.
    """

    step: Tensor
    low: Tensor
    high: Tensor
    start: Tensor
    slope: Tensor
    inside_high: Tensor
    row: Tensor
    boundary: Tensor
    kind: Tensor
    split: Tensor


def _pieces(ends: Tensor, sides: Tensor, z: Tensor, steep: bool, orthographic: bool, tolerance: float) -> _Pieces:
    """Cut the steep (or the flat) edges at every row (or column) and find the pixels between which each piece shows."""
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
    line, inside_high, corner = (start.detach(), slope.detach()), inside_high[edge], (major[:, 1] - major[:, 0]).detach().abs()[edge] >= 1
    row, boundary, kind = _source(z, step, line, inside_high, level, tolerance, 0.5 * (low + high), corner)
    split = torch.where(kind == 0, boundary.double(), torch.where(inside_high, boundary + 0.5, boundary - 0.5))
    for end in (1, 0):
        at, place = major.detach()[edge, end], minor.detach()[edge, end]
        split = torch.where((kind != 0) & (step <= at) & (at <= step + 1), place, split)
    keep = boundary >= 0
    return _Pieces(*(t[keep] for t in (step, low, high, start, slope, inside_high, row, boundary, kind, split)))


def _source(
    z: Tensor, step: Tensor, line: tuple[Tensor, Tensor], inside_high: Tensor, level: Tensor, tolerance: float, height: Tensor,
    corner: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Row, upper pixel of the pair (-1 for none) and kind of each piece; as find_source of the kernel."""
    start, slope = line
    row, kind = step.clone(), torch.zeros_like(step)
    boundary = _boundary(z, step, start + slope * (step + 0.5), inside_high, level, tolerance)
    column = (start + slope * height).clamp(0, z.shape[1] - 1).floor().to(torch.int64)
    for side in (-1, 1):
        other = step + side
        valid = corner & (boundary < 0) & (other >= 0) & (other < z.shape[0])
        other = other.clamp(0, z.shape[0] - 1)
        found = _boundary(z, other, start + slope * (other + 0.5), inside_high, level, tolerance)
        valid &= found >= 0
        inner, outer = (z[other, torch.where(inside_high, *k).clamp(0, z.shape[1] - 1)] for k in ((found, found - 1), (found - 1, found)))
        valid &= level - z[step, column] <= STEEPEST * (level - inner).abs() + tolerance  # else something in front hides it
        inside = _is_inside(z[step, column], outer, level)
        row, boundary = torch.where(valid, other, row), torch.where(valid, found, boundary)
        kind = torch.where(valid, torch.where(inside, 2, 1), kind)
    return row, boundary, kind


def _is_inside(z: Tensor, outer: Tensor, level: Tensor) -> Tensor:
    return z.isfinite() & (outer.isinf() | (z - level < 0.5 * (outer - level)))


def _boundary(z: Tensor, step: Tensor, crossing: Tensor, inside_high: Tensor, level: Tensor, tolerance: float) -> Tensor:
    """The upper pixel of the pair between which each piece shows, -1 for none; as find_boundary of the kernel."""
    width = z.shape[1]
    guess = (crossing - 0.5).clamp(-2, width + 2).floor().to(torch.int64) + 1
    result = torch.full_like(guess, -1)
    padded = torch.nn.functional.pad(z, (3, 3), value=torch.inf)
    for shift in (1, -1, 0):
        upper = guess + shift
        valid = (upper >= 1) & (upper < width)
        upper = upper.clamp(1, max(1, width - 1))
        at = lambda high, low, upper=upper: padded[step, 3 + upper + torch.where(inside_high, high, low)]
        inner, outer = at(0, -1), at(-1, 0)
        shows = (inner < outer) & (outer > level) & _is_inside(inner, outer, level)
        surface_slope = torch.maximum((at(1, -2) - inner).abs(), (at(2, -3) - inner).abs())
        shows &= level - inner <= STEEPEST * surface_slope + tolerance
        result = torch.where(valid & shows, upper, result)
    return result


def _exchanges(pieces: _Pieces, width: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(target pixel, source pixel, weight) of every piece for every column that it may reach; pixels are flat indices."""
    exchanges = []
    if len(pieces.step) == 0:
        return exchanges
    o0, o1 = ((pieces.start + pieces.slope * height).detach() for height in (pieces.low, pieces.high))
    first = torch.minimum(pieces.split - 0.5, torch.minimum(o0, o1)).floor().to(torch.int64)
    last = torch.maximum(pieces.split, torch.maximum(o0, o1)).floor().to(torch.int64)
    for k in range(int((last - first).max()) + 1):
        column = first + k
        keep = (column <= last) & (column >= 0) & (column < width)
        p, column = pieces[keep], column[keep]
        area = _area(p.low, p.high, p.start, p.slope, column) - (p.high - p.low) * (p.split - column).clamp(0, 1)
        upper = torch.where(p.kind == 0, column >= p.boundary, p.inside_high == (p.kind == 2))
        source = p.row * width + torch.where(upper, p.boundary - 1, p.boundary)
        exchanges.append((p.step * width + column, source, torch.where(upper, area, -area)))
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
