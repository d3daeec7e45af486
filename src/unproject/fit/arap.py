"""As-rigid-as-possible deformation: handles are moved, and the rest follows with as little change of local shape as it can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from torch import Tensor

from ..errors import ArgumentError, DataError, check_indices, check_shape
from ..geometry.laplacian import cotangent_weights
from ..geometry.mesh import Mesh
from ..geometry.topology import Topology, mesh_topology
from ..lie.rotations import nearest_rotation
from ..struct import TensorStruct

_LEAST_WEIGHT = 1e-3  # of the mean: keeps the system positive where angles are obtuse


@dataclass(frozen=True, kw_only=True)
class ArapStep(TensorStruct):
    """One round: index from 1, the energy before its solve, and the mesh."""

    index: int
    energy: float
    mesh: Mesh


def arap_weights(rest: Float[Tensor, "V 3"], topology: Topology) -> Float[Tensor, "E"]:
    """[E] cotangent weights of the edges of a rest shape, not below a thousandth of their mean magnitude."""
    weights = cotangent_weights(rest, topology)
    return weights.clamp_min(_LEAST_WEIGHT * float(weights.abs().mean())) if len(weights) else weights


def arap_rotations(vertices: Tensor, rest: Tensor, topology: Topology, weights: Tensor) -> Float[Tensor, "V 3 3"]:
    """The rotation of each vertex's fan of edges that fits best."""
    i, j = topology.edges.T
    now, then = vertices[i] - vertices[j], rest[i] - rest[j]
    outer = (weights[:, None] * now)[:, :, None] * then[:, None]
    zero = outer.new_zeros(topology.vertex_count, 3, 3)
    return nearest_rotation(zero.index_add(0, i, outer).index_add(0, j, outer))


def arap_energy(
    vertices: Float[Tensor, "V 3"], rest: Float[Tensor, "V 3"], topology: Topology, weights: Tensor | None = None
) -> Float[Tensor, ""]:
    """How much a shape differs locally from its rest shape: zero for a rigid motion. In squared scene units.

    Sum over vertices i and neighbours j of w_ij |(p_i - p_j) - R_i (q_i - q_j)|^2, with the rotation R_i that makes it least.

    Args:
        vertices, rest: [V, 3] p and q.
        topology: of the mesh.
        weights: [E] of the edges; `arap_weights(rest, topology)` by default.

    Raises:
        ArgumentError: shapes.

    Gradient: vertices, exact (the rotations are where the energy is least, so they add nothing to it).
    Source: Sorkine and Alexa 2007, eq. 3.
    """
    where = "arap_energy"
    check_shape(vertices, [topology.vertex_count, 3], name="vertices", where=where)
    check_shape(rest, [topology.vertex_count, 3], name="rest", where=where)
    if weights is None:
        weights = arap_weights(rest.detach(), topology)
    check_shape(weights, [topology.edge_count], name="weights", where=where)
    return _energy(vertices, rest, topology, weights, arap_rotations(vertices.detach(), rest.detach(), topology, weights))


def _energy(vertices: Tensor, rest: Tensor, topology: Topology, weights: Tensor, rotations: Tensor) -> Tensor:
    """`arap_energy` for the rotations [V, 3, 3] that make it least."""
    i, j = topology.edges.T
    now, then = vertices[i] - vertices[j], (rest[i] - rest[j])[..., None]
    off = (now - (rotations[i] @ then)[..., 0]).square().sum(1) + (now - (rotations[j] @ then)[..., 0]).square().sum(1)
    return (weights * off).sum()


def arap_steps(
    mesh: Mesh, handles: Int[Tensor, "H"], targets: Float[Tensor, "H 3"], *, start: Tensor | None = None, iterations: int = 50,
    tolerance: float = 1e-6,
) -> Iterator[ArapStep]:  # fmt: skip
    """Deform a mesh so that its handles lie at their targets: rotations and positions in turn, with one factorization.

    Args:
        mesh: the rest shape.
        handles: [H] vertices, at least one in each connected part; none twice.
        targets: [H, 3] where they go, exactly.
        start: [V, 3] first guess; by default what the Laplacian alone makes of the handles.
        iterations: most rounds.
        tolerance: rounds end when the energy falls by less than this share.

    Raises:
        ArgumentError: shapes, indices, handles named twice, numbers out of range.
        DataError: a connected part without a handle, or vertices without faces that are not handles.

    Source: Sorkine and Alexa 2007.
    """
    topology, handles = _checked(mesh, handles, targets, start, iterations)
    rest, goal = mesh.vertices.double(), targets.double()
    weights = arap_weights(rest, topology)
    solve = _factorized(topology, weights, handles)
    identity = torch.eye(3, dtype=torch.float64).expand(topology.vertex_count, 3, 3)
    vertices = solve(_right_side(rest, topology, weights, identity), goal) if start is None else start.double().index_copy(0, handles, goal)
    before = float("inf")
    for index in range(1, iterations + 1):
        rotations = arap_rotations(vertices, rest, topology, weights)
        energy = float(_energy(vertices, rest, topology, weights, rotations))
        vertices = solve(_right_side(rest, topology, weights, rotations), goal)
        moved = replace(mesh, vertices=vertices.to(mesh.vertices), vertex_normals=None, corner_normals=None)
        yield ArapStep(index=index, energy=energy, mesh=moved)
        if before - energy <= tolerance * before and before < float("inf"):
            return
        before = energy


def arap_deform(mesh: Mesh, handles: Tensor, targets: Tensor, *, start: Tensor | None = None, iterations: int = 50) -> Mesh:
    """The mesh after the last round of `arap_steps`."""
    for step in arap_steps(mesh, handles, targets, start=start, iterations=iterations):
        mesh = step.mesh
    return mesh


def _checked(mesh: Mesh, handles: Tensor, targets: Tensor, start: Tensor | None, iterations: int) -> tuple[Topology, Tensor]:
    where = "arap_steps"
    check_shape(handles, ["H"], name="handles", where=where, integer=True)
    check_indices(handles, mesh.vertex_count, name="handles", where=where)
    check_shape(targets, [len(handles), 3], name="targets", where=where, finite=True)
    check_shape(mesh.vertices, ["V", 3], name="vertices", where=where, finite=True)
    if start is not None:
        check_shape(start, [mesh.vertex_count, 3], name="start", where=where, finite=True)
    if iterations < 1:
        raise ArgumentError(f"{where}: `iterations` must be at least 1, got {iterations}")
    handles = handles.long()
    if len(handles.unique()) != len(handles):
        raise ArgumentError(f"{where}: `handles` names a vertex twice")
    topology = mesh_topology(mesh)
    i, j = topology.edges.numpy().T
    graph = coo_matrix((np.ones(len(i)), (i, j)), shape=(mesh.vertex_count,) * 2)
    count, part = connected_components(graph, directed=False)
    held = np.zeros(count, bool)
    held[part[handles.numpy()]] = True
    if not held.all():
        lost, first = int((~held).sum()), int(np.flatnonzero(~held[part])[0])
        raise DataError(f"{where}: {lost} of {count} connected parts have no handle, vertex {first} is in one")
    return topology, handles


def _factorized(topology: Topology, weights: Tensor, handles: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """The function from the right side [V, 3] and the handles' places [H, 3] to all vertices."""
    count = topology.vertex_count
    i, j = topology.edges.numpy().T
    w = weights.double().numpy()
    matrix = coo_matrix((np.r_[-w, -w, w, w], (np.r_[i, j, i, j], np.r_[j, i, i, j])), shape=(count, count)).tocsr()
    held = handles.numpy()
    free = np.setdiff1d(np.arange(count), held)
    coupling = matrix[free][:, held]
    factor = None
    if len(free):
        inner = matrix[free][:, free].tocsc()
        factor = splu(inner, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})

    def solve(right: Tensor, goal: Tensor) -> Tensor:
        vertices = np.empty((count, 3))
        vertices[held] = goal.numpy()
        if factor is not None:
            vertices[free] = factor.solve(right.numpy()[free] - coupling @ vertices[held])
        return torch.from_numpy(vertices)

    return solve


def _right_side(rest: Tensor, topology: Topology, weights: Tensor, rotations: Tensor) -> Tensor:
    """[V, 3] sum over neighbours of w_ij / 2 (R_i + R_j) (q_i - q_j)."""
    i, j = topology.edges.T
    turned = 0.5 * weights[:, None] * ((rotations[i] + rotations[j]) @ (rest[i] - rest[j])[..., None])[..., 0]
    return torch.zeros_like(rest).index_add(0, i, turned).index_add(0, j, -turned)
