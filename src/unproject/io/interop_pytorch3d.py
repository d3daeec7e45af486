"""Batches of meshes and clouds as PyTorch3D's `Meshes` and `Pointclouds`, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import ArgumentError, MissingDependencyError
from ..geometry.batch import MeshBatch, PointCloudBatch, batch_meshes, batch_points, split_meshes, split_points
from ..geometry.material import Material
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud


def to_pytorch3d(batch: MeshBatch | Mesh | Sequence[Mesh]) -> Any:
    """PyTorch3D's `Meshes`, with its vertices and faces as views of ours; gradients pass.

    Vertex normals come along. Of the looks, PyTorch3D has one kind for a batch: UVs with one diffuse texture each (`TexturesUV`) if every
    mesh has them, else vertex colours (`TexturesVertex`) if every mesh has them. Further attributes stay behind.

    Raises:
        MissingDependencyError: PyTorch3D is not installed.
    """
    structures, renderer = _pytorch3d()
    meshes = split_meshes(batch) if isinstance(batch, MeshBatch) else [batch] if isinstance(batch, Mesh) else list(batch)
    textures = None
    if meshes and all(m.uvs is not None and len(m.materials) == 1 and m.materials[0].diffuse_texture is not None for m in meshes):
        textures = renderer.TexturesUV(
            maps=[m.materials[0].diffuse_texture[:, :, :3] for m in meshes],  # type: ignore[index]
            faces_uvs=[m.faces if m.face_uvs is None else m.face_uvs for m in meshes],
            verts_uvs=[m.uvs for m in meshes],
        )
    elif meshes and all(m.vertex_colors is not None for m in meshes):
        textures = renderer.TexturesVertex(verts_features=[m.vertex_colors[:, :3] for m in meshes])  # type: ignore[index]
    normals = [m.vertex_normals for m in meshes] if meshes and all(m.vertex_normals is not None for m in meshes) else None
    return structures.Meshes([m.vertices for m in meshes], [m.faces for m in meshes], textures, verts_normals=normals)


def from_pytorch3d(value: Any) -> MeshBatch | PointCloudBatch:
    """A batch from PyTorch3D's `Meshes` or `Pointclouds`: the same order, the same memory, gradients pass.

    Of meshes: vertex colours or UVs with their texture. Normals that PyTorch3D would only compute are left out. Of clouds: normals, and
    features (as colours where they are three, else as the attribute "features").

    Raises:
        ArgumentError: neither.
    """
    if hasattr(value, "points_list"):
        return batch_points(_clouds(value))
    if not hasattr(value, "verts_list"):
        raise ArgumentError(f"from_pytorch3d: `value` must be Meshes or Pointclouds of PyTorch3D, got {type(value).__name__}")
    textures = value.textures
    meshes = []
    for i, (vertices, faces) in enumerate(zip(value.verts_list(), value.faces_list())):
        fields: dict[str, Any] = {}
        if hasattr(textures, "verts_features_list"):
            fields["vertex_colors"] = textures.verts_features_list()[i]
        elif hasattr(textures, "verts_uvs_list"):
            texture = textures.maps_list()[i]
            fields |= {"uvs": textures.verts_uvs_list()[i], "face_uvs": textures.faces_uvs_list()[i].to(torch.int64)}
            fields["materials"] = (Material(name=f"material_{i}", diffuse_texture=texture),)
        meshes.append(Mesh(vertices=vertices, faces=faces.to(torch.int64), **fields))
    return batch_meshes(meshes)


def points_to_pytorch3d(batch: PointCloudBatch | PointCloud | Sequence[PointCloud]) -> Any:
    """PyTorch3D's `Pointclouds`, with normals, and colours as features, where every cloud has them.

    Raises:
        MissingDependencyError: PyTorch3D is not installed.
    """
    structures, _ = _pytorch3d()
    clouds = split_points(batch) if isinstance(batch, PointCloudBatch) else [batch] if isinstance(batch, PointCloud) else list(batch)
    every = lambda name: [getattr(c, name) for c in clouds] if clouds and all(getattr(c, name) is not None for c in clouds) else None
    return structures.Pointclouds([c.positions for c in clouds], normals=every("normals"), features=every("colors"))


def _clouds(value: Any) -> list[PointCloud]:
    normals, features = value.normals_list(), value.features_list()
    clouds = []
    for i, positions in enumerate(value.points_list()):
        feature = None if features is None else features[i]
        as_colors = feature is not None and feature.shape[1] == 3
        attributes = {} if feature is None or as_colors else {"features": feature}
        normal = None if normals is None else normals[i]
        clouds.append(PointCloud(positions=positions, normals=normal, colors=feature if as_colors else None, attributes=attributes))
    return clouds


def _pytorch3d() -> tuple[Any, Any]:
    try:
        import pytorch3d.renderer as renderer  # pyright: ignore[reportMissingImports]
        import pytorch3d.structures as structures  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependencyError("this needs PyTorch3D, which is built from source: see its INSTALL.md") from error
    return structures, renderer
