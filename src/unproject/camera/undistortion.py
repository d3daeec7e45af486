"""Images as another camera at the same place sees them: undistorted, cropped, turned."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..struct import broadcast_shapes
from .camera import Camera
from .transform import camera_to_screen, has_image, pixel_centers, rays_through, world_to_camera


def undistorted_camera(camera: Camera) -> Camera:
    """The perspective camera with the same K, pose and image size, and no lens distortion.

    A fisheye camera's K makes a wide perspective view of it; choose another `make_camera` for `resample_image` to see more or less.
    """
    if camera.projection == "orthographic":
        return camera
    return dataclasses.replace(camera, projection="perspective", distortion=None, near=camera.near if camera.near > 0 else 1e-2)


def undistort_image(image: Tensor, camera: Camera, *, mode: str = "bilinear") -> Tensor:
    """The image [..., H, W, C] without its lens distortion, as `undistorted_camera(camera)` sees it; zero outside of the original.

    Args:
        image: [..., H, W, C] floating point, of the camera's image size.
        camera: batch shape () or [...].
        mode: "bilinear", or "nearest" for depth and labels.

    Raises:
        ArgumentError: wrong shapes or mode.
    Gradient: image and camera.
    """
    return resample_image(image, camera, undistorted_camera(camera), mode=mode)


def resample_image(image: Tensor, camera: Camera, new_camera: Camera, *, mode: str = "bilinear") -> Tensor:
    """What a new camera at the same place would have seen; zero outside of the original.

    Only the cameras' rotations and lenses matter; their positions are taken as equal.

    Args:
        image: [..., H, W, C] floating point, of `camera`'s image size.
        camera: what took the image; batch shape () or [...].
        new_camera: of any image size and kind; batch shape () or [...].
        mode: "bilinear" or "nearest".

    Returns:
        [..., H', W', C] of `new_camera`'s image size.

    Raises:
        ArgumentError: wrong shapes or mode, or an orthographic camera.
    Gradient: image and both cameras.
    """
    check_shape(image, [..., "H", "W", "C"], name="image", where="resample_image")
    if tuple(image.shape[-3:-1]) != tuple(camera.image_size):
        raise ArgumentError(f"resample_image: `image` is {list(image.shape[-3:-1])}, the camera's image_size is {list(camera.image_size)}")
    if mode not in ("bilinear", "nearest"):
        raise ArgumentError(f"resample_image: `mode` must be 'bilinear' or 'nearest', got {mode!r}")
    pixels, seen = corresponding_pixels(camera, new_camera)
    pixels = pixels.to(image.dtype)
    size = pixels.new_tensor([camera.width, camera.height])
    grid = torch.where(seen[..., None], 2 * pixels / size - 1, -3.0)  # outside, where grid_sample gives zero
    batch = broadcast_shapes(image.shape[:-3], grid.shape[:-3])
    flat = image.expand(*batch, *image.shape[-3:]).reshape(-1, *image.shape[-3:]).movedim(-1, 1)
    grid = grid.expand(*batch, *grid.shape[-3:]).reshape(-1, *grid.shape[-3:])
    result = torch.nn.functional.grid_sample(flat, grid, mode=mode, padding_mode="zeros", align_corners=False)
    return result.movedim(1, -1).reshape(*batch, *new_camera.image_size, image.shape[-1])


def corresponding_pixels(camera: Camera, new_camera: Camera) -> tuple[Tensor, Tensor]:
    """For every pixel centre of `new_camera`, the pixel of `camera` that sees the same direction.

    Returns:
        pixels [*batch, H', W', 2], and whether the direction has an image and lies inside of the picture [*batch, H', W'].

    Raises:
        ArgumentError: an orthographic camera.
    """
    if "orthographic" in (camera.projection, new_camera.projection):
        raise ArgumentError("resample_image: orthographic cameras see no directions")
    centered = [_at_origin(c) for c in (camera, new_camera)]
    _, directions = rays_through(centered[1], pixel_centers(new_camera).flatten(0, 1))
    local = world_to_camera(centered[0], directions)
    pixels = camera_to_screen(camera, local)[..., :2]
    size = pixels.new_tensor([camera.width, camera.height])
    seen = has_image(camera, local.detach()) & ((pixels.detach() >= 0) & (pixels.detach() <= size)).all(-1)
    return pixels.unflatten(-2, new_camera.image_size), seen.unflatten(-1, new_camera.image_size)


def _at_origin(camera: Camera) -> Camera:
    rotation = torch.nn.functional.pad(camera.camera_from_world[..., :3, :3], (0, 1, 0, 1))
    return dataclasses.replace(camera, camera_from_world=rotation + torch.diag(rotation.new_tensor([0.0, 0.0, 0.0, 1.0])))
