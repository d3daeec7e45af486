"""Follow known objects through a video: outline, depth and texture, frame after frame.

From the pose of the frame before (and how it moved), each frame is fitted coarse to fine: the outline by colour statistics on both sides of
it, the texture against a keyframe, and depth where there is any, in joint Gauss-Newton steps. An object whose outline is no longer found is
lost; it is looked for in the whole image until it is back (relocate.py).
Source: Stoiber et al. 2020 to 2022 (region based tracking: RBGT, SRT3D, ICG); Tjaden et al. 2018 for re-starts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..camera.camera import Camera, check_camera, check_rigid
from ..camera.undistortion import undistort_image, undistorted_camera
from ..errors import ArgumentError, DataError
from ..geometry.mesh import Mesh
from ..io.video import VideoFrame
from ..lie.so3 import so3_log
from ..ops import color_counts as ops
from ..reference import color_counts as reference
from ..struct import TensorStruct
from .color_model import COLOR_BITS, ColorModel, learn_colors
from .covered import covered_view
from .relocate import relocate
from .texture_term import Keyframe, make_keyframe, make_pyramid
from .track_fit import FrameFit, Knowledge, Rival, TrackModel, TrackOptions, explains_better, fit_frame, light_seen, make_track_model
from .track_terms import step_motion
from .view import View, render_view

_NEW_KEYFRAME_DEG = 12.0
_NEW_VIEW_DEG = 25.0
_GALLERY = 12
_LOST_AFTER = 8
_LOST_BELOW = 0.25
_GONE_BELOW, _GONE_COUNTS = 0.06, 3  # hardly any of the outline is found: that is worth so many frames
_LEARN_ABOVE = 0.5
_CLEARLY_BETTER = 0.1
_PAINT_SUFFICES = 0.5  # correlation with the mesh's own colours above which no earlier image is needed
_SEARCH_TURN, _SEARCH_DEPTH = 0.3, 0.06  # radians; share of the distance: around each hypothesis
_SEARCH_SPREAD = 5.0  # hypotheses are so much farther off than the pose of the frame before
_FOUND_ABOVE, _LIKE_ABOVE = 0.55, 0.35
_LEARNING_RATE = 0.1
_FEWEST_PIXELS = 6.0
_DOUBTFUL = 0.85  # share of the usual score below which poses around a fit are tried
_TRY_TURN, _TRY_DEPTH = 0.1, 0.03  # radians; share of the distance: around the last pose, where each frame's fit also begins
_LONG, _NOW_AND_THEN = 20, 3  # doubtful frames in a row after which the whole image is searched too, and how often
_KNOWN_LOOKS = 25.0  # grey levels: up to so much off, the mesh's own colours and the light do without earlier images
_USUAL, _USUAL_IN_DOUBT = 0.03, 0.01  # how fast the usual score falls
_LOOK_TURN, _LOOK_DEPTH, _FINALISTS = 0.17, 0.06, 3  # radians; share of the distance; how many of them go on
_LEARN_FROM = 10_000  # pixels of the image
_SURROUNDINGS = 0.5  # of the object's size in the image: how far around it colours are learnt


@dataclass(frozen=True, kw_only=True)
class TrackTarget(TensorStruct):
    """An object to follow.

    Attributes:
        mesh: in its own frame and unit.
        camera_from_object: [4, 4] pose in the first frame.
        name: how results call it.
    """

    mesh: Mesh
    camera_from_object: Tensor
    name: str = "object"


@dataclass(frozen=True, kw_only=True)
class TrackStep(TensorStruct):
    """An object in one frame.

    Attributes:
        index: of the frame, from 0.
        name: of the frame.
        target: name of the object.
        camera_from_object: [4, 4] float64; the last known pose while it is lost.
        confidence: share of the outline that is where the pose says, in [0, 1].
        lost: whether the object was not found in this frame.
        covariance: [6, 6] float64 of (translation, rotation) about the object's centre in the camera frame, lengths in the mesh's unit.
        support: the same share for each term that had data: outline, depth, texture.
        seconds: spent on this object in this frame.
    """

    index: int
    name: str
    target: str
    camera_from_object: Tensor
    confidence: float
    lost: bool
    covariance: Tensor
    support: Mapping[str, float]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TrackState(TensorStruct):
    """What is carried from frame to frame. Poses are float64 [4, 4] of the centred mesh.

    Attributes:
        pose, before: in the last two frames.
        trusted: where it was last seen well.
        knowledge: colours, light and the keyframe.
        gallery: keyframes from different sides.
        missed: frames in a row that did not fit.
        lost: whether it is to be looked for.
        usual: score of a good fit.
        rivals: other poses that explained the last frame nearly as well, if it was doubtful.
        doubts: doubtful frames in a row.
    """

    pose: Tensor
    before: Tensor
    trusted: Tensor
    knowledge: Knowledge
    gallery: tuple[Keyframe, ...] = ()
    missed: int = 0
    lost: bool = False
    usual: float = 0.0
    rivals: tuple[Rival, ...] = ()
    doubts: int = 0


def track_object(
    frames: Iterable[VideoFrame], mesh: Mesh, camera: Camera, camera_from_object: Tensor, *, options: TrackOptions | None = None
) -> Iterator[TrackStep]:
    """Follow one object; see `track_objects`."""
    target = TrackTarget(mesh=mesh, camera_from_object=camera_from_object)
    for steps in track_objects(frames, [target], camera, options=options):
        yield steps[0]


def track_objects(
    frames: Iterable[VideoFrame], targets: Sequence[TrackTarget], camera: Camera, *, options: TrackOptions | None = None
) -> Iterator[tuple[TrackStep, ...]]:
    """Follow objects through frames, from their poses in the first one.

    Args:
        frames: of one camera, in order.
        targets: objects; they are tracked independently of each other.
        camera: one camera; images are undistorted if it has lens distortion. Its own pose is not used.
        options: how.

    Yields:
        For each frame one step an object, in the order of `targets`.

    Raises:
        ArgumentError: a mesh without faces, a pose that is not rigid, frames of another size than the camera's.
        DataError: an object that its start pose puts behind the camera or outside of the first image.
    """
    settings = options or TrackOptions()
    check_camera(camera, where="track_objects")
    if camera.projection == "orthographic" or camera.batch_shape:
        raise ArgumentError("track_objects: `camera` must be one perspective or fisheye camera")
    flat = undistorted_camera(camera).to(torch.float32)
    flat = replace(flat, camera_from_world=torch.eye(4))
    models = [make_track_model(target.mesh, settings) for target in targets]
    flat = replace(
        flat, near=min([flat.near, *(0.05 * m.diameter for m in models)]), far=max([flat.far, *(1e3 * m.diameter for m in models)])
    )
    states: list[TrackState] = []
    for index, frame in enumerate(frames):
        frame = _flat_frame(frame, camera)
        steps = []
        for k, (model, target) in enumerate(zip(models, targets)):
            begin = time.perf_counter()
            if index == 0:
                state, fit = start(target, frame, model, flat, settings)
                states.append(state)
            else:
                states[k], fit = advance(states[k], frame, model, flat, settings)
            pose = states[k].pose.clone()
            pose[:3, 3] -= pose[:3, :3] @ model.center
            steps.append(
                TrackStep(
                    index=index,
                    name=frame.name,
                    target=target.name,
                    camera_from_object=pose,
                    confidence=fit.confidence,
                    lost=states[k].lost,
                    covariance=fit.covariance,
                    support=fit.support,
                    seconds=time.perf_counter() - begin,
                )
            )
        yield tuple(steps)


def start(target: TrackTarget, frame: VideoFrame, model: TrackModel, camera: Camera, options: TrackOptions) -> tuple[TrackState, FrameFit]:
    """The state after the first frame. The start pose is kept, unless one nearby explains the outline clearly better.

    Raises:
        ArgumentError: a pose that is not rigid.
        DataError: the object is behind the camera or outside of the image.
    """
    pose = check_rigid(target.camera_from_object.detach().double(), name="camera_from_object", where="track_objects").clone()
    pose[:3, 3] += pose[:3, :3] @ model.center
    distance = float(pose[:3, 3].norm())
    pixels = float(camera.intrinsics[0, 0]) * model.diameter / max(distance, 1e-12)
    if distance < 0.5 * model.diameter or pixels < _FEWEST_PIXELS:
        raise DataError(
            f"track_objects: by its start pose {target.name!r} would be {pixels:.3g} pixels large; is its unit the mesh's? "
            "(millimetres for metres make a factor of 1000)"
        )
    view = render_view(model.mesh, camera, pose.float(), resolution=options.resolution)
    if view is None:
        raise DataError(f"track_objects: the start pose puts {target.name!r} behind the camera or outside of the image")
    light, noise = light_seen(None, frame, model, view)
    knowledge = Knowledge(colors=_learn(None, frame.color, view), keyframe=None, light=light, noise=noise)
    state = TrackState(pose=pose, before=pose, trusted=pose, knowledge=knowledge)
    stay = fit_frame(pose, frame, model, camera, knowledge, options, moves=False)
    moved = fit_frame(pose, frame, model, camera, knowledge, options)
    fit = moved if moved.confidence > stay.confidence + _CLEARLY_BETTER else stay
    state = _keep(state, fit, frame, model, options)
    return replace(state, before=state.pose), fit


def advance(state: TrackState, frame: VideoFrame, model: TrackModel, camera: Camera, options: TrackOptions) -> tuple[TrackState, FrameFit]:
    """Take in one more frame."""
    if state.lost:
        return _search(state, frame, model, camera, options)
    fit = _follow(state, frame, model, camera, options)
    state = replace(state, rivals=fit.rivals, doubts=state.doubts + 1 if fit.rivals else 0)
    if options.search and fit.view is not None and state.doubts >= _LONG and state.doubts % _NOW_AND_THEN == 0:
        other = _elsewhere(state, frame, model, camera, options, part=state.doubts // _NOW_AND_THEN)
        if explains_better(other, fit, frame, model, camera, state.knowledge):
            fit = other
    if fit.view is not None and fit.trust >= _LOST_BELOW:
        return _keep(state, fit, frame, model, options), fit
    gone = fit.view is None or fit.trust < _GONE_BELOW
    missed = state.missed + (_GONE_COUNTS if gone else 1)
    if missed >= _LOST_AFTER:
        state = replace(state, missed=missed, lost=True, pose=state.trusted, before=state.trusted)
        return state, replace(fit, support={"outline": 0.0})
    if gone:  # what was fitted is something else
        return replace(state, before=state.pose, missed=missed), replace(fit, pose=state.pose)
    return replace(state, pose=fit.pose, before=fit.pose, missed=missed), fit


def _follow(state: TrackState, frame: VideoFrame, model: TrackModel, camera: Camera, options: TrackOptions) -> FrameFit:
    """The fit of a frame; where that is doubtful, or the last one was, more beginnings are compared with more care: fits are local."""
    doubtful = _DOUBTFUL * state.usual
    fit = None
    if not state.rivals:
        others = [_ahead(state), *_around(state.pose, turn=_TRY_TURN, depth=_TRY_DEPTH)]
        fit = fit_frame(state.pose, frame, model, camera, state.knowledge, options, others=others)
        if fit.view is None or fit.score > doubtful:
            return fit
    others = [_ahead(state), *_around(state.pose, turn=_LOOK_TURN, depth=_LOOK_DEPTH), *([] if fit is None else [fit.pose])]
    knowledge = state.knowledge
    if knowledge.noise < _KNOWN_LOOKS:  # an earlier image may be what is wrong
        knowledge = replace(knowledge, keyframe=None)
    fit = fit_frame(state.pose, frame, model, camera, knowledge, options, others=others, rivals=state.rivals, finalists=_FINALISTS)
    return replace(fit, rivals=()) if fit.score > doubtful else fit


def _keep(state: TrackState, fit: FrameFit, frame: VideoFrame, model: TrackModel, options: TrackOptions) -> TrackState:
    """The state after a frame that was fitted: colours and keyframes are learnt where the fit is trusted."""
    rate = _USUAL_IN_DOUBT if state.rivals else _USUAL
    usual = max(fit.score, state.usual + rate * (fit.score - state.usual))
    state = replace(state, before=state.pose, pose=fit.pose, missed=0, lost=False, usual=usual)
    if fit.view is None or fit.trust < _LEARN_ABOVE:
        return state
    state = replace(state, trusted=fit.pose)
    keyframe, gallery = state.knowledge.keyframe, state.gallery
    suffices = fit.support.get("paint", 0.0) > _PAINT_SUFFICES  # then keyframes are left out, which have the errors of their own poses
    unseen = all(_angle_deg(k.camera_from_object, fit.pose) > _NEW_VIEW_DEG for k in gallery)
    stale = (
        keyframe is None or _angle_deg(keyframe.camera_from_object, fit.pose) > _NEW_KEYFRAME_DEG or fit.support.get("texture", 0.0) < 0.3
    )
    fresh = make_keyframe(make_pyramid(frame.color, fit.view), fit.view) if options.texture and stale and (unseen or not suffices) else None
    if fresh is not None:
        keyframe = fresh
        gallery = (fresh, *gallery)[:_GALLERY] if unseen else gallery
    if suffices:
        keyframe = None
    colors = _learn(state.knowledge.colors, frame.color, fit.view, fit.covered)
    light, noise = light_seen(state.knowledge, frame, model, fit.view, fit.covered)
    knowledge = Knowledge(colors=colors, keyframe=keyframe, light=light, noise=noise)
    return replace(state, knowledge=knowledge, gallery=gallery)


def _search(state: TrackState, frame: VideoFrame, model: TrackModel, camera: Camera, options: TrackOptions) -> tuple[TrackState, FrameFit]:
    """Look for a lost object; it is found where a hypothesis is confirmed by its outline and, if it has one, its texture."""
    nothing = FrameFit(pose=state.pose, view=None, covariance=torch.full((6, 6), torch.inf, dtype=torch.float64))
    if not options.search:
        return state, nothing
    state = replace(state, missed=state.missed + 1)
    best = _elsewhere(state, frame, model, camera, options, part=state.missed)
    if best.confidence < _FOUND_ABOVE or best.likeness < _LIKE_ABOVE:
        return state, nothing
    state = replace(state, pose=best.pose, knowledge=replace(state.knowledge, keyframe=None))
    return replace(_keep(state, best, frame, model, options), before=best.pose), best


def _elsewhere(state: TrackState, frame: VideoFrame, model: TrackModel, camera: Camera, options: TrackOptions, *, part: int) -> FrameFit:
    """The best fit anywhere in the frame, of a part of all rotations."""
    best = FrameFit(pose=state.pose, view=None, covariance=torch.full((6, 6), torch.inf, dtype=torch.float64))
    rotations = torch.stack([state.pose[:3, :3], *(k.camera_from_object[:3, :3].double() for k in state.gallery)])
    light, paint = state.knowledge.light, model.coarse_paint
    for pose in relocate(
        frame.color, state.knowledge.colors, model.coarse, camera, rotations, around=state.pose, part=part, paint=paint, light=light
    ):
        near = min(state.gallery, key=lambda k: _angle_deg(k.camera_from_object, pose), default=None)
        knowledge = replace(state.knowledge, keyframe=near if model.paint is None or model.paint.is_plain else None)
        others = _around(pose, turn=_SEARCH_TURN, depth=_SEARCH_DEPTH)
        fit = fit_frame(pose, frame, model, camera, knowledge, options, spread=_SEARCH_SPREAD, others=others)
        if fit.view is not None and (best.view is None or fit.score > best.score):
            best = fit
    return best


def _around(pose: Tensor, *, turn: float, depth: float) -> list[Tensor]:
    """Poses turned about each axis of the camera, and shifted along the line of sight by a share of the distance, both ways."""
    steps = torch.zeros(4, 6, dtype=torch.float64)
    steps[:3, 3:] = turn * torch.eye(3, dtype=torch.float64)
    steps[3, :3] = depth * pose[:3, 3]
    return [step_motion(step, pose[:3, 3]) @ pose for step in torch.cat([steps, -steps])]


def _ahead(state: TrackState) -> Tensor:
    """The pose moved on as it last moved."""
    ahead = state.pose.clone()
    ahead[:3, :3] = state.pose[:3, :3] @ state.before[:3, :3].T @ state.pose[:3, :3]
    ahead[:3, 3] = 2 * state.pose[:3, 3] - state.before[:3, 3]
    return ahead if float(ahead[2, 3]) > 0 else state.pose


def _learn(colors: ColorModel | None, image: Tensor, view: View, covered: Tensor | None = None) -> ColorModel:
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


def _angle_deg(a: Tensor, b: Tensor) -> float:
    return float(torch.rad2deg(so3_log(a[:3, :3].double() @ b[:3, :3].double().T).norm()))


def _flat_frame(frame: VideoFrame, camera: Camera) -> VideoFrame:
    """The frame checked and without lens distortion."""
    size = tuple(frame.color.shape[:2])
    if frame.color.dim() != 3 or frame.color.shape[2] != 3 or frame.color.dtype != torch.uint8 or size != tuple(camera.image_size):
        raise ArgumentError(
            f"track_objects: frame {frame.name!r} must be uint8 [{camera.height}, {camera.width}, 3] as the camera says, "
            f"got {frame.color.dtype} {list(frame.color.shape)}"
        )
    if frame.depth is not None and tuple(frame.depth.shape) != size:
        raise ArgumentError(f"track_objects: the depth of frame {frame.name!r} is {list(frame.depth.shape)}, its colour {list(size)}")
    if camera.distortion is None and camera.projection == "perspective":
        return frame
    color = undistort_image(frame.color.float(), camera).round().clamp(0, 255).to(torch.uint8)
    depth = None if frame.depth is None else undistort_image(frame.depth[..., None].float(), camera, mode="nearest")[..., 0]
    return replace(frame, color=color, depth=depth)
