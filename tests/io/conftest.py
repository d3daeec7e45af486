"""Fixtures of the reader and writer tests."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from unproject import Mesh, PointCloud, load
from unproject.io.options import LoadOptions


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Mesh | PointCloud]:
    """Write bytes to a file and load it: `read("a.ply", data, keep_polygons=True)`. Warnings are silenced."""

    def run(name: str, data: bytes | str, **options: object) -> Mesh | PointCloud:
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return load(path, LoadOptions(**options))  # type: ignore[arg-type]

    return run
