"""Fitting linear models: known parameters from noisy, partial scans; the prior; what is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

import unproject as up
from unproject.fit.fit_model import FitModelOptions, FitModelStep, fit_model
from unproject.fit.landmarks import Landmarks
from unproject.fit.linear_model import LinearModel, pose_model
from unproject.fit.sample_models import sample_body_model, sample_face_model
from unproject.geometry.scan import scan_mesh
from unproject.lie.so3 import so3_distance

MIDDLE = torch.tensor([50.0, -20.0, 3.0])


def _truth(model: LinearModel, seed: int, *, bend: float = 0.25) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    pose = bend * torch.randn(model.joint_count, 3, generator=generator)
    pose[0] = torch.tensor([0.4, 2.0, -0.8])
    return torch.randn(model.identity_count, generator=generator), torch.randn(model.expression_count, generator=generator), pose, MIDDLE


def _scan(model: LinearModel, truth: tuple[torch.Tensor, ...], *, views: int, outliers: float = 0.0) -> tuple[torch.Tensor, up.PointCloud]:
    vertices = pose_model(model, *truth)
    mesh = up.Mesh(vertices=vertices, faces=model.faces)
    return vertices, scan_mesh(mesh, points=3000, views=views, noise=0.002, outliers=outliers, seed=5)


def _marks(model: LinearModel, vertices: torch.Tensor) -> Landmarks:
    index = torch.tensor(list(model.landmarks.values()))
    return Landmarks(vertices=index, positions=vertices[index] + 0.01 * torch.randn(len(index), 3))


def _last(*args: object, **options: object) -> FitModelStep:
    *_, last = fit_model(*args, **options)  # type: ignore[arg-type]
    return last


def _error(step: FitModelStep, vertices: torch.Tensor) -> float:
    return float((step.mesh.vertices - vertices).square().sum(1).mean().sqrt())


def test_face_from_a_scan_of_all_sides() -> None:
    model = sample_face_model(level=3)
    truth = _truth(model, 0)
    vertices, scan = _scan(model, truth, views=8, outliers=0.1)
    steps = list(fit_model(scan, model, _marks(model, vertices)))
    last = steps[-1]
    assert _error(last, vertices) < 0.005, "a quarter of a hundredth of its height; the noise is 0.4 %"
    assert float((last.identity - truth[0]).abs().max()) < 0.15 and float((last.expression - truth[1]).abs().max()) < 0.15
    assert last.scatter < 0.01 and last.index == last.total == len(steps)
    deviation = last.covariance.diagonal().sqrt()[6:]
    off = torch.cat([last.identity - truth[0], last.expression - truth[1]]).abs()
    assert float((off / deviation).median()) < 4, "errors are about what the covariance says"
    assert all(a.index + 1 == b.index for a, b in pairwise(steps))


def test_face_from_one_side_without_landmarks() -> None:
    """What is not seen is filled by the model."""
    model = sample_face_model(level=2)
    truth = _truth(model, 1)
    vertices, scan = _scan(model, truth, views=6)
    mesh = up.Mesh(vertices=vertices, faces=model.faces)
    forward = up.so3_exp(truth[2][0]) @ torch.tensor([0.0, 0.0, 1.0])
    seen = (scan.positions - vertices.mean(0)) @ forward > -0.1
    last = _last(scan.positions[seen], model)
    assert _error(last, vertices) < 0.03 and last.inliers > 0.95
    assert torch.equal(last.mesh.faces, mesh.faces)


def test_turns_that_fit_as_well_are_alternatives() -> None:
    """Half a turn about each axis maps an ellipsoid onto itself; with landmarks there is no doubt."""
    ball = up.icosphere(2, dtype=torch.float64)
    mean = ball.vertices * torch.tensor([1.0, 1.5, 0.7], dtype=torch.float64)
    model = LinearModel(
        mean=mean, faces=ball.faces, identity_basis=0.1 * mean[:, :, None], expression_basis=mean.new_zeros(162, 3, 0),
        identity_deviation=mean.new_ones(1), expression_deviation=mean.new_ones(0),
    )  # fmt: skip
    turn = torch.tensor([[0.3, -0.8, 1.0]], dtype=torch.float64)
    vertices = pose_model(model, mean.new_tensor([0.5]), None, turn, mean.new_tensor([4.0, 0.0, 1.0]))
    scan = scan_mesh(up.Mesh(vertices=vertices, faces=ball.faces), points=800, views=6, noise=0.002, seed=1)
    quick = FitModelOptions(rigid_steps=2, coarse_steps=6, fine_steps=6)
    last = _last(scan.positions, model, options=quick)
    assert len(last.alternatives) == 3 and all(0.5 < a.odds <= 1 for a in last.alternatives)
    turns = torch.stack([up.so3_exp(fit.pose[0]) for fit in (last, *last.alternatives)])
    assert float(so3_distance(turns, up.so3_exp(turn[0])).min()) < 0.02
    apart = so3_distance(turns[:, None], turns[None])[~torch.eye(4, dtype=torch.bool)]
    torch.testing.assert_close(apart, torch.full_like(apart, torch.pi), rtol=0, atol=0.05)
    marks = Landmarks(vertices=torch.arange(12), positions=vertices[:12])
    assert _last(scan.positions, model, marks, options=quick).alternatives == ()


def test_body_with_pose() -> None:
    model = sample_body_model(resolution=32)
    truth = _truth(model, 2)
    vertices, scan = _scan(model, truth, views=3)
    last = _last(scan, model, _marks(model, vertices))
    assert _error(last, vertices) < 0.012
    assert float((last.pose[1:] - truth[2][1:]).abs().median()) < 0.03
    assert float((last.identity - truth[0]).abs().median()) < 0.15


def test_covariance_is_a_prior() -> None:
    """A coefficient that is held to be small stays small; one that follows another follows it where the data are silent."""
    model = sample_face_model(level=2)
    truth = (torch.tensor([0, 0, 1.5, 0, 0, 0, 0, 0.0]), torch.zeros(4), torch.tensor([[0.1, 0.2, 0.0]]), torch.zeros(3))
    vertices, scan = _scan(model, truth, views=6)
    covariance = torch.eye(12, dtype=torch.float64)
    covariance[2, 2] = 1e-8
    held = _last(scan, model, _marks(model, vertices), covariance=covariance)
    free = _last(scan, model, _marks(model, vertices))
    assert abs(float(held.identity[2])) < 0.1 < 1.3 < float(free.identity[2])
    back = scan.positions[scan.positions[:, 2] < -0.3]
    covariance = torch.eye(12, dtype=torch.float64)
    covariance[2, 0] = covariance[0, 2] = 0.99  # a wide head has a long nose; the nose is not seen
    truth = (torch.tensor([1.5, 0, 0, 0, 0, 0, 0, 0.0]), truth[1], truth[2], truth[3])
    vertices, scan = _scan(model, truth, views=6)
    back = scan.positions[scan.positions[:, 2] < 0.2]
    few = Landmarks(
        vertices=torch.tensor(list(model.landmarks.values()))[[4, 5, 1]], positions=vertices[list(model.landmarks.values())][[4, 5, 1]]
    )
    tied, loose = _last(back, model, few, covariance=covariance), _last(back, model, few)
    assert float(tied.identity[2]) > float(loose.identity[2]) + 0.5


def test_failures_are_reported() -> None:
    model = sample_face_model(level=2)
    vertices = model.mean
    with pytest.raises(up.DataError, match="3 points are too few"):
        _last(vertices[:3], model)
    with pytest.raises(up.DataError, match="different units"):
        _last(1000 * vertices, model)
    with pytest.raises(up.ArgumentError, match="NaN or infinite"):
        _last(torch.full((50, 3), torch.nan), model)
    with pytest.raises(up.ArgumentError, match="positive definite"):
        _last(vertices, model, covariance=-torch.eye(12))
    with pytest.raises(up.ArgumentError, match=r"landmarks.vertices` must lie in 0"):
        _last(vertices, model, Landmarks(vertices=torch.tensor([10**6]), positions=torch.zeros(1, 3)))
    with pytest.raises(up.ArgumentError, match="`pose_deviation` must be above 0"):
        _last(vertices, model, options=FitModelOptions(pose_deviation=0.0))
    cloud = 4 * torch.rand(2000, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(up.DataError, match="of the points lie near the fitted model"):
        _last(cloud, model, _marks(model, vertices))
