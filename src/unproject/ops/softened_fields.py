"""Operators: potentials and fields of softened charges and dipoles at their own places, in N log N by a tree over blocks of points.

Points come in blocks of equal size, the leaves of a complete binary tree; see kernels/softened_fields.py and geometry/block_tree.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .operator import operator

_GRAIN = 16  # leaves worth a thread


@operator("unproject::block_sources")
def block_sources(centers: Tensor, radii: Tensor, opening: float) -> tuple[Tensor, Tensor]:
    """What acts on the points of each leaf: starts int64 [L + 1] and sources int32 [S], as in kernels/softened_fields.py.

    Args:
        centers, radii: [2 L - 1, 3] and [2 L - 1] of the nodes of a complete binary tree with L leaves, by levels from the root on.
        opening: a node acts as one where its radius is less than this share of its distance from all points of the leaf.
    """
    from ..kernels import softened_fields as kernels

    leaf_count = (centers.shape[0] + 1) // 2
    counts = np.empty(leaf_count, np.int64)
    nodes = (leaf_count, centers.numpy(), radii.numpy(), opening)
    parallel_for(kernels.count_sources, leaf_count, *nodes, counts, grain=_GRAIN)
    starts = np.zeros(leaf_count + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    sources = np.empty(starts[-1], np.int32)
    parallel_for(kernels.list_sources, leaf_count, *nodes, starts, sources, grain=_GRAIN)
    return torch.from_numpy(starts), torch.from_numpy(sources)


@block_sources.register_fake
def _(centers: Tensor, radii: Tensor, opening: float) -> tuple[Tensor, Tensor]:
    size = torch.library.get_ctx().new_dynamic_size()
    return centers.new_empty((centers.shape[0] + 1) // 2 + 1, dtype=torch.int64), centers.new_empty(size, dtype=torch.int32)


@operator("unproject::dipole_potential")
def dipole_potential(
    points: Tensor, moments: Tensor, centers: Tensor, sums: Tensor, starts: Tensor, sources: Tensor, softening: float
) -> Tensor:
    """Sum [T] over all others p_s of m_s . (p_s - p) / r^3 at points [T, 3] with moments [T, 3]; sums: [2 L - 1, 3] those of the nodes."""
    from ..kernels.softened_fields import dipole_potential_range

    return _evaluate(dipole_potential_range, points.new_empty(points.shape[0]), points, moments, centers, sums, starts, sources, softening)


@operator("unproject::softened_charge_field")
def softened_charge_field(
    points: Tensor, charges: Tensor, centers: Tensor, sums: Tensor, starts: Tensor, sources: Tensor, softening: float
) -> Tensor:
    """Sum [T, 3] over all others p_s of c_s (p - p_s) / r^3 at points [T, 3] with charges [T, 1]; sums: [2 L - 1, 1] those of the nodes."""
    from ..kernels.softened_fields import charge_field_range

    return _evaluate(charge_field_range, torch.empty_like(points), points, charges, centers, sums, starts, sources, softening)


@operator("unproject::dipole_field")
def dipole_field(
    points: Tensor, moments: Tensor, centers: Tensor, sums: Tensor, starts: Tensor, sources: Tensor, softening: float
) -> Tensor:
    """Negative gradient [T, 3] of the potential of dipoles, their own included, which points along the moment."""
    from ..kernels.softened_fields import dipole_field_range

    return _evaluate(dipole_field_range, torch.empty_like(points), points, moments, centers, sums, starts, sources, softening)


def _evaluate(
    kernel: Callable[..., Any],
    result: Tensor,
    points: Tensor,
    values: Tensor,
    centers: Tensor,
    sums: Tensor,
    starts: Tensor,
    sources: Tensor,
    softening: float,
) -> Tensor:
    leaf_count = starts.shape[0] - 1
    size = points.shape[0] // leaf_count
    capacity = int(starts.diff().max()) * size
    arrays = [t.numpy() for t in (starts, sources, points, values, centers, sums, result)]
    parallel_for(kernel, leaf_count, size, capacity, softening, *arrays, grain=_GRAIN)
    return result


@dipole_potential.register_fake
def _(points: Tensor, *arguments: Any) -> Tensor:
    return points.new_empty(points.shape[0])


@softened_charge_field.register_fake
def _(points: Tensor, *arguments: Any) -> Tensor:
    return torch.empty_like(points)


@dipole_field.register_fake
def _(points: Tensor, *arguments: Any) -> Tensor:
    return torch.empty_like(points)


def _nodes(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Four leaves of two points in a row, and the centres and radii of their nodes."""
    points = torch.zeros(8, 3, dtype=dtype)
    points[:, 0] = torch.arange(8, dtype=dtype)
    centers = torch.cat([points.reshape(n, -1, 3).mean(1) for n in (1, 2, 4)])
    return points, centers, torch.tensor([3.5, 1.5, 1.5, 0.5, 0.5, 0.5, 0.5], dtype=dtype)


def _example(dtype: torch.dtype, columns: int) -> tuple[Any, ...]:
    points, centers, radii = _nodes(dtype)
    values = torch.ones(8, columns, dtype=dtype)
    sums = torch.cat([values.reshape(n, -1, columns).sum(1) for n in (1, 2, 4)])
    return points, values, centers, sums, *block_sources(centers, radii, 0.5), 0.5


@example(block_sources)
def _(dtype: torch.dtype) -> tuple[Any, ...]:
    return *_nodes(dtype)[1:], 0.5


@example(dipole_potential)
def _(dtype: torch.dtype) -> tuple[Any, ...]:
    return _example(dtype, 3)


@example(softened_charge_field)
def _(dtype: torch.dtype) -> tuple[Any, ...]:
    return _example(dtype, 1)


@example(dipole_field)
def _(dtype: torch.dtype) -> tuple[Any, ...]:
    return _example(dtype, 3)
