"""Texture images: read beside a model file, written beside one."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .source import Source, warn_file

MOST_PIXELS = 1 << 28
"""Larger images than 16384 x 16384 are taken for a decompression bomb."""


def load_texture(source: Source, name: str) -> Tensor | None:
    """The image that a model file names, as [H, W, 3 or 4] float32 in [0, 1]; None with a warning if it is missing or no image."""
    data = source.resources.read(name)
    if data is None:
        warn_file(source.path, f"the image {name!r} is missing; the mesh is loaded without it")
        return None
    image = decode_image(data)
    if image is None:
        warn_file(source.path, f"{name!r} is not an image that can be read; the mesh is loaded without it")
    return image


def decode_image(data: bytes) -> Tensor | None:
    """An image file as [H, W, 3 or 4] float32 in [0, 1]; None if it cannot be read."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > MOST_PIXELS:
                    return None
                return image_tensor(image)
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, Image.DecompressionBombError):
        return None


def image_tensor(image: object) -> Tensor:
    """A PIL image as [H, W, 3 or 4] float32 in [0, 1]. Grey becomes RGB; 16-bit grey keeps its 16 bits."""
    from PIL import Image

    assert isinstance(image, Image.Image)
    if image.mode.startswith("I;16"):
        grey = np.asarray(image).astype(np.float32) / 65535
        return torch.from_numpy(np.repeat(grey[:, :, None], 3, axis=2))
    has_alpha = image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info
    pixels = np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
    return torch.from_numpy(np.divide(pixels, np.float32(255), dtype=np.float32))


def encode_png(texture: Tensor) -> bytes:
    """[H, W, 1, 3 or 4] floats in [0, 1] as an 8-bit PNG."""
    from PIL import Image

    pixels = (texture.detach().cpu().to(torch.float32).nan_to_num(0.0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(stream, format="PNG", compress_level=3)
    return stream.getvalue()


def texture_name(stem: str, material: str, kind: str) -> str:
    """A file name for a texture that has none: letters, digits, "_", "-" and "." only."""
    clean = "".join(c if c.isalnum() or c in "_-." else "_" for c in f"{stem}_{material}".rstrip("_"))
    return f"{Path(clean).name}{'' if kind == 'diffuse' else f'_{kind}'}.png"
