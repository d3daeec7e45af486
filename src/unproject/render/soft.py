"""Soft rasterization: images that change smoothly with the vertices, because every face covers a blurred area."""

from __future__ import annotations

import math

from torch import Tensor

from ..camera.camera import Camera
from ..errors import ArgumentError
from ..ops import soft as ops
from ..reference import soft as reference
from .project import clip, project


def soft_silhouette(
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    *,
    sigma: float = 1e-4,
    cutoff: float = 1e-4,
    cull_backfaces: bool = False,
    vertex_offsets: Tensor | None = None,
    face_offsets: Tensor | None = None,
) -> Tensor:
    """How much of each pixel the meshes cover, in [0, 1], with every edge blurred: 1 - prod over faces of (1 - coverage).

    The coverage of a face is sigmoid(+-d^2 / sigma), with d the distance on the image from the pixel's centre to the outline of the face,
    + inside. All faces count, however many overlap; memory is that of the image.

    Args:
        vertices, faces, camera, vertex_offsets, face_offsets: as `rasterize`. Faces are cut at the near plane.
        sigma: blur, in squares of half the shorter image side (so it does not depend on the resolution); the blurred edge is about
            4 sqrt(sigma) wide: 1e-4 at 256 pixels about 5 pixels.
        cutoff: coverage outside a face below which it is taken as 0.
        cull_backfaces: leave out faces that are clockwise in the image.

    Returns:
        [..., H, W].

    Raises:
        ArgumentError: as `rasterize`; `sigma` or `cutoff` out of range.

    Gradient: vertices and camera, exact (up to the cutoff). Finite for every finite input.

    Source: Liu et al. 2019, Soft Rasterizer, eq. 1 and 4.
    """
    where = "soft_silhouette"
    variance, radius = blur_in_pixels(camera, sigma, cutoff, where)
    scene = project(vertices, faces, camera, vertex_offsets=vertex_offsets, face_offsets=face_offsets, where=where)
    scene, _ = clip(scene, camera.near)
    run = ops.soft_silhouette if scene.points.device.type == "cpu" else reference.soft_silhouette
    view = (camera.height, camera.width, float(camera.near), float(camera.far), scene.orthographic, cull_backfaces)
    transmittance = run(scene.points, scene.faces, scene.images, *view, variance, radius)
    return 1 - transmittance.view(*scene.shape, camera.height, camera.width)


def blur_in_pixels(camera: Camera, sigma: float, cutoff: float, where: str) -> tuple[float, float]:
    """Sigma in square pixels, and the distance in pixels at which coverage has fallen to `cutoff`."""
    if not (sigma > 0 and math.isfinite(sigma)):
        raise ArgumentError(f"{where}: `sigma` must be positive, got {sigma!r}")
    if not 0 < cutoff < 0.5:
        raise ArgumentError(f"{where}: `cutoff` must lie between 0 and 0.5, got {cutoff!r}")
    variance = sigma * (min(camera.height, camera.width) / 2) ** 2
    return variance, math.sqrt(variance * math.log(1 / cutoff - 1))
