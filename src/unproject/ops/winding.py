"""Operators: generalized winding numbers of faces and of oriented points, and the far fields of their trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .bvh import batch_index, build_face_bvh, build_point_bvh, curve_order, example_mesh
from .dispatch import parallel_for
from .examples import example
from .operator import operator

_GRAIN = 128  # points worth a thread
_BLOCK_GRAIN = 256
_FEW_BLOCKS = 64
LEFT_OPEN = -(1 << 30)  # of crossing_number, as in kernels/crossings.py: the point is as near to a face as rounding, or the ray to an edge


@operator("unproject::face_winding_field")
def face_winding_field(children: Tensor, blocks: Tensor) -> Tensor:
    """Far fields [M, 23, 8] of the nodes of a tree of build_face_bvh; the rows are explained in kernels/winding.py."""
    from ..kernels import winding as kernels

    moments = np.empty((blocks.shape[0], kernels.MOMENT))
    parallel_for(kernels.face_moments, len(moments), blocks.numpy().reshape(-1), moments, grain=_BLOCK_GRAIN)
    return _field(kernels, children, moments, blocks)


@face_winding_field.register_fake
def _(children: Tensor, blocks: Tensor) -> Tensor:
    return blocks.new_empty((children.shape[0], 23, 8))


@operator("unproject::point_winding_field")
def point_winding_field(children: Tensor, blocks: Tensor, block_items: Tensor, vector_areas: Tensor) -> Tensor:
    """Far fields [M, 23, 8] of the nodes of a tree of build_point_bvh, for points with vector areas (area times normal) [N, 3]."""
    from ..kernels import winding as kernels

    moments = np.empty((blocks.shape[0], kernels.MOMENT))
    arrays = (blocks.numpy().reshape(-1), block_items.numpy(), vector_areas.numpy(), moments)
    parallel_for(kernels.point_moments, len(moments), *arrays, grain=_BLOCK_GRAIN)
    return _field(kernels, children, moments, blocks)


@point_winding_field.register_fake
def _(children: Tensor, blocks: Tensor, block_items: Tensor, vector_areas: Tensor) -> Tensor:
    return blocks.new_empty((children.shape[0], 23, 8))


def _field(kernels: Any, children: Tensor, block_moments: np.ndarray, like: Tensor) -> Tensor:
    field = like.new_empty((children.shape[0], kernels.FIELD, 8))
    node_moments = np.empty((children.shape[0], kernels.MOMENT))
    kernels.fill_field(children.numpy(), block_moments, node_moments, field.numpy().reshape(-1))
    return field


def _order(points: Tensor, query_offsets: Tensor, blocks: Tensor) -> np.ndarray:
    """The order in which points ask a tree: along a curve, unless the tree is so small that it does not matter."""
    return np.arange(len(points), dtype=np.int32) if len(blocks) <= _FEW_BLOCKS else curve_order(points, query_offsets)


@operator("unproject::face_winding")
def face_winding(
    points: Tensor, query_offsets: Tensor, roots: Tensor, field: Tensor, children: Tensor, blocks: Tensor, depth: int, accuracy: float
) -> Tensor:
    """Winding numbers [N] of the faces about points [N, 3]. Clusters farther than `accuracy` radii count by their far field."""
    from ..kernels.winding import face_winding_range

    winding = points.new_empty(points.shape[0])
    tree = (roots.numpy(), field.numpy().reshape(-1), children.numpy(), blocks.numpy().reshape(-1), depth, accuracy)
    arrays = (_order(points, query_offsets, blocks), points.numpy(), batch_index(query_offsets), *tree, winding.numpy())
    parallel_for(face_winding_range, points.shape[0], *arrays, grain=_GRAIN)
    return winding


@face_winding.register_fake
def _(points: Tensor, *arguments: Any) -> Tensor:
    return points.new_empty(points.shape[0])


@operator("unproject::point_winding")
def point_winding(
    points: Tensor,
    query_offsets: Tensor,
    roots: Tensor,
    field: Tensor,
    children: Tensor,
    blocks: Tensor,
    block_areas: Tensor,
    depth: int,
    accuracy: float,
) -> Tensor:
    """Winding numbers [N] of oriented points, with vector areas in blocks [K, 3, 8], about points [N, 3]."""
    from ..kernels.winding import point_winding_range

    winding = points.new_empty(points.shape[0])
    flat = [t.numpy().reshape(-1) for t in (field, blocks, block_areas)]
    tree = (roots.numpy(), flat[0], children.numpy(), flat[1], flat[2], depth, accuracy)
    arrays = (curve_order(points, query_offsets), points.numpy(), batch_index(query_offsets), *tree, winding.numpy())
    parallel_for(point_winding_range, points.shape[0], *arrays, grain=_GRAIN)
    return winding


@point_winding.register_fake
def _(points: Tensor, *arguments: Any) -> Tensor:
    return points.new_empty(points.shape[0])


@operator("unproject::crossing_number")
def crossing_number(
    points: Tensor, query_offsets: Tensor, bounds: Tensor, roots: Tensor, boxes: Tensor, children: Tensor, blocks: Tensor, depth: int
) -> Tensor:
    """How often a ray from each of the points [N, 3] leaves through faces of a tree of build_face_bvh, less how often it enters: int32 [N].

    For a surface without a rim that is how often it goes around the point. LEFT_OPEN where rounding does not tell. The ray goes to the
    nearest side of `bounds` [B, 6], low and high.
    """
    from ..kernels.crossings import crossing_range

    number = points.new_empty(points.shape[0], dtype=torch.int32)
    tree = (roots.numpy(), boxes.numpy().reshape(-1), children.numpy().reshape(-1), blocks.numpy().reshape(-1), depth)
    arrays = (_order(points, query_offsets, blocks), points.numpy(), batch_index(query_offsets), bounds.numpy(), *tree, number.numpy())
    parallel_for(crossing_range, points.shape[0], *arrays, grain=_GRAIN)
    return number


@crossing_number.register_fake
def _(points: Tensor, *arguments: Any) -> Tensor:
    return points.new_empty(points.shape[0], dtype=torch.int32)


def _queries(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.linspace(-1, 1, 240, dtype=dtype).reshape(80, 3), torch.tensor([0, 70, 75, 80])


def _cloud(dtype: torch.dtype) -> tuple[Tensor, ...]:
    points = torch.linspace(-1, 1, 90, dtype=dtype).reshape(30, 3)
    return points.cos(), *build_point_bvh(points, torch.tensor([0, 25, 25, 30]))


@example(face_winding_field)
def _face_field_example(dtype: torch.dtype) -> tuple[Any, ...]:
    _, children, blocks, _, _, _ = build_face_bvh(*example_mesh(dtype))
    return children, blocks


@example(point_winding_field)
def _point_field_example(dtype: torch.dtype) -> tuple[Any, ...]:
    areas, _, children, blocks, block_items, _, _ = _cloud(dtype)
    return children, blocks, block_items, areas


@example(face_winding)
def _face_example(dtype: torch.dtype) -> tuple[Any, ...]:
    _, children, blocks, _, roots, depth = build_face_bvh(*example_mesh(dtype))
    return *_queries(dtype), roots, face_winding_field(children, blocks), children, blocks, int(depth), 2.0


@example(point_winding)
def _point_example(dtype: torch.dtype) -> tuple[Any, ...]:
    areas, _, children, blocks, block_items, roots, depth = _cloud(dtype)
    field = point_winding_field(children, blocks, block_items, areas)
    return *_queries(dtype), roots, field, children, blocks, torch.ones_like(blocks), int(depth), 2.0


@example(crossing_number)
def _crossing_example(dtype: torch.dtype) -> tuple[Any, ...]:
    boxes, children, blocks, _, roots, depth = build_face_bvh(*example_mesh(dtype))
    return *_queries(dtype), torch.zeros(3, 6, dtype=dtype), roots, boxes, children, blocks, int(depth)
