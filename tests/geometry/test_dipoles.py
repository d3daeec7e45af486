"""Fields of charges and dipoles among themselves against all pairs in plain torch, and what they are for closed surfaces."""

from __future__ import annotations

import pytest
import torch

from unproject.errors import ArgumentError
from unproject.geometry import dipoles
from unproject.geometry.dipoles import build_dipole_tree
from unproject.reference import softened_fields as reference


def sphere(count: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=dtype), dim=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 5, 16, 17, 300])
def test_near_points_act_one_by_one(dtype: torch.dtype, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dipoles, "_OPENING", 1e-3)
    points, moments, charges = torch.randn(count, 3, dtype=dtype), torch.randn(count, 3, dtype=dtype), torch.randn(count, dtype=dtype)
    tree = build_dipole_tree(points)
    tolerance = {"rtol": 1e-3, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(tree.potential(moments, 0.3), reference.dipole_potential(points, moments, 0.3), **tolerance)
    torch.testing.assert_close(tree.charge_field(charges, 0.3), reference.charge_field(points, charges, 0.3), **tolerance)
    torch.testing.assert_close(tree.field(moments, 0.3), reference.dipole_field(points, moments, 0.3), **tolerance)


def test_far_points_act_together_with_a_small_error() -> None:
    points = sphere(4000)
    tree, charges = build_dipole_tree(points), torch.ones(4000)
    assert len(tree.sources) < 0.4 * (len(tree.starts) - 1) ** 2  # fewer than all pairs of leaves
    for found, expected in (
        (tree.potential(points, 0.04), reference.dipole_potential(points, points, 0.04)),
        (tree.charge_field(charges, 0.04), reference.charge_field(points, charges, 0.04)),
        (tree.field(points, 0.04), reference.dipole_field(points, points, 0.04)),
    ):
        assert 1e-6 < float((found - expected).norm() / expected.norm()) < 0.06


def test_winding_number_of_a_sphere_is_a_half_on_it() -> None:
    points = sphere(3000, torch.float64)
    moments = points * (4 * torch.pi / 3000)
    winding = build_dipole_tree(points).potential(moments, 0.01) / (4 * torch.pi)
    assert abs(float(winding.mean()) - 0.5) < 0.03


def test_wrong_points_are_refused() -> None:
    with pytest.raises(ArgumentError, match="points"):
        build_dipole_tree(torch.tensor([[0.0, torch.nan, 0.0]]))
    with pytest.raises(ArgumentError, match="points"):
        build_dipole_tree(torch.zeros(4, 2))
