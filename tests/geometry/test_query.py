"""Closest points and rays: against brute force, against formulas on simple shapes, derivatives, degenerate and hopeless input."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unproject.errors import ArgumentError
from unproject.geometry.batch import batch_meshes
from unproject.geometry.bvh import build_bvh, refit
from unproject.geometry.mesh import make_mesh
from unproject.geometry.primitives import box, icosphere, plane
from unproject.geometry.query import closest_point, occluded, ray_cast
from unproject.reference import closest_point as brute_closest_point
from unproject.reference import raycast as brute_raycast
from unproject.testing import check_against_reference, check_gradients

DTYPES = [torch.float32, torch.float64]
QUERY_OFFSETS, FACE_OFFSETS = torch.tensor([0, 30, 90, 200]), torch.tensor([0, 20, 60, 300])
TRIANGLE = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
FACE = torch.tensor([[0, 1, 2]])


def soup(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Triangles that share no vertex, so that answers are unique."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(300, 1, 3, generator=g, dtype=torch.float64)
    return (centres + 0.2 * torch.randn(300, 3, 3, generator=g, dtype=torch.float64)).reshape(-1, 3), torch.arange(900).reshape(300, 3)


def finite(*values: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.where(v.isfinite(), v, 0) if v.is_floating_point() else v for v in values)


def test_closest_point_is_its_twin() -> None:
    vertices, faces = soup()

    def ours(points: Tensor, vertices: Tensor) -> tuple[Tensor, ...]:
        found = closest_point(points, (vertices, faces), query_offsets=QUERY_OFFSETS, face_offsets=FACE_OFFSETS)
        return found.barycentrics, found.point, found.squared_distance, found.face

    twin = lambda points, vertices: brute_closest_point.closest_point(points, vertices, faces, QUERY_OFFSETS, FACE_OFFSETS)
    check_against_reference(ours, twin, [1.5 * torch.randn(200, 3), vertices])


def test_ray_cast_is_its_twin() -> None:
    vertices, faces = soup()
    near, far = torch.rand(200), 1 + torch.rand(200)

    def ours(origins: Tensor, directions: Tensor, vertices: Tensor) -> tuple[Tensor, ...]:
        limits = {"min_distance": near, "max_distance": far}
        hit = ray_cast(origins, directions, (vertices, faces), **limits, query_offsets=QUERY_OFFSETS, face_offsets=FACE_OFFSETS)
        return finite(hit.barycentrics, hit.distance, hit.face)

    def twin(origins: Tensor, directions: Tensor, vertices: Tensor) -> tuple[Tensor, ...]:
        limits = near.to(origins), far.to(origins)
        return finite(*brute_raycast.ray_cast(origins, directions, *limits, vertices, faces, QUERY_OFFSETS, FACE_OFFSETS))

    tolerances = {torch.float32: (1e-3, 1e-4), torch.float64: (1e-9, 1e-10)}
    inputs = [torch.randn(200, 3), torch.randn(200, 3), vertices]
    check_against_reference(ours, twin, inputs, tolerances=tolerances)
    assert (ours(*[t.double() for t in inputs])[2] >= 0).sum() > 10


@pytest.mark.parametrize("point, weights", [
    ([0.2, 0.3, 0.5], [0.5, 0.2, 0.3]),  # inside
    ([-1.0, -1, 2], [1, 0, 0]),
    ([3.0, 0.5, 0], [0, 1, 0]),
    ([0.1, 4, 1], [0, 0, 1]),
    ([0.25, -1, 0], [0.75, 0.25, 0]),  # on ab
    ([1.0, 1, 1], [0, 0.5, 0.5]),  # on bc
    ([-2.0, 0.75, 0], [0.25, 0, 0.75]),  # on ca
])  # fmt: skip
def test_regions_of_a_triangle(point: list[float], weights: list[float]) -> None:
    p = torch.tensor([point], dtype=torch.float64)
    found = closest_point(p, (TRIANGLE, FACE))
    torch.testing.assert_close(found.barycentrics, torch.tensor([weights], dtype=torch.float64))
    torch.testing.assert_close(found.point, found.barycentrics @ TRIANGLE)
    torch.testing.assert_close(found.squared_distance, (p - found.point).square().sum(-1))
    values = lambda p, v: [getattr(closest_point(p, (v, FACE)), name) for name in ("barycentrics", "point", "squared_distance")]
    check_gradients(values, [p, TRIANGLE + 0.01 * torch.randn(3, 3).double()], second=True)


def test_closest_point_gradients() -> None:
    vertices, faces = soup(1)
    points = 1.5 * torch.randn(20, 3)

    def outputs(points: Tensor, vertices: Tensor) -> tuple[Tensor, ...]:
        found = closest_point(points, (vertices, faces[:20]))
        return found.barycentrics, found.point, found.squared_distance

    check_gradients(outputs, [points, vertices[:60]])
    check_gradients(lambda p: outputs(p, vertices)[2].sqrt(), [points], second=True)


def test_ray_gradients() -> None:
    mesh = icosphere(1, dtype=torch.float64)

    def outputs(origins: Tensor, directions: Tensor, vertices: Tensor) -> tuple[Tensor, ...]:
        hit = ray_cast(origins, directions, (vertices, mesh.faces))
        return hit.distance, hit.barycentrics

    inputs = [0.1 * torch.randn(6, 3), torch.randn(6, 3), mesh.vertices + 0.01 * torch.randn(mesh.vertices.shape)]
    check_gradients(outputs, inputs, second=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_degenerate_faces_have_finite_gradients(dtype: torch.dtype) -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [1, 1e-30, 0], [0, 0, 0]], dtype=dtype).requires_grad_()
    faces = torch.tensor([[0, 0, 0], [0, 4, 0], [0, 1, 2], [0, 1, 1], [0, 2, 3], [1, 3, 1]])
    points = torch.cat([torch.randn(20, 3, dtype=dtype), vertices.detach()]).requires_grad_()
    found = closest_point(points, (vertices, faces))
    on_axis = torch.stack([points[:, 0].clamp(0, 2), *torch.zeros(2, len(points), dtype=dtype)], 1)
    torch.testing.assert_close(found.point, on_axis)
    (found.squared_distance.sum() + found.point.sum() + found.barycentrics.square().sum()).backward()
    hit = ray_cast(points.detach() - points.new_tensor([0, 0, 3]), points.new_tensor([0.0, 0, 1]), (vertices, faces))
    torch.where(hit.face >= 0, hit.distance, 0).sum().backward()
    for tensor in (points, vertices):
        assert bool(tensor.grad.isfinite().all())  # type: ignore[union-attr]


@pytest.mark.parametrize("dtype", DTYPES)
def test_closest_point_of_a_sphere(dtype: torch.dtype) -> None:
    mesh = icosphere(4, dtype=dtype)
    points = torch.randn(2, 500, 3, dtype=dtype)
    found = closest_point(points, mesh)
    assert found.face.shape == (2, 500)
    assert found.point.shape == (2, 500, 3)
    radius = points.norm(dim=-1)
    inside = radius < 0.97
    torch.testing.assert_close(found.squared_distance.sqrt(), (radius - 1).abs(), atol=4e-3, rtol=0)
    corners = mesh.vertices[mesh.faces[found.face]]
    torch.testing.assert_close((found.barycentrics.unsqueeze(-1) * corners).sum(-2), found.point)
    assert bool((found.barycentrics >= 0).all())
    assert inside.any()


@pytest.mark.parametrize("dtype, offset", [(torch.float32, 1e3), (torch.float64, 1e7)])
def test_far_from_the_origin(dtype: torch.dtype, offset: float) -> None:
    """Answers at an offset are as good as the rounding of the coordinates allows."""
    mesh = icosphere(3, dtype=torch.float64)
    shift = torch.tensor([offset, -2 * offset, 0.5 * offset], dtype=torch.float64)
    vertices = (mesh.vertices + shift).to(dtype)
    points = (1.3 * torch.randn(300, 3).double() + shift).to(dtype)
    found = closest_point(points, (vertices, mesh.faces))
    exact = closest_point(points.double(), (vertices.double(), mesh.faces))
    torch.testing.assert_close(found.squared_distance.double().sqrt(), exact.squared_distance.sqrt(), rtol=1e-5, atol=1e-6)
    directions = torch.randn(300, 3, dtype=dtype)
    centre = shift.to(dtype).expand(300, 3)
    hit = ray_cast(centre, directions, (vertices, mesh.faces))
    exact_hit = ray_cast(centre.double(), directions.double(), (vertices.double(), mesh.faces))
    torch.testing.assert_close(hit.distance.double(), exact_hit.distance, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_no_ray_slips_through(dtype: torch.dtype, offset: float) -> None:
    """From inside of a closed mesh, rays to its corners and to points of its edges all hit it."""
    mesh = icosphere(3, dtype=dtype)
    vertices = (mesh.vertices * (1 + 0.3 * torch.rand(mesh.vertex_count, 1, dtype=dtype))) + offset
    ends = vertices[mesh.faces]
    along = torch.rand(mesh.face_count, 3, 1, dtype=dtype)
    targets = torch.cat([vertices, (along * ends + (1 - along) * ends.roll(1, 1)).reshape(-1, 3)])
    origin = torch.full((3,), offset, dtype=dtype) + 0.1 * torch.randn(3, dtype=dtype)
    hit = ray_cast(origin, targets - origin, (vertices, mesh.faces))
    assert bool((hit.face >= 0).all())
    assert bool(((hit.distance > 0.9) & (hit.distance < 1.1)).all())


def test_rays_along_the_axes_of_a_grid() -> None:
    """Directions with zeros, through corners and edges of axis-aligned faces and boxes."""
    ground = plane((4.0, 4.0), segments=(8, 8))
    x, y = torch.meshgrid(torch.linspace(-1.9, 1.9, 39), torch.linspace(-2, 2, 17), indexing="ij")
    origins = torch.stack([x, y, torch.full_like(x, 3.0)], -1)
    inner = (y.abs() < 2).flatten()
    for direction in ([0.0, 0, -1], [-0.0, 0, -2]):
        hit = ray_cast(origins, torch.tensor(direction), ground)
        assert bool((hit.face.flatten()[inner] >= 0).all())
        torch.testing.assert_close(hit.distance.flatten()[inner], torch.full((int(inner.sum()),), -3 / direction[2]))
    cube = box((2.0, 2.0, 2.0), segments=3)
    for axis in range(3):
        for sign in (-1.0, 1.0):
            direction = torch.zeros(3)
            direction[axis] = sign
            torch.testing.assert_close(ray_cast(torch.zeros(3), direction, cube).distance, torch.tensor(1.0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_misses_and_hopeless_queries(dtype: torch.dtype) -> None:
    mesh = icosphere(1, dtype=dtype)
    nan, inf = math.nan, math.inf
    bad = torch.tensor([[nan, 0, 0], [inf, 0, 0], [0, -inf, 0]], dtype=dtype)
    hit = ray_cast(torch.zeros(3, dtype=dtype), torch.cat([bad, torch.zeros(1, 3, dtype=dtype)]), mesh)
    assert hit.face.tolist() == [-1] * 4
    assert hit.distance.tolist() == [inf] * 4
    assert hit.barycentrics.abs().sum() == 0
    assert ray_cast(bad, torch.ones(3, dtype=dtype), mesh).face.tolist() == [-1] * 3
    found = closest_point(bad[:1], mesh)
    assert found.face.tolist() == [-1]
    assert found.squared_distance.tolist() == [inf]
    away = ray_cast(torch.full((1, 3), 2.0, dtype=dtype), torch.ones(1, 3, dtype=dtype), mesh)
    assert away.face.tolist() == [-1]
    assert not occluded(torch.full((1, 3), 2.0, dtype=dtype), torch.ones(1, 3, dtype=dtype), mesh)


@pytest.mark.parametrize("dtype", DTYPES)
def test_empty(dtype: torch.dtype) -> None:
    mesh, none = icosphere(0, dtype=dtype), make_mesh(torch.zeros(0, 3, dtype=dtype), [])
    points = torch.randn(3, 3, dtype=dtype).requires_grad_()
    assert closest_point(points[:0], mesh).point.shape == (0, 3)
    assert ray_cast(points[:0], points[:0], mesh).distance.shape == (0,)
    found = closest_point(points, none)
    assert found.face.tolist() == [-1] * 3
    assert bool(found.point.isinf().all())
    hit = ray_cast(points, points, none)
    assert hit.face.tolist() == [-1] * 3
    assert not occluded(points, points, none).any()
    (torch.where(found.face >= 0, found.squared_distance, 0).sum() + torch.where(hit.face >= 0, hit.distance, 0).sum()).backward()
    assert points.grad is not None
    assert points.grad.abs().sum() == 0
    assert len(closest_point(points[:0], none).face) == 0


def test_limits_and_occlusion() -> None:
    vertices, faces = soup(2)
    origins, directions = torch.randn(2, 400, 3).double()
    first = ray_cast(origins, directions, (vertices, faces))
    hits = first.face >= 0
    assert torch.equal(occluded(origins, directions, (vertices, faces)), hits)
    until = torch.where(hits, first.distance, 1)
    assert not occluded(origins, directions, (vertices, faces), max_distance=until * (1 - 1e-9))[hits].any()
    assert occluded(origins, directions, (vertices, faces), max_distance=until * (1 + 1e-9))[hits].all()
    grid = torch.cartesian_prod(torch.linspace(-2, 2, 30), torch.linspace(-2, 2, 30)).double()
    side_by_side = torch.cat([torch.nn.functional.pad(grid, (0, 1), value=5.0), origins])  # first such as are foretold, then others
    towards = torch.cat([torch.tensor([[0.0, 0.0, -1.0]]).double().expand(900, 3), directions])
    expected = ray_cast(side_by_side, towards, (vertices, faces)).face >= 0
    assert 100 < int(expected[:900].sum()) < 900
    assert torch.equal(occluded(side_by_side, towards, (vertices, faces)), expected)
    beyond = ray_cast(origins, directions, (vertices, faces), min_distance=until * (1 + 1e-9))
    assert bool((beyond.distance[hits] > first.distance[hits]).all())
    behind = ray_cast(origins, directions, (vertices, faces), min_distance=-5.0)
    assert torch.equal(behind.face, first.face)


def test_a_given_tree_and_its_refit() -> None:
    mesh = icosphere(3)
    tree = build_bvh(mesh.vertices, mesh.faces)
    points, directions = torch.randn(2, 100, 3)
    moved = mesh.vertices + 0.2 * torch.randn_like(mesh.vertices)
    for vertices, bvh in ((mesh.vertices, tree), (moved, refit(tree, moved))):
        pair = (vertices, mesh.faces)
        torch.testing.assert_close(closest_point(points, pair, bvh=bvh).point, closest_point(points, pair).point)
        torch.testing.assert_close(ray_cast(points, directions, pair, bvh=bvh).distance, ray_cast(points, directions, pair).distance)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 30), st.sampled_from([1e-3, 1.0, 1e4]), st.booleans())
def test_nearest_of_all(seed: int, face_count: int, point_count: int, scale: float, grid: bool) -> None:
    """Also with integer coordinates, where ties, shared corners and faces without area abound."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda n: torch.randint(-2, 3, (n, 3), generator=g).double() if grid else torch.randn(n, 3, generator=g).double()
    vertices, points = scale * draw(12), scale * draw(point_count)
    faces = torch.randint(0, 12, (face_count, 3), generator=g)
    found = closest_point(points, (vertices, faces))
    one = (torch.tensor([0, point_count]), torch.tensor([0, face_count]))
    _, _, squared, _ = brute_closest_point.closest_point(points, vertices, faces, *one)
    torch.testing.assert_close(found.squared_distance, squared, rtol=1e-9, atol=1e-12 * scale**2)
    torch.testing.assert_close((found.point - points).square().sum(-1), squared, rtol=1e-9, atol=1e-12 * scale**2)


def test_batch_of_meshes() -> None:
    meshes = [icosphere(1), box(), icosphere(2)]
    points, directions = torch.randn(2, 60, 3)
    offsets = torch.tensor([0, 10, 10, 60])
    batch = batch_meshes(meshes)
    found, hit = closest_point(points, batch, query_offsets=offsets), ray_cast(points, directions, batch, query_offsets=offsets)
    for i, mesh in enumerate(meshes):
        rows = slice(int(offsets[i]), int(offsets[i + 1]))
        torch.testing.assert_close(found.point[rows], closest_point(points[rows], mesh).point)
        torch.testing.assert_close(hit.distance[rows], ray_cast(points[rows], directions[rows], mesh).distance)
        assert bool((found.face[rows] >= batch.face_offsets[i]).all())


def test_errors() -> None:
    mesh, points = icosphere(1), torch.randn(5, 3)
    other = build_bvh(icosphere(2).vertices, icosphere(2).faces)
    cases: list[tuple[str, Any]] = [
        (
            r"closest_point: `points` must be \[Ellipsis, 3\] floats|closest_point: `points` must be",
            lambda: closest_point(points[:, :2], mesh),
        ),
        ("closest_point: the mesh is torch.float32", lambda: closest_point(points.double(), mesh)),
        ("`bvh` was built for 320 faces", lambda: closest_point(points, mesh, bvh=other)),
        ("`faces` must lie in 0 to 41, found 99", lambda: closest_point(points, (mesh.vertices, mesh.faces + 99 - mesh.faces.max()))),
        ("2 sets of queries", lambda: closest_point(points, mesh, query_offsets=torch.tensor([0, 2, 5]))),
        ("`query_offsets` must ascend from 0 to 5", lambda: ray_cast(points, points, mesh, query_offsets=torch.tensor([0, 4]))),
        ("ray_cast: origins are torch.float32, directions", lambda: ray_cast(points, points.double(), mesh)),
        ("ray_cast: `directions` must be", lambda: ray_cast(points, points[:, :2], mesh)),
        ("`bvh` is torch.float32, the mesh", lambda: occluded(points.double(), points.double(), mesh.to(torch.float64), bvh=other)),
    ]
    for message, call in cases:
        with pytest.raises(ArgumentError, match=message):
            call()
