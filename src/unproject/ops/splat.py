"""Operators: attributes and depth of soft discs and spheres, blended, and their gradient."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .dispatch import for_each_slice, parallel_for, slice_count
from .examples import example
from .operator import operator
from .soft import SMALLEST

NOTHING = -1e30  # logarithm of a weight of 0
_SHIFT, _SLOTS = 4, 8
_MOST_COUNTS = 1 << 21  # of discs in cells, by slices
_HIDES = {torch.float32: 20.0, torch.float64: 45.0}  # exponents that lie this far below do not count


@operator("unproject::splat")
def splat(
    discs: Tensor, attributes: Tensor, exponents: Tensor, images: int, height: int, width: int, near: float, far: float, soft: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Blend all discs with weights coverage x exp(offset - slope z).

    Args:
        discs: [images * N, 5] pixel (u, v), depth z, radius in pixels, and how much nearer the middle is than the rim.
        attributes: [N, C] the same in all images, or [images * N, C].
        exponents: float64 [images, 2] offset and slope. soft: width of the edge, pixels.

    Returns:
        Attributes [B, H, W, C] and depth [B, H, W] (weighted means, 0 where there is nothing), transmittance [B, H, W], and the logarithm
        of the sum of all weights [B, H, W] (-1e30 where there is nothing).
    """
    from ..kernels.splat import splat_bands

    shape = (images, height, width)
    blended = discs.new_empty((*shape, attributes.shape[1]))
    depth, transmittance, weight = (discs.new_empty(shape) for _ in range(3))
    arguments, bands = _plan(discs, attributes, exponents, images, (height, width), (near, far), soft)
    out = (blended.numpy(), depth.numpy(), transmittance.numpy(), weight.numpy())
    parallel_for(splat_bands, bands, *arguments, *out, slices=min(bands, 8 * torch.get_num_threads()))
    return blended, depth, transmittance, weight


@operator("unproject::splat_backward")
def splat_backward(
    discs: Tensor, attributes: Tensor, exponents: Tensor, images: int, near: float, far: float, soft: float, flow: Tensor, of_values: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of discs and attributes; `flow` [B, H, W, 4] and `of_values` [B, H, W, C] as kernels.splat.splat_gradient takes them."""
    from ..kernels.splat import splat_gradient

    arguments, bands = _plan(discs, attributes, exponents, images, (flow.shape[1], flow.shape[2]), (near, far), soft)
    slots = max(1, min(_SLOTS, bands, 20_000_000 // max(discs.numel(), attributes.numel(), 1)))
    of_discs, of_attributes = np.zeros((slots, *discs.shape)), np.zeros((slots, *attributes.shape))
    flows = (flow.contiguous().numpy(), of_values.contiguous().numpy())
    draw = lambda s, begin, end: splat_gradient(begin, end, *arguments, *flows, of_discs[s], of_attributes[s].reshape(-1))
    for_each_slice(draw, bands, slices=slots)
    return torch.from_numpy(of_discs.sum(0)).to(discs.dtype), torch.from_numpy(of_attributes.sum(0)).to(discs.dtype)


def _plan(
    discs: Tensor, attributes: Tensor, exponents: Tensor, images: int, size: tuple[int, int], planes: tuple[float, float], soft: float
) -> tuple[tuple, int]:
    """Arguments of the kernels before what they write, and the number of bands of rows."""
    from ..kernels.splat import SLABS, fill_cells, find_cells

    count, (height, width), array = discs.shape[0], size, discs.detach().contiguous().numpy()
    per_image, bands = max(1, count // max(images, 1)), images * (((height - 1) >> _SHIFT) + 1)
    first, last = (float(z) for z in discs[:, 2].detach().clamp(*planes).aminmax()) if count else (0.0, 1.0)
    slabs = (first, SLABS / max(last - first, 1e-30))
    slices = min(slice_count(count, 4096), max(1, _MOST_COUNTS // max(1, bands * SLABS)))
    cells, counts = np.empty((count, 2), np.int32), np.zeros((slices, bands * SLABS), np.int64)
    look = (per_image, height, width, planes, slabs, soft, _SHIFT, cells)
    for_each_slice(lambda s, begin, end: find_cells(begin, end, array, *look, counts[s]), count, slices=slices)
    offsets = np.concatenate([[0], np.cumsum(counts.sum(0))])
    cursor = offsets[:-1] + np.cumsum(counts, 0) - counts
    items = np.empty(int(offsets[-1]), np.int32)
    for_each_slice(lambda s, begin, end: fill_cells(begin, end, cells, cursor[s], items), count, slices=slices)
    values = (array, attributes.detach().reshape(-1).numpy(), per_image, attributes.shape[0] == per_image)
    return (*values, offsets, items, exponents.numpy(), soft, _SHIFT, SMALLEST[discs.dtype], _HIDES[discs.dtype]), bands


@splat.register_fake
def _(discs: Tensor, attributes: Tensor, exponents: Tensor, images: int, height: int, width: int, *_: object):
    shape = (images, height, width)
    return discs.new_empty((*shape, attributes.shape[1])), discs.new_empty(shape), discs.new_empty(shape), discs.new_empty(shape)


@splat_backward.register_fake
def _(discs: Tensor, attributes: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(discs), torch.empty_like(attributes)


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:3], *output)
    ctx.images, ctx.view = inputs[3], inputs[6:]


def _backward(ctx, grad_blended: Tensor, grad_depth: Tensor, grad_transmittance: Tensor, grad_weight: Tensor):
    discs, attributes, exponents, blended, depth, transmittance, weight = ctx.saved_tensors
    through = torch.where(transmittance > SMALLEST[transmittance.dtype], grad_transmittance * transmittance, 0)
    mean = (grad_blended * blended).sum(-1) + grad_depth * depth - grad_weight
    idle = ((grad_blended == 0).all(-1) & (grad_depth == 0) & (grad_weight == 0)) | (weight <= NOTHING)
    flow = torch.stack([through, torch.where(idle, -NOTHING, weight), grad_depth, mean], -1)
    return *splat_backward(discs, attributes, exponents, ctx.images, *ctx.view, flow, grad_blended), *([None] * 7)


splat.register_autograd(_backward, setup_context=_save)


@example(splat)
def _example(dtype: torch.dtype) -> tuple:
    discs = torch.tensor([[6.0, 5, 2, 4, 0.5], [9, 8, 3, 5, 0], [30, 2, -1, 3, 1]], dtype=dtype, requires_grad=True)
    exponents = torch.tensor([[20.0, 10.0]], dtype=torch.float64)
    return discs, torch.eye(3, dtype=dtype, requires_grad=True), exponents, 1, 20, 18, 0.1, 100.0, 1.0


@example(splat_backward)
def _example_backward(dtype: torch.dtype) -> tuple:
    discs, attributes, exponents, images, _, _, *view = _example(dtype)
    flow, of_values = torch.ones(1, 20, 18, 4, dtype=dtype), torch.ones(1, 20, 18, 3, dtype=dtype)
    return discs.detach(), attributes.detach(), exponents, images, *view, flow, of_values
