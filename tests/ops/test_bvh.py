"""The operators over the tree keep torch's rules; the order of queries is a permutation along the curve."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from unproject.ops import bvh, closest_point, closest_to_face, intersect, raycast, winding
from unproject.ops.examples import all_examples
from unproject.testing import check_operator

OPERATORS = [
    bvh.build_face_bvh,
    bvh.build_point_bvh,
    bvh.refit_face_bvh,
    closest_point.closest_face,
    closest_point.closest_face_backward,
    closest_to_face.closest_to_face,
    closest_to_face.distance_to_face,
    intersect.self_intersecting_pairs,
    raycast.any_hit,
    raycast.first_hit,
    raycast.first_hit_backward,
    winding.face_winding,
    winding.face_winding_field,
    winding.point_winding,
    winding.point_winding_field,
]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda op: op.name)
def test_opcheck(operator: Any) -> None:
    examples = [make for op, make in all_examples() if op is operator]
    assert examples
    for make in examples:
        check_operator(operator, make)


def test_curve_order_sorts_each_set() -> None:
    points = torch.rand(700, 3)
    points[5] = torch.nan
    offsets = torch.tensor([0, 300, 300, 310, 700])
    order = torch.from_numpy(bvh.curve_order(points, offsets)).long()
    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist()):
        assert torch.equal(order[begin:end].sort().values, torch.arange(begin, end))
    steps = lambda p: p[~p.isnan().any(1)].diff(dim=0).norm(dim=1).mean()
    assert steps(points[order[310:]]) < 0.5 * steps(points[310:])


def test_batch_index() -> None:
    assert len(bvh.batch_index(torch.tensor([0, 5]))) == 0
    assert bvh.batch_index(torch.tensor([0, 2, 2, 3])).tolist() == [0, 0, 2]
