"""Points among world, camera, screen and normalized device coordinates; rays through pixels; depth images to points.

The broadcast rule, the same for every function here: a camera has a batch shape C, points are [..., N, 3], and C broadcasts
with the points' leading dimensions [...]; the result is [broadcast, N, 3]. So one camera takes points of any shape with at least
two dimensions, and B cameras take [N, 3] (the same points for all) or [B, N, 3] (own points for each). Results have the points'
dtype. Every function is differentiable in points and camera.

The four spaces (docs/conventions.md):
    world   scene units.
    camera  scene units; x right, y down, z forward.
    screen  (u, v, z): pixels from the image's top-left corner, u right, v down; z is the depth along the camera's z axis.
    NDC     (x, y, z): x right and y up, each in [-1, 1] over the whole image; z as above, from near to far.

Depth is carried, so that all conversions invert. A perspective image of a point on the camera plane z = 0 does not exist: within
near / 1000 of that plane, points are projected as if they lay that far from it, which keeps values and gradients finite. Points behind
the camera have mirrored images, told by z < 0. Beyond the radius where a lens distortion folds back (or 100, 89.4 degrees off the axis),
where its model means nothing, it goes on linearly, so that nothing from outside is imaged into the picture; `has_image` tells such points.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..struct import broadcast_shapes
from .camera import Camera
from .distortion import distort_fisheye, distort_points, distortion_radius, fisheye_angle, undistort_fisheye, undistort_points

_WIDEST = 100.0


def world_to_camera(camera: Camera, points: Tensor) -> Tensor:
    """Points [..., N, 3] from world to camera coordinates. Broadcast rule: see the module."""
    check_shape(points, [..., "N", 3], name="points", where="world_to_camera")
    m = camera.camera_from_world.to(points.dtype)
    return points @ m[..., :3, :3].mT + m[..., None, :3, 3]


def camera_to_world(camera: Camera, points: Tensor) -> Tensor:
    """Points [..., N, 3] from camera to world coordinates. Broadcast rule: see the module."""
    check_shape(points, [..., "N", 3], name="points", where="camera_to_world")
    m = camera.camera_from_world.to(points.dtype)
    return (points - m[..., None, :3, 3]) @ m[..., :3, :3]


def camera_to_screen(camera: Camera, points: Tensor) -> Tensor:
    """Project: camera coordinates [..., N, 3] to (u, v, depth), with the lens distortion. Broadcast rule: see the module."""
    check_shape(points, [..., "N", 3], name="points", where="camera_to_screen")
    k = camera.intrinsics.to(points.dtype)
    xy, z = points[..., :2], points[..., 2:]
    if camera.projection == "fisheye":
        xy = distort_fisheye(points, _coefficients(camera, points, 4))
    elif camera.projection == "perspective":
        xy = xy / _divisor(z, camera.near)
        if camera.distortion is not None:
            xy = _through_lens(xy, camera.distortion.to(points.dtype))
    uv = xy @ k[..., :2, :2].mT + k[..., None, :2, 2]
    return torch.cat([uv, z.expand(*uv.shape[:-1], 1)], -1)


def screen_to_camera(camera: Camera, points: Tensor) -> Tensor:
    """Unproject: (u, v, depth) [..., N, 3] to camera coordinates, inverse of `camera_to_screen`. Broadcast rule: see the module.

    For a fisheye camera the depth must be positive (the angle to the axis below 90 degrees).
    """
    check_shape(points, [..., "N", 3], name="points", where="screen_to_camera")
    z = points[..., 2:]
    xy = _normalized(camera, points[..., :2])
    if camera.projection == "perspective":
        xy = xy * _divisor(z, camera.near)
    elif camera.projection == "fisheye":
        direction = undistort_fisheye(xy, _coefficients(camera, points, 4))
        xy = direction[..., :2] * (z / direction[..., 2:])
    return torch.cat([xy, z.expand(*xy.shape[:-1], 1)], -1)


def screen_to_ndc(camera: Camera, points: Tensor) -> Tensor:
    """(u, v, depth) [..., N, 3] to normalized device coordinates: x = 2 u / width - 1, y = 1 - 2 v / height, depth kept."""
    check_shape(points, [..., "N", 3], name="points", where="screen_to_ndc")
    return points * points.new_tensor([2 / camera.width, -2 / camera.height, 1.0]) + points.new_tensor([-1.0, 1.0, 0.0])


def ndc_to_screen(camera: Camera, points: Tensor) -> Tensor:
    """Normalized device coordinates [..., N, 3] to (u, v, depth), inverse of `screen_to_ndc`."""
    check_shape(points, [..., "N", 3], name="points", where="ndc_to_screen")
    return (points - points.new_tensor([-1.0, 1.0, 0.0])) * points.new_tensor([camera.width / 2, -camera.height / 2, 1.0])


def camera_to_ndc(camera: Camera, points: Tensor) -> Tensor:
    """Camera coordinates [..., N, 3] to normalized device coordinates. Broadcast rule: see the module."""
    return screen_to_ndc(camera, camera_to_screen(camera, points))


def ndc_to_camera(camera: Camera, points: Tensor) -> Tensor:
    """Normalized device coordinates [..., N, 3] to camera coordinates. Broadcast rule: see the module."""
    return screen_to_camera(camera, ndc_to_screen(camera, points))


def world_to_screen(camera: Camera, points: Tensor) -> Tensor:
    """Project: world coordinates [..., N, 3] to (u, v, depth). Broadcast rule: see the module."""
    if camera.projection != "perspective" or camera.distortion is not None:
        return camera_to_screen(camera, world_to_camera(camera, points))
    check_shape(points, [..., "N", 3], name="points", where="world_to_screen")
    k = camera.intrinsics.to(points.dtype)
    scale = torch.nn.functional.pad(k[..., :2, :2], (0, 1, 0, 1)) + torch.diag(k.new_tensor([0.0, 0.0, 1.0]))
    m = scale @ camera.camera_from_world[..., :3, :].to(points.dtype)  # one product instead of two for every point
    moved = points @ m[..., :3].mT + m[..., None, :, 3]
    z = moved[..., 2:]
    return torch.cat([moved[..., :2] / _divisor(z, camera.near) + k[..., None, :2, 2], z], -1)


def screen_to_world(camera: Camera, points: Tensor) -> Tensor:
    """Unproject: (u, v, depth) [..., N, 3] to world coordinates. Broadcast rule: see the module."""
    return camera_to_world(camera, screen_to_camera(camera, points))


def world_to_ndc(camera: Camera, points: Tensor) -> Tensor:
    """World coordinates [..., N, 3] to normalized device coordinates. Broadcast rule: see the module."""
    return screen_to_ndc(camera, world_to_screen(camera, points))


def ndc_to_world(camera: Camera, points: Tensor) -> Tensor:
    """Normalized device coordinates [..., N, 3] to world coordinates. Broadcast rule: see the module."""
    return screen_to_world(camera, ndc_to_screen(camera, points))


def has_image(camera: Camera, points: Tensor) -> Tensor:
    """Which points in camera coordinates [..., N, 3] the camera's model images at all (inside or outside of the picture): bool [..., N].

    Perspective: in front of the camera plane, and within the radius where the lens distortion is one to one. Fisheye: within the angle
    where it is. Orthographic: all. Near and far are not asked. Broadcast rule: see the module.
    """
    check_shape(points, [..., "N", 3], name="points", where="has_image")
    z = points[..., 2]
    if camera.projection == "orthographic":
        return torch.ones(broadcast_shapes(z.shape, (*camera.batch_shape, 1)), dtype=torch.bool, device=z.device)
    radius = torch.linalg.vector_norm(points[..., :2], dim=-1)
    if camera.projection == "fisheye":
        limit = fisheye_angle(_coefficients(camera, points, 4))[..., None]
        return torch.atan2(radius, z) < limit.clamp(max=torch.pi * (1 - 1e-6))
    front = z > 0
    if camera.distortion is None:
        return front.expand(broadcast_shapes(z.shape, (*camera.batch_shape, 1)))
    return front & (radius < distortion_radius(camera.distortion.to(points.dtype))[..., None] * z)


def camera_center(camera: Camera) -> Tensor:
    """The cameras' positions [..., 3] in the world."""
    m = camera.camera_from_world
    return -(m[..., :3, :3].mT @ m[..., :3, 3:])[..., 0]


def pixel_centers(camera: Camera) -> Tensor:
    """Screen coordinates [H, W, 2] of the image's pixel centres: (0.5, 0.5), (1.5, 0.5), ..."""
    k = camera.intrinsics
    v = torch.arange(camera.height, dtype=k.dtype, device=k.device) + 0.5
    u = torch.arange(camera.width, dtype=k.dtype, device=k.device) + 0.5
    return torch.stack(torch.meshgrid(u, v, indexing="xy"), -1)


def rays_through(camera: Camera, pixels: Tensor, *, unit: bool = True) -> tuple[Tensor, Tensor]:
    """World rays through screen positions.

    Args:
        camera: batch shape C.
        pixels: [..., N, 2] (u, v); broadcasts as in the module's rule.
        unit: directions of length 1; else of depth 1 (z = 1 in camera coordinates), so that origin + depth * direction is the point.

    Returns:
        origins and directions, both [..., N, 3]. Perspective rays begin at the camera's centre, orthographic ones on the plane z = 0.
    """
    check_shape(pixels, [..., "N", 2], name="pixels", where="rays_through")
    m = camera.camera_from_world.to(pixels.dtype)
    xy = _normalized(camera, pixels)
    if camera.projection == "orthographic":
        origins = (torch.cat([xy, torch.zeros_like(xy[..., :1])], -1) - m[..., None, :3, 3]) @ m[..., :3, :3]
        return origins, m[..., 2:3, :3].expand(origins.shape)
    if camera.projection == "fisheye":
        local = undistort_fisheye(xy, _coefficients(camera, pixels, 4))
        local = local if unit else local / local[..., 2:]
    else:
        local = torch.cat([xy, torch.ones_like(xy[..., :1])], -1)
        local = torch.nn.functional.normalize(local, dim=-1) if unit else local
    directions = local @ m[..., :3, :3]
    return camera_center(camera).to(pixels.dtype)[..., None, :].expand(directions.shape), directions


def pixel_rays(camera: Camera, *, unit: bool = True) -> tuple[Tensor, Tensor]:
    """World rays through all pixel centres: origins and directions, both [*C, H, W, 3]. See `rays_through`."""
    origins, directions = rays_through(camera, pixel_centers(camera).flatten(0, 1), unit=unit)
    size = (camera.height, camera.width)
    return origins.unflatten(-2, size), directions.unflatten(-2, size)


def unproject_depth(camera: Camera, depth: Tensor) -> Tensor:
    """World points of depth images.

    Args:
        camera: batch shape C.
        depth: [..., H, W] along the camera's z axis, scene units; [...] broadcasts with C. (For distances along the ray, see
            `depth_from_distance`.) A pixel without a measurement gives no meaningful point: mask with `depth > 0`.

    Returns:
        [..., H, W, 3] in the world, differentiable in depth and camera.

    Raises:
        ArgumentError: the depth image is not of the camera's size.
    """
    check_shape(depth, [..., "H", "W"], name="depth", where="unproject_depth")
    _check_size(camera, depth, "unproject_depth")
    if camera.projection == "orthographic":
        origins, directions = pixel_rays(camera, unit=False)
        return origins.to(depth.dtype) + depth[..., None] * directions.to(depth.dtype)
    pixels = pixel_centers(camera).to(depth.dtype).flatten(0, 1)
    origins, directions = rays_through(camera, pixels, unit=False)
    points = origins + depth.flatten(-2)[..., None] * directions
    return points.unflatten(-2, (camera.height, camera.width))


def depth_from_distance(camera: Camera, distance: Tensor) -> Tensor:
    """Depth along z [..., H, W] from distance along each pixel's ray (what ray casters and some sensors give)."""
    check_shape(distance, [..., "H", "W"], name="distance", where="depth_from_distance")
    _check_size(camera, distance, "depth_from_distance")
    return distance * _ray_cosines(camera).to(distance.dtype)


def distance_from_depth(camera: Camera, depth: Tensor) -> Tensor:
    """Distance along each pixel's ray [..., H, W] from depth along z; inverse of `depth_from_distance`."""
    check_shape(depth, [..., "H", "W"], name="depth", where="distance_from_depth")
    _check_size(camera, depth, "distance_from_depth")
    return depth / _ray_cosines(camera).to(depth.dtype)


def _ray_cosines(camera: Camera) -> Tensor:
    """Cosine [*C, H, W] of the angle between each pixel's ray and the z axis."""
    _, directions = pixel_rays(camera)
    return (directions * camera.camera_from_world[..., None, None, 2, :3]).sum(-1)


def _normalized(camera: Camera, pixels: Tensor) -> Tensor:
    """(u, v) [..., N, 2] to K^-1 (u, v), for perspective cameras without their lens distortion."""
    k = camera.intrinsics.to(pixels.dtype)
    xy = (pixels - k[..., None, :2, 2]) @ _inverse_2x2(k[..., :2, :2]).mT
    if camera.projection == "perspective" and camera.distortion is not None:
        xy = undistort_points(xy, camera.distortion.to(pixels.dtype))
    return xy


def _inverse_2x2(a: Tensor) -> Tensor:
    determinant = a[..., 0, 0] * a[..., 1, 1] - a[..., 0, 1] * a[..., 1, 0]
    adjugate = torch.stack([a[..., 1, 1], -a[..., 0, 1], -a[..., 1, 0], a[..., 0, 0]], -1).unflatten(-1, (2, 2))
    return adjugate / determinant[..., None, None]


def _divisor(z: Tensor, near: float) -> Tensor:
    """Depth, kept at least near / 1000 from zero."""
    floor = 1e-3 * near
    return torch.where(z.abs() < floor, torch.where(z < 0, -floor, floor).to(z.dtype), z)


def _through_lens(xy: Tensor, coefficients: Tensor) -> Tensor:
    """Lens distortion of normalized points [..., N, 2], linear beyond the radius where it is one to one."""
    limit = distortion_radius(coefficients).clamp(max=_WIDEST)[..., None, None]
    radius = torch.linalg.vector_norm(xy, dim=-1, keepdim=True)
    beyond = torch.where(radius > limit, radius / limit, 1.0)
    return distort_points(xy / beyond, coefficients) * beyond


def _coefficients(camera: Camera, like: Tensor, count: int) -> Tensor:
    return like.new_zeros(count) if camera.distortion is None else camera.distortion.to(like.dtype)


def _check_size(camera: Camera, image: Tensor, where: str) -> None:
    if tuple(image.shape[-2:]) != tuple(camera.image_size):
        raise ArgumentError(f"{where}: image is {list(image.shape[-2:])}, the camera's image_size is {list(camera.image_size)}")
