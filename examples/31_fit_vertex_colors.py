"""Recover the colours of a mesh's vertices from pictures of it: the renderer's gradient with respect to colours."""

from __future__ import annotations

import dataclasses

import torch

import unproject as up


def main(quick: bool = False) -> None:
    mesh = up.icosphere(3)
    truth = 0.5 + 0.45 * torch.sin(5 * mesh.vertices)
    views, size, steps = (4, (32, 32), 30) if quick else (12, (96, 96), 150)
    pose = up.fibonacci_viewpoints(views, 3.0)
    cameras = up.perspective_camera(pose, image_size=size, fov_y_deg=45.0)
    lights = up.default_lights()
    photos = up.render_mesh(dataclasses.replace(mesh, vertex_colors=truth), cameras, lights=lights).color

    colors = torch.full_like(truth, 0.5).requires_grad_()
    optimizer = torch.optim.Adam([colors], lr=0.05)
    for step in range(steps):
        image = up.render_mesh(dataclasses.replace(mesh, vertex_colors=colors), cameras, lights=lights).color
        loss = (image - photos).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 0:
            print(f"step {step:3d}  loss {float(loss.detach()):.6f}")
    error = (colors.detach() - truth).abs().mean()
    print(f"mean error of a colour: {float(error):.4f}")
    assert quick or error < 0.01


if __name__ == "__main__":
    main()
