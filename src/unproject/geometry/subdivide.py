"""Subdivision: each face becomes four, by midpoints or by Loop's rules, with everything that the mesh carries."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import ArgumentError
from .mesh import Mesh
from .topology import Topology, make_topology

Refine = Callable[[Tensor], Tensor]


def split_faces(faces: Tensor, vertex_count: int) -> tuple[Tensor, Tensor]:
    """Cut every face into four at its edges' middles.

    Returns:
        The new faces, [4 F, 3]: those of face f are 4 f to 4 f + 3 (three corners, then the middle); and the cut edges, [E, 2]:
        the new vertex of edge e has index vertex_count + e.
    """
    topology = make_topology(faces, vertex_count)
    return _quartered(topology), topology.edges


def subdivide_midpoint(mesh: Mesh, *, levels: int = 1) -> Mesh:
    """Cut every face into four, `levels` times, without moving anything: the surface stays the same.

    Attributes, colours and UVs are interpolated; face attributes and materials repeat. Vertices keep their place, new ones follow.
    Gradient: vertices and all interpolated attributes.
    """
    for _ in range(_checked(levels, "subdivide_midpoint")):
        topology = _clean_topology(mesh, "subdivide_midpoint")
        mesh = _subdivided(mesh, topology, _midpoints(topology.edges))
    return mesh


def subdivide_loop(mesh: Mesh, *, levels: int = 1) -> Mesh:
    """Loop subdivision: each face becomes four, and the vertices move to where the surface becomes smooth.

    Boundary curves depend on boundary vertices only (cubic B-splines); edges of three or more faces are treated as boundaries.
    Vertex attributes and colours are smoothed with the same weights, UVs are interpolated, and face attributes and materials repeat.
    Vertex normals are dropped, because the surface turns; so are corner normals.

    Gradient: vertices and all attributes. Source: Loop 1987; boundary rules of Hoppe et al. 1994.
    """
    for _ in range(_checked(levels, "subdivide_loop")):
        topology = _clean_topology(mesh, "subdivide_loop")
        mesh = _subdivided(dataclasses.replace(mesh, vertex_normals=None, corner_normals=None), topology, _loop_rules(topology))
    return mesh


def _checked(levels: int, where: str) -> int:
    if not 0 <= levels <= 12:
        raise ArgumentError(f"{where}: `levels` must lie in 0 to 12, got {levels}")
    return levels


def _clean_topology(mesh: Mesh, where: str) -> Topology:
    topology = make_topology(mesh.faces, mesh.vertex_count)
    bad = (topology.face_edges < 0).any(1).nonzero()
    if bad.numel():
        raise ArgumentError(f"{where}: face {int(bad[0])} names a vertex twice; remove degenerate faces first (remove_degenerate_faces)")
    return topology


def _quartered(topology: Topology) -> Tensor:
    a, b, c = topology.faces.unbind(1)
    ab, bc, ca = (topology.face_edges + topology.vertex_count).unbind(1)
    parts = [torch.stack(corners, dim=1) for corners in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    return torch.stack(parts, dim=1).reshape(-1, 3)


def _midpoints(edges: Tensor) -> Refine:
    def refine(values: Tensor) -> Tensor:
        return torch.cat([values, 0.5 * (values.index_select(0, edges[:, 0]) + values.index_select(0, edges[:, 1]))])

    return refine


def _loop_rules(topology: Topology) -> Refine:
    """New values from old: first all vertices, then one for each edge."""
    edges, count = topology.edges, topology.vertex_count
    smooth = topology.edge_halfedge_offsets.diff() == 2
    starts = topology.edge_halfedge_offsets[:-1][smooth]
    halfedges = torch.stack([topology.edge_halfedges[starts], topology.edge_halfedges[starts + 1]], dim=1)
    apex = topology.faces.reshape(-1)[halfedges // 3 * 3 + (halfedges + 2) % 3]
    crease = edges[~smooth]
    crease_degree = torch.bincount(crease.reshape(-1), minlength=count)
    valence = topology.neighbor_offsets.diff().to(torch.float64)
    angle = torch.cos(2 * math.pi / valence.clamp(min=1))
    beta = (0.625 - (0.375 + 0.25 * angle) ** 2) / valence.clamp(min=1)
    interior, on_curve = (crease_degree == 0) & (valence > 0), crease_degree == 2
    neighbor_weight = torch.where(interior, beta, 0.0)

    def refine(values: Tensor) -> Tensor:
        flat = values.reshape(count, -1)
        weight = neighbor_weight.to(values.dtype)[:, None]
        curve = torch.where(on_curve, 0.125, 0.0).to(values.dtype)[:, None]
        ring, along = _sum_ends(edges, flat), _sum_ends(crease, flat)
        own = 1 - weight * valence.to(values.dtype)[:, None] - 2 * curve
        moved = own * flat + weight * ring + curve * along
        middle = 0.5 * (flat[edges[:, 0]] + flat[edges[:, 1]])
        pull = torch.zeros_like(middle)
        pull[smooth] = 0.125 * (flat[apex[:, 0]] + flat[apex[:, 1]]) - 0.25 * middle[smooth]
        return torch.cat([moved, middle + pull]).reshape(-1, *values.shape[1:])

    return refine


def _sum_ends(edges: Tensor, values: Tensor) -> Tensor:
    """For each vertex the sum of the values at the other ends of its edges."""
    total = torch.zeros_like(values)
    for here, there in ((0, 1), (1, 0)):
        index = edges[:, here, None].expand(-1, values.shape[1])
        total = total.scatter_add(0, index, values.index_select(0, edges[:, there]))
    return total


def _subdivided(mesh: Mesh, topology: Topology, refine: Refine) -> Mesh:
    """Every field of the mesh on the finer faces."""
    middle = _midpoints(topology.edges)
    uvs, face_uvs = mesh.uvs, mesh.face_uvs
    if uvs is not None and face_uvs is not None:
        uv_topology = make_topology(face_uvs, uvs.shape[0])
        uvs, face_uvs = _subdivided_uvs(uvs, uv_topology)
    elif uvs is not None:
        uvs = middle(uvs)
    normals = mesh.vertex_normals
    return dataclasses.replace(
        mesh,
        vertices=refine(mesh.vertices),
        faces=_quartered(topology),
        vertex_normals=None if normals is None else torch.nn.functional.normalize(middle(normals), dim=-1),
        vertex_colors=None if mesh.vertex_colors is None else refine(mesh.vertex_colors),
        uvs=uvs,
        face_uvs=face_uvs,
        corner_normals=None if mesh.corner_normals is None else _subdivided_corners(mesh.corner_normals),
        face_materials=None if mesh.face_materials is None else mesh.face_materials.repeat_interleave(4, dim=0),
        vertex_attributes={name: _refined(value, refine) for name, value in mesh.vertex_attributes.items()},
        face_attributes={name: value.repeat_interleave(4, dim=0) for name, value in mesh.face_attributes.items()},
    )


def _refined(values: Tensor, refine: Refine) -> Tensor:
    """Attributes of an integer type or truth values are labels: a new vertex takes them from the middle, rounded."""
    if values.is_floating_point():
        return refine(values)
    return refine(values.to(torch.float64)).round().to(values.dtype)


def _subdivided_uvs(uvs: Tensor, topology: Topology) -> tuple[Tensor, Tensor]:
    """UV triangles may be degenerate; an edge of one point gets a middle of its own, which is that point."""
    collapsed = (topology.face_edges < 0).nonzero()
    points = topology.faces[collapsed[:, 0], collapsed[:, 1]]
    face_edges = topology.face_edges.clone()
    face_edges[collapsed[:, 0], collapsed[:, 1]] = topology.edge_count + torch.arange(points.shape[0], device=uvs.device)
    finer = torch.cat([_midpoints(topology.edges)(uvs), uvs[points]])
    return finer, _quartered(dataclasses.replace(topology, face_edges=face_edges))


def _subdivided_corners(normals: Tensor) -> Tensor:
    a, b, c = normals.unbind(1)
    ab, bc, ca = (torch.nn.functional.normalize(x + y, dim=-1) for x, y in ((a, b), (b, c), (c, a)))
    parts = [torch.stack(corners, dim=1) for corners in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    return torch.stack(parts, dim=1).reshape(-1, 3, 3)
