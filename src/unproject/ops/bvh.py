"""Operators: the eight-wide tree of boxes over the faces of packed meshes, its refit, and an order of queries that suits it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .dispatch import for_each_slice, parallel_for
from .examples import example
from .operator import operator

_ITEM_GRAIN = 8192
_BLOCK_GRAIN = 1024
_SMALL_TASK = 2048  # items; smaller ranges are not split among threads
_LARGE_TASK = 1 << 17  # items; keeps a slice below 0.1 s
_MOST_PARTS = 64  # of a range that is split until each has less than half of it: one a level of the tree, and one more


@operator("unproject::build_face_bvh")
def build_face_bvh(vertices: Tensor, faces: Tensor, face_offsets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A tree over the faces [F, 3] of each mesh of a batch with offsets [B + 1].

    Returns:
        Boxes [M, 6, 8], children int32 [M, 8], blocks [K, 9, 8], block items int32 [K, 8], roots int32 [B], depth int64 []; the layout is
        explained in kernels/bvh.py.
    """
    from ..kernels import bvh as kernels

    records, items = _make_records(kernels.face_records, faces.shape[0], vertices.numpy(), faces.numpy())
    children, block_items, roots, depth = _build(kernels, records, items, face_offsets.numpy())
    boxes, blocks = refit_face_bvh(vertices, faces, children, block_items)
    return boxes, children, blocks, block_items, roots, depth


@build_face_bvh.register_fake
def _(vertices: Tensor, faces: Tensor, face_offsets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _fake_tree(vertices, face_offsets, 9)


def _fake_tree(coordinates: Tensor, offsets: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    context = torch.library.get_ctx()
    nodes, blocks = context.new_dynamic_size(), context.new_dynamic_size()
    integers = lambda *shape: coordinates.new_empty(shape, dtype=torch.int32)
    return (
        coordinates.new_empty((nodes, 6, 8)),
        integers(nodes, 8),
        coordinates.new_empty((blocks, rows, 8)),
        integers(blocks, 8),
        integers(offsets.shape[0] - 1),
        coordinates.new_empty((), dtype=torch.int64),
    )


@operator("unproject::refit_face_bvh")
def refit_face_bvh(vertices: Tensor, faces: Tensor, children: Tensor, block_items: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes [M, 6, 8] and blocks [K, 9, 8] of the same tree for moved vertices."""
    from ..kernels import bvh as kernels

    blocks, block_boxes = _fill(kernels.fill_face_blocks, 9, vertices, block_items, faces.numpy())
    return _fit(kernels, children, block_boxes, vertices), blocks


@refit_face_bvh.register_fake
def _(vertices: Tensor, faces: Tensor, children: Tensor, block_items: Tensor) -> tuple[Tensor, Tensor]:
    return vertices.new_empty((children.shape[0], 6, 8)), vertices.new_empty((block_items.shape[0], 9, 8))


@operator("unproject::build_point_bvh")
def build_point_bvh(points: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A tree over the points [N, 3] of each cloud of a batch with offsets [B + 1]: as build_face_bvh, with blocks [K, 3, 8]."""
    from ..kernels import bvh as kernels

    records, items = _make_records(kernels.point_records, points.shape[0], points.numpy())
    children, block_items, roots, depth = _build(kernels, records, items, offsets.numpy())
    blocks, block_boxes = _fill(kernels.fill_point_blocks, 3, points, block_items)
    boxes = _fit(kernels, children, block_boxes, points)
    return boxes, children, blocks, block_items, roots, depth


@build_point_bvh.register_fake
def _(points: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _fake_tree(points, offsets, 3)


def curve_order(points: Tensor, offsets: Tensor) -> np.ndarray:
    """Indices int32 [N] that sort the points of each set along a Morton curve of its own."""
    from ..kernels import curve as kernels

    buffers = [np.empty(points.shape[0], np.int32) for _ in range(4)]
    kernels.curve_order(points.numpy(), offsets.numpy(), *buffers)
    return buffers[0]


def batch_index(offsets: Tensor) -> np.ndarray:
    """The batch item int32 [N] of each query; empty where there is but one item."""
    if offsets.shape[0] == 2:
        return np.empty(0, np.int32)
    return np.repeat(np.arange(offsets.shape[0] - 1, dtype=np.int32), np.diff(offsets.numpy()))


def rows_or_none(cotangent: Tensor | None, like: Tensor, tail: tuple[int, ...]) -> np.ndarray:
    """A cotangent as kernels take it: no rows for None."""
    return (like.new_empty((0, *tail)) if cotangent is None else cotangent.contiguous()).numpy()


def _make_records(kernel: Callable[..., Any], count: int, coordinates: np.ndarray, *indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    records, items = np.empty(8 * count, coordinates.dtype), np.empty(count, np.int32)
    parallel_for(kernel, count, coordinates, *indices, records, items, grain=_ITEM_GRAIN)
    return records, items


def _fill(
    kernel: Callable[..., Any], rows: int, coordinates: Tensor, block_items: Tensor, *indices: np.ndarray
) -> tuple[Tensor, np.ndarray]:
    """Blocks [K, rows, 8] and the boxes [K, 6] around them."""
    count = block_items.shape[0]
    blocks, boxes = coordinates.new_empty((count, rows, 8)), np.empty((count, 6), coordinates.numpy().dtype)
    arrays = (coordinates.numpy(), *indices, block_items.numpy(), blocks.numpy().reshape(-1), boxes)
    parallel_for(kernel, count, *arrays, grain=_BLOCK_GRAIN)
    return blocks, boxes


def _fit(kernels: Any, children: Tensor, block_boxes: np.ndarray, like: Tensor) -> Tensor:
    """Boxes [M, 6, 8] of the nodes from those of the blocks."""
    boxes = like.new_empty((children.shape[0], 6, 8))  # torch begins at a cache line, NumPy anywhere
    kernels.refit_nodes(children.numpy(), block_boxes, boxes.numpy().reshape(-1))
    return boxes


def _build(kernels: Any, records: np.ndarray, items: np.ndarray, offsets: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Children, block items, roots and depth of one tree for each range of records."""
    count, dtype = len(items), records.dtype
    node_boxes, node_right, node_range = np.empty(16 * count, dtype), np.full(2 * count, -2, np.int32), np.empty((2 * count, 2), np.int32)
    arrays = (records, items, node_boxes, node_right, node_range)
    tasks = _split_large(kernels, offsets, arrays)

    def build(_: int, begin: int, end: int) -> None:
        kernels.build_subtrees(begin, end, tasks, 0, tasks, *arrays)

    if len(tasks):
        for_each_slice(build, len(tasks), slices=1 if count <= _SMALL_TASK else min(len(tasks), 16 * torch.get_num_threads()))
    shares = np.empty(16 * count, np.int8)
    kernels.plan_collapse(node_boxes, node_right, np.empty(16 * count, dtype), shares)
    starts = np.where(offsets[1:] > offsets[:-1], 2 * offsets[:-1], -1)
    children, block_range = np.full((count, 8), -1, np.int32), np.empty((count, 2), np.int32)
    roots, totals = np.empty(len(starts), np.int32), np.zeros(3, np.int64)
    kernels.collapse(starts, node_right, node_range, shares, children, block_range, roots, totals)
    nodes, blocks, depth = totals.tolist()
    places = block_range[:blocks, :1] + np.arange(8)
    block_items = np.where(places < block_range[:blocks, 1:], items[np.minimum(places, count - 1)], np.int32(-1))
    return torch.from_numpy(children[:nodes]).clone(), torch.from_numpy(block_items), torch.from_numpy(roots), torch.tensor(depth)


def _split_large(kernels: Any, offsets: np.ndarray, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    """Rows of begin, end, base, depth: what is left to build after the largest ranges were split, enough of it for all threads."""
    threads, count = torch.get_num_threads(), int(offsets[-1])
    largest = min(_LARGE_TASK, max(_SMALL_TASK, count // (8 * threads))) if threads > 1 else _LARGE_TASK
    ranges = np.stack([offsets[:-1], offsets[1:], 2 * offsets[:-1], np.zeros_like(offsets[:-1])], 1)[offsets[1:] > offsets[:-1]]
    sizes = ranges[:, 1] - ranges[:, 0]
    small, large = [ranges[sizes <= largest]], list(ranges[sizes > largest, None])
    while large:  # one at a time, which can be interrupted
        task = large.pop()
        rest = np.empty((_MOST_PARTS, 4), np.int64)
        half = max(largest, int(task[0, 1] - task[0, 0]) // 2)
        left = rest[: kernels.build_subtrees(0, 1, task, half, rest, *arrays)]
        large += list(left[left[:, 1] - left[:, 0] > largest, None])
        small.append(left[left[:, 1] - left[:, 0] <= largest])
    tasks = np.concatenate(small)
    return tasks[np.argsort(tasks[:, 0] - tasks[:, 1], kind="stable")] if threads > 1 else tasks  # large ones first


def example_mesh(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Vertices, faces and face offsets of two meshes and an empty one."""
    steps = torch.arange(12, dtype=dtype)
    vertices = torch.stack([steps.cos(), steps.sin(), steps * 0.1], -1)
    first = torch.arange(10)
    faces = torch.stack([first, first + 1, first + 2], -1)
    return vertices, faces, torch.tensor([0, 9, 9, 10])


@example(build_face_bvh)
def _build_example(dtype: torch.dtype) -> tuple[Tensor, ...]:
    return example_mesh(dtype)


@example(refit_face_bvh)
def _refit_example(dtype: torch.dtype) -> tuple[Tensor, ...]:
    vertices, faces, offsets = example_mesh(dtype)
    _, children, _, block_items, _, _ = build_face_bvh(vertices, faces, offsets)
    return vertices + 1, faces, children, block_items


@example(build_point_bvh)
def _build_points_example(dtype: torch.dtype) -> tuple[Tensor, ...]:
    return torch.linspace(-1, 1, 90, dtype=dtype).reshape(30, 3), torch.tensor([0, 25, 25, 30])
