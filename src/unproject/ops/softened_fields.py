"""Operators: potentials and fields of softened charges and dipoles at their own places, in N log N by a tree over blocks of points.

Points come in blocks of equal size, the leaves of a complete binary tree; see kernels/softened_fields.py and geometry/dipoles.py.
Places [M + T, 3] are the centres of the M = 2 L - 1 nodes, by levels from the root on, then the T points; strengths are sums over the
points of the nodes, then those of the points themselves. `starts` and `sources` are those of block_sources.
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
def dipole_potential(places: Tensor, moments: Tensor, starts: Tensor, sources: Tensor, softening: float) -> Tensor:
    """Sum [T] over the points p_s of m_s . (p_s - p) / r^3 at the points, with moments [M + T, 3]."""
    from ..kernels.softened_fields import dipole_potential_range

    return _evaluate(dipole_potential_range, places, moments, starts, sources, softening, places.new_empty(_point_count(places, starts)))


@operator("unproject::softened_charge_field")
def softened_charge_field(places: Tensor, charges: Tensor, starts: Tensor, sources: Tensor, softening: float) -> Tensor:
    """Sum [T, 3] over the points p_s of c_s (p - p_s) / r^3 at the points, with charges [M + T, 1]."""
    from ..kernels.softened_fields import charge_field_range

    return _evaluate(charge_field_range, places, charges, starts, sources, softening, places.new_empty((_point_count(places, starts), 3)))


@operator("unproject::dipole_field")
def dipole_field(places: Tensor, moments: Tensor, starts: Tensor, sources: Tensor, softening: float) -> Tensor:
    """Negative gradient [T, 3] of the potential of dipoles, their own included, which points along the moment."""
    from ..kernels.softened_fields import dipole_field_range

    return _evaluate(dipole_field_range, places, moments, starts, sources, softening, places.new_empty((_point_count(places, starts), 3)))


def _point_count(places: Tensor, starts: Tensor) -> int:
    """T, what is left of M + T."""
    return places.shape[0] - 2 * starts.shape[0] + 3


def _evaluate(
    kernel: Callable[..., Any], places: Tensor, strengths: Tensor, starts: Tensor, sources: Tensor, softening: float, result: Tensor
) -> Tensor:
    leaf_count = starts.shape[0] - 1
    size = result.shape[0] // leaf_count
    capacity = int(starts.diff().max()) * size
    arrays = [t.numpy() for t in (starts, sources, places, strengths, result)]
    parallel_for(kernel, leaf_count, size, capacity, softening, *arrays, grain=_GRAIN)
    return result


@dipole_potential.register_fake
def _(places: Tensor, moments: Tensor, starts: Tensor, *arguments: Any) -> Tensor:
    return places.new_empty(_point_count(places, starts))


@softened_charge_field.register_fake
def _(places: Tensor, charges: Tensor, starts: Tensor, *arguments: Any) -> Tensor:
    return places.new_empty((_point_count(places, starts), 3))


@dipole_field.register_fake
def _(places: Tensor, moments: Tensor, starts: Tensor, *arguments: Any) -> Tensor:
    return places.new_empty((_point_count(places, starts), 3))


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
    return torch.cat([centers, points]), torch.cat([sums, values]), *block_sources(centers, radii, 0.5), 0.5


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
