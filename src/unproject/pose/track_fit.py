"""Fit an object's pose to one frame of a sequence, from a pose nearby: outline, texture and depth, coarse to fine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..errors import ArgumentError
from ..geometry.decimate import decimate
from ..geometry.mesh import Mesh
from ..geometry.normals import face_normals
from ..io.video import VideoFrame
from ..struct import TensorStruct
from .color_model import ColorModel
from .paint import Paint, make_paint, painted_view
from .texture_term import Keyframe, Pyramid, make_keyframe, make_pyramid, painted_pyramid, texture_term
from .track_terms import NormalEquations, depth_term, outline_term, step_motion
from .view import Contour, View, contour_of, render_view

_TURN = 0.35  # radians and diameters: how far one step may go
_SHIFT = 0.12
_LIKELY_TURN, _LIKELY_SHIFT = 0.12, 0.04  # the same units: how far objects move between frames
_REACH = (0.35, 0.2, 0.12, 0.08)  # diameters, of depth, stage by stage


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
class TrackModel(TensorStruct):
    """What a mesh is to the tracker: float32, around its centre, not too many faces."""

    mesh: Mesh
    coarse: Mesh
    normals: Tensor
    center: Tensor
    diameter: float
    paint: Paint | None


@dataclass(frozen=True, kw_only=True)
class Knowledge(TensorStruct):
    """What earlier frames taught: colours, and a keyframe of the texture if there is any."""

    colors: ColorModel
    keyframe: Keyframe | None


@dataclass(frozen=True, kw_only=True)
class FrameFit:
    """A fitted pose. `view` and `contour` are None where the pose shows nothing in the image."""

    pose: Tensor
    view: View | None
    contour: Contour | None
    covariance: Tensor
    support: Mapping[str, float] = field(default_factory=dict)

    @property
    def confidence(self) -> float:
        return self.support.get("outline", 0.0)


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


def fit_frame(
    start: Tensor, frame: VideoFrame, model: TrackModel, camera: Camera, knowledge: Knowledge, options: TrackOptions, *, moves: bool = True
) -> FrameFit:
    """Refine a pose [4, 4] float64 of the centred mesh on one frame.

    Args:
        camera: perspective, at the identity pose.
        moves: False only measures what supports the pose as it is.
    """
    pose, keys, total, support = start, None, None, {}
    view, contour = None, None
    moved, prior = torch.zeros(6, dtype=torch.float64), _prior(model.diameter)
    for stage, share in enumerate(options.stages):
        if stage % 2 == 0:
            view = render_view(model.mesh, camera, pose.float(), resolution=options.resolution)
            contour = None if view is None else contour_of(view, count=options.outline_points)
        if view is None or contour is None:
            break
        if keys is None and options.texture:
            keys = _Keys(frame, knowledge, model, view, pose)
        step_px = max(1, round(share * max(view.mask.shape) / view.scale))
        for _ in range(2):
            terms = _terms(pose, frame, knowledge, model, camera, view, contour, step=step_px, stage=stage)
            if keys is not None:
                terms |= keys.terms(pose, camera, level=max(0, min(2, len(options.stages) - 2 - stage)))
            support = {name: term.support or 0.0 for name, term in terms.items()}
            total = sum(terms.values(), start=NormalEquations(hessian=prior, gradient=-prior @ moved))
            if moves:
                step = _solve(total, model.diameter)
                pose, moved = step_motion(step, pose[:3, 3]) @ pose, moved + step
    if view is None or total is None:
        return FrameFit(pose=pose, view=None, contour=None, covariance=torch.full((6, 6), torch.inf, dtype=torch.float64))
    seen = replace(view, camera_from_object=pose.float())  # after the last small steps it would hardly look different
    return FrameFit(pose=pose, view=seen, contour=contour, covariance=torch.linalg.inv(total.hessian), support=support)


def _terms(
    pose: Tensor, frame: VideoFrame, knowledge: Knowledge, model: TrackModel, camera: Camera, view: View, contour: Contour,
    *, step: int, stage: int,
) -> dict[str, NormalEquations]:  # fmt: skip
    """What the outline says, and depth where there is any."""
    here, center = pose.float(), pose[:3, 3].float()
    terms = {"outline": outline_term(frame.color, knowledge.colors, contour, camera, here, center, step=step)}
    if frame.depth is not None:
        reach = _REACH[min(stage, len(_REACH) - 1)] * model.diameter
        terms["depth"] = depth_term(frame.depth, view, model.normals, camera, here, center, reach=reach)
    return terms


class _Keys:
    """What the frame's brightness is compared with: an earlier image ("texture"), and the mesh's own colours ("paint")."""

    def __init__(self, frame: VideoFrame, knowledge: Knowledge, model: TrackModel, view: View, pose: Tensor):
        self.pyramid: Pyramid = make_pyramid(frame.color, view)
        self.keyframes = {} if knowledge.keyframe is None else {"texture": knowledge.keyframe}
        if model.paint is not None:
            seen, grey = painted_view(model.paint, view, pose.float())
            painted = make_keyframe(painted_pyramid(frame.color, seen, grey), seen)
            if painted is not None:
                self.keyframes["paint"] = painted

    def terms(self, pose: Tensor, camera: Camera, *, level: int) -> dict[str, NormalEquations]:
        here, center = pose.float(), pose[:3, 3].float()
        return {name: texture_term(self.pyramid, key, camera, here, center, level=level) for name, key in self.keyframes.items()}


def _solve(equations: NormalEquations, diameter: float) -> Tensor:
    """The step [6], of limited length."""
    step = torch.linalg.solve(equations.hessian, equations.gradient)
    if not bool(torch.isfinite(step).all()):
        return torch.zeros_like(step)
    limit = torch.tensor([_SHIFT * diameter] * 3 + [_TURN] * 3, dtype=torch.float64)
    return step / max(1.0, float((step.abs() / limit).max()))


def _prior(diameter: float) -> Tensor:
    """Objects move little from one frame to the next, which decides where the data does not (about the axis of a bottle): its Hessian."""
    return torch.diag(torch.tensor([(_LIKELY_SHIFT * diameter) ** -2] * 3 + [_LIKELY_TURN**-2] * 3, dtype=torch.float64))
