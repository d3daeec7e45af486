"""render_mesh: a shaded picture of a mesh, with everything beside it that the raster knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ..camera.camera import Camera, resize_camera
from ..errors import ArgumentError, ArgumentTypeError, check_shape, describe
from ..geometry.batch import MeshBatch, batch_meshes
from ..geometry.mesh import Mesh
from ..geometry.sample import interpolate_rows
from ..geometry.topology import Topology, make_topology
from ..struct import TensorStruct
from .antialias import antialias_projection
from .appearance import Appearance, is_opaque, make_appearance, surface_color
from .color import linear_from_srgb, srgb_from_linear
from .interpolate import Pixels, corner_table, covered_pixels, to_image
from .light import AmbientLight, DirectionalLight, Light, check_lights
from .project import Projection, project
from .rasterize import Fragments, peel, rasterize_projection
from .raytrace import raytrace_layers, without_lens
from .shade import LightTerms, Shading, combine, light_terms
from .shadow import light_visibility
from .surface import (
    SeenFaces,
    Surface,
    make_surface,
    normals_at,
    places_of,
    positions_at,
    seen_faces,
    toward_eye,
    uv_footprint,
    uvs_at,
)
from .vectors import turned, unit_vectors


@dataclass(frozen=True, kw_only=True)
class RenderOptions:
    """How the picture is taken.

    Attributes:
        background: colour [3] (or a number) behind the mesh, or an image [..., H, W, 3]; display-encoded as the result.
        antialias: whether outlines are antialiased analytically, which also gives them gradients.
        supersampling: s x s samples a pixel.
        cull_backfaces: leave out faces that are seen from inside.
        shadows: whether faces keep light from each other (hard shadows, by ray casting; no gradient through their outlines).
        layers: most layers of faces that show through each other, where materials are not opaque.
        raytrace: see faces by rays instead of the rasterizer (render/raytrace.py): for distorted and fisheye lenses; without `antialias`.
    """

    background: Any = 1.0
    antialias: bool = False
    supersampling: int = 1
    cull_backfaces: bool = False
    shadows: bool = False
    layers: int = 8
    raytrace: bool = False

    def __post_init__(self) -> None:
        if self.raytrace and self.antialias:
            raise ArgumentError("RenderOptions: `antialias` follows the rasterizer's straight edges; with `raytrace` use `supersampling`")
        for name in ("supersampling", "layers"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ArgumentError(f"RenderOptions: `{name}` must be a whole number of at least 1, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class RenderResult(TensorStruct):
    """Images of a mesh. Leading dimensions [...] are those of the images (render/project.py), none for one image.

    Colours are encoded as `Shading.color_space` says and exceed 1 where lights are strong. The geometric images are those at the
    pixels' centres; 0 (face: -1) where no face is.

    Attributes:
        color: [..., H, W, 3] over the background.
        rgba: [..., H, W, 4] the mesh alone: its colour, not multiplied with alpha, and alpha.
        silhouette: [..., H, W] share of the pixel that is covered: alpha, times opacity.
        depth: [..., H, W] camera z, scene units.
        normals: [..., H, W, 3] unit normals in the world, after interpolation and normal maps.
        position: [..., H, W, 3] world.
        uv: [..., H, W, 2]; None for a mesh without.
        face: [..., H, W] int64.
        barycentrics: [..., H, W, 3].
    """

    color: Tensor
    rgba: Tensor
    silhouette: Tensor
    depth: Tensor
    normals: Tensor
    position: Tensor
    uv: Tensor | None
    face: Tensor
    barycentrics: Tensor


def default_lights() -> tuple[Light, ...]:
    """A pleasant light for anything: from the upper left of the camera, a weaker one from the right, and a little from all sides."""
    return (
        AmbientLight(color=(0.22, 0.22, 0.23)),
        DirectionalLight(direction=(0.55, 0.75, 1.0), color=(0.72, 0.71, 0.69), frame="camera"),
        DirectionalLight(direction=(-0.9, -0.1, 0.8), color=(0.2, 0.21, 0.23), frame="camera"),
    )


def render_mesh(
    mesh: Mesh | MeshBatch | Sequence[Mesh],
    camera: Camera,
    *,
    lights: Sequence[Light] | None = None,
    shading: Shading = Shading(),
    options: RenderOptions = RenderOptions(),
    appearance: Appearance | None = None,
    topology: Topology | None = None,
) -> RenderResult:
    """Render meshes: rasterize (or trace rays), interpolate, shade the covered pixels, put over a background.

    One mesh and one camera give one image. A batch of meshes (a MeshBatch, or a list of meshes) and a batch of cameras broadcast, by
    the rule of render/project.py: M meshes and M cameras give M images, cameras [C, 1] give C x M. `mesh.vertices` may be [..., V, 3] for
    one topology with different vertices. For several objects in one image, join them into one mesh first.

    Args:
        mesh: with colours from its vertices, materials and textures, all multiplied; white without any. Normals are its own, if it has
            some, else those of `vertex_normals`.
        camera: perspective or orthographic; with lens distortion or fisheye only with `RenderOptions(raytrace=True)`.
        lights: any number of them (render/light.py); `default_lights()` if None.
        shading: how surfaces are shaded.
        options: background, antialiasing, samples, culling.
        appearance: `make_appearance(mesh.materials, shading)`, to be computed once for a loop with mipmaps.
        topology: `make_topology(faces, vertex_count)`, to be computed once for a loop with antialiasing.

    Raises:
        ArgumentError: wrong shapes, NaN, indices out of range, batches that do not broadcast, or an option out of its range; the message
            names the argument.

    Gradient: vertices, camera, normals, colours, uvs, texels, factors of materials, lights, background. Outlines have some with `antialias`
    alone. Under `torch.no_grad()` nothing is recorded.
    """
    where = "render_mesh"
    whole, offsets = _checked_mesh(mesh, where)
    light_list = check_lights(default_lights() if lights is None else lights, where)
    for name, value, kind in (("shading", shading, Shading), ("options", options, RenderOptions)):
        if not isinstance(value, kind):
            raise ArgumentTypeError(f"{where}: `{name}` must be a {kind.__name__}, got {describe(value)}")
    scene = _project(whole, camera, offsets, options)
    look = make_appearance(whole.materials, shading) if appearance is None else appearance
    if len(look.materials) != len(whole.materials) + 1:
        raise ArgumentError(f"{where}: `appearance` has {len(look.materials) - 1} materials, the mesh {len(whole.materials)}")
    job = _Job(whole, scene, camera, light_list, shading, options, look, offsets)
    layers = _layers(job)
    fragments = next(layers)
    layer = _shade_layer(job, fragments)
    image = _with_layers_behind(job, layer.image, layers) if options.supersampling == 1 else _supersample(job)
    if options.antialias:
        if topology is None:
            topology = make_topology(scene.faces, scene.vertex_count, **offsets)
        image = antialias_projection(image, fragments, scene, camera, topology, cull_backfaces=options.cull_backfaces, where=where)
    return _result(image, layer, fragments, options, shading)


@dataclass(frozen=True)
class _Job:
    mesh: Mesh | MeshBatch
    scene: Projection
    camera: Camera
    lights: tuple[Light, ...]
    shading: Shading
    options: RenderOptions
    appearance: Appearance
    offsets: dict[str, Any]


@dataclass(frozen=True)
class _Layer:
    """A shaded layer of fragments: `image` [..., H, W, 4] linear, multiplied with alpha; the rest [P, ...] at `pixels`."""

    image: Tensor
    pixels: Pixels
    position: Tensor
    normal: Tensor
    uv: Tensor | None


def _shade_layer(job: _Job, fragments: Fragments) -> _Layer:
    pixels = covered_pixels(fragments)
    surface = make_surface(job.mesh, job.scene, job.camera)
    position, uv = positions_at(surface, pixels), uvs_at(surface, pixels)
    seen = seen_faces(surface, pixels)
    look = surface_color(
        job.appearance, _materials_at(job.mesh, pixels), uv, tint=_tint(job, pixels),
        footprint=lambda: uv_footprint(surface, job.scene, pixels), like=position,
    )  # fmt: skip
    normal = normals_at(surface, pixels)
    if look.tangent_normal is not None:
        from .tangent import bend_normals

        normal = bend_normals(surface, pixels, normal, look.tangent_normal)
    if job.shading.two_sided:
        normal = turned(normal, seen.normal[seen.of_pixel])
    if job.shading.interpolation == "flat":
        shown = unit_vectors(_face_normals(surface, seen, job.shading.two_sided))[seen.of_pixel]
    else:
        shown = normal
    if job.shading.reflection == "unlit":
        color = look.reflectance.diffuse + look.reflectance.emissive
    else:
        terms = _light(job, surface, pixels, seen, position, normal, look.reflectance.shininess)
        color = combine(terms, look.reflectance)
    color = color.expand(pixels.count, 3)
    alpha = color.new_ones(pixels.count, 1) if look.opacity is None else look.opacity[:, None]
    rgba = torch.cat([color * alpha if look.opacity is not None else color, alpha], -1)
    return _Layer(to_image(rgba, pixels), pixels, position, shown, uv)


def _light(job: _Job, surface: Surface, pixels: Pixels, seen: SeenFaces, position: Tensor, normal: Tensor, shininess: Tensor) -> LightTerms:
    """Light at the pixels: computed there, or at the corners or centres of the faces they show."""
    if job.shading.interpolation == "phong":
        return _light_at(job, surface, position, normal, lambda: seen.normal[seen.of_pixel], pixels.image, shininess)
    if shininess.dim() > 0:
        shininess = _face_mean(shininess, seen)
    if job.shading.interpolation == "flat":
        facing = _face_normals(surface, seen, job.shading.two_sided)
        terms = _light_at(job, surface, seen.corners.mean(1), facing, lambda: seen.normal, seen.image, shininess)
        return terms.map(lambda t: t[seen.of_pixel] if t.dim() > 1 else t)
    rows = surface.normal_corners[seen.face] + (seen.image * surface.normal_stride)[:, None]
    at_corner, geometric = surface.normals[rows].reshape(-1, 3), seen.normal.repeat_interleave(3, 0)
    at_corner = unit_vectors(turned(at_corner, geometric) if job.shading.two_sided else at_corner)
    shininess = shininess.repeat_interleave(3) if shininess.dim() > 0 else shininess
    image = seen.image.repeat_interleave(3)
    terms = _light_at(job, surface, seen.corners.reshape(-1, 3), at_corner, lambda: geometric, image, shininess)
    corners = corner_table(seen.face.shape[0], image.device)
    return terms.map(lambda t: interpolate_rows(t, corners, seen.of_pixel, pixels.barycentrics) if t.dim() > 1 else t)


def _light_at(
    job: _Job, surface: Surface, position: Tensor, normal: Tensor, geometric: Callable[[], Tensor], image: Tensor, shininess: Tensor
) -> LightTerms:
    places, eye = places_of(surface, position, image), toward_eye(surface, position, image)
    visible = light_visibility(surface, job.scene, job.lights, position, geometric(), image) if job.options.shadows else None
    return light_terms(normal, eye, job.lights, places, shininess, reflection=job.shading.reflection, visible=visible)


def _face_mean(values: Tensor, seen: SeenFaces) -> Tensor:
    total = values.new_zeros(seen.face.shape[0])
    count = total.index_add(0, seen.of_pixel, torch.ones_like(values))
    return total.index_add(0, seen.of_pixel, values) / count.clamp_min(1)


def _face_normals(surface: Surface, seen: SeenFaces, two_sided: bool) -> Tensor:
    """[K, 3] with gradient."""
    a, b, c = seen.corners.unbind(1)
    normal = unit_vectors(torch.linalg.cross(b - a, c - a))
    return turned(normal, seen.normal) if two_sided else normal


def _materials_at(mesh: Mesh | MeshBatch, pixels: Pixels) -> Tensor | None:
    if not mesh.materials:
        return torch.full_like(pixels.face, -1)
    return None if mesh.face_materials is None else mesh.face_materials[pixels.face]


def _tint(job: _Job, pixels: Pixels) -> Tensor | None:
    """[P, 3 or 4] colours of vertices and faces at the pixels, linear; None without any."""
    decode = (lambda c: torch.cat([linear_from_srgb(c[:, :3]), c[:, 3:]], -1)) if job.shading.color_space == "srgb" else (lambda c: c)
    tint, mesh = None, job.mesh
    if mesh.vertex_colors is not None:
        colors = torch.where(mesh.vertex_colors.isnan(), 1, mesh.vertex_colors) if isinstance(mesh, MeshBatch) else mesh.vertex_colors
        colors = decode(colors.to(job.scene.points.dtype))
        tint = interpolate_rows(colors, job.scene.faces, pixels.face, pixels.barycentrics)
    colors = mesh.face_attributes.get("colors")
    if colors is not None and colors.dim() == 2 and colors.shape[1] in (3, 4) and colors.is_floating_point():
        flat = decode(colors.to(job.scene.points.dtype))[pixels.face]
        flat = torch.where(flat.isnan(), 1, flat)
        tint = flat if tint is None else tint * flat if tint.shape == flat.shape else tint[:, :3] * flat[:, :3]
    return tint


def _project(mesh: Mesh | MeshBatch, camera: Camera, offsets: dict[str, Any], options: RenderOptions) -> Projection:
    straight = without_lens(camera) if options.raytrace and isinstance(camera, Camera) else camera
    return project(mesh.vertices, mesh.faces, straight, **offsets, where="render_mesh")


def _layers(job: _Job) -> Iterator[Fragments]:
    """What the camera sees: the first layer, also of an empty scene, and what is behind it."""
    scene = (job.mesh.vertices, job.mesh.faces, job.camera)
    cull = job.options.cull_backfaces
    if job.options.raytrace:
        yield from raytrace_layers(*scene, cull_backfaces=cull, **job.offsets)
    else:
        yield rasterize_projection(job.scene, job.camera, cull_backfaces=cull)
        yield from islice(peel(*scene, cull_backfaces=cull, **job.offsets), 1, None)


def _with_layers_behind(job: _Job, image: Tensor, layers: Iterator[Fragments]) -> Tensor:
    """An image of the first layer [..., H, W, 4] with what shows through it from the `layers` behind."""
    if is_opaque(job.appearance):
        return image
    for fragments in islice(layers, job.options.layers - 1):
        image = image + (1 - image[..., 3:]) * _shade_layer(job, fragments).image
    return image


def _supersample(job: _Job) -> Tensor:
    """The shaded image [..., H, W, 4] as means of s x s samples."""
    s, (height, width) = job.options.supersampling, job.camera.image_size
    camera = resize_camera(job.camera, (s * height, s * width))
    large = dataclasses.replace(job, scene=_project(job.mesh, camera, job.offsets, job.options), camera=camera)
    layers = _layers(large)
    image = _with_layers_behind(large, _shade_layer(large, next(layers)).image, layers)
    return image.unflatten(-3, (height, s)).unflatten(-2, (width, s)).mean((-4, -2))


def _result(image: Tensor, layer: _Layer, fragments: Fragments, options: RenderOptions, shading: Shading) -> RenderResult:
    is_srgb = shading.color_space == "srgb"
    encode, decode = (srgb_from_linear, linear_from_srgb) if is_srgb else (lambda c: c, lambda c: c)
    flat = image.view(-1, 4)
    place = (flat.detach()[:, 3] > 0).nonzero()[:, 0]  # colours are encoded where there are some
    color, alpha = flat[place].split((3, 1), 1)
    straight = encode(color / alpha)
    background = background_image(options.background, image, "render_mesh: `options.background`").reshape(-1, 3)
    partial = ((alpha.detach() < 1) | alpha.requires_grad)[:, 0].nonzero()[:, 0]
    over = straight
    if partial.shape[0]:
        behind = decode(background[place[partial]])
        over = straight.index_copy(0, partial, encode(color[partial] + (1 - alpha[partial]) * behind))
    shape = image.shape[:-1]
    rgba = image.new_zeros(flat.shape).index_copy_(0, place, torch.cat([straight, alpha], 1))
    return RenderResult(
        color=background.clone().index_copy_(0, place, over).view(*shape, 3), rgba=rgba.view(*shape, 4), silhouette=image[..., 3],
        depth=fragments.depth, normals=to_image(layer.normal, layer.pixels), position=to_image(layer.position, layer.pixels),
        uv=None if layer.uv is None else to_image(layer.uv, layer.pixels), face=fragments.face, barycentrics=fragments.barycentrics,
    )  # fmt: skip


def background_image(background: Any, image: Tensor, what: str) -> Tensor:
    """A colour or an image as [..., H, W, 3], of the size and type of `image` [..., H, W, C]. `what` begins messages."""
    try:
        value = torch.as_tensor(background).to(image)
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentTypeError(f"{what} must be a colour or an image, got {describe(background)}") from None
    try:
        return value.expand(*image.shape[:-1], 3)
    except RuntimeError:
        size = list(image.shape[:-1])
        raise ArgumentError(f"{what} {list(value.shape)} does not fit images {size} of 3 channels") from None


def _checked_mesh(mesh: Any, where: str) -> tuple[Mesh | MeshBatch, dict[str, Any]]:
    """The mesh and the offsets of a packed batch, with the fields checked that only shading looks at."""
    if isinstance(mesh, Sequence) and not isinstance(mesh, (str, bytes)) and all(isinstance(m, Mesh) for m in mesh):
        mesh = batch_meshes(mesh)
    if not isinstance(mesh, (Mesh, MeshBatch)):
        raise ArgumentTypeError(f"{where}: `mesh` must be a Mesh, a MeshBatch or a list of meshes, got {describe(mesh)}")
    count = mesh.vertices.shape[-2] if mesh.vertices.dim() >= 2 else -1
    free_uvs = mesh.face_uvs is not None or isinstance(mesh, MeshBatch)
    rows: dict[str, tuple[Any, list[int | str]]] = {
        "vertex_normals": (mesh.vertex_normals, [count, 3]), "corner_normals": (mesh.corner_normals, [mesh.faces.shape[0], 3, 3]),
        "vertex_colors": (mesh.vertex_colors, [count, "3 or 4"]), "uvs": (mesh.uvs, ["T" if free_uvs else count, 2]),
    }  # fmt: skip
    for name, (value, shape) in rows.items():
        if value is not None:
            check_shape(value, shape, name=f"mesh.{name}", where=where)
    if mesh.vertex_colors is not None and mesh.vertex_colors.shape[-1] not in (3, 4):
        raise ArgumentError(f"{where}: `mesh.vertex_colors` must be [V, 3 or 4], got {describe(mesh.vertex_colors)}")
    faces = mesh.faces.shape[0]
    _check_index(mesh.face_uvs, [faces, 3], 0 if mesh.uvs is None else len(mesh.uvs), "face_uvs", where)
    _check_index(mesh.face_materials, [faces], len(mesh.materials), "face_materials", where)
    if isinstance(mesh, MeshBatch):
        return mesh, {"vertex_offsets": mesh.vertex_offsets, "face_offsets": mesh.face_offsets}
    return mesh, {}


def _check_index(value: Tensor | None, shape: list[int | str], count: int, name: str, where: str) -> None:
    if value is not None:
        check_shape(value, shape, name=f"mesh.{name}", where=where, integer=True)
        if value.numel() and (int(value.min()) < -1 or int(value.max()) >= max(count, 0)):
            found = f"{int(value.min())} to {int(value.max())}"
            raise ArgumentError(f"{where}: `mesh.{name}` must lie in 0 to {count - 1}, or be -1 for none, found {found}")
