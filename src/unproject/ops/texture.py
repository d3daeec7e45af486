"""Operators: lookup in a texture or a pyramid of them, and its gradients with respect to texels and coordinates."""

from __future__ import annotations

import torch
from torch import Tensor

from ..reference import texture as reference
from .dispatch import parallel_for
from .examples import example
from .operator import array_of, operator
from .twice import differentiate_twice

WRAPS = {"repeat": 0, "clamp": 1, "mirror": 2}
_GRAIN = 2048  # pixels worth a thread


@operator("unproject::texture")
def texture(texels: Tensor, sizes: Tensor, uvs: Tensor, level: Tensor, wrap_u: int, wrap_v: int, nearest: bool) -> Tensor:
    """Look up.

    Args:
        texels: [T, C] of all levels, row by row.
        sizes: int64 [L, 3] where each level begins in `texels`, its height and its width; none is empty.
        uvs: [P, 2] in units of the whole image, (0, 0) its lower left corner.
        level: [P] level of detail in 0 to L - 1, or [0] for level 0 everywhere; no gradient.
        wrap_u, wrap_v: values of WRAPS.
        nearest: the nearest texel instead of a mean of four.

    Returns:
        [P, C].
    """
    from ..kernels.texture import texture_range

    out = texels.new_empty((uvs.shape[0], texels.shape[1]))
    inputs = (array_of(texels), sizes.numpy(), array_of(uvs), array_of(level))
    parallel_for(texture_range, uvs.shape[0], *inputs, wrap_u, wrap_v, nearest, out.numpy(), grain=_GRAIN)
    return out


@operator("unproject::texture_texels_backward")
def texels_backward(rows: int, sizes: Tensor, uvs: Tensor, level: Tensor, wrap_u: int, wrap_v: int, nearest: bool, grad: Tensor) -> Tensor:
    """Gradient [rows, C] of the texels."""
    from ..kernels.texture import texels_range

    out = grad.new_zeros((rows, grad.shape[1]))
    inputs = (sizes.numpy(), array_of(uvs), array_of(level), wrap_u, wrap_v, nearest, array_of(grad), out.numpy())
    slices = 1 if uvs.shape[0] < 4 * _GRAIN else torch.get_num_threads()  # each goes through all pixels
    parallel_for(texels_range, rows, *inputs, slices=slices)
    return out


@operator("unproject::texture_uvs_backward")
def uvs_backward(
    texels: Tensor, sizes: Tensor, uvs: Tensor, level: Tensor, wrap_u: int, wrap_v: int, nearest: bool, grad: Tensor
) -> Tensor:
    """Gradient [P, 2] of the coordinates."""
    from ..kernels.texture import uvs_range

    out = uvs.new_empty(uvs.shape)
    inputs = (array_of(texels), sizes.numpy(), array_of(uvs), array_of(level))
    parallel_for(uvs_range, uvs.shape[0], *inputs, wrap_u, wrap_v, nearest, array_of(grad), out.numpy(), grain=_GRAIN)
    return out


@texture.register_fake
def _(texels: Tensor, sizes: Tensor, uvs: Tensor, *_: object) -> Tensor:
    return texels.new_empty((uvs.shape[0], texels.shape[1]))


@texels_backward.register_fake
def _(rows: int, sizes: Tensor, uvs: Tensor, level: Tensor, wrap_u: int, wrap_v: int, nearest: bool, grad: Tensor) -> Tensor:
    return grad.new_empty((rows, grad.shape[1]))


@uvs_backward.register_fake
def _(texels: Tensor, sizes: Tensor, uvs: Tensor, *_: object) -> Tensor:
    return uvs.new_empty(uvs.shape)


def _save(ctx, inputs, output) -> None:
    texels, ctx.sizes, uvs, level, *ctx.look = inputs
    ctx.save_for_backward(texels, uvs, level)


def _backward(ctx, grad: Tensor):
    texels, uvs, level = ctx.saved_tensors
    place = (ctx.sizes, uvs, level, *ctx.look)
    of_texels = texels_backward(texels.shape[0], *place, grad) if ctx.needs_input_grad[0] else None
    of_uvs = uvs_backward(texels, *place, grad) if ctx.needs_input_grad[2] else None
    return of_texels, None, of_uvs, None, None, None, None


def _save_texels(ctx, inputs, output) -> None:
    _, ctx.sizes, uvs, level, *ctx.look, grad = inputs
    ctx.save_for_backward(uvs, level, grad)


def _texels_again(ctx, cotangent: Tensor):
    uvs, level, grad = ctx.saved_tensors
    place = (ctx.sizes, uvs, level, *ctx.look)
    of_uvs = uvs_backward(cotangent, *place, grad) if ctx.needs_input_grad[2] else None
    of_grad = texture(cotangent, *place) if ctx.needs_input_grad[7] else None
    return None, None, of_uvs, None, None, None, None, of_grad


def _save_uvs(ctx, inputs, output) -> None:
    texels, ctx.sizes, uvs, level, *ctx.look, grad = inputs
    ctx.save_for_backward(texels, uvs, level, grad)


def _uvs_again(ctx, cotangent: Tensor):
    texels, uvs, level, grad = ctx.saved_tensors
    twin = lambda of_texels, of_uvs: reference.texture(of_texels, ctx.sizes, of_uvs, level, *ctx.look)
    of_texels, of_uvs, of_grad = differentiate_twice(twin, [texels, uvs], [grad], [None, cotangent])
    return of_texels, None, of_uvs, None, None, None, None, of_grad


texture.register_autograd(_backward, setup_context=_save)
texels_backward.register_autograd(_texels_again, setup_context=_save_texels)
uvs_backward.register_autograd(_uvs_again, setup_context=_save_uvs)


@example(texture)
def _example(dtype: torch.dtype) -> tuple:
    texels = torch.linspace(-1, 1, 2 * 14, dtype=dtype).reshape(14, 2).requires_grad_()
    uvs = torch.tensor([[0.2, 0.3], [1.3, -0.2], [0.5, 0.9]], dtype=dtype, requires_grad=True)
    return texels, torch.tensor([[0, 3, 4], [12, 1, 2]]), uvs, torch.tensor([0, 0.4, 2.0], dtype=dtype), 0, 2, False


@example(texels_backward)
def _example_texels(dtype: torch.dtype) -> tuple:
    texels, *place = _example(dtype)
    return texels.shape[0], *place, torch.ones(3, 2, dtype=dtype, requires_grad=True)


@example(uvs_backward)
def _example_uvs(dtype: torch.dtype) -> tuple:
    return *_example(dtype), torch.ones(3, 2, dtype=dtype, requires_grad=True)
