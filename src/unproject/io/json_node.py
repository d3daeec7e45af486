"""JSON files with errors that say where: the file, and the key inside of it or the line."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FileAccessError, FormatError
from .atomic import atomic_write, write_all


class JsonNode:
    """A value inside a JSON file, with the way to it."""

    def __init__(self, value: Any, path: Path, key: str = ""):
        self.value, self.path, self.key = value, path, key

    def fail(self, reason: str) -> FormatError:
        """The error to raise about this value."""
        return FormatError(f"`{self.key}` {reason}" if self.key else reason, path=self.path)

    def __contains__(self, name: str) -> bool:
        return isinstance(self.value, dict) and self.value.get(name) is not None

    def __getitem__(self, name: str) -> JsonNode:
        """A member that must be there."""
        if not isinstance(self.value, dict):
            raise self.fail("must be an object {...}")
        if name not in self:
            raise FormatError(f"`{self._member(name)}` is missing", path=self.path)
        return JsonNode(self.value[name], self.path, self._member(name))

    def get(self, name: str) -> JsonNode | None:
        """A member that may be missing."""
        if name not in self:
            return None
        return self[name]

    def members(self) -> Iterator[tuple[str, JsonNode]]:
        """All members of an object, in the file's order."""
        if not isinstance(self.value, dict):
            raise self.fail("must be an object {...}")
        for name in self.value:
            yield name, JsonNode(self.value[name], self.path, self._member(name))

    def elements(self) -> list[JsonNode]:
        """All elements of an array."""
        if not isinstance(self.value, list):
            raise self.fail("must be an array [...]")
        return [JsonNode(value, self.path, f"{self.key}[{i}]") for i, value in enumerate(self.value)]

    def number(self) -> float:
        """A finite number."""
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)) or not math.isfinite(self.value):
            raise self.fail(f"must be a number, got {str(self.value)[:40]!r}")
        return float(self.value)

    def integer(self) -> int:
        """A whole number; 640.0 is one too."""
        number = self.number()
        if number != int(number):
            raise self.fail(f"must be a whole number, got {number}")
        return int(number)

    def text(self) -> str:
        """A string."""
        if not isinstance(self.value, str):
            raise self.fail(f"must be a string, got {str(self.value)[:40]!r}")
        return self.value

    def array(self, *shape: int) -> np.ndarray:
        """Finite numbers, nested or flat, as a float64 array of that shape (-1 for any size)."""
        try:
            values = np.array(self.value, dtype=np.float64)
        except (TypeError, ValueError):
            values = np.array(np.nan)
        if not np.isfinite(values).all():
            raise self.fail("must be an array of finite numbers")
        count = math.prod(shape)
        if (count >= 0 and values.size != count) or values.ndim == 0:
            raise self.fail(f"must have {' x '.join(map(str, shape))} numbers, got {values.size}")
        return values.reshape(shape)

    def _member(self, name: str) -> str:
        return f"{self.key}.{name}" if self.key else name


def read_json(path: str | os.PathLike[str]) -> JsonNode:
    """The root of a JSON file.

    Raises:
        FileAccessError: the file cannot be read.
        FormatError: it is not JSON (with the line).
    """
    place = Path(path)
    text = read_text(place)
    try:
        return JsonNode(json.loads(text), place)
    except json.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error.msg}", path=place, line=error.lineno) from None
    except RecursionError:
        raise FormatError("not JSON: nested too deeply", path=place) from None


def read_text(path: Path) -> str:
    """A UTF-8 text file, a byte order mark removed.

    Raises:
        FileAccessError: the file cannot be read.
        FormatError: it is not text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileAccessError(f"{path}: {error.strerror or error}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError("not a text file", path=path, byte=error.start) from None


def write_json(path: str | os.PathLike[str], value: Any, *, overwrite: bool = True) -> None:
    """Write a JSON file, whole or not at all. Arrays of numbers stay on one line.

    Raises:
        FileAccessError: it cannot be written, or exists and may not be replaced.
    """
    with atomic_write(path, overwrite=overwrite) as file:
        write_all(file, (_format(value, "") + "\n").encode())


def _format(value: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(value, dict) and value:
        members = [f"{inner}{json.dumps(str(name))}: {_format(member, inner)}" for name, member in value.items()]
        return "{\n" + ",\n".join(members) + f"\n{indent}}}"
    if isinstance(value, (list, tuple)) and any(isinstance(v, (dict, list, tuple)) for v in value):
        return "[\n" + ",\n".join(inner + _format(member, inner) for member in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)
