"""Image sequences of a moving object at known poses: changing light, motion blur, something that passes in front, and a way out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import unproject as up
from unproject.camera.camera import crop_camera
from unproject.io.video import VideoFrame
from unproject.lie.so3 import so3_exp, so3_random

_EXPOSURE = 0.4  # share of the time between frames
_SUBFRAMES = 3
_PASSING = 100  # frames from one time that something passes to the next


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How an object moves.

    Attributes:
        turn_deg, shift: at most so much a frame, degrees and diameters.
        away: first and last frame between which it is out of the image, or None.
        hidden: share of its width that a bar hides, which passes it once in 100 frames.
    """

    turn_deg: float = 5.0
    shift: float = 0.02
    away: tuple[int, int] | None = None
    hidden: float = 0.34


def sequence_camera() -> up.Camera:
    """640 x 480 pixels, 40 degrees high."""
    return up.perspective_camera(image_size=(480, 640), fov_y_deg=40.0)


def random_poses(diameter: float, count: int, motion: Motion, generator: torch.Generator) -> Tensor:
    """[count, 4, 4] float64: smooth random turns and shifts of an object that is centred at its origin, in front of the camera."""
    noise = lambda: torch.randn(3, generator=generator, dtype=torch.float64)
    limited = lambda v, most: v * min(1.0, most / float(v.norm()))
    most_turn, most_shift = math.radians(motion.turn_deg), motion.shift * diameter
    rotation = so3_random((), dtype=torch.float64, generator=generator)
    middle = torch.tensor([0.0, 0.0, 3.2 * diameter], dtype=torch.float64)
    place, turn, speed = middle.clone(), torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    for k in range(count):
        poses[k, :3, :3], poses[k, :3, 3] = rotation, place
        turn = limited(0.8 * turn + 0.6 * most_turn * noise(), most_turn)
        speed = limited(0.8 * speed + 0.6 * most_shift * noise(), most_shift)
        rotation = so3_exp(turn) @ rotation
        place = middle + limited(place + speed - middle, 0.8 * diameter)
    if motion.away is not None:
        first, last = motion.away
        ramp = (torch.arange(count) - first + 12).clamp(max=12).minimum(last + 12 - torch.arange(count)).clamp(min=0)
        poses[:, 0, 3] += 3 * diameter * (ramp / 12).double()
    return poses


def textured_image(generator: torch.Generator, height: int, width: int) -> Tensor:
    """[height, width, 3] coloured noise of several scales."""
    image = torch.zeros(3, height, width)
    for cells in (4, 8, 16, 32, 64):
        noise = torch.rand(1, 3, cells, cells, generator=generator)
        image += torch.nn.functional.interpolate(noise, size=(height, width), mode="bicubic")[0] / cells**0.35
    return (0.45 + 0.2 * (image - image.mean()) / image.std()).clamp(0, 1).permute(1, 2, 0).contiguous()


def sequence_frames(mesh: up.Mesh, poses: Tensor, motion: Motion, generator: torch.Generator) -> Iterator[VideoFrame]:
    """Images of a mesh that is centred at its origin, at poses [N, 4, 4], over one background."""
    camera = sequence_camera()
    background, cover = textured_image(generator, *camera.image_size), textured_image(generator, 480, 320)
    for k, pose in enumerate(poses):
        phase = 2 * math.pi * k / 300
        sun = up.DirectionalLight(direction=(0.7 * math.sin(2 * phase), 0.5, 0.8), color=(0.75, 0.75, 0.75), frame="camera")
        lights = [up.AmbientLight(color=(0.35, 0.35, 0.35)), sun]
        following = poses[min(k + 1, len(poses) - 1)]
        image = background.clone()
        box = _draw_moving(image, mesh, camera, pose, following, lights)
        if box is not None and motion.hidden > 0:
            _cover(image, cover, box, k, motion.hidden)
        image = (1 + 0.25 * math.sin(3 * phase)) * image + 0.01 * torch.randn(image.shape, generator=generator)
        yield VideoFrame(name=f"{k:06d}", color=(255 * image.clamp(0, 1)).round().to(torch.uint8))


def _draw_moving(
    image: Tensor, mesh: up.Mesh, camera: up.Camera, pose: Tensor, following: Tensor, lights: list[Any]
) -> tuple[int, int, int, int] | None:
    """Draw the mesh on its way from one pose to the next into an image; the box around it, or None if it is outside."""
    step = up.se3_log(following @ torch.linalg.inv(pose))
    moved = [(up.se3_exp(_EXPOSURE * (s / (_SUBFRAMES - 1) - 0.5) * step) @ pose).float() for s in range(_SUBFRAMES)]
    placed = torch.stack([mesh.vertices @ p[:3, :3].T + p[:3, 3] for p in moved])
    pixels = placed @ camera.intrinsics.T
    pixels = (pixels[..., :2] / pixels[..., 2:]).reshape(-1, 2)
    border = torch.tensor([camera.width, camera.height])
    x0, y0 = (pixels.amin(0).floor() - 2).clamp(min=0).long().tolist()
    x1, y1 = (pixels.amax(0).ceil() + 2).long().minimum(border).tolist()
    if x1 - x0 < 4 or y1 - y0 < 4:
        return None
    part = image[y0:y1, x0:x1]
    crop = crop_camera(camera, (x0, y0, x1, y1), (y1 - y0, x1 - x0))
    options, shading = up.RenderOptions(background=part.clone(), antialias=True), up.Shading(reflection="lambert")
    part.zero_()
    for p in moved:  # the camera moves instead of the vertices: the mesh may have normals of its own
        with torch.no_grad():
            there = dataclasses.replace(crop, camera_from_world=p)
            picture = up.render_mesh(mesh, there, lights=lights, shading=shading, options=options)
        part += picture.color / len(moved)
    return x0, y0, x1, y1


def _cover(image: Tensor, cover: Tensor, box: tuple[int, int, int, int], frame: int, share: float) -> None:
    """Draw a bar over a share of a box's width, which passes it from left to right."""
    x0, y0, x1, y1 = box
    middle = (x0 + x1) / 2 + (2 * ((frame / _PASSING + 0.3) % 1) - 1) * 3 * (x1 - x0)
    half = share * (x1 - x0) / 2
    left, right = max(0, round(middle - half)), min(image.shape[1], round(middle + half))
    top, bottom = max(0, y0 - 60), min(image.shape[0], y1 + 60)
    if right > left:
        image[top:bottom, left:right] = cover[: bottom - top, : right - left]
