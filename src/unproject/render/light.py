"""Lights: values that say where light comes from, and what of it arrives at a point.

All colours are linear RGB intensities; 1 lights a white surface that faces the light to full white (no factor of pi). Every field may be a
number, a list or a tensor, and is differentiable. A leading dimension [..., 3] gives each image of a batch its own light. With
frame="camera", positions and directions are in camera coordinates (x right, y down, z forward): the light moves with the camera.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError, ArgumentTypeError, describe
from ..struct import TensorStruct
from .vectors import dot, unit_and_length

FRAMES = ("world", "camera")


@dataclass(frozen=True, kw_only=True)
class AmbientLight(TensorStruct):
    """The same light from everywhere.

    Attributes:
        color: [..., 3].
    """

    color: Any = (1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class DirectionalLight(TensorStruct):
    """Parallel light from far away.

    Attributes:
        direction: [..., 3] which way the light shines (from the light to the scene), any length but 0.
        color: [..., 3].
        frame: "world" or "camera".
    """

    direction: Any
    color: Any = (1.0, 1.0, 1.0)
    frame: str = "world"


@dataclass(frozen=True, kw_only=True)
class PointLight(TensorStruct):
    """Light from a point.

    Attributes:
        position: [..., 3] scene units.
        color: [..., 3].
        attenuation: [..., 3] (c, l, q): the light is divided by c + l d + q d^2 at distance d; None for no attenuation.
        frame: "world" or "camera".
    """

    position: Any
    color: Any = (1.0, 1.0, 1.0)
    attenuation: Any = None
    frame: str = "world"


@dataclass(frozen=True, kw_only=True)
class SpotLight(TensorStruct):
    """Light from a point into a cone.

    Attributes:
        position: [..., 3] scene units.
        direction: [..., 3] the cone's axis, away from the light.
        inner_deg, outer_deg: [...] angles from the axis, degrees: full light up to the first, none beyond the second, smooth between.
        color: [..., 3].
        attenuation: as PointLight.
        frame: "world" or "camera".
    """

    position: Any
    direction: Any
    inner_deg: Any = 20.0
    outer_deg: Any = 30.0
    color: Any = (1.0, 1.0, 1.0)
    attenuation: Any = None
    frame: str = "world"


@dataclass(frozen=True, kw_only=True)
class SphericalHarmonicsLight(TensorStruct):
    """Light from all around, as spherical harmonics of the radiance that comes from each direction.

    What arrives at a normal n is the sum over l, m of A_l / pi * L_lm * Y_lm(n) with A = pi, 2 pi / 3, pi / 4, so that light of radiance 1
    from everywhere (L_00 = sqrt(4 pi), others 0) is AmbientLight(color=1). Negative light (of odd coefficients) is cut at 0.

    Attributes:
        coefficients: [..., K, 3] with K = 1, 4 or 9, in the order (0, 0), (1, -1), (1, 0), (1, 1), (2, -2), ..., (2, 2); world frame, real
            harmonics without the Condon-Shortley phase: Y_1 is proportional to (y, z, x).
    Source: Ramamoorthi and Hanrahan 2001, An efficient representation for irradiance environment maps.
    """

    coefficients: Any


Light = AmbientLight | DirectionalLight | PointLight | SpotLight | SphericalHarmonicsLight


@dataclass(frozen=True, kw_only=True)
class Arriving(TensorStruct):
    """What one light brings to points.

    Attributes:
        color: [..., 3] light that arrives, before any cosine.
        toward: [..., 3] unit vectors to the light, [3] for all points; None where the light has no direction and meets every normal alike.
        distance: [...] to the light, infinite for parallel light; None without a direction.
    """

    color: Tensor
    toward: Tensor | None = None
    distance: Tensor | float | None = None


@dataclass(frozen=True, kw_only=True)
class Places(TensorStruct):
    """Where points are, for lights with a frame or a batch.

    Attributes:
        position: [P, 3] world.
        world_from_camera: [B, 4, 4] of each image.
        image: [P] image of each point; None where all are of the first.
        batch: the batch shape of the images, whose product is B.
    """

    position: Tensor
    world_from_camera: Tensor
    image: Tensor | None
    batch: tuple[int, ...] = ()


def check_lights(lights: Any, where: str) -> tuple[Light, ...]:
    """The lights as a tuple, each checked.

    Raises:
        ArgumentTypeError: something else than a light.
        ArgumentError: wrong shapes or values; the message names the light and the field.
    """
    if isinstance(lights, Light):
        lights = (lights,)
    if not isinstance(lights, Sequence):
        raise ArgumentTypeError(f"{where}: `lights` must be a list of lights, got {describe(lights)}")
    for i, light in enumerate(lights):
        if not isinstance(light, Light):
            raise ArgumentTypeError(f"{where}: `lights[{i}]` must be a light such as PointLight, got {describe(light)}")
        _check_light(light, f"{where}: `lights[{i}]", where)
    return tuple(lights)


def _check_light(light: Light, name: str, where: str) -> None:
    frame = getattr(light, "frame", "world")
    if frame not in FRAMES:
        raise ArgumentError(f'{name}.frame` must be "world" or "camera", got {frame!r}')
    for field in ("color", "position", "direction", "attenuation", "coefficients", "inner_deg", "outer_deg"):
        value = getattr(light, field, None)
        if value is None:
            continue
        try:
            tensor = torch.as_tensor(value).detach()
        except (TypeError, ValueError, RuntimeError):
            raise ArgumentTypeError(f"{name}.{field}` must be numbers or a tensor, got {describe(value)}") from None
        if not bool(torch.isfinite(tensor).all()):
            raise ArgumentError(f"{name}.{field}` has a NaN or infinite value")
        wanted = {"coefficients": "[..., 1, 4 or 9, 3]", "inner_deg": "", "outer_deg": ""}.get(field, "[..., 3]")
        fits = not wanted or (tensor.dim() >= 1 and tensor.shape[-1] == 3)
        if field == "coefficients":
            fits = fits and tensor.dim() >= 2 and tensor.shape[-2] in (1, 4, 9)
        if not fits:
            raise ArgumentError(f"{name}.{field}` must be {wanted}, got {describe(tensor)}")
        if field == "direction" and not bool((tensor != 0).any(-1).all()):
            raise ArgumentError(f"{name}.direction` must not be zero")
    if isinstance(light, SpotLight):
        inner, outer = torch.as_tensor(light.inner_deg).detach(), torch.as_tensor(light.outer_deg).detach()
        if not bool(((inner >= 0) & (inner < outer) & (outer <= 180)).all()):
            raise ArgumentError(f"{name}` needs 0 <= inner_deg < outer_deg <= 180, got {light.inner_deg!r} and {light.outer_deg!r}")


def arriving(light: Light, normal: Tensor, places: Places) -> Arriving:
    """What a light brings to points with normals [P, 3].

    Gradient: all fields of the light, positions and (spherical harmonics) normals; finite at the light itself.
    """
    if isinstance(light, SphericalHarmonicsLight):
        return Arriving(color=_irradiance(_spread(light.coefficients, places, 2), normal))
    color = _spread(light.color, places, 1)
    if isinstance(light, AmbientLight):
        return Arriving(color=color)
    if isinstance(light, DirectionalLight):
        toward = -unit_and_length(_direction(light, places))[0]
        return Arriving(color=color, toward=toward, distance=math.inf)
    position = _spread(light.position, places, 1)
    if light.frame == "camera":
        pose = _each(places.world_from_camera, places)
        position = (pose[..., :3, :3] @ position[..., None])[..., 0] + pose[..., :3, 3]
    toward, distance = unit_and_length(position - places.position)
    if isinstance(light, SpotLight):
        cosine = -dot(toward, unit_and_length(_direction(light, places))[0])[..., 0]
        inner, outer = (torch.cos(_spread(angle, places, 0) * (math.pi / 180)) for angle in (light.inner_deg, light.outer_deg))
        t = ((cosine - outer) / (inner - outer)).clamp(0, 1)
        color = color * (t * t * (3 - 2 * t))[..., None]
    if light.attenuation is not None:
        c, linear, quadratic = _spread(light.attenuation, places, 1).unbind(-1)
        divisor = c + linear * distance + quadratic * distance * distance
        color = color / divisor.clamp_min(torch.finfo(distance.dtype).tiny ** 0.5)[..., None]
    return Arriving(color=color, toward=toward, distance=distance)


def _direction(light: DirectionalLight | SpotLight, places: Places) -> Tensor:
    direction = _spread(light.direction, places, 1)
    if light.frame == "world":
        return direction
    return (_each(places.world_from_camera[..., :3, :3], places) @ direction[..., None])[..., 0]


def _spread(value: Any, places: Places, dims: int) -> Tensor:
    """A field with `dims` own dimensions as one for all points, or as one for each point if images have own ones."""
    tensor = torch.as_tensor(value).to(places.position)
    lead = tensor.shape[: tensor.dim() - dims]
    if lead.numel() == 1:
        return tensor.reshape(tensor.shape[tensor.dim() - dims :])
    try:
        each = tensor.expand(*places.batch, *tensor.shape[tensor.dim() - dims :])
    except RuntimeError:
        raise ArgumentError(f"render_mesh: a light for each of {list(lead)} images, but the images are {list(places.batch)}") from None
    return _each(each.reshape(-1, *each.shape[len(places.batch) :]), places)


def _each(values: Tensor, places: Places) -> Tensor:
    """Values of images for each point."""
    return values[0] if values.shape[0] == 1 or places.image is None else values[places.image]


def _irradiance(coefficients: Tensor, normal: Tensor) -> Tensor:
    x, y, z = normal.unbind(-1)
    basis = [torch.full_like(x, 0.5 / math.sqrt(math.pi))]
    count = coefficients.shape[-2]
    if count > 1:
        basis += [(2 / 3) * math.sqrt(3 / (4 * math.pi)) * v for v in (y, z, x)]
    if count > 4:
        a, b, c = (0.25 * math.sqrt(k / math.pi) for k in (15 / 4, 5 / 16, 15 / 16))
        basis += [a * x * y, a * y * z, b * (3 * z * z - 1), a * x * z, c * (x * x - y * y)]
    table = torch.stack(basis, -1)
    return (table[..., None] * coefficients).sum(-2).clamp_min(0)
