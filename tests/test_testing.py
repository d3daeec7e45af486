"""The public checks pass what is right and name what is wrong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unproject.testing import check_against_reference, check_gradients, check_operator, named_tensors


class WrongCube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return 2 * grad * ctx.saved_tensors[0] ** 2


X = torch.linspace(0.5, 2, 6)


def test_gradients_of_a_right_function() -> None:
    check_gradients(lambda x, n: {"cube": x**n, "count": torch.tensor(3)}, [X, 3], second=True)


def test_wrong_gradient_is_found() -> None:
    with pytest.raises(AssertionError, match="central differences"):
        check_gradients(WrongCube.apply, [X])


def test_twins_agree() -> None:
    check_against_reference(lambda x, n: (x**n, x.long()), lambda x, n: (x * x * x, x.long()), [X, 3])


def test_wrong_value_names_the_output() -> None:
    with pytest.raises(AssertionError, match=r"output\[1\] in torch.float32"):
        check_against_reference(lambda x: (x, x + 1), lambda x: (x, x + 1.01), [X])


def test_wrong_gradient_names_the_input() -> None:
    with pytest.raises(AssertionError, match="gradient of input 0"):
        check_against_reference(WrongCube.apply, lambda x: x**3, [X])


def test_other_outputs_are_found() -> None:
    with pytest.raises(AssertionError, match="the reference"):
        check_against_reference(lambda x: (x, x), lambda x: (x,), [X])


def test_operator_with_a_wrong_fake_is_found() -> None:
    with torch.library._scoped_library("unproject_test", "FRAGMENT"):

        @torch.library.custom_op("unproject_test::double_size", mutates_args=())
        def double_size(x: Tensor) -> Tensor:
            return torch.cat([x, x])

        @double_size.register_fake
        def _(x: Tensor) -> Tensor:
            return torch.empty_like(x)

        with pytest.raises(AssertionError, match="double_size"):
            check_operator(double_size, lambda dtype: (torch.ones(3, dtype=dtype),))


def test_names_of_nested_tensors() -> None:
    assert [name for name, _ in named_tensors({"a": (X, [X])})] == ["output['a'][0]", "output['a'][1][0]"]
