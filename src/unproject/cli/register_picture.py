"""The picture of a registration: the scene as its sensor saw it, and the same with the model in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..camera.camera import Camera, perspective_camera
from ..camera.viewpoints import look_at
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud
from ..io.atomic import atomic_write
from ..register.shape import Shape, make_shape, spacing, thin, with_normals
from ..register.verify import seen_from, splat

_SIZE = 640  # pixels
_RED = (0.9, 0.15, 0.1)


def save_overlay(path: Path, scene: PointCloud, model: Mesh | PointCloud, poses: Sequence[Tensor]) -> None:
    """Write a PNG: left the scene, right the scene with the model at its poses, in red where nothing is in front of it."""
    place, part = make_shape(scene, name="scene", where="register"), make_shape(model, name="model", where="register")
    camera = _camera(place)
    place = with_normals(thin(place, place.diameter / 1500) if place.point_count > 500_000 else place)
    depth, rgb = _draw(place.points, place, camera)
    both = rgb.clone()
    for pose in poses:
        moved = (part.points.double() + part.origin) @ pose[:3, :3].T + pose[:3, 3] - place.origin
        near, index = splat(moved.float(), camera)
        shown = (index >= 0) & ((depth <= 0) | (near < depth + 0.01 * place.diameter))
        both[shown] = 0.45 * both[shown] + 0.55 * torch.tensor(_RED)
    image = (torch.cat([rgb, both], 1).clamp(0, 1) * 255).round().to(torch.uint8)
    with atomic_write(path) as file:
        Image.fromarray(image.numpy()).save(file, format="PNG")


def _camera(scene: Shape) -> Camera:
    """From the origin, if the scene was seen from there; else from a corner of its box."""
    zero = torch.zeros(3, dtype=torch.float64)
    distance = scene.diameter
    eye = torch.tensor([0.5, 0.6, 0.62]) * 1.6 * distance
    up = torch.tensor([0.0, 1.0, 0.0])
    if seen_from(scene, zero, spacing(scene)) and float(scene.origin.norm()) > 0.3 * distance:
        eye = -scene.origin.float()
        distance = float(eye.norm())
        up = torch.tensor([0.0, -1.0, 0.0]) if float(scene.origin[2]) > 0 else up  # sensors look along +z with y down, or along -z
    reach = (
        float((scene.points - scene.points.median(0).values).norm(dim=1).quantile(0.9)) if scene.point_count < 1 << 23 else scene.diameter
    )
    angle = 2.3 * torch.rad2deg(torch.atan(torch.tensor(reach / float(eye.norm()))))
    pose = look_at(eye, scene.points.median(0).values, up)
    return perspective_camera(pose, image_size=(_SIZE, _SIZE), fov_y_deg=min(float(angle), 100.0), near=1e-3 * distance, far=1e3 * distance)


def _draw(points: Tensor, scene: Shape, camera: Camera) -> tuple[Tensor, Tensor]:
    """Depth [H, W] and a shaded picture [H, W, 3]; each point covers the pixels around it."""
    assert scene.normals is not None
    eye = torch.linalg.inv(camera.camera_from_world)[:3, 3]
    shade = 0.35 + 0.65 * (scene.normals * torch.nn.functional.normalize(points - eye, dim=1)).sum(1, keepdim=True).abs()
    colors = (torch.full_like(points, 0.8) if scene.colors is None else scene.colors) * shade
    depth, index = splat(points, camera)
    rgb = torch.where((index >= 0)[..., None], colors[index.clamp_min(0)], 1.0)
    for shift in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        hole = depth <= 0
        other, color = torch.roll(depth, shift, (0, 1)), torch.roll(rgb, shift, (0, 1))
        depth, rgb = torch.where(hole, other, depth), torch.where(hole[..., None], color, rgb)
    return depth, rgb
