"""The header of a PLY file: elements, their properties and types, comments."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import FormatError

ASCII, LITTLE, BIG = "ascii", "binary_little_endian", "binary_big_endian"

TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2", "uint16": "u2",
    "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "long": "i8", "int64": "i8", "ulong": "u8", "uint64": "u8",
    "float": "f4", "float32": "f4", "double": "f8", "float64": "f8",
}  # fmt: skip
"""PLY's type names (both spellings, and the 64-bit integers that some programs write) as NumPy's."""

NAMES = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "i8": "int64", "u8": "uint64"} | {
    "f4": "float",
    "f8": "double",
}
_HEADER_LIMIT = 64 << 20


@dataclass(frozen=True)
class Property:
    """A number of an element, or a list of them.

    Attributes:
        kind: NumPy's name of the value type, "f4".
        count_kind: the same of a list's length; None: not a list.
    """

    name: str
    kind: str
    count_kind: str | None = None

    @property
    def is_list(self) -> bool:
        return self.count_kind is not None


@dataclass(frozen=True)
class Element:
    """A table of the file: its name, number of rows and columns."""

    name: str
    count: int
    properties: tuple[Property, ...] = ()

    def least_row_bytes(self, text: bool) -> int:
        """The least number of bytes that a row takes."""
        if text:
            return 2 * len(self.properties)
        return sum(np.dtype(p.count_kind or p.kind).itemsize for p in self.properties)


@dataclass(frozen=True)
class Header:
    """What a PLY file says before its data.

    Attributes:
        encoding: ASCII, LITTLE or BIG.
        size: bytes of the header.
        lines: lines of the header.
    """

    encoding: str
    elements: tuple[Element, ...]
    comments: tuple[str, ...] = ()
    object_info: tuple[str, ...] = ()
    size: int = 0
    lines: int = 0

    def element(self, *names: str) -> Element | None:
        """The first element with one of these names."""
        return next((e for e in self.elements if e.name in names), None)


@dataclass
class _Draft:
    encoding: str = ""
    elements: list[Element] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    object_info: list[str] = field(default_factory=list)


def parse_header(data: bytes, path: Path | None = None) -> Header:
    """Parse a header. `data` begins with it and may go on behind it.

    Raises:
        FormatError: with the line.
    """
    draft, position, line = _Draft(), 0, 0
    returns_only = _line_break(data)
    while True:
        end = data.find(returns_only, position, _HEADER_LIMIT)
        if end < 0 and data[position:].strip() != b"end_header":
            raise FormatError("the header does not end (no end_header line)", path=path, line=line + 1)
        end = len(data) if end < 0 else end
        raw, position, line = data[position:end], end + 1, line + 1
        text = _decode(raw).strip()
        if line == 1:
            if text.lower() != "ply":
                raise FormatError('not a PLY file (its first line is not "ply")', path=path, line=1)
            continue
        words = text.split()
        if words and words[0] == "end_header":
            break
        try:
            _parse_line(draft, words, text)
        except ValueError as error:
            raise FormatError(str(error), path=path, line=line) from None
    if not draft.encoding:
        raise FormatError("the header has no format line", path=path, line=line)
    size = min(position, len(data))
    return Header(draft.encoding, tuple(draft.elements), tuple(draft.comments), tuple(draft.object_info), size, line)


def _decode(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _line_break(data: bytes) -> bytes:
    """Header lines end with "\\n" or "\\r\\n"; those of old Macs with "\\r" alone."""
    returned, newline = data.find(b"\r", 0, 4096), data.find(b"\n", 0, 4096)
    lone = returned >= 0 and (newline < 0 or returned < newline - 1) and data[returned + 1 : returned + 2] != b"\r"
    return b"\r" if lone else b"\n"


def _parse_line(draft: _Draft, words: list[str], text: str) -> None:
    if not words:
        return
    keyword = words[0]
    if keyword == "comment":
        draft.comments.append(text[len("comment") :].strip())
    elif keyword == "obj_info":
        draft.object_info.append(text[len("obj_info") :].strip())
    elif keyword == "format":
        if len(words) < 2 or words[1] not in (ASCII, LITTLE, BIG):
            raise ValueError(f"unknown format {' '.join(words[1:])!r}; there are {ASCII}, {LITTLE} and {BIG}")
        if draft.encoding and draft.encoding != words[1]:
            raise ValueError("a second format line contradicts the first")
        draft.encoding = words[1]
    elif keyword == "element":
        draft.elements.append(_parse_element(draft, words))
    elif keyword == "property":
        if not draft.elements:
            raise ValueError("a property stands before the first element")
        element = draft.elements[-1]
        added = _parse_property(words)
        draft.elements[-1] = Element(element.name, element.count, (*element.properties, _distinct(added, element)))
    else:
        raise ValueError(f"unknown header line {text[:60]!r}")


def _distinct(added: Property, element: Element) -> Property:
    """Some programs give several properties one name (UV layers): the second becomes "s_2"."""
    taken, name, number = {p.name for p in element.properties}, added.name, 1
    while name in taken:
        number += 1
        name = f"{added.name}_{number}"
    return Property(name, added.kind, added.count_kind)


def _parse_element(draft: _Draft, words: list[str]) -> Element:
    if len(words) != 3:
        raise ValueError('an element line must be "element NAME COUNT"')
    if any(e.name == words[1] for e in draft.elements):
        raise ValueError(f"there are two elements {words[1]!r}")
    if not (words[2].isascii() and words[2].isdigit()) or len(words[2]) > 18:
        raise ValueError(f"the count {words[2][:40]!r} of element {words[1]!r} is not a possible number")
    return Element(words[1], int(words[2]))


def _parse_property(words: list[str]) -> Property:
    is_list = len(words) > 1 and words[1] == "list"
    if len(words) != (5 if is_list else 3):
        raise ValueError('a property line must be "property TYPE NAME" or "property list TYPE TYPE NAME"')
    for name in words[2:4] if is_list else words[1:2]:
        if name not in TYPES:
            raise ValueError(f"unknown type {name!r}")
    if is_list:
        return Property(words[4], TYPES[words[3]], TYPES[words[2]])
    return Property(words[2], TYPES[words[1]])


def format_header(header: Header) -> bytes:
    """The header as bytes."""
    lines = ["ply", f"format {header.encoding} 1.0"]
    lines += [f"comment {' '.join(text.splitlines())}" for text in header.comments]
    lines += [f"obj_info {' '.join(text.splitlines())}" for text in header.object_info]
    for element in header.elements:
        lines.append(f"element {element.name} {element.count}")
        for p in element.properties:
            kind = f"list {NAMES[p.count_kind]} {NAMES[p.kind]}" if p.count_kind else NAMES[p.kind]
            lines.append(f"property {kind} {p.name}")
    return ("\n".join([*lines, "end_header"]) + "\n").encode()
