"""Volumes of density and colour: emission and absorption along rays, differentiable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..geometry.voxels import VoxelGrid, sample_grid
from ..struct import TensorStruct, broadcast_shapes
from .sphere_trace import box_range

Field = Callable[[Float[Tensor, "N 3"]], tuple[Float[Tensor, "N"], Float[Tensor, "N C"]]]


@dataclass(frozen=True, kw_only=True)
class VolumeImage(TensorStruct):
    """What rays gather. Leading dimensions are those of the rays.

    Attributes:
        color: [..., C] with the background behind it.
        opacity: [...] in [0, 1], what the volume stops of the background's light.
        distance: [...] expected parameter of the ray where its light comes from, weighted by opacity; 0 where nothing is.
    """

    color: Tensor
    opacity: Tensor
    distance: Tensor


def composite(
    density: Float[Tensor, "... S"],
    color: Float[Tensor, "... S C"],
    lengths: Float[Tensor, "... S"],
    *,
    places: Float[Tensor, "... S"],
    background: float | Float[Tensor, "C"] = 0.0,
) -> VolumeImage:
    """Emission and absorption over samples along rays, front to back.

    Args:
        density: extinction per world unit, not negative.
        color: emitted light.
        lengths: world length that each sample stands for.
        places: parameter of each sample on its ray.
        background: light from behind.

    Gradient: density, color, lengths, background. Source: Max 1995; Mildenhall et al. 2020, eq. 3.
    """
    thickness = density * lengths
    through = torch.exp(-torch.cumsum(thickness, dim=-1))
    before = torch.cat([torch.ones_like(through[..., :1]), through[..., :-1]], dim=-1)
    weight = before * -torch.expm1(-thickness)
    opacity = weight.sum(-1)
    behind = torch.as_tensor(background, dtype=color.dtype, device=color.device)
    light = (weight[..., None] * color).sum(-2) + (1 - opacity)[..., None] * behind
    solid = opacity > 1e-6
    distance = torch.where(solid, (weight * places).sum(-1) / torch.where(solid, opacity, 1), 0)
    return VolumeImage(color=light, opacity=opacity, distance=distance)


def march_rays(
    field: Field,
    origins: Float[Tensor, "... 3"],
    directions: Float[Tensor, "... 3"],
    *,
    near: float | Tensor,
    far: float | Tensor,
    samples: int = 64,
    background: float | Float[Tensor, "C"] = 0.0,
    jitter: torch.Generator | None = None,
) -> VolumeImage:
    """Render a field by equal steps along rays.

    Args:
        field: world points [N, 3] to (density [N] per world unit, colour [N, C]), in torch.
        origins, directions: [..., 3] each, broadcast; directions need not be unit vectors.
        near, far: the part of the ray that is sampled, in lengths of the direction; numbers or [...]. Rays with far <= near see the
            background.
        samples: on each ray.
        background: light from behind.
        jitter: moves each sample randomly within its step, which trades bands for noise; None takes the middles.

    Gradient: what the field depends on, origins and directions.
    """
    check_shape(origins, [..., 3], name="origins", where="march_rays")
    check_shape(directions, [..., 3], name="directions", where="march_rays")
    if samples < 1:
        raise ArgumentError(f"march_rays: `samples` must be positive, got {samples}")
    origins, directions = torch.broadcast_tensors(origins, directions)
    shape = origins.shape[:-1]
    first = torch.as_tensor(near, dtype=origins.dtype, device=origins.device).expand(shape)[..., None]
    span = (torch.as_tensor(far, dtype=origins.dtype, device=origins.device).expand(shape)[..., None] - first).clamp_min(0)
    steps = torch.arange(samples, dtype=origins.dtype, device=origins.device).expand(*shape, samples)
    inside = 0.5 if jitter is None else torch.rand(steps.shape, generator=jitter, dtype=origins.dtype).to(origins.device)
    places = first + span * (steps + inside) / samples
    points = origins[..., None, :] + places[..., None] * directions[..., None, :]
    lengths = (span / samples * torch.linalg.vector_norm(directions, dim=-1, keepdim=True)).expand(places.shape)
    density, color = field(points.reshape(-1, 3))
    count = points.shape[:-1].numel()
    if density.shape != (count,) or color.shape[:1] != (count,) or color.dim() != 2:
        got = f"{list(density.shape)} and {list(color.shape)}"
        raise ArgumentError(f"march_rays: `field` must return densities [{count}] and colours [{count}, C], got {got}")
    return composite(
        density.reshape(places.shape), color.reshape(*places.shape, color.shape[1]), lengths, places=places, background=background
    )


def render_volume(
    grid: VoxelGrid,
    origins: Float[Tensor, "... 3"],
    directions: Float[Tensor, "... 3"],
    *,
    samples: int = 64,
    background: float | Float[Tensor, "C"] = 0.0,
    jitter: torch.Generator | None = None,
) -> VolumeImage:
    """Render a dense grid [X, Y, Z, 1 + C] of density (per world unit, not negative) and colour, within its box.

    Source: as composite; trilinear interpolation of density and colour. Gradient: the grid's values and transform, origins and directions.
    """
    check_shape(grid.values, ["X", "Y", "Z", "1 + C"], name="grid.values", where="render_volume")
    shape = broadcast_shapes(origins.shape, directions.shape)
    near, far = box_range(grid, origins.expand(shape), directions.expand(shape))

    def field(points: Tensor) -> tuple[Tensor, Tensor]:
        values = sample_grid(grid, points)
        return values[:, 0].clamp_min(0), values[:, 1:]

    return march_rays(field, origins, directions, near=near, far=far, samples=samples, background=background, jitter=jitter)
