"""Textured models from other people's files: the spotted cow, a crate, a glTF avocado, a house row of many materials."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

import unproject as up

FILES = {
    "cow": "pytorch3d/docs/tutorials/data/cow_mesh/cow.obj",
    "crate": "open3d_models/crate/crate.obj",
    "avocado": "kaolin_textured/sample_data/meshes/avocado.gltf",
    "houses": "kaolin_textured/sample_data/meshes/amsterdam.obj",
}


def draw(folder: Path, name: str, azimuth: float) -> up.RenderResult:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mesh = up.load_mesh(folder / "meshes" / FILES[name]).to(torch.float32)
    camera = up.frame_camera(mesh.vertices, image_size=(64, 64), azimuth_deg=azimuth)
    with torch.no_grad():
        return up.render_mesh(mesh, camera, shading=up.Shading(reflection="unlit", texture_filter="mipmap"))


def mean_color(image: up.RenderResult) -> torch.Tensor:
    return image.color[image.face >= 0].mean(0)


def test_cow_is_white_with_a_pink_nose(data_folder: Path) -> None:
    image = draw(data_folder, "cow", 180.0)
    assert bool((mean_color(image) > 0.65).all())
    nose = image.color[(image.face >= 0) & (image.position[..., 2] < image.position[..., 2].min() + 0.15)].mean(0)
    assert float(nose[0] - nose[2]) > 0.1


def test_avocado_is_green_outside_and_has_a_brown_stone(data_folder: Path) -> None:
    outside = mean_color(draw(data_folder, "avocado", 180.0))
    assert float(outside[1]) > 1.2 * float(outside[0]) and float(outside[1]) > 1.5 * float(outside[2])
    inside = draw(data_folder, "avocado", 0.0)
    assert float(mean_color(inside)[0]) > 0.5 and bool((inside.normals[inside.face >= 0].norm(dim=-1) - 1 < 1e-4).all())


@pytest.mark.parametrize("name", ["crate", "houses"])
def test_many_colors_and_uv(data_folder: Path, name: str) -> None:
    image = draw(data_folder, name, 30.0)
    assert float(image.color[image.face >= 0].std()) > 0.03 and 0.1 < float(image.silhouette.mean()) < 0.9
