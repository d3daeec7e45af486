"""A known part in a scanned scene: proposed by point pairs, refined, and verified by the depth that it would show."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import ArgumentError, DataError
from ..geometry.mesh import Mesh
from ..geometry.neighbors import nearest
from ..geometry.point_index import build_index
from ..geometry.points import PointCloud
from .globally import normal_weights
from .icp import IcpOptions, align_shapes
from .orientation import orient_outward
from .point_pairs import gather, make_pair_table, vote
from .result import Registration, frame_change
from .shape import Shape, make_shape, spacing, thin, towards, with_normals
from .symmetry import shape_symmetries
from .units import check_part_units
from .verify import DepthAgreement, DepthCheck, seen_from
from .visibility import Views, make_views, without_inside

_REFERENCES = 800  # scene points that vote
_HOPELESS = 0.4  # share of the best motion's support below which another is not refined
_MOST_ALTERNATIVES = 24  # as many as a cube has
_ANGLE = 0.35  # radians between motions that are not the same


@dataclass(frozen=True, kw_only=True)
class LocateOptions:
    """How a part is looked for.

    Attributes:
        instances: how many to look for at most.
        sampling: spacing of the points that vote, in diameters of the model.
        viewpoint: the sensor's place in the scene's frame; by default the origin, if the scene looks as if seen from there. Without one,
            nothing is known of what the model would hide.
        min_score: of an instance, see `Instance.score`.
        min_support: least share of the model's visible side that the scene must have.
        candidates: motions that are refined at most.
    """

    instances: int = 1
    sampling: float = 0.05
    viewpoint: tuple[float, float, float] | None = None
    min_score: float = 0.65
    min_support: float = 0.2
    candidates: int = 40


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """Another motion that explains the scene nearly as well: of a symmetric part, or one whose telling side is not seen.

    Attributes:
        scene_from_model: [4, 4] float64.
        score: as of an Instance.
    """

    scene_from_model: Tensor
    score: float


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A place where the model lies.

    Attributes:
        score: 0 to 1. With a viewpoint, how much of what the sensor sees there agrees, times the root of how much of the model's
            visible side the scene has; without one, the share of the model that the scene has.
        registration: scene_from_model as `target_from_source`, with fitness, RMSE and covariance.
        depth: what the pixels say; None without a viewpoint.
        alternatives: best first.
    """

    score: float
    registration: Registration
    depth: DepthAgreement | None
    alternatives: tuple[Alternative, ...]

    @property
    def scene_from_model(self) -> Tensor:
        return self.registration.target_from_source


@dataclass(frozen=True, kw_only=True)
class LocateStep:
    """One step of `locate_steps`.

    Attributes:
        stage: "prepare", "vote", "refine", "verify" or "done".
        done, total: within the stage.
        instances: set in the last step.
    """

    stage: str
    done: int
    total: int
    instances: tuple[Instance, ...] | None = None


@dataclass(frozen=True)
class _Hypothesis:
    motion: Tensor
    score: float
    depth: DepthAgreement | None


def locate(model: PointCloud | Mesh, scene: PointCloud | Mesh, options: LocateOptions | None = None) -> tuple[Instance, ...]:
    """Find a model in a scene: the last step of `locate_steps`, with its arguments and errors; the best instance first."""
    for step in locate_steps(model, scene, options):
        if step.instances is not None:
            return step.instances
    raise AssertionError("locate_steps ends with instances or an error")


def locate_steps(model: PointCloud | Mesh, scene: PointCloud | Mesh, options: LocateOptions | None = None) -> Iterator[LocateStep]:
    """Find a model in a scene, step by step.

    Args:
        model: a mesh or a cloud of the part, in its own frame, in the scene's unit.
        scene: a scan with clutter around it.

    Yields:
        LocateStep; the last has the instances, at least one.

    Raises:
        ArgumentError: options.
        DataError: too few points, a unit that does not fit (the message has the one suspected), or the model is not found; then
            the message has what the best try had.

    Source: Drost et al. 2010 (point-pair features); Chen and Medioni 1992 (refinement); Krull et al. 2015 and others for verifying by
        rendering.
    """
    options = options or LocateOptions()
    if options.instances < 1 or not 0.01 <= options.sampling <= 0.2 or options.candidates < 1:
        raise ArgumentError(f"locate: need instances >= 1, candidates >= 1 and sampling in [0.01, 0.2], got {options}")
    yield LocateStep(stage="prepare", done=0, total=1)
    search = _Search(model, scene, options)
    yield LocateStep(stage="vote", done=0, total=1)
    motions = search.propose()
    yield LocateStep(stage="refine", done=0, total=len(motions))
    found: list[_Hypothesis] = []
    for done, motion in enumerate(motions):
        hypothesis = search.refine(motion)
        if hypothesis is not None:
            found.append(hypothesis)
        yield LocateStep(stage="refine", done=done + 1, total=len(motions))
    yield LocateStep(stage="done", done=1, total=1, instances=tuple(search.choose(found)))


class _Search:
    """A model and a scene at the resolutions that the stages need, in their inner frames."""

    def __init__(self, model: PointCloud | Mesh, scene: PointCloud | Mesh, options: LocateOptions):
        self.options = options
        self.model = make_shape(model, name="model", where="locate")
        self.model = without_inside(self.model, 1e-3 * self.model.diameter)
        self.scene = make_shape(scene, name="scene", where="locate")
        self.diameter = self.model.diameter
        self.spacing = spacing(self.scene)
        check_part_units(self.diameter, self.scene.diameter, self.spacing, where="locate")
        self.step = max(options.sampling * self.diameter, 1.2 * self.spacing)
        self.eye = self._eye()
        self.fine_scene = self._prepared_scene(self.step / 2)
        self.coarse_scene = thin(self.fine_scene, self.step)
        fine = orient_outward(thin(self.model, 0.5 * self.step))
        views = lambda shape: make_views(shape, 0.25 * self.step, oriented=self.model.oriented)
        self.coarse_model, self.fine_model = views(thin(fine, self.step)), views(fine)
        self.final_model = (
            views(thin(self.model, max(self.spacing, 0.01 * self.diameter))) if self.model.mesh is not None else self.fine_model
        )
        self.tolerance = max(0.25 * self.step, self.spacing)
        dense = self.model if self.model.mesh is not None else orient_outward(thin(self.model, 0.5 * spacing(self.model)))
        self.check = None
        if self.eye is not None:
            self.check = DepthCheck(self.scene, dense, self.eye, tolerance=self.tolerance, spacing=self.spacing)

    def _eye(self) -> Tensor | None:
        """The viewpoint in the scene's inner frame."""
        if self.options.viewpoint is not None:
            return torch.tensor(self.options.viewpoint, dtype=torch.float64) - self.scene.origin
        zero = torch.zeros(3, dtype=torch.float64)
        return -self.scene.origin if seen_from(self.scene, zero, self.spacing) else None

    def _prepared_scene(self, voxel: float) -> Shape:
        scene = thin(self.scene, max(voxel, self.spacing))
        if self.eye is not None:
            return towards(replace(scene, normals=None) if not scene.oriented else scene, self.eye + scene.origin)
        return orient_outward(scene)

    def propose(self) -> list[Tensor]:
        """The motions that are worth refining."""
        model = self.coarse_model.shape
        assert model.normals is not None
        tables = [make_pair_table(model.points, model.normals, self.step)]
        if not self.model.oriented:  # which side of a partial cloud is outside was a guess
            tables.append(make_pair_table(model.points, -model.normals, self.step))
        centre = model.points.double().mean(0)
        found = []
        for table in tables:
            motions, votes = vote(table, self.coarse_scene, references=_REFERENCES)
            found.append(gather(motions, votes, centre, distance=0.1 * self.diameter, angle=_ANGLE)[0])
        motions = torch.cat(found)
        if len(motions) == 0:
            return []
        scores = self.support(motions)
        order = scores.argsort(descending=True)[: 12 * self.options.candidates]
        order = order[scores[order] >= _HOPELESS * scores.max()]
        motions, scores = motions[order], scores[order]
        if self.check is not None:  # before refinement the pixels agree roughly, but what lies flush in a plane shows already
            looks = [self.check.check(motion) for motion in motions]
            scores = scores * torch.tensor([0.0 if look is None else 0.3 + look.agreement for look in looks])
        return list(motions[scores.argsort(descending=True)[: self.options.candidates]])

    def support(self, motions: Tensor) -> Tensor:
        """Share [K] of the model's points, of those that the sensor would see, on which the scene lies with its normal along."""
        model, scene = self.coarse_model.shape, self.coarse_scene
        assert model.normals is not None and scene.normals is not None
        result = []
        weight = normal_weights(model.normals)
        for part in motions.float().split(64):
            points = model.points @ part[:, :3, :3].mT + part[:, None, :3, 3]
            normals = model.normals @ part[:, :3, :3].mT
            near = nearest(points.reshape(-1, 3), scene.index)
            close = near.squared_distance.view(points.shape[:2]) <= (0.6 * self.step) ** 2
            along = (normals * scene.normals[near.index].view(points.shape)).sum(-1).abs() > 0.7
            share = weight * self._seen(self.coarse_model, part)
            result.append((share * close * along).sum(1) / share.sum(1).clamp_min(1e-9))
        return torch.cat(result)

    def visible(self, model: Views, motion: Tensor) -> Shape:
        """The part of the model that the sensor sees."""
        shape = model.shape
        assert shape.normals is not None
        facing = self._seen(model, motion[None].float())[0]
        if int(facing.sum()) < 20 or bool(facing.all()):
            return shape
        points = shape.points[facing].contiguous()
        return replace(shape, points=points, normals=shape.normals[facing], colors=None, index=build_index(points), mesh=None)

    def _seen(self, model: Views, motions: Tensor) -> Tensor:
        """Which points [K, N] of a thinned model the sensor sees at motions [K, 4, 4]; without a sensor, all."""
        if self.eye is None:
            return torch.ones(len(motions), model.shape.point_count, dtype=torch.bool)
        ray = (motions[:, :3, :3].mT @ (self.eye.float() - motions[:, :3, 3])[..., None])[..., 0]
        return model.towards(ray)

    def refine(self, motion: Tensor) -> _Hypothesis | None:
        """A motion after coarse and fine steps, and its score."""
        for model, scene, reach in (
            (self.coarse_model, self.fine_scene, 1.0 * self.step),
            (self.fine_model, self.fine_scene, 0.5 * self.step),
        ):
            last = self._aligned(self.visible(model, motion), scene, motion, max(reach, 2 * self.spacing), iterations=12)
            if last is None:
                return None
            motion = last.target_from_source
        return self.score(motion)

    def score(self, motion: Tensor) -> _Hypothesis | None:
        share = float(self.support(motion[None])[0])
        if self.check is None:
            return _Hypothesis(motion, share, None)
        depth = self.check.check(motion)
        if depth is None or depth.support < self.options.min_support:
            return None
        return _Hypothesis(motion, depth.agreement * (depth.support * share) ** 0.5, depth)

    def _aligned(self, model: Shape, scene: Shape, motion: Tensor, reach: float, *, iterations: int) -> Registration | None:
        zero = torch.zeros(3, dtype=torch.float64)
        options = IcpOptions(voxels=(0.0,), max_distance=reach, iterations=iterations, tolerance=1e-4)
        last = None
        try:
            for step in align_shapes(replace(model, origin=zero), replace(scene, origin=zero), motion, options):
                last = step.registration or last
        except DataError:
            return None
        return last

    def choose(self, found: list[_Hypothesis]) -> Iterator[Instance]:
        """Instances in different places, each with the alternatives in its place."""
        found = sorted(found, key=lambda h: -h.score)
        best = found[0] if found else None
        if best is None or best.score < self.options.min_score:
            what = "no place fits" if best is None else f"the best try scores {best.score:.2f} ({self.options.min_score} is asked for)"
            raise DataError(
                f"locate: the model is not found in the scene: {what}. It may be absent, mostly hidden or of another size; more "
                "`candidates` or a smaller `sampling` make the search more thorough"
            )
        taken: list[Tensor] = []
        for hypothesis in found:
            centre = hypothesis.motion[:3, 3]
            if len(taken) == self.options.instances or hypothesis.score < self.options.min_score:
                return
            if any(float((centre - other).norm()) < 0.35 * self.diameter for other in taken):
                continue
            taken.append(centre)
            yield self._instance(hypothesis, found)

    def _instance(self, best: _Hypothesis, found: list[_Hypothesis]) -> Instance:
        registration, best = self._final(best)
        alternatives = [
            Alternative(scene_from_model=frame_change(other.motion, self.model.origin, self.scene.origin), score=other.score)
            for other in self._others(best, found)
        ]
        return Instance(score=best.score, registration=registration, depth=best.depth, alternatives=tuple(alternatives))

    def _others(self, best: _Hypothesis, found: list[_Hypothesis]) -> list[_Hypothesis]:
        """Other motions in the same place that are nearly as good: of the model's symmetries, and what was found besides."""
        turned = [self.score(best.motion @ symmetry) for symmetry in self.symmetries]
        # A motion by a symmetry is as good but for what sampling makes of it; others must show it.
        chosen = [best]
        for other in [
            *(h for h in turned if h is not None and h.score >= 0.75 * best.score),
            *(h for h in found if h.score >= 0.9 * best.score),
        ]:
            near = float((other.motion[:3, 3] - best.motion[:3, 3]).norm()) < 0.35 * self.diameter
            cosines = [float(((h.motion[:3, :3] * other.motion[:3, :3]).sum() - 1) / 2) for h in chosen]
            if near and max(cosines) < math.cos(_ANGLE):
                chosen.append(other)
        return sorted(chosen[1:], key=lambda h: -h.score)[:_MOST_ALTERNATIVES]

    @functools.cached_property
    def symmetries(self) -> list[Tensor]:
        """Of a closed model; a part of a surface has none."""
        shape = self.fine_model.shape
        closed = shape.normals is not None and float(shape.normals.mean(0).norm()) < 0.2
        return shape_symmetries(self.model) if closed else []

    def _final(self, best: _Hypothesis) -> tuple[Registration, _Hypothesis]:
        """The last refinement, on all points of the scene near the model."""
        reach = max(0.02 * self.diameter, 3 * self.spacing)
        near = (self.scene.points - best.motion[:3, 3].float()).norm(dim=1) <= 0.6 * self.diameter + reach
        points = self.scene.points[near].contiguous()
        scene = replace(self.scene, points=points, normals=None, colors=None, index=build_index(points))
        motion = best.motion
        registration = None
        if len(points) >= 20:
            registration = self._aligned(self.visible(self.final_model, motion), with_normals(scene), motion, reach, iterations=30)
        if registration is None:
            registration = Registration(
                target_from_source=motion, fitness=0.0, rmse=float("nan"), max_distance=reach, covariance=torch.eye(6).double(),
                determined=False, converged=False,
            )  # fmt: skip
        again = self.score(registration.target_from_source)
        if again is None or again.score < 0.97 * best.score:
            again, registration = best, replace(registration, target_from_source=motion)
        outer = frame_change(registration.target_from_source, self.model.origin, self.scene.origin)
        return replace(registration, target_from_source=outer), again
