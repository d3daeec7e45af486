"""A furnished room and a camera's way through it: RGB-D frames whose truth is known, for examples, tests and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..camera.camera import Camera, perspective_camera
from ..camera.viewpoints import look_at
from ..geometry.bvh import Bvh, build_bvh
from ..geometry.mesh import Mesh
from ..geometry.primitives import box, icosphere, torus
from .simulate import simulate_rgbd


@dataclass(frozen=True, kw_only=True)
class Room:
    """A scene of RGB-D frames.

    Attributes:
        mesh: all surfaces, metres; the walls face inwards.
        camera: of every frame, at the identity pose.
        camera_from_world: [N, 4, 4] float64, where it was.
        noise: deviation of depth at 1 m, see `simulate_rgbd`.
        bvh: of the mesh.
    """

    mesh: Mesh
    camera: Camera
    camera_from_world: Tensor
    noise: float
    bvh: Bvh


def sample_room(frames: int = 40, *, image_size: tuple[int, int] = (120, 160), step: float = 0.03, noise: float = 0.0) -> Room:
    """A room with a ball, a ring and a crate, and a camera on an arc through it.

    Args:
        frames: how many.
        image_size: (height, width).
        step: way between two frames, metres.
        noise: deviation of depth at 1 m.
    """
    walls = box((3.0, 2.2, 3.4), segments=4)
    mesh = _together(
        [
            Mesh(vertices=walls.vertices, faces=walls.faces.flip(1)),
            _moved(icosphere(4, radius=0.35), -0.5, -0.6, 0.7),
            _moved(torus(0.35, 0.12, segments=(64, 32)), 0.6, 0.1, 0.9),
            _moved(box((0.5, 0.6, 0.4)), 0.4, -0.8, 0.4),
        ]
    )
    t = step / 0.9 * (torch.arange(frames, dtype=torch.float64) - (frames - 1) / 2)
    eye = torch.stack([0.9 * torch.sin(t), 0.15 * torch.sin(3 * t), -1.1 + 0.6 * torch.sin(t).square()], dim=1)
    target = torch.stack([0.4 * torch.sin(t), torch.full_like(t, -0.3), torch.ones_like(t)], dim=1)
    camera = perspective_camera(torch.eye(4, dtype=torch.float64), image_size=image_size, fx=1.1 * image_size[0])
    tree = build_bvh(mesh.vertices, mesh.faces)
    return Room(mesh=mesh, camera=camera, camera_from_world=look_at(eye, target), noise=noise, bvh=tree)


def room_frame(room: Room, index: int) -> tuple[Tensor, Tensor]:
    """Depth [H, W] in metres and rgb [H, W, 3] uint8 of one frame; its noise is the same each time."""
    camera = perspective_camera(
        room.camera_from_world[index],
        image_size=(room.camera.height, room.camera.width),
        fx=room.camera.intrinsics[0, 0],
        cx=room.camera.intrinsics[0, 2],
        cy=room.camera.intrinsics[1, 2],
    )
    generator = torch.Generator().manual_seed(index)
    return simulate_rgbd(room.mesh, camera, color=room_color, noise=room.noise, generator=generator, bvh=room.bvh)


def room_color(points: Tensor) -> Tensor:
    """What the room is painted with: RGB in [0, 1] of world points [N, 3], soft spots of two sizes."""
    x, y, z = points.double().unbind(-1)
    spots = lambda scale, shift: torch.sin(scale * x + shift) * torch.sin(scale * y + 2 * shift) + torch.sin(scale * z - shift)
    red = 0.5 + 0.15 * spots(7.0, 0.3) + 0.08 * spots(19.0, 1.1)
    return torch.stack([red, 0.5 + 0.2 * spots(9.0, 2.0), 0.5 + 0.2 * spots(12.0, 0.7)], dim=-1).clamp(0, 1)


def _together(parts: list[Mesh]) -> Mesh:
    starts = [sum(part.vertex_count for part in parts[:i]) for i in range(len(parts))]
    faces = [part.faces + start for part, start in zip(parts, starts)]
    return Mesh(vertices=torch.cat([part.vertices for part in parts]), faces=torch.cat(faces))


def _moved(mesh: Mesh, x: float, y: float, z: float) -> Mesh:
    return Mesh(vertices=mesh.vertices + mesh.vertices.new_tensor([x, y, z]), faces=mesh.faces)
