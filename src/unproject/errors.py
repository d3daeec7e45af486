"""What goes wrong, by kind: every error of the public door is an UnprojectError and also the builtin kind it resembles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import EllipsisType

import torch
from torch import Tensor


class UnprojectError(Exception):
    """Base of all errors that unproject raises on purpose. The message says what was wrong, where, and the fix."""


class ArgumentError(UnprojectError, ValueError):
    """An argument has a wrong shape, value or combination."""


class ArgumentTypeError(UnprojectError, TypeError):
    """An argument is of the wrong type."""


class DataError(UnprojectError, ValueError):
    """The data does not determine a result: too few points, all in one place, nothing visible."""


class FormatError(UnprojectError, ValueError):
    """A file does not follow its format. Carries the place: file, and line or byte."""

    def __init__(self, reason: str, *, path: object = None, line: int | None = None, byte: int | None = None):
        place = "" if path is None else f"{path}"
        if line is not None:
            place += f", line {line}" if place else f"line {line}"
        if byte is not None:
            place += f", byte {byte}" if place else f"byte {byte}"
        super().__init__(f"{place}: {reason}" if place else reason)
        self.reason, self.path, self.line, self.byte = reason, path, line, byte


class FileAccessError(UnprojectError, OSError):
    """A file cannot be read or written, or would be overwritten without leave."""


class MissingDependencyError(UnprojectError, ImportError):
    """An optional package is needed; the message has the pip command."""


def describe(value: object) -> str:
    """How error messages show a value: "float32 [7, 4]" for a tensor."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return f"{type(value).__name__} {value!r}"[:80]


def check_shape(
    value: object,
    shape: Sequence[int | str | EllipsisType | None],
    *,
    name: str,
    where: str,
    integer: bool = False,
    finite: bool = False,
) -> Tensor:
    """Check a tensor argument at the public door and return it.

    Args:
        shape: sizes; a string names a free size ("V"), `...` as first entry stands for any leading dimensions.
        integer: whether an integer type (else floating point) is asked for.
        finite: whether NaN and infinity are refused; the message names the first bad row.

    Raises:
        ArgumentTypeError: not a tensor.
        ArgumentError: wrong shape, type or values: "rasterize: `faces` must be [F, 3] integers, got float32 [7, 4]".
    """
    wanted = "[" + ", ".join("..." if s is ... else str(s) for s in shape) + "]"
    kind = "integers" if integer else "floats"
    if not isinstance(value, Tensor):
        raise ArgumentTypeError(f"{where}: `{name}` must be a tensor {wanted} of {kind}, got {describe(value)}")
    leading = len(shape) > 0 and shape[0] is ...
    sizes = list(shape[1:] if leading else shape)
    fits = value.dim() >= len(sizes) if leading else value.dim() == len(sizes)
    if fits and sizes:
        fits = all(not isinstance(s, int) or s == n for s, n in zip(sizes, value.shape[value.dim() - len(sizes) :]))
    right_type = value.dtype in (torch.int64, torch.int32, torch.int16, torch.uint8) if integer else value.is_floating_point()
    if not fits or not right_type:
        raise ArgumentError(f"{where}: `{name}` must be {wanted} {kind}, got {describe(value)}")
    if finite and not _is_finite(value):
        bad = (~torch.isfinite(value)).nonzero()[0].tolist()
        raise ArgumentError(f"{where}: `{name}` has a NaN or infinite value at index {bad}")
    return value


def _is_finite(value: Tensor) -> bool:
    """Whether no element is NaN or infinite, in one pass that writes nothing: either of the bounds tells."""
    return value.numel() == 0 or all(math.isfinite(bound) for bound in value.detach().aminmax())


def check_indices(value: Tensor, count: int, *, name: str, where: str) -> Tensor:
    """Check that integer values lie in [0, count) and return them."""
    if value.numel() > 0:
        low, high = (int(bound) for bound in value.aminmax())  # one pass over what may be millions
        if low < 0 or high >= count:
            raise ArgumentError(f"{where}: `{name}` must lie in 0 to {count - 1}, found {low if low < 0 else high}")
    return value
