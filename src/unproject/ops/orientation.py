"""Operators for consistent orientation: patches from a spanning forest, and the field energy between patches."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .operator import operator

_EDGES = 1 << 20  # edges joined in one uninterruptible call


@operator("unproject::orient_patches")
def orient_patches(normals: Tensor, first: Tensor, second: Tensor, order: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """Grow patches of at most `limit` points along edges (first, second: int64 [E]) taken in the given order, best first.

    Returns patch int64 [N] (the index of one point of each patch) and sign int8 [N] that makes the normals [N, 3] of a patch agree.
    """
    from ..kernels.orientation import join_patches, patch_roots

    count = normals.shape[0]
    parent, parity, size = np.arange(count), np.ones(count, np.int8), np.ones(count, np.int64)
    edges = (first.numpy(), second.numpy(), order.numpy(), normals.numpy(), limit, parent, parity, size)
    for begin in range(0, order.shape[0], _EDGES):
        join_patches(begin, min(begin + _EDGES, order.shape[0]), *edges)
    root, sign = torch.empty(count, dtype=torch.int64), torch.empty(count, dtype=torch.int8)
    parallel_for(patch_roots, count, parent, parity, root.numpy(), sign.numpy())
    return root, sign


@orient_patches.register_fake
def _(normals: Tensor, first: Tensor, second: Tensor, order: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    return first.new_empty(normals.shape[0]), normals.new_empty(normals.shape[0], dtype=torch.int8)


@operator("unproject::dipole_energy")
def dipole_energy(points: Tensor, moments: Tensor, starts: Tensor, softening: float) -> Tensor:
    """Energy float64 [P, P] between patches of dipoles: points, moments [N, 3], patch a has rows starts[a] to starts[a + 1]; 0 in one."""
    from ..kernels.orientation import dipole_energy_rows

    count = starts.shape[0] - 1
    energy = torch.empty((count, count), dtype=torch.float64)
    arrays = (starts.numpy(), points.T.contiguous().numpy(), moments.T.contiguous().numpy(), softening, energy.numpy())
    parallel_for(dipole_energy_rows, count, *arrays, grain=1, slices=count)
    return energy


@dipole_energy.register_fake
def _(points: Tensor, moments: Tensor, starts: Tensor, softening: float) -> Tensor:
    return points.new_empty((starts.shape[0] - 1, starts.shape[0] - 1), dtype=torch.float64)


@example(orient_patches)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    normals = torch.tensor([[0, 0, 1], [0, 0, -1], [0, 0.6, 0.8], [1, 0, 0]], dtype=dtype)
    return normals, torch.tensor([0, 1, 2]), torch.tensor([1, 2, 3]), torch.tensor([0, 1, 2]), 3


@example(dipole_energy)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    points = torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0.5], [1, 1, 1]], dtype=dtype)
    return points, points.flip(0).contiguous(), torch.tensor([0, 2, 4]), 0.5
