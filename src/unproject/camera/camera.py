"""Camera: a batch of pinhole or orthographic cameras as one value. Conventions: docs/conventions.md."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..struct import TensorStruct


@dataclass(frozen=True, kw_only=True)
class Camera(TensorStruct):
    """Cameras with OpenCV axes (x right, y down, z forward) and pixel coordinates from the image's top-left corner.

    Attributes:
        camera_from_world: [..., 4, 4] rigid; p_camera = camera_from_world @ p_world.
        intrinsics: [..., 3, 3]; perspective: pixels, (u, v, 1) z = K p. Orthographic: u = K p with p = (x, y, 1).
        image_size: (height, width) in pixels, the same for the whole batch.
        distortion: [..., 5 or 8] OpenCV (k1 k2 p1 p2 k3 [k4 k5 k6]) or [..., 4] fisheye coefficients, or None.
        projection: "perspective", "orthographic" or "fisheye".
        near, far: depth range along z, scene units.
    """

    camera_from_world: Tensor
    intrinsics: Tensor
    image_size: tuple[int, int]
    distortion: Tensor | None = None
    projection: str = "perspective"
    near: float = 1e-2
    far: float = 1e4
