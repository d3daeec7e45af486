"""Optimize a grid of signed distances through marching cubes, until its mesh lies on a point cloud."""

from __future__ import annotations

import torch

import unproject as up
from unproject.geometry.voxels import VoxelGrid, grid_points, grid_transform, make_grid


def main(quick: bool = False) -> float:
    """Returns the mean distance of the cloud from the mesh at the end, in cells."""
    torch.manual_seed(0)
    size, steps = (16, 25) if quick else (32, 150)
    cell = 2.0 / (size - 1)
    cloud = up.sample_points(up.torus(0.55, 0.22), 2000 if quick else 10_000).positions
    transform = grid_transform(-torch.ones(3), torch.ones(3), (size, size, size))
    points = grid_points(make_grid(torch.zeros(size, size, size), world_from_grid=transform))
    values = (points.norm(dim=-1) - 0.85).requires_grad_()  # a ball around the ring; the hole opens on its own
    adam = torch.optim.Adam([values], lr=0.3 * cell)
    for step in range(steps):
        mesh = up.marching_cubes(values, world_from_grid=transform)  # gradients to the values, through the vertices
        surface = up.sample_points(mesh, len(cloud)).positions
        slope = torch.stack([d / cell for d in torch.gradient(values)], dim=-1)
        eikonal = (slope.norm(dim=-1) - 1).square().mean()
        loss = up.chamfer_distance(surface, cloud) + 0.02 * eikonal
        adam.zero_grad()
        loss.backward()
        adam.step()
        if step % 25 == 0:
            print(f"step {step}: chamfer {loss.item():.5f}, {mesh.face_count} faces")
    result = up.marching_cubes(VoxelGrid(values=values.detach(), world_from_grid=transform).values, world_from_grid=transform)
    distance = float(up.closest_point(cloud, result).squared_distance.sqrt().mean()) / cell
    print(f"the cloud is {distance:.2f} cells off the mesh")
    up.save(result, "ring.ply")
    return distance


if __name__ == "__main__":
    main()
