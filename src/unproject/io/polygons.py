"""Polygons of files, and the triangles that they become."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import FormatError
from ..struct import TensorStruct
from .parts import for_each_range
from .source import warn_file

_MOST_CLIPPED = 20_000


@dataclass(frozen=True)
class Triangles:
    """Triangles of polygons.

    Attributes:
        corners: [T, 3] which corner (row of the file's corner list) each triangle corner is.
        polygons: [T] which polygon each triangle is from.
    """

    corners: np.ndarray
    polygons: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Polygons(TensorStruct):
    """The faces of a file before they became triangles; in `metadata["polygons"]` of a mesh that was loaded with keep_polygons.

    `face_attributes["polygon"]` of that mesh tells which polygon each triangle is from.

    Attributes:
        offsets: [P + 1] where each polygon's corners begin.
        vertices: [C] vertex index of each corner.
        uvs, normals: [C] index of each corner into the mesh's `uvs` and the file's normals, or None.
    """

    offsets: Tensor
    vertices: Tensor
    uvs: Tensor | None = None
    normals: Tensor | None = None


def triangulate(vertices: np.ndarray, offsets: np.ndarray, corners: np.ndarray, path: Path | None = None) -> Triangles:
    """Cut polygons into triangles: concave ones by clipping ears. Those of fewer than three corners are left out, with a warning.

    Args:
        vertices: [V, 3] positions.
        offsets: [P + 1] where each polygon's corners begin.
        corners: [C] vertex indices, in range.
    """
    from ..kernels.triangulate import triangulate_range

    sizes = np.diff(offsets)
    if (sizes < 3).any():
        bad = int((sizes < 3).sum())
        warn_file(path, f"{bad} face{'s' * (bad > 1)} with fewer than 3 corners left out")
    counts = np.maximum(sizes - 2, 0)
    slots = np.zeros(len(offsets), np.int64)
    np.cumsum(counts, out=slots[1:])
    polygons = np.repeat(np.arange(len(sizes)), counts)
    if len(sizes) and (sizes == 3).all():
        return Triangles(np.arange(len(corners)).reshape(-1, 3), polygons)
    out, too_long = np.empty((int(slots[-1]), 3), np.int64), np.full(1, -1, np.int64)
    longest = int(sizes.max(initial=0))
    run = lambda b, e: triangulate_range(b, e, vertices, corners, offsets, slots, longest, _MOST_CLIPPED, out, too_long)
    for_each_range(run, len(sizes), grain=5000)
    if too_long[0] >= 0:
        raise FormatError(f"face {too_long[0]} has {sizes[too_long[0]]} corners and is not convex, more than can be cut", path=path)
    return Triangles(out, polygons)


def kept(offsets: np.ndarray, corners: np.ndarray) -> Polygons:
    """Polygons as tensors."""
    return Polygons(offsets=torch.from_numpy(np.ascontiguousarray(offsets)), vertices=torch.from_numpy(np.ascontiguousarray(corners)))
