"""Custom operator of decimation by quadric error; a surface is passed as in ops/remesh.py."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .examples import example
from .operator import operator
from .remesh import _surface_example, close_arrays, fake_surface, open_arrays

_STEPS = 20_000  # collapses a kernel call: short enough for Ctrl-C


@operator("unproject::decimate")
def decimate(
    corners: Tensor, twins: Tensor, marks: Tensor, kinds: Tensor, names: Tensor, positions: Tensor, sizes: Tensor, target: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Collapse edges, cheapest first, until `target` faces are left or nothing more can go; returns the new surface."""
    from ..kernels import decimate as kernels
    from ..kernels import halfedge

    surface = open_arrays(corners, twins, marks, kinds, names, positions, torch.ones_like(sizes))
    halfedges = corners.shape[0]
    quadrics, scratch = np.zeros((positions.shape[0], 10)), np.empty(10)
    kernels.build_quadrics(surface, quadrics)
    heap = np.empty(halfedges, np.int64), np.empty(halfedges, np.int64), np.empty(halfedges), np.zeros(1, np.int64)
    before = -1
    while surface.counts[2] > target and surface.counts[2] != before:  # edges that could not go once may be able to later
        before = int(surface.counts[2])
        kernels.fill_heap(surface, quadrics, *heap, scratch)
        while kernels.decimate(surface, quadrics, *heap, scratch, target, _STEPS):
            pass
    halfedge.compact(surface, np.empty(surface.counts[0], np.int64), np.empty(halfedges, np.int64))
    edges, vertices = close_arrays(surface)
    return (*edges, *vertices)


@decimate.register_fake
def _(corners, twins, marks, kinds, names, positions, sizes, target):  # type: ignore[no-untyped-def]
    return fake_surface(corners, twins, marks, kinds, names, positions, sizes)


@example(decimate)
def _decimate_example(dtype: torch.dtype) -> tuple[Tensor | int, ...]:
    return *_surface_example(dtype), 1
