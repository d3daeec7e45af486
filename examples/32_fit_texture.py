"""Recover a texture from pictures of a textured mesh, and save the mesh with it as OBJ, MTL and PNG."""

from __future__ import annotations

import dataclasses

import torch

import unproject as up


def textured(texture: torch.Tensor) -> up.Mesh:
    """A cylinder's side: u around, v upwards."""
    around, upwards = 49, 9
    u, v = torch.meshgrid(torch.linspace(0, 1, around), torch.linspace(0, 1, upwards), indexing="ij")
    vertices = torch.stack([torch.sin(2 * torch.pi * u), 2 * v - 1, torch.cos(2 * torch.pi * u)], -1).reshape(-1, 3)
    i, j = torch.meshgrid(torch.arange(around - 1), torch.arange(upwards - 1), indexing="ij")
    a = (i * upwards + j).reshape(-1)
    quads = torch.stack([a, a + upwards, a + upwards + 1, a + 1], 1)
    faces = torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return up.Mesh(
        vertices=vertices, faces=faces, uvs=torch.stack([u, v], -1).reshape(-1, 2), materials=(up.Material(diffuse_texture=texture),)
    )


def main(quick: bool = False) -> None:
    height, width = 32, 64
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    waves = torch.stack([torch.sin(0.4 * column), torch.sin(0.5 * row), torch.cos(0.2 * (row + column))], -1)
    truth = textured(0.5 + 0.4 * waves)
    views, size, steps = (4, (32, 32), 10) if quick else (8, (128, 128), 100)
    cameras = up.frame_camera(truth.vertices, image_size=size, azimuth_deg=torch.arange(views) * (360.0 / views), elevation_deg=0.0)
    shading = up.Shading(reflection="unlit")
    photos = up.render_mesh(truth, cameras, shading=shading).color

    texels = torch.full((height, width, 3), 0.5, requires_grad=True)
    optimizer = torch.optim.Adam([texels], lr=0.05)
    for step in range(steps):
        image = up.render_mesh(textured(texels), cameras, shading=shading).color
        loss = (image - photos).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 0:
            print(f"step {step:3d}  loss {float(loss.detach()):.6f}")
    error = (texels.detach() - (0.5 + 0.4 * waves)).abs().mean()
    print(f"mean error of a texel: {float(error):.4f}")
    assert quick or error < 0.02
    found = textured(texels.detach().clamp(0, 1))
    up.save(dataclasses.replace(found, metadata={}), "cylinder.obj")


if __name__ == "__main__":
    main()
