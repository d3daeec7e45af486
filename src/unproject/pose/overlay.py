"""Pictures that let a person judge a pose at a glance: the object blended over the image, and its outline."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..geometry.mesh import Mesh
from ..geometry.normals import face_normals
from ..lie.se3 import se3_apply
from ..render.rasterize import rasterize

OUTLINE_COLORS = ((0, 255, 90), (255, 60, 200), (60, 160, 255), (255, 200, 0))


def draw_pose(
    image: Tensor,
    mesh: Mesh,
    camera: Camera,
    camera_from_object: Tensor,
    *,
    color: tuple[int, int, int] = OUTLINE_COLORS[0],
    blend: float = 0.35,
) -> Tensor:
    """The image with the mesh shaded over it and a bright outline.

    Args:
        image: [H, W, 3] uint8, of the camera's size.
        camera: without lens distortion; its own pose is not used.
        camera_from_object: [4, 4].
        color: of the outline and the tint.
        blend: opacity of the shaded mesh.

    Returns:
        [H, W, 3] uint8. The image itself where the pose shows nothing.
    """
    here = replace(camera, camera_from_world=torch.eye(4).to(camera.camera_from_world))
    placed = se3_apply(camera_from_object.to(mesh.vertices), mesh.vertices)
    depth_range = placed[:, 2][placed[:, 2] > 0]
    if len(depth_range) == 0:
        return image
    here = replace(here, near=min(here.near, 0.1 * float(depth_range.min())), far=max(here.far, 2 * float(depth_range.max())))
    with torch.no_grad():
        fragments = rasterize(placed, mesh.faces, here.to(placed.dtype))
    mask = fragments.mask
    if not bool(mask.any()):
        return image
    facing = 0.25 + 0.75 * face_normals(placed, mesh.faces)[fragments.face[mask]][:, 2].abs()
    result = image.float()
    result[mask] = (1 - blend) * result[mask] + blend * facing[:, None].float() * result.new_tensor(color)
    wide = max(1, round(max(mask.shape) / 640))
    grown = torch.nn.functional.max_pool2d(mask[None, None].float(), 2 * wide + 1, stride=1, padding=wide)[0, 0] > 0
    result[grown & ~mask] = result.new_tensor(color)
    return result.round().clamp(0, 255).to(torch.uint8)
