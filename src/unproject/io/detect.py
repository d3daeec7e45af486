"""Which format a file has: by content first, then by name."""

from __future__ import annotations

from .formats import READABLE
from .source import Source

_WORDS = {b"v", b"vt", b"vn", b"vp", b"f", b"g", b"o", b"s", b"l", b"p", b"usemtl", b"mtllib"}


def detect_format(source: Source) -> str:
    """One of READABLE, by content; where that does not tell, the ending of the name, whatever it is."""
    head = source.head(4096)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    by_magic = _by_magic(source, head, start)
    if by_magic:
        return by_magic
    suffix = source.suffix.lstrip(".")
    if suffix in READABLE:
        return suffix
    return _by_text(start) or suffix


def _by_magic(source: Source, head: bytes, start: bytes) -> str:
    if start[:3].lower() == b"ply" and start[3:4] in (b"\n", b"\r", b" ", b"\t"):
        return "ply"
    if start.startswith(b"# .PCD") or (start.startswith(b"VERSION") and b"FIELDS" in start):
        return "pcd"
    if head.startswith(b"glTF"):
        return "glb"
    if head.startswith(b"PK\x03\x04"):
        return "3mf"
    word = start.split(None, 1)[0] if start.split(None, 1) else b""
    if word.lstrip(b"STCN4n").startswith(b"OFF") and len(word) <= 16:
        return "off"
    if source.size >= 84 and len(head) >= 84 and source.size == 84 + 50 * int.from_bytes(head[80:84], "little"):
        return "stl"
    if start.startswith(b"{") and b'"asset"' in source.head(1 << 20):
        return "gltf"
    return ""


def _by_text(start: bytes) -> str:
    """A guess at text without a known ending."""
    if b"\0" in start:
        return ""
    if start[:5].lower() == b"solid" and b"facet" in start:
        return "stl"
    lines = [line.strip() for line in start.splitlines() if line.strip() and not line.strip().startswith(b"#")]
    words = [line.split(None, 1)[0] for line in lines[:-1] or lines]
    if words and all(word in _WORDS for word in words[:8]):
        return "obj"
    if words and all(_is_number(word.replace(b",", b" ").replace(b";", b" ").split()[0]) for word in words[1:9] or words[:1]):
        return "xyz"
    return ""


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
