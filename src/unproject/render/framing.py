"""Cameras that frame what they look at."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..camera.camera import Camera, orthographic_camera, perspective_camera
from ..camera.viewpoints import orbit
from ..errors import ArgumentError, check_shape

_MOST = 100_000  # points that framing looks at; of more, an even selection and those that stick out


def frame_camera(
    points: Tensor,
    *,
    image_size: tuple[int, int],
    azimuth_deg: Any = 30.0,
    elevation_deg: Any = 20.0,
    fov_y_deg: float = 30.0,
    distance: float | None = None,
    up_axis: str = "y",
    orthographic: bool = False,
    margin: float = 0.06,
) -> Camera:
    """A camera that looks at the middle of points' bounding box from where they just fit into the image.

    Args:
        points: [N, 3] world, such as `mesh.vertices`. Points that are not finite do not count.
        image_size: (height, width).
        azimuth_deg, elevation_deg: as `camera.viewpoints.orbit`; with a batch [B], all cameras keep the distance that fits each of them.
        fov_y_deg: angle between the image's top and bottom edge.
        distance: from the middle, scene units; None: as near as fits.
        up_axis: "y" or "z".
        orthographic: parallel projection of the same size as the perspective one in the middle.
        margin: share of the image that stays free on each side.

    Returns:
        A camera, or a batch of them, whose near and far planes enclose the points.

    Raises:
        ArgumentError: no finite point, or an angle or margin out of its range.
    """
    where = "frame_camera"
    check_shape(points, ["N", 3], name="points", where=where)
    if not 0 < fov_y_deg < 180 or not 0 <= margin < 0.5:
        raise ArgumentError(f"{where}: `fov_y_deg` must be in (0, 180) and `margin` in [0, 0.5), got {fov_y_deg!r} and {margin!r}")
    spread = _selection(points.detach().double(), where)
    low, high = spread.amin(0), spread.amax(0)
    center, radius = (low + high) / 2, max(float((high - low).norm()) / 2, 1e-12 + 1e-6 * float(high.abs().max()))
    azimuth, elevation = (torch.as_tensor(v, dtype=torch.float64) for v in (azimuth_deg, elevation_deg))
    turn = orbit(azimuth, elevation, 1.0, up_axis=up_axis)[..., :3, :3]
    seen = (spread - center) @ turn.reshape(-1, 3, 3).mT  # [B, N, 3] in camera axes, from the middle
    half_y = math.tan(math.radians(fov_y_deg) / 2) * (1 - 2 * margin)
    half_x = half_y * image_size[1] / image_size[0]
    if distance is None:
        fits = torch.maximum(seen[..., 0].abs() / half_x, seen[..., 1].abs() / half_y) - (0 if orthographic else seen[..., 2])
        distance = max(float(fits.max()), 1e-3 * radius if orthographic else 1.02 * float(-seen[..., 2].min()), 1e-12)
    elif not distance > 0:
        raise ArgumentError(f"{where}: `distance` must be positive, got {distance!r}")
    pose = orbit(azimuth, elevation, distance, target=center, up_axis=up_axis)
    far = distance + 2 * radius
    near = -2 * radius if orthographic else max(distance - 1.1 * radius, 1e-3 * far)
    if orthographic:
        height = 2 * distance * math.tan(math.radians(fov_y_deg) / 2)
        camera = orthographic_camera(pose, image_size=image_size, view_height=height, near=near, far=far)
    else:
        camera = perspective_camera(pose, image_size=image_size, fov_y_deg=fov_y_deg, near=near, far=far)
    return camera.to(points.dtype).to(points.device)


def _selection(points: Tensor, where: str) -> Tensor:
    points = points[torch.isfinite(points).all(1)].cpu()
    if points.shape[0] == 0:
        raise ArgumentError(f"{where}: `points` has no finite point to look at")
    if points.shape[0] <= _MOST:
        return points
    directions = torch.randn(64, 3, dtype=points.dtype, generator=torch.Generator().manual_seed(0))
    ends = (points @ torch.cat([directions, torch.eye(3, dtype=points.dtype)]).T).aminmax(dim=0)
    along = points @ torch.cat([directions, torch.eye(3, dtype=points.dtype)]).T
    outer = torch.cat([(along <= ends.min).nonzero()[:, 0], (along >= ends.max).nonzero()[:, 0]]).unique()
    return torch.cat([points[:: points.shape[0] // _MOST + 1], points[outer]])
