"""Regularizers of meshes: edge length, Laplacian smoothing, normal consistency. Topology is computed once and passed in.

Of a batch, each is the mean over meshes of the mean over the mesh's edges, vertices or pairs of faces; a mesh without any counts as 0.
All gradients are finite for finite vertices, degenerate faces included; second derivatives exist.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..geometry.topology import Topology
from ..ops import smoothness as ops
from ..reference import smoothness as reference

_SMALLEST_COTANGENT_SINE = 1e-5


def edge_length_loss(vertices: Tensor, topology: Topology, *, target: float | Tensor = 0.0) -> Tensor:
    """Mean squared difference between edge lengths and a target.

    Args:
        vertices: [V, 3].
        topology: of the mesh or batch, from `mesh_topology`.
        target: length in scene units, for all edges or [E] one for each.

    Returns:
        [] in squared scene units. Gradient: vertices.
    """
    _check(vertices, topology, "edge_length_loss")
    targets = torch.as_tensor(target, dtype=vertices.dtype, device=vertices.device).reshape(-1)
    if targets.shape[0] not in (1, topology.edge_count):
        raise ArgumentError(f"edge_length_loss: `target` must be a number or [{topology.edge_count}], got {list(targets.shape)}")
    if not vertices.is_cpu:
        return reference.edge_length_loss(vertices, topology.edges, targets, topology.edge_offsets)
    t = topology
    rows = (t.edges, t.neighbor_offsets, t.neighbors, t.neighbor_edges)
    return ops.edge_length_loss(vertices, *rows, targets.contiguous(), t.vertex_offsets, t.edge_offsets)[0]


def laplacian_smoothing_loss(vertices: Tensor, topology: Topology, *, weighting: str = "uniform", squared: bool = False) -> Tensor:
    """Mean distance of the vertices from the weighted mean of their neighbours.

    Args:
        vertices: [V, 3].
        topology: of the mesh or batch, from `mesh_topology`.
        weighting: "uniform", all neighbours alike: also evens out the mesh. "cotangent": by the cotangents opposite to each edge: moves
            along the normal mostly. "curvature": cotangents over a quarter of the area of the faces around: the mean curvature, in
            1 / scene units. Cotangents and areas are held fixed.
        squared: whether the mean is over squared lengths (a thin-plate energy) instead of lengths.

    Returns:
        [] in scene units; for "curvature" in 1 / scene units; squared, their squares. Gradient: vertices (weights held fixed).
        Source: Nealen et al. 2006, "Laplacian mesh optimization"; Desbrun et al. 1999 (curvature).
    """
    _check(vertices, topology, "laplacian_smoothing_loss")
    if weighting not in ("uniform", "cotangent", "curvature"):
        raise ArgumentError(f'laplacian_smoothing_loss: `weighting` must be "uniform", "cotangent" or "curvature", got {weighting!r}')
    t = topology
    weights = scales = vertices.new_empty(0)
    if weighting != "uniform":
        with torch.no_grad():
            weights, scales = _cotangent_weights(vertices.detach(), t, curvature=weighting == "curvature")
    arguments = (vertices, t.neighbor_offsets, t.neighbors, t.neighbor_edges, weights, scales, t.vertex_offsets, squared)
    if not vertices.is_cpu:
        return reference.laplacian_loss(*arguments)
    return ops.laplacian_loss(*arguments)[0]


def normal_consistency_loss(vertices: Tensor, topology: Topology) -> Tensor:
    """Mean of 1 - cosine of the angle between the normals of faces that share an edge.

    0 for a flat surface, 2 for a folded one. Where an edge has more than two faces every pair of them counts. Windings need not agree.
    A pair with a face without area counts as 1 and has no gradient.

    Args:
        vertices: [V, 3].
        topology: of the mesh or batch, from `mesh_topology`.

    Returns:
        []. Gradient: vertices.
    """
    _check(vertices, topology, "normal_consistency_loss")
    t, sine = topology, ops.smallest_sine(vertices.dtype)
    if not vertices.is_cpu:
        return reference.normal_consistency_loss(vertices, t.faces, t.pairs, t.pair_offsets, sine)
    sides = (t.faces, t.face_edges, t.edge_halfedge_offsets, t.edge_halfedges, t.pairs, t.corner_offsets, t.corners)
    return ops.normal_consistency_loss(vertices, *sides, t.face_offsets, t.pair_offsets, sine)[0]


def _cotangent_weights(vertices: Tensor, topology: Topology, *, curvature: bool) -> tuple[Tensor, Tensor]:
    """Weights [E] and scales [V] of the cotangent or curvature variant."""
    t = topology
    on_cpu = vertices.is_cpu
    corners = (t.faces, t.edge_halfedge_offsets, t.edge_halfedges, _SMALLEST_COTANGENT_SINE)
    weights = (ops if on_cpu else reference).cotangent_weights(vertices, *corners)
    if not curvature:
        return weights, (ops if on_cpu else reference).cotangent_scales(t.neighbor_offsets, t.neighbor_edges, weights)
    areas = ops.vertex_areas(vertices, t.faces, t.corner_offsets, t.corners) if on_cpu else reference.vertex_areas(vertices, t.faces)
    floor = 1e-6 * areas.mean() if areas.numel() else 0
    bounded = torch.clamp(areas, min=floor)
    return weights, torch.where(bounded > 0, 0.5 / torch.where(bounded > 0, bounded, 1), 0)


def _check(vertices: Tensor, topology: Topology, where: str) -> None:
    check_shape(vertices, ["V", 3], name="vertices", where=where)
    if vertices.shape[0] != topology.vertex_count:
        raise ArgumentError(f"{where}: `topology` is of {topology.vertex_count} vertices, `vertices` has {vertices.shape[0]}")
