"""Chamfer distance: against its definition, with every option; batches; gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unproject.errors import ArgumentError
from unproject.geometry.point_index import build_index
from unproject.losses.chamfer import chamfer_distance, chamfer_terms, one_sided_chamfer_distance
from unproject.losses.robust import cauchy, geman_mcclure, huber, squared, unsquared
from unproject.testing import check_against_reference, check_gradients

PENALTIES = [squared, unsquared, huber(0.1), cauchy(0.1), geman_mcclure(0.1)]


def points(count: int, seed: int) -> Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))


def by_definition(x: Tensor, y: Tensor, penalty, x_weights: Tensor | None = None, y_weights: Tensor | None = None) -> Tensor:
    table = (x[:, None] - y[None]).square().sum(2)
    return weighted(penalty(table.amin(1)), x_weights) + weighted(penalty(table.amin(0)), y_weights)


def weighted(values: Tensor, weights: Tensor | None) -> Tensor:
    return values.mean() if weights is None else (values * weights).sum() / weights.sum()


@pytest.mark.parametrize("penalty", PENALTIES)
def test_equals_the_definition(penalty) -> None:
    inputs = [points(40, 0), points(50, 1), points(40, 2)[:, 0], points(50, 3)[:, 0]]
    check_against_reference(
        lambda x, y, u, v: chamfer_distance(x, y, penalty=penalty), lambda x, y, u, v: by_definition(x, y, penalty), inputs
    )
    check_against_reference(
        lambda x, y, u, v: chamfer_distance(x, y, penalty=penalty, x_weights=u, y_weights=v),
        lambda x, y, u, v: by_definition(x, y, penalty, u, v),
        inputs,
    )


def test_first_norm() -> None:
    def manhattan(x: Tensor, y: Tensor) -> Tensor:
        table = (x[:, None] - y[None]).abs().sum(2)
        return table.amin(1).mean() + table.amin(0).mean()

    check_against_reference(lambda x, y: chamfer_distance(x, y, norm=1, penalty=unsquared), manhattan, [points(40, 0), points(50, 1)])


def test_batch_is_the_mean_over_its_clouds() -> None:
    x, y, weights = points(30, 0), points(40, 1), points(30, 2)[:, 0]
    offsets = {"x_offsets": torch.tensor([0, 12, 30]), "y_offsets": torch.tensor([0, 30, 40])}
    found = chamfer_distance(x, y, x_weights=weights, **offsets)
    one = chamfer_distance(x[:12], y[:30], x_weights=weights[:12])
    two = chamfer_distance(x[12:], y[30:], x_weights=weights[12:])
    torch.testing.assert_close(found, (one + two) / 2)
    found = one_sided_chamfer_distance(x, y, weights=weights, **offsets)
    one = one_sided_chamfer_distance(x[:12], y[:30], weights=weights[:12])
    two = one_sided_chamfer_distance(x[12:], y[30:], weights=weights[12:])
    torch.testing.assert_close(found, (one + two) / 2)


def test_sides_add_up() -> None:
    x, y = points(30, 0), points(40, 1)
    both = one_sided_chamfer_distance(x, y, penalty=unsquared) + one_sided_chamfer_distance(y, x, penalty=unsquared)
    torch.testing.assert_close(chamfer_distance(x, y, penalty=unsquared), both)


def test_prebuilt_index_changes_nothing() -> None:
    x, y = points(30, 0).requires_grad_(), points(40, 1)
    (plain,) = torch.autograd.grad(chamfer_distance(x, y), x)
    (indexed,) = torch.autograd.grad(chamfer_distance(x, build_index(y)), x)
    assert torch.equal(plain, indexed)


def test_terms() -> None:
    x, y = points(30, 0), points(40, 1)
    n, m = (torch.nn.functional.normalize(points(count, seed) - 0.5, dim=1) for count, seed in ((30, 2), (40, 3)))
    terms = chamfer_terms(x, y, n, m)
    torch.testing.assert_close(terms.distance, chamfer_distance(x, y))
    table = torch.cdist(x, y)
    cosines = (n * m[table.argmin(1)]).sum(1).abs().mean() + (m * n[table.argmin(0)]).sum(1).abs().mean()
    torch.testing.assert_close(terms.normals, 2 - cosines)
    assert float(chamfer_terms(x, x, n, -n).normals) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_gradients(penalty) -> None:
    check_gradients(
        lambda x, y, w: chamfer_distance(
            x, y, penalty=penalty, x_weights=w, x_offsets=torch.tensor([0, 2, 4]), y_offsets=torch.tensor([0, 1, 3])
        ),
        [points(4, 0), points(3, 1), points(4, 2)[:, 0]],
        second=True,
    )


def test_gradients_of_terms() -> None:
    normals = [torch.nn.functional.normalize(points(5, seed) - 0.5, dim=1) for seed in (3, 4)]
    check_gradients(chamfer_terms, [points(5, 0), points(5, 1), *normals])


@pytest.mark.parametrize("penalty", PENALTIES)
def test_gradient_at_distance_zero_is_zero(penalty) -> None:
    x = points(20, 0).requires_grad_()
    loss = chamfer_distance(x, x.detach().clone(), penalty=penalty)
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(x.grad, torch.zeros(20, 3))


def test_empty_clouds_and_weights_add_nothing() -> None:
    x, y = points(5, 0).requires_grad_(), points(4, 1)
    offsets = {"x_offsets": torch.tensor([0, 0, 5]), "y_offsets": torch.tensor([0, 0, 4])}
    loss = chamfer_distance(x, y, **offsets)
    torch.testing.assert_close(loss, chamfer_distance(x, y) / 2)
    loss = one_sided_chamfer_distance(x, y, weights=torch.zeros(5))
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(x.grad, torch.zeros(5, 3))
    assert float(chamfer_distance(x[:0], y[:0]).detach()) == 0


def test_errors() -> None:
    x = points(3, 0)
    with pytest.raises(ArgumentError, match=r"chamfer_distance: `x_weights` must be \[3\] floats, got float32 \[2\]"):
        chamfer_distance(x, x, x_weights=torch.ones(2))
    with pytest.raises(ArgumentError, match="chamfer_distance: `y` has a NaN"):
        chamfer_distance(x, x * float("nan"))
    with pytest.raises(ArgumentError, match="1 targets are needed"):
        chamfer_distance(x, x[:0])
    with pytest.raises(ArgumentError, match="`x` is an index"):
        chamfer_distance(build_index(x), x, x_offsets=torch.tensor([0, 3]))
    with pytest.raises(ArgumentError, match=r"`y_normals` must be \[3, 3\]"):
        chamfer_terms(x, x, x, x[:2])
