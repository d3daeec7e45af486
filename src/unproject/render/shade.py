"""Shading: how much light points of a surface send to the eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..ops import shade as ops
from ..reference import shade as reference
from ..struct import TensorStruct
from .light import AmbientLight, Light, Places, arriving, check_lights

INTERPOLATIONS = ("phong", "gouraud", "flat")
REFLECTIONS = (*ops.REFLECTIONS, "unlit")
COLOR_SPACES = ("srgb", "linear")
TEXTURE_FILTERS = ("bilinear", "mipmap", "nearest")


@dataclass(frozen=True, kw_only=True)
class Shading:
    """How surfaces are shaded.

    Attributes:
        interpolation: "phong" lights every pixel with the interpolated normal, "gouraud" lights the corners of faces and interpolates the
            light, "flat" lights each face once, at its centre with its own normal.
        reflection: "phong" (highlight around the mirrored light), "blinn_phong" (around the half vector), "lambert" (no highlight),
            "unlit" (the surface's own colour, no lights).
        ambient: "material": ambient light is reflected by the ambient factors of materials (times textures); "diffuse": by the diffuse
            ones, which looks better for files whose exporter wrote some constant.
        two_sided: turn normals to the side that is seen. Otherwise the inside of a surface is lit from its outside only.
        color_space: "srgb": textures and vertex colours are sRGB-encoded and decoded first, light adds up linearly, and the image is
            encoded again, as screens and image files want it. "linear": all values are taken and given as they are.
        texture_filter: "bilinear", "mipmap" (trilinear, no aliasing from afar), or "nearest".
        wrap: outside of [0, 1], textures "repeat", "clamp" or "mirror"; a material's own `-clamp on` goes first.
        normal_maps: whether the normal textures of materials count.
    """

    interpolation: str = "phong"
    reflection: str = "phong"
    ambient: str = "material"
    two_sided: bool = True
    color_space: str = "srgb"
    texture_filter: str = "bilinear"
    wrap: str = "repeat"
    normal_maps: bool = True

    def __post_init__(self) -> None:
        choices = {
            "interpolation": INTERPOLATIONS, "reflection": REFLECTIONS, "color_space": COLOR_SPACES, "texture_filter": TEXTURE_FILTERS,
            "ambient": ("material", "diffuse"), "wrap": ("repeat", "clamp", "mirror"),
        }  # fmt: skip
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ArgumentError(f"Shading: `{name}` must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")


@dataclass(frozen=True, kw_only=True)
class Reflectance(TensorStruct):
    """What a surface does with light, at each point or for all: fields [..., 3] that broadcast with the points (shininess [...]).

    Attributes:
        ambient, diffuse, specular: linear factors a channel of the three terms of `shade_points`.
        emissive: light that the surface sends out by itself.
        shininess: Phong exponent, 0 or more.
    """

    ambient: Tensor
    diffuse: Tensor
    specular: Tensor
    emissive: Tensor
    shininess: Tensor


@dataclass(frozen=True, kw_only=True)
class LightTerms(TensorStruct):
    """Sums over all lights, [..., 3] each, before the surface's factors: ambient light, c_l cos(theta), and c_l cos(sigma)^p."""

    ambient: Tensor
    diffuse: Tensor
    specular: Tensor


def make_reflectance(
    ambient: Any = 1.0,
    diffuse: Any = 1.0,
    specular: Any = 0.0,
    shininess: Any = 10.0,
    emissive: Any = 0.0,
    *,
    dtype: torch.dtype | None = None,
) -> Reflectance:
    """A reflectance from numbers, lists or tensors; a number stands for all channels.

    The course's equation c = c_r (c_a + c_l cos(theta) + c_l c_p cos(sigma)^p) has ambient = diffuse = c_r and specular = c_r * c_p.
    """
    like = next((v for v in (ambient, diffuse, specular, shininess, emissive) if isinstance(v, Tensor)), torch.empty(0))
    kind = dtype or (like.dtype if like.is_floating_point() else torch.float32)
    convert = lambda v: torch.as_tensor(v, dtype=kind, device=like.device)
    color = lambda v: convert(v).expand(3) if convert(v).dim() == 0 else convert(v)
    fields = {"ambient": color(ambient), "diffuse": color(diffuse), "specular": color(specular), "emissive": color(emissive)}
    for name, value in fields.items():
        check_shape(value, [..., 3], name=name, where="make_reflectance")
    return Reflectance(**fields, shininess=convert(shininess))


def shade_points(
    positions: Tensor,
    normals: Tensor,
    toward_eye: Tensor,
    reflectance: Reflectance,
    lights: Sequence[Light] | Light,
    *,
    reflection: str = "phong",
) -> Tensor:
    """Colour of points: emissive + sum over lights of ambient c_a + c_l (diffuse cos(theta) + specular cos(sigma)^p).

    theta is the angle between the normal and the light; sigma that between the eye and the mirrored light ("phong") or between the normal
    and the half vector ("blinn_phong"). Both count only where the light is in front of the surface.

    Args:
        positions: [..., 3] world.
        normals: [..., 3] unit vectors, world.
        toward_eye: [..., 3] unit vectors from the points to the eye.
        reflectance: fields broadcast with the points.
        lights: any number; in the world's frame.
        reflection: "phong", "blinn_phong" or "lambert".

    Returns:
        [..., 3] linear colour, not cut at 1.

    Raises:
        ArgumentError: shapes, a light that is not whole, a light in the camera's frame, or an unknown reflection.

    Gradient: everything; finite where a light touches the surface and for black highlights.
    Source: Phong 1975; Blinn 1977; the course's chapter on shading.
    """
    where = "shade_points"
    for name, value in (("positions", positions), ("normals", normals), ("toward_eye", toward_eye)):
        check_shape(value, [..., 3], name=name, where=where)
    if reflection not in REFLECTIONS[:3]:
        raise ArgumentError(f"{where}: `reflection` must be one of {', '.join(REFLECTIONS[:3])}, got {reflection!r}")
    checked = check_lights(lights, where)
    for i, light in enumerate(checked):
        if getattr(light, "frame", "world") == "camera":
            raise ArgumentError(f"{where}: `lights[{i}]` is in the camera's frame, and there is no camera here; `render_mesh` knows it")
    dtype = torch.promote_types(torch.promote_types(positions.dtype, normals.dtype), toward_eye.dtype)
    lead = torch.broadcast_shapes(*(t.shape[:-1] for t in (positions, normals, toward_eye)), reflectance.shininess.shape)
    positions, normals, toward_eye = (t.to(dtype).expand(*lead, 3) for t in (positions, normals, toward_eye))
    places = Places(position=positions, world_from_camera=torch.eye(4).to(positions)[None], image=None)
    terms = light_terms(normals, toward_eye, checked, places, reflectance.shininess, reflection=reflection)
    return combine(terms, reflectance)


def combine(terms: LightTerms, reflectance: Reflectance) -> Tensor:
    """Colour [..., 3] of light on a surface."""
    r = reflectance
    return r.emissive + r.ambient * terms.ambient + r.diffuse * terms.diffuse + r.specular * terms.specular


def light_terms(
    normal: Tensor,
    toward_eye: Tensor,
    lights: Sequence[Light],
    places: Places,
    shininess: Tensor,
    *,
    reflection: str,
    visible: Sequence[Tensor | None] | None = None,
) -> LightTerms:
    """The light at points, unchecked.

    Args:
        normal, toward_eye: [..., 3] unit vectors at `places`.
        shininess: broadcasts with [...].
        visible: for each light, which points it reaches [...], or None for all.
    """
    run = ops.reflect_light if normal.device.type == "cpu" else reference.reflect_light
    lead = normal.shape[:-1]

    def rows(t: Tensor, width: int) -> Tensor:
        t = t.to(normal.dtype)
        return t.reshape(1, width) if t.numel() == width else t.expand(*lead, width).reshape(-1, width)

    seen = (normal.reshape(-1, 3), rows(toward_eye, 3))
    zero = torch.zeros_like(normal)
    ambient, diffuse, specular = zero.new_zeros(3), zero, zero
    for i, light in enumerate(lights):
        coming = arriving(light, normal, places)
        if coming.toward is None:
            if isinstance(light, AmbientLight):
                ambient = ambient + coming.color
            else:
                diffuse = diffuse + coming.color
            continue
        color = coming.color
        if visible is not None and visible[i] is not None:
            color = color * visible[i][..., None].to(normal.dtype)  # type: ignore[index]
        coming_rows = (rows(coming.toward, 3), rows(color, 3), rows(shininess[..., None], 1)[:, 0])
        ways = run(*seen, *coming_rows, reflection)
        diffuse, specular = (total + way.view(normal.shape) for total, way in zip((diffuse, specular), ways))
    return LightTerms(ambient=ambient, diffuse=diffuse, specular=specular)
