"""From what a user has (photographs, masks, boxes, depth, lenses) to the images that the solver takes; everything is checked here."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..camera.camera import Camera, check_camera
from ..camera.undistortion import undistort_image, undistorted_camera
from ..camera.viewpoints import fibonacci_viewpoints
from ..errors import ArgumentError, DataError, describe
from ..render.rasterize import rasterize
from ..struct import TensorStruct
from .mask_edge import settle_outline
from .object_model import ObjectModel, check_scale
from .observation import PoseImage
from .segment import middle_prior, segment_box
from .segment_by_pose import segment_by_pose
from .views import box_fill, render_views
from .window import windowed

_WHERE = "estimate_pose"
_FEW_VIEWS = 60
_LEAST_FILL, _MOST_FILL = 0.05, 0.5  # a box may bound what is seen of a hidden object: it fills no more, whatever its shape
_LEAST_EXPLAINED = 0.3  # share of a guessed foreground: below, the mesh's colours or the pose are wrong
_OUTLINE_REACH, _OUTLINE_LEAST_PX = 0.06, 3.0  # how far off a mask's outline may be: share of its longer side, or pixels
_OUTLINE_MOVED = 0.4  # pixels, on average: less is how exactly colours tell an outline
_SURELY_TOLD = 0.75  # share of the middle of a mask that must look as the pose says, for its outline to be moved
_HARDLY_MEASURED = 0.25  # share of a mask: what is measured of less lies at its edges, where cameras see what is behind as well
Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class PoseInput(TensorStruct):
    """An image of an object, and what else is known of it.

    Attributes:
        camera: perspective or fisheye, with or without lens distortion, of the image's size. With several images, its pose counts.
        color: [H, W, 3] floating point in [0, 1], or None.
        mask: [H, W], bool or the share of each pixel that shows the object, or None.
        unknown: [H, W] bool, where the mask says nothing (a hand, a screen before the object), or None.
        box: (x0, y0, x1, y1) pixels around the object, or None.
        depth: [H, W] camera z in the mesh's unit, 0 where nothing was measured, or None. Left out if it covers hardly any of a mask.
    """

    camera: Camera
    color: Tensor | None = None
    mask: Tensor | None = None
    unknown: Tensor | None = None
    box: Box | None = None
    depth: Tensor | None = None


def prepare(given: PoseInput, model: ObjectModel) -> PoseImage:
    """Check an input and remove lens distortion. Without a mask, the foreground is still unknown, and without mask and box, the box is all.

    Raises:
        ArgumentError: sizes that disagree, an empty mask, a box outside of the image, units that cannot be right.
    """
    camera = check_camera(given.camera, where=_WHERE)
    if camera.batch_shape or camera.projection == "orthographic":
        raise ArgumentError(
            f"{_WHERE}: `camera` must be one perspective or fisheye camera, got {camera.projection}, batch {list(camera.batch_shape)}"
        )
    images = {name: getattr(given, name) for name in ("color", "mask", "unknown", "depth")}
    for name, value in images.items():
        _check_size(name, value, camera)
    mask = None if given.mask is None else given.mask.detach().float()
    unknown = torch.zeros(camera.image_size, dtype=torch.bool) if given.unknown is None else given.unknown.bool()
    color = None if given.color is None else given.color.detach().float()[..., :3]
    depth = None if given.depth is None else given.depth.detach().float().nan_to_num(0.0, 0.0, 0.0)
    if camera.distortion is not None or camera.projection == "fisheye":
        flat = lambda t, mode: undistort_image(t[..., None], camera, mode=mode)[..., 0]
        mask = None if mask is None else flat(mask, "bilinear")
        unknown = flat((~unknown).float(), "nearest") < 0.5
        color = None if color is None else undistort_image(color, camera)
        depth = None if depth is None else flat(depth, "nearest")
    plain = undistorted_camera(camera)
    plain = replace(plain.map(lambda t: t.float()), near=1e-6, far=1e12)
    box = _box(given.box, mask, unknown, camera)
    if depth is not None:
        _check_depth(depth, mask, box, model)
        if mask is not None and float((mask * (depth > 0)).sum()) < _HARDLY_MEASURED * float(mask.sum()):
            depth = None
    image = PoseImage(
        camera=plain, color=color, foreground=None if mask is None else mask.clamp(0, 1), known=~unknown,
        depth=None if depth is None else depth / model.diameter, box=box, is_boxed=given.box is not None and mask is None,
    )  # fmt: skip
    if mask is None and given.box is None:
        return image
    return _with_settled_outline(windowed(image))


def _with_settled_outline(image: PoseImage) -> PoseImage:
    """The image with a mask whose outline lies where the colours change, if there is a mask and it is clear where; else as it is."""
    if image.foreground is None or image.color is None:
        return image
    mask = settle_outline(image.foreground, image.color)
    return image if mask is image.foreground else replace(image, foreground=mask, box=box_around((mask > 0.5) & image.known))


def guess_foreground(image: PoseImage, model: ObjectModel, *, prior: Tensor | None = None) -> PoseImage:
    """The image with a probability for each pixel of its box, by colours and depth.

    Args:
        prior: [H, W] where a pose shows the object.
    """
    palette = model.colors[0][::10] if model.is_colored else None
    share = segment_box(
        image.color, image.box, depth=image.depth, prior=_box_prior(model, image) if prior is None else prior, palette=palette,
        thinnest=model.thinnest, camera=image.camera,
    )  # fmt: skip
    return replace(image, foreground=share, is_sharp=False)


def _box_prior(model: ObjectModel, image: PoseImage) -> Tensor:
    """[H, W] where an object may be expected in its box: thin ones fill less of it."""
    views = render_views(model, fibonacci_viewpoints(_FEW_VIEWS, 3.0, dtype=torch.float64), size=48, point_count=16)
    fill = box_fill(views, (image.box[2] - image.box[0]) / (image.box[3] - image.box[1]))
    return middle_prior(image.box, image.camera.image_size, fill=min(max(fill, _LEAST_FILL), _MOST_FILL))


def told_by_pose(image: PoseImage, model: ObjectModel, pose: Tensor) -> PoseImage:
    """The image with a guessed foreground told again by what a pose [4, 4] shows at each pixel.

    It stays as it is where it is a mask, where the object's colours are not known, and where the pose explains too little of the guess.
    """
    if image.is_sharp or image.foreground is None or image.color is None or not model.is_colored:
        return image
    told = segment_by_pose(model, image, pose, image.foreground)
    believed = shown_by(model, image, pose) & (image.foreground > 0.5)
    if not bool(believed.any()) or float(told[believed].mean()) < _LEAST_EXPLAINED:
        return image
    return replace(image, foreground=told)


def outline_by_pose(image: PoseImage, model: ObjectModel, pose: Tensor) -> PoseImage:
    """The image with a mask whose outline lies where the object's colours end, if it was clearly too far out or in; else as it is.

    Args:
        pose: [4, 4] from the mask as it is, working frame.
    """
    from scipy.ndimage import distance_transform_edt

    if not image.is_sharp or image.foreground is None or image.color is None or not model.is_colored:
        return image
    inside = (image.foreground > 0.5).numpy()
    depth, beyond = (torch.from_numpy(np.asarray(distance_transform_edt(side))) for side in (inside, ~inside))
    x0, y0, x1, y1 = image.box
    reach = max(_OUTLINE_REACH * max(x1 - x0, y1 - y0), _OUTLINE_LEAST_PX)
    middle, border = depth > reach, (depth <= reach) & (beyond <= reach)
    told = segment_by_pose(model, replace(image, known=image.known & ~border), pose, image.foreground)
    length = float(((depth > 0) & (depth < 2)).sum())
    moved = float((told - image.foreground)[border].abs().sum()) / max(length, 1.0)
    if not bool(middle.any()) or float(told[middle].mean()) < _SURELY_TOLD or moved < _OUTLINE_MOVED:
        return image
    return replace(image, foreground=torch.where(border, told, image.foreground))


def shown_by(model: ObjectModel, image: PoseImage, pose: Tensor) -> Tensor:
    """[H, W] bool, the pixels that show the object in a pose [4, 4] of the working frame."""
    placed = model.mesh.vertices.double() @ pose[:3, :3].T + pose[:3, 3]
    here = replace(image.camera, camera_from_world=torch.eye(4))
    return rasterize(placed.float(), model.mesh.faces, replace(here, near=1e-2, far=1e4)).mask


def box_of_pose(model: ObjectModel, image: PoseImage, pose: Tensor) -> Box | None:
    """The box around what an image shows of the object in a pose [4, 4], with a margin; None if that is nothing."""
    shown = shown_by(model, image, pose)
    if not bool(shown.any()):
        return None
    x0, y0, x1, y1 = box_around(shown)
    pad = 0.06 * max(x1 - x0, y1 - y0)
    return x0 - pad, y0 - pad, x1 + pad, y1 + pad


def box_around(mask: Tensor) -> Box:
    """(x0, y0, x1, y1) px around the pixels of a mask [H, W] of bools, which must not be empty."""
    rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
    return float(columns.min()), float(rows.min()), float(columns.max()) + 1, float(rows.max()) + 1


def _check_size(name: str, value: Tensor | None, camera: Camera) -> None:
    if value is None:
        return
    if not isinstance(value, Tensor):
        raise ArgumentError(f"{_WHERE}: `{name}` must be a tensor, got {describe(value)}")
    wanted = "[H, W, 3]" if name == "color" else "[H, W]"
    if value.dim() != (3 if name == "color" else 2) or (name == "color" and value.shape[2] not in (3, 4)):
        raise ArgumentError(f"{_WHERE}: `{name}` must be {wanted}, got {describe(value)}")
    if tuple(value.shape[:2]) != camera.image_size:
        height, width = value.shape[:2]
        raise ArgumentError(
            f"{_WHERE}: `{name}` has {width}x{height} pixels, the camera {camera.width}x{camera.height}; "
            "resize the image or scale the camera"
        )
    if name == "color" and not value.is_floating_point():
        raise ArgumentError(f"{_WHERE}: `color` must be floating point in [0, 1], got {describe(value)}; divide bytes by 255")


def _box(box: Box | None, mask: Tensor | None, unknown: Tensor, camera: Camera) -> Box:
    if mask is not None:
        shown = (mask > 0.5) & ~unknown
        if int(shown.sum()) < 12:
            raise ArgumentError(f"{_WHERE}: `mask` is empty ({int(shown.sum())} pixels); the object must be white in it")
        return box_around(shown)
    if box is None:
        return 0.0, 0.0, float(camera.width), float(camera.height)
    x0, y0, x1, y1 = (float(v) for v in box)
    if not (x1 - x0 >= 3 and y1 - y0 >= 3):
        raise ArgumentError(f"{_WHERE}: `box` must be x0 y0 x1 y1 with x0 < x1 and y0 < y1, got {box}")
    if x1 <= 0 or y1 <= 0 or x0 >= camera.width or y0 >= camera.height:
        raise ArgumentError(f"{_WHERE}: `box` {box} lies outside of the image of {camera.width}x{camera.height} pixels")
    return x0, y0, x1, y1


def _check_depth(depth: Tensor, mask: Tensor | None, box: Box, model: ObjectModel) -> None:
    height, width = depth.shape
    window = torch.zeros(height, width, dtype=torch.bool)
    window[max(int(box[1]), 0) : int(box[3]) + 1, max(int(box[0]), 0) : int(box[2]) + 1] = True
    values = depth[(window if mask is None else mask > 0.5) & (depth > 0)]
    if len(values) < 5:
        where = "in the mask" if mask is not None else "in the box"
        raise DataError(f"{_WHERE}: `depth` has no measurements {where}; leave it out")
    check_scale(model, float(values.median()), source="depth", where=_WHERE)
