"""A depth image as a scene to look for an object in: its points, which of them are tables and walls, and the pieces on these."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import DataError
from ..struct import TensorStruct
from .observation import PoseImage
from .planes import BAND, main_plane, points_at, some_of

_LEAST_PX = 18.0  # an object that would look smaller is too far away to be told
_MOST_PLANES = 4
_PLANE_SHARE, _PLANE_LENGTH = 0.08, 2.0  # of the points; diameters: smaller planes may be sides of the object
_THINNEST, _THICKEST = 0.012, 0.05  # diameters: half the thickness of a plane in the end
_JUMP = 0.06  # diameters between neighbouring pixels of different things
_LEAST_PIECE = 60  # pixels
_SMALLEST, _LARGEST = 0.12, 1.6  # diameters: length of a piece that may be the object
_MOST_PIECES = 14


@dataclass(frozen=True, kw_only=True)
class Clutter(TensorStruct):
    """The measured points of a depth image.

    Attributes:
        points: [N, 3] float64, camera frame, diameters.
        rows, columns: [N] their pixels.
        standing: [N] bool, whether a point lies on none of the large planes.
    """

    points: Tensor
    rows: Tensor
    columns: Tensor
    standing: Tensor


def clutter_of(image: PoseImage) -> Clutter:
    """The points of an image with depth.

    Raises:
        DataError: the image has hardly any depth where the object would be large enough to be seen.
    """
    assert image.depth is not None
    near = (image.depth > 0) & (image.depth < float(image.camera.intrinsics[0, 0]) / _LEAST_PX)
    rows, columns = (near & image.known).nonzero().unbind(1)
    if len(rows) < 50:
        raise DataError("estimate_pose: the depth image has hardly any measurements; give a mask or a box")
    points = points_at(rows, columns, image.depth[rows, columns], image.camera)
    return Clutter(points=points, rows=rows, columns=columns, standing=_off_planes(points))


def pieces(clutter: Clutter, image: PoseImage) -> list[Tensor]:
    """Masks [H, W] of the connected things beside the planes that are about as large as the object, the largest first."""
    from scipy.ndimage import binary_closing, binary_opening, find_objects, label

    assert image.depth is not None
    z, focal = image.depth.numpy(), float(image.camera.intrinsics[0, 0])
    standing = np.zeros(z.shape, bool)
    standing[clutter.rows[clutter.standing], clutter.columns[clutter.standing]] = True
    standing[:, 1:] &= np.abs(np.diff(z, axis=1)) < _JUMP
    standing[1:] &= np.abs(np.diff(z, axis=0)) < _JUMP
    numbers: np.ndarray = np.asarray(label(binary_opening(standing))[0])  # pyright: ignore
    found = []
    windows: list[tuple[slice, slice]] = find_objects(numbers)
    for number, window in enumerate(windows, 1):
        inside = numbers[window] == number
        count = int(inside.sum())
        length = max(inside.shape) * float(np.median(z[window][inside])) / focal
        if count >= _LEAST_PIECE and _SMALLEST < length < _LARGEST:
            found.append((count, number))
    found.sort(reverse=True)
    return [torch.from_numpy(binary_closing(numbers == number, iterations=2)) for _, number in found[:_MOST_PIECES]]


def _off_planes(points: Tensor) -> Tensor:
    """[N] bool, false on the planes that have many points and are longer than the object; found by random triples."""
    generator = torch.Generator().manual_seed(0)
    left = torch.ones(len(points), dtype=torch.bool)
    for _ in range(_MOST_PLANES):
        rest = points[left]
        if len(rest) < 500:
            break
        sample = some_of(rest, generator)
        plane, at = main_plane(sample, generator)
        gap = (sample @ plane - at).abs()
        on = sample[gap < BAND]
        if len(on) < _PLANE_SHARE * len(sample):
            break
        reach = on.double().sub(on.mean(0)).norm(dim=1).quantile(0.9)
        thickness = float((4 * gap[gap < BAND].median()).clamp(_THINNEST, _THICKEST))
        flat = left & ((points @ plane - at).abs() < thickness)
        if float(reach) < 0.5 * _PLANE_LENGTH:
            break
        left &= ~flat
    return left
