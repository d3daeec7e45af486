"""Fit a small coloured volume to posed images: emission and absorption along rays, and Adam."""

from __future__ import annotations

import torch

import unproject as up
from unproject.geometry.voxels import VoxelGrid, grid_points, grid_transform, make_grid
from unproject.render.volume import render_volume


def target_volume(size: int) -> VoxelGrid:
    """A ball whose colour depends on the place."""
    transform = grid_transform(-torch.ones(3), torch.ones(3), (size, size, size))
    points = grid_points(make_grid(torch.zeros(size, size, size), world_from_grid=transform))
    density = 20 * torch.sigmoid(20 * (0.6 - points.norm(dim=-1)))
    return make_grid(torch.cat([density[..., None], 0.5 + 0.5 * torch.sin(4 * points)], dim=-1), world_from_grid=transform)


def main(quick: bool = False) -> float:
    """Returns the mean squared difference of the images at the end."""
    torch.manual_seed(0)
    pixels, steps, size = (16, 15, 12) if quick else (64, 200, 32)
    poses = up.orbit(torch.arange(8) * 45.0, 20.0, 3.0)
    origins, directions = up.pixel_rays(up.perspective_camera(poses, image_size=(pixels, pixels), fov_y_deg=45.0))
    with torch.no_grad():
        images = render_volume(target_volume(size), origins, directions).color

    raw = torch.zeros(size, size, size, 4, requires_grad=True)
    transform = grid_transform(-torch.ones(3), torch.ones(3), (size, size, size))
    adam = torch.optim.Adam([raw], lr=0.1)
    error = torch.tensor(0.0)
    for step in range(steps):
        values = torch.cat([torch.nn.functional.softplus(raw[..., :1] - 1) * 5, torch.sigmoid(raw[..., 1:])], dim=-1)
        view = step % len(poses)
        seen = render_volume(make_grid(values, world_from_grid=transform), origins[view], directions[view])
        error = (seen.color - images[view]).square().mean()
        adam.zero_grad()
        error.backward()
        adam.step()
        if step % 20 == 0:
            print(f"step {step}: {error.item():.5f}")
    return error.item()


if __name__ == "__main__":
    main()
