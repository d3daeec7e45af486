"""Registration without a start: features that no motion changes, consensus among wrong matches, recovery, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import unproject as up
from unproject.geometry.scan import scan_mesh
from unproject.lie.se3 import se3_random
from unproject.lie.so3 import so3_distance
from unproject.register.consensus import consensus_motions
from unproject.register.features import flip_features


def _part() -> up.Mesh:
    """An angle bracket with a ball on one arm and a pipe through the other: no symmetry."""
    pieces = [
        (up.box((1.0, 0.6, 0.15), segments=4), (0.0, 0.0, 0.0)),
        (up.box((0.15, 0.6, 0.7), segments=4), (-0.45, 0.0, 0.35)),
        (up.icosphere(2), (0.3, 0.15, 0.1)),
        (up.cylinder(0.12, 0.5), (-0.4, -0.1, 0.5)),
    ]
    vertices, faces, count = [], [], 0
    for mesh, shift in pieces:
        size = 0.2 if mesh.vertex_count == 162 else 1.0
        vertices.append(size * mesh.vertices + torch.tensor(shift))
        faces.append(mesh.faces + count)
        count += mesh.vertex_count
    return up.Mesh(vertices=torch.cat(vertices), faces=torch.cat(faces))


@pytest.mark.parametrize("oriented", [True, False])
def test_features_do_not_change_with_a_motion(oriented: bool) -> None:
    cloud = up.sample_points(_part(), 600)
    assert cloud.normals is not None
    normals = torch.nn.functional.normalize(cloud.normals + 0.1 * torch.randn(600, 3), dim=1)  # no right angles, which are on an edge
    motion = se3_random()
    turned = normals @ motion[:3, :3].T
    before = up.point_features(cloud.positions, normals, 0.25, oriented=oriented)
    after = up.point_features(up.se3_apply(motion, cloud.positions), turned, 0.25, oriented=oriented)
    assert float((before - after).abs().mean()) < 2e-3  # but for values on the edges of bins
    if not oriented:
        signs = torch.where(torch.rand(600, 1) < 0.5, -1.0, 1.0)
        mixed = up.point_features(cloud.positions, normals * signs, 0.25, oriented=False)
        expected = torch.where(signs < 0, flip_features(before), before)
        assert float((mixed - expected).abs().mean()) < 0.02
    pairs, distance = up.match_features(before, after)
    assert float((pairs[:, 0] == pairs[:, 1]).float().mean()) > 0.95 and float(distance.median()) < 0.2


def test_features_of_lonely_points() -> None:
    points = torch.tensor([[0.0, 0, 0], [10.0, 0, 0]])
    assert torch.isfinite(up.point_features(points, torch.tensor([[0.0, 0, 1], [0.0, 0, 1]]), 1.0)).all()
    assert up.match_features(torch.rand(0, 33), torch.rand(3, 33))[0].shape == (0, 2)


def test_consensus_with_90_percent_of_wrong_matches() -> None:
    motion = se3_random()
    source = torch.rand(800, 3)
    target = torch.rand(800, 3) + motion[:3, 3]
    target[:80] = up.se3_apply(motion, source[:80]) + 0.005 * torch.randn(80, 3)
    motions, counts = consensus_motions(source, target, tolerance=0.02)
    assert float((motions[0] - motion).abs().max()) < 0.02 and float(counts[0]) >= 75
    assert len(consensus_motions(source[:2], target[:2], tolerance=0.02)[0]) == 0


def test_recovers_random_motions_of_partial_scans() -> None:
    """Two scans from different sides, without normals; every start is as good as any other."""
    part = _part()
    views = scan_mesh(part, points=6000, views=6, noise=0.002, seed=1)
    middle = views.positions[:, 0].median()
    first, second = views.positions[views.positions[:, 0] < middle + 0.25], views.positions[views.positions[:, 0] > middle - 0.35]
    for seed in range(3):
        motion = se3_random(extent=3.0, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        source = up.PointCloud(positions=up.se3_apply(motion.float(), first))
        found = up.register_global(source, up.PointCloud(positions=second))
        truth = torch.linalg.inv(motion)
        assert float(so3_distance(found.target_from_source[:3, :3], truth[:3, :3])) < 0.03
        moved = up.se3_apply(found.target_from_source @ motion, first.double())
        assert float((moved - first).norm(dim=1).max()) < 0.03


def test_symmetric_shape_reports_its_other_motions() -> None:
    """A box with a knob on each of two opposite faces looks the same after half a turn; a part without symmetry has one motion."""
    box, knob = up.box((1.0, 0.6, 0.3), segments=6), up.icosphere(2)
    places = (torch.tensor([0.35, 0.12, 0.15]), torch.tensor([-0.35, -0.12, 0.15]))
    knobs = [0.12 * knob.vertices + place for place in places]
    faces = torch.cat([box.faces, knob.faces + box.vertex_count, knob.faces + box.vertex_count + knob.vertex_count])
    mesh = up.Mesh(vertices=torch.cat([box.vertices, *knobs]), faces=faces)
    true = se3_random().double()
    cloud = up.sample_points(mesh, 8000)
    scene = up.PointCloud(positions=up.se3_apply(true.float(), cloud.positions))
    found = up.register_global(up.sample_points(mesh, 8000), scene)
    half_turn = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64))
    apart = [float((found.target_from_source - true @ turn).abs().max()) for turn in (torch.eye(4, dtype=torch.float64), half_turn)]
    other = true @ (half_turn if apart[0] < apart[1] else torch.eye(4, dtype=torch.float64))
    assert min(apart) < 0.02
    assert len(found.alternatives) >= 1 and min(float((a - other).abs().max()) for a in found.alternatives) < 0.02
    single = up.register_global(up.sample_points(_part(), 8000), up.sample_points(_part(), 8000))
    assert single.alternatives == ()


def test_no_overlap_is_refused() -> None:
    first = up.sample_points(_part(), 3000)
    second = up.sample_points(up.torus(0.5, 0.2), 3000)
    with pytest.raises(up.DataError, match="do not fit onto each other"):
        up.register_global(first, second)


def test_units_are_suspected() -> None:
    cloud = up.sample_points(_part(), 500)
    with pytest.raises(up.DataError, match=r"multiply the source by 0\.001"):
        up.register_global(up.PointCloud(positions=1000 * cloud.positions), cloud)
    with pytest.raises(up.DataError, match="at least 10"):
        up.register_global(cloud[:5], cloud)


@pytest.mark.parametrize("names", [("capture0001", "capture0002"), ("capture0003", "capture0004")])
def test_real_captures(names: tuple[str, str], data_folder: Path) -> None:
    folder = data_folder / "scans/pcl_data/tutorials/pairwise"
    source, target = (up.load_points(folder / f"{name}.pcd") for name in names)
    source = up.PointCloud(positions=source.positions[torch.isfinite(source.positions).all(1)][::3])
    motion = se3_random(extent=3.0, dtype=torch.float64)
    moved = up.PointCloud(positions=up.se3_apply(motion.float(), source.positions))
    found = up.register_global(moved, target, up.GlobalOptions(max_distance=0.05))
    assert found.fitness > 0.6 and found.rmse < 0.02


def test_real_scans_of_different_places_are_refused(data_folder: Path) -> None:
    folder = data_folder / "scans/pcl_data/tutorials"
    with pytest.raises(up.DataError, match="do not fit"):
        up.register_global(up.load_points(folder / "pairwise/capture0001.pcd"), up.load_points(folder / "template_alignment/person.pcd"))
