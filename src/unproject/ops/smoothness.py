"""Custom operators of the smoothness losses: each gives the loss and, in the same passes, its gradient by the vertices.

The gradient is an output, so that backward is one product; a second derivative goes through the reference, which is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..reference import smoothness as reference
from .dispatch import for_each_slice, parallel_for, slice_count
from .examples import example
from .operator import operator
from .twice import differentiate_twice


def smallest_sine(dtype: torch.dtype) -> float:
    """Below this, twice a face's area over its squared edges is rounding error."""
    return 1e-6 if dtype == torch.float32 else 1e-12


@operator("unproject::edge_length_loss")
def edge_length_loss(
    vertices: Tensor,
    edges: Tensor,
    neighbor_offsets: Tensor,
    neighbors: Tensor,
    neighbor_edges: Tensor,
    targets: Tensor,
    vertex_offsets: Tensor,
    edge_offsets: Tensor,
) -> tuple[Tensor, Tensor]:
    from ..kernels.smoothness import edge_length_range

    points, gradient = vertices.contiguous().numpy(), torch.empty_like(vertices, memory_format=torch.contiguous_format)
    rows = (neighbor_offsets.numpy(), neighbors.numpy(), neighbor_edges.numpy())
    weights = _mesh_weights(edge_offsets)
    loss = _reduce(
        lambda slot, begin, end, losses: edge_length_range(
            slot, begin, end, points, *rows, targets.numpy(), vertex_offsets.numpy(), weights, losses, gradient.numpy()
        ),
        vertices.shape[0],
    )
    return vertices.new_tensor(loss), gradient


@operator("unproject::cotangent_weights")
def cotangent_weights(vertices: Tensor, faces: Tensor, halfedge_offsets: Tensor, halfedges: Tensor, sine: float) -> Tensor:
    from ..kernels.smoothness import cotangent_weights_range

    weights = vertices.new_empty(halfedge_offsets.shape[0] - 1)
    arrays = (vertices.contiguous().numpy(), faces.numpy(), halfedge_offsets.numpy(), halfedges.numpy())
    parallel_for(cotangent_weights_range, weights.shape[0], *arrays, sine, weights.numpy(), grain=8192)
    return weights


@operator("unproject::cotangent_scales")
def cotangent_scales(neighbor_offsets: Tensor, neighbor_edges: Tensor, edge_weights: Tensor) -> Tensor:
    from ..kernels.smoothness import cotangent_scales_range

    scales = edge_weights.new_empty(neighbor_offsets.shape[0] - 1)
    arrays = (neighbor_offsets.numpy(), neighbor_edges.numpy(), edge_weights.contiguous().numpy())
    parallel_for(cotangent_scales_range, scales.shape[0], *arrays, scales.numpy(), grain=8192)
    return scales


@operator("unproject::vertex_areas")
def vertex_areas(vertices: Tensor, faces: Tensor, corner_offsets: Tensor, corners: Tensor) -> Tensor:
    from ..kernels.smoothness import vertex_areas_range

    areas = vertices.new_empty(vertices.shape[0])
    arrays = (vertices.contiguous().numpy(), faces.numpy(), corner_offsets.numpy(), corners.numpy())
    parallel_for(vertex_areas_range, areas.shape[0], *arrays, areas.numpy(), grain=8192)
    return areas


@operator("unproject::laplacian_loss")
def laplacian_loss(
    vertices: Tensor,
    neighbor_offsets: Tensor,
    neighbors: Tensor,
    neighbor_edges: Tensor,
    edge_weights: Tensor,
    scales: Tensor,
    vertex_offsets: Tensor,
    squared: bool,
) -> tuple[Tensor, Tensor]:
    from ..kernels.smoothness import laplacian_gradient_range, laplacian_range

    points, gradient = vertices.contiguous().numpy(), torch.empty_like(vertices, memory_format=torch.contiguous_format)
    pulls = np.empty_like(points)
    rows = (neighbor_offsets.numpy(), neighbors.numpy(), neighbor_edges.numpy(), edge_weights.contiguous().numpy())
    meshes = (scales.contiguous().numpy(), vertex_offsets.numpy(), _mesh_weights(vertex_offsets), squared)
    loss = _reduce(
        lambda slot, begin, end, losses: laplacian_range(slot, begin, end, points, *rows, *meshes, losses, pulls), vertices.shape[0]
    )
    parallel_for(laplacian_gradient_range, vertices.shape[0], *rows, pulls, gradient.numpy(), grain=8192)
    return vertices.new_tensor(loss), gradient


@operator("unproject::normal_consistency_loss")
def normal_consistency_loss(
    vertices: Tensor,
    faces: Tensor,
    face_edges: Tensor,
    halfedge_offsets: Tensor,
    halfedges: Tensor,
    pairs: Tensor,
    corner_offsets: Tensor,
    corners: Tensor,
    face_offsets: Tensor,
    pair_offsets: Tensor,
    sine: float,
) -> tuple[Tensor, Tensor]:
    from ..kernels.smoothness import cross_gradient_range, face_normals_range, normal_consistency_range

    points, gradient = vertices.contiguous().numpy(), torch.empty_like(vertices, memory_format=torch.contiguous_format)
    count, triangles = faces.shape[0], faces.numpy()
    normals, pulls = np.empty((count, 3), points.dtype), np.empty((count, 3), points.dtype)
    inverse = np.empty(count, points.dtype)
    parallel_for(face_normals_range, count, points, triangles, sine, normals, inverse, grain=8192)
    sides = (triangles, face_edges.numpy(), halfedge_offsets.numpy(), halfedges.numpy(), normals, inverse)
    weights = _mesh_weights(pair_offsets)
    loss = _reduce(
        lambda slot, begin, end, losses: normal_consistency_range(slot, begin, end, *sides, face_offsets.numpy(), weights, losses, pulls),
        count,
    )
    around = (corner_offsets.numpy(), corners.numpy())
    parallel_for(cross_gradient_range, vertices.shape[0], points, triangles, *around, pulls, gradient.numpy(), grain=8192)
    return vertices.new_tensor(loss), gradient


def _reduce(body: Callable[[int, int, int, np.ndarray], Any], count: int) -> float:
    """The sum over slices of what each writes to its slot."""
    slices = slice_count(count, 8192)
    losses = np.zeros(slices)
    for_each_slice(lambda slot, begin, end: body(slot, begin, end, losses), count, slices=slices)
    return float(losses.sum())


def _mesh_weights(offsets: Tensor) -> np.ndarray:
    """One over (items of the mesh x meshes)."""
    counts = np.diff(offsets.numpy())
    return 1.0 / (np.maximum(counts, 1) * max(len(counts), 1))


def _fake_loss(vertices: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return vertices.new_empty(()), torch.empty_like(vertices, memory_format=torch.contiguous_format)


def _register_gradient(op: Any, reference_loss: Callable[..., Tensor]) -> None:
    """Backward of an op (vertices, constants...) -> (loss, gradient); `reference_loss` takes the same arguments."""

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        tensors = [value for value in inputs if isinstance(value, Tensor)]
        ctx.save_for_backward(output[1], *tensors)
        ctx.plain = [None if isinstance(value, Tensor) else (value,) for value in inputs]
        ctx.set_materialize_grads(False)

    def backward(ctx: Any, of_loss: Tensor | None, of_gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        gradient, *tensors = ctx.saved_tensors
        rest = iter(tensors)
        inputs = [next(rest) if plain is None else plain[0] for plain in ctx.plain]
        result = None if of_loss is None else of_loss * gradient
        if of_gradient is not None:
            vertices, *constants = inputs
            loss = lambda points: reference_loss(points, *constants)
            product, _ = differentiate_twice(loss, [vertices], [vertices.new_ones(())], [of_gradient])
            result = product if result is None else result + product
        return result, *([None] * (len(inputs) - 1))

    op.register_autograd(backward, setup_context=setup_context)


edge_length_loss.register_fake(_fake_loss)
laplacian_loss.register_fake(_fake_loss)
normal_consistency_loss.register_fake(_fake_loss)
cotangent_weights.register_fake(
    lambda vertices, faces, halfedge_offsets, halfedges, sine: vertices.new_empty(halfedge_offsets.shape[0] - 1)
)
cotangent_scales.register_fake(lambda neighbor_offsets, neighbor_edges, weights: weights.new_empty(neighbor_offsets.shape[0] - 1))
vertex_areas.register_fake(lambda vertices, faces, corner_offsets, corners: vertices.new_empty(vertices.shape[0]))

_register_gradient(
    edge_length_loss,
    lambda vertices, edges, _offsets, _neighbors, _edges, targets, _vertex_offsets, edge_offsets: reference.edge_length_loss(
        vertices, edges, targets, edge_offsets
    ),
)
_register_gradient(laplacian_loss, reference.laplacian_loss)
_register_gradient(
    normal_consistency_loss,
    lambda vertices, faces, _face_edges, _offsets, _halfedges, pairs, _corner_offsets, _corners, _face_offsets, pair_offsets, sine: (
        reference.normal_consistency_loss(vertices, faces, pairs, pair_offsets, sine)
    ),
)


def _tetrahedron(dtype: torch.dtype) -> dict[str, Tensor]:
    """A tetrahedron and its adjacency, written out: this layer knows no topology."""
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    edges = torch.tensor([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])
    halfedges = torch.tensor([2, 3, 0, 8, 5, 6, 1, 9, 4, 11, 7, 10])
    neighbors = torch.tensor([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
    neighbor_edges = torch.tensor([[0, 1, 2], [0, 3, 4], [1, 3, 5], [2, 4, 5]])
    return {
        "vertices": torch.tensor([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.2]], dtype=dtype),
        "faces": faces,
        "edges": edges,
        "face_edges": torch.tensor([[1, 3, 0], [0, 4, 2], [2, 5, 1], [3, 5, 4]]),
        "halfedge_offsets": torch.arange(0, 13, 2),
        "halfedges": halfedges,
        "pairs": halfedges.view(6, 2),
        "offsets": torch.arange(0, 13, 3),
        "neighbors": neighbors.reshape(-1),
        "neighbor_edges": neighbor_edges.reshape(-1),
        "corners": torch.sort(faces.reshape(-1), stable=True).indices,
        "four": torch.tensor([0, 4]),
        "six": torch.tensor([0, 6]),
    }


@example(edge_length_loss)
def _edge_length_example(dtype: torch.dtype) -> tuple[Any, ...]:
    t = _tetrahedron(dtype)
    rows = (t["offsets"], t["neighbors"], t["neighbor_edges"])
    return t["vertices"].requires_grad_(), t["edges"], *rows, torch.tensor([0.5], dtype=dtype), t["four"], t["six"]


@example(cotangent_weights)
def _cotangent_weights_example(dtype: torch.dtype) -> tuple[Any, ...]:
    t = _tetrahedron(dtype)
    return t["vertices"], t["faces"], t["halfedge_offsets"], t["halfedges"], 1e-5


@example(cotangent_scales)
def _cotangent_scales_example(dtype: torch.dtype) -> tuple[Any, ...]:
    t = _tetrahedron(dtype)
    return t["offsets"], t["neighbor_edges"], torch.linspace(0.5, 1, 6, dtype=dtype)


@example(vertex_areas)
def _vertex_areas_example(dtype: torch.dtype) -> tuple[Any, ...]:
    t = _tetrahedron(dtype)
    return t["vertices"], t["faces"], t["offsets"], t["corners"]


@example(laplacian_loss)
def _laplacian_example(dtype: torch.dtype) -> tuple[Any, ...]:
    t = _tetrahedron(dtype)
    rows = (t["offsets"], t["neighbors"], t["neighbor_edges"])
    weights, scales = torch.linspace(0.5, 1, 6, dtype=dtype), torch.ones(4, dtype=dtype)
    return t["vertices"].requires_grad_(), *rows, weights, scales, t["four"], False


@example(normal_consistency_loss)
def _normal_consistency_example(dtype: torch.dtype) -> tuple[Any, ...]:
    t = _tetrahedron(dtype)
    sides = (t["faces"], t["face_edges"], t["halfedge_offsets"], t["halfedges"], t["pairs"], t["offsets"], t["corners"])
    return t["vertices"].requires_grad_(), *sides, t["four"], t["six"], smallest_sine(dtype)
