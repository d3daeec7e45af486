"""One preconditioned step of a deforming mesh: the gradient of all terms, solved with a sparse matrix of the quadratic ones.

The matrix is J^T W J of the distance terms with their correspondences held fixed, plus the Laplacian and edge terms; it is the same for
x, y and z. Source: Large Steps (Nicolet et al. 2021) has I + lambda L here; the data rows are those of non-rigid ICP (Amberg et al. 2007).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix, diags_array, identity
from scipy.sparse.linalg import splu
from torch import Tensor

from ..geometry.topology import Topology


@dataclass(frozen=True)
class SmoothnessMatrices:
    """What the smoothness terms need of one topology.

    Attributes:
        laplacian: [V, V] sparse, x minus the weighted mean of its neighbours.
        graph: [V, V] sparse, D - A.
    """

    laplacian: csr_matrix
    graph: csr_matrix


def smoothness_matrices(topology: Topology, weights: Tensor | None = None) -> SmoothnessMatrices:
    """The Laplacian with positive weights [E] of the edges (uniform without), and the graph Laplacian of a mesh."""
    ones = np.ones(topology.edge_count)
    graph = _graph_laplacian(topology, ones)
    weighted = graph if weights is None else _graph_laplacian(topology, weights.double().cpu().numpy())
    degree = weighted.diagonal()
    scale = diags_array(1 / np.where(degree > 0, degree, 1.0))
    return SmoothnessMatrices(laplacian=csr_matrix(scale @ weighted), graph=graph)


def _graph_laplacian(topology: Topology, weights: np.ndarray) -> csr_matrix:
    count, (i, j) = topology.vertex_count, topology.edges.cpu().numpy().T
    adjacency = coo_matrix((np.r_[weights, weights], (np.r_[i, j], np.r_[j, i])), shape=(count, count)).tocsr()
    degree = np.asarray(adjacency.sum(1)).ravel()
    return csr_matrix(diags_array(degree) - adjacency)


def data_matrix(corners: Tensor, barycentrics: Tensor, weights: Tensor, vertex_count: int) -> csr_matrix:
    """B^T diag(weights) B for points that are `barycentrics` [N, 3] mixtures of the vertices `corners` [N, 3]."""
    rows = np.repeat(np.arange(len(corners)), 3)
    values = (barycentrics * weights.sqrt()[:, None]).double().cpu().numpy().ravel()
    mixture = csr_matrix((values, (rows, corners.cpu().numpy().ravel())), shape=(len(corners), vertex_count))
    return (mixture.T @ mixture).tocsr()


def smoothness_matrix(matrices: SmoothnessMatrices, stiffness: Tensor, edges: float) -> csr_matrix:
    """L^T diag(stiffness) L + edges * (D - A): the quadratic part of the smoothness terms. `stiffness` [V] is a weight a vertex."""
    bending = matrices.laplacian.T @ diags_array(stiffness.double().cpu().numpy()) @ matrices.laplacian
    return (bending + edges * matrices.graph).tocsr()


def factorize(matrix: csr_matrix) -> Callable[[Tensor], Tensor]:
    """The function that applies the inverse of a symmetric positive matrix to [V, C]. What no row holds is held a little where it is."""
    damping = 1e-6 * max(float(matrix.diagonal().mean()), 1e-30)
    system = (matrix + damping * identity(matrix.diagonal().shape[0], format="csr")).tocsc()
    factor = splu(system, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return lambda values: torch.from_numpy(factor.solve(values.double().cpu().numpy())).to(values)
