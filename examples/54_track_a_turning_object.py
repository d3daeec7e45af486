"""Follow an object through a sequence of images that is rendered here, while something passes in front of it."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

import unproject as up
from unproject.io.video import VideoFrame
from unproject.pose.metrics import rotation_error_deg
from unproject.pose.track import track_object
from unproject.render.interpolate import interpolate


def painted_object() -> up.Mesh:
    """A lumpy body with spots."""
    ball = up.icosphere(4)
    v = ball.vertices
    lumps = 1 + 0.25 * torch.sin(3 * v[:, :1] + 1) * torch.cos(2 * v[:, 1:2]) + 0.2 * v[:, 2:] ** 3
    spots = torch.sin(9 * v[:, 0]) * torch.sin(8 * v[:, 1] + 1) * torch.cos(7 * v[:, 2]) > 0.1
    colors = torch.where(spots[:, None], torch.tensor([0.95, 0.85, 0.2]), torch.tensor([0.75, 0.1, 0.1]))
    return replace(ball, vertices=v * lumps, vertex_colors=colors)


def true_pose(k: int) -> torch.Tensor:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = up.so3_exp(math.radians(3 * k) * torch.tensor([0.2, 0.9, 0.4], dtype=torch.float64))
    pose[:3, 3] = torch.tensor([0.3 * math.sin(0.15 * k), 0.1, 6.0])
    return pose


def images(mesh: up.Mesh, camera: up.Camera, count: int) -> Iterator[VideoFrame]:
    noise = torch.rand(1, 3, 30, 40, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.3, 0.8, 0.9])[None, :, None, None]
    background = torch.nn.functional.interpolate(noise, size=camera.image_size, mode="bilinear")[0].permute(1, 2, 0)
    assert mesh.vertex_colors is not None
    for k in range(count):
        seen = up.rasterize(mesh.vertices, mesh.faces, replace(camera, camera_from_world=true_pose(k).float()))
        image = torch.where(seen.mask[..., None], interpolate(mesh.vertex_colors, mesh.faces, seen), background)
        image[:, 6 * k : 6 * k + 14] = torch.tensor([0.2, 0.8, 0.3])  # passes from left to right
        yield VideoFrame(name=f"{k:03d}", color=(255 * image).round().to(torch.uint8))


def main(quick: bool = False) -> None:
    mesh, camera = painted_object(), up.perspective_camera(fov_y_deg=35.0, image_size=(240, 320))
    errors = []
    for step in track_object(images(mesh, camera, 5 if quick else 60), mesh, camera, true_pose(0)):
        errors.append(float(rotation_error_deg(step.camera_from_object, true_pose(step.index))))
        print(f"{step.name}  confidence {step.confidence:.2f}  rotation error {errors[-1]:.2f} degrees{'  lost' if step.lost else ''}")
    assert sorted(errors)[len(errors) // 2] < 2, "the median error is below two degrees"


if __name__ == "__main__":
    main()
