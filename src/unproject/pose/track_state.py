"""What is carried from frame to frame of a track: poses, what is usual, and what earlier frames taught."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..io.video import VideoFrame
from ..lie.so3 import so3_log
from ..ops import color_counts as ops
from ..reference import color_counts as reference
from ..struct import TensorStruct
from .color_model import COLOR_BITS, ColorModel, learn_colors
from .covered import covered_view
from .texture_term import Keyframe, make_keyframe, make_pyramid
from .track_fit import FrameFit, Knowledge, Rival, TrackModel, TrackOptions
from .view import View

_NEW_KEYFRAME_DEG = 12.0
_NEW_VIEW_DEG = 25.0
_GALLERY = 12
_THERE = ((0.7, 0.25), (0.5, 0.4), (0.0, 0.75))  # shares of the usual pixels that look right, of the usual score that then suffice
_FOUND = ((0.6, 0.4), (0.75, 0.2))  # of the usual score, and of the usual share of pixels: what a hypothesis must reach, either way
_LEARN_ABOVE = 0.5
_PAINT_SUFFICES = 0.5  # correlation with the mesh's own colours above which no earlier image is needed
_LEARNING_RATE = 0.1
_DOUBTFUL, _DOUBTFUL_ALIKE = 0.85, 0.7  # of the usual score, and share of pixels, below which poses around a fit are tried
_USUAL, _USUAL_IN_DOUBT = 0.03, 0.01  # how fast the usual score falls
_NOISE_IN_DOUBT = 0.2  # as fast is it learnt how far off looks are
_LEARN_FROM = 10_000  # pixels of the image
_SURROUNDINGS = 0.5  # of the object's size in the image: how far around it colours are learnt


@dataclass(frozen=True, kw_only=True)
class TrackState(TensorStruct):
    """What is carried from frame to frame. Poses are float64 [4, 4] of the centred mesh.

    Attributes:
        pose, before: in the last two frames.
        trusted: where it was last seen without doubt.
        knowledge: colours, light and the keyframe.
        remembered: the same when it was last seen without doubt: what is learnt in doubt may be of something else.
        gallery: keyframes from different sides.
        missed: signs of loss in frames in a row that did not fit; while it is lost, also frames since then.
        lost: whether it is to be looked for.
        usual: score of a good fit.
        usual_alike: share of pixels that look as they should in a good fit.
        rivals: other poses that explained the last frame nearly as well, if it was doubtful.
        doubts: doubtful frames in a row.
        unchecked: frames left in which it is still looked for elsewhere after it was found.
        age: frames since the first.
    """

    pose: Tensor
    before: Tensor
    trusted: Tensor
    knowledge: Knowledge
    remembered: Knowledge
    gallery: tuple[Keyframe, ...] = ()
    missed: int = 0
    lost: bool = False
    usual: float = 0.0
    usual_alike: float = 0.0
    rivals: tuple[Rival, ...] = ()
    doubts: int = 0
    unchecked: int = 0
    age: int = 0


def is_good(fit: FrameFit, state: TrackState) -> bool:
    """Whether a fit is about as good as usual."""
    return fit.score > _DOUBTFUL * state.usual and fit.alike > _DOUBTFUL_ALIKE * state.usual_alike


def is_there(fit: FrameFit, state: TrackState) -> bool:
    """Whether what was fitted is the object."""
    if fit.is_weak:
        return False
    enough = min(share for alike, share in _THERE if fit.alike >= alike * state.usual_alike)
    return fit.score >= enough * state.usual


def is_found(fit: FrameFit, state: TrackState) -> bool:
    """Whether a hypothesis is confirmed."""
    if fit.is_weak:
        return False
    return any(fit.score >= share * state.usual and fit.alike >= alike * state.usual_alike for share, alike in _FOUND)


def keep(state: TrackState, fit: FrameFit, frame: VideoFrame, model: TrackModel, options: TrackOptions) -> TrackState:
    """The state after a frame that was fitted: colours and keyframes are learnt where the fit is trusted."""
    in_doubt = bool(state.rivals) or state.unchecked > 0
    rate = _USUAL_IN_DOUBT if in_doubt else _USUAL
    usual, usual_alike = (max(now, old + rate * (now - old)) for now, old in ((fit.score, state.usual), (fit.alike, state.usual_alike)))
    state = replace(state, before=state.pose, pose=fit.pose, missed=0, lost=False, usual=usual, usual_alike=usual_alike)
    if fit.view is None or fit.trust < _LEARN_ABOVE:
        return state
    keyframe, gallery = state.knowledge.keyframe, state.gallery
    suffices = fit.support.get("paint", 0.0) > _PAINT_SUFFICES  # then keyframes are left out, which have the errors of their own poses
    unseen = all(angle_deg(k.camera_from_object, fit.pose) > _NEW_VIEW_DEG for k in gallery)
    stale = (
        keyframe is None or angle_deg(keyframe.camera_from_object, fit.pose) > _NEW_KEYFRAME_DEG or fit.support.get("texture", 0.0) < 0.3
    )
    fresh = make_keyframe(make_pyramid(frame.color, fit.view), fit.view) if options.texture and stale and (unseen or not suffices) else None
    if fresh is not None:
        keyframe = fresh
        gallery = (fresh, *gallery)[:_GALLERY] if unseen and not in_doubt else gallery
    if suffices:
        keyframe = None
    colors = learn_around(state.knowledge.colors, frame.color, fit.view, fit.covered)
    looks = fit.looks or state.knowledge.looks
    if in_doubt:
        last = state.knowledge.looks
        slowly = lambda old, new: old + _NOISE_IN_DOUBT * (new - old)
        looks = replace(looks, noise=slowly(last.noise, looks.noise), hue_noise=slowly(last.hue_noise, looks.hue_noise))
    knowledge = Knowledge(colors=colors, keyframe=keyframe, looks=looks)
    state = replace(state, knowledge=knowledge, gallery=gallery)
    return state if in_doubt else replace(state, trusted=fit.pose, remembered=knowledge)


def learn_around(colors: ColorModel | None, image: Tensor, view: View, covered: Tensor | None = None) -> ColorModel:
    """Learn from the image around the object: what the view shows, and its surroundings.

    Pixels within two of the outline are left out: what is learnt while the outline is a little off then pulls it back, not farther off.
    What is in front of the object (`covered`) belongs to the surroundings.
    """
    face = view.face if covered is None else torch.where(covered_view(covered, view), -1, view.face)
    run = ops.color_counts if image.device.type == "cpu" else reference.color_counts
    (x0, y0), (height, width) = view.corner.long().tolist(), view.face.shape
    around = round(_SURROUNDINGS * max(height, width) / view.scale)
    x1, y1 = x0 + round(width / view.scale), y0 + round(height / view.scale)
    box = torch.tensor([max(0, x0 - around), max(0, y0 - around), min(image.shape[1], x1 + around), min(image.shape[0], y1 + around)])
    step = max(1, math.isqrt(int((box[2] - box[0]) * (box[3] - box[1])) // _LEARN_FROM))
    return learn_colors(colors, run(image, face, view.corner, view.scale, box, step, COLOR_BITS), rate=_LEARNING_RATE)


def angle_deg(a: Tensor, b: Tensor) -> float:
    return float(torch.rad2deg(so3_log(a[:3, :3].double() @ b[:3, :3].double().T).norm()))
