"""Material: how light leaves a face."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..struct import TensorStruct


@dataclass(frozen=True, kw_only=True)
class Material(TensorStruct):
    """Reflection coefficients and textures of one material, in the terms of MTL and the Phong model.

    Attributes:
        name: as in the file.
        ambient, diffuse, specular: [3] linear factors a channel (Ka, Kd, Ks).
        shininess: [] Phong exponent (Ns).
        opacity: [] 1 is opaque (d).
        diffuse_texture: [H, W, 3 or 4] float image in [0, 1], row 0 on top, sRGB as stored; None without one.
        normal_texture: [H, W, 3] tangent-space normals in [0, 1], or None.
        texture_paths: the images as the file names them, by the key of the file ("map_Kd"); kept to be written back.
    """

    name: str = ""
    ambient: Tensor = field(default_factory=lambda: torch.ones(3))
    diffuse: Tensor = field(default_factory=lambda: torch.ones(3))
    specular: Tensor = field(default_factory=lambda: torch.zeros(3))
    shininess: Tensor = field(default_factory=lambda: torch.tensor(10.0))
    opacity: Tensor = field(default_factory=lambda: torch.tensor(1.0))
    diffuse_texture: Tensor | None = None
    normal_texture: Tensor | None = None
    texture_paths: tuple[tuple[str, Path], ...] = ()
