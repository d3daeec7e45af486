"""Textures: lookup with wrapping, pyramids of smaller copies against aliasing, and how much of a texture a pixel covers.

UV (0, 0) is the image's lower left corner and (1, 1) its upper right: edges of texels. So the first texel's centre is at half a texel, and
a texture that repeats has no seam. Row 0 of a texture is on top.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..ops import texture as ops
from ..reference import texture as reference
from ..struct import TensorStruct

FILTERS = ("bilinear", "nearest")


@dataclass(frozen=True, kw_only=True)
class Mipmap(TensorStruct):
    """A texture and its smaller copies, each half as large as the one before, down to one texel.

    Attributes:
        texels: [T, C] of all levels, row by row.
        sizes: int64 [L, 3] where each level begins in `texels`, its height and its width. On the CPU.
    """

    texels: Tensor
    sizes: Tensor

    @property
    def level_count(self) -> int:
        return self.sizes.shape[0]


def build_mipmap(texture: Tensor) -> Mipmap:
    """The pyramid of a texture [H, W, C]: every texel of a level is the mean of those beneath it. Any size. Gradient: texture.

    Build it from linear colours (`linear_from_srgb`): means of sRGB values are too dark.

    Raises:
        ArgumentError: not [H, W, C], or empty.
    Source: Williams 1983, Pyramidal parametrics.
    """
    _check_texture(texture, "build_mipmap")
    levels = [texture]
    while max(levels[-1].shape[:2]) > 1:
        levels.append(_halved(_halved(levels[-1], 0), 1))
    sizes, start = [], 0
    for level in levels:
        sizes.append((start, *level.shape[:2]))
        start += level.shape[0] * level.shape[1]
    texels = torch.cat([level.reshape(-1, texture.shape[-1]) for level in levels])
    return Mipmap(texels=texels, sizes=torch.tensor(sizes))


def sample_texture(
    texture: Tensor | Mipmap,
    uvs: Tensor,
    *,
    wrap: str | tuple[str, str] = "repeat",
    filter: str = "bilinear",
    level: Tensor | None = None,
) -> Tensor:
    """Look up a texture.

    Args:
        texture: [H, W, C], row 0 on top, or a pyramid of one.
        uvs: [..., 2]; (0, 0) is the lower left corner of the image, (1, 1) the upper right. NaN and infinite ones count as 0.
        wrap: what lies outside: "repeat", "clamp" (the colours of the edge) or "mirror"; or a pair of them, for u and v.
        filter: "bilinear" or "nearest".
        level: [...] level of detail into a pyramid, 0 for the texture itself, 1 for half its size; linear between levels. No gradient.

    Returns:
        [..., C], of the texture's type.

    Raises:
        ArgumentError: shapes, an empty texture, or an unknown name.

    Gradient: texture and (bilinear only) uvs, except across the texels' centres, where the slope jumps.
    """
    where = "sample_texture"
    check_shape(uvs, [..., 2], name="uvs", where=where)
    wraps = wrap if isinstance(wrap, tuple) else (wrap, wrap)
    if len(wraps) != 2 or any(w not in ops.WRAPS for w in wraps):
        raise ArgumentError(f"{where}: `wrap` must be of {', '.join(ops.WRAPS)}, or a pair of them, got {wrap!r}")
    if filter not in FILTERS:
        raise ArgumentError(f"{where}: `filter` must be one of {', '.join(FILTERS)}, got {filter!r}")
    if isinstance(texture, Mipmap):
        texels, sizes = texture.texels, texture.sizes
    else:
        _check_texture(texture, where)
        texels, sizes = texture.reshape(-1, texture.shape[-1]), torch.tensor([[0, *texture.shape[:2]]])
    flat = uvs.reshape(-1, 2).to(texels.dtype)
    detail = flat.new_empty(0)
    if level is not None:
        if level.shape != uvs.shape[:-1]:
            raise ArgumentError(f"{where}: `level` must be {list(uvs.shape[:-1])}, one for each of `uvs`, got {list(level.shape)}")
        detail = level.detach().reshape(-1).to(texels.dtype)
    run = ops.texture if texels.device.type == "cpu" else reference.texture
    found = run(texels, sizes, flat, detail, ops.WRAPS[wraps[0]], ops.WRAPS[wraps[1]], filter == "nearest")
    return found.view(*uvs.shape[:-1], texels.shape[-1])


def level_of_detail(uv_footprint: Tensor, size: tuple[int, int]) -> Tensor:
    """Level [...] of the pyramid whose texels are as large as the pixel.

    Args:
        uv_footprint: [..., 2, 2] change of (u, v) over one pixel along x and along y: row 0 is d(u, v)/dx.
        size: (height, width) of the texture.
    """
    scale = uv_footprint.new_tensor([size[1], size[0]])
    extent = (uv_footprint.detach() * scale).square().sum(-1).amax(-1)
    return (0.5 * torch.log2(extent.clamp_min(1e-12))).clamp_min(0)


def _halved(values: Tensor, axis: int) -> Tensor:
    """Half as many values along an axis, each the exact mean of the stretch it stands for: three values share an odd number."""
    count = values.shape[axis]
    if count == 1:
        return values
    half = count // 2
    take = lambda first: values.narrow(axis, first, 2 * half - 1)[(slice(None),) * axis + (slice(None, None, 2),)]
    if count % 2 == 0:
        return 0.5 * (take(0) + take(1))
    shape = [1] * values.dim()
    shape[axis] = half
    place = torch.arange(half, dtype=values.dtype, device=values.device).view(shape)
    return ((half - place) * take(0) + half * take(1) + (place + 1) * take(2)) / count


def _check_texture(texture: Tensor, where: str) -> None:
    check_shape(texture, ["H", "W", "C"], name="texture", where=where)
    if texture.numel() == 0:
        raise ArgumentError(f"{where}: `texture` is empty: {list(texture.shape)}")
