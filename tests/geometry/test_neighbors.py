"""Neighbour search: equal to brute force to the last bit, for any shape of data; gradients; batches; errors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unproject.errors import ArgumentError
from unproject.geometry.neighbors import Neighbors, ball_query, farthest_points, knn, nearest, radius_search
from unproject.geometry.point_index import PointIndex, build_index
from unproject.reference import farthest as farthest_reference
from unproject.reference import nearest as reference
from unproject.testing import check_against_reference, check_gradients

DTYPES = [torch.float32, torch.float64]


def cloud(count: int, kind: str = "volume", dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """Points as they come in practice."""
    random = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 3, dtype=torch.float64, generator=random)
    if kind == "lattice":  # many equal distances and equal points
        points = (points * 6).round()
    elif kind == "outliers":
        points[: count // 50 + 1] *= 1e6
    elif kind == "clusters":
        points = points * 1e-4 + (points * 3).round() * 100
    elif kind == "plane":
        points[:, 1] = 0.25
    elif kind == "line":
        points[:, 1:] = 7
    elif kind == "same":
        points[:] = 0.1
    elif kind == "far":
        points += 1e6
    elif kind == "sphere":
        points = torch.nn.functional.normalize(points - 0.5, dim=1)
    return points.to(dtype)


KINDS = ["volume", "lattice", "outliers", "clusters", "plane", "line", "same", "far", "sphere"]


def offsets_of(*sizes: int) -> Tensor:
    return torch.tensor([0, *sizes]).cumsum(0)


def assert_found(found: Neighbors, expected: tuple[Tensor, Tensor]) -> None:
    assert torch.equal(found.index, expected[1])
    assert torch.equal(found.squared_distance, expected[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_searches_equal_brute_force(kind: str, dtype: torch.dtype) -> None:
    query, target = cloud(230, kind, dtype, 1), cloud(333, kind, dtype, 2)
    q, t = offsets_of(230), offsets_of(333)
    for a, b in ((query, target), (build_index(query), build_index(target))):  # so few points need no trees, but may have them
        assert_found(nearest(a, b), reference.nearest(query, target, q, t))
        distance, index = reference.nearest(query, target, q, t, manhattan=True)
        assert_found(nearest(a, b, norm=1), (distance.square(), index))
        for k in (1, 3, 9, 40):
            found = knn(a, b, k)
            assert_found(found, reference.k_nearest(query, target, q, t, k, False))
    found = knn(query, target, 9)
    radius = float(found.squared_distance[:, 5].median().sqrt())
    found, expected = ball_query(query, target, radius, 7), reference.first_in_radius(query, target, radius, 7, q, t)
    assert torch.equal(found.index, expected[1])
    assert torch.equal(found.squared_distance, expected[0])
    assert_same_pairs(query, target, radius, q, t)


def assert_same_pairs(query: Tensor, target: Tensor, radius: float, q: Tensor, t: Tensor) -> None:
    found = radius_search(query, target, radius, query_offsets=q, target_offsets=t)
    owner, index = reference.radius_pairs(query, target, radius, q, t)
    order = (found.query * (len(target) + 1) + found.index).argsort()
    assert torch.equal(found.query[order], owner)
    assert torch.equal(found.index[order], index)
    assert torch.equal(found.query, found.query.sort().values)
    assert torch.equal(found.offsets, offsets_of(*torch.bincount(owner, minlength=len(query)).tolist()))
    assert torch.equal(found.squared_distance, reference.pair_squared_distance(query[found.query], target, found.index))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(5, 70)), min_size=1, max_size=5), st.sampled_from(KINDS), st.integers(0, 99))
def test_ragged_batches_search_in_their_own_cloud(sizes: list[tuple[int, int]], kind: str, seed: int) -> None:
    q, t = offsets_of(*(a for a, _ in sizes)), offsets_of(*(b for _, b in sizes))
    query, target = cloud(int(q[-1]), kind, seed=seed), cloud(int(t[-1]), kind, seed=seed + 1)
    expected = reference.k_nearest(query, target, q, t, 5, False)
    assert torch.equal(knn(query, target, 5, query_offsets=q, target_offsets=t).index, expected[1])
    assert torch.equal(knn(build_index(query, q), build_index(target, t), 5).index, expected[1])
    assert torch.equal(nearest(query, target, query_offsets=q, target_offsets=t).index, expected[1][:, 0])
    assert_same_pairs(query, target, 0.3, q, t)


@pytest.mark.parametrize("kind", KINDS)
def test_tree_covers_its_points(kind: str) -> None:
    points, offsets = cloud(701, kind), offsets_of(100, 0, 1, 600)
    leaf_points, ids, boxes, low_ids, leaf_offsets = build_index(points, offsets).tree
    leaves = int(leaf_offsets[-1])
    assert torch.equal(leaf_offsets, torch.tensor([0, 7, 7, 8, 46]))
    real = ids[:leaves] < len(points)
    assert torch.equal(ids[:leaves][real].sort().values.long(), torch.arange(len(points)))
    assert torch.equal(leaf_points[:leaves].transpose(1, 2)[real], points[ids[:leaves][real].long()])
    root = 2 * 8 - 3
    assert torch.equal(boxes[root], torch.cat([points[101:].amin(0), points[101:].amax(0)]))
    assert int(low_ids[root]) == 101


def test_large_tree_is_built_in_parts_alike() -> None:
    points = cloud(40_000, "sphere")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = build_index(points), knn(points, points, 4)
        torch.set_num_threads(3)
        together = build_index(points), knn(points, points, 4)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(alone[0].tree, together[0].tree))
    assert torch.equal(alone[1].index, together[1].index)
    assert torch.equal(alone[1].squared_distance, together[1].squared_distance)


def test_few_points_are_shared_among_threads_alike() -> None:
    query, target = cloud(900, "lattice", seed=1), cloud(1000, "lattice", seed=2)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        found = knn(query, target, 4)
    finally:
        torch.set_num_threads(threads)
    assert_found(found, reference.k_nearest(query, target, offsets_of(900), offsets_of(1000), 4, False))


def test_index_in_place_of_points() -> None:
    query, target = cloud(200, seed=1), cloud(300, seed=2)
    converted = build_index(target).to(torch.float64)
    assert torch.equal(nearest(query.double(), converted).index, nearest(query.double(), target.double()).index)


def test_neighbours_within_one_set() -> None:
    points = cloud(400, "lattice")
    offsets = offsets_of(150, 250)
    found = knn(points, points, 4, exclude_self=True, query_offsets=offsets, target_offsets=offsets)
    assert not (found.index == torch.arange(400)[:, None]).any()
    assert torch.equal(found.index, reference.k_nearest(points, points, offsets, offsets, 4, True)[1])
    index = build_index(points, offsets)
    assert torch.equal(found.index, knn(index, index, 4, exclude_self=True).index)
    assert torch.equal(nearest(points, points).squared_distance, torch.zeros(400))


@pytest.mark.parametrize("dimension", [1, 2, 3, 5])
def test_other_dimensions(dimension: int) -> None:
    random = torch.Generator().manual_seed(3)
    query, target = torch.rand(50, dimension, generator=random), torch.rand(60, dimension, generator=random)
    found = knn(query, target, 3)
    expected = torch.cdist(query.double(), target.double()).topk(3, largest=False)
    assert torch.equal(found.index, expected.indices)
    torch.testing.assert_close(found.squared_distance.double(), expected.values.square(), rtol=1e-5, atol=1e-6)
    assert torch.equal(radius_search(query, target, 0.2).offsets.diff(), (torch.cdist(query, target) <= 0.2).sum(1))
    check_gradients(lambda q, t: nearest(q, t).squared_distance, [query[:5], target[:7]])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_farthest_points_equal_brute_force(kind: str, dtype: torch.dtype) -> None:
    points, offsets, start = cloud(300, kind, dtype), offsets_of(90, 210), torch.tensor([4, 0])
    found = farthest_points(points, 90, start=start, offsets=offsets)
    assert torch.equal(found, farthest_reference.farthest_points(points, offsets, offsets[:-1] + start, 90))
    assert len(found.unique()) == 180


def test_farthest_points_go_on_over_many_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    points = cloud(500)
    whole = farthest_points(points, 100)
    monkeypatch.setattr("unproject.ops.farthest._VISITS", 3000)
    assert torch.equal(farthest_points(points, 100), whole)


def test_gradients() -> None:
    query, target = cloud(12, seed=1), cloud(9, seed=2)
    offsets = {"query_offsets": offsets_of(4, 8), "target_offsets": offsets_of(5, 4)}
    check_gradients(lambda q, t: nearest(q, t, **offsets).squared_distance, [query, target], second=True)
    check_gradients(lambda q, t: knn(q, t, 3, **offsets).squared_distance, [query, target], second=True)
    check_gradients(lambda q, t: knn(build_index(q), build_index(t), 3).squared_distance, [query, target], second=True)
    check_gradients(lambda q, t: ball_query(q, t, 0.6, 3, **offsets).squared_distance, [query, target], second=True)
    check_gradients(lambda q, t: radius_search(q, t, 0.6, **offsets).squared_distance, [query, target], second=True)
    check_gradients(lambda q, t: nearest(q, t, norm=1, **offsets).squared_distance, [query, target], second=True)
    check_gradients(lambda q: knn(q, q, 4).squared_distance, [query], second=True)


def test_gradients_equal_the_references() -> None:
    query, target = cloud(40, seed=1), cloud(50, seed=2)
    q, t = offsets_of(40), offsets_of(50)
    check_against_reference(lambda a, b: tuple(vars(nearest(a, b)).values()), lambda a, b: reference.nearest(a, b, q, t), [query, target])
    check_against_reference(
        lambda a, b: tuple(vars(knn(a, b, 6)).values()), lambda a, b: reference.k_nearest(a, b, q, t, 6, False), [query, target]
    )
    check_against_reference(
        lambda a, b: tuple(vars(ball_query(a, b, 0.3, 6)).values()),
        lambda a, b: reference.first_in_radius(a, b, 0.3, 6, q, t),
        [query, target],
    )


def test_gradient_flows_into_the_points_of_an_index() -> None:
    target = cloud(20).requires_grad_()
    nearest(cloud(10, seed=5), build_index(target)).squared_distance.sum().backward()
    assert target.grad is not None
    assert bool(target.grad.abs().sum() > 0)


def test_gradient_at_distance_zero_is_zero() -> None:
    points = cloud(30).requires_grad_()
    nearest(points, points.detach()).squared_distance.sum().backward()
    assert torch.equal(points.grad, torch.zeros(30, 3))


def test_empty_and_single() -> None:
    none, one = torch.zeros(0, 3), torch.zeros(1, 3)
    assert nearest(none, one).index.shape == (0,)
    assert knn(none, none, 2).index.shape == (0, 2)
    assert radius_search(one, none, 1.0).offsets.tolist() == [0, 0]
    assert ball_query(one, none, 1.0, 2).index.tolist() == [[-1, -1]]
    assert nearest(one, one).index.tolist() == [0]
    assert radius_search(one, one, 0.0).index.tolist() == [0]
    assert farthest_points(one, 1).tolist() == [0]
    assert farthest_points(none, 0).shape == (0,)
    assert build_index(none).point_count == 0
    assert nearest(none, none, query_offsets=torch.tensor([0]), target_offsets=torch.tensor([0])).index.shape == (0,)


def test_ball_query_gradient_with_padding_ignores_the_cotangent_of_padding() -> None:
    query, target = torch.zeros(1, 3, requires_grad=True), torch.ones(1, 3)
    found = ball_query(query, target, 2.0, 2)
    (found.squared_distance * torch.tensor([[1.0, float("nan")]])).nansum().backward()
    assert query.grad.tolist() == [[-2.0, -2.0, -2.0]]


def test_strided_and_half_open_inputs() -> None:
    storage = torch.rand(3, 100, generator=torch.Generator().manual_seed(0))
    query = storage.T[::2]
    assert not query.is_contiguous()
    assert torch.equal(nearest(query, storage.T).squared_distance, torch.zeros(50))


ONE = torch.zeros(1, 3)
INDEX = build_index(torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nearest(torch.zeros(3), ONE), r"nearest: `query` must be \[N, D\] floats, got float32 \[3\]"),
        (lambda: nearest(ONE, torch.full((2, 3), float("nan"))), "nearest: `target` has a NaN or infinite value at index \\[0, 0\\]"),
        (lambda: nearest(ONE, ONE.double()), "same dimension, type and device, got float32"),
        (lambda: nearest(ONE, torch.zeros(1, 2)), "same dimension"),
        (lambda: nearest(ONE, torch.zeros(0, 3)), "nearest: 1 targets are needed, `target` has 0"),
        (lambda: nearest(ONE, ONE, norm=3), "`norm` must be 1 or 2, got 3"),
        (lambda: knn(ONE, ONE, 2), "knn: 2 targets are needed, `target` has 1"),
        (lambda: knn(ONE, ONE, 1, exclude_self=True), "2 targets are needed"),
        (lambda: knn(ONE, ONE, 0), "`k` must be at least 1"),
        (lambda: knn(ONE, torch.zeros(2, 3), 1, exclude_self=True), "one set of points, got 1 queries and 2 targets"),
        (lambda: radius_search(ONE, ONE, -1.0), "`radius` must be finite and not negative, got -1.0"),
        (lambda: ball_query(ONE, ONE, float("nan"), 1), "`radius` must be finite"),
        (lambda: ball_query(ONE, ONE, 1.0, 0), "`k` must be at least 1"),
        (lambda: nearest(ONE, INDEX, target_offsets=torch.tensor([0, 2])), "`target` is an index and has offsets of its own"),
        (lambda: nearest(ONE, ONE, query_offsets=torch.tensor([0, 1, 1])), "as many clouds, got 2 and 1"),
        (lambda: nearest(ONE, ONE, query_offsets=torch.tensor([0, 2])), "must ascend from 0 to 1"),
        (
            lambda: nearest(ONE, ONE, query_offsets=torch.tensor([0, 0, 1]), target_offsets=torch.tensor([0, 1, 1])),
            "cloud 1 of `target` has 0",
        ),
        (lambda: farthest_points(ONE, 2), "`k` must lie in 0 to 1, the size of the smallest cloud, got 2"),
        (lambda: farthest_points(ONE, 1, start=1), "`start` must lie within its cloud"),
        (lambda: INDEX[0], "a part of an index is not an index"),
    ],
)
def test_errors(call, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


def test_index_type() -> None:
    assert isinstance(INDEX, PointIndex)
    assert INDEX.point_count == 2
