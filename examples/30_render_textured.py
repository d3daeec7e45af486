"""Render a textured mesh from all sides: a texture, a material, three lights, hard shadows."""

from __future__ import annotations

import torch
from PIL import Image

import unproject as up


def checkered_ball() -> up.Mesh:
    """A sphere with a map of longitude and latitude; each corner has its own UV, so that the map has no seam."""
    mesh = up.icosphere(4)
    x, y, z = mesh.vertices[mesh.faces].unbind(-1)  # [F, 3] a value for each corner
    u = torch.atan2(x, z) / (2 * torch.pi)
    u = torch.where(u - u.amax(1, keepdim=True) < -0.5, u + 1, u)  # faces across the date line
    uvs = torch.stack([u, 0.5 + torch.asin(y.clamp(-1, 1)) / torch.pi], -1).reshape(-1, 2)
    row, column = torch.meshgrid(torch.arange(256), torch.arange(512), indexing="ij")
    checks = ((row // 32 + column // 32) % 2)[..., None]
    texture = torch.where(checks == 1, torch.tensor([0.95, 0.9, 0.8]), torch.tensor([0.1, 0.35, 0.6]))
    material = up.Material(diffuse_texture=texture, specular=torch.full((3,), 0.4), shininess=torch.tensor(40.0))
    face_uvs = torch.arange(3 * mesh.face_count).view(-1, 3)
    return up.Mesh(vertices=mesh.vertices, faces=mesh.faces, uvs=uvs, face_uvs=face_uvs, materials=(material,))


def main(quick: bool = False) -> None:
    mesh = checkered_ball()
    size = (48, 48) if quick else (360, 360)
    azimuth = torch.tensor([0.0, 120.0, 240.0])
    cameras = up.frame_camera(mesh.vertices, image_size=size, azimuth_deg=azimuth, elevation_deg=25.0)  # three cameras as one value
    lights = [
        up.AmbientLight(color=(0.15, 0.15, 0.18)),
        up.DirectionalLight(direction=(0.5, 0.8, 1.0), color=(0.8, 0.8, 0.75), frame="camera"),
        up.SpotLight(position=(0.0, 4.0, 0.0), direction=(0.0, -1.0, 0.0), inner_deg=8.0, outer_deg=14.0, color=(0.6, 0.3, 0.1)),
    ]
    shading = up.Shading(reflection="blinn_phong", texture_filter="mipmap")
    options = up.RenderOptions(supersampling=2, shadows=True, background=(0.9, 0.93, 1.0))
    image = up.render_mesh(mesh, cameras, lights=lights, shading=shading, options=options)
    depth = image.depth[image.face >= 0]
    print(f"colour {list(image.color.shape)}, covered {float(image.silhouette.mean()):.1%}, depth {float(depth.min()):.2f} on")
    row = torch.cat(list(image.color), dim=1)
    Image.fromarray((row.clamp(0, 1) * 255).round().byte().numpy()).save("ball.png")


if __name__ == "__main__":
    main()
