"""Materials of a mesh, ready for shading: factors in tables, textures to be looked up by pixel.

The fourth channel of a diffuse texture or of vertex colours counts as opacity only where the material says so, as glTF does: with
("alphaMode", "BLEND") or ("alphaMode", "MASK") in its parameters. Many images have one that means nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ArgumentError
from ..geometry.material import Material
from ..struct import TensorStruct
from .color import linear_from_srgb
from .shade import Reflectance, Shading
from .texture import Mipmap, build_mipmap, level_of_detail, sample_texture

_COLORS = ("diffuse_texture", "specular_texture", "emissive_texture")
_TEXTURES = (*_COLORS, "normal_texture", "roughness_texture", "metallic_texture", "occlusion_texture", "opacity_texture")
_KEYS = {"diffuse_texture": "map_Kd", "specular_texture": "map_Ks", "emissive_texture": "map_Ke"}
_DIELECTRIC = 0.04  # share of light that glass and plastic reflect straight on
_SHININESS = (1.0, 2000.0)


@dataclass(frozen=True, kw_only=True)
class Appearance(TensorStruct):
    """Materials with what can be computed once: pass it to `render_mesh` in a loop where they do not change.

    Attributes:
        materials: as the mesh has them, and the default one as the last, for faces without.
        pyramids: for each material, the pyramids of its textures by field name; empty without mipmapping.
        shading: what it was made for.
    """

    materials: tuple[Material, ...]
    pyramids: tuple[dict[str, Mipmap], ...]
    shading: Shading


@dataclass(frozen=True, kw_only=True)
class SurfaceColor(TensorStruct):
    """What pixels are made of.

    Attributes:
        reflectance: fields [P, 3] and [P], or one for all.
        opacity: [P], or None where everything is opaque.
        tangent_normal: [P, 3] normals of normal textures in the tangent frame, not of unit length; None without any.
    """

    reflectance: Reflectance
    opacity: Tensor | None
    tangent_normal: Tensor | None


def make_appearance(materials: Sequence[Material], shading: Shading) -> Appearance:
    """Prepare materials: builds pyramids for texture_filter="mipmap" (of linear colours, if shading is in sRGB).

    Gradient: textures.
    """
    every = (*materials, Material())
    if shading.texture_filter != "mipmap":
        return Appearance(materials=every, pyramids=tuple({} for _ in every), shading=shading)
    built: dict[tuple[int, bool], Mipmap] = {}
    pyramids = []
    for material in every:
        mine = {}
        for name in _TEXTURES:
            texture = getattr(material, name)
            if texture is not None:
                decode = name in _COLORS and shading.color_space == "srgb"
                key = (id(texture), decode)
                if key not in built:
                    built[key] = build_mipmap(_decoded(texture) if decode else texture)
                mine[name] = built[key]
        pyramids.append(mine)
    return Appearance(materials=every, pyramids=tuple(pyramids), shading=shading)


def surface_color(
    appearance: Appearance,
    material: Tensor | None,
    uvs: Tensor | None,
    *,
    tint: Tensor | None,
    footprint: Callable[[], Tensor],
    like: Tensor,
) -> SurfaceColor:
    """Materials at pixels.

    Args:
        material: [P] index of the material, -1 for none; None where all have the first one.
        uvs: [P, 2], or None where the mesh has none: then textures do not count.
        tint: [P, 3 or 4] colours of vertices or faces, linear if the shading is in sRGB; they multiply those of the material. Or None.
        footprint: gives [P, 2, 2] change of the uvs over a pixel; called for mipmaps only.
        like: [P, ...] for type, device and P.
    """
    lookup = _Lookup(appearance, material, uvs, footprint, like)
    base, textured = lookup.factor("diffuse"), lookup.texture("diffuse_texture", (3, 4))
    color = base if textured is None else base * textured[:, :3]
    ambient = lookup.factor("ambient") if textured is None else lookup.factor("ambient") * textured[:, :3]
    if tint is not None:
        color, ambient = color * tint[:, :3], ambient * tint[:, :3]
    specular, shininess = lookup.factor("specular"), lookup.factor("shininess")
    shine = lookup.texture("specular_texture", (3,))
    specular = specular if shine is None else specular * shine
    if lookup.has_metal:
        color, ambient, specular, shininess = lookup.metallic_roughness(color, ambient, specular, shininess)
    if appearance.shading.ambient == "diffuse" and not lookup.has_metal:
        ambient = color
    occlusion = lookup.texture("occlusion_texture", (1,))
    ambient = ambient if occlusion is None else ambient * occlusion
    emissive, glow = lookup.factor("emissive"), lookup.texture("emissive_texture", (3,))
    emissive = emissive if glow is None else emissive * glow
    reflectance = Reflectance(ambient=ambient, diffuse=color, specular=specular, emissive=emissive, shininess=shininess)
    normal = lookup.texture("normal_texture", (3,)) if appearance.shading.normal_maps else None
    opacity = lookup.opacity([values[:, 3] for values in (textured, tint) if values is not None and values.shape[1] == 4])
    return SurfaceColor(reflectance=reflectance, opacity=opacity, tangent_normal=normal)


def is_opaque(appearance: Appearance) -> bool:
    """Whether no material lets anything through."""
    return all(
        m.opacity_texture is None and dict(m.parameters).get("alphaMode", "OPAQUE") == "OPAQUE" and float(m.opacity.detach()) >= 1.0
        for m in appearance.materials
    )


class _Lookup:
    """Factors and textures of materials at pixels. Missing textures count as 1 (of normals: as straight up)."""

    def __init__(self, appearance: Appearance, material: Tensor | None, uvs: Tensor | None, footprint: Callable[[], Tensor], like: Tensor):
        self.materials, self.pyramids, self.shading = appearance.materials, appearance.pyramids, appearance.shading
        self.uvs, self.like, self._footprint, self._found = uvs, like, footprint, None
        last = len(self.materials) - 1
        if material is None:
            self.number, self.used = None, [0]
        else:
            self.number = torch.where(material < 0, last, material)
            self.used = torch.bincount(self.number, minlength=last + 1).nonzero()[:, 0].tolist() or [last]
            if len(self.used) == 1:
                self.number = None
        self._rows: dict[int, Tensor | None] = {}
        self.has_metal = any(_is_metallic_roughness(self.materials[m]) for m in self.used)

    def factor(self, name: str) -> Tensor:
        """[P, ...] of each pixel, or [...] where all share one."""
        if self.number is None:
            return getattr(self.materials[self.used[0]], name).to(self.like)
        table = torch.stack([getattr(material, name).to(self.like) for material in self.materials])
        return table.index_select(0, self.number)

    def optional_factor(self, name: str, default: float) -> Tensor:
        value = lambda m: self.like.new_tensor(default) if getattr(m, name) is None else getattr(m, name).to(self.like).reshape(())
        if self.number is None:
            return value(self.materials[self.used[0]])
        return torch.stack([value(m) for m in self.materials]).index_select(0, self.number)

    def rows(self, m: int) -> Tensor | None:
        """The pixels of a material; None for all."""
        if self.number is None:
            return None
        if m not in self._rows:
            self._rows[m] = (self.number == m).nonzero()[:, 0]
        return self._rows[m]

    def texture(self, name: str, channels: Sequence[int]) -> Tensor | None:
        """[P, C] a texture at the pixels, colours decoded to linear; None where no material that is seen has it."""
        owners = [m for m in self.used if getattr(self.materials[m], name) is not None]
        if not owners or self.uvs is None:
            return None
        parts = [self._sample(m, name, channels) for m in owners]
        if self.number is None:
            return parts[0]
        width = max(part.shape[1] for part in parts)
        neutral = [0.0, 0.0, 1.0] if name == "normal_texture" else [1.0] * width
        result = self.like.new_tensor(neutral).expand(self.like.shape[0], width)
        for m, part in zip(owners, parts):
            if part.shape[1] < width:
                part = torch.cat([part, part.new_ones(part.shape[0], width - part.shape[1])], 1)
            rows = self.rows(m)
            assert rows is not None
            result = result.index_copy(0, rows, part)
        return result

    def _sample(self, m: int, name: str, channels: Sequence[int]) -> Tensor:
        material, rows = self.materials[m], self.rows(m)
        assert self.uvs is not None
        uvs = self.uvs if rows is None else self.uvs.index_select(0, rows)
        texture = getattr(material, name)
        if texture.dim() != 3 or texture.shape[-1] not in channels:
            wanted = " or ".join(map(str, channels))
            raise ArgumentError(f"render_mesh: `{name}` of material {material.name!r} must be [H, W, {wanted}], got {list(texture.shape)}")
        pyramid = self.pyramids[m].get(name)
        wrap = "clamp" if _clamps(material, name) else self.shading.wrap
        kind = "nearest" if self.shading.texture_filter == "nearest" else "bilinear"
        if pyramid is None:
            found = sample_texture(texture, uvs, wrap=wrap, filter=kind).to(self.like.dtype)
            decode = name in _COLORS and self.shading.color_space == "srgb"
            found = _decoded(found) if decode else found
        else:
            extent = self.footprint if rows is None else self.footprint.index_select(0, rows)
            level = level_of_detail(extent, tuple(texture.shape[:2]))
            found = sample_texture(pyramid, uvs, wrap=wrap, level=level).to(self.like.dtype)
        if name != "normal_texture":
            return found
        return 2 * found - 1

    @property
    def footprint(self) -> Tensor:
        if self._found is None:
            self._found = self._footprint()
        return self._found

    def opacity(self, alpha: Sequence[Tensor]) -> Tensor | None:
        """[P] the product of opacities, opacity textures and those `alpha` [P] of colours that a material wants; None if all is opaque."""
        materials = [self.materials[m] for m in self.used]
        opaque = all(not m.opacity.requires_grad and float(m.opacity) == 1.0 for m in materials)
        result = None if opaque else self.factor("opacity").expand(self.like.shape[0])
        cutout = self.texture("opacity_texture", (1,))
        parts = [] if cutout is None else [cutout[:, 0]]
        modes = [dict(m.parameters).get("alphaMode", "OPAQUE") for m in self.materials]
        if any(modes[m] != "OPAQUE" for m in self.used):
            for part in alpha:
                parts.append(self._by_mode(part, modes))
        for part in parts:
            result = part if result is None else result * part
        return result

    def _by_mode(self, alpha: Tensor, modes: Sequence[str]) -> Tensor:
        """Alpha as the materials take it: not at all, cut off at a level, or as it is."""
        levels = [float(dict(m.parameters).get("alphaCutoff", 0.5)) for m in self.materials]
        number = torch.full_like(alpha, self.used[0], dtype=torch.int64) if self.number is None else self.number
        kind = torch.tensor([{"OPAQUE": 0, "MASK": 1}.get(mode, 2) for mode in modes], device=alpha.device)[number]
        cut = (alpha >= alpha.new_tensor(levels)[number]).to(alpha.dtype)
        return torch.where(kind == 0, 1, torch.where(kind == 1, cut, alpha))

    def metallic_roughness(self, color: Tensor, ambient: Tensor, specular: Tensor, shininess: Tensor) -> tuple[Tensor, ...]:
        """Phong factors in place of the metallic-roughness model of glTF, where the material has it.

        The highlight is that of a Blinn-Phong microfacet surface of the same roughness, seen from in front; instead of its mirrored
        surroundings, a metal reflects the ambient light.
        """
        roughness, metallic = self.optional_factor("roughness", 1.0)[..., None], self.optional_factor("metallic", 0.0)[..., None]
        rough, metal = self.texture("roughness_texture", (1,)), self.texture("metallic_texture", (1,))
        roughness = roughness if rough is None else roughness * rough
        metallic = metallic if metal is None else metallic * metal
        exponent = (2 / roughness.clamp_min(0.05) ** 4 - 2).clamp(*_SHININESS)
        mirrored = _DIELECTRIC * (1 - metallic) + color * metallic
        diffuse = color * (1 - metallic)
        result = (diffuse, diffuse + color * metallic, mirrored * (exponent + 2) / 8, exponent.expand(*mirrored.shape[:-1], 1)[..., 0])
        flags = torch.tensor([_is_metallic_roughness(material) for material in self.materials], device=color.device)
        if self.number is None:
            return result
        chosen = flags[self.number]
        pick = lambda a, b: torch.where(chosen.view(-1, *[1] * (a.dim() - 1)), a, b)
        return pick(result[0], color), pick(result[1], ambient), pick(result[2], specular), pick(result[3], shininess)


def _is_metallic_roughness(material: Material) -> bool:
    """glTF's model. An MTL file may have Pr and Pm beside Phong's factors; then its specular factor counts, if it has one."""
    return material.roughness is not None and not bool((material.specular.detach() != 0).any())


def _clamps(material: Material, name: str) -> bool:
    options = dict(material.parameters).get(f"{_KEYS.get(name, name)} options", "")
    return "-clamp on" in options


def _decoded(texture: Tensor) -> Tensor:
    """sRGB colours [..., 3 or 4] to linear ones; alpha stays."""
    if texture.shape[-1] == 4:
        return torch.cat([linear_from_srgb(texture[..., :3]), texture[..., 3:]], -1)
    return linear_from_srgb(texture)
