"""The formats that are read through trimesh: glTF and GLB, 3MF, COLLADA and whatever else it knows."""

from __future__ import annotations

import io
import logging
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import numpy as np
import torch
from torch import Tensor

from ..errors import FormatError, MissingDependencyError
from ..geometry.material import Material
from ..geometry.mesh import Mesh
from .gltf_check import check_gltf
from .images import image_tensor
from .obj import needs_double
from .options import LoadOptions
from .source import MAXIMUM_UNPACKED, FileWarning, Source, warn_file

_NEEDED = {"3mf": "lxml networkx", "dae": "pycollada", "3dxml": "lxml networkx pillow", "xaml": "lxml networkx"}


def read_scene(source: Source, kind: str, options: LoadOptions) -> Mesh:
    """Read a file through trimesh: all meshes of the scene in one, in the scene's coordinates, with their materials.

    Raises:
        FormatError: the file is damaged or of an unknown format.
        MissingDependencyError: trimesh needs another package for it.
    """
    import trimesh

    if kind in ("glb", "gltf"):
        check_gltf(source)
    elif kind == "3mf":
        _check_zip(source, options)
    if kind not in trimesh.available_formats():
        if kind in _NEEDED:
            raise MissingDependencyError(f"{source.path}: reading .{kind} needs: pip install {_NEEDED[kind]}")
        raise FormatError(f"unknown format{f' .{kind}' if kind else ''}", path=source.path)
    files = _resolver(source, options)
    try:
        with warnings.catch_warnings(), _quiet_trimesh():
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", FileWarning)  # ours, of files that the resolver does not find
            loaded = trimesh.load(
                io.BytesIO(source.bytes()), file_type=kind, resolver=files, process=False, maintain_order=True, merge_primitives=False
            )
            parts = list(_parts(loaded, source, options))
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"trimesh cannot read it ({type(error).__name__}: {str(error)[:200]})", path=source.path) from error
    return _join(parts, source, typed=kind in ("glb", "gltf"))


def _quiet_trimesh() -> Any:
    """trimesh logs what it then raises or skips."""

    class Quiet:
        def __enter__(self) -> None:
            self._level = logging.getLogger("trimesh").level
            logging.getLogger("trimesh").setLevel(logging.CRITICAL)

        def __exit__(self, *_: object) -> None:
            logging.getLogger("trimesh").setLevel(self._level)

    return Quiet()


def _check_zip(source: Source, options: LoadOptions) -> None:
    """A 3MF is a zip archive: refuse one that unpacks to more than is allowed."""
    try:
        with zipfile.ZipFile(io.BytesIO(source.bytes())) as archive:
            size = sum(info.file_size for info in archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise FormatError(f"the archive is damaged ({error})", path=source.path) from None
    limit = options.maximum_unpacked or min(max(100 * source.size, 64 << 20), MAXIMUM_UNPACKED)
    if size > limit:
        raise FormatError(f"unpacks to {size} bytes, more than {limit} (maximum_unpacked allows more)", path=source.path)


def _resolver(source: Source, options: LoadOptions) -> Any:
    """Our resources as trimesh wants them: only what they allow is read."""
    from trimesh.resolvers import Resolver

    class Files(Resolver):
        def __init__(self) -> None:
            pass

        def get(self, name: str) -> bytes:
            data = source.resources.read(name)
            if data is None and "%" in name:
                data = source.resources.read(unquote(name))
            if data is None:
                warn_file(source.path, f"the file {name[:80]!r} that it names is missing")
                raise FileNotFoundError(name)
            return data

        def keys(self) -> Iterator[str]:
            return iter(())

        def namespaced(self, namespace: str) -> Files:
            return self

        def write(self, name: str, data: object) -> None:
            raise NotImplementedError

    return Files()


@dataclass
class _Part:
    """One mesh or cloud of a scene, in the scene's coordinates."""

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None = None
    colors: np.ndarray | None = None
    face_colors: np.ndarray | None = None
    uvs: np.ndarray | None = None
    material: Material | None = None
    material_key: int = 0
    attributes: dict[str, np.ndarray] = field(default_factory=dict)


def _parts(loaded: Any, source: Source, options: LoadOptions) -> Iterator[_Part]:
    import trimesh

    if not isinstance(loaded, trimesh.Scene):
        yield from _part(loaded, "", np.eye(4), {}, source, options)
        return
    materials: dict[int, Material] = {}
    for node in loaded.graph.nodes_geometry:
        transform, name = loaded.graph[node]
        if name in loaded.geometry:
            yield from _part(loaded.geometry[name], str(node), np.asarray(transform, np.float64), materials, source, options)


def _part(
    geometry: Any, name: str, transform: np.ndarray, materials: dict[int, Material], source: Source, options: LoadOptions
) -> Iterator[_Part]:
    import trimesh

    if not isinstance(geometry, (trimesh.Trimesh, trimesh.PointCloud)):
        warn_file(source.path, f"{name or 'a part'} is a {type(geometry).__name__}, not a mesh; it is not read")
        return
    vertices = np.asarray(geometry.vertices, np.float64).reshape(-1, 3)
    moves = not np.array_equal(transform, np.eye(4))
    part = _Part(name, vertices @ transform[:3, :3].T + transform[:3, 3] if moves else vertices, np.zeros((0, 3), np.int64))
    if isinstance(geometry, trimesh.PointCloud):
        colors = np.asarray(geometry.colors) if geometry.colors is not None else np.zeros(0)
        part.colors = colors if len(colors) == len(vertices) and len(vertices) else None
        yield part
        return
    faces = np.asarray(geometry.faces, np.int64).reshape(-1, 3)
    if faces.size and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise FormatError(f"a face of {name!r} has an index beyond its {len(vertices)} vertices", path=source.path)
    mirrored = np.linalg.det(transform[:3, :3]) < 0
    part.faces = np.ascontiguousarray(faces[:, ::-1]) if mirrored else faces
    normals = geometry._cache.cache.get("vertex_normals")  # `in geometry._cache` would hash the whole mesh first
    if normals is not None and len(normals) == len(vertices):
        part.normals = np.asarray(normals, np.float64)
        if moves:
            turned = part.normals @ np.linalg.pinv(transform[:3, :3])
            part.normals = turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-30)
    _read_visual(part, geometry, materials, options)
    for key, values in geometry.vertex_attributes.items():
        values = np.asarray(values)
        if len(values) == len(vertices) and values.dtype.kind in "fiu":  # of glTF: "_name", scalars as columns
            part.attributes[str(key).removeprefix("_")] = values[:, 0] if values.shape[1:] == (1,) else values
    yield part


def _read_visual(part: _Part, geometry: Any, materials: dict[int, Material], options: LoadOptions) -> None:
    visual = geometry.visual
    if visual.kind == "texture":
        uv = getattr(visual, "uv", None)
        if uv is not None and np.shape(uv) == (len(part.vertices), 2):
            part.uvs = np.asarray(uv, np.float32)
        material = getattr(visual, "material", None)
        if material is not None:
            part.material_key = id(material)
            if id(material) not in materials:
                materials[id(material)] = material_from_trimesh(material, options)
            part.material = materials[id(material)]
        color = visual.vertex_attributes.get("color") if hasattr(visual, "vertex_attributes") else None
        if color is not None and len(color) == len(part.vertices):
            part.colors = np.asarray(color)
    elif visual.kind == "vertex":
        part.colors = np.asarray(visual.vertex_colors)
    elif visual.kind == "face":
        part.face_colors = np.asarray(visual.face_colors)


def material_from_trimesh(material: Any, options: LoadOptions) -> Material:
    """A material of trimesh, simple (Phong) or PBR (glTF), as ours."""
    fields: dict[str, Any] = {"name": str(getattr(material, "name", "") or "")}

    def image(name: str, channel: int | None = None) -> Tensor | None:
        picture = getattr(material, name, None)
        if picture is None or not options.load_textures:
            return None
        pixels = image_tensor(picture)
        return pixels if channel is None else pixels[:, :, channel : channel + 1].contiguous()

    def numbers(name: str) -> Tensor | None:
        value = getattr(material, name, None)
        if value is None:
            return None
        array = np.asarray(value)
        return torch.from_numpy(np.atleast_1d(array / 255.0 if array.dtype.kind in "iu" else array).astype(np.float32))

    if type(material).__name__ == "PBRMaterial":
        base, emissive = numbers("baseColorFactor"), numbers("emissiveFactor")
        roughness, metallic = numbers("roughnessFactor"), numbers("metallicFactor")
        fields["roughness"] = torch.tensor(1.0) if roughness is None else roughness[0]
        fields["metallic"] = torch.tensor(1.0) if metallic is None else metallic[0]
        fields["diffuse_texture"] = image("baseColorTexture")
        fields["roughness_texture"] = image("metallicRoughnessTexture", 1)
        fields["metallic_texture"] = image("metallicRoughnessTexture", 2)
        fields["occlusion_texture"] = image("occlusionTexture", 0)
        normal, glow = image("normalTexture"), image("emissiveTexture")
        fields["normal_texture"] = None if normal is None else normal[:, :, :3].contiguous()
        fields["emissive_texture"] = None if glow is None else glow[:, :, :3].contiguous()
        if emissive is not None:
            fields["emissive"] = emissive[:3]
        names = ("alphaMode", "alphaCutoff", "doubleSided")
        fields["parameters"] = tuple((name, str(getattr(material, name))) for name in names if getattr(material, name, None))
    else:
        base = numbers("diffuse")
        fields["diffuse_texture"] = image("image")
        for ours, theirs in (("ambient", "ambient"), ("specular", "specular")):
            value = numbers(theirs)
            if value is not None and len(value) >= 3:
                fields[ours] = value[:3]
        if getattr(material, "glossiness", None) is not None:
            fields["shininess"] = torch.tensor(float(material.glossiness))
    if base is not None and len(base) >= 3:
        fields["diffuse"] = base[:3]
        if len(base) > 3:
            fields["opacity"] = base[3]
    return Material(**fields)


def _join(parts: list[_Part], source: Source, *, typed: bool) -> Mesh:
    """All parts as one mesh. `typed`: the format stores float32."""
    if not parts:
        return Mesh(vertices=torch.zeros((0, 3)), faces=torch.zeros((0, 3), dtype=torch.int64))
    starts = np.cumsum([0, *(len(p.vertices) for p in parts)])
    single = np.concatenate([p.vertices for p in parts], dtype=np.float32)
    double = not typed and needs_double(single)
    fields: dict[str, Any] = {"vertices": torch.from_numpy(np.concatenate([p.vertices for p in parts]) if double else single)}
    fields["faces"] = torch.from_numpy(np.concatenate([p.faces + start if start else p.faces for p, start in zip(parts, starts)]))
    if all(p.normals is not None for p in parts):
        fields["vertex_normals"] = torch.from_numpy(np.concatenate([p.normals for p in parts]).astype(np.float32))  # type: ignore[misc]
    if any(p.colors is not None for p in parts):
        fields["vertex_colors"] = torch.cat([_colors(p.colors, len(p.vertices)) for p in parts])
    if any(p.uvs is not None for p in parts):
        blank = lambda p: np.zeros((len(p.vertices), 2), np.float32)
        fields["uvs"] = torch.from_numpy(np.concatenate([blank(p) if p.uvs is None else p.uvs for p in parts]))
    attributes: dict[str, Any] = {}
    if any(p.face_colors is not None for p in parts):
        attributes["colors"] = torch.cat([_colors(p.face_colors, len(p.faces)) for p in parts])
    counts = [len(p.faces) for p in parts]
    keys = list(dict.fromkeys(p.material_key for p in parts if p.material is not None))
    fields["materials"] = tuple(next(p.material for p in parts if p.material_key == key and p.material is not None) for key in keys)
    numbers = [keys.index(p.material_key) if p.material is not None else -1 for p in parts]
    if keys and set(numbers) != {0}:
        fields["face_materials"] = torch.from_numpy(np.repeat(numbers, counts))
    if len(parts) > 1:
        attributes["object"] = torch.from_numpy(np.repeat(np.arange(len(parts)), counts))
    if any(p.name for p in parts):
        fields["metadata"] = {"object_names": tuple(p.name for p in parts)}
    shared = set.intersection(*(set(p.attributes) for p in parts))
    fields["vertex_attributes"] = {name: _attribute([p.attributes[name] for p in parts]) for name in sorted(shared)}
    return Mesh(face_attributes=attributes, **fields)


def _attribute(blocks: list[np.ndarray]) -> Tensor:
    values = np.concatenate(blocks)
    wider = {"u2": "i4", "u4": "i8", "u8": "i8"}.get(values.dtype.str[1:], values.dtype.str[1:])
    return torch.from_numpy(np.ascontiguousarray(values.astype(wider, copy=False)))


def _colors(values: np.ndarray | None, count: int) -> Tensor:
    """RGBA in [0, 1]; white where a part has none."""
    result = torch.ones((count, 4))
    if values is not None and values.ndim == 2 and len(values) == count:
        scale = 1.0 if values.dtype.kind == "f" else float(np.iinfo(values.dtype).max)
        result[:, : min(values.shape[1], 4)] = torch.from_numpy(
            np.divide(values[:, :4], np.float32(scale), dtype=np.float32, casting="unsafe")
        )
    return result
