"""The size of an image file is that of its upright pixels, and a damaged one is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from unproject.errors import FileAccessError, FormatError
from unproject.io.photograph import photograph_size, read_pixels

_ORIENTATION = 0x0112


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_size_is_that_of_the_upright_pixels(tmp_path: Path, orientation: int | None, ending: str) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[_ORIENTATION] = orientation
    path = tmp_path / f"image.{ending}"
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    assert photograph_size(path) == read_pixels(path).shape[:2]


def test_damaged_and_missing_files_are_named(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"\x89PNG nothing of the kind")
    with pytest.raises(FormatError, match=r"damaged\.png"):
        photograph_size(damaged)
    with pytest.raises(FileAccessError, match=r"missing\.png"):
        photograph_size(tmp_path / "missing.png")
