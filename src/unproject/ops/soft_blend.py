"""Operators: vertex attributes and depth of all faces near a pixel, softly blended, and their gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from .bands import far_nearness, plan_bands
from .examples import example
from .operator import operator
from .soft import LANES, SMALLEST

NOTHING = -1e30  # logarithm of a weight of 0
_HIDES = {torch.float32: 35.0, torch.float64: 80.0}  # exponents that lie this far below do not count


@operator("unproject::soft_blend")
def soft_blend(
    points: Tensor, faces: Tensor, images: Tensor, attributes: Tensor, attribute_bases: Tensor, exponents: Tensor, height: int, width: int,
    near: float, far: float, orthographic: bool, cull: bool, sigma: float, radius: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Blend all faces with weights coverage x exp(offset - slope z).

    Args:
        points, faces, images, sigma, radius: as ops.soft.soft_silhouette.
        attributes: [R, C] values of vertices; attribute_bases: int64 [B] what to add to a vertex index for its row, for each image.
        exponents: float64 [B, 2] offset and slope.

    Returns:
        Attributes [B, H, W, C] and depth [B, H, W] (weighted means, 0 where no face is near), transmittance [B, H, W], and the logarithm
        of the sum of all weights [B, H, W] (-1e30 where no face is near).
    """
    from ..kernels.soft_blend import blend_bands

    shape = (images.shape[0], height, width)
    blended = points.new_empty((*shape, attributes.shape[1]))
    depth, transmittance, weight = points.new_empty(shape), points.new_empty(shape), points.new_empty(shape)
    view = {"size": (height, width), "planes": (near, far), "orthographic": orthographic, "cull": cull, "radius": radius}
    bands = plan_bands(points, faces, images, **view)
    look = (far_nearness(far, orthographic), cull, float(radius), SMALLEST[points.dtype], 1.0 / sigma)
    values = (bands.scene[0], attributes.detach().numpy(), attribute_bases.numpy(), orthographic)
    out = (blended.numpy(), depth.numpy(), transmittance.numpy(), weight.numpy())
    bands.draw(blend_bands, *bands.lists, *values, look, exponents.numpy(), _HIDES[points.dtype], *out)
    return blended, depth, transmittance, weight


@operator("unproject::soft_blend_backward")
def soft_blend_backward(
    points: Tensor, faces: Tensor, images: Tensor, attributes: Tensor, attribute_bases: Tensor, exponents: Tensor, near: float, far: float,
    orthographic: bool, cull: bool, sigma: float, radius: float, transmittance: Tensor, weight: Tensor, flow: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Gradients of points [N, 3] and attributes [R, C].

    Args:
        flow: [4 + C, B, H, W] as kernels.soft_blend.blend_gradient takes it, not yet padded to whole lanes.
    """
    from ..kernels.soft_blend import blend_gradient

    count, height, width = transmittance.shape
    pitch = -(-width // LANES) * LANES
    padded = points.new_zeros((flow.shape[0], count, height, pitch))
    padded[1] = -NOTHING
    padded[..., :width] = flow
    view = {"size": (height, width), "planes": (near, far), "orthographic": orthographic, "cull": cull, "radius": radius}
    bands = plan_bands(points, faces, images, **view)
    look = (far_nearness(far, orthographic), cull, float(radius), SMALLEST[points.dtype], 1.0 / sigma)
    values = (bands.scene[0], attributes.detach().numpy(), attribute_bases.numpy(), orthographic)
    rest = (look, exponents.numpy(), _HIDES[points.dtype], (count, height, width, pitch), padded.view(-1).numpy())
    own = bool((attribute_bases.diff() >= attributes.shape[0] // max(count, 1)).all()) and count > 1

    def draw(begin: int, end: int, *totals: object) -> None:
        blend_gradient(begin, end, *bands.lists, *values, *rest, *totals)

    of_points, of_attributes = bands.accumulate(draw, (points.shape, True), (attributes.shape, own))
    return bands.unflatten(of_points), torch.from_numpy(of_attributes).to(points.dtype)


@soft_blend.register_fake
def _(
    points: Tensor, faces: Tensor, images: Tensor, attributes: Tensor, bases: Tensor, exponents: Tensor, height: int, width: int, *_: object
):
    shape = (images.shape[0], height, width)
    return points.new_empty((*shape, attributes.shape[1])), points.new_empty(shape), points.new_empty(shape), points.new_empty(shape)


@soft_blend_backward.register_fake
def _(points: Tensor, faces: Tensor, images: Tensor, attributes: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(points), torch.empty_like(attributes)


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:6], *output)
    ctx.view = inputs[8:]


def _backward(ctx, grad_blended: Tensor, grad_depth: Tensor, grad_transmittance: Tensor, grad_weight: Tensor):
    *scene, blended, depth, transmittance, weight = ctx.saved_tensors
    left = torch.where(transmittance > SMALLEST[transmittance.dtype], grad_transmittance * transmittance, 0)
    mean = (grad_blended * blended).sum(-1) + grad_depth * depth - grad_weight
    idle = ((grad_blended == 0).all(-1) & (grad_depth == 0) & (grad_weight == 0)) | (weight <= NOTHING)
    level = torch.where(idle, -NOTHING, weight)
    flow = torch.cat([torch.stack([left, level, grad_depth, mean]), grad_blended.movedim(-1, 0)])
    of_points, of_attributes = soft_blend_backward(*scene, *ctx.view, transmittance, weight, flow)
    return of_points, None, None, of_attributes, *([None] * 10)


soft_blend.register_autograd(_backward, setup_context=_save)


@example(soft_blend)
def _example(dtype: torch.dtype) -> tuple:
    points = torch.tensor([[2.0, 3, 1], [30, 4, 1.5], [8, 28, 2], [1, 1, 1.2]], dtype=dtype, requires_grad=True)
    faces, images = torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.tensor([[0, 2, 0]])
    attributes = torch.linspace(0, 1, 12, dtype=dtype).reshape(4, 3).requires_grad_()
    exponents = torch.tensor([[20.0, 10.0]], dtype=torch.float64)
    return points, faces, images, attributes, torch.tensor([0]), exponents, 24, 20, 0.1, 100.0, False, False, 1.5, 4.0


@example(soft_blend_backward)
def _example_backward(dtype: torch.dtype) -> tuple:
    *scene, height, width, near, far, orthographic, cull, sigma, radius = _example(dtype)
    scene = [t.detach() for t in scene]
    view = (near, far, orthographic, cull, sigma, radius)
    blended, depth, transmittance, weight = soft_blend(*scene, height, width, *view)
    flow = torch.cat([torch.stack([transmittance, weight, depth, depth]), blended.movedim(-1, 0)])
    return *scene, *view, transmittance, weight, flow
