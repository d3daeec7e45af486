"""One small example call of every operator: what `unproject warmup` compiles and what the tests run opcheck on."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import torch

MakeArguments = Callable[[torch.dtype], tuple[Any, ...]]

_EXAMPLES: list[tuple[Any, MakeArguments]] = []


def example(op: Any) -> Callable[[MakeArguments], MakeArguments]:
    """Register `make(dtype) -> args` as an example of an operator. One for each path that compiles a kernel of its own."""

    def register(make: MakeArguments) -> MakeArguments:
        _EXAMPLES.append((op, make))
        return make

    return register


def all_examples() -> Iterator[tuple[Any, MakeArguments]]:
    """Every registered (operator, make) pair of the package."""
    package = importlib.import_module("unproject.ops")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"unproject.ops.{module.name}")
    yield from _EXAMPLES
