"""Winding numbers and signed distance: exact sums, the accuracy of the far fields, holes, clouds, batches, derivatives."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from unproject.errors import ArgumentError
from unproject.geometry.batch import batch_meshes, batch_points
from unproject.geometry.mesh import Mesh, make_mesh
from unproject.geometry.points import PointCloud
from unproject.geometry.primitives import box, icosphere, plane, torus
from unproject.geometry.rim import rim_cap
from unproject.geometry.winding import point_winding_tree, signed_distance, winding_number, winding_tree
from unproject.ops.winding import LEFT_OPEN, crossing_number
from unproject.reference import winding as reference
from unproject.testing import check_gradients

DTYPES = [torch.float32, torch.float64]


def sphere_cloud(count: int, dtype: torch.dtype = torch.float32) -> PointCloud:
    """Points of a unit sphere, evenly spread, with normals."""
    k = torch.arange(count, dtype=torch.float64) + 0.5
    z, angle = 1 - 2 * k / count, k * math.pi * (1 + 5**0.5)
    r = (1 - z * z).sqrt()
    positions = torch.stack([r * angle.cos(), r * angle.sin(), z], 1).to(dtype)
    return PointCloud(positions=positions, normals=positions)


def exact(points: Tensor, mesh: Mesh) -> Tensor:
    offsets = torch.tensor([0, len(points)]), torch.tensor([0, mesh.face_count])
    return reference.face_winding(points.double(), mesh.vertices.double(), mesh.faces, *offsets)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_exact_sum(dtype: torch.dtype, tolerance: float) -> None:
    mesh = icosphere(4, dtype=dtype)
    mesh = make_mesh(mesh.vertices, mesh.faces[torch.rand(mesh.face_count) < 0.8])  # full of holes
    points = torch.cat([torch.randn(100, 3, dtype=dtype), mesh.vertices[:20]])
    wound = winding_number(points, mesh, accuracy=math.inf)
    torch.testing.assert_close(wound[:100].double(), exact(points, mesh)[:100], rtol=0, atol=tolerance)
    assert bool(wound.isfinite().all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_far_fields_get_better(dtype: torch.dtype) -> None:
    mesh = torus(0.8, 0.3, segments=(64, 48), dtype=dtype)
    points = torch.randn(300, 3, dtype=dtype)
    truth = exact(points, mesh)
    errors = [float((winding_number(points, mesh, accuracy=a).double() - truth).abs().max()) for a in (1.5, 3.0, 6.0)]
    assert errors[0] < 0.03
    assert errors[1] < errors[0] / 4
    assert errors[2] < errors[1] / 4
    assert float((winding_number(points, mesh).double() - truth).abs().max()) < 5e-3


def test_a_far_field_is_right_to_second_order() -> None:
    """Of one small open cluster, seen from ever farther away, the relative error falls with the cube of the distance."""
    mesh = plane((0.5, 0.3), segments=(20, 30), dtype=torch.float64)
    bent = torch.cat([mesh.vertices[:, :2], mesh.vertices[:, :1] ** 2 - mesh.vertices[:, :1] * mesh.vertices[:, 1:2]], 1)
    mesh = make_mesh(bent, mesh.faces)
    direction = torch.nn.functional.normalize(torch.tensor([[0.3, 0.5, 0.8]], dtype=torch.float64), dim=1)
    errors = []
    for distance in (2.0, 4.0, 8.0):
        truth = exact(distance * direction, mesh)
        errors.append(float(((winding_number(distance * direction, mesh, accuracy=1.0) - truth) / truth).abs()))
    assert errors[1] < errors[0] / 6
    assert errors[2] < errors[1] / 6


@pytest.mark.parametrize("dtype", DTYPES)
def test_closed_surfaces_wind_once(dtype: torch.dtype) -> None:
    points = torch.rand(400, 3, dtype=dtype) * 3 - 1.5
    for mesh, distance in (
        (icosphere(4, dtype=dtype), points.norm(dim=1) - 1),
        (
            torus(0.9, 0.35, segments=(96, 64), dtype=dtype),
            ((points[:, :2].norm(dim=1) - 0.9).square() + points[:, 2].square()).sqrt() - 0.35,
        ),
    ):
        wound = winding_number(points, mesh)
        clear = distance.abs() > 0.01
        torch.testing.assert_close(wound[clear], (distance < 0).to(dtype)[clear], rtol=0, atol=5e-3)
        turned = winding_number(points, (mesh.vertices, mesh.faces.flip(1)))
        torch.testing.assert_close(turned, -wound, rtol=0, atol=1e-2)
    twice = make_mesh(torch.cat([icosphere(3).vertices] * 2), torch.cat([icosphere(3).faces, icosphere(3).faces + 642]))
    torch.testing.assert_close(winding_number(torch.zeros(1, 3), twice), torch.tensor([2.0]), rtol=0, atol=5e-3)


def test_far_offset() -> None:
    shift = torch.tensor([1e3, -5e2, 2e3])
    mesh, points = icosphere(4), torch.randn(200, 3)
    points = points[(points.norm(dim=1) - 1).abs() > 0.02]
    moved = make_mesh(mesh.vertices + shift, mesh.faces)
    torch.testing.assert_close(winding_number(points + shift, moved), winding_number(points, mesh), rtol=0, atol=3e-3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_oriented_points(dtype: torch.dtype) -> None:
    cloud = sphere_cloud(3000, dtype)
    points = torch.rand(300, 3, dtype=dtype) * 3 - 1.5
    distance = points.norm(dim=1) - 1
    clear = distance.abs() > 0.15
    inside = (distance < 0).to(dtype)
    areas = torch.full((3000,), 4 * math.pi / 3000, dtype=dtype)
    assert cloud.normals is not None
    tree = point_winding_tree(cloud.positions, cloud.normals, areas)
    torch.testing.assert_close(winding_number(points, tree)[clear], inside[clear], rtol=0, atol=0.02)
    torch.testing.assert_close(winding_number(points, cloud)[clear], inside[clear], rtol=0, atol=0.1)  # areas estimated
    one = torch.tensor([0, 300]), torch.tensor([0, 3000])
    truth = reference.point_winding(points, cloud.positions, tree.items, *one)
    torch.testing.assert_close(winding_number(points, tree, accuracy=math.inf), truth, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(winding_number(points, tree, accuracy=4.0), truth, rtol=0, atol=1e-3)
    assert bool(winding_number(cloud.positions, tree).isfinite().all())


def test_batches() -> None:
    meshes = [icosphere(4), make_mesh(torch.zeros(0, 3), []), box(), icosphere(3)]
    points, offsets = torch.randn(50, 3), torch.tensor([0, 10, 20, 25, 50])
    batch = batch_meshes(meshes)
    wound = winding_number(points, batch, query_offsets=offsets)
    signed = signed_distance(points, batch, query_offsets=offsets)
    for i, mesh in enumerate(meshes):
        rows = slice(int(offsets[i]), int(offsets[i + 1]))
        torch.testing.assert_close(wound[rows], winding_number(points[rows], mesh), rtol=0, atol=3e-3)
        torch.testing.assert_close(signed[rows], signed_distance(points[rows], mesh))
    assert wound[10:20].abs().sum() == 0
    assert bool(signed[10:20].isposinf().all())
    clouds = [sphere_cloud(800), sphere_cloud(1200)]
    pair = winding_number(points, batch_points(clouds), query_offsets=torch.tensor([0, 30, 50]))
    torch.testing.assert_close(pair[30:], winding_number(points[30:], clouds[1]), rtol=0, atol=3e-3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_signed_distance_of_a_sphere(dtype: torch.dtype) -> None:
    mesh = icosphere(4, dtype=dtype)
    points = torch.randn(2, 200, 3, dtype=dtype)
    signed = signed_distance(points, mesh)
    assert signed.shape == (2, 200)
    torch.testing.assert_close(signed, points.norm(dim=-1) - 1, rtol=0, atol=3e-3)
    tree = winding_tree(mesh)
    torch.testing.assert_close(signed_distance(points, mesh, winding=tree), signed)


def pierced(dtype: torch.dtype) -> Mesh:
    """A torus with holes, a fin that three faces share an edge with, and a face that lies there twice."""
    base = torus(0.8, 0.3, segments=(48, 32), dtype=dtype)
    keep = (base.vertices[base.faces].mean(1) - torch.tensor([0.8, 0.0, 0.3], dtype=dtype)).norm(dim=1) > 0.15
    keep &= (base.vertices[base.faces].mean(1) - torch.tensor([-0.8, 0.1, -0.3], dtype=dtype)).norm(dim=1) > 0.2
    kept = base.faces[keep]
    fin = torch.tensor([[*kept[9, :2].tolist(), len(base.vertices)]])
    vertices = torch.cat([base.vertices, torch.tensor([[0.2, 0.3, 0.9]], dtype=dtype)])
    return make_mesh(vertices, torch.cat([kept, fin, kept[40:41]]))


def split_corners(mesh: Mesh) -> Mesh:
    """The same faces, none of which share a vertex."""
    return make_mesh(mesh.vertices[mesh.faces].reshape(-1, 3), torch.arange(3 * mesh.face_count).reshape(-1, 3))


def rim_balance(vertices: Tensor, faces: Tensor) -> Tensor:
    """How much oftener each edge between places is walked in one direction than in the other."""
    _, place = torch.unique(vertices, dim=0, return_inverse=True)
    edges = torch.cat([place[faces[:, [0, 1]]], place[faces[:, [1, 2]]], place[faces[:, [2, 0]]]])
    _, group = torch.unique(edges.sort(1).values, dim=0, return_inverse=True)
    return torch.zeros(int(group.max()) + 1).index_add(0, group, (edges[:, 1] - edges[:, 0]).sign().float())


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cap_closes_a_surface(dtype: torch.dtype) -> None:
    mesh = pierced(dtype)
    for shape in (mesh, split_corners(mesh)):
        assert rim_balance(shape.vertices, shape.faces).abs().sum() > 30
        cap = rim_cap(shape.vertices, shape.faces, torch.tensor([0, shape.face_count]), 1000)
        assert cap is not None
        closed = torch.cat([shape.vertices, cap[0]]), torch.cat([shape.faces, cap[1] + len(shape.vertices)])
        assert rim_balance(*closed).abs().sum() == 0
        assert rim_cap(shape.vertices, shape.faces, torch.tensor([0, shape.face_count]), 30) is None
    pair = rim_cap(
        torch.cat([mesh.vertices, mesh.vertices]), torch.cat([mesh.faces, mesh.faces.flip(0)]), torch.arange(3) * len(mesh.faces), 999
    )
    assert pair is not None
    assert pair[2].tolist() == [0, len(pair[1]) // 2, len(pair[1])]
    assert len(rim_cap(icosphere(2).vertices, icosphere(2).faces, torch.tensor([0, 320]), 0)[1]) == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_signs_are_those_of_the_exact_winding_number(dtype: torch.dtype) -> None:
    """Of closed, open and overlapping surfaces, thin faces, and for points that lie in line with edges and corners."""
    needle = box((0.01, 3.0, 2.0), dtype=dtype)
    ball = icosphere(3, dtype=dtype)
    overlapping = make_mesh(torch.cat([ball.vertices, ball.vertices * 0.7 + 0.6]), torch.cat([ball.faces, ball.faces + 642]))
    lattice = torch.cartesian_prod(*[torch.linspace(-1.5, 1.5, 13, dtype=dtype)] * 3)
    for mesh in (needle, pierced(dtype), split_corners(pierced(dtype)), overlapping, torus(0.8, 0.3, segments=(300, 4), dtype=dtype)):
        near = mesh.vertices[mesh.faces[::3]].mean(1) + 0.03 * torch.randn(len(mesh.faces[::3]), 3, dtype=dtype)
        points = torch.cat([lattice, near, lattice + mesh.vertices[0]])
        truth = exact(points, mesh)
        sure = (truth - 0.5).abs() > 0.03
        signed = signed_distance(points, mesh)
        assert torch.equal(signed[sure & (signed != 0)] < 0, truth[sure & (signed != 0)] > 0.5)


def test_what_a_ray_does_not_tell_is_left_open() -> None:
    mesh = icosphere(2, dtype=torch.float64)
    tree, one = winding_tree(mesh), torch.tensor([0, 3])
    bounds = torch.tensor([[-1.0, -1, -1, 1, 1, 1]], dtype=torch.float64)
    points = torch.stack([mesh.vertices[mesh.faces[0]].mean(0), mesh.vertices[3], torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)])
    found = crossing_number(points, one, bounds, tree.roots, tree.boxes, tree.children, tree.blocks, tree.depth)
    assert found[:2].tolist() == [LEFT_OPEN, LEFT_OPEN]
    assert found[2] == 1


def test_signed_distance_gradients() -> None:
    mesh = icosphere(1, dtype=torch.float64)
    inputs = [torch.randn(8, 3), mesh.vertices + 0.01 * torch.randn_like(mesh.vertices)]
    check_gradients(lambda p, v: signed_distance(p, (v, mesh.faces)), inputs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_signed_distance_on_the_surface(dtype: torch.dtype) -> None:
    """There it is zero, with the face's normal as gradient, and finite at corners and edges too."""
    mesh = icosphere(2, dtype=dtype)
    corners = mesh.vertices[mesh.faces]
    points = torch.cat([corners.mean(1), corners[:, :2].mean(1), mesh.vertices]).requires_grad_()
    vertices = mesh.vertices.clone().requires_grad_()
    signed = signed_distance(points, (vertices, mesh.faces))
    torch.testing.assert_close(signed, torch.zeros_like(signed), rtol=0, atol=1e-6)
    assert torch.allclose(signed_distance(points.detach(), mesh), signed.detach(), rtol=0, atol=1e-6)
    signed.sum().backward()
    assert points.grad is not None
    assert vertices.grad is not None
    normals = torch.nn.functional.normalize(torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), dim=1)
    torch.testing.assert_close(points.grad[: len(corners)], normals, rtol=0, atol=1e-4)
    assert bool(points.grad.isfinite().all() & vertices.grad.isfinite().all())


def test_empty() -> None:
    none = make_mesh(torch.zeros(0, 3), [])
    assert winding_number(torch.zeros(2, 3), none).tolist() == [0, 0]
    assert winding_number(torch.zeros(0, 3), icosphere(1)).shape == (0,)
    assert signed_distance(torch.zeros(2, 3), none).tolist() == [math.inf, math.inf]
    nobody = PointCloud(positions=torch.zeros(0, 3), normals=torch.zeros(0, 3))
    assert winding_number(torch.zeros(2, 3), nobody).tolist() == [0, 0]


def test_errors() -> None:
    mesh, points = icosphere(1), torch.zeros(2, 3)
    cases: list[tuple[str, Any]] = [
        ("`accuracy` must be at least 1, got 0.5", lambda: winding_number(points, mesh, accuracy=0.5)),
        ("the point cloud needs normals", lambda: winding_number(points, PointCloud(positions=points))),
        ("the surface is torch.float32", lambda: winding_number(points.double(), mesh)),
        ("2 sets of points", lambda: winding_number(points, mesh, query_offsets=torch.tensor([0, 1, 2]))),
        ("give `areas`", lambda: point_winding_tree(points[:1], points[:1])),
        (r"`normals` must be \[2, 3\]", lambda: point_winding_tree(points, points[:1])),
        (r"`areas` must be \[2\]", lambda: point_winding_tree(points, points, torch.ones(3))),
    ]
    for message, call in cases:
        with pytest.raises(ArgumentError, match=message):
            call()
