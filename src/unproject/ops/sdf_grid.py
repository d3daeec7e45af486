"""Operator: distances of a lattice to a mesh from the faces closest to coarse points."""

from __future__ import annotations

import torch
from torch import Tensor

from ..reference import sdf_grid as reference
from .dispatch import parallel_for
from .examples import example
from .operator import operator


@operator("unproject::coarse_distance")
def coarse_distance(
    candidate: Tensor, distance: Tensor, matrix: Tensor, vertices: Tensor, faces: Tensor, size: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """For each lattice point the closest among eight candidates: squared distance, a lower bound of the true distance, face [X, Y, Z].

    Args:
        candidate: [ceil(X / 4) + 1, ...] int64, the face closest to every fourth lattice point, up to the first beyond the last sample.
        distance: to them.
        matrix: [4, 4] float64 world from lattice, on the CPU.
        size: X, Y, Z.
    """
    from ..kernels.sdf_grid import coarse_distance_range

    squared, bound, face = _allocate(vertices, size)
    cells = (candidate.shape[0] - 1) * (candidate.shape[1] - 1) * (candidate.shape[2] - 1)
    apart = reference.corner_distances(matrix).to(vertices.dtype).reshape(-1).numpy()
    mesh = (vertices.detach().numpy(), faces.numpy())
    results = (squared.numpy(), bound.numpy(), face.numpy())
    parallel_for(coarse_distance_range, cells, candidate.numpy(), distance.numpy(), apart, matrix.numpy(), *mesh, *results, grain=64)
    return squared, bound, face


def _allocate(vertices: Tensor, size: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    return vertices.new_empty(size), vertices.new_empty(size), vertices.new_empty(size, dtype=torch.int64)


@coarse_distance.register_fake
def _(
    candidate: Tensor, distance: Tensor, matrix: Tensor, vertices: Tensor, faces: Tensor, size: list[int]
) -> tuple[Tensor, Tensor, Tensor]:
    return _allocate(vertices, size)


coarse_distance.register_kernel(["cuda", "mps", "xpu"])(reference.coarse_distance)


@example(coarse_distance)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    vertices = torch.tensor([[0.0, 0.0, 0.0], [5.0, 0.0, 1.0], [0.0, 5.0, 2.0], [1.0, 1.0, 6.0]], dtype=dtype)
    faces = torch.tensor([[0, 1, 2], [0, 1, 3], [1, 2, 3]])
    distance = torch.linspace(1, 9, 24, dtype=dtype).reshape(4, 3, 2)
    return torch.arange(24).reshape(4, 3, 2) % 3, distance, torch.eye(4, dtype=torch.float64), vertices, faces, [9, 5, 4]
