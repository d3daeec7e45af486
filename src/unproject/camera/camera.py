"""Camera: a batch of perspective, orthographic or fisheye cameras as one value. Conventions: docs/conventions.md."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ArgumentError, ArgumentTypeError, check_shape, describe
from ..struct import TensorStruct, broadcast_shapes

PROJECTIONS = ("perspective", "orthographic", "fisheye")
_COEFFICIENT_COUNTS = {"perspective": (5, 8, 12), "orthographic": (), "fisheye": (4,)}
_RIGID_TOLERANCE = 1e-3  # matrices in text files carry five or six digits


@dataclass(frozen=True, kw_only=True)
class Camera(TensorStruct):
    """Cameras with OpenCV axes (x right, y down, z forward) and pixel coordinates from the image's top-left corner.

    Shapes, types and the depth range are checked here. The constructors below also check values (a regular K, a rigid motion).

    Attributes:
        camera_from_world: [..., 4, 4] rigid; p_camera = camera_from_world @ p_world.
        intrinsics: [..., 3, 3]; perspective: pixels, (u, v, 1) z = K p. Orthographic: u = K p with p = (x, y, 1).
        image_size: (height, width) in pixels, the same for the whole batch.
        distortion: [..., 5, 8 or 12] OpenCV (k1 k2 p1 p2 k3 [k4 k5 k6 [s1 s2 s3 s4]]) or [..., 4] fisheye coefficients, or None.
        projection: "perspective", "orthographic" or "fisheye".
        near, far: depth range along z, scene units.

    Raises:
        ArgumentError: a field has a wrong shape or value; the message names it.
    """

    camera_from_world: Tensor
    intrinsics: Tensor
    image_size: tuple[int, int]
    distortion: Tensor | None = None
    projection: str = "perspective"
    near: float = 1e-2
    far: float = 1e4

    def __post_init__(self) -> None:
        where = "Camera"
        check_shape(self.camera_from_world, [..., 4, 4], name="camera_from_world", where=where)
        check_shape(self.intrinsics, [..., 3, 3], name="intrinsics", where=where)
        if self.projection not in PROJECTIONS:
            raise ArgumentError(f"{where}: `projection` must be one of {', '.join(PROJECTIONS)}, got {self.projection!r}")
        _check_image_size(self.image_size, where)
        if not self.near < self.far:
            raise ArgumentError(f"{where}: `near` must be smaller than `far`, got near {self.near!r} and far {self.far!r}")
        if self.projection == "perspective" and not self.near > 0:
            raise ArgumentError(f"{where}: `near` must be positive for a perspective camera, got {self.near!r}")
        if self.distortion is not None:
            check_shape(self.distortion, [..., "C"], name="distortion", where=where)
            counts = _COEFFICIENT_COUNTS[self.projection]
            if self.distortion.shape[-1] not in counts:
                wanted = " or ".join(map(str, counts)) + " coefficients" if counts else "None"
                got = f"{describe(self.distortion)} (make_camera accepts OpenCV's other counts)"
                raise ArgumentError(f"{where}: `distortion` of a {self.projection} camera must be {wanted}, got {got}")
        try:
            _ = self.batch_shape
        except ValueError as error:
            raise ArgumentError(f"{where}: batches of `camera_from_world`, `intrinsics` and `distortion` disagree: {error}") from None

    @property
    def batch_shape(self) -> torch.Size:
        """The shape [...] of the batch: () for one camera."""
        distortion = () if self.distortion is None else self.distortion.shape[:-1]
        return broadcast_shapes(self.camera_from_world.shape[:-2], self.intrinsics.shape[:-2], distortion)

    @property
    def height(self) -> int:
        return self.image_size[0]

    @property
    def width(self) -> int:
        return self.image_size[1]

    def __getitem__(self, index: Any) -> Camera:
        """Cameras of the batch, by any index of tensors. Fields that the batch shares are expanded first."""
        if not self.batch_shape:
            raise ArgumentError("Camera: one camera without a batch dimension cannot be indexed")
        batch = self.batch_shape
        index = (*(index if isinstance(index, tuple) else (index,)), ...)  # never into the matrix dimensions
        if sum(i is not None and i is not ... and not (isinstance(i, Tensor) and i.dtype == torch.bool) for i in index) > len(batch):
            raise ArgumentError(f"Camera: too many indices for batch shape {list(batch)}")
        return dataclasses.replace(
            self,
            camera_from_world=self.camera_from_world.expand(*batch, 4, 4)[index],
            intrinsics=self.intrinsics.expand(*batch, 3, 3)[index],
            distortion=None if self.distortion is None else self.distortion.expand(*batch, -1)[index],
        )


def make_camera(
    intrinsics: Any,
    camera_from_world: Any = None,
    *,
    image_size: tuple[int, int],
    distortion: Any = None,
    projection: str = "perspective",
    near: float = 1e-2,
    far: float = 1e4,
) -> Camera:
    """A camera from its intrinsics in pixels (0, 0 at the image's top-left corner), with its values checked.

    Args:
        intrinsics: [..., 3, 3] K, or [..., 4] (fx, fy, cx, cy). OpenCV's cx and cy need +0.5 (camera/conventions.py does that).
        camera_from_world: [..., 4, 4] rigid; the identity by default.
        image_size: (height, width).
        distortion: OpenCV's 4, 5, 8 or 12 coefficients, or 4 of its fisheye model with projection="fisheye"; also 14, if the tilt is 0.
        projection: "perspective", "orthographic" or "fisheye".
        near, far: depth range along z, scene units.

    Raises:
        ArgumentError: wrong shapes, near >= far, a zero image size, a singular K, a camera_from_world that is not rigid.
    """
    where = "make_camera"
    k, pose, coefficients = _tensors(intrinsics, camera_from_world, distortion)
    if k.dim() >= 1 and k.shape[-1] == 4 and not (k.dim() >= 2 and k.shape[-2:] == (4, 4)):
        k = intrinsic_matrix(*k.unbind(-1))
    elif k.dim() >= 2 and k.shape[-2:] != (3, 3) and k.shape[-1] != 4:
        check_shape(k, [..., 3, 3], name="intrinsics", where=where)
    pose = torch.eye(4, dtype=k.dtype, device=k.device) if pose is None else pose
    if coefficients is not None and projection == "perspective":
        coefficients = _opencv_coefficients(coefficients)
    camera = Camera(
        camera_from_world=pose, intrinsics=k, image_size=image_size, distortion=coefficients, projection=projection, near=near, far=far
    )
    return check_camera(camera, where=where)


def perspective_camera(
    camera_from_world: Any = None,
    *,
    image_size: tuple[int, int],
    fov_y_deg: Any = None,
    fx: Any = None,
    fy: Any = None,
    cx: Any = None,
    cy: Any = None,
    near: float = 1e-2,
    far: float = 1e4,
) -> Camera:
    """A perspective camera from a field of view or from focal lengths. All values may be numbers or tensors [...], with gradients.

    Args:
        camera_from_world: [..., 4, 4] rigid; the identity by default.
        image_size: (height, width).
        fov_y_deg: angle between the image's top and bottom edge, degrees in (0, 180); with it, pixels are square. Or instead:
        fx, fy: focal lengths in pixels; fy is fx by default.
        cx, cy: principal point in pixels; the image's centre by default.
        near, far: depth range along z, scene units.

    Raises:
        ArgumentError: both or none of fov_y_deg and fx, or as `make_camera`.
    """
    where = "perspective_camera"
    height, width = _check_image_size(image_size, where)
    if (fov_y_deg is None) == (fx is None):
        raise ArgumentError(f"{where}: give either `fov_y_deg` or `fx`")
    like = _first_float_tensor(camera_from_world, fov_y_deg, fx, fy, cx, cy)
    if fov_y_deg is not None:
        angle = torch.as_tensor(fov_y_deg, dtype=like.dtype, device=like.device)
        if not bool(((angle > 0) & (angle < 180)).all()):
            raise ArgumentError(f"{where}: `fov_y_deg` must lie between 0 and 180, got {fov_y_deg!r}")
        fx = fy = 0.5 * height / torch.tan(angle * (math.pi / 360))
    values = (fx, fx if fy is None else fy, width / 2 if cx is None else cx, height / 2 if cy is None else cy)
    k = intrinsic_matrix(*(torch.as_tensor(v, dtype=like.dtype, device=like.device) for v in values))
    return make_camera(k, camera_from_world, image_size=image_size, near=near, far=far)


def orthographic_camera(
    camera_from_world: Any = None,
    *,
    image_size: tuple[int, int],
    view_height: Any,
    cx: Any = None,
    cy: Any = None,
    near: float = 1e-2,
    far: float = 1e4,
) -> Camera:
    """An orthographic camera with square pixels.

    Args:
        camera_from_world: [..., 4, 4] rigid; the identity by default.
        image_size: (height, width).
        view_height: scene units between the image's top and bottom edge, positive; a number or a tensor [...].
        cx, cy: the pixel where the camera's z axis goes through the image; its centre by default.
        near, far: depth range along z, scene units; near may be negative.

    Raises:
        ArgumentError: as `make_camera`.
    """
    height, width = _check_image_size(image_size, "orthographic_camera")
    like = _first_float_tensor(camera_from_world, view_height, cx, cy)
    span = torch.as_tensor(view_height, dtype=like.dtype, device=like.device)
    if not bool((span > 0).all()):
        raise ArgumentError(f"orthographic_camera: `view_height` must be positive, got {view_height!r}")
    scale = height / span
    center = (width / 2 if cx is None else cx, height / 2 if cy is None else cy)
    k = intrinsic_matrix(scale, scale, *(torch.as_tensor(v, dtype=like.dtype, device=like.device) for v in center))
    return make_camera(k, camera_from_world, image_size=image_size, projection="orthographic", near=near, far=far)


def check_camera(camera: Camera, *, where: str) -> Camera:
    """Check a camera's values at a public door and return it. (Shapes were checked when it was made.)

    Raises:
        ArgumentError: NaN or infinite entries, a singular K or one whose last row is not (0, 0, 1), or a camera_from_world
            that is not rigid: rotation (determinant +1), translation, last row (0, 0, 0, 1).
    """
    if not isinstance(camera, Camera):
        raise ArgumentTypeError(f"{where}: `camera` must be a Camera, got {describe(camera)}")
    check_intrinsics(camera.intrinsics.detach(), where=where)
    check_rigid(camera.camera_from_world.detach(), name="camera_from_world", where=where)
    if camera.distortion is not None:
        check_shape(camera.distortion.detach(), [..., "C"], name="distortion", where=where, finite=True)
    return camera


def check_intrinsics(intrinsics: Tensor, *, where: str, name: str = "intrinsics") -> Tensor:
    """Check the values of K [..., 3, 3]: finite, last row (0, 0, 1), regular.

    Raises:
        ArgumentError: otherwise; the message has the matrix.
    """
    k = check_shape(intrinsics, [..., 3, 3], name=name, where=where, finite=True)
    row = k.new_tensor([0.0, 0.0, 1.0])
    if not bool((k[..., 2, :] == row).all()):
        raise ArgumentError(f"{where}: `{name}` must have the last row (0, 0, 1), got {_first(k, (k[..., 2, :] != row).any(-1))}")
    determinant = k[..., 0, 0] * k[..., 1, 1] - k[..., 0, 1] * k[..., 1, 0]
    size = k[..., :2, :2].abs().amax((-2, -1))
    singular = ~(determinant.abs() > 1e-12 * size * size)
    if bool(singular.any()):
        raise ArgumentError(f"{where}: `{name}` is singular (a focal length is zero): {_first(k, singular)}")
    return intrinsics


def check_rigid(matrix: Tensor, *, name: str, where: str) -> Tensor:
    """Check the values of a rigid motion [..., 4, 4]: rotation, translation, last row (0, 0, 0, 1); to three digits.

    Raises:
        ArgumentError: otherwise; the message has the matrix and says what is wrong with it.
    """
    m = check_shape(matrix, [..., 4, 4], name=name, where=where, finite=True)
    r = m[..., :3, :3]
    row = m.new_tensor([0.0, 0.0, 0.0, 1.0])
    wrong = ((m[..., 3, :] - row).abs() > _RIGID_TOLERANCE).any(-1)
    if bool(wrong.any()):
        raise ArgumentError(f"{where}: `{name}` must have the last row (0, 0, 0, 1), got {_first(m, wrong)}")
    wrong = ((r.mT @ r - torch.eye(3, dtype=m.dtype, device=m.device)).abs() > _RIGID_TOLERANCE).flatten(-2).any(-1)
    if bool(wrong.any()):
        raise ArgumentError(f"{where}: `{name}` is not rigid (scaled or sheared axes; see nearest_rotation): {_first(m, wrong)}")
    wrong = torch.linalg.cross(r[..., 0], r[..., 1]).mul(r[..., 2]).sum(-1) < 0
    if bool(wrong.any()):
        raise ArgumentError(f"{where}: `{name}` mirrors (its rotation has determinant -1): {_first(m, wrong)}")
    return matrix


def intrinsic_matrix(fx: Tensor, fy: Tensor, cx: Tensor, cy: Tensor) -> Tensor:
    """K [..., 3, 3] from tensors [...] that broadcast."""
    fx, fy, cx, cy = torch.broadcast_tensors(fx, fy, cx, cy)
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    return torch.stack([fx, zero, cx, zero, fy, cy, zero, zero, one], -1).unflatten(-1, (3, 3))


def stack_cameras(cameras: Sequence[Camera]) -> Camera:
    """One batch [B, ...] of cameras that share image size, projection and number of distortion coefficients.

    near and far become the smallest and the largest.

    Raises:
        ArgumentError: none, or cameras that do not fit together; the message says which.
    """
    if not cameras:
        raise ArgumentError("stack_cameras: `cameras` is empty")
    first = cameras[0]
    for i, camera in enumerate(cameras):
        for field in ("image_size", "projection", "batch_shape"):
            if getattr(camera, field) != getattr(first, field):
                values = f"{getattr(camera, field)!r}, camera 0 has {getattr(first, field)!r}"
                raise ArgumentError(f"stack_cameras: cameras differ in {field}: camera {i} has {values}")
    coefficients = [c.distortion for c in cameras]
    length = max((c.shape[-1] for c in coefficients if c is not None), default=0)
    batch = first.batch_shape
    return dataclasses.replace(
        first,
        camera_from_world=torch.stack([c.camera_from_world.expand(*batch, 4, 4) for c in cameras]),
        intrinsics=torch.stack([c.intrinsics.expand(*batch, 3, 3) for c in cameras]),
        distortion=torch.stack([_padded(c, length, first, batch) for c in coefficients]) if length else None,
        near=min(c.near for c in cameras),
        far=max(c.far for c in cameras),
    )


def crop_camera(camera: Camera, box: tuple[float, float, float, float], image_size: tuple[int, int] | None = None) -> Camera:
    """The camera of a part of the image, resized to `image_size`.

    Args:
        box: (x0, y0, x1, y1) in pixels of the old image, which may reach outside of it.
        image_size: (height, width) of the new image; the box's own by default.

    Raises:
        ArgumentError: an empty box.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    if not (x1 > x0 and y1 > y0):
        raise ArgumentError(f"crop_camera: `box` must be (x0, y0, x1, y1) with x0 < x1 and y0 < y1, got {box!r}")
    size = image_size or (max(1, round(y1 - y0)), max(1, round(x1 - x0)))
    sx, sy = size[1] / (x1 - x0), size[0] / (y1 - y0)
    new_from_old = camera.intrinsics.new_tensor([[sx, 0.0, -x0 * sx], [0.0, sy, -y0 * sy], [0.0, 0.0, 1.0]])
    return dataclasses.replace(camera, intrinsics=new_from_old @ camera.intrinsics, image_size=size)


def resize_camera(camera: Camera, image_size: tuple[int, int]) -> Camera:
    """The camera of the same image at another resolution (height, width)."""
    return crop_camera(camera, (0, 0, camera.width, camera.height), image_size)


def _opencv_coefficients(coefficients: Tensor) -> Tensor:
    count = coefficients.shape[-1]
    if count == 4:
        return torch.cat([coefficients, torch.zeros_like(coefficients[..., :1])], -1)
    if count == 14:
        if bool((coefficients[..., 12:] != 0).any()):
            raise ArgumentError("make_camera: `distortion` has OpenCV's tilt (coefficients 13 and 14), which is not supported")
        return coefficients[..., :12]
    return coefficients


def _padded(coefficients: Tensor | None, length: int, like: Camera, batch: torch.Size) -> Tensor:
    if coefficients is None:
        return like.intrinsics.new_zeros(*batch, length)
    return torch.nn.functional.pad(coefficients, (0, length - coefficients.shape[-1])).expand(*batch, length)


def _check_image_size(image_size: Any, where: str) -> tuple[int, int]:
    numbers = isinstance(image_size, (tuple, list, torch.Size)) and len(image_size) == 2 and all(float(n).is_integer() for n in image_size)
    if not numbers or min(image_size) < 1:
        raise ArgumentError(f"{where}: `image_size` must be (height, width), both at least 1, got {image_size!r}")
    return int(image_size[0]), int(image_size[1])


def _first_float_tensor(*values: Any) -> Tensor:
    """What decides type and device: the first floating-point tensor or array, else float32 on the CPU."""
    for value in values:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(value) if hasattr(value, "__array__") else None
        if tensor is not None and tensor.is_floating_point():
            return tensor
    return torch.empty(0)


def _tensors(intrinsics: Any, pose: Any, distortion: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
    like = _first_float_tensor(intrinsics, pose, distortion)
    convert = lambda v: None if v is None else torch.as_tensor(v, dtype=like.dtype, device=like.device)
    k = convert(intrinsics)
    assert k is not None
    return k, convert(pose), convert(distortion)


def _first(matrices: Tensor, wrong: Tensor) -> str:
    """The first matrix that is wrong, for a message."""
    flat = matrices.reshape(-1, *matrices.shape[-2:])
    index = int(wrong.reshape(-1).nonzero()[0])
    text = str([[round(v, 6) for v in row] for row in flat[index].tolist()])
    return text if matrices.dim() == 2 else f"{text} (camera {index} of the batch)"
