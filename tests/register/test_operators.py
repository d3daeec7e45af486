"""Kernels of registration against their twins, on random input and on none."""

from __future__ import annotations

import pytest
import torch

from unproject.ops import align, point_features, point_pairs
from unproject.reference import align as align_twin
from unproject.reference import point_features as features_twin
from unproject.reference import point_pairs as pairs_twin
from unproject.register.point_pairs import make_pair_table
from unproject.testing import check_against_reference

LOOSE = {torch.float32: (1e-3, 1e-4), torch.float64: (1e-9, 1e-11)}


def _cloud(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(count, 3), torch.nn.functional.normalize(torch.randn(count, 3), dim=1)


@pytest.mark.parametrize("kind", [align.POINT, align.DIRECTION, align.GENERALIZED])
@pytest.mark.parametrize("count", [0, 1, 300])
def test_matches(kind: int, count: int) -> None:
    source, source_normals = _cloud(count)
    target, normals = _cloud(40)
    match = torch.randint(-1, 40, (count,))
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    pose[:3, 3] = torch.tensor([0.1, -0.4, 2.0])
    inputs = (source, source_normals, match, target, normals, torch.randn(count), pose, kind)
    plain = lambda function: lambda *values: function(*(v.detach() if isinstance(v, torch.Tensor) else v for v in values[:6]), pose, kind)
    check_against_reference(plain(align.match_errors), plain(align_twin.match_errors), inputs[:6], tolerances=LOOSE)
    weighted = (*inputs, torch.rand(count) - 0.2, torch.tensor([0.3, 0.2, -1.0], dtype=torch.float64))
    found, expected = align.match_sums(*weighted), align_twin.match_sums(*weighted)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_sums_are_the_derivative_of_the_cost() -> None:
    """Half the derivative of the cost along each of the six small motions."""
    from unproject.lie.se3 import se3_exp

    source, target = torch.randn(30, 3, dtype=torch.float64), torch.randn(30, 3, dtype=torch.float64)
    normals = torch.nn.functional.normalize(torch.randn(30, 3, dtype=torch.float64), dim=1)
    fixed = (source, normals[:0], torch.arange(30), target, normals, torch.zeros(30, dtype=torch.float64))
    weight, centre = torch.rand(30, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    cost = lambda xi: align.match_sums(*fixed, se3_exp(xi), align.DIRECTION, weight, centre)
    for axis in range(6):
        step = torch.zeros(6, dtype=torch.float64)
        step[axis] = 1e-6
        slope = (cost(step)[27] - cost(-step)[27]) / 4e-6
        assert float(cost(0 * step)[21 + axis]) == pytest.approx(float(slope), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("signed", [True, False])
def test_histograms(signed: bool) -> None:
    points, normals = _cloud(50)
    lists = torch.tensor([3, 9, 20]), torch.tensor([0, 30, 30, 55]), torch.randint(0, 50, (55,))
    check_against_reference(
        lambda p, n, *rest: point_features.normal_histograms(p.detach(), n.detach(), *rest),
        lambda p, n, *rest: features_twin.normal_histograms(p.detach(), n.detach(), *rest),
        (points.double(), normals.double(), *lists, signed),
        dtypes=(torch.float64,),
    )


def test_votes_of_a_moved_model_name_its_motion() -> None:
    points, normals = _cloud(25)
    keys, turns = point_pairs.model_pairs(points, normals, 0.3, 20)
    twin_keys, twin_turns = pairs_twin.model_pairs(points, normals, 0.3, 20)
    same = keys == twin_keys  # a value on the edge of a bin may fall to either side
    assert float(same.float().mean()) > 0.995 and float((turns - twin_turns)[same].abs().max()) < 1e-4
    table = make_pair_table(points, normals, 0.3)
    lists = torch.arange(0, 25, 5), torch.arange(0, 126, 25), torch.arange(25).repeat(5)
    arguments = (points, normals, *lists, 0.3, table.lengths, table.starts, table.firsts, table.turns, table.weights, 25, 2)
    found, expected = point_pairs.pair_votes(*arguments), pairs_twin.pair_votes(*arguments)
    torch.testing.assert_close(found[:, 0], expected[:, 0], rtol=1e-3, atol=1e-3)
    assert found[:, 0, 0].tolist() == lists[0].tolist(), "each point votes for itself"
    assert float(found[:, 0, 1].remainder(6.2832).sub(3.1416).abs().min()) > 3.0, "without a turn"


def test_nothing_to_vote() -> None:
    points, normals = _cloud(8)
    table = make_pair_table(points, normals, 0.3)
    none = torch.empty(0, dtype=torch.int64)
    rest = (0.3, table.lengths, table.starts, table.firsts, table.turns, table.weights, 8, 2)
    assert point_pairs.pair_votes(points, normals, none, torch.zeros(1, dtype=torch.int64), none, *rest).shape == (0, 2, 3)
    assert point_pairs.model_pairs(points[:0], normals[:0], 0.3, 4)[0].shape == (0, 0)
