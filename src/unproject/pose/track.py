"""Follow known objects through a video: outline, depth and texture, frame after frame.

From the pose of the frame before (and how it moved), each frame is fitted coarse to fine: the outline by colour statistics on both sides of
it, the texture against a keyframe, and depth where there is any, in joint Gauss-Newton steps. An object whose outline is no longer found is
lost; it is looked for in the whole image until it is back (relocate.py).
Source: Stoiber et al. 2020 to 2022 (region based tracking: RBGT, SRT3D, ICG); Tjaden et al. 2018 for re-starts.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..camera.camera import Camera, check_camera, check_rigid
from ..camera.undistortion import undistort_image, undistorted_camera
from ..errors import ArgumentError, DataError
from ..geometry.decimate import decimate
from ..geometry.mesh import Mesh
from ..geometry.normals import face_normals
from ..lie.so3 import so3_exp, so3_log
from ..struct import TensorStruct
from .color_model import ColorModel, learn_colors
from .paint import Paint, make_paint, painted_view
from .relocate import relocate
from .texture_term import Keyframe, Pyramid, make_keyframe, make_pyramid, painted_pyramid, texture_term
from .track_terms import NormalEquations, depth_term, outline_term, step_motion
from .view import Contour, View, contour_of, render_view

_TURN = 0.35  # radians and diameters: how far one step may go
_SHIFT = 0.12
_LIKELY_TURN, _LIKELY_SHIFT = 0.12, 0.04  # the same units: how far objects move between frames
_REACH = (0.35, 0.2, 0.12, 0.08)  # diameters, of depth, stage by stage
_NEW_KEYFRAME_DEG = 12.0
_NEW_VIEW_DEG = 25.0
_GALLERY = 12
_LOST_AFTER = 8
_LOST_BELOW = 0.25
_LEARN_ABOVE = 0.5
_LEARNING_RATE = 0.1
_SURROUNDINGS = 0.5  # of the object's size in the image: how far around it colours are learnt


@dataclass(frozen=True, kw_only=True)
class VideoFrame(TensorStruct):
    """One image of a sequence.

    Attributes:
        name: of the file, or the frame's number.
        color: [H, W, 3] uint8.
        depth: [H, W] camera z in the mesh's unit, 0 where nothing was measured, or None.
    """

    name: str
    color: Tensor
    depth: Tensor | None = None


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
class TrackOptions:
    """How to track.

    Attributes:
        stages: step of the outline's segments as a share of the object's size in the image, coarse to fine; each may begin a new rendering.
        outline_points: points on the outline.
        resolution: of the rendering, pixels across the object.
        face_count: meshes with more faces are decimated to so many.
        texture: whether brightness inside of the outline is used.
        search: whether lost objects are looked for.
    """

    stages: tuple[float, ...] = (0.04, 0.02, 0.01, 0.005)
    outline_points: int = 200
    resolution: int = 160
    face_count: int = 5000
    texture: bool = True
    search: bool = True


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
class TrackModel(TensorStruct):
    """What a mesh is to the tracker: float32, around its centre, not too many faces."""

    mesh: Mesh
    coarse: Mesh
    normals: Tensor
    center: Tensor
    diameter: float
    paint: Paint | None


@dataclass(frozen=True, kw_only=True)
class TrackState(TensorStruct):
    """What is carried from frame to frame. Poses are float64 [4, 4] of the centred mesh."""

    pose: Tensor
    before: Tensor
    colors: ColorModel | None = None
    contour: Contour | None = None
    keyframe: Keyframe | None = None
    gallery: tuple[Keyframe, ...] = ()
    seen: tuple[Tensor, ...] = ()
    missed: int = 0
    lost: bool = False


@dataclass(frozen=True, kw_only=True)
class _Fit:
    pose: Tensor
    view: View | None
    contour: Contour | None
    covariance: Tensor
    support: Mapping[str, float] = field(default_factory=dict)

    @property
    def confidence(self) -> float:
        return self.support.get("outline", 0.0)


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
    states = [start_state(model, target.camera_from_object) for model, target in zip(models, targets)]
    flat = replace(
        flat, near=min([flat.near, *(0.05 * m.diameter for m in models)]), far=max([flat.far, *(1e3 * m.diameter for m in models)])
    )
    for index, frame in enumerate(frames):
        frame = _flat_frame(frame, camera)
        steps = []
        for k, (model, target) in enumerate(zip(models, targets)):
            begin = time.perf_counter()
            states[k], fit = advance(states[k], frame, model, flat, settings, first=index == 0, name=target.name)
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


def make_track_model(mesh: Mesh, options: TrackOptions) -> TrackModel:
    """Prepare a mesh once."""
    if mesh.face_count == 0:
        raise ArgumentError("track_objects: the mesh has no faces")
    center = ((mesh.vertices.amax(0) + mesh.vertices.amin(0)) / 2).double()
    bare = Mesh(vertices=(mesh.vertices.double() - center).float(), faces=mesh.faces)
    if bare.face_count > options.face_count:
        bare = decimate(bare, options.face_count)
    coarse = decimate(bare, 400) if bare.face_count > 400 else bare
    diameter = float((bare.vertices.amax(0) - bare.vertices.amin(0)).norm())
    if not diameter > 0:
        raise ArgumentError("track_objects: all vertices of the mesh are in one place")
    return TrackModel(
        mesh=bare,
        coarse=coarse,
        normals=face_normals(bare.vertices, bare.faces),
        center=center,
        diameter=diameter,
        paint=make_paint(mesh, center) if options.texture else None,
    )


def start_state(model: TrackModel, camera_from_object: Tensor) -> TrackState:
    """The state before the first frame."""
    pose = check_rigid(camera_from_object.detach().double(), name="camera_from_object", where="track_objects").clone()
    pose[:3, 3] += pose[:3, :3] @ model.center
    return TrackState(pose=pose, before=pose)


def advance(
    state: TrackState, frame: VideoFrame, model: TrackModel, camera: Camera, options: TrackOptions, *, first: bool, name: str
) -> tuple[TrackState, _Fit]:
    """Take in one frame."""
    if first:
        view = render_view(model.mesh, camera, state.pose.float(), resolution=options.resolution)
        if view is None:
            raise DataError(
                f"track_objects: the start pose puts {name!r} behind the camera or outside of the image; is its unit the mesh's?"
            )
        state = replace(state, colors=_learn(None, frame.color, view), contour=contour_of(view, count=options.outline_points))
    if state.lost:
        return _search(state, frame, model, camera, options)
    fit = _fit(_predicted(state, frame, camera), state, frame, model, camera, options)
    if first:
        fit = _start_fit(fit, state, frame, model, camera, options)
    missed = state.missed + 1 if fit.confidence < _LOST_BELOW or fit.view is None else 0
    if first or missed == 0:
        return _keep(state, fit, frame, options), fit
    if missed >= _LOST_AFTER or fit.view is None:
        back = state.seen[0] if state.seen else state.pose  # where it was last seen well
        return replace(state, missed=missed, lost=True, pose=back, before=back), replace(fit, support={"outline": 0.0})
    return replace(state, pose=fit.pose, before=fit.pose, missed=missed, contour=fit.contour or state.contour), fit


def _start_fit(fit: _Fit, state: TrackState, frame: VideoFrame, model: TrackModel, camera: Camera, options: TrackOptions) -> _Fit:
    """The first frame's: the start pose itself, unless another one nearby explains the outline clearly better."""
    stay = _fit(state.pose, state, frame, model, camera, options, moves=False)
    return stay if stay.confidence > fit.confidence - 0.1 else fit


def _keep(state: TrackState, fit: _Fit, frame: VideoFrame, options: TrackOptions) -> TrackState:
    """The state after a frame that was fitted: colours and keyframes are learnt where the fit is trusted."""
    state = replace(state, before=state.pose, pose=fit.pose, contour=fit.contour or state.contour, missed=0, lost=False)
    if fit.view is None or fit.confidence < _LEARN_ABOVE:
        return state
    state = replace(state, colors=_learn(state.colors, frame.color, fit.view), seen=(fit.pose, *state.seen)[:1])
    if not options.texture:
        return state
    old = state.keyframe
    stale = old is None or _angle_deg(old.camera_from_object, fit.pose) > _NEW_KEYFRAME_DEG or fit.support.get("texture", 0.0) < 0.3
    if not stale:
        return state
    fresh = make_keyframe(make_pyramid(frame.color, fit.view), fit.view)
    if fresh is None:
        return state
    is_new = all(_angle_deg(k.camera_from_object, fit.pose) > _NEW_VIEW_DEG for k in state.gallery)
    return replace(state, keyframe=fresh, gallery=(fresh, *state.gallery)[:_GALLERY] if is_new else state.gallery)


def _search(state: TrackState, frame: VideoFrame, model: TrackModel, camera: Camera, options: TrackOptions) -> tuple[TrackState, _Fit]:
    """Look for a lost object; it is found where a hypothesis is confirmed by its outline and, if it has one, its texture."""
    nothing = _Fit(pose=state.pose, view=None, contour=None, covariance=torch.full((6, 6), torch.inf, dtype=torch.float64))
    if not options.search or state.colors is None:
        return state, nothing
    best = nothing
    rotations = torch.stack([state.pose[:3, :3], *(k.camera_from_object[:3, :3].double() for k in state.gallery)])
    for pose in relocate(frame.color, state.colors, model.coarse, camera, rotations, around=state.pose):
        near = min(state.gallery, key=lambda k: _angle_deg(k.camera_from_object, pose), default=None)
        fit = _fit(pose, replace(state, keyframe=near), frame, model, camera, options)
        score = fit.confidence * (0.5 + 0.5 * max(fit.support.get("texture", 0.0), 0.0))
        if fit.view is not None and score > best.confidence * (0.5 + 0.5 * max(best.support.get("texture", 0.0), 0.0)):
            best = fit
    found = best.confidence > 0.6 and best.support.get("texture", 1.0) > 0.35
    if not found:
        return state, nothing
    state = replace(state, keyframe=None)
    return _keep(replace(state, pose=best.pose), best, frame, options), best


def _fit(
    start: Tensor, state: TrackState, frame: VideoFrame, model: TrackModel, camera: Camera, options: TrackOptions, *, moves: bool = True
) -> _Fit:
    """Refine a pose on one frame, coarse to fine."""
    pose, view, keys, total, support = start, None, None, None, {}
    for stage, share in enumerate(options.stages):
        if stage % 2 == 0:
            view = render_view(model.mesh, camera, pose.float(), resolution=options.resolution)
            if view is None:
                break
            contour = contour_of(view, count=options.outline_points)
            size = max(view.mask.shape) / view.scale
        if keys is None:
            keys = _Keys(frame, state, model, view, pose) if options.texture else None  # type: ignore[arg-type]
        for _ in range(2):
            terms = _terms(pose, frame, state, model, camera, view, contour, step=max(1, round(share * size)), stage=stage)  # type: ignore[arg-type]
            if keys is not None:
                terms |= keys.terms(pose, camera, level=max(0, min(2, len(options.stages) - 2 - stage)))
            support = {name: term.support or 0.0 for name, term in terms.items()}
            total = sum(terms.values(), start=_prior(pose, start, model.diameter))
            pose = _solve(total, pose, model.diameter) if moves else pose
    if view is None or total is None:
        return _Fit(pose=pose, view=None, contour=None, covariance=torch.full((6, 6), torch.inf, dtype=torch.float64))
    seen = replace(view, camera_from_object=pose.float())  # after the last small steps it would hardly look different
    return _Fit(pose=pose, view=seen, contour=contour, covariance=torch.linalg.inv(total.hessian), support=support)


def _terms(
    pose: Tensor, frame: VideoFrame, state: TrackState, model: TrackModel, camera: Camera, view: View, contour: Contour,
    *, step: int, stage: int,
) -> dict[str, NormalEquations]:  # fmt: skip
    """What the outline says, and depth where there is any."""
    assert state.colors is not None
    here, center = pose.float(), pose[:3, 3].float()
    terms = {"outline": outline_term(frame.color, state.colors, contour, camera, here, center, step=step)}
    if frame.depth is not None:
        reach = _REACH[min(stage, len(_REACH) - 1)] * model.diameter
        terms["depth"] = depth_term(frame.depth, view, model.normals, camera, here, center, reach=reach)
    return terms


class _Keys:
    """What the frame's brightness is compared with: an earlier image ("texture"), and the mesh's own colours ("paint")."""

    def __init__(self, frame: VideoFrame, state: TrackState, model: TrackModel, view: View, pose: Tensor):
        self.pyramid: Pyramid = make_pyramid(frame.color, view)
        self.keyframes = {} if state.keyframe is None else {"texture": state.keyframe}
        if model.paint is not None:
            seen, grey = painted_view(model.paint, view, pose.float())
            painted = make_keyframe(painted_pyramid(frame.color, seen, grey), seen)
            if painted is not None:
                self.keyframes["paint"] = painted

    def terms(self, pose: Tensor, camera: Camera, *, level: int) -> dict[str, NormalEquations]:
        here, center = pose.float(), pose[:3, 3].float()
        return {name: texture_term(self.pyramid, key, camera, here, center, level=level) for name, key in self.keyframes.items()}


def _solve(equations: NormalEquations, pose: Tensor, diameter: float) -> Tensor:
    step = torch.linalg.solve(equations.hessian, equations.gradient)
    if not bool(torch.isfinite(step).all()):
        return pose
    limit = torch.tensor([_SHIFT * diameter] * 3 + [_TURN] * 3, dtype=torch.float64)
    step = step / max(1.0, float((step.abs() / limit).max()))
    return step_motion(step, pose[:3, 3]) @ pose


def _prior(pose: Tensor, start: Tensor, diameter: float) -> NormalEquations:
    """Objects move little from one frame to the next, which decides where the data does not (about the axis of a bottle)."""
    weight = torch.tensor([(_LIKELY_SHIFT * diameter) ** -2] * 3 + [_LIKELY_TURN**-2] * 3, dtype=torch.float64)
    moved = torch.cat([pose[:3, 3] - start[:3, 3], so3_log(pose[:3, :3] @ start[:3, :3].T)])
    return NormalEquations(hessian=torch.diag(weight), gradient=-weight * moved)


def _predicted(state: TrackState, frame: VideoFrame, camera: Camera) -> Tensor:
    """The pose before, or moved on as it last moved, whichever fits the outline better."""
    if state.contour is None or state.colors is None:
        return state.pose
    turn = so3_exp(so3_log(state.pose[:3, :3] @ state.before[:3, :3].T))
    ahead = state.pose.clone()
    ahead[:3, :3] = turn @ state.pose[:3, :3]
    ahead[:3, 3] = 2 * state.pose[:3, 3] - state.before[:3, 3]
    if float(ahead[2, 3]) <= 0:
        return state.pose
    scores = []
    for pose in (state.pose, ahead):
        term = outline_term(frame.color, state.colors, state.contour, camera, pose.float(), pose[:3, 3].float(), step=3)
        scores.append(term.support or 0.0)
    return ahead if scores[1] >= scores[0] else state.pose


def _learn(colors: ColorModel | None, image: Tensor, view: View) -> ColorModel:
    """Learn from the image around the object: what the view shows, and its surroundings; pixels at the outline are left out."""
    mask = view.mask.float()[None, None]
    inner = (-torch.nn.functional.max_pool2d(-mask, 3, stride=1, padding=1))[0, 0] > 0
    outer = torch.nn.functional.max_pool2d(mask, 5, stride=1, padding=2)[0, 0] == 0
    size = view.corner.new_tensor([view.mask.shape[1], view.mask.shape[0]]) / view.scale
    border = view.corner.new_tensor([image.shape[1], image.shape[0]])
    low, high = (
        (view.corner - _SURROUNDINGS * size.max()).clamp(min=0),
        torch.minimum(view.corner + (1 + _SURROUNDINGS) * size.max(), border),
    )
    x, y = (torch.arange(float(a), float(b), step=1 / view.scale) + 0.5 for a, b in zip(low, high))
    column, row = (((v - c) * view.scale).floor().long() for v, c in zip((x, y), view.corner))
    inside_crop = ((row >= 0) & (row < mask.shape[2]))[:, None] & ((column >= 0) & (column < mask.shape[3]))
    row, column = row.clamp(0, mask.shape[2] - 1), column.clamp(0, mask.shape[3] - 1)
    part = image[y.long().clamp(max=image.shape[0] - 1)[:, None], x.long().clamp(max=image.shape[1] - 1)]
    shows, misses = inner[row[:, None], column] & inside_crop, outer[row[:, None], column] | ~inside_crop
    return learn_colors(colors, part, shows, misses, rate=_LEARNING_RATE)


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
