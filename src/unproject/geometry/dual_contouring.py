"""Dual contouring: meshes of sampled functions with sharp edges, a vertex inside each cell where the tangent planes meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..kernels.cube_tables import EDGES, cube_loops
from ..ops.isosurface import crossed_cells_dense
from .isosurface import apply_affine, crossing_weight
from .mesh import Mesh

_REGULARIZATION = 0.005  # of the mean of the crossings against the tangent planes, whose weights are 1
_BISECTIONS = 12
_CYCLE = (0, 1, 3, 2)  # the four cells around an edge, in the order of a turn around its axis


def dual_contour(
    values: Float[Tensor, "X Y Z"],
    *,
    iso: float = 0.0,
    world_from_grid: Float[Tensor, "4 4"] | None = None,
    function: Callable[[Float[Tensor, "N 3"]], Float[Tensor, "N"]] | None = None,
) -> Mesh:
    """The surface where a sampled function equals `iso`, with sharp edges and corners.

    Each contour of a cell has a vertex that minimizes the squared distances to the tangent planes at the cell's crossed edges (QEF), kept
    inside the cell; each crossed edge is a quad between the vertices around it, cut into two triangles. Cells with two contours have two
    vertices, so that the surface is a manifold but for rare cases; it is open where it leaves the grid.

    Args:
        values: value [i, j, k] belongs to the point (i, j, k) of grid coordinates; NaN where it is unknown.
        iso: the level.
        world_from_grid: affine transform of grid coordinates to world; identity by default.
        function: the sampled function of world points, where it is known, in torch: places and directions of the surface are then asked
            of it, and edges become sharp. By default they are interpolated between the samples, which is right away from the edges and
            rounds them off by a fraction of a cell.

    Returns:
        Mesh with faces counter-clockwise seen from where the function is above `iso`.

    Raises:
        ArgumentError: shapes.

    Gradient: values and world_from_grid (or what the function depends on), through places and directions of the tangent planes; which
    edges are crossed is held fixed.
    Source: Ju et al. 2002 (dual contouring); Nielson 2004 (a vertex for each contour of a cell).
    """
    check_shape(values, ["X", "Y", "Z"], name="values", where="dual_contour")
    contours = _find_contours(values, iso)
    if contours.key.shape[0] == 0:
        return Mesh(vertices=values.new_zeros((0, 3)), faces=torch.zeros((0, 3), dtype=torch.int64, device=values.device))
    flat = values.reshape(-1)
    ends = _positions(contours.ends, values)  # [E, 2, 3]
    if function is None:
        crossing, normal = _interpolated(values, contours, ends, iso)
    else:
        crossing, normal = _asked(function, ends, flat[contours.ends].detach(), world_from_grid, iso)
    vertices = _minimize(contours, crossing, normal, _positions(contours.cell, values))
    faces = _quads(contours, flat[contours.ends[:, 0]].detach() < iso, vertices.detach(), normal.detach())
    return Mesh(vertices=apply_affine(world_from_grid, vertices), faces=faces)


@dataclass(frozen=True)
class _Contours:
    """Which vertices there are and what they touch. E crossed edges, V vertices, M pairs of both.

    key [E] names an edge (3 low point + axis); ends [E, 2] its points; cell [V] the low point of each vertex's cell; vertex, edge [M]
    the pairs; around [E, 4] the vertices around each edge by the edge's place in the cell, -1 outside of the grid.
    """

    key: Tensor
    ends: Tensor
    cell: Tensor
    vertex: Tensor
    edge: Tensor
    around: Tensor


def _find_contours(values: Tensor, iso: float) -> _Contours:
    device = values.device
    low, entry = crossed_cells_dense(values.detach().contiguous(), float(iso))
    _, size_y, size_z = values.shape
    loops = torch.from_numpy(cube_loops()).to(device, torch.int64)[entry]  # [C, 12]
    counts = loops.amax(1) + 1
    first = counts.cumsum(0) - counts
    row, local = (loops >= 0).nonzero().unbind(1)
    vertex = first[row] + loops[row, local]
    corners = torch.tensor(EDGES, device=device)[local]
    ends = low[row, None] + (corners & 1) * (size_y * size_z) + (corners >> 1 & 1) * size_z + (corners >> 2)
    key, edge = torch.unique(3 * ends[:, 0] + local // 4, return_inverse=True)
    of_edge = torch.empty((key.shape[0], 2), dtype=torch.int64, device=device)
    of_edge[edge] = ends
    around = torch.full((key.shape[0], 4), -1, dtype=torch.int64, device=device)
    around[edge, local % 4] = vertex
    return _Contours(key, of_edge, torch.repeat_interleave(low, counts), vertex, edge, around)


def _positions(point: Tensor, values: Tensor) -> Tensor:
    _, size_y, size_z = values.shape
    return torch.stack([point // (size_y * size_z), point // size_z % size_y, point % size_z], dim=-1).to(values.dtype)


def _interpolated(values: Tensor, contours: _Contours, ends: Tensor, iso: float) -> tuple[Tensor, Tensor]:
    """Places and unit normals of the crossings in grid coordinates, between the samples."""
    weight = crossing_weight(values.reshape(-1), contours.ends, iso)[:, None]
    first, second = (_slopes(values, point) for point in contours.ends.unbind(1))
    return ends[:, 0] + weight * (ends[:, 1] - ends[:, 0]), _unit(first + weight * (second - first))


def _asked(function: Callable[[Tensor], Tensor], ends: Tensor, samples: Tensor, frame: Tensor | None, iso: float) -> tuple[Tensor, Tensor]:
    """Places and unit normals of the crossings in grid coordinates, from the function itself: by bisection, then one Newton step along the
    edge, which carries the gradient to what the function depends on.
    """
    ask = lambda place: _one_each(function(apply_affine(frame, place)), place)
    inside, outside = torch.where((samples[:, :1] < iso)[..., None], ends, ends.flip(1)).unbind(1)
    with torch.no_grad():
        for _ in range(_BISECTIONS):
            middle = (inside + outside) / 2
            low = (ask(middle) < iso)[:, None]
            inside, outside = torch.where(low, middle, inside), torch.where(low, outside, middle)
    place = ((inside + outside) / 2).detach()
    value = ask(place)
    with torch.enable_grad():
        leaf = place.clone().requires_grad_()
        (slope,) = torch.autograd.grad(ask(leaf).sum(), leaf, create_graph=value.requires_grad)
    direction = ends[:, 1] - ends[:, 0]
    along = (slope.detach() * direction).sum(-1)
    step = torch.where(along != 0, (iso - value) / torch.where(along != 0, along, 1), 0).clamp(-0.1, 0.1)
    return place + step[:, None] * direction, _unit(slope)


def _one_each(values: Tensor, points: Tensor) -> Tensor:
    if values.shape != points.shape[:1]:
        raise ArgumentError(
            f"dual_contour: `function` must return {list(points.shape[:1])} for points {list(points.shape)}, got {list(values.shape)}"
        )
    return values


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=-1, eps=torch.finfo(vectors.dtype).tiny)


def _slopes(values: Tensor, point: Tensor) -> Tensor:
    """Central differences [E, 3] at points; one-sided next to the border and to unknown samples, 0 without a neighbour."""
    flat = values.reshape(-1)
    _, size_y, size_z = values.shape
    center, slopes = flat[point], []
    for stride, size in ((size_y * size_z, values.shape[0]), (size_z, size_y), (1, size_z)):
        place = point // stride % size
        before = center - flat[torch.where(place > 0, point - stride, point)]
        after = flat[torch.where(place < size - 1, point + stride, point)] - center
        steps = torch.stack([before, after])
        known = torch.isfinite(steps) & torch.stack([place > 0, place < size - 1])
        slopes.append(torch.where(known, steps, 0).sum(0) / known.sum(0).clamp_min(1))
    return torch.stack(slopes, dim=-1)


def _minimize(contours: _Contours, crossing: Tensor, normal: Tensor, cell: Tensor) -> Tensor:
    """The point of each vertex's cell nearest to its tangent planes."""
    count = contours.cell.shape[0]
    sums = lambda rows: rows.new_zeros((count, *rows.shape[1:])).index_add(0, contours.vertex, rows)
    points, normals = crossing[contours.edge], normal[contours.edge]
    number = sums(torch.ones_like(points[:, :1]))
    mean = sums(points) / number
    offset = (normals * (points - mean[contours.vertex])).sum(-1, keepdim=True)
    matrix = sums(normals[:, :, None] * normals[:, None, :])
    matrix = matrix + _REGULARIZATION * number[..., None] * torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    step = torch.linalg.solve(matrix, sums(normals * offset))
    return torch.minimum(torch.maximum(mean + step, cell), cell + 1)


def _quads(contours: _Contours, low_inside: Tensor, vertices: Tensor, normal: Tensor) -> Tensor:
    """Two triangles for each edge with four cells around it, cut along the diagonal that keeps both closer to the surface's normal."""
    whole = (contours.around >= 0).all(1)
    ring = contours.around[whole][:, list(_CYCLE)]
    # The ring turns clockwise seen against the axis; from outside it is to be counter-clockwise.
    ring = torch.where(low_inside[whole][:, None], ring, ring.flip(1))
    a, b, c, d = (vertices[ring[:, k]] for k in range(4))
    toward = normal[whole]
    agreement = lambda p, q, r: (torch.nn.functional.normalize(torch.linalg.cross(q - p, r - p), dim=-1) * toward).sum(-1)
    first = torch.minimum(agreement(a, b, c), agreement(a, c, d))
    second = torch.minimum(agreement(b, c, d), agreement(b, d, a))
    one = torch.stack([ring[:, [0, 1, 2]], ring[:, [0, 2, 3]]], dim=1)
    other = torch.stack([ring[:, [1, 2, 3]], ring[:, [1, 3, 0]]], dim=1)
    return torch.where((first >= second)[:, None, None], one, other).reshape(-1, 3)
