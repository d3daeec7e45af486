"""Where to put cameras: looking at something, around it, and all over a sphere. Results are camera_from_world [..., 4, 4]."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..lie.se3 import affine_matrix


def look_at(eye: Any, target: Any = (0.0, 0.0, 0.0), up: Any = (0.0, 1.0, 0.0)) -> Tensor:
    """camera_from_world of cameras at `eye` that see `target` in the image's centre and `up` upwards in the image.

    Where `up` is parallel to the view (or zero), another direction takes its place: world +y, or -z where the view is along y.
    So the result is finite everywhere, and it jumps there.

    Args:
        eye, target, up: [..., 3] in the world, tensors or lists; they broadcast.

    Returns:
        [..., 4, 4].

    Raises:
        ArgumentError: wrong shapes, NaN, or eye and target in one place.
    Gradient: eye, target, up.
    """
    like = next((v for v in (eye, target, up) if isinstance(v, Tensor) and v.is_floating_point()), torch.empty(0))
    vectors = [torch.as_tensor(v, dtype=like.dtype, device=like.device) for v in (eye, target, up)]
    for name, vector in zip(("eye", "target", "up"), vectors):
        check_shape(vector.detach(), [..., 3], name=name, where="look_at", finite=True)
    eye, target, up = torch.broadcast_tensors(*vectors)
    view = target - eye
    distance = torch.linalg.vector_norm(view, dim=-1, keepdim=True)
    if not bool((distance > 0).all()):
        raise ArgumentError("look_at: `eye` and `target` must differ")
    forward = view / distance
    tolerance = math.sqrt(torch.finfo(forward.dtype).eps)
    scale = torch.linalg.vector_norm(up.detach(), dim=-1, keepdim=True)
    sine = torch.linalg.vector_norm(torch.linalg.cross(forward, up).detach(), dim=-1, keepdim=True)
    along_y = forward[..., 1:2].abs() > 0.9
    substitute = torch.where(along_y, up.new_tensor([0.0, 0.0, -1.0]), up.new_tensor([0.0, 1.0, 0.0]))
    right = torch.linalg.cross(forward, torch.where(sine <= tolerance * scale, substitute, up))
    right = right / torch.linalg.vector_norm(right, dim=-1, keepdim=True)
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward], -2)
    return affine_matrix(rotation, -(rotation @ eye[..., None])[..., 0])


def orbit(azimuth_deg: Any, elevation_deg: Any = 0.0, distance: Any = 1.0, *, target: Any = (0.0, 0.0, 0.0), up_axis: str = "y") -> Tensor:
    """camera_from_world of cameras on a sphere around `target` that look at it, smooth at the poles too.

    With up_axis "y", azimuth 0 is on the +z side, 90 degrees on +x. With "z" (Blender), azimuth 0 is on the -y side, 90 degrees on +x.
    Positive elevation is above. At the poles the image's upper side is what it is on the way there.

    Args:
        azimuth_deg, elevation_deg: [...] degrees.
        distance: [...] scene units, positive.
        target: [..., 3].
        up_axis: "y" or "z".

    Returns:
        [..., 4, 4].

    Raises:
        ArgumentError: a distance that is not positive, or another up axis.
    Gradient: all tensors.
    """
    if up_axis not in ("y", "z"):
        raise ArgumentError(f"orbit: `up_axis` must be 'y' or 'z', got {up_axis!r}")
    like = next(
        (v for v in (azimuth_deg, elevation_deg, distance, target) if isinstance(v, Tensor) and v.is_floating_point()), torch.empty(0)
    )
    convert = lambda v: torch.as_tensor(v, dtype=like.dtype, device=like.device)
    azimuth, elevation, distance = torch.broadcast_tensors(*(convert(v) for v in (azimuth_deg, elevation_deg, distance)))
    if not bool((distance > 0).all()):
        raise ArgumentError("orbit: `distance` must be positive")
    a, e = azimuth * (math.pi / 180), elevation * (math.pi / 180)
    ca, sa, ce, se, zero = a.cos(), a.sin(), e.cos(), e.sin(), torch.zeros_like(a)
    right = torch.stack([ca, zero, -sa], -1)
    down = torch.stack([sa * se, -ce, ca * se], -1)
    forward = torch.stack([-sa * ce, -se, -ca * ce], -1)
    rotation = torch.stack([right, down, forward], -2)
    if up_axis == "z":
        rotation = rotation @ rotation.new_tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    offset = torch.stack([zero, zero, distance], -1)
    return affine_matrix(rotation, offset - (rotation @ convert(target)[..., None])[..., 0])


def fibonacci_directions(count: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """`count` unit vectors [count, 3] spread evenly over the sphere, none at a pole (y axis).

    Raises:
        ArgumentError: count below 1.
    Source: Gonzalez 2010, "Measurement of areas on a sphere using Fibonacci and latitude-longitude lattices".
    """
    if count < 1:
        raise ArgumentError(f"fibonacci_directions: `count` must be at least 1, got {count}")
    i = torch.arange(count, dtype=torch.float64)
    y = 1 - (2 * i + 1) / count
    angle = i * (math.pi * (3 - math.sqrt(5)))
    radius = (1 - y * y).sqrt()
    return torch.stack([radius * angle.sin(), y, radius * angle.cos()], -1).to(dtype)


def fibonacci_viewpoints(
    count: int, distance: float = 1.0, *, target: Any = (0.0, 0.0, 0.0), up: Any = (0.0, 1.0, 0.0), dtype: torch.dtype = torch.float32
) -> Tensor:
    """camera_from_world [count, 4, 4] of cameras spread evenly over a sphere around `target`, looking at it.

    Args:
        count: number of viewpoints.
        distance: radius of the sphere, scene units.
        target: [3] its centre.
        up: [3] what is upwards in the images; see `look_at` for viewpoints right above or below.

    Raises:
        ArgumentError: count below 1, or a distance that is not positive.
    """
    if not distance > 0:
        raise ArgumentError(f"fibonacci_viewpoints: `distance` must be positive, got {distance!r}")
    center = torch.as_tensor(target, dtype=dtype)
    return look_at(center + distance * fibonacci_directions(count, dtype=dtype), center, torch.as_tensor(up, dtype=dtype))
