"""Pictures of objects at known poses, to estimate: random viewpoint, light, background, and something in front of the object."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

import unproject as up
from unproject.geometry.join import join_meshes
from unproject.lie.so3 import so3_exp, so3_random

SIZE = (240, 320)


@dataclass(frozen=True)
class Scene:
    """A picture of a mesh: camera_from_object [4, 4] float64; color [H, W, 3]; mask [H, W] what is seen of the object; depth [H, W]."""

    camera: up.Camera
    camera_from_object: Tensor
    color: Tensor
    mask: Tensor
    depth: Tensor


def make_pot() -> up.Mesh:
    """A coloured pot with a spout, a handle and a knob: mirror symmetric as a shape, not symmetric in its colours."""
    ball, torus, pipe = up.icosphere(3), up.torus(), up.cylinder()
    shift = lambda mesh, scale, place: up.make_mesh(mesh.vertices * torch.tensor(scale) + torch.tensor(place), mesh.faces)
    spout = shift(pipe, (0.22, 0.8, 0.22), (0.0, 0.0, 0.0))
    turn = so3_exp(torch.tensor([0.0, 0.0, -0.8]))
    spout = up.make_mesh(spout.vertices @ turn.T + torch.tensor([1.0, 0.25, 0.0]), spout.faces)
    size = torus.vertices.amax(0) - torus.vertices.amin(0)
    flat = int(size.argmin())
    order = [i for i in range(3) if i != flat] + [flat]
    handle = up.make_mesh(torus.vertices[:, order] * torch.tensor([0.5, 0.55, 0.5]) + torch.tensor([-1.05, 0.1, 0.0]), torus.faces)
    parts = [shift(ball, (1.0, 0.75, 1.0), (0.0, 0.0, 0.0)), spout, handle, shift(up.icosphere(2), (0.2, 0.2, 0.2), (0.0, 0.85, 0.0))]
    whole = join_meshes(parts)
    v = whole.vertices
    waves = [torch.sin(5 * v[:, 0] + 2.0 * v[:, 2]), torch.sin(4 * v[:, 1] - 3 * v[:, 2] + 1), torch.cos(6 * v[:, 2] + v[:, 0])]
    return up.make_mesh(v, whole.faces, vertex_colors=(0.55 + 0.35 * torch.stack(waves, 1)).float())


def random_pose(diameter: float, generator: torch.Generator, *, focal: float, fill: tuple[float, float] = (0.35, 0.75)) -> Tensor:
    """camera_from_object [4, 4] of an object centred at its origin, somewhere in the picture, so large as `fill` says (of its height)."""
    uniform = lambda low, high: low + (high - low) * float(torch.rand((), generator=generator))
    distance = focal * diameter / (uniform(*fill) * SIZE[0])
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = so3_random((), dtype=torch.float64, generator=generator)
    pose[:3, 3] = distance * torch.tensor([uniform(-60, 60) / focal, uniform(-25, 25) / focal, 1.0])
    return pose


def random_background(generator: torch.Generator) -> Tensor:
    """[H, W, 3]: coloured noise of several scales, and shapes of one colour."""
    image = torch.zeros(3, *SIZE)
    for cells in (3, 8, 24, 80):
        noise = torch.rand(1, 3, cells, cells * 4 // 3, generator=generator)
        image += torch.nn.functional.interpolate(noise, size=SIZE, mode="bilinear", align_corners=False)[0] / math.sqrt(cells)
    image = (image - image.amin()) / (image.amax() - image.amin())
    y, x = torch.meshgrid(torch.arange(SIZE[0]), torch.arange(SIZE[1]), indexing="ij")
    for _ in range(12):
        cx, cy, rx, ry, a = torch.rand(5, generator=generator).tolist()
        u, v = x - cx * SIZE[1], y - cy * SIZE[0]
        s, c = math.sin(3 * a), math.cos(3 * a)
        inside = ((c * u + s * v).abs() < 8 + 50 * rx) & ((c * v - s * u).abs() < 8 + 40 * ry)
        image[:, inside] = torch.rand(3, 1, generator=generator)
    return image.permute(1, 2, 0)


def make_scene(mesh: up.Mesh, seed: int, *, occluded: float = 0.0) -> Scene:
    """A random picture of a mesh.

    Args:
        mesh: centred at its origin.
        occluded: share of the object's pixels that something before it hides.
    """
    generator = torch.Generator().manual_seed(seed)
    focal = 260.0 + 200 * float(torch.rand((), generator=generator))
    principal = (
        SIZE[1] / 2 + 12 * float(torch.randn((), generator=generator)),
        SIZE[0] / 2 + 9 * float(torch.randn((), generator=generator)),
    )
    diameter = float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).norm())
    pose = random_pose(diameter, generator, focal=focal)
    camera = up.perspective_camera(
        image_size=SIZE, fx=focal, fy=focal, cx=principal[0], cy=principal[1], near=1e-3 * diameter, far=1e3 * diameter
    )
    direction = torch.randn(3, generator=generator) + torch.tensor([0.0, 0.0, 1.5])
    tint = 0.85 + 0.3 * torch.rand(3, generator=generator)
    ambient = 0.25 + 0.35 * float(torch.rand((), generator=generator))
    sun = tuple((0.9 * (1.1 - ambient) * tint).tolist())
    lights = [
        up.AmbientLight(color=tuple((ambient * tint).tolist())),
        up.DirectionalLight(direction=tuple(direction.tolist()), color=sun, frame="camera"),
    ]
    background = random_background(generator)
    placed = up.make_mesh(
        (mesh.vertices.double() @ pose[:3, :3].T + pose[:3, 3]).float(), mesh.faces, vertex_colors=mesh.vertex_colors, uvs=mesh.uvs,
        face_uvs=mesh.face_uvs, materials=mesh.materials, face_materials=mesh.face_materials,
    )  # fmt: skip
    with torch.no_grad():
        options = up.RenderOptions(background=background, supersampling=2)
        picture = up.render_mesh(placed, camera, lights=lights, shading=up.Shading(reflection="lambert"), options=options)
    color, mask = picture.color.clone(), picture.face >= 0
    if occluded > 0:
        cover = _occluder(mask, occluded, generator)
        color[cover] = random_background(generator)[cover]
        mask = mask & ~cover
    color = (color + 0.01 * torch.randn(color.shape, generator=generator)).clamp(0, 1)
    return Scene(camera=camera, camera_from_object=pose, color=color, mask=mask, depth=picture.depth)


def _occluder(mask: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A half plane over `share` of a mask, cut off at some width."""
    angle = 6.28 * float(torch.rand((), generator=generator))
    y, x = torch.meshgrid(torch.arange(mask.shape[0]), torch.arange(mask.shape[1]), indexing="ij")
    along = math.cos(angle) * x + math.sin(angle) * y
    border = float(torch.quantile(along[mask].float(), share))
    return (along < border) & (along > border - 120)


def box_of(mask: Tensor) -> tuple[float, float, float, float]:
    """The box (x0, y0, x1, y1) around a mask, px."""
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return float(columns.min()), float(rows.min()), float(columns.max()) + 1, float(rows.max()) + 1


def errors(estimate: Tensor, scene: Scene, diameter: float) -> tuple[float, float]:
    """Rotation error in degrees, and translation error in diameters."""
    turn = estimate[:3, :3].T @ scene.camera_from_object[:3, :3]
    angle = math.degrees(math.acos(max(-1.0, min(1.0, (float(turn.trace()) - 1) / 2))))
    return angle, float((estimate[:3, 3] - scene.camera_from_object[:3, 3]).norm()) / diameter
