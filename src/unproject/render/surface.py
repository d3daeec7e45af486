"""What lies beneath each covered pixel of a raster: position, normals, texture coordinates, and how fast these change."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..geometry.batch import MeshBatch
from ..geometry.mesh import Mesh
from ..geometry.normals import face_normals, vertex_normals
from ..geometry.sample import interpolate_rows
from ..struct import TensorStruct
from .interpolate import Pixels, corner_table
from .light import Places
from .project import Projection
from .vectors import turned, unit_vectors


@dataclass(frozen=True, kw_only=True)
class Surface(TensorStruct):
    """Meshes flattened for a batch of images: rows of vertices, and where each image finds its own.

    Attributes:
        vertices: [R, 3]; the same for all images, or V rows for each.
        faces: [F, 3] into the first V rows.
        normals: [N, 3] normals of vertices or corners.
        normal_corners: [F, 3] rows of `normals`.
        uvs, uv_corners: [T, 2] and [F, 3], or None.
        stride: rows of an image, 0 if all images share them; for vertices and normals alike.
        normal_stride: the same for normals.
        world_from_camera: [B, 4, 4].
        batch: the batch shape of the images.
        orthographic: whether the eye is at infinity.
    """

    vertices: Tensor
    faces: Tensor
    normals: Tensor
    normal_corners: Tensor
    uvs: Tensor | None
    uv_corners: Tensor | None
    stride: int
    normal_stride: int
    world_from_camera: Tensor
    batch: tuple[int, ...]
    orthographic: bool

    @property
    def image_count(self) -> int:
        return self.world_from_camera.shape[0]


@dataclass(frozen=True, kw_only=True)
class SeenFaces(TensorStruct):
    """The faces that an image shows, each once an image.

    Attributes:
        face, image: [K].
        of_pixel: [P] which of them each pixel shows.
        corners: [K, 3, 3] positions.
        normal: [K, 3] unit normals of the faces, turned to the eye; no gradient.
    """

    face: Tensor
    image: Tensor
    of_pixel: Tensor
    corners: Tensor
    normal: Tensor


def make_surface(mesh: Mesh | MeshBatch, scene: Projection, camera: Camera) -> Surface:
    """Flatten a mesh whose projection is `scene`. Gradient: everything that the mesh and the camera hold."""
    vertices, faces = mesh.vertices, scene.faces
    count = scene.images.shape[0]
    stride = 0
    if vertices.dim() > 2:
        lead = tuple(vertices.shape[:-2])
        stride = vertices.shape[-2] if lead != (1,) * len(lead) else 0
        each = vertices.expand(*scene.shape, *vertices.shape[-2:]) if stride else vertices
        vertices = each.reshape(-1, 3)
    normals, normal_corners, normal_stride = _normals(mesh, vertices, faces, stride)
    uv_corners = None
    if mesh.uvs is not None:
        uv_corners = faces if mesh.face_uvs is None else mesh.face_uvs
        if isinstance(mesh, MeshBatch) and mesh.face_uvs is None and mesh.uv_offsets is not None:  # one UV a vertex, where a mesh has some
            shift = (mesh.uv_offsets - mesh.vertex_offsets)[:-1].repeat_interleave(mesh.face_offsets.diff())
            uv_corners = faces + shift.to(faces.device)[:, None]
        uv_corners = uv_corners.clamp(0, max(mesh.uvs.shape[0] - 1, 0))
    pose = camera.camera_from_world.to(vertices.dtype).expand(*scene.shape, 4, 4).reshape(count, 4, 4)
    rotation = pose[:, :3, :3].mT
    center = -(rotation @ pose[:, :3, 3:])
    bottom = pose.new_tensor([[[0.0, 0.0, 0.0, 1.0]]]).expand(count, 1, 4)
    return Surface(
        vertices=vertices, faces=faces, normals=normals, normal_corners=normal_corners,
        uvs=None if mesh.uvs is None else mesh.uvs.to(vertices.dtype), uv_corners=uv_corners, stride=stride, normal_stride=normal_stride,
        world_from_camera=torch.cat([torch.cat([rotation, center], -1), bottom], 1), batch=scene.shape, orthographic=scene.orthographic,
    )  # fmt: skip


def _normals(mesh: Mesh | MeshBatch, vertices: Tensor, faces: Tensor, stride: int) -> tuple[Tensor, Tensor, int]:
    """Normals that the mesh has, else those of its shape; its own ones count as long as all images share them."""
    if mesh.corner_normals is not None:
        own = mesh.corner_normals.to(vertices.dtype)
        if isinstance(mesh, MeshBatch) and "corner_normals" in mesh.absent:  # some meshes of the batch have none
            own = torch.where(own.isnan(), vertex_normals(vertices, faces)[faces], own)
        return own.reshape(-1, 3), corner_table(faces.shape[0], faces.device), 0
    if mesh.vertex_normals is not None:
        own = mesh.vertex_normals.to(vertices.dtype)
        if isinstance(mesh, MeshBatch) and "vertex_normals" in mesh.absent:
            own = torch.where(own.isnan(), vertex_normals(vertices, faces), own)
        return own, faces, 0
    if not stride:
        return vertex_normals(vertices, faces), faces, 0
    images = vertices.shape[0] // stride
    each = (faces[None] + torch.arange(images, device=faces.device)[:, None, None] * stride).reshape(-1, 3)
    return vertex_normals(vertices, each), faces, stride


def seen_faces(surface: Surface, pixels: Pixels) -> SeenFaces:
    """The faces of the pixels. Gradient: corners."""
    count = surface.faces.shape[0]
    key = pixels.face if surface.image_count == 1 else pixels.image * count + pixels.face
    used = torch.zeros(count * surface.image_count, dtype=torch.bool, device=key.device)
    used[key] = True
    seen = used.nonzero()[:, 0]
    place = torch.empty(used.shape[0], dtype=torch.int64, device=key.device)
    place[seen] = torch.arange(seen.shape[0], device=key.device)
    face, image = (seen, torch.zeros_like(seen)) if surface.image_count == 1 else (seen % max(count, 1), seen // max(count, 1))
    rows = surface.faces[face] + (image * surface.stride)[:, None]
    corners = surface.vertices[rows]
    with torch.no_grad():
        flat = corners.detach()
        normal = face_normals(flat.reshape(-1, 3), corner_table(len(face), face.device))
        normal = turned(normal, _toward_eye(surface, flat.mean(1), image))
    return SeenFaces(face=face, image=image, of_pixel=place[key], corners=corners, normal=normal)


def positions_at(surface: Surface, pixels: Pixels) -> Tensor:
    """[P, 3] world. Gradient: vertices and barycentrics."""
    return _rows(surface.vertices, surface.faces, pixels, surface.stride)


def uvs_at(surface: Surface, pixels: Pixels) -> Tensor | None:
    """[P, 2], or None. Gradient: uvs and barycentrics."""
    if surface.uvs is None or surface.uv_corners is None:
        return None
    return _rows(surface.uvs, surface.uv_corners, pixels, 0)


def normals_at(surface: Surface, pixels: Pixels) -> Tensor:
    """[P, 3] interpolated unit normals; zero where they cancel. Gradient: normals and barycentrics."""
    return unit_vectors(_rows(surface.normals, surface.normal_corners, pixels, surface.normal_stride))


def _rows(values: Tensor, corners: Tensor, pixels: Pixels, stride: int) -> Tensor:
    base = pixels.image * stride if stride else None
    return interpolate_rows(values, corners, pixels.face, pixels.barycentrics, base=base)


def places_of(surface: Surface, position: Tensor, image: Tensor) -> Places:
    return Places(position=position, world_from_camera=surface.world_from_camera, image=image, batch=surface.batch)


def toward_eye(surface: Surface, position: Tensor, image: Tensor) -> Tensor:
    """Unit vectors [P, 3] to the camera. Gradient: positions and cameras."""
    return unit_vectors(_toward_eye(surface, position, image))


def _toward_eye(surface: Surface, position: Tensor, image: Tensor) -> Tensor:
    each = (lambda v: v) if surface.image_count == 1 else (lambda v: v[image])
    if surface.orthographic:
        return each(-surface.world_from_camera[:, :3, 2]).expand_as(position)
    return each(surface.world_from_camera[:, :3, 3]) - position


def uv_footprint(surface: Surface, scene: Projection, pixels: Pixels) -> Tensor:
    """[P, 2, 2] change of the texture coordinates over one pixel to the right (row 0) and downwards (row 1), without a lens. No gradient.

    From the homogeneous image coordinates of the corners: barycentrics are e / sum(e) with e linear over the image.
    """
    assert surface.uvs is not None and surface.uv_corners is not None
    with torch.no_grad():
        base = 0 if surface.image_count == 1 else scene.images[:, 2].to(pixels.image.device)[pixels.image][:, None]
        corners = scene.points.detach()[surface.faces[pixels.face] + base].double()
        if surface.orthographic:
            corners = torch.cat([corners[..., :2], torch.ones_like(corners[..., 2:])], -1)
        a, b, c = corners.unbind(1)
        edges = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], 1)  # times the determinant
        weights = pixels.barycentrics.detach().double()
        seen = (weights[..., None] * corners).sum(1)  # on the pixel's ray, so also where a lens has moved the pixel
        at = seen / torch.where(seen[:, 2:] == 0, 1, seen[:, 2:])
        total = (edges.sum(1) * at).sum(-1)
        safe = torch.where(total == 0, 1, total)[:, None, None]
        change = (edges[..., :2] - weights[..., None] * edges.sum(1, keepdim=True)[..., :2]) / safe
        uvs = surface.uvs.detach().double()[surface.uv_corners[pixels.face]]
        return torch.where(total[:, None, None] == 0, 0, change.mT @ uvs).to(surface.uvs.dtype)
