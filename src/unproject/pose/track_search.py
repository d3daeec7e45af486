"""Look for a tracked object anywhere in a frame: hypotheses (relocate.py) are fitted, and confirmed by how well they then fit."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..io.video import VideoFrame
from .relocate import relocate
from .track_fit import FrameFit, Knowledge, TrackModel, TrackOptions, fit_frame, with_looks, worth_of
from .track_state import TrackState, angle_deg, is_found, keep
from .track_terms import step_motion

_SEARCH_TURN, _SEARCH_DEPTH = 0.3, 0.06  # radians; share of the distance: around each hypothesis
_SEARCH_SPREAD = 5.0  # hypotheses are so much farther off than the pose of the frame before
_REPEATED = 2  # of the fits, the best
_TWIN_BETTER = 3.0  # nats, by which colours tell that an object has another one of the rotations in which its shape looks the same
_CHECKED = 18  # frames for which an object that was found is still looked for elsewhere now and then


def search(state: TrackState, frame: VideoFrame, model: TrackModel, camera: Camera, options: TrackOptions) -> tuple[TrackState, FrameFit]:
    """Look for a lost object; it is found where a hypothesis is confirmed by its outline and by how it looks."""
    nothing = FrameFit(pose=state.pose, view=None, covariance=torch.full((6, 6), torch.inf, dtype=torch.float64))
    if not options.search:
        return state, nothing
    state = replace(state, missed=state.missed + 1)
    best = elsewhere(state, frame, model, camera, options, part=state.missed)
    if not is_found(best, state):
        return state, nothing
    best = best_twin(best, frame, model, camera, state.remembered, options)
    state = replace(state, pose=best.pose, knowledge=replace(state.knowledge, keyframe=None), unchecked=_CHECKED + 1)
    return replace(keep(state, best, frame, model, options), before=best.pose), best


def elsewhere(state: TrackState, frame: VideoFrame, model: TrackModel, camera: Camera, options: TrackOptions, *, part: int) -> FrameFit:
    """The best fit anywhere in the frame, of a part of all rotations."""
    seen = torch.stack([state.trusted, *(k.camera_from_object.double() for k in state.gallery)])
    known, paint = state.remembered, model.coarse_paint
    fits: list[tuple[FrameFit, Knowledge]] = []
    for pose in relocate(frame.color, known.colors, model.coarse, camera, seen, part=part, paint=paint, looks=known.looks):
        near = min(state.gallery, key=lambda k: angle_deg(k.camera_from_object, pose), default=None)
        knowledge = replace(known, keyframe=near if model.paint is None or model.paint.is_plain else None)
        others = around(pose, turn=_SEARCH_TURN, depth=_SEARCH_DEPTH)
        fit = fit_frame(pose, frame, model, camera, knowledge, options, spread=_SEARCH_SPREAD, others=others, finalists=1)
        fits.append((with_looks(fit, frame, model, known.looks), knowledge))
    fits.sort(key=lambda pair: pair[0].quality, reverse=True)
    nothing = FrameFit(pose=state.pose, view=None, covariance=torch.full((6, 6), torch.inf, dtype=torch.float64))
    again = [again_at(fit, frame, model, camera, knowledge, options) for fit, knowledge in fits[:_REPEATED] if not fit.is_weak]
    return max(again, key=lambda fit: fit.quality, default=nothing)


def best_twin(fit: FrameFit, frame: VideoFrame, model: TrackModel, camera: Camera, knowledge: Knowledge, options: TrackOptions) -> FrameFit:
    """The fit, or that of another pose with the same outline and shading, if the colours there explain the frame better.

    Args:
        knowledge: of when the object was last seen without doubt: light that was learnt since then may be what makes a wrong one fit.
    """
    if fit.view is None or fit.covered is None or len(model.twins) < 2:
        return fit
    twins = fit.pose @ model.twins
    worths = worth_of(twins, frame, model, camera, knowledge, covered=fit.covered, view=fit.view)
    best = int(worths.argmax())
    if float(worths[best] - worths[0]) < _TWIN_BETTER:
        return fit
    other = again_at(replace(fit, pose=twins[best]), frame, model, camera, replace(knowledge, keyframe=None), options)
    return other if other.quality > fit.quality else fit


def again_at(fit: FrameFit, frame: VideoFrame, model: TrackModel, camera: Camera, knowledge: Knowledge, options: TrackOptions) -> FrameFit:
    """A fit that began far off, once more: from nearby, and in the light that it showed, which may have changed since it was learnt."""
    looks = fit.looks or knowledge.looks
    return with_looks(fit_frame(fit.pose, frame, model, camera, replace(knowledge, looks=looks), options), frame, model, looks)


def around(pose: Tensor, *, turn: float, depth: float) -> list[Tensor]:
    """Poses turned about each axis of the camera, and shifted along the line of sight by a share of the distance, both ways."""
    steps = torch.zeros(4, 6, dtype=torch.float64)
    steps[:3, 3:] = turn * torch.eye(3, dtype=torch.float64)
    steps[3, :3] = depth * pose[:3, 3]
    return [step_motion(step, pose[:3, 3]) @ pose for step in torch.cat([steps, -steps])]
