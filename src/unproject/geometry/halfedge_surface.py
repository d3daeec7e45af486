"""A mesh as the half-edge surface that remeshing and decimation work on, and back: features, boundaries, places that are not manifold."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ops.remesh import label_fans
from ..struct import TensorStruct
from .mesh import Mesh
from .normals import face_normals
from .topology import Topology, edge_face_counts, halfedge_origins, halfedge_twins, make_topology

FEATURE, LOCKED = 1, 2  # marks of half-edges
CURVE, FIXED = 1, 2  # kinds of vertices
SURFACE_ARRAYS = ("corners", "twins", "marks", "kinds", "names", "positions", "sizes")  # as the operators take and give them
_CORNER_TURN_DEG = 50.0  # a boundary or feature curve that turns by more has a corner there, which stays


@dataclass(frozen=True, kw_only=True)
class HalfedgeSurface(TensorStruct):
    """A surface in which every vertex has one fan of faces; the fields are those of kernels/halfedge.py, on the CPU.

    Positions are float64 and relative to `center`. A vertex where several fans meet has a copy for each, all FIXED and of one name.

    Attributes:
        corners, twins: int64 [3 F].
        marks: uint8 [3 F].
        kinds: uint8 [V].
        names: int64 [V] the vertex of the mesh.
        positions: float64 [V, 3].
        sizes: float64 [V].
        center: float64 [3].
    """

    corners: Tensor
    twins: Tensor
    marks: Tensor
    kinds: Tensor
    names: Tensor
    positions: Tensor
    sizes: Tensor
    center: Tensor

    @property
    def arrays(self) -> tuple[Tensor, ...]:
        """What SURFACE_ARRAYS names."""
        return self.corners, self.twins, self.marks, self.kinds, self.names, self.positions, self.sizes


def open_surface(mesh: Mesh, *, sizes: Tensor, feature_angle_deg: float | None, keep_faces: Tensor | None) -> HalfedgeSurface:
    """The half-edge surface of a mesh. Faces that name a vertex twice are left out.

    Args:
        mesh: any mesh.
        sizes: [V] wanted edge lengths.
        feature_angle_deg: edges whose faces turn by more are features; None for none.
        keep_faces: [F] mask of faces that stay as they are.
    """
    faces, vertices = mesh.faces.detach().cpu(), mesh.vertices.detach().cpu().to(torch.float64)
    whole = (faces != faces.roll(1, dims=1)).all(1)
    faces = faces[whole]
    topology = make_topology(faces, mesh.vertex_count)
    twins = halfedge_twins(topology)
    marks = _edge_marks(topology, vertices, twins, feature_angle_deg, None if keep_faces is None else keep_faces.cpu()[whole])
    corners = label_fans(faces.reshape(-1), twins) if faces.numel() else faces.reshape(-1)
    count = int(corners.max()) + 1 if corners.numel() else 0
    names = torch.empty(count, dtype=torch.int64).index_copy(0, corners, faces.reshape(-1))
    kinds = _vertex_kinds(topology, vertices, marks, twins)[names]
    kinds[torch.bincount(names, minlength=mesh.vertex_count)[names] > 1] = FIXED
    center = 0.5 * (vertices.amin(0) + vertices.amax(0)) if vertices.numel() else vertices.new_zeros(3)
    return HalfedgeSurface(
        corners=corners,
        twins=twins,
        marks=marks,
        kinds=kinds,
        names=names,
        positions=vertices[names] - center,
        sizes=sizes.cpu().to(torch.float64)[names],
        center=center,
    )


def close_surface(surface: HalfedgeSurface, like: Mesh) -> tuple[Tensor, Tensor]:
    """Vertices and faces of a surface, in the type and on the device of a mesh; copies of a vertex become one again."""
    keys = torch.arange(surface.names.shape[0])
    fixed = (surface.kinds == FIXED).nonzero()[:, 0]
    if fixed.numel():
        unique, inverse = torch.unique(surface.names[fixed], return_inverse=True)
        first = torch.full_like(unique, keys.shape[0]).scatter_reduce(0, inverse, fixed, "amin")
        keys[fixed] = first[inverse]
    kept, index = torch.unique(keys, return_inverse=True)
    vertices = (surface.positions[kept] + surface.center).to(like.vertices)
    return vertices, index[surface.corners].view(-1, 3).to(like.faces.device)


def curve_segments(surface: HalfedgeSurface) -> tuple[Tensor, Tensor]:
    """The boundary and feature edges as faces without area (a, b, b), for closest-point queries: positions [V, 3] and faces [S, 3]."""
    start, end = halfedge_origins(surface.corners.view(-1, 3))
    on_curve = ((surface.twins < 0) | (surface.marks != 0)) & (surface.twins < torch.arange(start.shape[0]))
    return surface.positions, torch.stack([start, end, end], dim=1)[on_curve]


def _edge_marks(topology: Topology, vertices: Tensor, twins: Tensor, feature_angle_deg: float | None, keep_faces: Tensor | None) -> Tensor:
    marks = torch.zeros(3 * topology.face_count, dtype=torch.uint8)
    if feature_angle_deg is not None:
        normals = face_normals(vertices, topology.faces)
        inside = (twins >= 0).nonzero()[:, 0]
        cosine = (normals[inside // 3] * normals[twins[inside] // 3]).sum(-1)
        marks[inside[cosine < math.cos(math.radians(feature_angle_deg))]] = FEATURE
    # Where no twin could be given although there are other faces, the edge must stay: elsewhere someone else holds its ends.
    strange = (twins < 0) & (edge_face_counts(topology)[topology.face_edges.reshape(-1)] > 1)
    marks[strange] = LOCKED
    if keep_faces is not None:
        kept = keep_faces.repeat_interleave(3)
        marks[kept] = LOCKED
        across = twins[kept & (twins >= 0)]
        marks[across] = LOCKED
    return marks


def _vertex_kinds(topology: Topology, vertices: Tensor, marks: Tensor, twins: Tensor) -> Tensor:
    """Vertices on one smooth curve are CURVE; where curves end, meet or turn sharply, and at locked edges, they are FIXED."""
    start, end = halfedge_origins(topology.faces)
    on_curve = ((twins < 0) | (marks != 0)) & (twins < torch.arange(start.shape[0]))
    start, end, locked = start[on_curve], end[on_curve], (marks == LOCKED)[on_curve]
    degree = torch.bincount(torch.cat([start, end]), minlength=topology.vertex_count)
    direction = torch.nn.functional.normalize(vertices[end] - vertices[start], dim=-1)
    bend = torch.zeros_like(vertices).index_add(0, start, direction).index_add(0, end, -direction)
    # the two unit vectors away from a curve vertex nearly cancel where it runs straight: |u + v| = 2 sin(turn / 2)
    sharp = bend.norm(dim=-1) > 2 * math.sin(math.radians(_CORNER_TURN_DEG) / 2)
    kinds = torch.where(degree == 0, 0, torch.where((degree == 2) & ~sharp, CURVE, FIXED)).to(torch.uint8)
    kinds[torch.cat([start[locked], end[locked]])] = FIXED
    return kinds
