"""A smooth implicit function near points: small at the points, with given gradients there, bending little elsewhere.

It lives on sparse lattice nodes around the points (and wherever else the surface is guessed to pass); conjugate gradients find it.
Source: the energy is that of the smooth signed distance, Calakli and Taubin 2011.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.neighbors import nearest
from ..ops.smooth_field import field_bending, field_stencils, solve_field
from ..ops.sparse_nodes import find_nodes, interpolate_nodes, sparse_nodes
from ..struct import TensorStruct

_ALL = (1 << 27) - 1
_CORNERS = torch.tensor([[e >> 2, (e >> 1) & 1, e & 1] for e in range(8)], dtype=torch.int32)
_ANCHOR = 1e-2  # weight of the guess at the border nodes of the lattice, relative to one point


@dataclass(frozen=True, kw_only=True)
class Lattice(TensorStruct):
    """Sparse nodes of a regular lattice: node (i, j, k) lies at low + spacing (i, j, k).

    Attributes:
        low: [3] position of node (0, 0, 0).
        spacing: edge of a cell.
        size: nodes along each axis.
        words, rank: the set as a bitmap; see ops/sparse_nodes.py.
        nodes: int32 [N, 3] coordinates.
        columns, present: int32 [N, 9] and [N], neighbours.
    """

    low: Tensor
    spacing: float
    size: tuple[int, int, int]
    words: Tensor
    rank: Tensor
    nodes: Tensor
    columns: Tensor
    present: Tensor

    @property
    def node_count(self) -> int:
        return self.nodes.shape[0]


@dataclass(frozen=True, kw_only=True)
class FieldData(TensorStruct):
    """Points prepared for the normal equations on one lattice.

    Attributes:
        order: int64 [P] which points, sorted by cell.
        points: [P, 3] in node units, in that order.
        starts: int32 [N + 1] where each node's points begin.
        data_nodes: int32 [R] corners of cells with points.
        data_row: int32 [N] row of each node in data_nodes, or -1.
    """

    order: Tensor
    points: Tensor
    starts: Tensor
    data_nodes: Tensor
    data_row: Tensor


def make_lattice(points: Tensor, *, low: Tensor, high: Tensor, spacing: float, dilations: int = 2) -> Lattice:
    """The nodes of the cells that contain points [P, 3], and `dilations` rings of neighbours, inside of the box low, high [3]."""
    x, y, z = (int(n) + 2 + dilations for n in ((high - low) / spacing).ceil().tolist())
    inside = ((points >= low) & (points < high)).all(1)
    cells = occupied_cells(points[inside], low, spacing)
    words, rank, nodes, columns, present = sparse_nodes(cells, [x, y, z], dilations)
    return Lattice(low=low, spacing=spacing, size=(x, y, z), words=words, rank=rank, nodes=nodes, columns=columns, present=present)


def occupied_cells(points: Tensor, low: Tensor, spacing: float) -> Tensor:
    """int32 [C, 3], the cells with points, each once."""
    cells = ((points - low) / spacing).floor().to(torch.int64)
    key = ((cells[:, 0] << 42) + (cells[:, 1] << 21) + cells[:, 2]).unique()
    return torch.stack([key >> 42, (key >> 21) & 0x1FFFFF, key & 0x1FFFFF], dim=1).to(torch.int32)


def node_positions(lattice: Lattice) -> Tensor:
    """[N, 3]."""
    return lattice.low + lattice.spacing * lattice.nodes.to(lattice.low.dtype)


def inner_nodes(lattice: Lattice) -> Tensor:
    """bool [N], the nodes with all 26 neighbours."""
    return lattice.present == _ALL


def interpolate(lattice: Lattice, values: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Value [P] and gradient [P, 3] at points; NaN outside of the lattice."""
    units = ((points - lattice.low) / lattice.spacing).to(values.dtype).contiguous()
    value, gradient = interpolate_nodes(units, values, lattice.words, lattice.rank, lattice.size[2])
    return value, gradient / lattice.spacing


def crossed_places(lattice: Lattice, values: Tensor) -> Tensor:
    """Centres [C, 3] of the cells' eighths at nodes where the function changes its sign to a neighbour: where the surface passes."""
    inner = inner_nodes(lattice).nonzero()[:, 0]
    negative = values < 0
    changes = torch.zeros(len(inner), dtype=torch.bool)
    for column in (1, 3, 5, 7):
        changes |= negative[inner] != negative[lattice.columns[inner, column].long()]
    changes |= (negative[inner] != negative[inner - 1]) | (negative[inner] != negative[inner + 1])
    return node_positions(lattice)[inner[changes]] + 0.25 * lattice.spacing


@dataclass(frozen=True)
class Continued:
    """A function on a lattice, continued outside of it by the nearest node's value."""

    lattice: Lattice
    values: Tensor

    def __call__(self, points: Tensor) -> Tensor:
        """[P] values at points [P, 3]."""
        value, _ = interpolate(self.lattice, self.values, points)
        outside = value.isnan().nonzero()[:, 0]
        if len(outside):
            value[outside] = self.values[nearest(points[outside], node_positions(self.lattice)).index]
        return value


def bending(lattice: Lattice, values: Tensor) -> Tensor:
    """Norm [N] of the second derivatives, for a distance the curvature."""
    return field_bending(values, lattice.columns, lattice.present) / lattice.spacing**2


def prepare_data(lattice: Lattice, points: Tensor) -> FieldData:
    """Sort points [P, 3] into the cells of a lattice that was made around them."""
    units = (points - lattice.low) / lattice.spacing
    low = find_nodes(units.floor().to(torch.int32).contiguous(), lattice.words, lattice.rank, lattice.size[2])
    low, order = torch.sort(low, stable=True)
    order, low = order[low >= 0], low[low >= 0]
    count = torch.bincount(low, minlength=lattice.node_count)
    starts = torch.zeros(lattice.node_count + 1, dtype=torch.int32)
    starts[1:] = count.cumsum(0)
    lowest = count.nonzero()[:, 0]
    corners = (lattice.nodes[lowest][:, None] + _CORNERS).reshape(-1, 3)
    is_corner = torch.zeros(lattice.node_count, dtype=torch.bool)
    is_corner[find_nodes(corners, lattice.words, lattice.rank, lattice.size[2])] = True
    data_nodes = is_corner.nonzero()[:, 0]
    data_row = torch.full((lattice.node_count,), -1, dtype=torch.int32)
    data_row[data_nodes] = torch.arange(len(data_nodes), dtype=torch.int32)
    return FieldData(order=order, points=units[order].contiguous(), starts=starts, data_nodes=data_nodes.to(torch.int32), data_row=data_row)


def solve_implicit(
    lattice: Lattice,
    data: FieldData,
    guess: Tensor,
    *,
    normals: Tensor,
    value_weight: Tensor,
    slope_weight: Tensor,
    stiffness: Tensor,
    start: Tensor | None = None,
    rest: Tensor | None = None,
    iterations: int = 100,
    tolerance: float = 3e-3,
) -> Tensor:
    """The function's values [N] at the nodes.

    Minimizes the sum over points of value_weight f^2 + slope_weight |grad f - normal|^2, plus the integral of stiffness |Hessian f|^2 over
    the lattice's volume, divided by the thickness of about five cells that the lattice has around the surface: so that results do not
    depend on the spacing. Nodes without all neighbours are held near the guess.

    Args:
        guess: [N] a first function, also the start if there is no other.
        normals, value_weight, slope_weight: [P, 3], [P], [P] a point, in the order of the points.
        rest: [N] a function to measure the bending from, instead of from zero: then what smoothing took away from it comes back (twicing).
        stiffness: [N]; the fourth power of the smoothing length times the points' density times value_weight.
    """
    spacing, order = lattice.spacing, data.order
    stencils, values = field_stencils(
        data.data_nodes,
        lattice.nodes,
        lattice.columns,
        lattice.present,
        data.starts,
        data.points,
        (normals[order] * spacing).contiguous(),
        value_weight[order].contiguous(),
        (slope_weight[order] / spacing**2).contiguous(),
    )
    inner = inner_nodes(lattice)
    stiffness = torch.where(inner, stiffness / (5 * spacing**2), 0)
    anchor = torch.where(inner, 0, _ANCHOR * float(value_weight.mean()))
    table = (lattice.columns, lattice.present)
    rows = data.data_nodes.long()
    if rest is None:
        right, first = anchor * guess, guess if start is None else start
    else:
        around = lattice.columns[rows].long()[:, :, None] + torch.arange(-1, 2)
        values -= (stencils * rest[around.reshape(-1, 27)]).sum(1)
        right, first = torch.zeros_like(guess), torch.zeros_like(guess) if start is None else start - rest
    right[rows] += values
    found = solve_field(first, right, stiffness, anchor, data.data_row, stencils, *table, iterations, tolerance)[0]
    return found if rest is None else found + rest
