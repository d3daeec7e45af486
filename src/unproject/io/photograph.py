"""Image files that cameras write: colour, masks, depth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import FileAccessError, FormatError

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)  # the tag of EXIF, and its values for images that are turned by 90 degrees


def read_pixels(path: str | Path, mode: str | None = None) -> np.ndarray:
    """The pixels of an image file, [H, W] or [H, W, C], turned upright as its EXIF orientation says (as OpenCV does).

    Args:
        mode: of Pillow, such as "RGB"; the file's own by default.

    Raises:
        FileAccessError: it cannot be read.
        FormatError: damaged, or no image.
    """
    from PIL import ImageOps

    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        return np.array(upright if mode is None else upright.convert(mode))


def photograph_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of an image file as `read_pixels` returns it, without reading its pixels; errors as there."""
    with _opened(path) as image:
        width, height = image.size
        turned = image.getexif().get(_ORIENTATION) in _ON_ITS_SIDE
        return (width, height) if turned else (height, width)


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """An image file, as Pillow reads it; whatever fails on it is told as `unreadable` does."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, Image.DecompressionBombError) as error:
        raise unreadable(path, error) from error


def read_color(path: str | Path) -> Tensor:
    """An image file as [H, W, 3] uint8; errors as `read_pixels`."""
    return torch.from_numpy(read_pixels(path, "RGB"))


def unreadable(path: str | Path, error: BaseException) -> FileAccessError | FormatError:
    """What to tell of a file that a reader failed on: that the system does not give it, or that it is damaged."""
    if isinstance(error, OSError) and error.errno is not None:
        return FileAccessError(f"{path}: {error.strerror or error}")
    return FormatError(f"damaged or no image: {error}", path=path)
