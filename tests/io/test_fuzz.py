"""Mutated valid files of every format: each loads as something consistent or is refused with a place; nothing else happens."""

from __future__ import annotations

import gzip
import io
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unproject import Mesh, PointCloud, load, save
from unproject.errors import FormatError
from unproject.geometry.primitives import icosphere
from unproject.io.options import LoadOptions, SaveOptions

from .samples import SAMPLES

BOUND = 64 << 20


def _saved(name: str, encoding: str | None = None) -> bytes:
    """A small file of a format as we write it."""
    with tempfile.TemporaryDirectory() as folder:
        mesh = icosphere(0)
        cloud = PointCloud(positions=mesh.vertices, normals=mesh.vertices, attributes={"time": torch.arange(12)})
        save(cloud if name.endswith(".pcd") else mesh, Path(folder) / name, SaveOptions(encoding=encoding))
        return (Path(folder) / name).read_bytes()


def _gzip(data: bytes) -> bytes:
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", mtime=0) as file:
        file.write(data)
    return stream.getvalue()


FILES = {**SAMPLES, "binary.pcd": _saved("a.pcd"), "compressed.pcd": _saved("a.pcd", "compressed"), "model.glb": _saved("a.glb")}
FILES["packed.ply.gz"] = _gzip(SAMPLES["little.ply"])
WORDS = [
    b"-1",
    b"999999999999",
    b"nan",
    b"1e999",
    b"",
    b"\n",
    b"\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"3",
    b"element face 7\n",
    b" ",
]
EDITS = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "drop", "word", "repeat"]), st.floats(0, 1), st.floats(0, 1), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)


def mutate(data: bytes, edits: list[tuple[str, float, float, int]]) -> bytes:
    """Flip bits, cut the end, drop or repeat a piece, put a word in."""
    for kind, where, length, value in edits:
        begin = int(where * len(data))
        end = begin + int(length * 40)
        if kind == "flip" and begin < len(data):
            data = data[:begin] + bytes([data[begin] ^ (value or 1)]) + data[begin + 1 :]
        elif kind == "cut":
            data = data[:begin]
        elif kind == "drop":
            data = data[:begin] + data[end:]
        elif kind == "word":
            data = data[:begin] + WORDS[value % len(WORDS)] + data[begin:]
        else:
            data = data[:end] + data[begin:]
    return data


def tensors(value: Mesh | PointCloud) -> Iterator[tuple[torch.Tensor, int]]:
    """Every tensor of a row a vertex, face or point, with the rows that it must have."""
    if isinstance(value, PointCloud):
        for tensor in (value.normals, value.colors, *value.attributes.values()):
            if tensor is not None:
                yield tensor, value.point_count
        return
    for tensor in (value.vertex_normals, value.vertex_colors, *value.vertex_attributes.values()):
        if tensor is not None:
            yield tensor, value.vertex_count
    for tensor in (value.face_uvs, value.corner_normals, value.face_materials, *value.face_attributes.values()):
        if tensor is not None:
            yield tensor, value.face_count


def check_consistent(value: Mesh | PointCloud) -> None:
    """Shapes fit each other and indices are in range."""
    for tensor, rows in tensors(value):
        assert len(tensor) == rows
    if isinstance(value, Mesh):
        assert value.vertices.shape == (value.vertex_count, 3) and value.faces.shape == (value.face_count, 3)
        assert value.face_count == 0 or 0 <= int(value.faces.min()) <= int(value.faces.max()) < value.vertex_count
        if value.face_uvs is not None and value.face_count:
            assert value.uvs is not None and 0 <= int(value.face_uvs.min()) <= int(value.face_uvs.max()) < len(value.uvs)
        if value.face_materials is not None and value.face_count:
            assert int(value.face_materials.min()) >= -1


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits=EDITS, keep=st.booleans())
def test_mutated(name: str, edits: list[tuple[str, float, float, int]], keep: bool) -> None:
    data = mutate(FILES[name], edits)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / name
        path.write_bytes(data)
        try:
            value = load(path, LoadOptions(keep_polygons=keep, maximum_unpacked=BOUND))
        except FormatError as error:
            assert name in str(error) and error.reason
            return
        check_consistent(value)


@pytest.mark.parametrize("name", FILES)
def test_unchanged(name: str, tmp_path: Path) -> None:
    """The mutations start from files that load."""
    (tmp_path / name).write_bytes(FILES[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_consistent(load(tmp_path / name))
