"""The colours of a mesh from images at known poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..camera.undistortion import undistort_image, undistorted_camera
from ..errors import ArgumentError, DataError
from ..geometry.laplacian import uniform_laplacian
from ..geometry.mesh import Mesh
from ..geometry.topology import mesh_topology
from ..lie.se3 import se3_apply
from ..render.rasterize import rasterize
from .prepare import PoseInput

_GRAZING = 0.15  # cosine below which a pixel tells little of the surface's colour


def fit_vertex_colors(
    mesh: Mesh, images: Sequence[PoseInput], poses: Sequence[Tensor], *, smoothness: float = 0.02, steps: int = 60
) -> Mesh:
    """The mesh with the vertex colours that explain images best, in the least-squares sense, under whatever light they were taken.

    Pixels that see the surface at a grazing angle, or lie outside of the mask, do not count. Vertices that no image sees take the colours
    of their neighbours.

    Args:
        images: with `color`, and where there is one, `mask`.
        poses: camera_from_object [4, 4] of each.
        smoothness: weight of differences between neighbours, beside one pixel a vertex.
        steps: of conjugate gradients.

    Raises:
        ArgumentError: as many poses as images are needed, and images with colours.
        DataError: no pixel shows the mesh.
    """
    if len(images) != len(poses) or not images:
        raise ArgumentError(f"fit_vertex_colors: {len(images)} images and {len(poses)} poses; each image needs one")
    corners, weights, colors = (torch.cat(parts) for parts in zip(*(_pixels(mesh, image, pose) for image, pose in zip(images, poses))))
    if len(colors) == 0:
        raise DataError("fit_vertex_colors: no pixel shows the mesh; check the poses")
    laplacian = uniform_laplacian(mesh_topology(mesh), dtype=torch.float64)
    spread = lambda values: torch.zeros(mesh.vertex_count, 3).double().index_add_(0, corners.flatten(), values.flatten(0, 1))
    density = max(len(colors) / mesh.vertex_count, 1e-6)

    def normal(x: Tensor) -> Tensor:
        seen = (x[corners] * weights[..., None]).sum(1)
        return spread(weights[..., None] * seen[:, None]) + smoothness * density * (laplacian.T @ (laplacian @ x)) + 1e-9 * x

    right = spread(weights[..., None] * colors[:, None])
    x = torch.full((mesh.vertex_count, 3), float(colors.mean()), dtype=torch.float64)
    residual = right - normal(x)
    direction, power = residual.clone(), residual.square().sum(0)
    for _ in range(steps):
        image = normal(direction)
        rate = power / (direction * image).sum(0).clamp(min=1e-30)
        x, residual = x + rate * direction, residual - rate * image
        fresh = residual.square().sum(0)
        direction, power = residual + fresh / power.clamp(min=1e-30) * direction, fresh
    return replace(mesh, vertex_colors=x.clamp(0, 1).to(mesh.vertices.dtype))


def _pixels(mesh: Mesh, given: PoseInput, pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Vertices [N, 3], their weights [N, 3] and colours [N, 3] of the pixels that show the mesh."""
    if given.color is None:
        raise ArgumentError("fit_vertex_colors: an image has no `color`")
    color, camera = given.color.double(), given.camera
    if camera.distortion is not None or camera.projection == "fisheye":
        color, camera = undistort_image(color, camera), undistorted_camera(camera)
    placed = se3_apply(pose.double(), mesh.vertices.double())
    depth = placed[:, 2][placed[:, 2] > 0]
    near, far = (0.2 * float(depth.min()), 2 * float(depth.max())) if len(depth) else (1e-2, 1.0)
    here = replace(camera.map(lambda t: t.double()), camera_from_world=torch.eye(4, dtype=torch.float64), near=near, far=far)
    with torch.no_grad():
        fragments = rasterize(placed, mesh.faces, here)
    triangle = placed[mesh.faces]
    normal = torch.nn.functional.normalize(torch.linalg.cross(triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0]), dim=1)
    facing = (normal * torch.nn.functional.normalize(triangle.mean(1), dim=1)).sum(1).abs()
    shown = fragments.mask & (facing[fragments.face.clamp(min=0)] > _GRAZING)
    if given.mask is not None:
        shown &= given.mask > 0.5
    return mesh.faces[fragments.face[shown]], fragments.barycentrics[shown], color[shown][:, :3]
