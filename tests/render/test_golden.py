"""Small pictures, compared with those in golden/. After a wanted change: python tests/render/test_golden.py --write, and look at them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import unproject as up
from unproject.io.images import decode_image, encode_png

FOLDER = Path(__file__).parent / "golden"
SIZE = (96, 96)
TOLERANCE = 2.5 / 255  # rounding to 8 bits, and a little for other machines' arithmetic


def textured_torus(reflection: str = "phong") -> torch.Tensor:
    """A checkered torus: textures with pyramids, a highlight, several samples."""
    mesh = up.torus(segments=(48, 24))
    angle = torch.atan2(mesh.vertices[:, 2], mesh.vertices[:, 0]) / (2 * torch.pi)
    ring = (mesh.vertices[:, [0, 2]].norm(dim=1) - mesh.vertices[:, [0, 2]].norm(dim=1).mean()) / mesh.vertices[:, 1].abs().max()
    checks = (torch.arange(16)[:, None] // 2 + torch.arange(16) // 2) % 2
    texture = torch.where(checks[..., None] == 1, torch.tensor([0.9, 0.85, 0.3]), torch.tensor([0.15, 0.3, 0.6]))
    material = up.Material(diffuse_texture=texture, specular=torch.full((3,), 0.4), shininess=torch.tensor(25.0))
    mesh = up.Mesh(vertices=mesh.vertices, faces=mesh.faces, uvs=torch.stack([3 * angle.abs(), ring], 1), materials=(material,))
    camera = up.frame_camera(mesh.vertices, image_size=SIZE, elevation_deg=40.0)
    shading = up.Shading(reflection=reflection, texture_filter="mipmap")
    return up.render_mesh(mesh, camera, shading=shading, options=up.RenderOptions(supersampling=3)).color


def scene() -> up.Mesh:
    """Three materials: a floor, a ball, and a glass box."""
    ball, box = up.icosphere(2), up.box()
    floor = torch.tensor([[-2.5, -1, -2.5], [2.5, -1, -2.5], [2.5, -1, 2.5], [-2.5, -1, 2.5]])
    parts = [
        (floor, torch.tensor([[0, 2, 1], [0, 3, 2]])),
        (ball.vertices, ball.faces),
        (0.9 * box.vertices + torch.tensor([1.4, -0.3, 0.6]), box.faces),
    ]
    starts = torch.tensor([0, *(len(v) for v, _ in parts)]).cumsum(0).tolist()
    red, grey, blue = (torch.tensor(c) for c in ([0.75, 0.15, 0.1], [0.6, 0.6, 0.55], [0.2, 0.4, 0.9]))
    materials = (
        up.Material(ambient=grey, diffuse=grey),
        up.Material(ambient=red, diffuse=red, specular=torch.full((3,), 0.5), shininess=torch.tensor(40.0)),
        up.Material(ambient=blue, diffuse=blue, opacity=torch.tensor(0.45)),
    )
    return up.Mesh(
        vertices=torch.cat([v for v, _ in parts]),
        faces=torch.cat([f + start for (_, f), start in zip(parts, starts)]),
        materials=materials,
        face_materials=torch.tensor([0, 1, 2]).repeat_interleave(torch.tensor([len(f) for _, f in parts])),
    )


def shadows(interpolation: str) -> torch.Tensor:
    """Point and spot lights, hard shadows, a see-through box."""
    mesh = scene()
    camera = up.frame_camera(mesh.vertices, image_size=SIZE, elevation_deg=25.0)
    lights = [
        up.AmbientLight(color=(0.12, 0.12, 0.15)),
        up.PointLight(position=(-2.0, 3.0, 2.5), color=(0.7, 0.7, 0.65)),
        up.SpotLight(position=(3.0, 4.0, 3.0), direction=(-3.0, -4.6, -3.0), inner_deg=12.0, outer_deg=20.0, color=(0.5, 0.5, 0.2)),
    ]
    shading, options = up.Shading(interpolation=interpolation), up.RenderOptions(supersampling=2, shadows=True, background=(0.85, 0.9, 1.0))
    return up.render_mesh(mesh, camera, lights=lights, shading=shading, options=options).color


def bumps() -> torch.Tensor:
    """A normal map of round bumps on a square, lit from the upper left."""
    place = (torch.arange(64) % 16 - 7.5) / 8
    x, y = place[None, :].expand(64, 64), -place[:, None].expand(64, 64)
    inside = (x * x + y * y) < 0.8
    normal = torch.stack([torch.where(inside, 0.8 * x, 0), torch.where(inside, 0.8 * y, 0), torch.ones(64, 64)], -1)
    material = up.Material(normal_texture=0.5 * torch.nn.functional.normalize(normal, dim=-1) + 0.5)
    vertices = torch.tensor([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    uvs = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    mesh = up.Mesh(vertices=vertices, faces=torch.tensor([[0, 1, 2], [0, 2, 3]]), uvs=uvs, materials=(material,))
    camera = up.frame_camera(vertices, image_size=SIZE, azimuth_deg=0.0, elevation_deg=0.0)
    lights = [up.DirectionalLight(direction=(1.0, -1.0, -1.0))]
    return up.render_mesh(mesh, camera, lights=lights, options=up.RenderOptions(antialias=True)).color


def cloud() -> torch.Tensor:
    """Points as discs, coloured by where they are."""
    positions = up.icosphere(3).vertices
    mesh = up.discs_from_points(up.PointCloud(positions=positions, colors=0.5 + 0.5 * positions))
    return up.render_mesh(mesh, up.frame_camera(positions, image_size=SIZE), options=up.RenderOptions(supersampling=2)).color


def transparent() -> torch.Tensor:
    """RGBA of the mesh alone."""
    mesh = up.icosphere(2)
    camera = up.frame_camera(mesh.vertices, image_size=SIZE)
    return up.render_mesh(mesh, camera, shading=up.Shading(interpolation="flat"), options=up.RenderOptions(antialias=True)).rgba


PICTURES: dict[str, Callable[[], torch.Tensor]] = {
    "torus_phong": textured_torus,
    "torus_unlit": lambda: textured_torus("unlit"),
    "shadows_phong": lambda: shadows("phong"),
    "shadows_gouraud": lambda: shadows("gouraud"),
    "bumps": bumps,
    "cloud": cloud,
    "transparent": transparent,
}


@pytest.mark.parametrize("name", PICTURES)
def test_picture(name: str) -> None:
    golden = decode_image((FOLDER / f"{name}.png").read_bytes())
    assert golden is not None
    drawn = PICTURES[name]().clamp(0, 1)
    difference = (drawn - golden).abs().amax(-1)
    # A pixel on an edge may fall to the other side on another machine.
    assert float((difference > TOLERANCE).float().mean()) < 0.004, f"{float(difference.max()):.3f}"


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    FOLDER.mkdir(exist_ok=True)
    for picture, draw in PICTURES.items():
        (FOLDER / f"{picture}.png").write_bytes(encode_png(draw()))
