"""Fit an object's pose to one frame of a sequence, from a pose nearby: outline, texture and depth, coarse to fine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..errors import ArgumentError
from ..geometry.decimate import decimate
from ..geometry.mesh import Mesh
from ..geometry.normals import face_normals
from ..io.video import VideoFrame
from ..lie.so3 import so3_log
from ..struct import TensorStruct
from .bake import bake_paint
from .color_model import ColorModel
from .covered import covered_pixels, is_covered
from .judge import explained
from .looks import Looks, learn_looks, painted_view
from .object_model import make_object_model
from .paint import Paint, coarse_paint, coat_of, make_paint
from .symmetry import find_symmetries
from .texture_term import LEVELS, Keyframe, make_keyframe, make_pyramid
from .track_terms import Evidence, TermsFit, fit_terms, precision_of_motion
from .view import Contour, View, contour_of, render_view, surface_of

_REACH = (0.35, 0.2, 0.12, 0.08)  # diameters, of depth, stage by stage
_SURFACE_POINTS = 300
_STEPS = 2  # a stage
_PIXELS = 100.0  # what an image of the object is worth: neighbouring pixels know the same
_SURPRISE = 10.0  # nats
_MEMORY = 0.8  # share of that difference that is kept for the next frame
_WEAK_BELOW = 0.25  # trust
_BETTER = 1.03  # by so much another beginning must fit better to be followed
_TWINS_APART = 0.45  # radians: nearer ones are tried for each frame anyway, and an axis of revolution would have many
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
    """What a mesh is to the tracker: float32, around its centre, not too many faces.

    twins: [T, 4, 4] float64 turns after which the shape, but not its colours, is where it was; the identity first.
    """

    mesh: Mesh
    coarse: Mesh
    normals: Tensor
    center: Tensor
    diameter: float
    paint: Paint | None
    coarse_paint: Tensor | None
    twins: Tensor


@dataclass(frozen=True, kw_only=True)
class Knowledge(TensorStruct):
    """What earlier frames taught: colours, how the object looks, and a keyframe of its texture if there is any."""

    colors: ColorModel
    looks: Looks
    keyframe: Keyframe | None = None


@dataclass(frozen=True, kw_only=True)
class Rival:
    """A pose [4, 4] that explains a frame less well than the best, by -`worth` in log posterior."""

    pose: Tensor
    worth: float


@dataclass(frozen=True, kw_only=True)
class FrameFit:
    """A fitted pose. `view` is None where the pose shows nothing in the image; the rest is as in `Evidence`.

    looks: of the object at this pose; alike: share of its pixels that look so.
    """

    pose: Tensor
    view: View | None
    covariance: Tensor
    covered: Tensor | None = None
    visible: float = 1.0
    support: Mapping[str, float] = field(default_factory=dict)
    rivals: tuple[Rival, ...] = ()
    looks: Looks | None = None
    alike: float = 1.0

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
    def is_weak(self) -> bool:
        """Whether too little of the object is found, however it usually looks."""
        return self.view is None or self.trust < _WEAK_BELOW

    @property
    def quality(self) -> float:
        """How well the pose fits, by its outline and by how the object looks; 0 if it is weak."""
        return 0.0 if self.is_weak else self.score * self.alike

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
    paint = make_paint(mesh, center) if options.texture else None
    if bare.face_count > options.face_count:
        bare = decimate(bare, options.face_count)
        paint = None if paint is None else bake_paint(paint, bare)
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
        paint=paint,
        coarse_paint=None if paint is None else coarse_paint(paint, coarse),
        twins=torch.eye(4, dtype=torch.float64)[None] if paint is None or paint.is_plain else _twins(mesh, center),
    )


def _twins(mesh: Mesh, center: Tensor) -> Tensor:
    """[T, 4, 4] symmetries of the shape of a mesh after it was moved by -center [3], the identity first; some of those near each other."""
    motions = find_symmetries(make_object_model(mesh), ignore_colors=True).motions.clone()
    motions[:, :3, 3] += motions[:, :3, :3] @ center - center
    apart = [motions[0]]
    for motion in motions[1:]:
        turns = torch.stack([motion[:3, :3] @ other[:3, :3].T for other in apart])
        if float(so3_log(turns).norm(dim=1).min()) > _TWINS_APART:
            apart.append(motion)
    return torch.stack(apart)


def fit_frame(
    start: Tensor, frame: VideoFrame, model: TrackModel, camera: Camera, knowledge: Knowledge, options: TrackOptions, *,
    moves: bool = True, spread: float = 1.0, others: Sequence[Tensor] = (), rivals: Sequence[Rival] = (), finalists: int = 0,
) -> FrameFit:  # fmt: skip
    """Refine a pose [4, 4] float64 of the centred mesh on one frame.

    Args:
        camera: perspective, at the identity pose.
        moves: False only measures what supports the pose as it is.
        spread: as in `fit_terms`.
        others: poses not far from `start` to begin at too; one that fits clearly better after the first stage goes on.
        rivals: of the frame before, which begin at their own poses.
        finalists: if not 0, so many go on that then explain most pixels, and of these the one that does so in the end is taken.
    """
    view = render_view(model.mesh, camera, start.float(), resolution=options.resolution)
    if view is None:
        return FrameFit(pose=start, view=None, covariance=torch.full((6, 6), torch.inf, dtype=torch.float64))
    stages = _Stages(frame=frame, model=model, camera=camera, knowledge=knowledge, options=options, moves=moves, spread=spread)
    evidence = _evidence(frame, knowledge, model, view, options)
    begun = [
        stages.fit(0, pose, torch.zeros(6, dtype=torch.float64), view, evidence) for pose in (start, *others, *(r.pose for r in rivals))
    ]
    if finalists == 0:
        best = max(begun, key=lambda r: score_of(r.support))
        return stages.finish(best if score_of(best.support) > _BETTER * score_of(begun[0].support) else begun[0], view, evidence)
    worth = partial(_worth, frame=frame, model=model, camera=camera, knowledge=knowledge, evidence=evidence, view=view)
    expected = [start] * (1 + len(others)) + [r.pose for r in rivals]
    handicap = torch.tensor([0.0] * (1 + len(others)) + [r.worth for r in rivals], dtype=torch.float64)
    chosen = (worth([r.pose for r in begun], expected) + handicap).argsort(descending=True)[:finalists]
    fits = [stages.finish(begun[k], view, evidence) for k in chosen.tolist()]
    if len(fits) == 1:
        return fits[0]
    worths = worth([f.pose for f in fits], [expected[k] for k in chosen.tolist()]) + handicap[chosen]
    first, *rest = worths.argsort(descending=True).tolist()
    left = tuple(Rival(pose=fits[k].pose, worth=_MEMORY * float(worths[k] - worths[first])) for k in rest)
    return replace(fits[first], rivals=left)


@dataclass(frozen=True, kw_only=True)
class _Stages:
    """The stages of a fit, on one frame."""

    frame: VideoFrame
    model: TrackModel
    camera: Camera
    knowledge: Knowledge
    options: TrackOptions
    moves: bool
    spread: float

    def fit(self, stage: int, pose: Tensor, moved: Tensor, view: View, evidence: Evidence) -> TermsFit:
        """One of them, coarse to fine."""
        level = max(0, min(LEVELS - 1, len(self.options.stages) - 2 - stage))
        reach = _REACH[min(stage, len(_REACH) - 1)] * self.model.diameter
        stride = max(1, round(self.options.stages[stage] * max(view.mask.shape) / view.scale))
        return fit_terms(
            pose, moved, self.frame, self.knowledge.colors, evidence, self.camera, diameter=self.model.diameter, stride=stride, level=level,
            reach=reach, steps=_STEPS if self.moves else 0, spread=self.spread, doubt=_DOUBT[min(stage, len(_DOUBT) - 1)],
        )  # fmt: skip

    def finish(self, result: TermsFit, view: View, evidence: Evidence) -> FrameFit:
        """The stages after the first one; each other one begins with a new rendering."""
        for stage in range(1, len(self.options.stages)):
            if stage % 2 == 0:
                fresh = render_view(self.model.mesh, self.camera, result.pose.float(), resolution=self.options.resolution)
                if fresh is None:
                    return FrameFit(pose=result.pose, view=None, covariance=torch.full((6, 6), torch.inf, dtype=torch.float64))
                view, evidence = fresh, _evidence(self.frame, self.knowledge, self.model, fresh, self.options)
            result = self.fit(stage, result.pose, result.moved, view, evidence)
        seen = replace(view, camera_from_object=result.pose.float())  # after the last small steps it would hardly look different
        return FrameFit(
            pose=result.pose, view=seen, covariance=result.covariance, covered=evidence.covered, visible=evidence.visible,
            support=result.support,
        )  # fmt: skip


def _worth(
    poses: Sequence[Tensor], expected: Sequence[Tensor], *, frame: VideoFrame, model: TrackModel, camera: Camera, knowledge: Knowledge,
    evidence: Evidence, view: View,
) -> Tensor:  # fmt: skip
    """[N] log posterior of poses: how well they explain the frame where the view shows it uncovered, and how far off they are."""
    assert evidence.covered is not None
    stack, before = torch.stack(list(poses)), torch.stack(list(expected))
    worths = worth_of(stack, frame, model, camera, knowledge, covered=evidence.covered, view=view)
    moved = torch.cat([stack[:, :3, 3] - before[:, :3, 3], so3_log(stack[:, :3, :3] @ before[:, :3, :3].mT)], 1)
    return worths - 0.5 * (moved.square() * precision_of_motion(model.diameter)).sum(1)


def worth_of(
    poses: Tensor, frame: VideoFrame, model: TrackModel, camera: Camera, knowledge: Knowledge, *, covered: Tensor, view: View
) -> Tensor:
    """[N] float64 nats by which poses [N, 4, 4] explain a frame where cells of a view are covered; to be compared with each other only."""
    likely = explained(
        poses, frame.color, knowledge.colors, model.mesh, camera, covered=covered, view=view, paint=model.paint, looks=knowledge.looks
    )
    return _PIXELS * likely.double()


def explains_better(one: FrameFit, other: FrameFit, frame: VideoFrame, model: TrackModel, camera: Camera, knowledge: Knowledge) -> bool:
    """Whether a fit explains the frame so much better than another that it need not be near to where the object was expected."""
    if one.view is None or other.view is None or other.covered is None:
        return other.view is None
    poses = torch.stack([one.pose, other.pose])
    worths = worth_of(poses, frame, model, camera, knowledge, covered=other.covered, view=other.view)
    return float(worths[0] - worths[1]) > _SURPRISE


def _evidence(frame: VideoFrame, knowledge: Knowledge, model: TrackModel, view: View, options: TrackOptions) -> Evidence:
    """What the frame is compared with where the view shows the object, and nothing is in front of it."""
    contour = contour_of(view, count=options.outline_points)
    surface = None if frame.depth is None else surface_of(view, model.normals, count=_SURFACE_POINTS)
    painted = None if model.paint is None else painted_view(coat_of(model.paint, view), knowledge.looks)
    expected = None if knowledge.looks.light is None or knowledge.keyframe is not None else painted
    covered = covered_pixels(frame.color, view, knowledge.colors, expected, hue_noise=knowledge.looks.hue_noise)
    free = ~is_covered(contour.rows[:, :3], covered, view)
    visible = float(free.float().mean()) if len(free) else 0.0
    evidence = Evidence(contour=Contour(rows=contour.rows[free]), surface=surface, visible=visible, covered=covered)
    if not options.texture:
        return evidence
    paint = None
    if painted is not None:
        paint = _uncovered(make_keyframe(make_pyramid(frame.color, view, paint=painted.mean(-1)), view), covered, view)
    texture = _uncovered(knowledge.keyframe, covered, view)
    return replace(evidence, pyramid=make_pyramid(frame.color, view), texture=texture, paint=paint)


def _uncovered(points: Keyframe | None, covered: Tensor, view: View) -> Keyframe | None:
    """Those that nothing is in front of."""
    return None if points is None else replace(points, rows=points.rows[~is_covered(points.rows[:, :3], covered, view)])


def with_looks(fit: FrameFit, frame: VideoFrame, model: TrackModel, known: Looks) -> FrameFit:
    """The fit with how the object looks then."""
    if fit.view is None or model.paint is None:
        return fit
    looks, alike = learn_looks(known, frame.color, model.paint, fit.view, fit.covered)
    return replace(fit, looks=looks, alike=alike)
