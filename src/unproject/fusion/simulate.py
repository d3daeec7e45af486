"""What a depth camera would see of a mesh: frames for tests, tutorials and benchmarks, whose truth is known."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ..camera.camera import Camera, check_camera
from ..camera.transform import pixel_rays
from ..errors import ArgumentError
from ..geometry.bvh import Bvh
from ..geometry.mesh import Mesh
from ..geometry.query import ray_cast

_GREY = 0.5


def simulate_rgbd(
    mesh: Mesh,
    camera: Camera,
    *,
    color: Callable[[Float[Tensor, "N 3"]], Float[Tensor, "N 3"]] | None = None,
    noise: float = 0.0,
    generator: torch.Generator | None = None,
    bvh: Bvh | None = None,
) -> tuple[Float[Tensor, "H W"], Tensor]:
    """Depth and colour of a mesh from one camera, without light: rays through the pixels' centres.

    Args:
        mesh: its vertex colours are used where it has them.
        camera: one camera.
        color: RGB in [0, 1] of world points, instead of the mesh's own.
        noise: deviation of the depth at 1 scene unit; it grows with the square of depth, as a structured-light camera's does.
        generator: of the noise.
        bvh: `build_bvh(mesh.vertices, mesh.faces)`, where many frames are taken.

    Returns:
        depth along the camera's z axis [H, W] float32 in scene units, 0 where no surface is within the camera's range, and rgb
        [H, W, 3] uint8, black there.

    Raises:
        ArgumentError: a batch of cameras, or negative noise.

    No gradient.
    """
    check_camera(camera, where="simulate_rgbd")
    if camera.batch_shape:
        raise ArgumentError(f"simulate_rgbd: `camera` must be one camera, got a batch {list(camera.batch_shape)}")
    if not noise >= 0:
        raise ArgumentError(f"simulate_rgbd: `noise` must not be negative, got {noise}")
    with torch.no_grad():
        origins, directions = (part.to(mesh.vertices.dtype) for part in pixel_rays(camera, unit=False))
        hit = ray_cast(origins, directions, mesh, bvh=bvh)
        along = directions @ camera.camera_from_world[2, :3].to(directions.dtype)
        depth = torch.where(hit.face >= 0, hit.distance * along, 0)
        seen = (depth >= camera.near) & (depth <= camera.far)
        rgb = torch.zeros(*depth.shape, 3, dtype=torch.float64)
        rgb[seen] = _colors(mesh, hit.face[seen], hit.barycentrics[seen], color).to(torch.float64)
        if noise > 0:
            depth = depth + noise * depth.square() * torch.randn(depth.shape, generator=generator, dtype=depth.dtype)
        depth = torch.where(seen, depth, 0).to(torch.float32)
    return depth, (rgb.clamp(0, 1) * 255).round().to(torch.uint8)


def _colors(mesh: Mesh, face: Tensor, barycentrics: Tensor, color: Callable[[Tensor], Tensor] | None) -> Tensor:
    corners = mesh.faces[face]
    mix = lambda values: (values[corners] * barycentrics[..., None].to(values.dtype)).sum(1)
    if color is not None:
        return color(mix(mesh.vertices))
    if mesh.vertex_colors is not None:
        return mix(mesh.vertex_colors[:, :3])
    return barycentrics.new_full((len(face), 3), _GREY)
