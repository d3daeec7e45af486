"""Every gradient of every renderer is finite for every finite input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import unproject as up
from unproject.geometry.sample import interpolate_vertices

FACES = torch.tensor([[0, 1, 2], [2, 1, 3], [3, 3, 4], [0, 4, 5], [5, 5, 5], [1, 4, 0]])
VALUE = st.sampled_from([0.0, 1.0, -1.0, 2.0, 0.5, 1e-6, 1e-30, 0.1, 0.09999, 3.0, -5.0, 1e4])


def soft_phong(vertices: Tensor, camera: up.Camera) -> Tensor:
    fragments = up.soft_fragments(vertices, FACES, camera)
    image = up.blend_fragments(fragments, interpolate_vertices(vertices, FACES, fragments.face, fragments.barycentrics).sin())
    return image.values.sum() + image.depth.sum() + image.alpha.sum() + image.foreground.sum()


def hard(vertices: Tensor, camera: up.Camera) -> Tensor:
    fragments = up.rasterize(vertices, FACES, camera)
    return fragments.depth.sum() + fragments.barycentrics.square().sum()


def traced(vertices: Tensor, camera: up.Camera) -> Tensor:
    fragments = up.raytrace(vertices, FACES, camera)
    return fragments.depth.sum() + fragments.barycentrics.square().sum()


def soft(vertices: Tensor, camera: up.Camera) -> Tensor:
    image = up.soft_rasterize(vertices, FACES, vertices.detach(), camera)
    return image.values.sum() + image.depth.sum() + image.alpha.sum() + image.foreground.sum()


def points(vertices: Tensor, camera: up.Camera) -> Tensor:
    image = up.splat(vertices, 0.3, vertices, camera, spheres=True)
    return image.values.sum() + image.depth.sum() + image.alpha.sum() + image.foreground.sum()


RENDERERS = {
    "hard": hard,
    "ray traced": traced,
    "soft silhouette": lambda v, c: up.soft_silhouette(v, FACES, c).sum(),
    "soft": soft,
    "soft fragments": soft_phong,
    "antialiased": lambda v, c: up.silhouette(v, FACES, c).sum(),
    "points": points,
}


@pytest.mark.parametrize("name", RENDERERS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(coordinates=st.lists(VALUE, min_size=18, max_size=18), orthographic=st.booleans())
def test_gradients_are_finite(name: str, coordinates: list[float], orthographic: bool) -> None:
    """Corners at, behind and on the camera plane, edge-on and empty faces, tiny and huge coordinates; near is 0.1."""
    vertices = torch.tensor(coordinates).view(6, 3).requires_grad_()
    kind = "orthographic" if orthographic else "perspective"
    pose = torch.eye(4).requires_grad_()
    k = torch.tensor([[4.0, 0, 4.5], [0, 4, 4], [0, 0, 1]])
    camera = up.Camera(camera_from_world=pose, intrinsics=k, image_size=(8, 9), projection=kind, near=0.1)
    value = RENDERERS[name](vertices, camera)
    assert bool(value.isfinite())
    for gradient in torch.autograd.grad(value, (vertices, pose), allow_unused=True):
        assert gradient is None or bool(gradient.isfinite().all())
