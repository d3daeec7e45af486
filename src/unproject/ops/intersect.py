"""Operator: the pairs of faces of a mesh that intersect each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .bvh import build_face_bvh, example_mesh
from .dispatch import for_each_slice, slice_count
from .examples import example
from .operator import operator

_GRAIN = 64  # blocks worth a thread


@operator("unproject::self_intersecting_pairs")
def self_intersecting_pairs(
    face_offsets: Tensor, boxes: Tensor, children: Tensor, blocks: Tensor, block_items: Tensor, roots: Tensor, depth: int
) -> Tensor:
    """Pairs int64 [N, 2] of a tree of build_face_bvh, each ascending, sorted."""
    from ..kernels.intersect import self_pairs

    tree = (roots.numpy(), boxes.numpy().reshape(-1), children.numpy(), blocks.numpy().reshape(-1), block_items.numpy(), depth)
    trees = np.searchsorted(face_offsets.numpy(), block_items.numpy()[:, 0], side="right") - 1
    count = block_items.shape[0]
    slices = slice_count(count, _GRAIN)
    found: list[np.ndarray] = [np.empty((0, 2), np.int64)] * slices

    def search(slot: int, begin: int, end: int) -> None:
        pairs, number = self_pairs(begin, end, trees, *tree)
        found[slot] = pairs[:number]

    for_each_slice(search, count, slices=slices)
    pairs = np.concatenate(found)
    return torch.from_numpy(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))])


@self_intersecting_pairs.register_fake
def _(face_offsets: Tensor, *arguments: Any) -> Tensor:
    return face_offsets.new_empty((torch.library.get_ctx().new_dynamic_size(), 2))


@example(self_intersecting_pairs)
def _example(dtype: torch.dtype) -> tuple[Any, ...]:
    vertices, faces, offsets = example_mesh(dtype)
    boxes, children, blocks, block_items, roots, depth = build_face_bvh(vertices, faces, offsets)
    return offsets, boxes, children, blocks, block_items, roots, int(depth)
