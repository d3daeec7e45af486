"""Fit an object's pose to one frame of a sequence, from a pose nearby: outline, texture and depth, coarse to fine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from .covered import covered_pixels, is_covered
from .light import learn_light
from .paint import Paint, coarse_paint, coat_of, make_paint, painted_view, seen_grey
from .texture_term import LEVELS, Keyframe, make_keyframe, make_pyramid
from .track_terms import Evidence, fit_terms
from .view import Contour, View, contour_of, render_view, surface_of

_REACH = (0.35, 0.2, 0.12, 0.08)  # diameters, of depth, stage by stage
_SURFACE_POINTS = 300
_STEPS = 2  # a stage
_BETTER = 1.03  # by so much another beginning must fit better to be followed
_MUCH_ALIKE = 0.8  # correlation with the paint from which on it tells what is in front of the object
_DOUBT = (1.0, 1.0, 2.0, 2.0)  # of lines that disagree with most, stage by stage


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
    face_count: int = 8000
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
    coarse_paint: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Knowledge(TensorStruct):
    """What earlier frames taught: colours, a keyframe of the texture if there is any, and the light [9] once it is known.

    likeness: correlation of the paint with the last image that was trusted.
    """

    colors: ColorModel
    keyframe: Keyframe | None
    light: Tensor | None = None
    likeness: float = 0.0


@dataclass(frozen=True, kw_only=True)
class FrameFit:
    """A fitted pose. `view` is None where the pose shows nothing in the image; the rest is as in `Evidence`."""

    pose: Tensor
    view: View | None
    covariance: Tensor
    covered: Tensor | None = None
    visible: float = 1.0
    support: Mapping[str, float] = field(default_factory=dict)

    @property
    def confidence(self) -> float:
        return self.support.get("outline", 0.0)

    @property
    def score(self) -> float:
        return score_of(self.support)

    @property
    def trust(self) -> float:
        """How surely the object is there: by its outline, or where that is hard to tell by its own colours."""
        return max(self.confidence, self.support.get("paint", 0.0) * self.visible)

    @property
    def likeness(self) -> float:
        return likeness_of(self.support)


def score_of(support: Mapping[str, float]) -> float:
    """How well a pose explains its frame: its outline, and more if the inside looks as it should."""
    return support.get("outline", 0.0) + max(likeness_of(support), 0.0)


def likeness_of(support: Mapping[str, float]) -> float:
    """How like what it should be the inside of the outline looks; 1 where there is nothing to compare."""
    return support.get("paint", support.get("texture", 1.0))


def make_track_model(mesh: Mesh, options: TrackOptions) -> TrackModel:
    """Prepare a mesh once."""
    if mesh.face_count == 0:
        raise ArgumentError("track_objects: the mesh has no faces")
    center = ((mesh.vertices.amax(0) + mesh.vertices.amin(0)) / 2).double()
    bare = Mesh(vertices=(mesh.vertices.double() - center).float(), faces=mesh.faces)
    is_whole = bare.face_count <= options.face_count
    if not is_whole:
        bare = decimate(bare, options.face_count)
    coarse = decimate(bare, 400) if bare.face_count > 400 else bare
    diameter = float((bare.vertices.amax(0) - bare.vertices.amin(0)).norm())
    if not diameter > 0:
        raise ArgumentError("track_objects: all vertices of the mesh are in one place")
    paint = make_paint(mesh, center, is_whole=is_whole) if options.texture else None
    return TrackModel(
        mesh=bare,
        coarse=coarse,
        normals=face_normals(bare.vertices, bare.faces),
        center=center,
        diameter=diameter,
        paint=paint,
        coarse_paint=None if paint is None else coarse_paint(paint, coarse),
    )


def fit_frame(
    start: Tensor, frame: VideoFrame, model: TrackModel, camera: Camera, knowledge: Knowledge, options: TrackOptions, *,
    moves: bool = True, spread: float = 1.0, others: Sequence[Tensor] = (),
) -> FrameFit:  # fmt: skip
    """Refine a pose [4, 4] float64 of the centred mesh on one frame.

    Args:
        camera: perspective, at the identity pose.
        moves: False only measures what supports the pose as it is.
        spread: as in `fit_terms`.
        others: poses not far from `start` to begin at too; one that fits clearly better after the first stage goes on.
    """
    pose, moved = start, torch.zeros(6, dtype=torch.float64)
    view, evidence, result = None, None, None
    for stage, share in enumerate(options.stages):
        if stage % 2 == 0:
            view = render_view(model.mesh, camera, pose.float(), resolution=options.resolution)
            if view is None:
                break
            evidence = _evidence(frame, knowledge, model, view, options)
        assert view is not None and evidence is not None
        level = max(0, min(LEVELS - 1, len(options.stages) - 2 - stage))
        reach = _REACH[min(stage, len(_REACH) - 1)] * model.diameter
        stride = max(1, round(share * max(view.mask.shape) / view.scale))
        results = [
            fit_terms(
                begin, moved, frame, knowledge.colors, evidence, camera, diameter=model.diameter, stride=stride, level=level, reach=reach,
                steps=_STEPS if moves else 0, spread=spread, doubt=_DOUBT[min(stage, len(_DOUBT) - 1)],
            )
            for begin in ((pose, *others) if stage == 0 else (pose,))
        ]  # fmt: skip
        result = max(results, key=lambda r: score_of(r.support))
        if score_of(result.support) < _BETTER * score_of(results[0].support):
            result = results[0]
        pose, moved = result.pose, result.moved
    if view is None or evidence is None or result is None:
        return FrameFit(pose=pose, view=None, covariance=torch.full((6, 6), torch.inf, dtype=torch.float64))
    seen = replace(view, camera_from_object=pose.float())  # after the last small steps it would hardly look different
    return FrameFit(
        pose=pose,
        view=seen,
        covariance=result.covariance,
        covered=evidence.covered,
        visible=evidence.visible,
        support=result.support,
    )


def _evidence(frame: VideoFrame, knowledge: Knowledge, model: TrackModel, view: View, options: TrackOptions) -> Evidence:
    """What the frame is compared with where the view shows the object, and nothing is in front of it."""
    contour = contour_of(view, count=options.outline_points)
    surface = None if frame.depth is None else surface_of(view, model.normals, count=_SURFACE_POINTS)
    painted = None if model.paint is None else painted_view(coat_of(model.paint, view), knowledge.light)
    expected = None if knowledge.light is None or knowledge.keyframe is not None else painted
    covered = covered_pixels(frame.color, view, knowledge.colors, expected, surely=knowledge.likeness > _MUCH_ALIKE)
    free = ~is_covered(contour.rows[:, :3], covered, view)
    visible = float(free.float().mean()) if len(free) else 0.0
    evidence = Evidence(contour=Contour(rows=contour.rows[free]), surface=surface, visible=visible, covered=covered)
    if not options.texture:
        return evidence
    paint = None
    if painted is not None:
        paint = _uncovered(make_keyframe(make_pyramid(frame.color, view, paint=painted), view), covered, view)
    texture = _uncovered(knowledge.keyframe, covered, view)
    return replace(evidence, pyramid=make_pyramid(frame.color, view), texture=texture, paint=paint)


def _uncovered(points: Keyframe | None, covered: Tensor, view: View) -> Keyframe | None:
    """Those that nothing is in front of."""
    return None if points is None else replace(points, rows=points.rows[~is_covered(points.rows[:, :3], covered, view)])


def light_seen(before: Tensor | None, frame: VideoFrame, model: TrackModel, view: View) -> Tensor | None:
    """The light by which a frame looks as a view shows the object, from what was known before."""
    if model.paint is None:
        return None
    coat = coat_of(model.paint, view)
    seen, index = seen_grey(frame.color, view, coat)
    return learn_light(before, coat.grey[index], coat.normals[index], seen)
