"""What must hold of a glTF file before a loader may allocate for it: every size that it promises is there, and its nodes are a tree."""

from __future__ import annotations

import json
from typing import Any

from ..errors import FormatError
from .source import Source

_COMPONENT_BYTES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942


def check_gltf(source: Source) -> None:
    """Check a glTF or GLB file.

    Raises:
        FormatError: it promises what it does not have, or contradicts itself.
    """
    text, binary = _chunks(source) if source.head(4) == b"glTF" else (source.bytes(), None)
    try:
        tree = json.loads(text.decode("utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise FormatError(f"its JSON is damaged ({error})", path=source.path) from None
    try:
        _check_tree(tree, binary, source.size)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        reason = str(error) if type(error) is ValueError else f"a part is missing or of the wrong type ({type(error).__name__}: {error})"
        raise FormatError(f"not a valid glTF: {reason}", path=source.path) from None


def _chunks(source: Source) -> tuple[bytes, int | None]:
    """(the JSON, bytes of the binary chunk) of a GLB; only the JSON is read."""
    _, version, length = _words(source, 0, 3)
    if version != 2:
        raise FormatError(f"GLB version {version} is not read, only 2", path=source.path, byte=4)
    if length > source.size:
        raise FormatError(f"the header promises {length} bytes, the file has {source.size}", path=source.path, byte=8)
    position, text, binary = 12, None, None
    while position + 8 <= length:
        size, kind = _words(source, position, 2)
        if position + 8 + size > length:
            raise FormatError(f"a chunk promises {size} bytes, {length - position - 8} are left", path=source.path, byte=position)
        if kind == _JSON_CHUNK and text is None:
            text = source.read(position + 8, size).tobytes()
        elif kind == _BINARY_CHUNK and binary is None:
            binary = size
        position += 8 + size
    if text is None:
        raise FormatError("there is no JSON in it", path=source.path, byte=12)
    return text, binary


def _words(source: Source, offset: int, count: int) -> list[int]:
    return source.read(offset, 4 * count).view("<u4").tolist()


def _check_tree(tree: Any, binary: int | None, file_size: int) -> None:
    if not isinstance(tree, dict) or "asset" not in tree:
        raise ValueError("there is no asset")
    buffers = [_buffer_size(buffer, k, binary) for k, buffer in enumerate(tree.get("buffers", []))]
    views = []
    for view in tree.get("bufferViews", []):
        size, offset = _natural(view["byteLength"]), _natural(view.get("byteOffset", 0))
        if offset + size > buffers[_natural(view["buffer"])]:
            raise ValueError("a bufferView lies outside of its buffer")
        views.append((size, _natural(view.get("byteStride", 0))))
    accessors = tree.get("accessors", [])
    for accessor in accessors:
        _check_accessor(accessor, views, file_size)
    for mesh in tree.get("meshes", []):
        for primitive in mesh["primitives"]:
            used = [*primitive["attributes"].values(), *([primitive["indices"]] if "indices" in primitive else [])]
            if any(_natural(index) >= len(accessors) for index in used):
                raise ValueError("a primitive refers to an accessor that is not there")
            counts = {accessors[index]["count"] for index in primitive["attributes"].values()}
            if len(counts) > 1:
                raise ValueError("the attributes of a primitive have different counts")
    _check_nodes(tree)


def _natural(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**48:
        raise ValueError(f"{value!r} is not a possible number")
    return value


def _buffer_size(buffer: dict[str, Any], index: int, binary: int | None) -> int:
    size, uri = _natural(buffer["byteLength"]), buffer.get("uri")
    there = size
    if uri is None:
        there = binary if index == 0 and binary is not None else 0
    elif uri.startswith("data:"):
        there = (len(uri) - uri.find("base64,") - 7) * 3 // 4
    if size > there + 3:
        raise ValueError(f"buffer {index} promises {size} bytes, {there} are there")
    return size


def _check_accessor(accessor: dict[str, Any], views: list[tuple[int, int]], file_size: int) -> None:
    count, offset = _natural(accessor["count"]), _natural(accessor.get("byteOffset", 0))
    size = _COMPONENT_BYTES[accessor["componentType"]] * _COMPONENTS[accessor["type"]]
    if "bufferView" not in accessor:
        if count * size > 10 * file_size:
            raise ValueError(f"an accessor without data promises {count} elements")
        return
    length, stride = views[_natural(accessor["bufferView"])]
    if count and offset + (count - 1) * max(stride, size) + size > length:
        raise ValueError(f"an accessor promises {count} elements, more than its bufferView has")


def _check_nodes(tree: dict[str, Any]) -> None:
    """Each node has at most one parent, and there is no way back."""
    nodes = tree.get("nodes", [])
    parent = [-1] * len(nodes)
    for index, node in enumerate(nodes):
        if "mesh" in node and _natural(node["mesh"]) >= len(tree.get("meshes", [])):
            raise ValueError("a node refers to a mesh that is not there")
        for child in node.get("children", []):
            if parent[_natural(child)] >= 0:
                raise ValueError(f"node {child} has two parents")
            parent[child] = index
    depth = [0] * len(nodes)
    for start in range(len(nodes)):
        seen, index = 0, start
        while index >= 0 and not depth[index]:
            index, seen = parent[index], seen + 1
            if seen > len(nodes):
                raise ValueError("the nodes form a circle")
        index = start
        while index >= 0 and not depth[index]:
            depth[index], index = 1, parent[index]
    for scene in tree.get("scenes", []):
        if any(_natural(index) >= len(nodes) for index in scene.get("nodes", [])):
            raise ValueError("a scene refers to a node that is not there")
