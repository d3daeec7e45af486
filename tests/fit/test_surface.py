from __future__ import annotations

import _thread
import threading
import time
from typing import Any

import pytest
import torch
from torch import Tensor

from unproject.errors import ArgumentError, DataError
from unproject.fit import extract
from unproject.fit.extract import keep_supported_parts, refine_mesh
from unproject.fit.quality import fit_quality
from unproject.fit.step import FitStep
from unproject.fit.surface import reconstruct_surface, surface_from_points
from unproject.fit.surface_options import SurfaceOptions
from unproject.geometry.manifold import classify_surface
from unproject.geometry.mesh import Mesh
from unproject.geometry.normals import face_areas, face_normals
from unproject.geometry.points import PointCloud
from unproject.geometry.primitives import box, icosphere
from unproject.geometry.query import closest_point
from unproject.geometry.sample import sample_surface
from unproject.geometry.topology import mesh_topology


def sphere(count: int, *, noise: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    normals = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1)
    return normals + noise * torch.randn(count, 3, generator=generator), normals


def torus(count: int, *, noise: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    u, v = 2 * torch.pi * torch.rand(2, 2 * count, generator=generator)
    kept = torch.rand(2 * count, generator=generator) < (1 + 0.4 * v.cos()) / 1.4  # uniform by area
    u, v = u[kept][:count], v[kept][:count]
    ring = 1 + 0.4 * v.cos()
    points = torch.stack([ring * u.cos(), ring * u.sin(), 0.4 * v.sin()], dim=1)
    return points + noise * torch.randn(points.shape, generator=generator)


def plate(count: int, *, thickness: float, noise: float) -> Tensor:
    """Points on a flat box of 2 x 2 x thickness."""
    generator = torch.Generator().manual_seed(2)
    sizes = torch.tensor([2.0, 2.0, thickness])
    areas = torch.stack([sizes[1] * sizes[2], sizes[0] * sizes[2], sizes[0] * sizes[1]]).repeat_interleave(2)
    side = torch.multinomial(areas, count, replacement=True, generator=generator)
    points = (torch.rand(count, 3, generator=generator) - 0.5) * sizes
    points[torch.arange(count), side // 2] = torch.where(side % 2 == 0, -0.5, 0.5) * sizes[side // 2]
    return points + noise * torch.randn(count, 3, generator=generator)


def sheet(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    xy = 2 * torch.rand(count, 2, generator=generator) - 1
    return torch.cat([xy, 0.2 * (2 * xy[:, :1]).sin() * xy[:, 1:]], dim=1)


def last_step(points: Tensor, normals: Tensor | None = None, **options: Any) -> FitStep:
    cloud = PointCloud(positions=points, normals=normals)
    *_, last = reconstruct_surface(cloud, SurfaceOptions(**options))
    return last


def fit(points: Tensor, normals: Tensor | None = None, **options: Any) -> Mesh:
    mesh = last_step(points, normals, **options).mesh
    assert mesh is not None
    return mesh


def outward_share(mesh: Mesh, centre: Tensor) -> float:
    middle = mesh.vertices[mesh.faces].mean(1) - centre
    areas = face_areas(mesh.vertices, mesh.faces)
    right = (face_normals(mesh.vertices, mesh.faces) * middle).sum(1) > 0
    return float(areas[right].sum() / areas.sum())


@pytest.mark.parametrize("given", [False, True])
def test_sphere_with_noise_is_recovered_far_below_the_noise(given: bool) -> None:
    points, normals = sphere(3000, noise=0.02)
    mesh = fit(points, normals if given else None)
    kind = classify_surface(mesh_topology(mesh))
    assert kind.watertight and kind.genus == 0 and kind.component_count == 1
    error = (mesh.vertices.norm(dim=1) - 1).abs()
    assert float(error.mean()) < 0.005
    assert outward_share(mesh, torch.zeros(3)) > 0.999


def test_torus_keeps_its_hole() -> None:
    mesh = fit(torus(4000, noise=0.01))
    kind = classify_surface(mesh_topology(mesh))
    assert kind.watertight and kind.genus == 1
    ring = mesh.vertices[:, :2].norm(dim=1) - 1
    assert float(((ring.square() + mesh.vertices[:, 2].square()).sqrt() - 0.4).abs().mean()) < 0.005


def test_edges_of_a_noisy_box_stay() -> None:
    random = torch.Generator().manual_seed(0)
    cube = box((2.0, 2.0, 2.0))
    on = sample_surface(cube, 8000, generator=random)
    noise = 0.02 * torch.randn(8000, 1, generator=random) * face_normals(cube.vertices, cube.faces)[on.faces]
    mesh = fit(on.positions + noise)
    middles = torch.tensor([[1.0, 1, 0], [1, 0, 1], [-1, 1, 0.3], [-1, -0.3, -1], [0.4, -1, -1]])
    assert float(closest_point(mesh.vertices, cube).squared_distance.sqrt().mean()) < 0.007
    assert float(closest_point(middles, mesh).squared_distance.sqrt().mean()) < 0.045


def test_the_tip_of_a_horn_stays() -> None:
    """The length that suits the ball, which is most of the points, would cut the horn off by a tenth of its length."""
    random = torch.Generator().manual_seed(0)
    ball = torch.nn.functional.normalize(torch.randn(8000, 3, generator=random), dim=1)
    ball = ball[(ball[:, 2] < 0) | (ball[:, :2].norm(dim=1) > 0.2)]
    down, turn = torch.rand(500, generator=random).sqrt(), 2 * torch.pi * torch.rand(500, generator=random)  # uniform by a cone's area
    horn = torch.stack([0.2 * down * turn.cos(), 0.2 * down * turn.sin(), 1.9 - 0.92 * down], dim=1)
    points = torch.cat([ball, horn])
    mesh = fit(points + 0.02 * torch.randn(points.shape, generator=random))
    assert float(closest_point(torch.tensor([[0.0, 0.0, 1.85]]), mesh).squared_distance.sqrt()) < 0.06
    lower = mesh.vertices[mesh.vertices[:, 2] < 0.5]
    assert float((lower.norm(dim=1) - 1).abs().mean()) < 0.003


def test_bubbles_around_a_few_strays_are_dropped_and_small_parts_kept() -> None:
    ball = icosphere(4)
    small, bubble = 0.2 * ball.vertices + 2.0, 0.2 * ball.vertices - 2.0
    mesh = Mesh(vertices=torch.cat([ball.vertices, small, bubble]), faces=torch.cat([ball.faces + k * ball.vertex_count for k in range(3)]))
    strays = bubble[::600]
    points = torch.cat([ball.vertices, small[::20], strays])
    sizes = ((ball.vertex_count, 0.005), (len(small[::20]), 0.004), (len(strays), 0.1))
    areas = torch.cat([torch.full((count,), area) for count, area in sizes])
    kept = keep_supported_parts(mesh, points, areas)
    assert kept.vertex_count == 2 * ball.vertex_count and float(kept.vertices.amin()) > -1.1


def test_thin_plate_has_two_sides_that_face_apart() -> None:
    mesh = fit(plate(6000, thickness=0.1, noise=0.004))
    assert classify_surface(mesh_topology(mesh)).watertight
    normals, middle = face_normals(mesh.vertices, mesh.faces), mesh.vertices[mesh.faces].mean(1)
    inner = (middle[:, :2].abs() < 0.85).all(1)
    assert float((normals[inner, 2] * middle[inner, 2].sign() > 0.8).float().mean()) > 0.97
    assert float((middle[inner, 2].abs() - 0.05).abs().mean()) < 0.005


def test_noise_wider_than_the_distance_between_points() -> None:
    points = torus(8000, noise=0.05)  # 0.044 apart
    mesh = fit(points)
    kind = classify_surface(mesh_topology(mesh))
    assert kind.watertight and kind.genus == 1
    ring = mesh.vertices[:, :2].norm(dim=1) - 1
    assert float(((ring.square() + mesh.vertices[:, 2].square()).sqrt() - 0.4).abs().mean()) < 0.01
    outward = mesh.vertices - torch.nn.functional.normalize(
        mesh.vertices * torch.tensor([1.0, 1.0, 0.0]), dim=1
    )  # from the ring's middle line
    outward = torch.nn.functional.normalize(outward[mesh.faces].mean(1), dim=1)
    assert float((face_normals(mesh.vertices, mesh.faces) * outward).sum(1).mean()) > 0.985


def test_outliers_are_left_out() -> None:
    points, _ = sphere(3000, noise=0.005)
    stray = 3 * torch.rand(200, 3, generator=torch.Generator().manual_seed(4)) - 1.5
    far = torch.tensor([[1e5, 0.0, 0.0], [0.0, -3e6, 1e6]])
    mesh = fit(torch.cat([points, stray, far]))
    assert classify_surface(mesh_topology(mesh)).watertight
    assert float((mesh.vertices.norm(dim=1) - 1).abs().max()) < 0.1


def test_open_sheet_stays_open_and_can_be_closed() -> None:
    points = sheet(3000)
    mesh = fit(points)
    kind = classify_surface(mesh_topology(mesh))
    assert not kind.watertight and kind.component_count == 1
    area = float(face_areas(mesh.vertices, mesh.faces).sum())
    assert 3.9 < area < 5.0  # the sheet's own is about 4.2
    assert float(closest_point(points, mesh).squared_distance.sqrt().quantile(0.99)) < 0.02
    assert classify_surface(mesh_topology(fit(points, holes="closed"))).watertight


@pytest.mark.parametrize("holes", ["open", "closed"])
def test_a_hole_is_left_or_closed(holes: str) -> None:
    points, _ = sphere(4000)
    mesh = fit(points[points[:, 2] < 0.75], holes=holes)
    kind = classify_surface(mesh_topology(mesh))
    assert kind.watertight == (holes == "closed") and kind.component_count == 1
    if holes == "open":
        assert float(mesh.vertices[:, 2].max()) < 0.87
        assert float(face_areas(mesh.vertices, mesh.faces).sum()) == pytest.approx(
            2 * torch.pi * 1.75, rel=0.06
        )  # ends within two spacings of the points


def test_holes_are_closed_by_their_width() -> None:
    points, _ = sphere(5000)
    seen = (points[:, 2] < 0.8) & (points[:, 2] > -0.95)  # holes 1.2 and 0.6 wide
    kind = classify_surface(mesh_topology(fit(points[seen], holes=0.9)))
    assert kind.boundary_loop_count == 1
    assert classify_surface(mesh_topology(fit(points[seen], holes=1.6))).watertight


def test_a_wide_opening_stays_open_by_default() -> None:
    generator = torch.Generator().manual_seed(8)
    angle, height = 2 * torch.pi * torch.rand(6000, generator=generator), torch.rand(6000, generator=generator)
    wall = torch.stack([0.7 * angle.cos(), 0.7 * angle.sin(), 2 * height], dim=1)
    bottom = wall[:1500] * torch.stack([height[:1500].sqrt(), height[:1500].sqrt(), torch.zeros(1500)], dim=1)
    mug = torch.cat([wall, bottom]) + 0.005 * torch.randn(7500, 3, generator=generator)
    mesh = fit(mug)
    assert classify_surface(mesh_topology(mesh)).boundary_loop_count == 1
    inner = mesh.vertices[:, :2].norm(dim=1) < 0.5
    assert float(mesh.vertices[inner, 2].max()) < 0.3  # no lid


def test_uneven_density() -> None:
    points, _ = sphere(12000, noise=0.003)
    thin = torch.rand(len(points), generator=torch.Generator().manual_seed(5)) < torch.where(points[:, 0] < 0, 0.05, 0.5)
    mesh = fit(points[thin])
    assert classify_surface(mesh_topology(mesh)).watertight
    assert float((mesh.vertices.norm(dim=1) - 1).abs().mean()) < 0.006


def test_scale_and_place_do_not_matter() -> None:
    points, _ = sphere(2000, noise=0.01)
    plain = fit(points)
    offset = torch.tensor([1e6, -2e6, 3e6], dtype=torch.float64)
    moved = fit(points.double() * 250.0 + offset)
    assert moved.vertices.dtype == torch.float64 and moved.faces.shape == plain.faces.shape
    torch.testing.assert_close(((moved.vertices - offset) / 250.0).float(), plain.vertices, atol=1e-4, rtol=0)


def test_duplicates_change_nothing() -> None:
    points, _ = sphere(1500)
    once, often = fit(points), fit(points.repeat_interleave(12, dim=0))
    assert torch.equal(once.vertices, often.vertices) and torch.equal(once.faces, often.faces)


def test_colors_and_resolution() -> None:
    points, normals = sphere(2000)
    cloud = PointCloud(positions=points, normals=normals, colors=(points * 0.5 + 0.5).clamp(0, 1))
    coarse = surface_from_points(cloud, SurfaceOptions(resolution=0.2))
    assert coarse.vertex_colors is not None
    assert float((coarse.vertex_colors - (coarse.vertices * 0.5 + 0.5)).abs().max()) < 0.1
    assert coarse.face_count < fit(points, normals).face_count / 2


@pytest.mark.parametrize("normals", ["flipped", "noise", "broken"])
def test_wrong_normals_do_no_harm(normals: str) -> None:
    points, right = sphere(2500)
    generator = torch.Generator().manual_seed(6)
    if normals == "flipped":
        given = torch.where(torch.rand(len(right), 1, generator=generator) < 0.5, -right, right)
    elif normals == "noise":
        given = torch.nn.functional.normalize(torch.randn(right.shape, generator=generator), dim=1)
    else:
        given = torch.full_like(right, float("nan"))
    mesh = fit(points, given)
    assert classify_surface(mesh_topology(mesh)).watertight
    assert float((mesh.vertices.norm(dim=1) - 1).abs().mean()) < 0.005


@pytest.mark.parametrize("count", [4, 5, 12, 60])
def test_few_points_give_a_surface_or_say_why_not(count: int) -> None:
    try:
        mesh = fit(sphere(count)[0])
    except DataError as error:
        assert "surface" in str(error)
    else:
        assert mesh.face_count > 0 and bool(torch.isfinite(mesh.vertices).all())


def test_points_of_one_plane_give_an_open_sheet() -> None:
    points = torch.rand(1500, 3, generator=torch.Generator().manual_seed(7))
    points[:, 2] = 0.25
    mesh = fit(points)
    assert not classify_surface(mesh_topology(mesh)).watertight
    height, inner = (mesh.vertices[:, 2] - 0.25).abs(), ((mesh.vertices[:, :2] - 0.5).abs() < 0.4).all(1)
    assert float(height[inner].max()) < 0.005
    assert float(height.max()) < 0.1  # the rim, some spacings of 0.026 beyond the last points, may curl
    assert 0.9 < float(face_areas(mesh.vertices, mesh.faces).sum()) < 1.4


@pytest.mark.parametrize(
    ("points", "error", "message"),
    [
        (torch.zeros(3, 3), DataError, "at least 4"),
        (torch.ones(50, 3), DataError, "one place"),
        (torch.arange(50.0)[:, None] * torch.tensor([1.0, 2.0, 3.0]), DataError, "one line"),
        (torch.rand(50, 2), ArgumentError, "positions"),
        (torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, float("nan"), 0], [0, 0, 1]]), ArgumentError, "positions"),
        (torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, float("inf"), 0], [0, 0, 1]]), ArgumentError, "positions"),
    ],
)
def test_bad_points(points: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        list(reconstruct_surface(PointCloud(positions=points)))


def test_four_points_of_one_plane_are_too_few() -> None:
    with pytest.raises(DataError, match="too few"):
        fit(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]]))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scale_is_free(scale: float) -> None:
    points, _ = sphere(1000)
    mesh = fit(scale * points)
    assert classify_surface(mesh_topology(mesh)).watertight
    assert float((mesh.vertices.norm(dim=1) / scale - 1).abs().mean()) < 0.01


@pytest.mark.parametrize("options", [{"holes": "maybe"}, {"holes": -1.0}, {"resolution": 0.0}, {"smoothness": -1.0}])
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=next(iter(options))):
        last_step(sphere(100)[0], **options)


def test_resumed_from_any_step_it_ends_alike() -> None:
    cloud = PointCloud(positions=sphere(800, noise=0.02)[0])
    steps = list(reconstruct_surface(cloud))
    whole = steps[-1].mesh
    assert whole is not None and steps[-1].index == steps[-1].total
    for step in steps[:-1:2]:
        *_, last = reconstruct_surface(cloud, resume=FitStep(stage=step.stage, index=step.index, total=step.total, state=step.state))
        assert last.mesh is not None and last.index == steps[-1].index
        assert torch.equal(last.mesh.vertices, whole.vertices) and torch.equal(last.mesh.faces, whole.faces)


def test_an_interrupt_stops_a_long_run_soon() -> None:
    points, _ = sphere(30000, noise=0.01)
    steps = reconstruct_surface(PointCloud(positions=points))
    next(steps)
    sent: list[float] = []

    def interrupt() -> None:
        sent.append(time.perf_counter())
        _thread.interrupt_main()

    timer = threading.Timer(0.3, interrupt)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        list(steps)
    assert time.perf_counter() - sent[0] < 5.0  # 1 s on a quiet machine


def test_quality_of_a_fit_against_its_scan() -> None:
    points, normals = sphere(2000)
    quality = fit_quality(PointCloud(positions=points, normals=3 * normals), fit(points, normals))  # normals of any length
    assert quality.watertight and quality.genus == 0 and quality.self_intersections == 0
    assert quality.f_score > 0.95 and quality.normal_consistency is not None and quality.normal_consistency > 0.99


def test_finer_faces_turn_with_a_round_surface_and_large_meshes_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    ball = icosphere(3)

    def tilt(mesh: Mesh) -> float:
        middle = torch.nn.functional.normalize(mesh.vertices, dim=1)[mesh.faces]
        return float((face_normals(mesh.vertices, mesh.faces)[:, None] * middle).sum(2).clamp(max=1).arccos().mean())

    fine = refine_mesh(ball)
    assert fine.face_count == 4 * ball.face_count
    assert tilt(fine) < 0.55 * tilt(ball)
    monkeypatch.setattr(extract, "_MOST_FACES", fine.face_count - 1)
    assert refine_mesh(ball) is ball


def test_an_open_neck_is_closed_near_its_rim() -> None:
    generator = torch.Generator().manual_seed(0)
    radius, rim = 0.25, (1 - 0.25**2) ** 0.5 + 0.6
    ball = torch.nn.functional.normalize(torch.randn(5000, 3, generator=generator), dim=1)
    ball = ball[(ball[:, :2].norm(dim=1) > radius) | (ball[:, 2] < 0)]
    angle = 2 * torch.pi * torch.rand(5000 // 6, generator=generator)
    height = rim - 0.6 * torch.rand(5000 // 6, generator=generator)
    bottle = torch.cat([ball, torch.stack([radius * angle.cos(), radius * angle.sin(), height], dim=1)])
    bottle = bottle + 0.02 * torch.randn(bottle.shape, generator=generator)
    mesh = surface_from_points(PointCloud(positions=bottle), SurfaceOptions(holes="closed"))
    assert classify_surface(mesh_topology(mesh)).watertight
    assert float(mesh.vertices[:, 2].max()) < rim + 2 * radius
