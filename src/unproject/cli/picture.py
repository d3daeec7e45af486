"""The picture of a fit: the scan above and the mesh below, from two sides each."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..geometry.material import Material
from ..geometry.mesh import Mesh
from ..geometry.normals import face_normals
from ..geometry.points import PointCloud
from ..io.atomic import atomic_write, write_all
from ..io.images import encode_png
from ..render.color import srgb_from_linear
from ..render.framing import frame_camera
from ..render.points import point_radii, render_points
from ..render.render import RenderOptions, render_mesh

_VIEW = (440, 560)  # height and width of one view, pixels
_AZIMUTHS = (40.0, 220.0)
_SURFACE, _POINTS = (0.62, 0.68, 0.76), (0.12, 0.25, 0.62)  # linear reflectance of what has no colours
_INSIDE = (0.95, 0.55, 0.4)  # tint of faces that are seen from inside
_OPTIONS = RenderOptions(supersampling=2)


def save_fit_picture(path: Path, points: PointCloud, mesh: Mesh, *, up_axis: str = "y") -> None:
    """Write a PNG of both, framed by the mesh: points far from it may lie outside the picture. The mesh's inside is orange."""
    center = mesh.vertices.double().mean(0)
    mesh = dataclasses.replace(mesh, vertices=(mesh.vertices.double() - center).float())
    positions = (points.positions.double() - center).float()
    near = _near(positions, mesh.vertices)
    own = srgb_from_linear(torch.tensor(_POINTS)).expand(positions.shape) if points.colors is None else points.colors
    points = PointCloud(positions=positions[near], colors=own[near])
    with torch.no_grad():
        mesh = _colored(mesh)
        cameras = [
            frame_camera(mesh.vertices, image_size=_VIEW, azimuth_deg=azimuth, elevation_deg=12.0, up_axis=up_axis) for azimuth in _AZIMUTHS
        ]
        radius = point_radii(points.positions, neighbor=1)  # small, for the scan's noise and outliers to be seen
        above = [render_points(points, camera, radius=radius).color for camera in cameras]
        below = [_mesh_view(mesh, camera) for camera in cameras]
    image = torch.cat([torch.cat(above, 1), torch.cat(below, 1)])
    with atomic_write(path) as file:
        write_all(file, encode_png(image))


def _near(positions: Tensor, vertices: Tensor) -> Tensor:
    """Which points lie in the mesh's bounding box, widened by its own size."""
    low, high = vertices.amin(0), vertices.amax(0)
    room = (high - low).max()
    return ((positions >= low - room) & (positions <= high + room)).all(1)


def _colored(mesh: Mesh) -> Mesh:
    """The mesh with one colour if it has none."""
    if mesh.vertex_colors is not None or mesh.materials:
        return mesh
    chosen = torch.tensor(_SURFACE)
    return dataclasses.replace(mesh, materials=(Material(ambient=chosen, diffuse=chosen, specular=torch.zeros(3)),), face_materials=None)


def _mesh_view(mesh: Mesh, camera: Camera) -> Tensor:
    shown = render_mesh(mesh, camera, options=_OPTIONS)
    eye = torch.linalg.inv(camera.camera_from_world)[:3, 3]
    outward = face_normals(mesh.vertices, mesh.faces)[shown.face.clamp_min(0)]
    inside = (shown.face >= 0) & ((outward * (eye - shown.position)).sum(-1) < 0)
    return torch.where(inside[..., None], shown.color * shown.color.new_tensor(_INSIDE), shown.color)
