"""Closed-form motions: exactness, scale, batches, weights, gradients, refusals."""

from __future__ import annotations

import pytest
import torch

import unproject as up
from unproject.lie.se3 import se3_random
from unproject.testing import check_gradients


def _pairs(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(*shape, 3, dtype=torch.float64), se3_random(shape[:-1], dtype=torch.float64)


def test_exact_motion_of_a_batch() -> None:
    source, motion = _pairs(4, 7)
    found = up.umeyama(source, up.se3_apply(motion, source))
    torch.testing.assert_close(found, motion, rtol=0, atol=1e-12)


def test_scale_and_weights() -> None:
    source, motion = _pairs(20)
    target = 2.5 * source @ motion[:3, :3].T + motion[:3, 3]
    wrong = target.clone()
    wrong[:5] += torch.randn(5, 3, dtype=torch.float64)
    weights = torch.ones(20, dtype=torch.float64)
    weights[:5] = 0
    found = up.umeyama(source, wrong, weights, with_scale=True)
    torch.testing.assert_close(found[:3, :3], 2.5 * motion[:3, :3], rtol=0, atol=1e-12)
    torch.testing.assert_close(found[:3, 3], motion[:3, 3], rtol=0, atol=1e-12)
    assert abs(float(torch.linalg.det(up.umeyama(source, wrong)[:3, :3])) - 1) < 1e-12


def test_a_reflection_becomes_a_rotation() -> None:
    source, _ = _pairs(9)
    found = up.umeyama(source, source * torch.tensor([1.0, 1, -1], dtype=torch.float64))
    assert float(torch.linalg.det(found[:3, :3])) == pytest.approx(1)


@pytest.mark.parametrize("with_scale", [False, True])
def test_gradients(with_scale: bool) -> None:
    source, _ = _pairs(2, 6)
    target = source.roll(1, 0) + 0.3 * torch.randn_like(source)
    check_gradients(lambda s, t, w: up.umeyama(s, t, w.square(), with_scale=with_scale), (source, target, torch.rand(2, 6) + 0.5))


def test_gradient_where_singular_values_are_equal() -> None:
    source = torch.cat([torch.eye(3, dtype=torch.float64), -torch.eye(3, dtype=torch.float64)])
    check_gradients(lambda t: up.umeyama(source, t), (source,))


def test_plane_step_recovers_a_small_motion() -> None:
    target, normals = torch.randn(60, 3, dtype=torch.float64), torch.nn.functional.normalize(torch.randn(60, 3, dtype=torch.float64), dim=1)
    motion = up.se3_exp(torch.tensor([0.02, -0.01, 0.03, 0.01, 0.02, -0.02], dtype=torch.float64))
    pose = torch.eye(4, dtype=torch.float64)
    for _ in range(3):
        pose = up.plane_step(up.se3_apply(pose, target), up.se3_apply(motion, target), normals @ motion[:3, :3].T) @ pose
    torch.testing.assert_close(pose, motion, rtol=0, atol=1e-9)


def test_plane_step_gradients() -> None:
    source, target = torch.randn(2, 12, 3), torch.randn(2, 12, 3)
    normals = torch.nn.functional.normalize(torch.randn(2, 12, 3), dim=-1)
    check_gradients(
        lambda s, t, n, w: up.plane_step(s, t, n, w.square()), (source, 0.1 * target + source, normals, torch.rand(2, 12) + 0.5)
    )


def test_refusals() -> None:
    source, _ = _pairs(5)
    with pytest.raises(up.ArgumentError, match="`target`"):
        up.umeyama(source, source[:4])
    with pytest.raises(up.DataError, match="at least one pair"):
        up.umeyama(source[:0], source[:0])
    with pytest.raises(up.ArgumentError, match="negative"):
        up.umeyama(source, source, -torch.ones(5, dtype=torch.float64))
    with pytest.raises(up.DataError, match="add up to zero"):
        up.umeyama(source, source, torch.zeros(5, dtype=torch.float64))
    with pytest.raises(up.DataError, match="no scale"):
        up.umeyama(torch.ones(4, 3), torch.randn(4, 3), with_scale=True)
    with pytest.raises(up.DataError, match="undetermined"):
        up.plane_step(source, source, torch.tensor([0.0, 0, 1], dtype=torch.float64).expand(5, 3))
