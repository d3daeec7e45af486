"""Operators: vectors of length 1, and the light of one source that points of a surface send to the eye."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..reference import shade as reference
from .dispatch import for_each_slice, parallel_for
from .examples import example
from .operator import array_of, operator
from .twice import differentiate_twice

REFLECTIONS = reference.REFLECTIONS
_GRAIN = 4096
_SLOTS = 8  # gradient accumulators of what all points share


@operator("unproject::unit_vectors")
def unit_vectors(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors [P, 3] of length 1, and their lengths [P]; both 0, with gradient 0, where the length is 0 or its square underflows."""
    from ..kernels.shade import unit_range

    units, lengths = vectors.new_empty(vectors.shape), vectors.new_empty(vectors.shape[0])
    tiny = torch.finfo(vectors.dtype).tiny
    parallel_for(unit_range, vectors.shape[0], array_of(vectors), tiny, units.numpy(), lengths.numpy(), grain=_GRAIN)
    return units, lengths


@operator("unproject::unit_vectors_backward")
def unit_vectors_backward(vectors: Tensor, units: Tensor, lengths: Tensor, of_units: Tensor, of_lengths: Tensor) -> Tensor:
    """Gradient of the vectors [P, 3], from both results of unit_vectors and their gradients."""
    from ..kernels.shade import unit_gradient

    out = torch.empty_like(units)
    inputs = (array_of(units), array_of(lengths), array_of(of_units), array_of(of_lengths))
    parallel_for(unit_gradient, units.shape[0], *inputs, out.numpy(), grain=_GRAIN)
    return out


@operator("unproject::reflect_light")
def reflect_light(
    normal: Tensor, toward_eye: Tensor, toward: Tensor, color: Tensor, shininess: Tensor, reflection: str
) -> tuple[Tensor, Tensor]:
    """Light before the surface's factors: diffuse c cos(theta) and specular c cos(sigma)^p, [P, 3] each.

    theta is the angle between normal and light, sigma that between the eye and the mirrored light ("phong") or between the normal and the
    half vector ("blinn_phong"). Both count only where the light is in front of the surface.

    Args:
        normal: [P, 3] unit vectors.
        toward_eye, toward: [P, 3] unit vectors to the eye and to the light, or [1, 3] for all points.
        color: [P, 3] or [1, 3] light that arrives.
        shininess: [P] or [1] exponent p, 0 or more.
        reflection: one of REFLECTIONS; "lambert" has no specular light.
    """
    from ..kernels.shade import reflect_range

    diffuse, specular = torch.empty_like(normal), torch.empty_like(normal)
    inputs = [array_of(t) for t in (normal, toward_eye, toward, color, shininess)]
    parallel_for(reflect_range, normal.shape[0], *inputs, REFLECTIONS.index(reflection), diffuse.numpy(), specular.numpy(), grain=_GRAIN)
    return diffuse, specular


@operator("unproject::reflect_light_backward")
def reflect_light_backward(
    normal: Tensor, toward_eye: Tensor, toward: Tensor, color: Tensor, shininess: Tensor, reflection: str, of_diffuse: Tensor,
    of_specular: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of the first five arguments from those of both results."""
    from ..kernels.shade import reflect_gradient

    inputs, count = (normal, toward_eye, toward, color, shininess), normal.shape[0]
    slots = 1 if count < 2 * _GRAIN else _SLOTS
    shared = [t.shape[0] == 1 and count > 1 for t in inputs]
    totals = [np.zeros((slots if one else 1, *t.shape), array_of(t).dtype) for t, one in zip(inputs, shared)]
    arrays = [array_of(t) for t in inputs]
    flows = (array_of(of_diffuse), array_of(of_specular))

    def run(slot: int, begin: int, end: int) -> None:
        own = [total[slot if one else 0] for total, one in zip(totals, shared)]
        reflect_gradient(begin, end, *arrays, REFLECTIONS.index(reflection), *flows, *own)

    for_each_slice(run, count, slices=slots)
    of_normal, of_eye, of_toward, of_color, of_shininess = (
        torch.from_numpy(total.sum(0) if len(total) > 1 else total[0]) for total in totals
    )
    return of_normal, of_eye, of_toward, of_color, of_shininess


@unit_vectors.register_fake
def _(vectors: Tensor) -> tuple[Tensor, Tensor]:
    return vectors.new_empty(vectors.shape), vectors.new_empty(vectors.shape[0])


@unit_vectors_backward.register_fake
def _(vectors: Tensor, units: Tensor, *_: Tensor) -> Tensor:
    return torch.empty_like(units)


@reflect_light.register_fake
def _(normal: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(normal), torch.empty_like(normal)


@reflect_light_backward.register_fake
def _(normal: Tensor, toward_eye: Tensor, toward: Tensor, color: Tensor, shininess: Tensor, *_: object):
    a, b, c, d, e = (t.new_empty(t.shape) for t in (normal, toward_eye, toward, color, shininess))
    return a, b, c, d, e


def _save_unit(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs, *output)


def _unit_backward(ctx, of_units: Tensor, of_lengths: Tensor):
    return unit_vectors_backward(*ctx.saved_tensors, of_units, of_lengths)


def _save_unit_backward(ctx, inputs, output) -> None:
    ctx.save_for_backward(inputs[0], *inputs[3:])


def _unit_again(ctx, cotangent: Tensor):
    vectors, *flows = ctx.saved_tensors
    of_vectors, of_units, of_lengths = differentiate_twice(reference.unit_vectors, [vectors], flows, [cotangent])
    return of_vectors, None, None, of_units, of_lengths


def _save_reflect(ctx, inputs, output) -> None:
    *tensors, ctx.reflection = inputs
    ctx.save_for_backward(*tensors)


def _reflect_backward(ctx, of_diffuse: Tensor, of_specular: Tensor):
    return *reflect_light_backward(*ctx.saved_tensors, ctx.reflection, of_diffuse, of_specular), None


def _save_reflect_backward(ctx, inputs, output) -> None:
    ctx.reflection = inputs[5]
    ctx.save_for_backward(*inputs[:5], *inputs[6:])


def _reflect_again(ctx, *cotangents: Tensor):
    *inputs, of_diffuse, of_specular = ctx.saved_tensors
    twin = lambda n, e, to, c, s: reference.reflect_light(n, e, to, c, s, ctx.reflection)
    *of_inputs, first, second = differentiate_twice(twin, inputs, [of_diffuse, of_specular], cotangents)
    return *of_inputs, None, first, second


unit_vectors.register_autograd(_unit_backward, setup_context=_save_unit)
unit_vectors_backward.register_autograd(_unit_again, setup_context=_save_unit_backward)
reflect_light.register_autograd(_reflect_backward, setup_context=_save_reflect)
reflect_light_backward.register_autograd(_reflect_again, setup_context=_save_reflect_backward)


@example(unit_vectors)
def _example_unit(dtype: torch.dtype) -> tuple:
    return (torch.tensor([[1.0, 2, -2], [0, 0.5, 0], [3, -1, 0.2]], dtype=dtype, requires_grad=True),)


@example(unit_vectors_backward)
def _example_unit_backward(dtype: torch.dtype) -> tuple:
    (vectors,) = _example_unit(dtype)
    units, lengths = unit_vectors(vectors.detach())
    return vectors, units, lengths, torch.ones_like(vectors, requires_grad=True), torch.ones_like(lengths, requires_grad=True)


@example(reflect_light)
def _example_reflect(dtype: torch.dtype) -> tuple:
    normal = unit_vectors(torch.tensor([[0.1, 0.2, 1], [0, -0.3, 1]], dtype=dtype))[0]
    eye, toward = unit_vectors(torch.tensor([[0.3, 0, 1], [0.2, 0.4, 0.8]], dtype=dtype))[0].split(1)
    color, shininess = torch.tensor([[0.9, 0.5, 0.2]], dtype=dtype), torch.tensor([6.0], dtype=dtype)
    return *(t.detach().clone().requires_grad_() for t in (normal, eye, toward, color, shininess)), "phong"


@example(reflect_light_backward)
def _example_reflect_backward(dtype: torch.dtype) -> tuple:
    inputs = _example_reflect(dtype)
    return *inputs, *(torch.ones_like(inputs[0]).requires_grad_() for _ in range(2))
