"""Which pixels show the object if it has a pose: what it looks like there against the colours of all else, and depth where there is any.

Colours alone (segment.py) take what hides the object for a part of it, since its colours are seen nowhere else. Here each pixel has its
own expectation: the surface's colour there, under a light that is fitted to the image.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..camera.camera import crop_camera
from ..render.rasterize import Fragments, rasterize
from .matte import matted
from .object_model import ObjectModel, colors_at
from .observation import PoseImage, resample
from .segment import EVEN, agreed, bins_of, histogram, likeness

_LONGEST = 256  # pixels of the window that is looked at
_MARGIN = 0.25  # around pose and box, of their longer side
_BAND = 0.04  # of the object's size: how far its outline may be off
_INSIDE, _OUTSIDE = 0.7, 0.15  # prior probability far inside of the outline and far outside
_OWN, _NEAR = 0.6, 0.38  # shares of pixels that look as expected there, and as expected somewhere; the rest is anything
_STRANGE = 0.15  # share of colours around that were not seen yet
_LEAST_SIGMA, _MOST_SIGMA = 0.025, 0.12
_MOST_ODDS = 4.0
_ROUNDS, _PULL = 3, 1.2
_LIGHT_ROUNDS, _OFFSET, _LIGHT_PRIOR = 4, 0.3, (1e-3, 0.02, 0.02, 0.02, 0.05)  # weak: it keeps texture from being taken for light
_DEPTH_SIGMA, _DEPTH_RANGE = 0.05, 1.0  # diameters


def segment_by_pose(model: ObjectModel, image: PoseImage, pose: Tensor, share: Tensor) -> Tensor:
    """Probability [H, W] that each pixel shows the object in a pose [4, 4] of the working frame; `share` [H, W] is a first guess of it."""
    corner, extent, size = _window(model, image, pose)
    cut = lambda t, smooth: resample(t, corner, extent, size, smooth)
    box = (corner[0], corner[1], corner[0] + extent[0], corner[1] + extent[1])
    camera = replace(crop_camera(image.camera, box, size), camera_from_world=pose.float(), near=1e-2, far=1e4)
    with torch.no_grad():
        fragments = rasterize(model.mesh.vertices, model.mesh.faces, camera)
    layers = cut(torch.stack([share, image.known.float()], -1), True)
    color = None if image.color is None else cut(image.color, True)
    depth = None if image.depth is None else cut(image.depth[..., None], False)[..., 0]
    if not bool(fragments.mask.any()):
        return share
    found = _posterior(model, pose, fragments, color, depth, layers[..., 0], layers[..., 1] > 0.5)
    back = torch.nn.functional.interpolate(found[None, None], size=(extent[1], extent[0]), mode="bilinear", align_corners=False)[0, 0]
    result = torch.zeros_like(share)
    height, width = share.shape
    top, left = max(corner[1], 0), max(corner[0], 0)
    part = back[top - corner[1] : height - corner[1], left - corner[0] : width - corner[0]]
    result[top : top + part.shape[0], left : left + part.shape[1]] = part
    return result


def _posterior(
    model: ObjectModel, pose: Tensor, fragments: Fragments, color: Tensor | None, depth: Tensor | None, share: Tensor, known: Tensor
) -> Tensor:  # fmt: skip
    """[h, w] probability that a pixel shows the object; `share` is a first guess of it, and `known` where it says something."""
    distance, nearest = _signed_distance(fragments.mask)
    band = _BAND * float(fragments.mask.sum()) ** 0.5
    prior = torch.logit(_OUTSIDE + (_INSIDE - _OUTSIDE) * (0.5 - distance / (2 * band)).clamp(0, 1))
    if depth is not None:
        prior = prior + _depth_odds(depth, fragments.depth.flatten()[nearest])
    if color is None:
        return torch.sigmoid(prior)
    shown = fragments.mask.flatten().nonzero()[:, 0]
    albedo, normal = _surface(model, pose, fragments, shown)
    row = torch.zeros(fragments.mask.numel(), dtype=torch.int64)
    row[shown] = torch.arange(len(shown))
    row = row[nearest]  # [h, w] of what is known of the pixels that show it: the nearest one's
    seen, bins, alike = color.reshape(-1, 3)[shown], bins_of(color), likeness(color)
    belief, expected = torch.where(known, share, torch.sigmoid(prior)), color
    for _ in range(_ROUNDS):
        lit, sigma = _lit(albedo, normal, seen, belief.flatten()[shown])
        expected = lit[row]
        own = _normal_density(color - expected, sigma) * (distance < 2 * band)
        near = histogram(bins_of(lit.clamp(0, 1)), torch.ones(len(lit)))[bins].view_as(belief)
        other = histogram(bins, ((1 - belief) * known).flatten())[bins].view_as(belief)
        likely = _OWN * own + _NEAR * near + (1 - _OWN - _NEAR) * EVEN
        odds = prior + (likely / ((1 - _STRANGE) * other + _STRANGE * EVEN)).log().clamp(-_MOST_ODDS, _MOST_ODDS)
        belief = agreed(odds, alike, pull=_PULL)
    return matted(color, belief, expected)


def _window(model: ObjectModel, image: PoseImage, pose: Tensor) -> tuple[list[int], list[int], tuple[int, int]]:
    """Corner and extent (x, y) of a window around the pose and the box, px of the image, and the size (h, w) at which it is looked at."""
    placed = model.mesh.vertices.double() @ pose[:3, :3].T + pose[:3, 3]
    pixel = (placed / placed[:, 2:].clamp(min=1e-2)) @ image.camera.intrinsics.double().T
    low, high = pixel[:, :2].amin(0).tolist(), pixel[:, :2].amax(0).tolist()
    height, width = image.known.shape
    x0, y0, x1, y1 = image.box
    left, top = max(0.0, min(x0, low[0])), max(0.0, min(y0, low[1]))
    right, bottom = min(float(width), max(x1, high[0])), min(float(height), max(y1, high[1]))
    pad = _MARGIN * max(right - left, bottom - top) + 2
    corner = [max(0, int(left - pad)), max(0, int(top - pad))]
    extent = [max(8, min(width, int(right + pad) + 1) - corner[0]), max(8, min(height, int(bottom + pad) + 1) - corner[1])]
    scale = min(1.0, _LONGEST / max(extent))
    return corner, extent, (max(8, round(extent[1] * scale)), max(8, round(extent[0] * scale)))


def _signed_distance(mask: Tensor) -> tuple[Tensor, Tensor]:
    """[h, w] distance to the outline of a mask, px, positive outside; and the index of the mask's pixel that is nearest."""
    from scipy.ndimage import distance_transform_edt

    inside = mask.numpy()
    outer, index = distance_transform_edt(~inside, return_indices=True)  # pyright: ignore
    distance = torch.from_numpy(outer - np.asarray(distance_transform_edt(inside))).float()
    return distance - 0.5 * distance.sign(), torch.from_numpy(index[0].astype(np.int64) * mask.shape[1] + index[1])


def _surface(model: ObjectModel, pose: Tensor, fragments: Fragments, shown: Tensor) -> tuple[Tensor, Tensor]:
    """Colours [P, 3] of the mesh at pixels, and its normals there in the camera's axes, towards the camera."""
    face, weights = fragments.face.flatten()[shown], fragments.barycentrics.reshape(-1, 3)[shown]
    points = (model.mesh.vertices[model.mesh.faces[face]] * weights[..., None]).sum(1)
    normal = model.normals[face] @ pose[:3, :3].T.float()
    sight = points @ pose[:3, :3].T.float() + pose[:3, 3].float()
    return colors_at(model, points, blurred=False), torch.where((normal * sight).sum(1, keepdim=True) > 0, -normal, normal)


def _lit(albedo: Tensor, normal: Tensor, seen: Tensor, weight: Tensor) -> tuple[Tensor, float]:
    """Colours [P, 3] of the surface under the first-order light that explains what is seen best, and by how much they err."""
    expected, robust = torch.zeros_like(seen), weight
    for turn in range(_LIGHT_ROUNDS):
        if turn > 0:
            away = (seen - expected) / (2 * _spread(seen - expected, weight))
            robust = weight / (1 + away.square().mean(1)).square()
        for c in range(3):
            rows = torch.cat([albedo[:, c : c + 1], albedo[:, c : c + 1] * normal, torch.full_like(albedo[:, :1], _OFFSET)], 1)
            prior = torch.tensor(_LIGHT_PRIOR) * float((robust * albedo[:, c].square()).sum()) + 1e-4
            weighted = rows * robust[:, None]
            expected[:, c] = rows @ torch.linalg.solve(weighted.T @ rows + prior.diag(), weighted.T @ seen[:, c])
    return expected, float(_spread(seen - expected, weight).clamp(_LEAST_SIGMA, _MOST_SIGMA))


def _spread(away: Tensor, weight: Tensor) -> Tensor:
    """Robust standard deviation of differences [P, 3] of the pixels that are likely the object's."""
    likely = away[weight > 0.5]
    return 1.48 * (likely if len(likely) > 20 else away).abs().median().clamp(min=0.01)


def _normal_density(away: Tensor, sigma: float) -> Tensor:
    """Probability per histogram bin of colours that are off by [..., 3]."""
    return torch.exp(-away.square().sum(-1) / (2 * sigma**2)) / ((2 * torch.pi) ** 1.5 * sigma**3 * 32**3)


def _depth_odds(depth: Tensor, expected: Tensor) -> Tensor:
    """What is measured at the depth that the pose has there is the object, likely; what lies off is not."""
    likely = torch.exp(-((depth - expected) / _DEPTH_SIGMA).square() / 2) / (2.5 * _DEPTH_SIGMA)
    odds = ((0.9 * likely + 0.1 / _DEPTH_RANGE) * _DEPTH_RANGE).log().clamp(-2.5, 2.5)
    return torch.where(depth > 0, odds, torch.zeros_like(odds))
