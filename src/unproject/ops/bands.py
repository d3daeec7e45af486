"""How the drawing of images is split: bands of rows, each with the list of faces that may touch it, and slots for gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .dispatch import for_each_slice, parallel_for, slice_count

_SHIFT = 4  # a listed band has 2^4 rows
_JOB_GRAIN = 4096  # faces worth a thread
_SLOTS = 8  # gradient accumulators where several slices draw one image


@dataclass(frozen=True, kw_only=True)
class Bands:
    """B images of faces, cut into bands for kernels that draw the bands [begin, end).

    Attributes:
        scene: (points [N, 3], flat [N, 3] float64 pixel and nearness, faces, [B, 2] first face and first vertex of each image,
            [B + 1] where the faces of each image begin in the list of all).
        offsets, items: faces of each band; empty where an image is one band of all its faces.
        band: rows of a band. count: number of bands. work: pixels and faces, a measure of time.
        points: [N, 3] as given. near: distance of the near plane.
    """

    scene: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    offsets: np.ndarray
    items: np.ndarray
    band: int
    count: int
    work: int
    points: Tensor
    near: float
    orthographic: bool

    @property
    def lists(self) -> tuple:
        """The arguments of a drawing kernel that say what lies in which band, after its range."""
        return *self.scene[1:], self.offsets, self.items, self.band

    @property
    def slices(self) -> int:
        """Into how many slices drawing is worth being split."""
        if self.count == 1 or self.work < 20_000:
            return 1
        return min(self.count, max(8 * torch.get_num_threads(), self.work // 4_000_000))

    def draw(self, kernel: Callable[..., None], *args: object) -> None:
        """Call `kernel(begin, end, *args)` over all bands."""
        parallel_for(kernel, self.count, *args, slices=self.slices)

    def accumulate(self, draw: Callable[..., None], *arrays: tuple[Sequence[int], bool]) -> list[np.ndarray]:
        """Sums from `draw(begin, end, *accumulators)` over all bands, which adds to float64 arrays.

        The sums do not depend on the order of threads: slices that may add to the same place have accumulators of their own.

        Args:
            arrays: for each, its shape and whether images have rows of their own in it.
        """
        listed = len(self.offsets) > 0  # else a band is a whole image
        elements = max((math.prod(shape) for shape, _ in arrays), default=1)
        slices = min(_SLOTS, self.count, 40_000_000 // max(elements, 1)) if listed else self.slices
        slots = [max(1, slices) if listed or not own else 1 for _, own in arrays]
        totals = [np.zeros((n, *shape)) for n, (shape, _) in zip(slots, arrays)]

        def run(slot: int, begin: int, end: int) -> None:
            draw(begin, end, *(total[slot if len(total) > 1 else 0] for total in totals))

        for_each_slice(run, self.count, slices=max(1, slices))
        return [total.sum(0) if len(total) > 1 else total[0] for total in totals]

    def unflatten(self, of_flat: np.ndarray) -> Tensor:
        """From the gradient of pixel and depth [N, 3] to that of `points`."""
        from ..kernels.soft import unflatten_range

        result = torch.empty_like(self.points)
        parallel_for(unflatten_range, len(of_flat), self.scene[0], self.near, self.orthographic, of_flat, result.numpy(), grain=20_000)
        return result


def plan_bands(
    points: Tensor,
    faces: Tensor,
    images: Tensor,
    *,
    size: tuple[int, int],
    planes: tuple[float, float],
    orthographic: bool,
    cull: bool,
    radius: float = 0.0,
) -> Bands:
    """Project points to pixels and list the faces of every band. `planes` are the depths near and far; `radius` is in pixels."""
    from ..kernels import bands as kernels

    table, (near, far), count = images.numpy(), planes, images.shape[0]
    job_offsets = np.concatenate([[0], np.cumsum(table[:, 1])])
    jobs, threads = int(job_offsets[-1]), torch.get_num_threads()
    corner, flat = points.detach().contiguous().numpy(), np.empty((points.shape[0], 3))
    parallel_for(kernels.flatten_range, points.shape[0], corner, float(near), orthographic, flat, grain=20_000)
    scene = (corner, flat, faces.contiguous().numpy(), np.ascontiguousarray(table[:, ::2]), job_offsets)
    listed = 0 < count < 4 * threads and jobs > 0 and (threads > 1 or jobs > 100_000)
    band = 1 << _SHIFT if listed else max(size[0], 1)
    bands = count * -(-size[0] // band)
    offsets, items = np.empty(0, np.int64), np.empty(0, np.int32)
    if listed:
        view = (size, (float(near), far_nearness(far, orthographic)), orthographic, cull, float(radius))
        offsets, items = _list_faces(scene, view, bands)
    return Bands(
        scene=scene, offsets=offsets, items=items, band=band, count=bands, work=size[0] * size[1] * count + 4 * jobs,
        points=points.detach(), near=float(near), orthographic=orthographic,
    )  # fmt: skip


def far_nearness(far: float, orthographic: bool) -> float:
    """What kernels compare instead of depth, for the far plane: larger is nearer."""
    return -float(far) if orthographic else 1.0 / float(far)


def _list_faces(scene: tuple, view: tuple, bands: int) -> tuple[np.ndarray, np.ndarray]:
    """Faces of every band, in ascending order: offsets [bands + 1] and items."""
    from ..kernels import bands as kernels

    job_offsets = scene[-1]
    jobs = int(job_offsets[-1])
    slices = min(slice_count(jobs, _JOB_GRAIN), 64)
    rows = np.empty((jobs, 2), np.int32)
    counts = np.zeros((slices, bands), np.int64)
    for_each_slice(lambda s, begin, end: kernels.count_rows(begin, end, *scene, *view, _SHIFT, rows, counts[s]), jobs, slices=slices)
    totals = np.concatenate([[0], np.cumsum(counts.sum(0))])
    cursor = totals[:-1] + np.cumsum(counts, 0) - counts
    items = np.empty(int(totals[-1]), np.int32)
    fill = (rows, job_offsets, _SHIFT, bands // (len(job_offsets) - 1))
    for_each_slice(lambda s, begin, end: kernels.fill_bands(begin, end, *fill, cursor[s], items), jobs, slices=slices)
    return totals, items
