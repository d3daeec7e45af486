"""Operators of trilinear interpolation in dense and blocked lattices."""

from __future__ import annotations

import torch
from torch import Tensor

from ..reference import trilinear as reference
from .dispatch import parallel_for
from .examples import example
from .operator import operator

_OTHER = ["cuda", "mps", "xpu"]


@operator("unproject::trilinear_locate")
def locate_dense(points: Tensor, size_x: int, size_y: int, size_z: int) -> tuple[Tensor, Tensor]:
    """Corner indices int32 [N, 8] and fractions [N, 3] of grid coordinates [N, 3]; points outside move to the border."""
    from ..kernels.trilinear import locate_dense_range

    index, fraction = _located(points)
    parallel_for(locate_dense_range, len(points), points.numpy(), size_x, size_y, size_z, index.numpy(), fraction.numpy())
    return index, fraction


@operator("unproject::trilinear_locate_blocks")
def locate_blocks(points: Tensor, keys: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    """The same in blocks of 8^3 with their hash table; -1 for a corner without a block."""
    from ..kernels.trilinear import locate_blocks_range

    index, fraction = _located(points)
    tolerance = 2 * torch.finfo(points.dtype).eps
    table = (keys.numpy(), slots.numpy(), tolerance)
    parallel_for(locate_blocks_range, len(points), points.numpy(), *table, index.numpy(), fraction.numpy())
    return index, fraction


def _located(points: Tensor) -> tuple[Tensor, Tensor]:
    return points.new_empty((points.shape[0], 8), dtype=torch.int32), torch.empty_like(points)


@locate_dense.register_fake
def _(points: Tensor, size_x: int, size_y: int, size_z: int) -> tuple[Tensor, Tensor]:
    return _located(points)


@locate_blocks.register_fake
def _(points: Tensor, keys: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    return _located(points)


@operator("unproject::trilinear_gather")
def gather(values: Tensor, index: Tensor, fraction: Tensor) -> Tensor:
    """Interpolate rows of values [P, D] at corners `index` [N, 8] by `fraction` [N, 3]: [N, D]; 0 where an index is -1."""
    from ..kernels.trilinear import gather_range

    out = values.new_empty((index.shape[0], values.shape[1]))
    parallel_for(gather_range, len(index), values.detach().numpy(), index.numpy(), fraction.detach().numpy(), out.numpy())
    return out


@gather.register_fake
def _(values: Tensor, index: Tensor, fraction: Tensor) -> Tensor:
    return values.new_empty((index.shape[0], values.shape[1]))


@operator("unproject::trilinear_gather_backward")
def gather_backward(grad: Tensor, values: Tensor, index: Tensor, fraction: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of `gather` with respect to values and fraction."""
    from ..kernels.trilinear import fraction_gradient_range, scatter_range

    flow, corner, place = grad.detach().contiguous().numpy(), index.numpy(), fraction.detach().numpy()
    grad_values, grad_fraction = torch.zeros_like(values), torch.empty_like(fraction)
    parallel_for(fraction_gradient_range, len(index), values.detach().numpy(), corner, place, flow, grad_fraction.numpy())
    slices = torch.get_num_threads() if len(index) > 4096 else 1
    parallel_for(scatter_range, values.shape[0], corner, place, flow, grad_values.numpy(), slices=slices)
    return grad_values, grad_fraction


@gather_backward.register_fake
def _(grad: Tensor, values: Tensor, index: Tensor, fraction: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(values), torch.empty_like(fraction)


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx, grad: Tensor):
    values, index, fraction = ctx.saved_tensors
    grad_values, grad_fraction = gather_backward(grad.contiguous(), values, index, fraction)
    return grad_values, None, grad_fraction


def _second_backward(ctx, grad_values: Tensor, grad_fraction: Tensor):
    """In torch: second derivatives serve regularizers of the gradient, where the first ones take most of the time."""
    grad, values, index, fraction = ctx.saved_tensors
    with torch.enable_grad():
        inputs = [t.detach().requires_grad_() for t in (grad, values, fraction)]
        outputs = reference.gather_backward(inputs[0], inputs[1], index, inputs[2])
        flow = torch.autograd.grad(outputs, inputs, (grad_values, grad_fraction), allow_unused=True)
    return flow[0], flow[1], None, flow[2]


gather.register_autograd(_backward, setup_context=_save)
gather_backward.register_autograd(_second_backward, setup_context=_save)

locate_dense.register_kernel(_OTHER)(reference.locate_dense)
locate_blocks.register_kernel(_OTHER)(reference.locate_blocks)
gather.register_kernel(_OTHER)(reference.gather)
gather_backward.register_kernel(_OTHER)(reference.gather_backward)


@operator("unproject::block_hash")
def block_hash(coordinates: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
    """Keys int64 and block numbers int32 of a hash table with a power of two of slots; a block that is there twice is an error."""
    from ..kernels.block_hash import insert_blocks

    keys, slots = torch.full((capacity,), -1, dtype=torch.int64), torch.full((capacity,), -1, dtype=torch.int32)
    again = insert_blocks(coordinates.numpy(), 0, keys.numpy(), slots.numpy())
    if again >= 0:
        raise ValueError(f"block {coordinates[again].tolist()} is there twice, again in row {again}")
    return keys, slots


@block_hash.register_fake
def _(coordinates: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
    return coordinates.new_empty(capacity, dtype=torch.int64), coordinates.new_empty(capacity, dtype=torch.int32)


@operator("unproject::block_find")
def block_find(coordinates: Tensor, keys: Tensor, slots: Tensor) -> Tensor:
    """The number of the block at each position [N, 3], or -1."""
    from ..kernels.block_hash import find_blocks_range

    number = coordinates.new_empty(coordinates.shape[0])
    parallel_for(find_blocks_range, len(number), coordinates.numpy(), keys.numpy(), slots.numpy(), number.numpy())
    return number


@block_find.register_fake
def _(coordinates: Tensor, keys: Tensor, slots: Tensor) -> Tensor:
    return coordinates.new_empty(coordinates.shape[0])


block_find.register_kernel(_OTHER)(reference.block_find)


def _example_points(dtype: torch.dtype) -> Tensor:
    return torch.linspace(-0.5, 3.5, 30, dtype=dtype).reshape(10, 3)


@example(block_hash)
def _example_hash(dtype: torch.dtype) -> tuple[Tensor, int]:
    return torch.tensor([[0, 0, 0], [-1, 2, 3]]), 8


@example(block_find)
def _(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    return torch.tensor([[-1, 2, 3], [0, 0, 1]]), *block_hash(*_example_hash(dtype))


@example(locate_dense)
def _(dtype: torch.dtype) -> tuple[Tensor, int, int, int]:
    return _example_points(dtype), 3, 4, 2


@example(locate_blocks)
def _(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    return _example_points(dtype), *block_hash(*_example_hash(dtype))


@example(gather)
def _example_gather(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    index, fraction = locate_dense(_example_points(dtype), 3, 4, 2)
    index[3, 5] = -1
    return torch.linspace(0, 1, 48, dtype=dtype).reshape(24, 2).requires_grad_(), index, fraction.requires_grad_()


@example(gather_backward)
def _(dtype: torch.dtype) -> tuple[Tensor, ...]:
    return torch.linspace(1, 2, 20, dtype=dtype).reshape(10, 2).requires_grad_(), *_example_gather(dtype)
