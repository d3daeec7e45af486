"""Material: how light leaves a face."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..struct import TensorStruct


@dataclass(frozen=True, kw_only=True)
class Material(TensorStruct):
    """Reflection coefficients and textures of one material, in the terms of MTL and the Phong model, with those of glTF beside them.

    A texture is a float image in [0, 1], row 0 on top, as stored (colours in sRGB), and multiplies its factor; None without one.

    Attributes:
        name: as in the file.
        ambient, diffuse, specular, emissive: [3] linear factors a channel (Ka, Kd, Ks, Ke).
        shininess: [] Phong exponent (Ns).
        opacity: [] 1 is opaque (d).
        roughness, metallic: [] in [0, 1], of the metallic-roughness model (Pr, Pm), or None where the file has none.
        diffuse_texture: [H, W, 3 or 4] (map_Kd, glTF's base colour).
        normal_texture: [H, W, 3] tangent-space normals in [0, 1].
        specular_texture, emissive_texture: [H, W, 3] (map_Ks, map_Ke).
        roughness_texture, metallic_texture, occlusion_texture, opacity_texture: [H, W, 1].
        texture_paths: the images as the file names them, by the key of the file ("map_Kd"); kept to be written back.
        parameters: further statements of the file, as they are ("illum", "2"); kept to be written back.
    """

    name: str = ""
    ambient: Tensor = field(default_factory=lambda: torch.ones(3))
    diffuse: Tensor = field(default_factory=lambda: torch.ones(3))
    specular: Tensor = field(default_factory=lambda: torch.zeros(3))
    emissive: Tensor = field(default_factory=lambda: torch.zeros(3))
    shininess: Tensor = field(default_factory=lambda: torch.tensor(10.0))
    opacity: Tensor = field(default_factory=lambda: torch.tensor(1.0))
    roughness: Tensor | None = None
    metallic: Tensor | None = None
    diffuse_texture: Tensor | None = None
    normal_texture: Tensor | None = None
    specular_texture: Tensor | None = None
    emissive_texture: Tensor | None = None
    roughness_texture: Tensor | None = None
    metallic_texture: Tensor | None = None
    occlusion_texture: Tensor | None = None
    opacity_texture: Tensor | None = None
    texture_paths: tuple[tuple[str, Path], ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
