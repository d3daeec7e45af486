"""TensorStruct: frozen dataclasses of tensors that move, detach and index as one value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

Struct = TypeVar("Struct", bound="TensorStruct")


def broadcast_shapes(*shapes: tuple[int, ...]) -> torch.Size:
    """The shape that all of them broadcast to, else a ValueError. Torch's own function loads sympy, half a second of every process."""
    return torch.Size(np.broadcast_shapes(*shapes))


class TensorStruct:
    """Mix-in for frozen dataclasses whose fields are tensors, None, mappings or tuples of them, or other structs.

    Other field values (strings, sizes) are carried along unchanged.
    """

    def map(self: Struct, function: Callable[[Tensor], Tensor]) -> Struct:
        """The same struct with `function` applied to every tensor in it."""
        fields = {f.name: _map(getattr(self, f.name), function) for f in dataclasses.fields(self) if f.init}  # type: ignore[arg-type]
        return dataclasses.replace(self, **fields)  # type: ignore[type-var]

    def to(self: Struct, target: torch.device | torch.dtype | str) -> Struct:
        """Move to a device, or convert floating-point tensors to a dtype (integers keep theirs)."""
        if isinstance(target, torch.dtype):
            return self.map(lambda t: t.to(target) if t.is_floating_point() else t)
        return self.map(lambda t: t.to(target))

    def detach(self: Struct) -> Struct:
        """The same values outside of any autograd graph."""
        return self.map(Tensor.detach)

    def clone(self: Struct) -> Struct:
        """A copy that shares no memory."""
        return self.map(Tensor.clone)

    def __getitem__(self: Struct, index: Any) -> Struct:
        """Index the leading (batch) dimension of every tensor. Structs without one, or ragged ones, override this."""
        return self.map(lambda t: t[index])


def _map(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, TensorStruct):
        return value.map(function)
    if isinstance(value, Mapping):
        return {key: _map(item, function) for key, item in value.items()}
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(_map(item, function) for item in value)
    return value
