"""What an image says about an object's pose: maps of a crop around it, all that refinement and scoring look at."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..camera.camera import Camera, crop_camera
from ..struct import TensorStruct

_OUTLINE_COUNT = 160
_AROUND = 0.35  # of the box's longer side: how much of its surroundings counts
_FAR_PX = 60.0  # distances beyond do not matter
_SENSOR = 0.003  # share of the distance by which depth cameras err
_MIXED_PX = 1.25  # of the image, from the outline: pixels there may show both sides
_FAINT = 0.01  # weight of colours at the border of the foreground, against those farther inside
_UNSURE = 0.45  # foreground share where nothing is known: may be the object, may be what hides it


@dataclass(frozen=True, kw_only=True)
class Crop(TensorStruct):
    """What surrounds the box in an image, whatever is the object there.

    Attributes:
        box: (x0, y0, x1, y1) px of the image. resolution: of its longer side, px. blur: by which colours are smoothed, px.
        camera: of the crop.
        corner, extent: (x, y) px of the image.
        color: [h, w, 3], or None. edges: [h, w] distance to the nearest edge, px. depth: [h, w], 0 unknown.
    """

    box: tuple[float, float, float, float]
    resolution: float
    blur: float
    camera: Camera
    corner: list[int]
    extent: list[int]
    color: Tensor | None
    edges: Tensor
    depth: Tensor


@dataclass(frozen=True, kw_only=True)
class PoseImage(TensorStruct):
    """An image of the object and what else is known of it, without lens distortion.

    Attributes:
        camera: perspective; its own pose counts only where several images are used together.
        color: [H, W, 3] float32, display-encoded, or None.
        foreground: [H, W] share of each pixel that shows the object (a mask, or a probability), or None.
        known: [H, W] bool, where `foreground` is to be believed.
        depth: [H, W] camera z in the working frame's unit (diameters), 0 unknown, or None.
        box: (x0, y0, x1, y1) px around the visible part.
        is_sharp: whether `foreground` is a mask, whose outline is the object's.
        is_boxed: whether the box was given, so that the object's visible part ends at its sides.
        crops: what was cut out of it before, so that images with another foreground need not do it again (see `cropped`).
    """

    camera: Camera
    color: Tensor | None
    foreground: Tensor | None
    known: Tensor
    depth: Tensor | None
    box: tuple[float, float, float, float]
    is_sharp: bool = True
    is_boxed: bool = False
    crops: tuple[Crop, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Observation(TensorStruct):
    """Maps of a crop.

    Attributes:
        camera: of the crop.
        maps: [h, w, 8] (see kernels/pose_terms.py).
        outline: [M, 5] points of the mask's outline: x, y, outward normal, weight.
        mask_area: sum of the foreground, px.
        size: longer side of the object's box, px of the crop.
        border: how far inside of the outline colours are the object's alone, px.
        color_sigma: half the colours' standard deviation on the object.
        depth_sigma: by which depth cameras err there, diameters.
    """

    camera: Camera
    maps: Tensor
    outline: Tensor
    mask_area: float
    size: float
    border: float
    color_sigma: float
    depth_sigma: float


def crop(image: PoseImage, resolution: float, blur: float) -> Crop:
    """Resample what surrounds the box, so that the box's longer side has `resolution` pixels.

    Args:
        blur: standard deviation by which colours are smoothed, as a share of the box's longer side.
    """
    known = [made for made in image.crops if (made.box, made.resolution, made.blur) == (image.box, resolution, blur * resolution)]
    if known:
        return known[0]
    x0, y0, x1, y1 = image.box
    longest = max(x1 - x0, y1 - y0, 2.0)
    pad = _AROUND * longest + 2
    corner = [int(np.floor(x0 - pad)), int(np.floor(y0 - pad))]
    extent = [int(np.ceil(x1 + pad)) - corner[0], int(np.ceil(y1 + pad)) - corner[1]]
    scale = resolution / longest
    size = max(8, round(extent[1] * scale)), max(8, round(extent[0] * scale))
    camera = crop_camera(image.camera, (corner[0], corner[1], corner[0] + extent[0], corner[1] + extent[1]), size)
    color = None if image.color is None else resample(image.color.float(), corner, extent, size, True)
    edges = torch.full(size, _FAR_PX) if color is None else _edge_distance(_smooth(color, blur * resolution))
    depth = torch.zeros(size) if image.depth is None else resample(image.depth.float()[..., None], corner, extent, size, False)[..., 0]
    return Crop(
        box=image.box, resolution=resolution, blur=blur * resolution, camera=camera, corner=corner, extent=extent, color=color, edges=edges,
        depth=depth,
    )  # fmt: skip


def cropped(image: PoseImage, *looks: tuple[float, float]) -> PoseImage:
    """The image with crops of several resolutions and blurs made once and for all, for those that follow from it by `replace`."""
    return replace(image, crops=tuple(crop(image, *look) for look in looks))


def observe(image: PoseImage, *, resolution: float = 110.0, blur: float = 0.0) -> Observation:
    """What surrounds the box (see `crop`), and where the object is there."""
    here = crop(image, resolution, blur)
    scale = resolution / max(image.box[2] - image.box[0], image.box[3] - image.box[1], 2.0)
    foreground = torch.full(image.known.shape, _UNSURE) if image.foreground is None else image.foreground
    size = (here.camera.height, here.camera.width)
    layers = resample(torch.stack([foreground.float(), image.known.float()], -1), here.corner, here.extent, size, True)
    known = layers[..., 1] > 0.5
    share = torch.where(known, layers[..., 0], torch.full_like(layers[..., 0], _UNSURE))
    distance, outline = _outline(share, known, here.depth)
    color = torch.zeros(*size, 3) if here.color is None else here.color
    on_object = color[share > 0.6]
    deviation = float(on_object.std(0).mean()) if len(on_object) > 8 else 0.15
    if here.color is not None:
        color = _smooth_within(color, share, here.blur, border=_MIXED_PX * scale)
    maps = torch.cat([torch.stack([share, known.float(), distance], -1), color, torch.stack([here.depth, here.edges], -1)], -1)
    return Observation(
        camera=here.camera, maps=maps, outline=outline, mask_area=float((share * known).sum()), size=resolution,
        border=-math.inf if image.foreground is None else _MIXED_PX * scale, color_sigma=max(0.6 * deviation, 0.04),
        depth_sigma=_SENSOR * _distance(here.depth, share),
    )  # fmt: skip


def _distance(depth: Tensor, share: Tensor) -> float:
    """Median depth of what is the object, or else of all; 0 without measurements."""
    measured = depth > 0
    values = depth[measured & (share > 0.5)] if bool((measured & (share > 0.5)).any()) else depth[measured]
    return float(values.median()) if len(values) > 0 else 0.0


def resample(values: Tensor, corner: list[int], extent: list[int], size: tuple[int, int], smooth: bool) -> Tensor:
    """A window [h, w, C] of an image [H, W, C], 0 outside of it; `smooth` averages, otherwise the nearest pixel is taken."""
    height, width = values.shape[:2]
    left, top = corner
    window = values.new_zeros(extent[1], extent[0], values.shape[2])
    r0, r1, c0, c1 = max(top, 0), min(top + extent[1], height), max(left, 0), min(left + extent[0], width)
    if r0 < r1 and c0 < c1:
        window[r0 - top : r1 - top, c0 - left : c1 - left] = values[r0:r1, c0:c1]
    planes = window.permute(2, 0, 1)[None]
    if smooth:
        result = torch.nn.functional.interpolate(planes, size=size, mode="bilinear", antialias=size[0] < extent[1], align_corners=False)
    else:
        result = torch.nn.functional.interpolate(planes, size=size, mode="nearest-exact")
    return result[0].permute(1, 2, 0).contiguous()


def _outline(share: Tensor, known: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Signed distance [h, w] to the outline of `share` > 0.5, px, positive outside; and points [M, 5] of it."""
    from scipy.ndimage import gaussian_filter

    inside = (share > 0.5).numpy() & known.numpy()
    if not inside.any():
        return torch.full_like(share, _FAR_PX), share.new_zeros(0, 5)
    outside = ~inside
    distance = (
        np.where(inside, 0.5 - _distance_to_false(inside), _distance_to_false(outside) - 0.5) if outside.any() else -1.0 + 0 * share.numpy()
    )
    distance = gaussian_filter(np.clip(distance, -_FAR_PX, _FAR_PX), 0.7)
    dy, dx = np.gradient(distance, axis=0), np.gradient(distance, axis=1)
    rim = inside & (distance > -1.2)
    rim[0], rim[-1], rim[:, 0], rim[:, -1] = False, False, False, False
    rows, columns = rim.nonzero()
    if len(rows) == 0:
        return torch.from_numpy(distance).float(), share.new_zeros(0, 5)
    pick = np.unique(np.linspace(0, len(rows) - 1, _OUTLINE_COUNT).round().astype(int))
    rows, columns = rows[pick], columns[pick]
    normal = np.stack([dx[rows, columns], dy[rows, columns]], 1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    place = np.stack([columns + 0.5, rows + 0.5], 1) - distance[rows, columns][:, None] * normal
    weight = _is_own_outline(place, normal, known.numpy(), depth.numpy())
    points = np.concatenate([place, normal, weight[:, None]], 1)
    return torch.from_numpy(distance).float(), torch.from_numpy(points).float()


def _is_own_outline(place: np.ndarray, normal: np.ndarray, known: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Weights [M]: 0 where the outline ends at unknown pixels or at something that lies in front of the object."""
    look = lambda reach: tuple(
        np.clip(np.floor(place[:, a] + reach * normal[:, a]).astype(int), 0, size - 1)
        for a, size in ((1, known.shape[0]), (0, known.shape[1]))
    )
    beyond, within = look(3.0), look(-3.0)
    front, own = depth[beyond], depth[within]
    hidden = (front > 0) & (own > 0) & (front < own - 0.08)
    return (known[beyond] & ~hidden).astype(float)


def _smooth(color: Tensor, sigma: float) -> Tensor:
    from scipy.ndimage import gaussian_filter

    if sigma < 0.3:
        return color
    return torch.from_numpy(gaussian_filter(color.numpy(), (sigma, sigma, 0), mode="nearest", truncate=2.5))


def _smooth_within(color: Tensor, share: Tensor, sigma: float, *, border: float) -> Tensor:
    """Colours [h, w, 3] of the foreground, smoothed without those of the background; at its border they are those farther inside.

    Args:
        border: how far inwards of the outline pixels may show both, px.
    """
    from scipy.ndimage import minimum_filter

    inner = torch.from_numpy(minimum_filter(share.numpy(), size=2 * math.ceil(border) + 1, mode="nearest"))
    weight = (inner + _FAINT * share + _FAINT**2)[..., None]
    smooth = _smooth(torch.cat([color * weight, weight], -1), max(sigma, border / 2))
    return smooth[..., :3] / smooth[..., 3:]


def _edge_distance(color: Tensor) -> Tensor:
    """[h, w] distance to the strongest edges of the image, px: thinned across, the strongest tenth of the pixels at most."""
    from scipy.ndimage import gaussian_gradient_magnitude

    strength = max((gaussian_gradient_magnitude(color[..., c].numpy(), 1.0) for c in range(3)), key=lambda g: g.mean())
    padded = np.pad(strength, 1)
    peak = ((strength >= padded[1:-1, :-2]) & (strength >= padded[1:-1, 2:])) | (
        (strength >= padded[:-2, 1:-1]) & (strength >= padded[2:, 1:-1])
    )
    edge = peak & (strength > max(np.quantile(strength, 0.85), 0.02))
    if not edge.any():
        return torch.full(strength.shape, _FAR_PX)
    return torch.from_numpy(np.minimum(_distance_to_false(~edge), _FAR_PX)).float()


def _distance_to_false(values: np.ndarray) -> np.ndarray:
    """[h, w] distance of each true pixel to the nearest false one, px; 0 at false ones."""
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(values))
