"""The picture of a fit: the scan and the mesh side by side, from two sides each."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..camera.camera import Camera, perspective_camera
from ..camera.transform import world_to_screen
from ..camera.viewpoints import orbit
from ..geometry.mesh import Mesh
from ..geometry.normals import face_normals
from ..geometry.points import PointCloud
from ..io.atomic import atomic_write
from ..render.rasterize import rasterize

_SIZE, _SCALE = 480, 2  # pixels of one view, and samples a pixel along each side
_VIEWS = ((30.0, 20.0), (210.0, 10.0))  # azimuth, elevation
_GREY, _BLUE, _INSIDE = (0.78, 0.82, 0.88), (0.25, 0.42, 0.85), (0.90, 0.58, 0.45)


def save_fit_picture(path: Path, points: PointCloud, mesh: Mesh) -> None:
    """Write a PNG: the scan above, the mesh below (its inside in orange)."""
    low, high = mesh.vertices.double().amin(0), mesh.vertices.double().amax(0)
    centre, size = (low + high) / 2, float((high - low).norm())
    place = lambda p: ((p.double() - centre) / max(size, 1e-30)).float()
    cameras = [
        perspective_camera(fov_y_deg=30.0, image_size=(_SIZE * _SCALE, _SIZE * _SCALE), camera_from_world=orbit(azimuth, elevation, 2.2))
        for azimuth, elevation in _VIEWS
    ]
    above = torch.cat([_draw_points(place(points.positions), points.colors, camera) for camera in cameras], 1)
    below = torch.cat([_draw_mesh(place(mesh.vertices), mesh, camera) for camera in cameras], 1)
    with atomic_write(path) as file:
        Image.fromarray(_to_bytes(torch.cat([above, below])).numpy()).save(file, format="PNG")


def _draw_points(positions: Tensor, colors: Tensor | None, camera: Camera) -> Tensor:
    """One dot a point, the nearest in front."""
    height, width = camera.image_size
    screen = world_to_screen(camera, positions)
    x, y = screen[:, 0].long(), screen[:, 1].long()
    rgb = positions.new_tensor(_BLUE).expand(len(positions), 3) if colors is None else colors[:, :3]
    order = screen[:, 2].argsort(descending=True)
    image = positions.new_ones(height * width, 3)
    for dx, dy in ((1, 0), (0, 1), (1, 1), (0, 0)):
        column, row = x + dx, y + dy
        inside = ((column >= 0) & (column < width) & (row >= 0) & (row < height) & (screen[:, 2] > 0))[order]
        pixel = (row * width + column)[order][inside]
        front = torch.full((height * width,), -1, dtype=torch.int64).scatter_reduce(0, pixel, torch.arange(len(pixel)), "amax")
        drawn = front >= 0
        image[drawn] = rgb[order][inside][front[drawn]].to(image)
    return image.view(height, width, 3)


def _draw_mesh(vertices: Tensor, mesh: Mesh, camera: Camera) -> Tensor:
    fragments = rasterize(vertices, mesh.faces, camera)
    hit = fragments.face >= 0
    corners = mesh.faces[fragments.face[hit]]
    weights = fragments.barycentrics[hit][:, :, None]
    normal = face_normals(vertices, mesh.faces)[fragments.face[hit]]
    position = (vertices[corners] * weights).sum(1)
    eye = torch.linalg.inv(camera.camera_from_world)[:3, 3]
    toward = torch.nn.functional.normalize(eye - position, dim=1)
    cosine = (normal * toward).sum(1, keepdim=True)
    outside = (
        torch.tensor(_GREY).expand_as(normal) if mesh.vertex_colors is None else (mesh.vertex_colors[corners][..., :3] * weights).sum(1)
    )
    light = torch.nn.functional.normalize(toward + vertices.new_tensor([0.3, 0.6, 0.0]), dim=1)
    shade = 0.3 + 0.7 * (normal * cosine.sign() * light).sum(1, keepdim=True).clamp_min(0)
    image = vertices.new_ones(*fragments.face.shape, 3)
    image[hit] = torch.where(cosine > 0, outside.to(image), vertices.new_tensor(_INSIDE)) * shade
    return image


def _to_bytes(image: Tensor) -> Tensor:
    """Average the samples of each pixel and convert to 8 bits."""
    small = torch.nn.functional.avg_pool2d(image.permute(2, 0, 1)[None], _SCALE)[0].permute(1, 2, 0)
    return (small.clamp(0, 1) * 255).round().to(torch.uint8).contiguous()
