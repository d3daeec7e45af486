"""From the implicit function to a mesh: marching cubes on the lattice, what of it the points support, and trimming."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..geometry.isosurface import find_isosurface_of_cells
from ..geometry.laplacian import uniform_laplacian
from ..geometry.manifold import components, face_components
from ..geometry.mesh import Mesh
from ..geometry.neighbors import knn, nearest
from ..geometry.normals import face_areas
from ..geometry.point_index import build_index
from ..geometry.subdivide import subdivide_loop
from ..geometry.topology import boundary_vertices, make_topology
from ..struct import TensorStruct
from .implicit import Lattice, node_positions

_UPPER = ((4, 1), (7, 1), (5, 1), (8, 1), (4, 2), (7, 2), (5, 2), (8, 2))  # (column, z + 1) of cell corner c: bits x, y, z of c
_CHUNK = 1 << 20
_REACH = 4.0  # spacings of the points: gaps up to twice as wide are no holes
_TOGETHER = 3  # points that support a surface
_APART = 0.2  # longest sides between the points and a surface that is none of theirs
_MOST_FACES = 1_500_000
_SHRINK, _GROW = 0.5, -0.53  # waves longer than about 10 edges keep their height


@dataclass(frozen=True, kw_only=True)
class Support(TensorStruct):
    """What the points say about each vertex.

    Attributes:
        distance: [V] to the nearest point.
        spacing: [V] distance of that point to its own neighbours.
        supported: bool [V].
    """

    distance: Tensor
    spacing: Tensor
    supported: Tensor


def extract_mesh(lattice: Lattice, values: Tensor) -> Mesh:
    """Marching cubes on all cells whose corners are nodes. Vertices in the lattice's frame."""
    cells = []
    for begin in range(0, lattice.node_count, _CHUNK):
        cells.append(_crossed_cells(lattice, values, begin, min(begin + _CHUNK, lattice.node_count)))
    surface = find_isosurface_of_cells(values, torch.cat(cells) if cells else torch.zeros((0, 8), dtype=torch.int64))
    return Mesh(vertices=surface.interpolate(node_positions(lattice)), faces=surface.faces)


def _crossed_cells(lattice: Lattice, values: Tensor, begin: int, end: int) -> Tensor:
    """int64 [C, 8] corner nodes of the cells above nodes begin to end that have all corners and a change of sign."""
    columns, present = lattice.columns[begin:end], lattice.present[begin:end]
    needed = sum(1 << (3 * c + d) for c, d in _UPPER)
    whole = ((present & needed) == needed).nonzero()[:, 0]
    first = columns[whole].long()
    corners = torch.stack([first[:, c] + (d == 2) for c, d in _UPPER], dim=1)  # the node itself is present, so the one above is next
    inside = values[corners] < 0
    return corners[inside.any(1) & ~inside.all(1)]


def fair_mesh(mesh: Mesh, *, rounds: int = 2) -> Mesh:
    """Take out ripples of the length of a cell, which are the lattice's; longer waves stay. Boundaries stay where they are.

    Source: Taubin 1995, "A signal processing approach to fair surface design".
    """
    if mesh.face_count == 0:
        return mesh
    topology = make_topology(mesh.faces, mesh.vertex_count)
    laplacian = uniform_laplacian(topology, normalized=True, dtype=mesh.vertices.dtype)
    free = (~boundary_vertices(topology)).to(mesh.vertices.dtype)[:, None]
    vertices = mesh.vertices
    for step in (_SHRINK, _GROW) * rounds:
        vertices = vertices - step * free * torch.sparse.mm(laplacian, vertices)
    return replace(mesh, vertices=vertices)


def refine_mesh(mesh: Mesh) -> Mesh:
    """Four faces for each, smoothly joined: flat ones as large as a cell cannot show how the normal turns within it.

    Meshes that would get very many faces stay as they are: their faces are small already.
    """
    return mesh if 4 * mesh.face_count > _MOST_FACES else subdivide_loop(mesh)


def measure_support(vertices: Tensor, points: Tensor, *, noise: float, cell: float) -> Support:
    """Which vertices have points near: within a few times the points' own spacing there, beyond what noise and lattice explain.

    One point alone, a stray in a wide opening, is none: the third one has to be near, too.
    """
    index = build_index(points)
    spacing = knn(index, index, min(9, points.shape[0])).squared_distance[:, -1].sqrt() / 1.6  # of 8 neighbours in a plane
    usual = float(spacing.median())
    found = knn(vertices, index, min(_TOGETHER, points.shape[0]))
    distance, third = found.squared_distance[:, 0].sqrt(), found.squared_distance[:, -1].sqrt()
    local = spacing[found.index[:, 0]].clamp(max=5 * usual)
    blur = 2 * noise + cell
    supported = (distance <= _REACH * local + blur) & (third <= (_REACH + 2) * local + blur)
    return Support(distance=distance, spacing=local, supported=supported)


def keep_supported_parts(mesh: Mesh, points: Tensor, areas: Tensor, *, smallest: float = 0.005) -> Mesh:
    """Drop components whose points, those that are nearest to them, stand for less than `smallest` of all, or than a tenth of their area.

    Args:
        points: [P, 3].
        areas: [P] what each stands for; at most twice what is usual counts: strays in a void, around which a bubble has formed, are few.
    """
    if mesh.face_count == 0 or len(points) == 0:
        return mesh
    areas = areas.clamp(max=2 * float(areas.median()))
    component = face_components(make_topology(mesh.faces, mesh.vertex_count))
    count = int(component.max()) + 1
    whole = torch.zeros(count, dtype=areas.dtype).index_add(0, component, face_areas(mesh.vertices, mesh.faces))
    of_vertex = torch.empty(mesh.vertex_count, dtype=torch.int64).index_copy(0, mesh.faces.reshape(-1), component.repeat_interleave(3))
    backed = torch.zeros(count, dtype=areas.dtype).index_add(0, of_vertex[nearest(points, mesh.vertices).index], areas)
    keep = (backed >= smallest * backed.sum()) & (backed >= 0.1 * whole)
    keep[backed.argmax()] = True
    return compact(Mesh(vertices=mesh.vertices, faces=mesh.faces[keep[component]]))


def colors_near(vertices: Tensor, points: Tensor, colors: Tensor, *, spacing: float) -> Tensor:
    """Colours [V, C] at vertices, from those [P, C] of the points [P, 3] near, which are about `spacing` apart."""
    found = knn(vertices, points, min(4, points.shape[0]))
    weight = 1 / (found.squared_distance + (0.25 * spacing) ** 2)
    return (colors[found.index] * (weight / weight.sum(1, keepdim=True))[:, :, None].to(colors.dtype)).sum(1)


def unsupported_share(mesh: Mesh, supported: Tensor) -> float:
    """Share of the area whose corners lack support."""
    area = face_areas(mesh.vertices, mesh.faces)
    return float((area * (~supported)[mesh.faces].to(area.dtype).mean(1)).sum() / area.sum().clamp(min=1e-30))


def is_flat(points: Tensor) -> bool:
    """Whether points [P, 3] lie in one plane, which no closed surface does."""
    centred = (points - points.mean(0)).double()
    spread = torch.linalg.eigvalsh(centred.T @ centred)
    return float(spread[0]) < 1e-4 * float(spread[1])


def is_apart(points: Tensor, mesh: Mesh) -> bool:
    """Whether the mesh lies elsewhere than most of the points [P, 3], which a few of them can bring about."""
    distance = nearest(points[:: max(1, points.shape[0] // 10_000)], mesh.vertices).squared_distance.sqrt()
    return float(distance.median()) > _APART


def bridge_narrow(mesh: Mesh, support: Support, width: float) -> Support:
    """The support with holes narrower than `width` counted as supported: where the mesh in them is nowhere farther than half of that from
    the points."""
    first, second = make_topology(mesh.faces, mesh.vertex_count).edges.T
    inside = ~support.supported[first] & ~support.supported[second]
    hole = components(first[inside], second[inside], mesh.vertex_count)
    depth = torch.zeros_like(support.distance).scatter_reduce(0, hole, support.distance, "amax")
    return replace(support, supported=support.supported | (2 * depth[hole] < width))


def compact(mesh: Mesh) -> Mesh:
    """Without vertices that no face uses."""
    used, faces = mesh.faces.reshape(-1).unique(return_inverse=True)
    return Mesh(vertices=mesh.vertices[used], faces=faces.reshape(-1, 3))


def trim_mesh(mesh: Mesh, support: Support, *, rounds: int = 20) -> Mesh:
    """Cut the surface where its support ends, along a smoothed line; small islands of either kind go with what surrounds them."""
    kept = support.supported
    if not bool(kept.all()):
        gap = nearest(
            mesh.vertices, mesh.vertices[~kept]
        ).squared_distance.sqrt()  # support ends some way beyond the last points: take that back
        kept = kept & ((gap > (_REACH - 1) * support.spacing) | (support.distance <= support.spacing))
    return clip_mesh(mesh, _spread(mesh, kept.to(mesh.vertices.dtype), rounds) - 0.5)


def _spread(mesh: Mesh, values: Tensor, rounds: int) -> Tensor:
    """Average with the neighbours, `rounds` times."""
    corners = mesh.faces
    count = torch.bincount(corners.reshape(-1), minlength=mesh.vertex_count).to(values.dtype).clamp(min=1)
    for _ in range(rounds):
        mean = values[corners].mean(1, keepdim=True).expand(-1, 3).reshape(-1)
        values = torch.zeros_like(values).index_add(0, corners.reshape(-1), mean) / count
    return values


def clip_mesh(mesh: Mesh, values: Tensor) -> Mesh:
    """The part of the mesh where values [V], linear in each face, are not negative."""
    positive = values[mesh.faces] >= 0
    number = positive.sum(1)
    whole = mesh.faces[number == 3]
    one, two = mesh.faces[number == 1], mesh.faces[number == 2]
    one = one.gather(1, (positive[number == 1].to(torch.int64).argmax(1)[:, None] + torch.arange(3)) % 3)  # the positive corner first
    two = two.gather(1, ((~positive[number == 2]).to(torch.int64).argmax(1)[:, None] + torch.arange(3)) % 3)  # the negative corner first
    cuts = torch.cat([one[:, [0, 1]], one[:, [0, 2]], two[:, [1, 0]], two[:, [2, 0]]])  # from the positive end to the negative one
    edges, place = cuts.unique(dim=0, return_inverse=True)
    a, b = values[edges[:, 0]], values[edges[:, 1]]
    part = (a / (a - b).clamp(min=1e-30)).clamp(0.02, 0.98)[:, None]
    vertices = torch.cat([mesh.vertices, mesh.vertices[edges[:, 0]] * (1 - part) + mesh.vertices[edges[:, 1]] * part])
    place = place + mesh.vertex_count
    n, m = len(one), len(two)
    first, second, third, fourth = place[:n], place[n : 2 * n], place[2 * n : 2 * n + m], place[2 * n + m :]
    pieces = [
        whole,
        torch.stack([one[:, 0], first, second], dim=1),
        torch.stack([third, two[:, 1], two[:, 2]], dim=1),
        torch.stack([third, two[:, 2], fourth], dim=1),
    ]
    return compact(Mesh(vertices=vertices, faces=torch.cat(pieces)))
