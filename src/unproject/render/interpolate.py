"""Attributes of vertices or corners at the pixels: barycentric interpolation, over whole images or over the covered pixels alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ArgumentError, check_indices, check_shape
from ..geometry.sample import interpolate_rows
from ..struct import TensorStruct
from .rasterize import Fragments


@dataclass(frozen=True, kw_only=True)
class Pixels(TensorStruct):
    """The pixels of fragments that show a face, as one list over all images: what shading has to look at.

    Attributes:
        index: [P] int64 place in the flattened images [...,  H, W].
        image: [P] int64 image, in the flattened batch.
        face: [P] int64.
        barycentrics: [P, 3].
        shape: the shape [..., H, W] of the images.
    """

    index: Tensor
    image: Tensor
    face: Tensor
    barycentrics: Tensor
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        return self.index.shape[0]


def covered_pixels(fragments: Fragments) -> Pixels:
    """The pixels with a face. Gradient: barycentrics."""
    face = fragments.face.reshape(-1)
    index = (face >= 0).nonzero()[:, 0]
    shape = tuple(fragments.face.shape)
    area = max(1, shape[-1] * shape[-2])
    return Pixels(
        index=index,
        image=index // area if face.shape[0] > area else torch.zeros_like(index),
        face=face[index],
        barycentrics=fragments.barycentrics.reshape(-1, 3).index_select(0, index),
        shape=shape,
    )


def to_image(values: Tensor, pixels: Pixels, fill: float = 0.0) -> Tensor:
    """Values [P, ...] of pixels as images [..., H, W, ...]; `fill` elsewhere. Gradient: values."""
    size = 1
    for length in pixels.shape:
        size *= length
    image = values.new_full((size, *values.shape[1:]), fill)
    return image.index_copy_(0, pixels.index, values).view(*pixels.shape, *values.shape[1:])


def interpolate(values: Tensor, faces: Tensor, fragments: Fragments) -> Tensor:
    """Interpolate values of vertices over the images.

    Any table of corners will do: with `mesh.uvs` and `mesh.face_uvs` it gives texture coordinates. For values that each corner of each
    face has for itself, see `interpolate_corners`.

    Args:
        values: [V, C], the same in all images (or packed, as the faces index them), or [..., V, C] with the images' leading dimensions.
        faces: [F, 3] int64 rows of `values`, the faces that were rasterized.
        fragments: what `rasterize` gave.

    Returns:
        [..., H, W, C]; 0 where there is no face.

    Raises:
        ArgumentError: shapes, indices out of range, or leading dimensions that do not broadcast.

    Gradient: values, and vertices and camera through the barycentrics. Any order.
    """
    where = "interpolate"
    check_shape(values, [..., "V", "C"], name="values", where=where)
    check_shape(faces, ["F", 3], name="faces", where=where, integer=True)
    _check_faces(fragments, faces.shape[0], where)
    lead, size = fragments.face.shape[:-2], fragments.face.shape[-2:]
    base = None
    if values.dim() > 2:
        try:
            values = values.expand(*lead, *values.shape[-2:])
        except RuntimeError:
            got = f"{list(values.shape)} and {list(lead)}"
            raise ArgumentError(f"{where}: `values` do not broadcast with the images of `fragments`: {got}") from None
        images = lead.numel()
        base = (torch.arange(images, device=faces.device) * values.shape[-2]).repeat_interleave(size.numel())
    count = values.shape[-2]
    check_indices(faces, count, name="faces", where=where)
    face, weights = fragments.face.reshape(-1), fragments.barycentrics.reshape(-1, 3)
    rows = interpolate_rows(values.reshape(-1, values.shape[-1]), faces, face, weights, base=base)
    return rows.view(*fragments.face.shape, values.shape[-1])


def interpolate_corners(values: Tensor, fragments: Fragments) -> Tensor:
    """Interpolate values [F, 3, C] of the corners of faces over the images: [..., H, W, C]. Otherwise as `interpolate`.

    Raises:
        ArgumentError: shapes.
    """
    where = "interpolate_corners"
    check_shape(values, ["F", 3, "C"], name="values", where=where)
    _check_faces(fragments, values.shape[0], where)
    return interpolate(values.reshape(-1, values.shape[-1]), corner_table(values.shape[0], values.device), fragments)


def corner_table(face_count: int, device: torch.device) -> Tensor:
    """[F, 3] the rows of the corners of faces in a list of all corners."""
    return torch.arange(3 * face_count, device=device).view(-1, 3)


def _check_faces(fragments: Fragments, face_count: int, where: str) -> None:
    highest = int(fragments.face.max()) if fragments.face.numel() else -1
    if highest >= face_count:
        raise ArgumentError(f"{where}: `fragments` show face {highest}, but there are only {face_count} faces")
