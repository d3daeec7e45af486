"""The images of other renderers from the same camera: Embree (through Open3D) and Mitsuba 3, where they are installed.

Silhouettes agree except on edge pixels, depth to 1e-4. The camera has unequal sides and an off-centre principal point.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import unproject as up

MESH = up.torus(1.0, 0.4)
HEIGHT, WIDTH, FOCAL, CX, CY = 80, 104, 90.0, 50.0, 38.0
CAMERA = up.make_camera([FOCAL, FOCAL, CX, CY], up.look_at((1.0, 2.0, 2.5), (0.0, 0.0, 0.0)), image_size=(HEIGHT, WIDTH))


def embree() -> tuple[Tensor, Tensor]:
    """Face and depth [H, W] by Embree, from our rays."""
    open3d = pytest.importorskip("open3d")
    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(open3d.core.Tensor(MESH.vertices.numpy()), open3d.core.Tensor(MESH.faces.numpy().astype(np.uint32)))
    origins, directions = up.pixel_rays(CAMERA, unit=False)
    hit = scene.cast_rays(open3d.core.Tensor(torch.cat([origins, directions], -1).contiguous().numpy()))
    depth, face = torch.from_numpy(hit["t_hit"].numpy()), torch.from_numpy(hit["primitive_ids"].numpy().astype(np.int64))
    return torch.where(depth.isfinite(), face, -1), torch.where(depth.isfinite(), depth, 0)


def mitsuba() -> tuple[Tensor, Tensor]:
    """Face and depth [H, W] by Mitsuba 3, from its own perspective sensor (x left, y up, z forward)."""
    mi: Any = pytest.importorskip("mitsuba")
    mi.set_variant("scalar_rgb")
    mesh = mi.Mesh("mesh", vertex_count=MESH.vertex_count, face_count=MESH.face_count)
    parameters = mi.traverse(mesh)
    parameters["vertex_positions"] = MESH.vertices.numpy().ravel()
    parameters["faces"] = MESH.faces.numpy().astype(np.uint32).ravel()
    parameters.update()
    camera_from_world = CAMERA.camera_from_world.double()
    world_from_sensor = torch.linalg.inv(camera_from_world).numpy() @ np.diag([-1.0, -1, 1, 1])
    sensor = {
        "type": "perspective", "to_world": mi.ScalarTransform4f(world_from_sensor), "near_clip": 0.01, "far_clip": 1e4,
        "fov": float(np.degrees(2 * np.arctan(WIDTH / 2 / FOCAL))), "fov_axis": "x",
        "principal_point_offset_x": (WIDTH / 2 - CX) / WIDTH, "principal_point_offset_y": (HEIGHT / 2 - CY) / HEIGHT,
        "film": {"type": "hdrfilm", "width": WIDTH, "height": HEIGHT},
    }  # fmt: skip
    scene = mi.load_dict({"type": "scene", "mesh": mesh, "sensor": sensor})
    eye, axis = scene.sensors()[0], camera_from_world[2].numpy()
    face, depth = np.full((HEIGHT, WIDTH), -1), np.zeros((HEIGHT, WIDTH))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            ray, _ = eye.sample_ray(0, 0.5, ((x + 0.5) / WIDTH, (y + 0.5) / HEIGHT), (0.5, 0.5))
            hit = scene.ray_intersect_preliminary(ray)
            if hit.is_valid():
                face[y, x], depth[y, x] = hit.prim_index, axis[:3] @ np.array(ray.o + hit.t * ray.d) + axis[3]
    return torch.from_numpy(face), torch.from_numpy(depth).float()


@pytest.mark.parametrize("peer", [embree, mitsuba])
def test_image_is_that_of_a_peer(peer: Any) -> None:
    face, depth = peer()
    for see in (up.rasterize, up.raytrace):
        ours = see(MESH.vertices, MESH.faces, CAMERA)
        assert 0.3 < ours.mask.float().mean() < 0.6
        assert ((face >= 0) != ours.mask).sum() <= 3  # pixel centres within rounding of an edge
        assert (face != ours.face).sum() <= 10
        both = (face >= 0) & (face == ours.face)
        torch.testing.assert_close(ours.depth[both], depth[both], atol=1e-4, rtol=0)
