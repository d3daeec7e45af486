"""Operators of torch that are written here: what `torch.library.custom_op` makes, without torch's compiler behind every first call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch


class Operator:
    """An operator `unproject::name` for the CPU: call it, give it a fake implementation, give it a gradient.

    It is registered by the same public functions as `torch.library.custom_op` uses, and shows the same methods. That one wraps each
    implementation so that the first call imports `torch._dynamo`, 1.7 s in every process, and checks at every call what `opcheck`
    checks in our tests. For `torch.compile` nothing changes: an operator is opaque to it.
    """

    def __init__(self, name: str, implementation: Callable[..., Any], mutates_args: tuple[str, ...]) -> None:
        self.name = name
        self.__doc__ = implementation.__doc__
        self._backward: Callable[..., Any] | None = None
        self._setup: Callable[..., None] | None = None
        torch.library.define(name, torch.library.infer_schema(implementation, mutates_args=mutates_args))
        torch.library.impl(name, "cpu")(implementation)
        namespace, short = name.split("::")
        self.overload: Any = getattr(getattr(torch.ops, namespace), short).default
        if not mutates_args:
            torch.library.register_autograd(name, self._run_backward, setup_context=self._run_setup)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.overload(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<operator {self.name}>"

    def register_fake(self, fake: Callable[..., Any]) -> Callable[..., Any]:
        """Say what the outputs look like for inputs without data: shapes and types alone."""
        return torch.library.register_fake(self.name)(fake)

    def register_kernel(self, devices: str | Sequence[str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Add an implementation for other kinds of device, such as "cuda"."""

        def register(implementation: Callable[..., Any]) -> Callable[..., Any]:
            torch.library.impl(self.name, devices)(implementation)
            return implementation

        return register

    def register_autograd(self, backward: Callable[..., Any], *, setup_context: Callable[..., None] | None = None) -> None:
        """Give the operator a gradient, as `torch.library.register_autograd`."""
        self._backward, self._setup = backward, setup_context

    def _run_setup(self, ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        if self._setup is not None:
            self._setup(ctx=ctx, inputs=inputs, output=output)

    def _run_backward(self, ctx: Any, *gradients: Any) -> Any:
        if self._backward is None:
            raise RuntimeError(f"{self.name} has no gradient; its public function says what has")
        return self._backward(ctx, *gradients)


def operator(name: str, *, mutates_args: tuple[str, ...] = ()) -> Callable[[Callable[..., Any]], Operator]:
    """Decorate the implementation of `unproject::name`: annotated tensors and scalars in, new tensors out.

    Args:
        name: with its namespace.
        mutates_args: names of arguments that are written to; such an operator has no gradient.
    """
    return lambda implementation: Operator(name, implementation, mutates_args)


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """A tensor as kernels take it: without gradient, its elements after each other."""
    return tensor.detach().contiguous().numpy()
