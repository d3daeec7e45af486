"""A mesh as the pose estimator sees it: around its middle, of unit diameter, with few faces and with colours that can be looked up."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import ArgumentError, DataError, check_indices, check_shape
from ..geometry.decimate import decimate
from ..geometry.mesh import Mesh
from ..geometry.neighbors import knn, nearest
from ..geometry.normals import face_areas, face_normals
from ..geometry.point_index import PointIndex, build_index
from ..geometry.sample import sample_surface
from ..render.texture import sample_texture
from ..struct import TensorStruct
from .metrics import object_diameter

_CLOUD = 40_000
_BLUR_NEIGHBORS = 48
_LEAST_CONTRAST = 0.02  # standard deviation of colours below which a mesh counts as plain


@dataclass(frozen=True, kw_only=True)
class ObjectModel(TensorStruct):
    """What is known of an object, in its working frame: p_working = (p_mesh - center) / diameter.

    Attributes:
        mesh: float32, decimated, working frame.
        normals: [F, 3] of its faces.
        center: [3] float64, mesh frame. diameter: mesh units.
        thinnest: length along the shortest principal axis, diameters.
        cloud: index of points [N, 3] on the whole surface. colors: [2, N, 3] their colours, sharp and blurred.
        is_colored: whether the colours vary, so that they tell something about the pose.
        key: hash of the mesh's content.
    """

    mesh: Mesh
    normals: Tensor
    center: Tensor
    diameter: float
    thinnest: float
    cloud: PointIndex
    colors: Tensor
    is_colored: bool
    key: str

    def to_working(self, camera_from_object: Tensor) -> Tensor:
        """Poses [..., 4, 4] of the mesh as poses of the working frame (float64; lengths in diameters)."""
        pose = camera_from_object.double().clone()
        pose[..., :3, 3] = (pose[..., :3, 3] + pose[..., :3, :3] @ self.center) / self.diameter
        return pose

    def from_working(self, pose: Tensor) -> Tensor:
        """The inverse of `to_working`."""
        result = pose.double().clone()
        result[..., :3, 3] = result[..., :3, 3] * self.diameter - result[..., :3, :3] @ self.center
        return result


def make_object_model(mesh: Mesh, *, face_count: int = 12_000) -> ObjectModel:
    """Prepare a mesh for pose estimation.

    Args:
        mesh: any; holes and open parts do not matter. Colours come from its vertices or diffuse textures.
        face_count: faces to keep for rendering.

    Raises:
        DataError: a mesh without faces or without area.
        ArgumentError: vertices that are not finite, or wrong indices.
    """
    where = "estimate_pose"
    vertices = check_shape(mesh.vertices, ["V", 3], name="mesh.vertices", where=where, finite=True).detach().double().cpu()
    if mesh.face_count == 0:
        raise DataError(f"{where}: the mesh has no faces; a pose needs a surface (reconstruct one from points with `unproject fit`)")
    check_indices(mesh.faces, mesh.vertex_count, name="mesh.faces", where=where)
    used = vertices[mesh.faces.unique()]
    diameter = object_diameter(used)
    if not diameter > 0 or not float(face_areas(vertices, mesh.faces).sum()) > 0:
        raise DataError(f"{where}: the mesh has no area")
    center = (used.amin(0) + used.amax(0)) / 2
    working = ((vertices - center) / diameter).float()
    cloud, colors = _colored_cloud(replace(mesh, vertices=working))
    bare = Mesh(vertices=working, faces=mesh.faces)
    if bare.face_count > face_count:
        bare = decimate(bare, face_count)
    contrast = float(colors[1].std(0).max())
    return ObjectModel(
        mesh=bare, normals=face_normals(bare.vertices, bare.faces), center=center, diameter=diameter,
        thinnest=_shortest(cloud), cloud=build_index(cloud), colors=colors, is_colored=contrast > _LEAST_CONTRAST, key=_content_key(mesh),
    )  # fmt: skip


def _shortest(points: Tensor) -> float:
    """Extent of points [N, 3] along that of their principal axes along which it is least."""
    away = points.double() - points.double().mean(0)
    low, high = (away @ torch.linalg.eigh(away.T @ away).eigenvectors).aminmax(dim=0)
    return float((high - low).min())


def colors_at(model: ObjectModel, points: Tensor, *, blurred: bool) -> Tensor:
    """Colours [..., 3] of the surface at points [..., 3] of the working frame; grey for a plain mesh."""
    if not model.is_colored:
        return torch.full_like(points, 0.7)
    found = nearest(points.reshape(-1, 3), model.cloud).index
    return model.colors[int(blurred)][found].reshape(points.shape)


def _colored_cloud(mesh: Mesh) -> tuple[Tensor, Tensor]:
    """Points on a mesh with their colours, sharp and averaged over neighbours that face the same way."""
    samples = sample_surface(mesh, _CLOUD, stratified=True, generator=torch.Generator().manual_seed(0))
    points, sharp = samples.positions.detach(), surface_colors(mesh, samples.faces, samples.barycentrics)
    if float(sharp.std(0).max()) <= _LEAST_CONTRAST:
        return points, torch.stack([sharp, sharp])
    normals = face_normals(mesh.vertices, mesh.faces)[samples.faces]
    near = knn(points, points, _BLUR_NEIGHBORS).index
    alike = ((normals[near] * normals[:, None]).sum(-1) > 0.5).float()[..., None]
    return points, torch.stack([sharp, (sharp[near] * alike).sum(1) / alike.sum(1).clamp(min=1)])


def surface_colors(mesh: Mesh, faces: Tensor, barycentrics: Tensor) -> Tensor:
    """Diffuse colours [N, 3], display-encoded, of points on faces [N] with weights [N, 3]: vertex colours times textures."""
    color = torch.ones(len(faces), 3)
    if mesh.vertex_colors is not None:
        color = (mesh.vertex_colors[mesh.faces[faces]][..., :3].float() * barycentrics[..., None]).sum(1)
    if not mesh.materials:
        return color
    owner = torch.zeros(len(faces), dtype=torch.int64) if mesh.face_materials is None else mesh.face_materials[faces]
    corners = mesh.face_uvs if mesh.face_uvs is not None else mesh.faces
    for number, material in enumerate(mesh.materials):
        chosen = owner == number
        if not bool(chosen.any()):
            continue
        tint = material.diffuse.float().clamp(0, 1) ** (1 / 2.2)
        if material.diffuse_texture is not None and mesh.uvs is not None:
            uvs = (mesh.uvs[corners[faces[chosen]]].float() * barycentrics[chosen][..., None]).sum(1)
            tint = tint * sample_texture(material.diffuse_texture.float(), uvs)[..., :3]
        color[chosen] = color[chosen] * tint
    return color


def _content_key(mesh: Mesh) -> str:
    """A hash of everything that templates depend on."""
    digest = hashlib.sha256()
    textures = [t for m in mesh.materials for t in (m.diffuse, m.diffuse_texture)]
    for value in (mesh.vertices, mesh.faces, mesh.vertex_colors, mesh.uvs, mesh.face_uvs, mesh.face_materials, *textures):
        digest.update(b"none" if value is None else str(tuple(value.shape)).encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:24]


def check_scale(model: ObjectModel, distance: float, *, source: str, where: str) -> None:
    """Refuse a mesh whose unit cannot be that of the depth image or of the start.

    Args:
        distance: of the object from the camera, mesh units. source: the argument that says so.

    Raises:
        ArgumentError: the object would be far larger than its distance, or too small to be seen.
    """
    ratio = distance / model.diameter
    if 0.3 < ratio < 300:
        return
    factor = "1000 times too large" if ratio <= 0.3 else "1000 times too small"
    raise ArgumentError(
        f"{where}: the mesh has a diameter of {model.diameter:.4g}, and `{source}` says that it is {distance:.4g} away: is the mesh "
        f"{factor} (millimetres and metres)? Scale the mesh, or give `{source}` in the mesh's unit"
    )
