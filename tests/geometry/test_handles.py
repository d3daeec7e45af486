from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unproject.geometry.handles import cut_handles
from unproject.geometry.intersect import self_intersections
from unproject.geometry.isosurface import find_isosurface_of_cells
from unproject.geometry.manifold import SurfaceKind, classify_surface
from unproject.geometry.mesh import Mesh
from unproject.geometry.primitives import torus
from unproject.geometry.query import closest_point
from unproject.geometry.topology import mesh_topology


def kind(mesh: Mesh) -> SurfaceKind:
    return classify_surface(mesh_topology(mesh))


def ring(points: Tensor, centre: list[float], *, radius: float, thickness: float) -> Tensor:
    """Signed distance to a torus about an axis along y."""
    x, y, z = (points - torch.tensor(centre)).T
    return (((x.square() + z.square()).sqrt() - radius).square() + y.square()).sqrt() - thickness


def zero_set(field: Tensor, size: int, points: Tensor) -> Mesh:
    """Marching cubes on all cells of a grid of size^3 points."""
    lowest = torch.cartesian_prod(*[torch.arange(size - 1)] * 3)
    corner = torch.tensor([[c & 1, c >> 1 & 1, c >> 2 & 1] for c in range(8)])
    at = lowest[:, None] + corner
    found = find_isosurface_of_cells(field, (at[..., 0] * size + at[..., 1]) * size + at[..., 2])
    return Mesh(vertices=found.interpolate(points), faces=found.faces)


def ball_with_rings(size: int = 72) -> Mesh:
    """A ball with a large handle and four small ones around it."""
    points = torch.cartesian_prod(*[torch.linspace(-1, 1, size)] * 3)
    field = points.norm(dim=1) - 0.6
    field = torch.minimum(field, ring(points, [0.6, 0, 0], radius=0.25, thickness=0.05))
    for centre in ([0, 0, 0.6], [0, 0, -0.6], [-0.6, 0, 0], [-0.42, 0, 0.42]):
        field = torch.minimum(field, ring(points, centre, radius=0.09, thickness=0.035))
    return zero_set(field, size, points)


def test_small_handles_go_and_large_ones_stay() -> None:
    mesh = ball_with_rings()
    before = kind(mesh)
    assert before.watertight and before.genus == 5
    result = cut_handles(mesh, torch.full((mesh.vertex_count,), 0.55))
    after = kind(result.mesh)
    assert result.cuts == 4 and after.genus == 1 and after.watertight and after.vertex_manifold and after.component_count == 1
    assert len(self_intersections(result.mesh)) == 0
    assert float(closest_point(result.mesh.vertices, mesh).squared_distance.sqrt().max()) < 0.1
    moved = (result.mesh.vertices - mesh.vertices[result.source]).norm(dim=1)
    assert float((moved == 0).float().mean()) > 0.9


@pytest.mark.parametrize(("limit", "genus"), [(0.5, 1), (3.0, 1), (20.0, 0)])
def test_a_torus_is_a_handle_only_where_both_its_curves_are_short(limit: float, genus: int) -> None:
    mesh = torus(1.0, 0.2, segments=(64, 24))  # around 1.3, through 5.0 at least
    result = cut_handles(mesh, torch.full((mesh.vertex_count,), limit))
    assert kind(result.mesh).genus == genus and result.cuts == 1 - genus
    if genus:
        assert torch.equal(result.mesh.vertices, mesh.vertices) and torch.equal(result.mesh.faces, mesh.faces)


def test_boundaries_are_no_handles_and_stay() -> None:
    mesh = ball_with_rings()
    middle = mesh.vertices[mesh.faces].mean(1)
    kept = (middle[:, 1] < 0.45) & ((middle - torch.tensor([0, -0.6, 0])).norm(dim=1) > 0.2)
    opened = Mesh(vertices=mesh.vertices, faces=mesh.faces[kept])
    assert kind(opened).boundary_loop_count == 2
    result = cut_handles(opened, torch.full((opened.vertex_count,), 0.55))
    after = kind(result.mesh)
    assert after.boundary_loop_count == 2 and after.genus == 1 and after.vertex_manifold
    assert after.boundary_edge_count == kind(opened).boundary_edge_count


def test_nothing_and_broken_meshes_stay_as_they_are() -> None:
    empty = Mesh(vertices=torch.zeros(0, 3), faces=torch.zeros((0, 3), dtype=torch.int64))
    assert cut_handles(empty, torch.zeros(0)).cuts == 0
    book = Mesh(vertices=torch.rand(5, 3), faces=torch.tensor([[0, 1, 2], [0, 1, 3], [0, 1, 4]]))  # three faces at an edge
    assert cut_handles(book, torch.full((5,), 10.0)).cuts == 0
