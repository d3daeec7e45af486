"""Unit vectors and light of one source: the kernels beside plain torch, shared and own rows, first and second gradients, edges."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unproject.ops import shade as ops
from unproject.reference import shade as reference
from unproject.testing import check_against_reference


def light_inputs(count: int, shared: bool) -> list[Tensor]:
    """Normals to all sides, so that some points are lit from behind; then what all points share, or each has."""
    generator = torch.Generator().manual_seed(count)
    unit = lambda rows: torch.nn.functional.normalize(torch.randn(rows, 3, generator=generator, dtype=torch.float64), dim=-1)
    rows = 1 if shared else count
    shininess = torch.tensor([3.0, 0.4, 0.0, 20.0]).repeat(count)[:rows]
    return [unit(count), unit(rows), unit(rows), torch.rand(rows, 3, generator=generator, dtype=torch.float64), shininess.double()]


@pytest.mark.parametrize("count", [0, 1, 3, 20_000])
def test_unit_vectors_are_those_of_the_twin(count: int) -> None:
    vectors = torch.randn(count, 3, dtype=torch.float64)
    vectors[1:2] = 0
    check_against_reference(ops.unit_vectors, reference.unit_vectors, [vectors])


@pytest.mark.parametrize("reflection", ops.REFLECTIONS)
@pytest.mark.parametrize(("count", "shared"), [(1, True), (7, True), (7, False), (20_000, True)])
def test_light_is_that_of_the_twin(reflection: str, count: int, shared: bool) -> None:
    run = lambda module: lambda *inputs: module.reflect_light(*inputs, reflection)
    check_against_reference(
        run(ops), run(reference), light_inputs(count, shared), tolerances={torch.float32: (1e-3, 1e-4), torch.float64: (1e-9, 1e-9)}
    )


@pytest.mark.parametrize("reflection", ops.REFLECTIONS)
@pytest.mark.parametrize("shared", [True, False])
def test_first_and_second_gradients(reflection: str, shared: bool) -> None:
    inputs = [t.requires_grad_() for t in light_inputs(5, shared)[:4]] + [torch.full((1 if shared else 5,), 2.5, dtype=torch.float64)]
    inputs[4].requires_grad_()
    function = lambda *t: ops.reflect_light(*t, reflection)
    assert torch.autograd.gradcheck(function, inputs) and torch.autograd.gradgradcheck(function, inputs)
    vectors = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ops.unit_vectors, vectors) and torch.autograd.gradgradcheck(ops.unit_vectors, vectors)


def test_opposite_light_and_eye_have_no_half_vector() -> None:
    up, side = torch.tensor([[0.0, 0, 1]]), torch.tensor([[1.0, 0, 0]])
    inputs = [t.clone().requires_grad_() for t in (up, -side, side + 0.1 * up, torch.ones(1, 3), torch.ones(1))]
    outputs = ops.reflect_light(*inputs[:1], -inputs[2], *inputs[2:], "blinn_phong")
    gradients = torch.autograd.grad([t.sum() for t in outputs], [inputs[0], *inputs[2:]])
    assert float(outputs[1].abs().max()) == 0 and all(bool(torch.isfinite(g).all()) for g in gradients)
