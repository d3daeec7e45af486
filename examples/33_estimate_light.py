"""Estimate the light in a picture of a known shape: a point light's place and colour, and the light from all around."""

from __future__ import annotations

import torch

import unproject as up


def main(quick: bool = False) -> None:
    mesh = up.icosphere(4)
    material = up.Material(diffuse=torch.tensor([0.7, 0.6, 0.5]), specular=torch.full((3,), 0.4), shininess=torch.tensor(15.0))
    mesh = up.Mesh(vertices=mesh.vertices, faces=mesh.faces, vertex_normals=mesh.vertices, materials=(material,))
    camera = up.frame_camera(mesh.vertices, image_size=(48, 48) if quick else (128, 128))
    shading = up.Shading(reflection="blinn_phong", color_space="linear")
    true_place, true_color = torch.tensor([2.0, 2.5, 1.5]), torch.tensor([0.9, 0.8, 0.6])
    around = torch.zeros(4, 3)
    around[0], around[1] = 0.4, torch.tensor([0.05, 0.1, 0.3])  # a little from all sides, bluish from above

    def picture(place: torch.Tensor, color: torch.Tensor, harmonics: torch.Tensor) -> torch.Tensor:
        lights = [up.PointLight(position=place, color=color), up.SphericalHarmonicsLight(coefficients=harmonics)]
        return up.render_mesh(mesh, camera, lights=lights, shading=shading).color

    photo = picture(true_place, true_color, around)
    place, color = torch.tensor([0.0, 1.0, 4.0], requires_grad=True), torch.full((3,), 0.5, requires_grad=True)
    harmonics = torch.zeros(4, 3, requires_grad=True)
    optimizer = torch.optim.Adam([{"params": [place], "lr": 0.05}, {"params": [color, harmonics], "lr": 0.02}])
    for step in range(40 if quick else 400):
        loss = (picture(place, color, harmonics) - photo).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step:3d}  loss {float(loss.detach()):.2e}  light at {[round(v, 2) for v in place.tolist()]}")
    direction = torch.nn.functional.cosine_similarity(place.detach(), true_place, dim=0)
    angle = float(torch.rad2deg(torch.arccos(direction.clamp(-1, 1))))
    print(f"direction off by {angle:.2f} degrees, colour {[round(v, 3) for v in color.tolist()]} of {true_color.tolist()}")
    assert quick or angle < 2


if __name__ == "__main__":
    main()
