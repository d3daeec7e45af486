"""Follow known objects through a video: outline, depth and texture, frame after frame.

From the pose of the frame before (and how it moved), each frame is fitted coarse to fine: the outline by colour statistics on both sides of
it, the texture against a keyframe, and depth where there is any, in joint Gauss-Newton steps. An object whose outline is no longer found is
lost; it is looked for in the whole image until it is back (track_search.py).
Source: Stoiber et al. 2020 to 2022 (region based tracking: RBGT, SRT3D, ICG); Tjaden et al. 2018 for re-starts.
"""

from __future__ import annotations

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
from ..struct import TensorStruct
from .looks import learn_looks, unknown_looks
from .track_fit import (
    FrameFit,
    Knowledge,
    TrackModel,
    TrackOptions,
    explains_better,
    fit_frame,
    make_track_model,
    with_looks,
)
from .track_search import around, best_twin, elsewhere, search
from .track_state import TrackState, is_found, is_good, is_there, keep, learn_around
from .view import render_view

_LOST_AFTER = 24  # signs
_UNLIKE, _WEAK, _GONE = 1, 3, 9  # signs of loss: it fits badly, as behind something; too little of its outline is found; hardly any
_GONE_BELOW = 0.06  # trust
_CLEARLY_BETTER, _CLEARLY_FITS = 0.1, 1.15  # share of the outline; factor of quality
_FEWEST_PIXELS = 6.0
_TRY_TURN, _TRY_DEPTH = 0.1, 0.03  # radians; share of the distance: around the last pose, where each frame's fit also begins
_LONG, _NOW_AND_THEN = 20, 3  # doubtful frames in a row after which the whole image is searched too, and how often
_SELDOM = 6  # one in so many frames, other turns of a symmetric shape are tried
_KNOWN_LOOKS = 25.0  # grey levels: up to so much off, the mesh's own colours and the light do without earlier images
_LOOK_TURN, _LOOK_DEPTH, _FINALISTS = 0.17, 0.06, 3  # radians; share of the distance; how many of them go on


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
    looks = unknown_looks()
    if model.paint is not None:
        looks, _ = learn_looks(looks, frame.color, model.paint, view)
    knowledge = Knowledge(colors=learn_around(None, frame.color, view), looks=looks)
    state = TrackState(pose=pose, before=pose, trusted=pose, knowledge=knowledge, remembered=knowledge)
    stay = fit_frame(pose, frame, model, camera, knowledge, options, moves=False)
    moved = fit_frame(pose, frame, model, camera, knowledge, options)
    fit = moved if moved.confidence > stay.confidence + _CLEARLY_BETTER else stay
    fit = with_looks(fit, frame, model, looks)
    state = keep(state, fit, frame, model, options)
    return replace(state, before=state.pose), fit


def advance(state: TrackState, frame: VideoFrame, model: TrackModel, camera: Camera, options: TrackOptions) -> tuple[TrackState, FrameFit]:
    """Take in one more frame."""
    state = replace(state, age=state.age + 1)
    if state.lost:
        return search(state, frame, model, camera, options)
    fit = _follow(state, frame, model, camera, options)
    doubts = state.doubts + 1 if fit.rivals else 0
    state = replace(state, rivals=fit.rivals, doubts=doubts, unchecked=max(state.unchecked - 1, 0))
    fit = _compared(fit, state, frame, model, camera, options)
    if is_found(fit, state) if state.unchecked else is_there(fit, state):
        return keep(state, fit, frame, model, options), fit
    gone = fit.view is None or fit.trust < _GONE_BELOW
    missed = state.missed + (_GONE if gone else _WEAK if fit.is_weak or state.unchecked else _UNLIKE)
    if missed >= _LOST_AFTER:
        state = replace(
            state, missed=missed, lost=True, pose=state.trusted, before=state.trusted, knowledge=state.remembered, rivals=(), doubts=0
        )
        return state, replace(fit, support={"outline": 0.0})
    if gone:  # what was fitted is something else
        return replace(state, before=state.pose, missed=missed), replace(fit, pose=state.pose)
    return replace(state, pose=fit.pose, before=fit.pose, missed=missed), fit


def _follow(state: TrackState, frame: VideoFrame, model: TrackModel, camera: Camera, options: TrackOptions) -> FrameFit:
    """The fit of a frame; where that is doubtful, or the last one was, more beginnings are compared with more care: fits are local."""
    fit = None
    finish = lambda fit: with_looks(fit, frame, model, state.knowledge.looks)
    if not state.rivals:
        others = [_ahead(state), *around(state.pose, turn=_TRY_TURN, depth=_TRY_DEPTH)]
        fit = finish(fit_frame(state.pose, frame, model, camera, state.knowledge, options, others=others))
        if fit.view is None or is_good(fit, state):
            return fit
    others = [_ahead(state), *around(state.pose, turn=_LOOK_TURN, depth=_LOOK_DEPTH), *([] if fit is None else [fit.pose])]
    knowledge = state.knowledge
    if knowledge.looks.noise < _KNOWN_LOOKS:  # an earlier image may be what is wrong
        knowledge = replace(knowledge, keyframe=None)
    fit = finish(fit_frame(state.pose, frame, model, camera, knowledge, options, others=others, rivals=state.rivals, finalists=_FINALISTS))
    return replace(fit, rivals=()) if is_good(fit, state) else fit


def _compared(fit: FrameFit, state: TrackState, frame: VideoFrame, model: TrackModel, camera: Camera, options: TrackOptions) -> FrameFit:
    """The fit, or a better one from elsewhere in the image if there is reason to look there, or of another turn of a symmetric shape."""
    count = state.unchecked or (state.doubts if state.doubts >= _LONG else 1)
    if options.search and fit.view is not None and count % _NOW_AND_THEN == 0:
        other = elsewhere(state, frame, model, camera, options, part=count // _NOW_AND_THEN)
        if state.unchecked:
            is_better = is_found(other, state) and other.quality > _CLEARLY_FITS * fit.quality
        else:
            is_better = explains_better(other, fit, frame, model, camera, state.remembered)
        fit = other if is_better else fit
    if state.age % (_NOW_AND_THEN if state.unchecked else _SELDOM) == 0:
        fit = best_twin(fit, frame, model, camera, state.remembered, options)
    return fit


def _ahead(state: TrackState) -> Tensor:
    """The pose moved on as it last moved."""
    ahead = state.pose.clone()
    ahead[:3, :3] = state.pose[:3, :3] @ state.before[:3, :3].T @ state.pose[:3, :3]
    ahead[:3, 3] = 2 * state.pose[:3, 3] - state.before[:3, 3]
    return ahead if float(ahead[2, 3]) > 0 else state.pose


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
