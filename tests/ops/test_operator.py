"""Operators of our own: gradients, what has none, what is written to."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unproject.ops.operator import operator


@operator("unproject_test::cubed")
def cubed(x: Tensor) -> Tensor:
    return x * x * x


@operator("unproject_test::doubled")
def doubled(x: Tensor, out: int = 2) -> Tensor:
    return out * x


@operator("unproject_test::add_one", mutates_args=("x",))
def add_one(x: Tensor) -> None:
    x += 1


cubed.register_fake(torch.empty_like)
cubed.register_autograd(lambda ctx, g: 3 * ctx.x**2 * g, setup_context=lambda ctx, inputs, output: setattr(ctx, "x", inputs[0]))
add_one.register_fake(lambda x: None)


def test_gradient_and_rules_of_torch() -> None:
    x = torch.rand(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(cubed, x)
    torch.library.opcheck(cubed.overload, (x,))
    torch.library.opcheck(add_one.overload, (x.detach(),))


def test_without_a_gradient_backward_says_so() -> None:
    result = doubled(torch.ones(2, requires_grad=True))
    with pytest.raises(RuntimeError, match="unproject_test::doubled has no gradient"):
        result.sum().backward()


def test_what_is_written_to() -> None:
    x = torch.zeros(3)
    before = x._version
    add_one(x)
    assert x.tolist() == [1, 1, 1] and x._version > before


def test_compiled_graph_keeps_the_operator_whole() -> None:
    traced = torch.fx.experimental.proxy_tensor.make_fx(lambda x: cubed(x) + 1, tracing_mode="fake")(torch.rand(3))
    assert any("cubed" in str(node.target) for node in traced.graph.nodes)
