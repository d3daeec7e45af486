"""Checks for people who write operators: gradients against differences, a kernel against its twin, an operator against torch's rules.

All of them return nothing when the check passes, and raise AssertionError that says which output or gradient is off, and by how much.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

TOLERANCES: Mapping[torch.dtype, tuple[float, float]] = {torch.float32: (1e-4, 1e-5), torch.float64: (1e-9, 1e-11)}
"""Relative and absolute tolerance of each type, for quantities of about 1."""


def check_gradients(function: Callable[..., Any], inputs: Sequence[Any], *, second: bool = False, step: float = 1e-6) -> None:
    """Compare a function's gradients with central differences, in float64.

    Args:
        function: of the inputs; returns a tensor, or a tuple, struct or mapping of them. Integer outputs are left out.
        inputs: floating-point tensors are converted to float64 and differentiated; everything else is passed as it is.
        second: whether second derivatives are compared too.
        step: of the differences.

    Raises:
        AssertionError: a gradient differs.
    """
    values = [v.detach().to(torch.float64).clone().requires_grad_() if _is_float(v) else v for v in inputs]

    def outputs(*arguments: Any) -> tuple[Tensor, ...]:
        return tuple(value for _, value in named_tensors(function(*arguments)) if _is_float(value))

    try:
        torch.autograd.gradcheck(outputs, values, eps=step)
        if second:
            torch.autograd.gradgradcheck(outputs, values, eps=step)
    except GradcheckError as error:
        raise AssertionError(f"gradients differ from central differences: {error}") from error


def check_against_reference(
    function: Callable[..., Any],
    reference: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.float64),
    tolerances: Mapping[torch.dtype, tuple[float, float]] = TOLERANCES,
    seed: int = 0,
) -> None:
    """Compare a function with its twin: all outputs, and the gradients of all inputs under one random cotangent.

    Args:
        function, reference: of the same inputs; return tensors, or tuples, structs or mappings of them, alike in order.
        inputs: floating-point tensors are converted to each dtype and differentiated; everything else is passed as it is.
        dtypes: to be checked one after the other.
        tolerances: (relative, absolute) for each dtype; integers must be equal.
        seed: of the cotangent.

    Raises:
        AssertionError: an output or a gradient differs.
    """
    for dtype in dtypes:
        found, expected = (_values_and_gradients(f, inputs, dtype, seed) for f in (function, reference))
        if found.keys() != expected.keys():
            raise AssertionError(f"{dtype}: the function gives {sorted(found)}, the reference {sorted(expected)}")
        relative, absolute = tolerances[dtype]
        for name, value in found.items():
            exact = not value.is_floating_point()
            torch.testing.assert_close(
                value,
                expected[name],
                rtol=0 if exact else relative,
                atol=0 if exact else absolute,
                equal_nan=True,
                msg=lambda text, name=name, dtype=dtype: f"{name} in {dtype} differs from the reference: {text}",
            )


def check_operator(operator: Any, make: Callable[[torch.dtype], tuple[Any, ...]]) -> None:
    """Run torch.library.opcheck on a custom operator in float32 and float64: schema, fake implementation, autograd, tracing.

    Args:
        operator: an `Operator`, or what torch.library.custom_op returned.
        make: dtype -> arguments, as for ops.examples.example.

    Raises:
        AssertionError: the operator breaks a rule; the message has torch's explanation.
    """
    for dtype in (torch.float32, torch.float64):
        try:
            torch.library.opcheck(getattr(operator, "overload", operator), make(dtype))
        except Exception as error:
            raise AssertionError(f"{operator} in {dtype}: {error}") from error


def named_tensors(value: Any, name: str = "output") -> Iterator[tuple[str, Tensor]]:
    """Every tensor in a tensor, dataclass, mapping or sequence, with its place: "output.index", "output[1]"."""
    if isinstance(value, Tensor):
        yield name, value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from named_tensors(getattr(value, field.name), f"{name}.{field.name}")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from named_tensors(item, f"{name}[{key!r}]")
    elif isinstance(value, (tuple, list)):
        for place, item in enumerate(value):
            yield from named_tensors(item, f"{name}[{place}]")


def _values_and_gradients(function: Callable[..., Any], inputs: Sequence[Any], dtype: torch.dtype, seed: int) -> dict[str, Tensor]:
    arguments = [v.detach().to(dtype).clone().requires_grad_() if _is_float(v) else v for v in inputs]
    result = dict(named_tensors(function(*arguments)))
    random = torch.Generator().manual_seed(seed)
    total = torch.zeros((), dtype=torch.float64)
    for value in result.values():
        cotangent = torch.randn(value.shape, dtype=torch.float64, generator=random)
        if value.requires_grad:
            total = total + (value.to(torch.float64).cpu() * cotangent).sum()
    if total.requires_grad:
        total.backward()
        for place, argument in enumerate(arguments):
            if isinstance(argument, Tensor) and argument.requires_grad:
                result[f"gradient of input {place}"] = torch.zeros_like(argument) if argument.grad is None else argument.grad
    return {name: value.detach() for name, value in result.items()}


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
