"""Meshes and clouds as Open3D's tensor geometry, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentTypeError, MissingDependencyError
from ..geometry.material import Material
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud
from .interop import to_array, to_tensor

_CORNER_NORMALS, _MATERIALS = "corner_normals", "material_ids"


def to_open3d(value: Mesh | PointCloud) -> Any:
    """An `open3d.t.geometry.TriangleMesh` or `PointCloud` with all attributes, sharing memory with tensors on the CPU.

    Its `.to_legacy()` gives Open3D's older classes, which have float64 positions and no further attributes. UVs become those of face
    corners (`triangle.texture_uvs`); the diffuse texture of a single material becomes the albedo map.

    Raises:
        MissingDependencyError: Open3D is not installed.
    """
    open3d = _open3d()
    if isinstance(value, PointCloud):
        cloud = open3d.t.geometry.PointCloud(_tensor(value.positions))
        optional = {"normals": value.normals, "colors": value.colors, **value.attributes}
        for name, tensor in optional.items():
            if tensor is not None:
                cloud.point[name] = _tensor(tensor, row=True)
        return cloud
    if not isinstance(value, Mesh):
        raise ArgumentTypeError(f"to_open3d: the value must be a Mesh or a PointCloud, got {type(value).__name__}")
    mesh = open3d.t.geometry.TriangleMesh(_tensor(value.vertices), _tensor(value.faces))
    for name, tensor in {"normals": value.vertex_normals, "colors": value.vertex_colors, **value.vertex_attributes}.items():
        if tensor is not None:
            mesh.vertex[name] = _tensor(tensor, row=True)
    corner = {_CORNER_NORMALS: value.corner_normals, _MATERIALS: value.face_materials, "texture_uvs": corner_uvs(value)}
    for name, tensor in {**corner, **value.face_attributes}.items():
        if tensor is not None:
            mesh.triangle[name] = _tensor(tensor, row=True)
    if len(value.materials) == 1:
        _set_material(mesh, value.materials[0])
    return mesh


def from_open3d(value: Any) -> Mesh | PointCloud:
    """A mesh or cloud of Open3D, of its tensor or its older classes. Memory of a tensor geometry on the CPU is shared.

    UVs become rows of their own, one for each face corner. Open3D's `texture_uvs` has (0, 0) at the image's lower left, as ours.

    Raises:
        ArgumentTypeError: another type.
        MissingDependencyError: Open3D is not installed.
    """
    geometry = _open3d().t.geometry
    legacy = _open3d().geometry
    if isinstance(value, legacy.TriangleMesh):
        value = geometry.TriangleMesh.from_legacy(value, _open3d().core.float64)
    elif isinstance(value, legacy.PointCloud):
        value = geometry.PointCloud.from_legacy(value, _open3d().core.float64)
    if isinstance(value, geometry.PointCloud):
        named = {name: _back(value.point[name]) for name in value.point}
        positions = named.pop("positions", torch.zeros((0, 3)))
        return PointCloud(positions=positions, normals=named.pop("normals", None), colors=named.pop("colors", None), attributes=named)
    if not isinstance(value, geometry.TriangleMesh):
        raise ArgumentTypeError(f"from_open3d: `value` must be a TriangleMesh or PointCloud of Open3D, got {type(value).__name__}")
    vertex = {name: _back(value.vertex[name]) for name in value.vertex}
    face = {name: _back(value.triangle[name]) for name in value.triangle}
    faces = face.pop("indices", torch.zeros((0, 3), dtype=torch.int64)).to(torch.int64)
    fields: dict[str, Any] = {"vertices": vertex.pop("positions", torch.zeros((0, 3))), "faces": faces}
    fields |= {"vertex_normals": vertex.pop("normals", None), "vertex_colors": vertex.pop("colors", None)}
    uvs = face.pop("texture_uvs", None)
    if uvs is not None:
        fields |= {"uvs": uvs.reshape(-1, 2), "face_uvs": torch.arange(3 * len(faces)).view(-1, 3)}
    fields |= {"corner_normals": face.pop(_CORNER_NORMALS, None), "face_materials": face.pop(_MATERIALS, None)}
    return Mesh(vertex_attributes=vertex, face_attributes=face, materials=_materials(value), **fields)


def corner_uvs(mesh: Mesh) -> Tensor | None:
    """[F, 3, 2] texture coordinates of face corners, or None."""
    if mesh.uvs is None:
        return None
    return mesh.uvs[mesh.faces if mesh.face_uvs is None else mesh.face_uvs]


def _open3d() -> Any:
    try:
        import open3d
    except ImportError as error:
        raise MissingDependencyError("this needs Open3D: pip install open3d") from error
    return open3d


def _tensor(tensor: Tensor, *, row: bool = False) -> Any:
    """As a tensor of Open3D. `row`: attributes need a second dimension there."""
    array = np.ascontiguousarray(to_array(tensor))
    return _open3d().core.Tensor.from_numpy(array[:, None] if row and array.ndim == 1 else array)


def _back(tensor: Any) -> Tensor:
    """Columns of one number become [N]; memory on the CPU is shared."""
    array = tensor.cpu().numpy()
    return to_tensor(array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array)


def _set_material(mesh: Any, material: Material) -> None:
    visual = mesh.material
    visual.set_default_properties()
    visual.material_name = "defaultLit"
    visual.vector_properties["base_color"] = [*to_array(material.diffuse).tolist(), float(material.opacity)]
    if material.diffuse_texture is not None:
        pixels = np.ascontiguousarray((to_array(material.diffuse_texture).clip(0, 1) * 255).round().astype(np.uint8))
        visual.texture_maps["albedo"] = _open3d().t.geometry.Image(_open3d().core.Tensor.from_numpy(pixels))


def _materials(mesh: Any) -> tuple[Material, ...]:
    if not mesh.has_valid_material():
        return ()
    fields: dict[str, Any] = {}
    color = list(mesh.material.vector_properties["base_color"]) if "base_color" in mesh.material.vector_properties else []
    if len(color) == 4:
        fields |= {"diffuse": torch.tensor(color[:3], dtype=torch.float32), "opacity": torch.tensor(float(color[3]))}
    if "albedo" in mesh.material.texture_maps:
        pixels = mesh.material.texture_maps["albedo"].as_tensor().numpy()
        scale = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
        fields["diffuse_texture"] = torch.from_numpy(pixels.astype(np.float32) / np.float32(scale))
    return (Material(**fields),)
