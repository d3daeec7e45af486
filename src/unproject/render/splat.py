"""Differentiable points: discs and spheres with soft edges, blended in depth order."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..errors import ArgumentError, check_shape
from ..ops import splat as ops
from ..reference import splat as reference
from .project import project, vertex_rows
from .soft import SoftImage, blend_exponents, foreground_share


def splat(
    centers: Tensor,
    radii: Tensor | float,
    attributes: Tensor,
    camera: Camera,
    *,
    spheres: bool = False,
    edge_px: float = 1.0,
    gamma: float = 1e-4,
    background_nearness: float = 1e-3,
    depth_range: tuple[float, float] | None = None,
) -> SoftImage:
    """Render points as discs that face the camera, or as spheres. All points count, however many overlap; no sorting, no list a pixel.

    The coverage of a point falls smoothly from 1 to 0 over an edge of `edge_px` around its outline, the circle of radius f r / z. Points
    are blended with weights coverage x exp(nearness / gamma), normalized, with nearness linear in depth as in `soft_rasterize`: what lies
    behind shows only where what lies before it leaves room, and the edge between the two moves with both. Lay the image over a
    background with `over(image.values, image.alpha, background)`.

    Args:
        centers: [..., N, 3] world coordinates, scene units. The broadcast rule of render/project.py.
        radii: one, [N], or [..., N], scene units, at least 0.
        attributes: [N, C], or [..., N, C] that broadcast with the images; colours, features.
        camera: perspective or orthographic, without lens distortion. Points before near or beyond far are not drawn.
        spheres: whether the depth bulges towards the camera, so that spheres cut into each other.
        edge_px: width of the soft edge in pixels; wide ones see further.
        gamma, background_nearness, depth_range: as `soft_rasterize`; the depth range is that of the centres by default.

    Raises:
        ArgumentError: shapes, NaN, a negative radius, `edge_px` or `gamma` not positive, batches that do not broadcast.

    Gradient: centers, radii, attributes and camera. Finite for every finite input.

    Source: the blending of Liu et al. 2019, for spheres after Lassner and Zollhoefer 2021 (Pulsar).
    """
    where = "splat"
    check_shape(centers, [..., "N", 3], name="centers", where=where, finite=True)
    if not (edge_px > 0 and math.isfinite(edge_px)):
        raise ArgumentError(f"{where}: `edge_px` must be positive, got {edge_px!r}")
    scene = project(centers, torch.zeros((0, 3), dtype=torch.int64, device=centers.device), camera, where=where)
    count, images = scene.vertex_count, scene.images.shape[0]
    size = _rows(radii, centers, scene.shape, where)
    rows, _ = vertex_rows(scene, attributes.to(centers.dtype), name="attributes", where=where)
    exponents = blend_exponents(scene, camera, gamma, depth_range, where)
    discs = _discs(scene.points, size.reshape(images, count), camera, scene.shape, spheres)
    run = ops.splat if discs.device.type == "cpu" else reference.splat
    view = (images, camera.height, camera.width, float(camera.near), float(camera.far), float(edge_px))
    values, depth, transmittance, weight = run(discs, rows, exponents, *view)
    lead = (*scene.shape, camera.height, camera.width)
    alpha, foreground = 1 - transmittance.view(lead), foreground_share(weight, gamma, background_nearness, where).view(lead)
    channels = rows.shape[1] if count else attributes.shape[-1]
    return SoftImage(values=values.view(*lead, channels), depth=depth.view(lead), alpha=alpha, foreground=foreground)


def _rows(radii: Tensor | float, centers: Tensor, shape: tuple[int, ...], where: str) -> Tensor:
    """Radii [..., N], one for each point of each image."""
    values = torch.as_tensor(radii, dtype=centers.dtype, device=centers.device)
    if not bool((values >= 0).all()) or not bool(torch.isfinite(values).all()):
        raise ArgumentError(f"{where}: `radii` must be finite and at least 0")
    try:
        return values.expand(*shape, centers.shape[-2])
    except RuntimeError:
        wanted = [*shape, centers.shape[-2]]
        raise ArgumentError(f"{where}: `radii` {list(values.shape)} does not broadcast with the points of the images {wanted}") from None


def _discs(points: Tensor, radii: Tensor, camera: Camera, shape: tuple[int, ...], spheres: bool) -> Tensor:
    """[B * N, 5] as the operator takes them, from points [B * N, 3] and radii [B, N].

    Points that are not in front are not drawn; their numbers only stay finite.
    """
    k = camera.intrinsics.to(points.dtype)
    focal = (k[..., 0, 0] * k[..., 1, 1] - k[..., 0, 1] * k[..., 1, 0]).abs().sqrt()
    scale = (focal.expand(shape).reshape(-1, 1) * radii).view(-1)
    x, y, z = points.unbind(1)
    if camera.projection == "perspective":
        inverse = z.clamp_min(camera.near).reciprocal()
        x, y, scale = x * inverse, y * inverse, scale * inverse
    return torch.stack([x, y, z, scale, radii.reshape(-1) if spheres else torch.zeros_like(z)], 1)
