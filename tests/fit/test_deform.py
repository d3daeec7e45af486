"""The deform fit on small procedural scans: it finds the shape, keeps the topology, resumes exactly, and says what it cannot do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from unproject.errors import ArgumentError, DataError
from unproject.fit.deform import DeformOptions, _prepare, deform_mesh
from unproject.fit.step import FitStep
from unproject.geometry.manifold import classify_surface
from unproject.geometry.mesh import Mesh, make_mesh
from unproject.geometry.points import PointCloud, make_points
from unproject.geometry.primitives import icosphere, torus
from unproject.geometry.query import closest_point
from unproject.geometry.scan import scan_mesh
from unproject.geometry.sculpture import sample_sculpture
from unproject.geometry.topology import mesh_topology
from unproject.geometry.untangle import tangled_pairs

FAST = DeformOptions(levels=3, steps_per_level=7, finest_steps=6, samples=2000, face_count=3000)


def bumpy() -> Mesh:
    ball = icosphere(4)
    x, y, z = ball.vertices.T
    radius = 1 + 0.25 * torch.sin(3 * x + 1) * torch.cos(3 * y) + 0.15 * torch.sin(4 * z)
    return Mesh(vertices=ball.vertices * radius[:, None], faces=ball.faces)


def last(points: PointCloud, template: Mesh | None = None, options: DeformOptions = FAST, resume: FitStep | None = None) -> FitStep:
    *_, step = deform_mesh(points, template, options, resume=resume)
    assert step.index == step.total
    return step


def test_sphere_takes_the_shape_of_a_noisy_scan() -> None:
    truth = bumpy()
    step = last(scan_mesh(truth, points=4000, views=10, noise=0.005))
    assert step.mesh is not None
    distance = closest_point(truth.vertices, step.mesh).squared_distance.sqrt()
    assert float(distance.mean()) < 0.012  # of about 2.4 across
    kind = classify_surface(mesh_topology(step.mesh))
    assert kind.watertight and kind.genus == 0 and kind.component_count == 1
    assert len(tangled_pairs(step.mesh.vertices, step.mesh.faces, unfold=True)) == 0


def test_outliers_do_not_hold_the_surface() -> None:
    truth = bumpy()
    step = last(scan_mesh(truth, points=3000, views=6, noise=0.003, outliers=0.05))
    assert step.mesh is not None
    distance = closest_point(step.mesh.vertices, truth).squared_distance.sqrt()
    assert float(distance.mean()) < 0.015 and float(distance.max()) < 0.15  # of about 2.4 across; outliers lie up to 1 away


def test_scatter_is_that_of_the_noise_not_of_the_curvature() -> None:
    random = torch.Generator().manual_seed(0)
    sphere = torch.nn.functional.normalize(torch.randn(8000, 3, generator=random), dim=1) * 0.5
    for noise in (0.0, 0.004, 0.01):
        radius = 1 + 2 * noise * torch.randn(8000, 1, generator=random)
        scan = _prepare(sphere * radius)
        trimmed = 0.66 * noise  # root mean square of the inner four fifths of a normal distribution
        assert abs(scan.noise - trimmed) < 0.06 * trimmed + 1e-4


def test_template_keeps_its_faces_and_topology() -> None:
    wide = torus(1.0, 0.4, segments=(48, 24))
    target = Mesh(vertices=wide.vertices * torch.tensor([1.3, 0.9, 1.2]) + torch.tensor([0.1, -0.05, 0.0]), faces=wide.faces)
    step = last(scan_mesh(target, points=3000, views=10), template=wide)
    assert step.mesh is not None
    assert torch.equal(step.mesh.faces, wide.faces)
    distance = closest_point(target.vertices, step.mesh).squared_distance.sqrt()
    assert float(distance.mean()) < 0.01


def test_no_face_of_a_warped_template_turns_over() -> None:
    truth = sample_sculpture(resolution=96)  # thin parts near each other, and triangles of all shapes
    bent = 0.08 * torch.sin(2.5 * truth.vertices.roll(1, 1))
    template = Mesh(vertices=truth.vertices * torch.tensor([1.1, 0.93, 1.05]) + bent, faces=truth.faces)
    own = tangled_pairs(template.vertices, template.faces, unfold=True)
    scan = scan_mesh(truth, points=8000, views=12)
    step = last(scan, template, replace(FAST, steps_per_level=4, finest_steps=4, samples=4000))
    assert step.mesh is not None and len(own) < 20
    assert len(tangled_pairs(step.mesh.vertices, step.mesh.faces, ignored=own, unfold=True)) == 0
    assert float(closest_point(scan.positions, step.mesh).squared_distance.sqrt().mean()) < 0.01  # of about 2.4 across


def test_template_elsewhere_is_moved_onto_the_scan() -> None:
    truth = bumpy()
    far = icosphere(3)
    far = Mesh(vertices=far.vertices * 1000 + 5000, faces=far.faces)
    step = last(scan_mesh(truth, points=2000, views=8), template=far)
    assert step.mesh is not None
    assert float(closest_point(truth.vertices, step.mesh).squared_distance.sqrt().mean()) < 0.03


def test_resuming_gives_the_same_result() -> None:
    scan = scan_mesh(bumpy(), points=1500, views=8)
    steps = list(deform_mesh(scan, None, FAST))
    for stopped in (steps[3], steps[6], steps[10], steps[-2]):
        resumed = last(scan, resume=FitStep(stage=stopped.stage, index=stopped.index, total=stopped.total, state=stopped.state))
        assert resumed.mesh is not None and steps[-1].mesh is not None
        torch.testing.assert_close(resumed.mesh.vertices, steps[-1].mesh.vertices, atol=0, rtol=0)
        assert torch.equal(resumed.mesh.faces, steps[-1].mesh.faces)


def test_unit_and_place_are_free() -> None:
    scan = scan_mesh(bumpy(), points=1500, views=8)
    offset = torch.tensor([1e6, -2e6, 3e6], dtype=torch.float64)
    moved = make_points(scan.positions.double() * 1000 + offset)
    near, far = last(scan).mesh, last(moved).mesh
    assert near is not None and far is not None and far.vertices.dtype == torch.float64
    back = closest_point(((far.vertices - offset) / 1000).float(), near).squared_distance.sqrt()
    assert float(back.mean()) < 2e-3


def test_errors() -> None:
    with pytest.raises(DataError, match="at least 4 points"):
        last(make_points(torch.zeros(3, 3)))
    with pytest.raises(DataError, match="one place"):
        last(make_points(torch.ones(10, 3)))
    with pytest.raises(DataError, match="one line"):
        last(make_points(torch.arange(10.0)[:, None] * torch.ones(3)))
    with pytest.raises(ArgumentError, match="index \\[2, 1\\]"):
        bad = torch.rand(5, 3)
        bad[2, 1] = torch.nan
        last(PointCloud(positions=bad))
    with pytest.raises(ArgumentError, match="template"):
        last(make_points(torch.rand(50, 3)), template=make_mesh(torch.rand(3, 3), torch.zeros(0, 3)))
