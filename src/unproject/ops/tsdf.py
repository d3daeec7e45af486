"""Operators of TSDF fusion: weigh a depth image, find the blocks it touches, fold it into them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..reference import tsdf as reference
from .dispatch import for_each_slice, parallel_for, slice_count
from .examples import example
from .operator import operator

_OTHER = ["cuda", "mps", "xpu"]


@operator("unproject::tsdf_weigh")
def weigh_depth(
    depth: Tensor, rgb: Tensor, k: list[float], max_depth: float, grazing_cosine: float, full_weight_depth: float, relative_jump: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What each pixel of depth [H, W] (not positive and finite: none) is worth.

    Args:
        rgb: [H, W, 3] uint8.
        k: fx, fy, cx, cy.

    Returns:
        factor [H, W]: times a distance along z is one along the surface normal; packed [H, W] int32: the weight in 255 steps in the
        highest byte (0: do not use), then RGB; largest [H / 16, W / 16]: the largest used depth in each tile.
    """
    from ..kernels import tsdf

    factor, packed, largest = _weighed(depth)
    numbers = [np.float32(x) for x in (*k, max_depth, grazing_cosine, full_weight_depth, relative_jump)]
    arrays = (depth.numpy(), rgb.numpy(), *numbers, factor.numpy(), packed.numpy())
    parallel_for(tsdf.weigh_range, depth.shape[0], *arrays, grain=max(1, 20_000 // max(1, depth.shape[1])))
    parallel_for(tsdf.tile_depth_range, largest.shape[0], depth.numpy(), packed.numpy(), largest.numpy(), grain=64)
    return factor, packed, largest


def _weighed(depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    tiles = [(n + 15) // 16 for n in depth.shape]
    return torch.empty_like(depth), torch.empty_like(depth, dtype=torch.int32), depth.new_empty(tiles)


@weigh_depth.register_fake
def _(depth: Tensor, rgb: Tensor, k: list[float], max_depth: float, grazing_cosine: float, full_weight_depth: float, relative_jump: float):
    return _weighed(depth)


@operator("unproject::tsdf_touch")
def touched_keys(
    depth: Tensor, packed: Tensor, k: list[float], grid_from_camera: Tensor, truncation: float, voxel: float, stride: int
) -> Tensor:
    """Keys of the blocks within the truncation distance along the ray of each stride-th used pixel, some of them more than once.

    Args:
        grid_from_camera: [4, 4] float64 on the CPU, from camera space to lattice coordinates.
        truncation, voxel: scene units.
    """
    from ..kernels import tsdf

    rows = -(-depth.shape[0] // stride)
    slices = slice_count(rows, 32)
    found: list[np.ndarray] = [np.empty(0, np.int64)] * slices
    numbers = [np.float32(x) for x in k]
    per_row = (depth.shape[1] // stride + 1) * (int(np.ceil(4 * truncation / (8 * voxel))) + 1)

    def run(slot: int, begin: int, end: int) -> None:
        keys, recent = np.empty((end - begin) * per_row, np.int64), np.full(4096, -1, np.int64)
        shape = (grid_from_camera.numpy(), truncation, 8 * voxel, stride, recent, keys)
        found[slot] = keys[: tsdf.touch_rows(begin, end, depth.numpy(), packed.numpy(), *numbers, *shape)]

    for_each_slice(run, rows, slices=slices)
    return torch.from_numpy(np.concatenate(found))


@touched_keys.register_fake
def _(depth: Tensor, packed: Tensor, k: list[float], grid_from_camera: Tensor, truncation: float, voxel: float, stride: int) -> Tensor:
    return depth.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.int64)


@operator("unproject::tsdf_insert", mutates_args=("keys", "slots", "coordinates"))
def insert_keys(found: Tensor, block_count: int, keys: Tensor, slots: Tensor, coordinates: Tensor) -> Tensor:
    """Add blocks to a hash table until it or `coordinates` is full. Returns [2]: the new block count, how many keys are done."""
    from ..kernels import tsdf

    limit = coordinates.shape[0]
    result = tsdf.insert_keys(found.numpy(), found.shape[0], block_count, limit, keys.numpy(), slots.numpy(), coordinates.numpy())
    return torch.tensor(result, dtype=torch.int64)


@insert_keys.register_fake
def _(found: Tensor, block_count: int, keys: Tensor, slots: Tensor, coordinates: Tensor) -> Tensor:
    return found.new_empty(2)


@operator("unproject::tsdf_visible")
def visible_blocks(
    coordinates: Tensor, camera_from_grid: Tensor, k: list[float], shape: list[int], truncation: float, largest: Tensor
) -> Tensor:
    """Rows of the blocks that some pixel may change: in the frustum, and not wholly further behind what is seen than the truncation."""
    from ..kernels import tsdf

    visible = np.empty(coordinates.shape[0], np.uint8)
    arrays = (coordinates.numpy(), camera_from_grid.numpy(), *k, (shape[0], shape[1]), truncation, largest.numpy(), visible)
    parallel_for(tsdf.visible_range, coordinates.shape[0], *arrays)
    return torch.from_numpy(np.flatnonzero(visible))


@visible_blocks.register_fake
def _(coordinates: Tensor, camera_from_grid: Tensor, k: list[float], shape: list[int], truncation: float, largest: Tensor) -> Tensor:
    return coordinates.new_empty(torch.library.get_ctx().new_dynamic_size())


@operator("unproject::tsdf_integrate", mutates_args=("tsdf", "weight", "color"))
def integrate_depth(
    rows: Tensor,
    coordinates: Tensor,
    camera_from_grid: Tensor,
    k: list[float],
    truncation: float,
    depth: Tensor,
    factor: Tensor,
    packed: Tensor,
    tsdf: Tensor,
    weight: Tensor,
    color: Tensor,
) -> None:
    """Fold a weighed depth image into the blocks `rows`: tsdf and weight [B, 8, 8, 8] and color [3, B, 8, 8, 8] (0 to 255), float32."""
    from ..kernels import tsdf as kernels

    numbers = [np.float32(x) for x in k]
    height, width = depth.shape
    image = [t.view(-1).numpy() for t in (depth, factor, packed)]
    volume = [tsdf.view(-1).numpy(), weight.view(-1).numpy(), color.view(3, -1).numpy()]
    place = (rows.numpy(), coordinates.numpy(), camera_from_grid.numpy(), *numbers, width, height, truncation)
    parallel_for(kernels.integrate_range, rows.shape[0], *place, *image, np.arange(8, dtype=np.float32), *volume, grain=64)


@integrate_depth.register_fake
def _(*arguments: object) -> None:
    return None


weigh_depth.register_kernel(_OTHER)(reference.weigh_depth)
touched_keys.register_kernel(_OTHER)(reference.touched_keys)
visible_blocks.register_kernel(_OTHER)(reference.visible_blocks)
integrate_depth.register_kernel(_OTHER)(reference.integrate_depth)

_K = [20.0, 20.0, 12.0, 10.0]


@example(weigh_depth)
def _example_weigh(dtype: torch.dtype) -> tuple[object, ...]:
    depth = 1 + 0.01 * torch.arange(20 * 24, dtype=torch.float32).reshape(20, 24).sin()
    depth[4:7, 3] = 0
    rgb = torch.arange(20 * 24 * 3).reshape(20, 24, 3).remainder(256).to(torch.uint8)
    return depth, rgb, _K, 1.009, 0.1, 2.0, 0.05


@example(touched_keys)
def _example_touch(dtype: torch.dtype) -> tuple[object, ...]:
    depth, *rest = _example_weigh(dtype)
    grid_from_camera = torch.eye(4, dtype=torch.float64) / 0.05
    return depth, weigh_depth(depth, *rest)[1], _K, grid_from_camera, 0.2, 0.05, 2


@example(insert_keys)
def _example_insert(dtype: torch.dtype) -> tuple[object, ...]:
    found = touched_keys(*_example_touch(dtype))
    empty = torch.full((4096,), -1)
    return found, 0, empty, empty.to(torch.int32), torch.zeros(2048, 3, dtype=torch.int64)


@example(visible_blocks)
def _example_visible(dtype: torch.dtype) -> tuple[object, ...]:
    found, count, keys, slots, coordinates = _example_insert(dtype)
    count = int(insert_keys(found, count, keys, slots, coordinates)[0])
    largest = weigh_depth(*_example_weigh(dtype))[2]
    camera_from_grid = torch.eye(4, dtype=torch.float64) * 0.05
    return coordinates[:count].clone(), camera_from_grid, _K, [20, 24], 0.2, largest


@example(integrate_depth)
def _example_integrate(dtype: torch.dtype) -> tuple[object, ...]:
    coordinates, camera_from_grid, *_ = visible = _example_visible(dtype)
    depth, *rest = _example_weigh(dtype)
    factor, packed, _ = weigh_depth(depth, *rest)
    volume = torch.zeros(2, len(coordinates), 8, 8, 8)
    rows = visible_blocks(*visible)
    return (
        rows,
        coordinates,
        camera_from_grid,
        _K,
        0.2,
        depth,
        factor,
        packed,
        volume[0].clone(),
        volume[1].clone(),
        volume[:1].repeat(3, 1, 1, 1, 1),
    )
