"""ICP: recovery by every method, covariance against repeated noise, undetermined directions, failures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import unproject as up
from unproject.geometry.scan import scan_mesh
from unproject.register.shape import make_shape, spacing, thin


def joined(first: up.Mesh, second: up.Mesh) -> up.Mesh:
    """Two meshes as one."""
    faces = torch.cat([first.faces, second.faces + first.vertex_count])
    return up.Mesh(vertices=torch.cat([first.vertices, second.vertices]), faces=faces)


def _bumpy(count: int = 3000, seed: int = 0) -> up.PointCloud:
    """A box beside a torus, with colours that vary over them; no symmetry."""
    generator = torch.Generator().manual_seed(seed)
    ring = up.torus(0.5, 0.2)
    mesh = joined(up.box((1.0, 0.7, 0.4)), up.Mesh(vertices=ring.vertices + torch.tensor([0.4, 0.5, 0.3]), faces=ring.faces))
    cloud = up.sample_points(mesh, count, generator=generator)
    tone = 0.5 + 0.25 * (4 * cloud.positions).sin() + 0.25 * (3 * cloud.positions.roll(1, 1)).cos()
    return up.PointCloud(positions=cloud.positions, normals=cloud.normals, colors=tone.clamp(0, 1))


def _moved(cloud: up.PointCloud, motion: torch.Tensor) -> up.PointCloud:
    turn = motion.float()
    normals = None if cloud.normals is None else cloud.normals @ turn[:3, :3].T
    return up.PointCloud(positions=up.se3_apply(turn, cloud.positions), normals=normals, colors=cloud.colors)


SMALL = torch.tensor([0.05, -0.04, 0.03, 0.06, -0.08, 0.05], dtype=torch.float64)


@pytest.mark.parametrize("method", ["point", "plane", "generalized", "color"])
def test_recovers_a_motion_between_different_samples(method: str) -> None:
    motion = up.se3_exp(SMALL)
    source, target = _bumpy(seed=0), _moved(_bumpy(seed=1), motion)
    target = up.PointCloud(positions=target.positions, colors=target.colors)  # normals must be estimated
    found = up.icp(source, target, options=up.IcpOptions(method=method, max_distance=0.2))  # type: ignore[arg-type]
    error = up.se3_log(found.target_from_source @ torch.linalg.inv(motion)).abs().max()
    assert float(error) < (0.01 if method == "point" else 0.004)
    assert found.fitness > 0.99 and found.determined and found.rmse < 0.03


def test_color_fixes_what_geometry_leaves() -> None:
    """On a plane, only colours stop the sliding."""
    generator = torch.Generator().manual_seed(0)
    place = torch.cat([2 * torch.rand(6000, 2, generator=generator), torch.zeros(6000, 1)], 1)
    paint = lambda p: (0.5 + 0.3 * (5 * p[:, :1]).sin() + 0.2 * (4 * p[:, 1:2]).cos()).expand(-1, 3)
    target = up.PointCloud(positions=place, colors=paint(place))
    inner = place[(place[:, :2] - 1).abs().amax(1) < 0.7]
    source = up.PointCloud(positions=inner - torch.tensor([0.05, 0.03, 0.0]), colors=paint(inner))
    plain = up.icp(source, target, options=up.IcpOptions(method="plane", max_distance=0.2, voxels=(0.0,)))
    colored = up.icp(source, target, options=up.IcpOptions(method="color", max_distance=0.2, voxels=(0.0,), penalty=None))
    assert not plain.determined
    expected = torch.tensor([0.05, 0.03, 0.0], dtype=torch.float64)
    assert float((colored.target_from_source[:3, 3] - expected).norm()) < 0.01


def test_an_exact_copy_is_not_certain_where_it_slides() -> None:
    flat = up.PointCloud(positions=torch.cat([2 * torch.rand(3000, 2), torch.zeros(3000, 1)], 1))
    found = up.icp(flat, flat)
    deviation = found.covariance.diagonal().sqrt()
    assert not found.determined and found.rmse == 0
    assert float(deviation[:2].min()) > 1e4 * float(deviation[2]) > 0


def test_large_coordinates_lose_nothing() -> None:
    far = torch.tensor([512_000.0, 5_403_000.0, 300.0], dtype=torch.float64)
    cloud = _bumpy()
    target = up.PointCloud(positions=cloud.positions.double() + far)
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, 3] = far + torch.tensor([0.02, 0.01, -0.01])
    found = up.icp(cloud, target, motion, up.IcpOptions(max_distance=0.1, voxels=(0.0,)))
    assert float((found.target_from_source[:3, 3] - far).norm()) < 1e-4


def test_covariance_is_that_of_repeated_noise() -> None:
    """The spread of the results over 40 noisy copies is what each says of itself, to a factor."""
    target = _bumpy(2000)
    errors, said = [], []
    for seed in range(40):
        noise = 0.003 * torch.randn(2000, 3, generator=torch.Generator().manual_seed(seed))
        source = up.PointCloud(positions=target.positions + noise)
        found = up.icp(source, target, options=up.IcpOptions(max_distance=0.05, voxels=(0.0,), penalty=None))
        errors.append(up.se3_log(found.target_from_source))
        said.append(found.covariance.diagonal())
    ratio = torch.stack(errors).square().mean(0) / torch.stack(said).mean(0)
    assert float(ratio.max()) < 2.5 and float(ratio.min()) > 0.3


def test_outliers_are_robustly_ignored() -> None:
    motion = up.se3_exp(0.5 * SMALL)
    source, target = _bumpy(seed=0), _moved(_bumpy(seed=1), motion)
    stray = target.positions[:900] + 0.12 * torch.tensor([0.0, 0.0, 1.0])
    target = up.PointCloud(positions=torch.cat([target.positions[900:], stray]))
    robust = up.icp(source, target, options=up.IcpOptions(max_distance=0.2, penalty=up.geman_mcclure, scale=0.02))
    error = up.se3_log(robust.target_from_source @ torch.linalg.inv(motion)).abs().max()
    assert float(error) < 0.01


def test_failures_are_said() -> None:
    cloud = _bumpy(500)
    away = up.PointCloud(positions=cloud.positions + 50)
    with pytest.raises(up.DataError, match="do not overlap"):
        up.icp(cloud, away)
    with pytest.raises(up.DataError, match="at least 10"):
        up.icp(cloud[:4], cloud)
    with pytest.raises(up.DataError, match="one place"):
        up.icp(up.PointCloud(positions=torch.ones(20, 3)), cloud)
    with pytest.raises(up.DataError, match="needs colours"):
        up.icp(up.PointCloud(positions=cloud.positions), cloud, options=up.IcpOptions(method="color"))
    with pytest.raises(up.ArgumentError, match="`method`"):
        up.icp(cloud, cloud, options=up.IcpOptions(method="magic"))  # type: ignore[arg-type]
    with pytest.raises(up.ArgumentError, match="`start`"):
        up.icp(cloud, cloud, 2 * torch.eye(4))


def test_points_that_are_not_finite_or_repeated() -> None:
    cloud = _bumpy(800)
    positions = torch.cat([cloud.positions, cloud.positions, torch.full((50, 3), float("nan"))])
    shape = make_shape(up.PointCloud(positions=positions), name="cloud", where="test")
    assert shape.point_count == 1600
    assert spacing(shape) == pytest.approx(spacing(make_shape(cloud, name="cloud", where="test")), rel=0.05)
    assert thin(shape, 0.2).point_count < 400


def test_scan_onto_its_mesh() -> None:
    ball = up.icosphere(2)
    ball = up.Mesh(vertices=0.3 * ball.vertices + 0.4, faces=ball.faces)
    mesh = joined(up.box((1.0, 0.7, 0.4)), ball)
    scan = scan_mesh(mesh, points=3000, views=3, noise=0.002)
    motion = up.se3_exp(SMALL)
    found = up.icp(_moved(scan, motion), mesh, options=up.IcpOptions(max_distance=0.1))
    assert float(up.se3_log(found.target_from_source @ motion).abs().max()) < 0.01


def test_real_pair(data_folder: Path) -> None:
    folder = data_folder / "scans/open3d_testdata/Feature"
    a, b = up.load_points(folder / "cloud_bin_0.pcd"), up.load_points(folder / "cloud_bin_1.pcd")
    found = up.register_global(a, b)
    assert found.fitness > 0.3
    again = up.icp(a, b, found.target_from_source, up.IcpOptions(max_distance=0.05, voxels=(0.0,)))
    assert again.fitness > 0.55 and again.rmse < 0.03
