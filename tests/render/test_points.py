"""Pictures of point clouds: what they cover and hide, their light, batches and gradients."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

import unproject as up
from unproject.camera.transform import camera_center
from unproject.render.points import prepare_points


def sphere_points(count: int = 4000, seed: int = 0) -> up.PointCloud:
    directions = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    positions = directions / directions.norm(dim=-1, keepdim=True)
    return up.PointCloud(positions=positions, colors=0.5 * positions + 0.5)


def test_points_look_like_their_surface() -> None:
    """Coverage, depth and normals of a sphere; colours of its front alone; light from where it comes."""
    cloud, mesh = sphere_points(), up.icosphere(4)
    camera = up.frame_camera(mesh.vertices, image_size=(48, 64))
    image, solid = up.render_points(cloud, camera), up.render_mesh(mesh, camera)
    whole = solid.silhouette > 0.5
    assert float(image.silhouette[whole].mean()) > 0.995
    assert float(image.silhouette[~whole].mean()) < 0.15  # a rim as wide as the discs
    eye = torch.nn.functional.normalize(camera_center(camera) - solid.position, dim=-1)
    inner = whole & ((solid.normals * eye).sum(-1) > 0.6)
    assert float((image.depth - solid.depth)[inner].abs().max()) < 0.12
    assert float((image.normals * solid.normals).sum(-1)[inner].min()) > 0.97
    unlit = up.render_points(cloud, camera, shading=up.Shading(reflection="unlit", color_space="linear"))
    assert float((unlit.rgba[..., :3] - (0.5 * solid.normals + 0.5))[inner].abs().max()) < 0.1  # nothing shines through from behind
    lit = up.render_points(cloud, camera, lights=[up.DirectionalLight(direction=(0.0, -1.0, 0.0))])
    assert lit.color[10, 32].sum() > 2 * lit.color[40, 32].sum()
    assert bool((lit.color[0, 0] == 1).all()) and not bool((image.face >= 0).any())


def test_normals_are_turned_to_the_eye_and_bad_points_left_out() -> None:
    cloud = prepare_points(sphere_points(1000))
    assert cloud.normals is not None
    camera = up.frame_camera(cloud.positions, image_size=(32, 32))
    flipped = dataclasses.replace(cloud, normals=-cloud.normals)
    assert torch.equal(up.render_points(cloud, camera).color, up.render_points(flipped, camera).color)
    one_sided = up.Shading(two_sided=False)
    outward = dataclasses.replace(cloud, normals=cloud.positions)
    inward = dataclasses.replace(cloud, normals=-cloud.positions)
    light = [up.DirectionalLight(direction=(0.0, 0.0, 1.0), frame="camera")]
    bright, dark = (up.render_points(c, camera, lights=light, shading=one_sided).rgba[16, 16, 0] for c in (outward, inward))
    assert float(bright) > 0.3 and float(dark) < 0.05
    broken = cloud.positions.clone()
    broken[::10] = torch.nan
    assert up.render_points(dataclasses.replace(cloud, positions=broken), camera).color.isfinite().all()


def test_batches_are_single_images() -> None:
    cloud = prepare_points(sphere_points(500))
    cameras = up.frame_camera(cloud.positions, image_size=(20, 24), azimuth_deg=torch.tensor([0.0, 130.0]))
    both = up.render_points(cloud, cameras)
    for i in range(2):
        torch.testing.assert_close(both.color[i], up.render_points(cloud, cameras[i]).color, atol=1e-4, rtol=0)


def test_gradients() -> None:
    cloud = prepare_points(sphere_points(12)).to(torch.float64)
    camera = up.frame_camera(cloud.positions, image_size=(9, 10))
    weights = torch.randn(9, 10, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def value(positions: Tensor, normals: Tensor, colors: Tensor, radius: Tensor, pose: Tensor) -> Tensor:
        moved = dataclasses.replace(camera, camera_from_world=up.se3_exp(pose) @ camera.camera_from_world)
        points = up.PointCloud(positions=positions, normals=normals, colors=colors)
        return (weights * up.render_points(points, moved, radius=radius).color).sum()

    assert cloud.normals is not None and cloud.colors is not None
    inputs = (
        cloud.positions,
        cloud.normals,
        cloud.colors,
        torch.full((12,), 0.2, dtype=torch.float64),
        torch.zeros(6, dtype=torch.float64),
    )
    assert torch.autograd.gradcheck(value, [t.clone().requires_grad_() for t in inputs], eps=1e-6, atol=1e-4, rtol=1e-3)


def test_few_points_and_errors() -> None:
    camera = up.perspective_camera(up.look_at((0.0, 0, 3), (0.0, 0, 0)), image_size=(8, 9), fov_y_deg=40.0)
    for count in (0, 1, 3):
        image = up.render_points(up.PointCloud(positions=torch.zeros(count, 3)), camera, radius=0.3)
        assert image.color.shape == (8, 9, 3) and bool(image.color.isfinite().all()) and bool((image.silhouette.max() > 0.5) == (count > 0))
    with pytest.raises(up.UnprojectError, match="render_points: `cloud` must be a PointCloud"):
        up.render_points(up.icosphere(0), camera)  # type: ignore[arg-type]
    with pytest.raises(up.ArgumentError, match="`radii` must be finite and at least 0"):
        up.render_points(up.PointCloud(positions=torch.zeros(1, 3)), camera, radius=-1.0)
    with pytest.raises(up.ArgumentError, match="render_points: `background`"):
        up.render_points(up.PointCloud(positions=torch.zeros(1, 3)), camera, radius=1.0, background=torch.zeros(2, 3))
