"""Soft rasterization: images that change smoothly with the vertices, because every face covers a blurred area."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..errors import ArgumentError
from ..ops import soft as ops
from ..ops import soft_blend as blend_ops
from ..reference import soft as reference
from ..struct import TensorStruct
from .project import Projection, clip, clip_rows, depth_ranges, project, vertex_rows, view_of

CUTOFF = 1e-4  # coverage outside a face below which it is taken as 0


@dataclass(frozen=True, kw_only=True)
class SoftImage(TensorStruct):
    """Softly blended attributes of a mesh. Leading dimensions are those of the images (render/project.py).

    Attributes:
        values: [..., H, W, C] mean attributes of the faces near the pixel, the nearest ones foremost; 0 where no face is near.
        depth: [..., H, W] mean camera z, with the same weights.
        alpha: [..., H, W] how much of the pixel is covered, as `soft_silhouette`.
        foreground: [..., H, W] share of the faces' weights against that of the background.
    """

    values: Tensor
    depth: Tensor
    alpha: Tensor
    foreground: Tensor


def soft_silhouette(
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    *,
    sigma: float = 1e-4,
    cull_backfaces: bool = False,
    vertex_offsets: Tensor | None = None,
    face_offsets: Tensor | None = None,
) -> Tensor:
    """How much of each pixel the meshes cover, in [0, 1], with every edge blurred: 1 - prod over faces of (1 - coverage).

    The coverage of a face is sigmoid(+-d^2 / sigma), with d the distance on the image from the pixel's centre to the outline of the face,
    + inside. All faces count, however many overlap; memory is that of the image. Coverage below 1e-4 outside a face is taken as 0.

    Args:
        vertices, faces, camera, vertex_offsets, face_offsets: as `rasterize`. Faces are cut at the near plane.
        sigma: blur, in squares of half the shorter image side (so it does not depend on the resolution). A blurred edge is about
            4 sqrt(sigma) wide: for 1e-4, 2 % of the image.
        cull_backfaces: leave out faces that are clockwise in the image.

    Returns:
        [..., H, W].

    Raises:
        ArgumentError: as `rasterize`; `sigma` not positive.

    Gradient: vertices and camera. Finite for every finite input.

    Source: Liu et al. 2019, Soft Rasterizer, eq. 1 and 4.
    """
    where = "soft_silhouette"
    scene = project(vertices, faces, camera, vertex_offsets=vertex_offsets, face_offsets=face_offsets, where=where)
    scene, _ = clip(scene, camera.near)
    run = ops.soft_silhouette if scene.points.device.type == "cpu" else reference.soft_silhouette
    view = (*view_of(camera, scene, cull_backfaces), *blur_in_pixels(camera, sigma, where))
    transmittance = run(scene.points, scene.faces, scene.images, *view)
    return 1 - transmittance.view(*scene.shape, camera.height, camera.width)


def soft_rasterize(
    vertices: Tensor,
    faces: Tensor,
    attributes: Tensor,
    camera: Camera,
    *,
    sigma: float = 1e-4,
    gamma: float = 1e-4,
    background_nearness: float = 1e-3,
    depth_range: tuple[float, float] | None = None,
    cull_backfaces: bool = False,
    vertex_offsets: Tensor | None = None,
    face_offsets: Tensor | None = None,
) -> SoftImage:
    """Blend the vertex attributes of all faces near a pixel, so that also hidden faces and faces beside the pixel get a gradient.

    The weight of a face is coverage x exp(nearness / gamma), normalized over all faces at the pixel; coverage as in `soft_silhouette`,
    nearness linear in depth from 1 at the near end of `depth_range` to 0 at its far end. Attributes and depth of a face are those
    of its perspective-correct barycentrics at the pixel, clamped to the face.

    The background is laid under the image afterwards. `over(image.values, image.alpha, background)` blends by coverage: an outline is
    half background. `over(image.values, image.foreground, background)` is the paper's: the background takes part in the weights like a
    face of full coverage at nearness `background_nearness`. With a small gamma it hardly ever wins: whatever is near at all has the
    foreground's colour.

    Args:
        vertices, faces, camera, vertex_offsets, face_offsets: as `rasterize`. Faces are cut at the near plane.
        attributes: [V, C], or [..., V, C] with leading dimensions that broadcast with the images; colours, normals, positions.
        sigma: blur across the image, as in `soft_silhouette`.
        gamma: blur in depth, as a share of the depth range: of two faces that lie this far apart, the hidden one counts 1 / e.
        background_nearness: on the scale where the depth range goes from 1 to 0; the paper's epsilon.
        depth_range: (near, far) in scene units; by default that of each image's vertices.
        cull_backfaces: leave out faces that are clockwise in the image.

    Raises:
        ArgumentError: as `rasterize`; `sigma` or `gamma` not positive; a depth range that is none; `attributes` of another shape.

    Gradient: vertices, attributes and camera. Finite for every finite input. The default depth range is held fixed.

    Source: Liu et al. 2019, Soft Rasterizer, eq. 1 to 3.
    """
    where = "soft_rasterize"
    scene = project(vertices, faces, camera, vertex_offsets=vertex_offsets, face_offsets=face_offsets, where=where)
    rows, bases = vertex_rows(scene, attributes.to(vertices.dtype), name="attributes", where=where)
    exponents = blend_exponents(scene, camera, gamma, depth_range, where)
    scene, clipped = clip(scene, camera.near)
    rows, bases = clip_rows(rows, bases, scene, clipped)
    run = blend_ops.soft_blend if scene.points.device.type == "cpu" else reference.soft_blend
    view = (*view_of(camera, scene, cull_backfaces), *blur_in_pixels(camera, sigma, where))
    values, depth, transmittance, weight = run(scene.points, scene.faces, scene.images, rows, bases, exponents, *view)
    lead = (*scene.shape, camera.height, camera.width)
    alpha, foreground = 1 - transmittance.view(lead), foreground_share(weight, gamma, background_nearness, where).view(lead)
    return SoftImage(values=values.view(*lead, rows.shape[1]), depth=depth.view(lead), alpha=alpha, foreground=foreground)


def over(values: Tensor, alpha: Tensor, background: Tensor | float) -> Tensor:
    """Lay an image [..., C] with coverage `alpha` [...] over a background that broadcasts with it. Not premultiplied."""
    return values * alpha[..., None] + (1 - alpha)[..., None] * background


def blur_in_pixels(camera: Camera, sigma: float, where: str) -> tuple[float, float]:
    """Sigma in square pixels, and the distance in pixels at which coverage has fallen to the cutoff."""
    if not (sigma > 0 and math.isfinite(sigma)):
        raise ArgumentError(f"{where}: `sigma` must be positive, got {sigma!r}")
    variance = sigma * (min(camera.height, camera.width) / 2) ** 2
    return variance, math.sqrt(variance * math.log(1 / CUTOFF - 1))


def blend_exponents(scene: Projection, camera: Camera, gamma: float, depth_range: tuple[float, float] | None, where: str) -> Tensor:
    """What blends by depth: [B, 2] float64 offset and slope of each image, so that a face's nearness / gamma is offset - slope z."""
    if not (gamma > 0 and math.isfinite(gamma)):
        raise ArgumentError(f"{where}: `gamma` must be positive, got {gamma!r}")
    if depth_range is None:
        near_far = depth_ranges(scene, camera.near)
    elif not (len(depth_range) == 2 and -math.inf < depth_range[0] < depth_range[1] < math.inf):
        raise ArgumentError(f"{where}: `depth_range` must be (near, far) with near < far, got {depth_range!r}")
    else:
        near_far = torch.tensor([depth_range] * scene.images.shape[0], dtype=torch.float64).view(-1, 2)
    slope = 1 / (gamma * (near_far[:, 1] - near_far[:, 0]).clamp_min(1e-6 * near_far[:, 1].abs() + 1e-30))
    return torch.stack([slope * near_far[:, 1], slope], 1)


def foreground_share(weight: Tensor, gamma: float, background_nearness: float, where: str) -> Tensor:
    """The share of the faces, with the logarithm of their weights, against a background of full coverage."""
    if not math.isfinite(background_nearness):
        raise ArgumentError(f"{where}: `background_nearness` must be a finite number, got {background_nearness!r}")
    return torch.sigmoid(weight - background_nearness / gamma)
