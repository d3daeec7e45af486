"""What hides a part of the object: where a pose shows it and the mask does not. Without these places, poses are refined to the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .object_model import ObjectModel
from .observation import PoseImage
from .prepare import shown_by, told_by_pose
from .refine import Orbit, Scored, TermWeights, refine
from .solve import FINEST_SIZE, STAGES, SolverOptions, between_cameras, by_rendering, finest_sights, judge

_THIN, _AROUND = 0.03, 0.15  # of the box's longer side: what is thinner is an inexact outline; how far the hidden outline may lie off
_LEAST = 0.04  # of the object's pixels
_ROUNDS = 3
_SAME = 0.02  # of the object's pixels
_FAR = 0.1  # in cost behind the best pose: not worth the time


def refine_past_hidden(
    model: ObjectModel, images: Sequence[PoseImage], weights: TermWeights, options: SolverOptions, scored: Scored, *,
    orbit: Orbit | None = None,
) -> Scored:  # fmt: skip
    """Poses refined once more, each without the places where something hides the object in it; as they are where nothing does."""
    poses = []
    near = scored.cost < scored.cost.min() + _FAR
    for pose, worth in zip(scored.poses, near.tolist()):
        before: Sequence[PoseImage] = images
        for turn in range(_ROUNDS if worth else 0):
            seen = [without_hidden(model, image, between_cameras(image, images[0], model) @ pose) for image in images]
            if all(new is old or (turn > 0 and _is_alike(new, old)) for new, old in zip(seen, before)):
                break
            before = seen
            sights = finest_sights(seen, weights, model, options)
            for size, scale in ((144, STAGES[2]), (FINEST_SIZE, STAGES[3])):
                pose = refine(pose[None], by_rendering(model, size), sights, scale, rounds=2, orbit=orbit).poses[0]
        poses.append(pose)
    return judge(model, torch.stack(poses), finest_sights(images, weights, model, options))


def without_hidden(model: ObjectModel, image: PoseImage, pose: Tensor) -> PoseImage:
    """The image with what hides the object in a pose [4, 4] made unknown, and its surroundings, where the hidden outline may be.

    A box then surrounds a part, and says nothing.
    """
    if image.foreground is None:
        return image
    image = told_by_pose(image, model, pose)
    assert image.foreground is not None
    x0, y0, x1, y1 = image.box
    side = max(x1 - x0, y1 - y0)
    thin, around = max(1, round(_THIN * side)), max(1, round(_AROUND * side))
    shown, visible = shown_by(model, image, pose), image.foreground > 0.5
    hidden = _grown(~_grown(~(shown & image.known & ~visible), thin), thin)
    if float(hidden.sum()) < _LEAST * float(shown.sum()):
        return image
    return replace(image, known=image.known & (visible | ~_grown(hidden, around)), is_boxed=False)


def _is_alike(one: PoseImage, other: PoseImage) -> bool:
    """Whether two images of the same size say the same of nearly all pixels: poses refined in both are the same."""
    if one.foreground is None or other.foreground is None:
        return one.foreground is other.foreground
    share = torch.where(one.known, one.foreground, 0.0) - torch.where(other.known, other.foreground, 0.0)
    differs = (one.known != other.known) | (share.abs() > 0.5)
    return one.is_boxed == other.is_boxed and float(differs.sum()) <= _SAME * float((one.foreground > 0.5).sum())


def _grown(mask: Tensor, reach: int) -> Tensor:
    """A mask [H, W] with all within `reach` pixels of it, along rows and columns."""
    from scipy.ndimage import maximum_filter

    return torch.from_numpy(maximum_filter(mask.numpy(), size=2 * reach + 1, mode="constant"))
