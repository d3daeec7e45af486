"""MeshBatch and PointCloudBatch: meshes and clouds of different sizes, packed one after the other, and padded.

Packed faces, UV indices and materials are global: they index the packed arrays. A field that only some members have is filled up for the
others (NaN, or 0 for integers and truth values; -1 for materials), and `absent` remembers who had none, so that splitting restores it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..struct import TensorStruct
from .material import Material
from .mesh import Mesh
from .packing import Packer, device_of, member_index, member_mapping, member_rows, selected_members
from .points import PointCloud
from .ragged import offsets_of, pack_padded, pad_packed


@dataclass(frozen=True, kw_only=True)
class PointCloudBatch(TensorStruct):
    """Point clouds one after the other.

    `batch[i]` is a PointCloud, `batch[1:3]`, `batch[[0, 2]]` and `batch[mask]` are batches.

    Attributes:
        positions: [N, 3] of all clouds.
        offsets: [B + 1] where each cloud begins.
        normals, colors: [N, 3], or None.
        attributes: further values a point, [N, ...].
        metadata: of each cloud.
        absent: for fields that some clouds lack, [B] which ones.
    """

    positions: Tensor
    offsets: Tensor
    normals: Tensor | None = None
    colors: Tensor | None = None
    attributes: Mapping[str, Tensor] = field(default_factory=dict)
    metadata: tuple[Mapping[str, Any], ...] = ()
    absent: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def batch_size(self) -> int:
        return self.offsets.shape[0] - 1

    @property
    def point_count(self) -> int:
        return self.positions.shape[0]

    def __len__(self) -> int:
        return self.batch_size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            return _cloud(self, member_index(index, self.batch_size))
        return batch_points([_cloud(self, i) for i in selected_members(index, self.batch_size)])


@dataclass(frozen=True, kw_only=True)
class MeshBatch(TensorStruct):
    """Meshes one after the other. Fields are those of Mesh, for all meshes together.

    `batch[i]` is a Mesh, `batch[1:3]`, `batch[[0, 2]]` and `batch[mask]` are batches.

    Attributes:
        vertices: [V, 3].
        faces: [F, 3] into `vertices`.
        vertex_offsets, face_offsets: [B + 1] where each mesh's vertices and faces begin.
        uvs, uv_offsets: [T, 2] and [B + 1] where each mesh's begin, or None.
        face_uvs: [F, 3] into `uvs`; None where every mesh has one UV a vertex.
        materials, material_offsets: all materials, and where each mesh's begin.
        face_materials: [F] into `materials`, -1 for none.
        metadata: of each mesh.
        absent: for fields that some meshes lack, [B] which ones.
    """

    vertices: Tensor
    faces: Tensor
    vertex_offsets: Tensor
    face_offsets: Tensor
    vertex_normals: Tensor | None = None
    vertex_colors: Tensor | None = None
    uvs: Tensor | None = None
    uv_offsets: Tensor | None = None
    face_uvs: Tensor | None = None
    corner_normals: Tensor | None = None
    materials: tuple[Material, ...] = ()
    material_offsets: tuple[int, ...] = (0,)
    face_materials: Tensor | None = None
    vertex_attributes: Mapping[str, Tensor] = field(default_factory=dict)
    face_attributes: Mapping[str, Tensor] = field(default_factory=dict)
    metadata: tuple[Mapping[str, Any], ...] = ()
    absent: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def batch_size(self) -> int:
        return self.vertex_offsets.shape[0] - 1

    @property
    def vertex_count(self) -> int:
        return self.vertices.shape[0]

    @property
    def face_count(self) -> int:
        return self.faces.shape[0]

    def __len__(self) -> int:
        return self.batch_size

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int):
            return _mesh(self, member_index(index, self.batch_size))
        return batch_meshes([_mesh(self, i) for i in selected_members(index, self.batch_size)])


@dataclass(frozen=True, kw_only=True)
class PaddedPoints(TensorStruct):
    """Point clouds as dense arrays, [B, N, ...]; places past `counts[b]` are padding (`padded_mask` tells). See `pad_points`."""

    positions: Tensor
    counts: Tensor
    normals: Tensor | None = None
    colors: Tensor | None = None
    attributes: Mapping[str, Tensor] = field(default_factory=dict)
    metadata: tuple[Mapping[str, Any], ...] = ()
    absent: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PaddedMeshes(TensorStruct):
    """Meshes as dense arrays, [B, V, ...] and [B, F, ...]; faces index their own row, and padding faces are -1. See `pad_meshes`."""

    vertices: Tensor
    faces: Tensor
    vertex_counts: Tensor
    face_counts: Tensor
    vertex_normals: Tensor | None = None
    vertex_colors: Tensor | None = None
    uvs: Tensor | None = None
    uv_counts: Tensor | None = None
    face_uvs: Tensor | None = None
    corner_normals: Tensor | None = None
    materials: tuple[Material, ...] = ()
    material_offsets: tuple[int, ...] = (0,)
    face_materials: Tensor | None = None
    vertex_attributes: Mapping[str, Tensor] = field(default_factory=dict)
    face_attributes: Mapping[str, Tensor] = field(default_factory=dict)
    metadata: tuple[Mapping[str, Any], ...] = ()
    absent: Mapping[str, Tensor] = field(default_factory=dict)


def batch_points(clouds: Sequence[PointCloud]) -> PointCloudBatch:
    """Pack point clouds into one batch. Gradient: every floating-point field.

    Raises:
        ArgumentError: a field has other types or trailing sizes in one cloud than in another.
    """
    counts = [cloud.point_count for cloud in clouds]
    packer = Packer("batch_points")
    return PointCloudBatch(
        positions=packer.pack("positions", [cloud.positions for cloud in clouds], counts, empty=(0, 3)),
        offsets=offsets_of(counts).to(device_of([cloud.positions for cloud in clouds])),
        normals=packer.pack_optional("normals", [cloud.normals for cloud in clouds], counts),
        colors=packer.pack_optional("colors", [cloud.colors for cloud in clouds], counts),
        attributes=packer.pack_mappings("attributes", [cloud.attributes for cloud in clouds], counts),
        metadata=tuple(cloud.metadata for cloud in clouds),
        absent=packer.absent,
    )


def batch_meshes(meshes: Sequence[Mesh]) -> MeshBatch:
    """Pack meshes into one batch. Gradient: every floating-point field.

    Raises:
        ArgumentError: a field has other types or trailing sizes in one mesh than in another.
    """
    vertex_counts, face_counts = [mesh.vertex_count for mesh in meshes], [mesh.face_count for mesh in meshes]
    device = device_of([mesh.vertices for mesh in meshes])
    starts = offsets_of(vertex_counts).tolist()
    packer = Packer("batch_meshes")
    uvs, uv_offsets, face_uvs = _pack_uvs(meshes, packer, device)
    materials, material_offsets, face_materials = _pack_materials(meshes, packer)
    return MeshBatch(
        vertices=packer.pack("vertices", [mesh.vertices for mesh in meshes], vertex_counts, empty=(0, 3)),
        faces=packer.pack("faces", [mesh.faces + start for mesh, start in zip(meshes, starts)], face_counts, empty=(0, 3), integer=True),
        vertex_offsets=offsets_of(vertex_counts).to(device),
        face_offsets=offsets_of(face_counts).to(device),
        vertex_normals=packer.pack_optional("vertex_normals", [mesh.vertex_normals for mesh in meshes], vertex_counts),
        vertex_colors=packer.pack_optional("vertex_colors", [mesh.vertex_colors for mesh in meshes], vertex_counts),
        uvs=uvs,
        uv_offsets=uv_offsets,
        face_uvs=face_uvs,
        corner_normals=packer.pack_optional("corner_normals", [mesh.corner_normals for mesh in meshes], face_counts),
        materials=materials,
        material_offsets=material_offsets,
        face_materials=face_materials,
        vertex_attributes=packer.pack_mappings("vertex_attributes", [mesh.vertex_attributes for mesh in meshes], vertex_counts),
        face_attributes=packer.pack_mappings("face_attributes", [mesh.face_attributes for mesh in meshes], face_counts),
        metadata=tuple(mesh.metadata for mesh in meshes),
        absent=packer.absent,
    )


def split_points(batch: PointCloudBatch) -> list[PointCloud]:
    """The clouds of a batch, as views of it."""
    return [_cloud(batch, i) for i in range(batch.batch_size)]


def split_meshes(batch: MeshBatch) -> list[Mesh]:
    """The meshes of a batch; all but the indices are views of it."""
    return [_mesh(batch, i) for i in range(batch.batch_size)]


def concatenate_points(batches: Sequence[PointCloudBatch]) -> PointCloudBatch:
    """One batch of all the clouds of several."""
    return batch_points([cloud for batch in batches for cloud in split_points(batch)])


def concatenate_meshes(batches: Sequence[MeshBatch]) -> MeshBatch:
    """One batch of all the meshes of several."""
    return batch_meshes([mesh for batch in batches for mesh in split_meshes(batch)])


def pad_points(batch: PointCloudBatch) -> PaddedPoints:
    """The batch as dense arrays [B, N, ...]; padding is 0."""
    fields = {name: _pad(getattr(batch, name), batch.offsets) for name in ("positions", "normals", "colors")}
    attributes = {name: pad_packed(value, batch.offsets) for name, value in batch.attributes.items()}
    return PaddedPoints(**fields, counts=batch.offsets.diff(), attributes=attributes, metadata=batch.metadata, absent=batch.absent)


def unpad_points(padded: PaddedPoints) -> PointCloudBatch:
    """The packed batch that `pad_points` came from."""
    counts = padded.counts
    fields = {name: _pack(getattr(padded, name), counts) for name in ("positions", "normals", "colors")}
    attributes = {name: pack_padded(value, counts) for name, value in padded.attributes.items()}
    offsets = offsets_of(counts)
    return PointCloudBatch(**fields, offsets=offsets, attributes=attributes, metadata=padded.metadata, absent=padded.absent)


_VERTEX_FIELDS = ("vertices", "vertex_normals", "vertex_colors")
_FACE_FIELDS = ("corner_normals", "face_materials")
_KEPT_FIELDS = ("materials", "material_offsets", "metadata", "absent")


def pad_meshes(batch: MeshBatch) -> PaddedMeshes:
    """The batch as dense arrays [B, V, ...] and [B, F, ...]. Padding is 0, and -1 for indices; indices count from each mesh's own row."""
    faces_by_mesh = batch.face_offsets.diff()
    local = lambda index, offsets: index - offsets[:-1].repeat_interleave(faces_by_mesh)[:, None]
    face_uvs = None
    if batch.face_uvs is not None and batch.uv_offsets is not None:
        face_uvs = pad_packed(local(batch.face_uvs, batch.uv_offsets), batch.face_offsets, fill=-1)
    return PaddedMeshes(
        **{name: _pad(getattr(batch, name), batch.vertex_offsets) for name in _VERTEX_FIELDS},
        **{name: _pad(getattr(batch, name), batch.face_offsets, fill=-1 if name == "face_materials" else 0) for name in _FACE_FIELDS},
        **{name: getattr(batch, name) for name in _KEPT_FIELDS},
        faces=pad_packed(local(batch.faces, batch.vertex_offsets), batch.face_offsets, fill=-1),
        vertex_counts=batch.vertex_offsets.diff(),
        face_counts=faces_by_mesh,
        uvs=None if batch.uvs is None or batch.uv_offsets is None else pad_packed(batch.uvs, batch.uv_offsets),
        uv_counts=None if batch.uv_offsets is None else batch.uv_offsets.diff(),
        face_uvs=face_uvs,
        vertex_attributes={name: pad_packed(value, batch.vertex_offsets) for name, value in batch.vertex_attributes.items()},
        face_attributes={name: pad_packed(value, batch.face_offsets) for name, value in batch.face_attributes.items()},
    )


def unpad_meshes(padded: PaddedMeshes) -> MeshBatch:
    """The packed batch that `pad_meshes` came from."""
    vertex_offsets, face_offsets = offsets_of(padded.vertex_counts), offsets_of(padded.face_counts)
    uv_offsets = None if padded.uv_counts is None else offsets_of(padded.uv_counts)
    shift = lambda index, offsets: pack_padded(index, padded.face_counts) + offsets[:-1].repeat_interleave(padded.face_counts)[:, None]
    return MeshBatch(
        **{name: _pack(getattr(padded, name), padded.vertex_counts) for name in _VERTEX_FIELDS},
        **{name: _pack(getattr(padded, name), padded.face_counts) for name in _FACE_FIELDS},
        **{name: getattr(padded, name) for name in _KEPT_FIELDS},
        faces=shift(padded.faces, vertex_offsets),
        vertex_offsets=vertex_offsets,
        face_offsets=face_offsets,
        uvs=None if padded.uvs is None or padded.uv_counts is None else pack_padded(padded.uvs, padded.uv_counts),
        uv_offsets=uv_offsets,
        face_uvs=None if padded.face_uvs is None or uv_offsets is None else shift(padded.face_uvs, uv_offsets),
        vertex_attributes={name: pack_padded(value, padded.vertex_counts) for name, value in padded.vertex_attributes.items()},
        face_attributes={name: pack_padded(value, padded.face_counts) for name, value in padded.face_attributes.items()},
    )


def _pack_uvs(meshes: Sequence[Mesh], packer: Packer, device: torch.device) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    if all(mesh.uvs is None for mesh in meshes):
        return None, None, None
    counts = [0 if mesh.uvs is None else mesh.uvs.shape[0] for mesh in meshes]
    offsets = offsets_of(counts)
    uvs = packer.pack_optional("uvs", [mesh.uvs for mesh in meshes], counts)
    face_uvs = None
    if any(mesh.face_uvs is not None for mesh in meshes):
        packer.absent["face_uvs"] = torch.tensor([mesh.face_uvs is None for mesh in meshes], device=device)
        rows = []
        for mesh, start in zip(meshes, offsets.tolist()):
            if mesh.face_uvs is not None:
                rows.append(mesh.face_uvs + start)
            else:
                rows.append(torch.full_like(mesh.faces, -1) if mesh.uvs is None else mesh.faces + start)
        face_uvs = torch.cat(rows)
    return uvs, offsets.to(device), face_uvs


def _pack_materials(meshes: Sequence[Mesh], packer: Packer) -> tuple[tuple[Material, ...], tuple[int, ...], Tensor | None]:
    offsets = tuple(offsets_of([len(mesh.materials) for mesh in meshes]).tolist())
    materials = tuple(material for mesh in meshes for material in mesh.materials)
    if not materials and all(mesh.face_materials is None for mesh in meshes):
        return materials, offsets, None
    rows = []
    for mesh, start in zip(meshes, offsets):
        if mesh.face_materials is not None:
            rows.append(torch.where(mesh.face_materials < 0, -1, mesh.face_materials + start))
        else:  # every face has the first material, if there is one
            rows.append(torch.full_like(mesh.faces[:, 0], start if mesh.materials else -1))
    packer.absent["face_materials"] = torch.tensor([mesh.face_materials is None for mesh in meshes], device=rows[0].device)
    return materials, offsets, torch.cat(rows)


def _cloud(batch: PointCloudBatch, i: int) -> PointCloud:
    rows = slice(int(batch.offsets[i]), int(batch.offsets[i + 1]))
    return PointCloud(
        positions=batch.positions[rows],
        normals=member_rows(batch, "normals", batch.normals, i, rows),
        colors=member_rows(batch, "colors", batch.colors, i, rows),
        attributes=member_mapping(batch, "attributes", i, rows),
        metadata=batch.metadata[i] if batch.metadata else {},
    )


def _mesh(batch: MeshBatch, i: int) -> Mesh:
    vertices = slice(int(batch.vertex_offsets[i]), int(batch.vertex_offsets[i + 1]))
    faces = slice(int(batch.face_offsets[i]), int(batch.face_offsets[i + 1]))
    uvs = slice(0, 0) if batch.uv_offsets is None else slice(int(batch.uv_offsets[i]), int(batch.uv_offsets[i + 1]))
    has_materials = len(batch.material_offsets) > 1
    materials = slice(batch.material_offsets[i], batch.material_offsets[i + 1]) if has_materials else slice(0, None)
    face_uvs = member_rows(batch, "face_uvs", batch.face_uvs, i, faces)
    face_materials = member_rows(batch, "face_materials", batch.face_materials, i, faces)
    if face_materials is not None:
        face_materials = torch.where(face_materials < 0, -1, face_materials - (materials.start or 0))
    return Mesh(
        vertices=batch.vertices[vertices],
        faces=batch.faces[faces] - vertices.start,
        vertex_normals=member_rows(batch, "vertex_normals", batch.vertex_normals, i, vertices),
        vertex_colors=member_rows(batch, "vertex_colors", batch.vertex_colors, i, vertices),
        uvs=member_rows(batch, "uvs", batch.uvs, i, uvs),
        face_uvs=None if face_uvs is None else face_uvs - uvs.start,
        corner_normals=member_rows(batch, "corner_normals", batch.corner_normals, i, faces),
        materials=batch.materials[materials],
        face_materials=face_materials,
        vertex_attributes=member_mapping(batch, "vertex_attributes", i, vertices),
        face_attributes=member_mapping(batch, "face_attributes", i, faces),
        metadata=batch.metadata[i] if batch.metadata else {},
    )


def _pad(values: Tensor | None, offsets: Tensor, fill: float = 0) -> Any:
    return None if values is None else pad_packed(values, offsets, fill=fill)


def _pack(padded: Tensor | None, counts: Tensor) -> Any:
    return None if padded is None else pack_padded(padded, counts)
