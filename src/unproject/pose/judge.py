"""How well poses explain an image, pixel by pixel: a fair comparison, since all of them answer for the same pixels.

The terms of a fit look along the outline that a pose itself predicts, and leave out what they find hidden: they tell how to move a
pose, but not which of two poses is better. Here each pixel votes, by its colour for the object or for its surroundings, and by its
brightness and hue for what the object shows there. Pixels inside of the outline may show something in front, which costs a little each.
Source: Bibby and Reid 2008, Robust real-time visual tracking using pixel-wise posteriors (likelihoods of pixels instead of outlines).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..camera.camera import Camera, crop_camera
from ..geometry.mesh import Mesh
from ..lie.se3 import se3_apply
from ..render.rasterize import Fragments, rasterize
from .color_model import ColorModel, color_index, hue_of
from .covered import at_pixels
from .looks import Looks, expected_color, expected_hue
from .paint import Paint, rows_at
from .view import View

_SIZE = 72  # pixels of the small image in which poses are compared
_MARGIN = 4  # pixels of the image around them
_HIDDEN, _COVERED = 0.3, 0.5  # share of the object's pixels that show something in front: anywhere, and where it is known to be
_CERTAINTY = 0.7  # most that a pixel's brightness or hue says, log odds: models of light are wrong in places


def explained(
    poses: Tensor, image: Tensor, colors: ColorModel, mesh: Mesh, camera: Camera, *, covered: Tensor, view: View,
    paint: Paint | None = None, looks: Looks | None = None,
) -> Tensor:  # fmt: skip
    """[N] how many nats a pixel of the object speak for poses [N, 4, 4], on average; to be compared within one call only.

    Args:
        image: uint8 [H, W, 3].
        mesh: float32, centred at its origin.
        camera: perspective, at the identity pose.
        covered: cells of `view` where something is in front, for whichever pose: pixels there say little against a pose.
        paint: of this very mesh if it is whole, or of a finer one.
        looks: of it; without its light colours say nothing of places.
    """
    poses = poses.float()
    crop, rows, columns = _crop(se3_apply(poses, mesh.vertices), camera)
    with torch.no_grad():
        fragments = rasterize(mesh.vertices, mesh.faces, replace(crop, camera_from_world=poses))
    seen = image[rows][:, columns]
    odds = colors.odds[color_index(seen)].expand(fragments.mask.shape)
    hidden = at_pixels(covered, view, rows, columns)
    free = fragments.mask & ~hidden
    if paint is not None and looks is not None and looks.light is not None:
        odds = odds + _place_odds(seen.float(), free, fragments, poses, paint, looks)
    share = torch.where(hidden, _COVERED, _HIDDEN)
    votes = torch.where(fragments.mask, ((1 - share) * odds.exp() + share).log(), torch.zeros_like(odds))
    return votes.sum((1, 2)) / fragments.mask[0].sum().clamp(min=1)


def _crop(placed: Tensor, camera: Camera) -> tuple[Camera, Tensor, Tensor]:
    """A small camera that sees all of the points [N, V, 3]; and the image's rows and columns at its pixels."""
    pixels = (placed / placed[..., 2:].clamp(min=camera.near)).reshape(-1, 3) @ camera.intrinsics.T
    border = pixels.new_tensor([camera.width, camera.height])
    low = (pixels[:, :2].amin(0).floor() - _MARGIN).clamp(min=0).minimum(border - 4)
    high = (pixels[:, :2].amax(0).ceil() + _MARGIN).minimum(border).maximum(low + 4)
    step = max(1.0, float((high - low).max()) / _SIZE)
    width, height = ((high - low) / step).floor().long().clamp(min=1).tolist()
    x0, y0 = low.tolist()
    crop = crop_camera(camera, (x0, y0, x0 + width * step, y0 + height * step), (height, width))
    rows, columns = (((torch.arange(n) + 0.5) * step + begin).long() for n, begin in ((height, y0), (width, x0)))
    return crop, rows, columns


def _place_odds(color: Tensor, free: Tensor, fragments: Fragments, poses: Tensor, paint: Paint, looks: Looks) -> Tensor:
    """[N, h, w] log odds of colours [h, w, 3] at what a pose shows there, against anywhere on the object; 0 where it is not `free`."""
    odds = torch.zeros(free.shape)
    number = free.nonzero()[:, 0]
    if len(number) == 0:
        return odds
    rows = rows_at(paint, fragments.face[free], fragments.barycentrics[free])
    normals = torch.nn.functional.normalize((poses[number, :3, :3] @ rows[:, 3:, None])[..., 0], dim=1)
    expected = expected_color(rows[:, :3], normals, looks)
    seen = color.expand(*free.shape, 3)[free]
    grey = _odds(seen.mean(1, keepdim=True), expected.mean(1, keepdim=True), looks.noise, 1)
    odds[free] = grey + _odds(hue_of(seen), expected_hue(expected, seen), looks.hue_noise, 2)
    return odds


def _odds(seen: Tensor, expected: Tensor, noise: float, freedom: int) -> Tensor:
    """[P] log odds that seen values [P, C] with so many degrees of freedom are the expected ones, against any of these."""
    middle = expected.mean(0)
    spread = noise**2 + (expected - middle).square().sum(1).mean() / freedom
    apart, usual = (seen - expected).square().sum(1) / noise**2, (seen - middle).square().sum(1) / spread
    return (0.5 * (freedom * (spread / noise**2).log() + usual - apart)).clamp(-_CERTAINTY, _CERTAINTY)
