"""Implicit diffusion on a mesh graph: the linear solve behind preconditioned ("large") steps, with gradient.

Source: Nicolet, Jacobson, Jakob, "Large Steps in Inverse Rendering of Geometry", 2021, section 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_matrix, identity
from scipy.sparse.linalg import splu
from torch import Tensor

from ..errors import ArgumentError, check_indices, check_shape

Solve = Callable[[Tensor], Tensor]


def implicit_diffusion(edges: Tensor, vertex_count: int, strength: float) -> Solve:
    """Factorize I + strength * L once and return the function that applies its inverse.

    L is the graph Laplacian D - A, so that constants are kept and a strength of s smooths over about sqrt(s) edges.

    Args:
        edges: [E, 2] unique undirected edges.
        vertex_count: V.
        strength: lambda >= 0.

    Returns:
        solve(values [V, C]) -> [V, C] of the same dtype. Gradient: values (the inverse is symmetric, so its own adjoint).

    Raises:
        ArgumentError: a wrong shape, an index out of range or a negative strength.
    """
    check_shape(edges, ["E", 2], name="edges", where="implicit_diffusion", integer=True)
    check_indices(edges, vertex_count, name="edges", where="implicit_diffusion")
    if not strength >= 0:
        raise ArgumentError(f"implicit_diffusion: `strength` must be at least 0, got {strength}")
    i, j = edges.detach().cpu().numpy().T
    ones = np.ones(len(i))
    adjacency = coo_matrix((np.r_[ones, ones], (np.r_[i, j], np.r_[j, i])), shape=(vertex_count, vertex_count)).tocsc()
    degree = np.asarray(adjacency.sum(0)).ravel()
    matrix = identity(vertex_count, format="csc") - strength * adjacency
    matrix.setdiag(1 + strength * degree)
    factor = splu(matrix.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})

    class Diffuse(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Tensor) -> Tensor:
            solved = factor.solve(values.detach().cpu().numpy().astype(np.float64))
            return torch.from_numpy(solved).to(values)

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return Diffuse.apply(gradient)

    def solve(values: Tensor) -> Tensor:
        check_shape(values, [vertex_count, "C"], name="values", where="implicit_diffusion")
        return Diffuse.apply(values)

    return solve
