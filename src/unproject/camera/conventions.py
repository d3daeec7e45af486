"""Other people's cameras into ours and back: OpenCV, OpenGL, Blender, PyTorch3D, COLMAP. Formulas: docs/conventions.md.

Ours: OpenCV axes (x right, y down, z forward), column vectors, camera_from_world; pixel (0, 0) is the image's top-left corner and
(0.5, 0.5) the centre of the first pixel.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..lie.quaternions import matrix_from_quaternion, quaternion_from_matrix
from ..lie.se3 import affine_matrix, se3_inverse
from ..lie.so3 import so3_exp, so3_log
from .camera import Camera, check_camera, check_rigid, intrinsic_matrix, make_camera

PIXEL_CENTERS = {"integer": 0.5, "half": 0.0}


class OpenCVCamera(NamedTuple):
    """A camera as OpenCV's functions take it; all float64.

    Attributes:
        camera_matrix: [..., 3, 3], for pixel centres at integers.
        rvec, tvec: [..., 3] world to camera.
        distortion: [..., 5, 8 or 12] (or [..., 4] for cv2.fisheye), zeros if there is none.
    """

    camera_matrix: Tensor
    rvec: Tensor
    tvec: Tensor
    distortion: Tensor


class OpenGLCamera(NamedTuple):
    """A camera as OpenGL's matrices: clip = projection @ view @ p_world, column vectors.

    Attributes:
        view: [..., 4, 4] eye from world; x right, y up, looking along -z.
        projection: [..., 4, 4] clip from eye; row 0 of the image on top (y up in clip space), z in [-1, 1].
    """

    view: Tensor
    projection: Tensor


class PyTorch3DCamera(NamedTuple):
    """A camera as PyTorch3D's PerspectiveCameras take it, in its NDC (in_ndc=True).

    Attributes:
        R: [..., 3, 3] for row vectors, x_camera = x_world R + T; x left, y up, z forward.
        T: [..., 3].
        focal_length, principal_point: [..., 2]; the shorter side of the image spans [-1, 1].
        image_size: (height, width).
    """

    R: Tensor
    T: Tensor
    focal_length: Tensor
    principal_point: Tensor
    image_size: tuple[int, int]


class ColmapCamera(NamedTuple):
    """A camera and image as in COLMAP's files.

    Attributes:
        model: name of the camera model.
        params: the model's parameters.
        width, height: pixels.
        qvec: (w, x, y, z) and tvec: (x, y, z), world to camera.
    """

    model: str
    params: tuple[float, ...]
    width: int
    height: int
    qvec: tuple[float, ...]
    tvec: tuple[float, ...]


# What each of COLMAP's models holds, in its order; distortion names as in OpenCV. "f" is fx = fy.
COLMAP_MODELS: dict[str, tuple[int, str, tuple[str, ...]]] = {
    "SIMPLE_PINHOLE": (0, "perspective", ("f", "cx", "cy")),
    "PINHOLE": (1, "perspective", ("fx", "fy", "cx", "cy")),
    "SIMPLE_RADIAL": (2, "perspective", ("f", "cx", "cy", "k1")),
    "RADIAL": (3, "perspective", ("f", "cx", "cy", "k1", "k2")),
    "OPENCV": (4, "perspective", ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")),
    "OPENCV_FISHEYE": (5, "fisheye", ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4")),
    "FULL_OPENCV": (6, "perspective", ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")),
    "SIMPLE_RADIAL_FISHEYE": (8, "fisheye", ("f", "cx", "cy", "k1")),
    "RADIAL_FISHEYE": (9, "fisheye", ("f", "cx", "cy", "k1", "k2")),
}
_OPENCV_NAMES = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
_FISHEYE_NAMES = ("k1", "k2", "k3", "k4")


def camera_from_opencv(
    camera_matrix: Any,
    rotation: Any = None,
    translation: Any = None,
    *,
    image_size: tuple[int, int],
    distortion: Any = None,
    fisheye: bool = False,
    near: float = 1e-2,
    far: float = 1e4,
) -> Camera:
    """A camera from OpenCV's calibration: K with pixel centres at integers (0.5 is added to cx and cy), pose world to camera.

    Args:
        camera_matrix: [..., 3, 3].
        rotation: [..., 3, 3], or a rotation vector [..., 3] (or [..., 3, 1]); none by default.
        translation: [..., 3] (or [..., 3, 1]).
        image_size: (height, width).
        distortion: 4, 5, 8 or 12 coefficients; 4 of the fisheye model with `fisheye`.

    Raises:
        ArgumentError: as `make_camera`.
    """
    k = torch.as_tensor(camera_matrix)
    k = check_shape(k if k.is_floating_point() else k.float(), [..., 3, 3], name="camera_matrix", where="camera_from_opencv")
    convert = lambda v: torch.as_tensor(v, dtype=k.dtype, device=k.device)
    r = torch.eye(3, dtype=k.dtype, device=k.device) if rotation is None else convert(rotation)
    if r.shape[-2:] != (3, 3):
        r = so3_exp(_vector(r))
    t = torch.zeros(3, dtype=k.dtype, device=k.device) if translation is None else _vector(convert(translation))
    coefficients = None if distortion is None else convert(distortion)
    coefficients = coefficients[..., 0, :] if coefficients is not None and coefficients.dim() > max(1, k.dim() - 1) else coefficients
    return make_camera(
        k + _half_pixel(k),
        affine_matrix(r, t),
        image_size=image_size,
        distortion=coefficients,
        projection="fisheye" if fisheye else "perspective",
        near=near,
        far=far,
    )


def opencv_from_camera(camera: Camera) -> OpenCVCamera:
    """OpenCV's camera matrix (pixel centres at integers), rvec, tvec and distortion of a perspective or fisheye camera.

    Raises:
        ArgumentError: an orthographic camera.
    """
    _refuse_orthographic(camera, "opencv_from_camera")
    pose, k = camera.camera_from_world.double(), camera.intrinsics.double()
    count = 4 if camera.projection == "fisheye" else 5
    distortion = k.new_zeros(*camera.batch_shape, count) if camera.distortion is None else camera.distortion.double()
    return OpenCVCamera(k - _half_pixel(k), so3_log(pose[..., :3, :3]), pose[..., :3, 3], distortion)


def pose_from_opengl(world_from_camera: Any) -> Tensor:
    """Our camera_from_world [..., 4, 4] from OpenGL's, Blender's, NeRF's or trimesh's camera-to-world matrix (y up, looking along -z).

    Raises:
        ArgumentError: not a rigid motion.
    """
    m = torch.as_tensor(world_from_camera)
    m = m if m.is_floating_point() else m.float()
    check_rigid(m.detach(), name="world_from_camera", where="pose_from_opengl")
    return _flip(m)[..., :, None] * se3_inverse(m)


def opengl_from_pose(camera_from_world: Tensor) -> Tensor:
    """OpenGL's (Blender's, NeRF's, trimesh's) camera-to-world matrix [..., 4, 4] of our camera_from_world."""
    check_shape(camera_from_world, [..., 4, 4], name="camera_from_world", where="opengl_from_pose")
    return se3_inverse(camera_from_world) * _flip(camera_from_world)


def camera_from_opengl(view: Any, projection: Any, *, image_size: tuple[int, int]) -> Camera:
    """A camera from OpenGL's matrices: clip = projection @ view @ p_world. Near and far come from the projection.

    Args:
        view: [..., 4, 4] eye from world, rigid.
        projection: [..., 4, 4] perspective or orthographic, finite depth range, z in [-1, 1].
        image_size: (height, width) of the viewport; row 0 of the image on top.

    Raises:
        ArgumentError: a projection that is neither, or as `make_camera`.
    """
    p = torch.as_tensor(projection)
    p = check_shape(p if p.is_floating_point() else p.float(), [..., 4, 4], name="projection", where="camera_from_opengl")
    v = torch.as_tensor(view, dtype=p.dtype, device=p.device)
    check_rigid(v.detach(), name="view", where="camera_from_opengl")
    last = p[..., 3, :].reshape(-1, 4)[0].tolist()
    if last not in ([0.0, 0.0, -1.0, 0.0], [0.0, 0.0, 0.0, 1.0]):
        raise ArgumentError(f"camera_from_opengl: `projection` must have the last row (0, 0, -1, 0) or (0, 0, 0, 1), got {last}")
    perspective = last[2] == -1
    height, width = image_size
    # Clip x and y in terms of our camera axes: (X, Y, Z) = (x, -y, -z).
    offset = -p[..., :2, 2] if perspective else p[..., :2, 3]
    rows = [p[..., 0, 0] * width, -p[..., 0, 1] * width, (offset[..., 0] + 1) * width]
    rows += [-p[..., 1, 0] * height, p[..., 1, 1] * height, (1 - offset[..., 1]) * height]
    zero = torch.zeros_like(rows[0])
    k = 0.5 * torch.stack([*rows, zero, zero, zero + 2], -1).unflatten(-1, (3, 3))
    a, b = (float(p[..., 2, i].reshape(-1)[0]) for i in (2, 3))
    near, far = (b / (a - 1), b / (a + 1)) if perspective else ((b + 1) / a, (b - 1) / a)
    kind = "perspective" if perspective else "orthographic"
    return make_camera(k, _flip(v)[..., :, None] * v, image_size=image_size, projection=kind, near=near, far=far)


def opengl_from_camera(camera: Camera) -> OpenGLCamera:
    """OpenGL's view and projection matrices of a perspective or orthographic camera without lens distortion.

    Raises:
        ArgumentError: a camera with distortion.
    """
    _refuse_distortion(camera, "opengl_from_camera")
    k, (height, width), near, far = camera.intrinsics, camera.image_size, camera.near, camera.far
    zero, one = torch.zeros_like(k[..., 0, 0]), torch.ones_like(k[..., 0, 0])
    x = [2 / width * k[..., 0, 0], -2 / width * k[..., 0, 1]]
    y = [-2 / height * k[..., 1, 0], 2 / height * k[..., 1, 1]]
    cx, cy = 2 / width * k[..., 0, 2] - 1, 1 - 2 / height * k[..., 1, 2]
    depth = far - near
    if camera.projection == "perspective":
        rows = [
            *x,
            -cx,
            zero,
            *y,
            -cy,
            zero,
            zero,
            zero,
            -(far + near) / depth * one,
            -2 * far * near / depth * one,
            zero,
            zero,
            -one,
            zero,
        ]
    else:
        rows = [*x, zero, cx, *y, zero, cy, zero, zero, -2 / depth * one, -(far + near) / depth * one, zero, zero, zero, one]
    pose = camera.camera_from_world
    return OpenGLCamera(_flip(pose)[..., :, None] * pose, torch.stack(rows, -1).unflatten(-1, (4, 4)))


def camera_from_blender(
    matrix_world: Any,
    *,
    image_size: tuple[int, int],
    lens_mm: float = 50.0,
    sensor_mm: tuple[float, float] = (36.0, 24.0),
    sensor_fit: str = "AUTO",
    shift: tuple[float, float] = (0.0, 0.0),
    pixel_aspect: float = 1.0,
    near: float = 0.1,
    far: float = 1e3,
) -> Camera:
    """A camera from Blender's camera object and render settings.

    Args:
        matrix_world: [4, 4] the object's; its scale must be 1.
        image_size: (resolution_y, resolution_x), after the percentage.
        lens_mm: focal length. For an angle of view: lens = sensor / (2 tan(angle / 2)).
        sensor_mm: (sensor_width, sensor_height).
        sensor_fit: "AUTO", "HORIZONTAL" or "VERTICAL".
        shift: (shift_x, shift_y).
        pixel_aspect: pixel_aspect_y / pixel_aspect_x.
        near, far: clip_start, clip_end.

    Raises:
        ArgumentError: as `make_camera`.
    """
    height, width = image_size
    if sensor_fit not in ("AUTO", "HORIZONTAL", "VERTICAL"):
        raise ArgumentError(f"camera_from_blender: `sensor_fit` must be AUTO, HORIZONTAL or VERTICAL, got {sensor_fit!r}")
    horizontal = sensor_fit == "HORIZONTAL" or (sensor_fit == "AUTO" and width >= pixel_aspect * height)
    span = width if horizontal else pixel_aspect * height  # pixels across the sensor side that the lens refers to
    sensor = sensor_mm[1] if sensor_fit == "VERTICAL" else sensor_mm[0]
    fx = lens_mm / sensor * span
    cx, cy = width / 2 - shift[0] * span, height / 2 + shift[1] * span / pixel_aspect
    pose = pose_from_opengl(matrix_world)
    k = intrinsic_matrix(*pose.new_tensor([fx, fx / pixel_aspect, cx, cy]).unbind())
    return make_camera(k, pose, image_size=image_size, near=near, far=far)


def camera_from_pytorch3d(
    R: Any, T: Any, focal_length: Any, principal_point: Any = 0.0, *, image_size: tuple[int, int], in_ndc: bool = True
) -> Camera:
    """A camera from the arguments of PyTorch3D's PerspectiveCameras.

    Args:
        R: [..., 3, 3] and T: [..., 3]: x_camera = x_world R + T (row vectors; x left, y up, z forward).
        focal_length, principal_point: numbers, [...] or [..., 2]; in PyTorch3D's NDC, or with in_ndc=False in its screen pixels.
        image_size: (height, width).

    Raises:
        ArgumentError: as `make_camera`.
    """
    r = torch.as_tensor(R)
    r = check_shape(r if r.is_floating_point() else r.float(), [..., 3, 3], name="R", where="camera_from_pytorch3d")
    convert = lambda v: torch.as_tensor(v, dtype=r.dtype, device=r.device)
    axes = r.new_tensor([-1.0, -1.0, 1.0])
    pose = affine_matrix(axes[:, None] * r.mT, axes * convert(T))
    focal, principal = (_pair(convert(v)) for v in (focal_length, principal_point))
    if in_ndc:
        half = min(image_size) / 2
        focal, principal = half * focal, r.new_tensor([image_size[1] / 2, image_size[0] / 2]) - half * principal
    k = intrinsic_matrix(focal[..., 0], focal[..., 1], principal[..., 0], principal[..., 1])
    return make_camera(k, pose, image_size=image_size)


def pytorch3d_from_camera(camera: Camera) -> PyTorch3DCamera:
    """Arguments of PyTorch3D's PerspectiveCameras (in its NDC) for a perspective camera without distortion or skew.

    Raises:
        ArgumentError: another camera.
    """
    _refuse_distortion(camera, "pytorch3d_from_camera")
    if camera.projection != "perspective":
        raise ArgumentError("pytorch3d_from_camera: `camera` must be perspective")
    _refuse_skew(camera, "pytorch3d_from_camera")
    pose, k, half = camera.camera_from_world, camera.intrinsics, min(camera.image_size) / 2
    axes = pose.new_tensor([-1.0, -1.0, 1.0])
    focal = torch.stack([k[..., 0, 0], k[..., 1, 1]], -1) / half
    center = k.new_tensor([camera.width / 2, camera.height / 2])
    return PyTorch3DCamera(
        (axes[:, None] * pose[..., :3, :3]).mT, axes * pose[..., :3, 3], focal, (center - k[..., :2, 2]) / half, camera.image_size
    )


def camera_from_colmap(colmap: ColmapCamera, *, dtype: torch.dtype = torch.float32, near: float = 1e-2, far: float = 1e4) -> Camera:
    """A camera from COLMAP's model parameters and image pose. Its pixel convention is ours.

    Raises:
        ArgumentError: a model that is not supported (FOV, THIN_PRISM_FISHEYE), or the wrong number of parameters.
    """
    if colmap.model not in COLMAP_MODELS:
        known = ", ".join(COLMAP_MODELS)
        raise ArgumentError(f"camera_from_colmap: camera model {colmap.model!r} is not supported (supported: {known})")
    _, projection, names = COLMAP_MODELS[colmap.model]
    if len(colmap.params) != len(names):
        raise ArgumentError(f"camera_from_colmap: {colmap.model} has {len(names)} parameters ({' '.join(names)}), got {len(colmap.params)}")
    value = dict(zip(names, colmap.params))
    coefficients = [value.get(name, 0.0) for name in (_FISHEYE_NAMES if projection == "fisheye" else _OPENCV_NAMES)]
    if projection == "perspective":
        coefficients = coefficients if "k6" in value else coefficients[:5]
    distorted = projection == "fisheye" or any(name in value for name in _OPENCV_NAMES)
    focal = value.get("f", 0.0)
    rotation = matrix_from_quaternion(torch.tensor(colmap.qvec, dtype=torch.float64))
    pose = affine_matrix(rotation, torch.tensor(colmap.tvec, dtype=torch.float64))
    k = intrinsic_matrix(*torch.tensor([value.get("fx", focal), value.get("fy", focal), value["cx"], value["cy"]], dtype=torch.float64))
    camera = make_camera(
        k,
        pose,
        image_size=(colmap.height, colmap.width),
        distortion=coefficients if distorted else None,
        projection=projection,
        near=near,
        far=far,
    )
    return camera.to(dtype)


def colmap_from_camera(camera: Camera) -> ColmapCamera:
    """COLMAP's description of one camera: PINHOLE, OPENCV, FULL_OPENCV or OPENCV_FISHEYE, whichever holds its distortion.

    Raises:
        ArgumentError: a batch, an orthographic camera, skew, or thin-prism coefficients.
    """
    where = "colmap_from_camera"
    check_camera(camera, where=where)
    _refuse_orthographic(camera, where)
    _refuse_skew(camera, where)
    if camera.batch_shape:
        raise ArgumentError(f"{where}: `camera` must be one camera, got a batch {list(camera.batch_shape)}")
    k = camera.intrinsics.double()
    params = [float(v) for v in (k[0, 0], k[1, 1], k[0, 2], k[1, 2])]
    coefficients = [] if camera.distortion is None else [float(v) for v in camera.distortion.double()]
    if any(coefficients[8:]):
        raise ArgumentError(f"{where}: COLMAP has no model with thin-prism coefficients")
    if camera.projection == "fisheye":
        model, extra = "OPENCV_FISHEYE", coefficients or [0.0] * 4
    elif not any(coefficients):
        model, extra = "PINHOLE", []
    elif not any(coefficients[4:]):
        model, extra = "OPENCV", coefficients[:4]
    else:
        model, extra = "FULL_OPENCV", (coefficients + [0.0] * 3)[:8]
    pose = camera.camera_from_world.double()
    qvec, tvec = quaternion_from_matrix(pose[:3, :3]).tolist(), pose[:3, 3].tolist()
    return ColmapCamera(model, (*params, *extra), camera.width, camera.height, tuple(qvec), tuple(tvec))


def focal_from_angle(angle: float, pixels: float) -> float:
    """Focal length in pixels of an angle of view (radians) across so many pixels."""
    return 0.5 * pixels / math.tan(0.5 * angle)


def _half_pixel(k: Tensor) -> Tensor:
    return k.new_tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])


def _flip(like: Tensor) -> Tensor:
    """OpenGL's axes in ours: y and z change sign."""
    return like.new_tensor([1.0, -1.0, -1.0, 1.0])


def _vector(value: Tensor) -> Tensor:
    """[..., 3] of [..., 3] or [..., 3, 1]."""
    return value[..., 0] if value.dim() >= 2 and value.shape[-1] == 1 else value


def _pair(value: Tensor) -> Tensor:
    return value if value.dim() > 0 and value.shape[-1] == 2 else value[..., None].expand(*value.shape, 2)


def _refuse_orthographic(camera: Camera, where: str) -> None:
    if camera.projection == "orthographic":
        raise ArgumentError(f"{where}: `camera` must not be orthographic")


def _refuse_distortion(camera: Camera, where: str) -> None:
    if camera.projection == "fisheye" or (camera.distortion is not None and bool((camera.distortion != 0).any())):
        raise ArgumentError(f"{where}: `camera` has a lens distortion, which this convention cannot hold (see undistorted_camera)")


def _refuse_skew(camera: Camera, where: str) -> None:
    k = camera.intrinsics
    if bool((k[..., 0, 1] != 0).any()) or bool((k[..., 1, 0] != 0).any()):
        raise ArgumentError(f"{where}: `camera` has skew (intrinsics[0, 1] or [1, 0]), which this convention cannot hold")
