"""The formats that are written through trimesh: glTF, GLB, 3MF, COLLADA."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import ArgumentError, MissingDependencyError
from ..geometry.material import Material
from ..geometry.mesh import Mesh
from .atomic import OutputFiles
from .options import SaveOptions
from .ply_write import array, bytes_of_colors
from .source import warn_of_lost

_NEEDED = {"3mf": "lxml networkx", "dae": "pycollada"}


def write_scene(mesh: Mesh, path: Path, outputs: OutputFiles, options: SaveOptions) -> None:
    """Write through trimesh: one mesh for each material, vertices doubled along seams of texture coordinates and normals.

    Raises:
        ArgumentError: an empty mesh, which these formats cannot hold.
        MissingDependencyError: trimesh needs another package for the format.
    """
    import trimesh

    kind = path.suffix.lower().lstrip(".")
    if options.encoding not in (None, "binary" if kind == "glb" else "ascii"):
        raise ArgumentError(f"save: .{kind} has no encoding {options.encoding!r}")
    if mesh.vertex_count == 0:
        raise ArgumentError(f"save: .{kind} cannot hold an empty mesh")
    held = _scalars(mesh) if kind in ("glb", "gltf") else {}
    warn_of_lost(path, f".{kind}", [*(name for name in mesh.vertex_attributes if name not in held), *mesh.face_attributes])
    scene = trimesh.Scene()
    for name, part in _parts(mesh):
        scene.add_geometry(part, geom_name=name, node_name=name)
    with_normals = mesh.vertex_normals is not None or mesh.corner_normals is not None
    try:
        exported = scene.export(file_type=kind, **({"include_normals": with_normals} if kind == "glb" else {}))
    except (ImportError, NameError, ValueError) as error:
        if kind in _NEEDED:
            raise MissingDependencyError(f"writing .{kind} needs: pip install {_NEEDED[kind]} ({error})") from error
        raise
    if kind == "gltf":
        assert isinstance(exported, dict)
        for name, data in _renamed(exported, path).items():
            outputs.write(path.with_name(name), data)
    else:
        outputs.write(path, exported if isinstance(exported, bytes) else str(exported).encode())


def _renamed(files: dict[str, bytes], path: Path) -> dict[str, bytes]:
    """The files of a glTF export with names that begin with the model's, so that two models can share a folder."""
    tree = json.loads(files["model.gltf"])
    names = {name: f"{path.stem}_{name}" for name in files if name != "model.gltf"}
    for item in [*tree.get("buffers", []), *tree.get("images", [])]:
        if item.get("uri") in names:
            item["uri"] = names[item["uri"]]
    renamed = {names[name]: data for name, data in files.items() if name in names}
    return {path.name: json.dumps(tree).encode(), **renamed}


def _parts(mesh: Mesh) -> Iterator[tuple[str, Any]]:
    import trimesh

    if mesh.face_count == 0:
        colors = None if mesh.vertex_colors is None else bytes_of_colors(mesh.vertex_colors)
        yield "points", trimesh.PointCloud(array(mesh.vertices), colors=colors)
        return
    numbers = array(mesh.face_materials) if mesh.face_materials is not None else np.full(mesh.face_count, 0 if mesh.materials else -1)
    for number in np.unique(numbers).tolist():
        material = mesh.materials[number] if number >= 0 else None
        everything = bool((numbers == number).all())
        name = (material.name if material is not None and material.name else "mesh") + (f"_{number}" if number > 0 else "")
        yield name, _part(mesh, None if everything else np.flatnonzero(numbers == number), material)


def _part(mesh: Mesh, chosen: np.ndarray | None, material: Material | None) -> Any:
    """The chosen faces as a Trimesh."""
    import trimesh
    from trimesh.visual import ColorVisuals, TextureVisuals

    pick = lambda values: values if chosen is None else values[chosen]
    faces = pick(array(mesh.faces))
    uvs = None if mesh.uvs is None else array(mesh.uvs)
    face_uvs = None if mesh.face_uvs is None else pick(array(mesh.face_uvs))
    corner_normals = None if mesh.corner_normals is None else pick(array(mesh.corner_normals)).reshape(-1, 3)
    source = np.arange(mesh.vertex_count)
    uv_of, normals = source, None if mesh.vertex_normals is None else array(mesh.vertex_normals)
    if face_uvs is not None or corner_normals is not None or chosen is not None:
        keys = [faces.reshape(-1), faces.reshape(-1) if face_uvs is None else face_uvs.reshape(-1)]
        if corner_normals is not None:
            keys += list(np.ascontiguousarray(corner_normals, np.float32).view(np.int32).T)
        _, first, inverse = np.unique(np.stack(keys, axis=1), axis=0, return_index=True, return_inverse=True)
        source, uv_of, faces = keys[0][first], keys[1][first], inverse.reshape(-1, 3)
        normals = corner_normals[first] if corner_normals is not None else None if normals is None else normals[source]
    if material is not None or uvs is not None:  # there are no texture coordinates without a material
        visual: Any = TextureVisuals(uv=None if uvs is None else uvs[uv_of], material=material_to_trimesh(material or Material()))
        if mesh.vertex_colors is not None:
            colors = bytes_of_colors(mesh.vertex_colors)[source]  # RGBA, which trimesh does not make of RGB here
            visual.vertex_attributes["color"] = np.pad(colors, ((0, 0), (0, 4 - colors.shape[1])), constant_values=255)
    else:
        visual = ColorVisuals() if mesh.vertex_colors is None else ColorVisuals(vertex_colors=bytes_of_colors(mesh.vertex_colors)[source])
    vertices = array(mesh.vertices)[source]
    attributes: Any = {name: array(values).astype(np.float32)[source] for name, values in _scalars(mesh).items()}
    return trimesh.Trimesh(
        vertices, faces, vertex_normals=normals, visual=visual, vertex_attributes=attributes, process=False, validate=False
    )


def _scalars(mesh: Mesh) -> dict[str, Tensor]:
    """The attributes that are written: one float a vertex."""
    return {name: values for name, values in mesh.vertex_attributes.items() if values.is_floating_point() and values.dim() == 1}


def material_to_trimesh(material: Material) -> Any:
    """Our material as a PBR material of trimesh. Without a roughness, one that looks like the Phong exponent is chosen."""
    from PIL import Image
    from trimesh.visual.material import PBRMaterial

    def picture(texture: Tensor | None) -> Any:
        if texture is None:
            return None
        pixels = bytes_of_colors(texture)
        return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)

    number = lambda value: None if value is None else float(value.detach())
    roughness = number(material.roughness)
    if roughness is None:
        roughness = float(np.clip((2.0 / (2.0 + max(float(material.shininess.detach()), 0.0))) ** 0.25, 0, 1))
    color = [*material.diffuse.detach().cpu().clamp(0, 1).tolist(), min(max(float(material.opacity.detach()), 0.0), 1.0)]
    parameters = dict(material.parameters)
    return PBRMaterial(
        name=material.name or None,
        baseColorFactor=color,
        roughnessFactor=roughness,
        metallicFactor=number(material.metallic) or 0.0,
        emissiveFactor=material.emissive.detach().cpu().clamp(0, 1).tolist(),
        baseColorTexture=picture(material.diffuse_texture),
        metallicRoughnessTexture=_metal_and_rough(material),
        normalTexture=picture(material.normal_texture),
        emissiveTexture=picture(material.emissive_texture),
        occlusionTexture=picture(material.occlusion_texture),
        alphaMode=parameters.get("alphaMode") or ("BLEND" if color[3] < 1 else None),
        doubleSided=parameters.get("doubleSided") == "True",
    )


def _metal_and_rough(material: Material) -> Any:
    """One image with roughness in green and metallic in blue."""
    from PIL import Image

    rough, metal = material.roughness_texture, material.metallic_texture
    given = rough if rough is not None else metal
    if given is None:
        return None
    height, width = given.shape[:2]
    pixels = np.full((height, width, 3), 255, np.uint8)
    if rough is not None:
        pixels[:, :, 1] = bytes_of_colors(rough)[:, :, 0]
    if metal is not None and metal.shape[:2] == (height, width):
        pixels[:, :, 2] = bytes_of_colors(metal)[:, :, 0]
    return Image.fromarray(pixels)
