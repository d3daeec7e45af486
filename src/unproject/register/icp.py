"""Iterative closest points: a rigid motion refined from a start, robust, coarse to fine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..camera.camera import check_rigid
from ..errors import ArgumentError, DataError, check_shape
from ..geometry.mesh import Mesh
from ..geometry.point_index import PointIndex
from ..geometry.points import PointCloud
from ..lie.rotations import nearest_rotation
from ..lie.se3 import se3_exp, se3_matrix
from ..losses.robust import Penalty, cauchy
from ..ops import align as ops
from ..ops.nearest import nearest as nearest_op
from .color import brightness, color_gradients
from .result import Registration, about_origin, frame_change, inner_motion
from .shape import Shape, make_shape, spacing, thin, voxel_for, with_normals

Method = Literal["point", "plane", "generalized", "color"]
_FEWEST_MATCHES = 6
_EXACT = 1e-6  # of the size: errors of points are never counted as smaller
_SMALL = 1e-4  # eigenvalue, as a share of the largest, below which a direction is not determined


@dataclass(frozen=True, kw_only=True)
class IcpOptions:
    """How shapes are aligned.

    Attributes:
        method: "point": distances between points. "plane": to the target's tangent planes. "generalized": between the tangent planes of
            both. "color": to the planes, and between colours.
        max_distance: matches further apart do not count, at the last level; scene units. By default four spacings of the target's points.
        voxels: cube sides to which both clouds are thinned, one a level, coarse to fine; 0 keeps all points. By default two coarse levels
            (1,000 and 5,000 points) and all. At coarse levels, `max_distance` is at least twice the side.
        iterations: steps a level at most.
        penalty: a robust family such as `huber`, `cauchy` or `geman_mcclure`, which is called with a scale; None for least squares.
        scale: of the penalty, scene units; by default from the residuals (1.5 standard deviations, robustly) in each step.
        color_share: with "color", what brightness (as a length, by its mean gradient) counts against distance, in [0, 1).
        tolerance: steps smaller than this fraction of the source's size end a level.
    """

    method: Method = "plane"
    max_distance: float | None = None
    voxels: tuple[float, ...] | None = None
    iterations: int = 40
    penalty: Callable[[float], Penalty] | None = cauchy
    scale: float | None = None
    color_share: float = 0.1
    tolerance: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class IcpStep:
    """One step of the loop.

    Attributes:
        level: 0 for the coarsest.
        iteration: within the level.
        target_from_source: [4, 4] float64, after the step.
        cost: mean weighted squared error of the matches, before it.
        matches: how many there were.
        registration: the result so far; set at the end of each level.
    """

    level: int
    iteration: int
    target_from_source: Tensor
    cost: float
    matches: int
    registration: Registration | None = None


def icp(
    source: PointCloud | Mesh, target: PointCloud | Mesh, start: Float[Tensor, "4 4"] | None = None, options: IcpOptions | None = None
) -> Registration:
    """Align two shapes that nearly lie on each other: the last step of `icp_steps`, with its arguments and errors."""
    last = None
    for step in icp_steps(source, target, start, options):
        last = step.registration or last
    assert last is not None
    return last


def icp_steps(
    source: PointCloud | Mesh, target: PointCloud | Mesh, start: Float[Tensor, "4 4"] | None = None, options: IcpOptions | None = None
) -> Iterator[IcpStep]:
    """Align two shapes that nearly lie on each other, step by step.

    Args:
        source: what is moved; of a mesh, samples.
        target: where to. Normals are estimated where they are needed and missing; their signs do not matter.
        start: target_from_source, rigid; the identity by default.

    Yields:
        IcpStep; those that end a level carry the Registration.

    Raises:
        ArgumentError: options, or a start that is not rigid.
        DataError: too few points, colours asked for and missing, or no matches within `max_distance` (no overlap at this start).

    Source: Besl and McKay 1992; Chen and Medioni 1992; Segal et al. 2009 (generalized); Park, Zhou and Koltun 2017 (colour).
    """
    options = options or IcpOptions()
    _check(options, start)
    shapes = make_shape(source, name="source", where="icp"), make_shape(target, name="target", where="icp")
    if options.method == "color" and (shapes[0].colors is None or shapes[1].colors is None):
        raise DataError("icp: method 'color' needs colours in both clouds; use 'plane' or 'generalized'")
    pose = torch.eye(4, dtype=torch.float64) if start is None else start
    yield from align_shapes(*shapes, pose, options)


def align_shapes(source: Shape, target: Shape, start: Tensor, options: IcpOptions) -> Iterator[IcpStep]:
    """The loop of `icp_steps` on prepared shapes."""
    target = with_normals(target) if options.method != "point" else target
    source = with_normals(source) if options.method == "generalized" else source
    voxels = options.voxels if options.voxels is not None else (voxel_for(target, 1000), voxel_for(target, 5000), 0.0)
    last_distance = options.max_distance or 4 * spacing(thin(target, voxels[-1]))
    pose = inner_motion(start, source.origin, target.origin)
    taken = 0
    for level, voxel in enumerate(voxels):
        max_distance = last_distance if level == len(voxels) - 1 else max(last_distance, 2 * voxel)
        matcher = Matcher(thin(source, voxel), thin(target, voxel), options, max_distance)
        for step in _level(matcher, pose, level):
            pose = step.target_from_source
            taken += 1
            outer = frame_change(pose, source.origin, target.origin)
            result = None
            if step.registration is not None:
                result = Registration(
                    target_from_source=outer,
                    fitness=step.registration.fitness,
                    rmse=step.registration.rmse,
                    max_distance=max_distance,
                    covariance=about_origin(step.registration.covariance, target.origin),
                    determined=step.registration.determined,
                    iterations=taken,
                    converged=step.registration.converged,
                )
            yield IcpStep(
                level=level,
                iteration=step.iteration,
                target_from_source=outer,
                cost=step.cost,
                matches=step.matches,
                registration=result,
            )


class Matcher:
    """The matches of one level under a pose, and the equations that improve it."""

    def __init__(self, source: Shape, target: Shape, options: IcpOptions, max_distance: float):
        self.source, self.target, self.options, self.max_distance = source, target, options, max_distance
        none = torch.empty(0, 3)
        self.kind = {"point": ops.POINT, "generalized": ops.GENERALIZED}.get(options.method, ops.DIRECTION)
        self.normals = none if self.kind == ops.POINT or target.normals is None else target.normals
        self.source_normals = none if self.kind != ops.GENERALIZED or source.normals is None else source.normals
        self.centre = source.points.double().mean(0)
        self.size = float((source.points - self.centre.float()).square().sum(1).mean().sqrt())
        self.color = None
        if options.method == "color":
            assert source.colors is not None and target.colors is not None
            tone = brightness(target.colors)
            self.color = (brightness(source.colors), tone, color_gradients(target, tone))

    def match(self, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Index of the nearest target (-1 beyond the distance) and squared distance of each source point."""
        squared, index = nearest_points(self.source.index, self.target.index, pose)
        return torch.where(squared <= self.max_distance**2, index, -1), squared

    def sums(self, pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normal equations [28] about the moved centre, matches and their squared distances."""
        match, squared = self.match(pose)
        centre = pose[:3, :3] @ self.centre + pose[:3, 3]
        total = self._sums(match, self.normals, self.source.points.new_zeros(len(match)), pose, centre, self.kind, 1.0)
        if self.color is not None:
            tones, target_tones, gradients = self.color
            offset = torch.where(match >= 0, target_tones[match.clamp_min(0)] - tones, 0)
            light = self._sums(match, gradients, offset, pose, centre, ops.DIRECTION, None)
            # A difference in brightness over the usual gradient is a length, as the distances are.
            share = self.options.color_share / (1 - self.options.color_share)
            total = total + light * (share / max(float(gradients.square().sum(1).mean()), 1e-30))
        return total, match, squared

    def _sums(
        self, match: Tensor, directions: Tensor, offset: Tensor, pose: Tensor, centre: Tensor, kind: int, unit: float | None
    ) -> Tensor:
        arguments = (self.source.points, self.source_normals, match, self.target.points, directions, offset, pose, kind)
        weight = robust_weights(ops.match_errors(*arguments), match, self.options, None if unit is None else self.options.scale)
        return ops.match_sums(*arguments, weight, centre)


def nearest_points(source: PointIndex, target: PointIndex, pose: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distance and index of the nearest target of each source point moved by a pose [4, 4]. The source's tree moves along."""
    leaves, ids, _, _, offsets = source.tree
    rotation, shift = pose[:3, :3].to(leaves), pose[:3, 3].to(leaves)
    moved = torch.matmul(rotation, leaves) + shift[:, None]
    return nearest_op(source.points, target.points, moved, ids, offsets, *target.tree, False)


def robust_weights(errors: Tensor, match: Tensor, options: IcpOptions, scale: float | None) -> Tensor:
    """Weight of each match: the penalty's derivative at its squared error; 0 without a match."""
    found = match >= 0
    if options.penalty is None:
        return found.to(errors.dtype)
    if scale is None:
        some = errors[found]
        scale = 1.5 * 1.4826 * float(some.median().sqrt()) if len(some) else 1.0
    if not scale > 0:
        return found.to(errors.dtype)
    with torch.enable_grad():
        leaf = errors.detach().clone().requires_grad_()
        (weight,) = torch.autograd.grad(options.penalty(scale)(leaf).sum(), leaf)
    return torch.where(found, weight, 0)


def _level(matcher: Matcher, pose: Tensor, level: int) -> Iterator[IcpStep]:
    options, size = matcher.options, matcher.size
    converged = False
    for iteration in range(options.iterations):
        sums, match, _ = matcher.sums(pose)
        count = int((match >= 0).sum())
        if count < _FEWEST_MATCHES:
            raise DataError(
                f"icp: only {count} of {len(match)} points have a target within {matcher.max_distance:.4g}: the shapes do not overlap at "
                "this start; use register_global, a better start, or a larger max_distance"
            )
        move, _, _ = solve(sums, size)
        cost = float(sums[27]) / count
        pose = _moved(pose, move, matcher.centre)
        step = max(float(move[:3].norm()), size * float(move[3:].norm()))
        converged = step <= options.tolerance * size
        if converged:
            break
        if iteration < options.iterations - 1:
            yield IcpStep(level=level, iteration=iteration, target_from_source=pose, cost=cost, matches=count)
    result = _result(matcher, pose, iteration + 1, converged)
    yield IcpStep(level=level, iteration=iteration, target_from_source=pose, cost=cost, matches=count, registration=result)


def solve(sums: Tensor, size: float) -> tuple[Tensor, Tensor, bool]:
    """Step [6], inverse of the matrix [6, 6], and whether all directions are determined; those that are not get no step.

    Args:
        size: length that makes rotations comparable with translations.
    """
    matrix = torch.zeros(6, 6, dtype=torch.float64)
    rows, columns = torch.triu_indices(6, 6)
    matrix[rows, columns] = matrix[columns, rows] = sums[:21]
    unit = torch.tensor([1.0, 1, 1, 1 / size, 1 / size, 1 / size], dtype=torch.float64)
    values, axes = torch.linalg.eigh(unit[:, None] * matrix * unit)
    largest = float(values[-1])
    known = values > _SMALL * largest
    inverse = torch.where(known, 1 / values.clamp_min(max(largest, 1e-300) * 1e-12), 0)
    step = -unit * (axes @ (inverse * (axes.T @ (unit * sums[21:27]))))
    floor = torch.where(known, 1 / values.clamp_min(1e-300), 1e12 / max(largest, 1e-300))
    spread = unit[:, None] * ((axes * floor) @ axes.T) * unit
    return step, spread, bool(known.all())


def _moved(pose: Tensor, move: Tensor, source_centre: Tensor) -> Tensor:
    """The pose after a small motion about the moved centre."""
    turn = se3_exp(move)
    centre = pose[:3, :3] @ source_centre + pose[:3, 3]
    rotation = nearest_rotation(turn[:3, :3] @ pose[:3, :3])
    return se3_matrix(rotation, turn[:3, 3] + centre - rotation @ source_centre)


def _result(matcher: Matcher, pose: Tensor, iterations: int, converged: bool) -> Registration:
    sums, match, squared = matcher.sums(pose)
    found = match >= 0
    count = max(int(found.sum()), 1)
    _, spread, determined = solve(sums, matcher.size)
    dimensions = 3 if matcher.kind == ops.POINT else 1
    exact = _EXACT * matcher.size  # no measurement is: equal clouds would be certain even where they slide
    variance = max(float(sums[27]) / max(dimensions * count - 6, 1), exact**2)
    centre = pose[:3, :3] @ matcher.centre + pose[:3, 3]
    return Registration(
        target_from_source=pose,
        fitness=count / len(match) if bool(found.any()) else 0.0,
        rmse=float(squared[found].double().mean().sqrt()) if bool(found.any()) else float("nan"),
        max_distance=matcher.max_distance,
        covariance=about_origin(variance * spread, centre),
        determined=determined,
        iterations=iterations,
        converged=converged,
    )


def _check(options: IcpOptions, start: Tensor | None) -> None:
    if options.method not in ("point", "plane", "generalized", "color"):
        raise ArgumentError(f"icp: `method` must be point, plane, generalized or color, got {options.method!r}")
    if options.max_distance is not None and not 0 < options.max_distance < float("inf"):
        raise ArgumentError(f"icp: `max_distance` must be above 0, got {options.max_distance}")
    if options.voxels is not None and (len(options.voxels) == 0 or min(options.voxels) < 0):
        raise ArgumentError(f"icp: `voxels` must be sides of cubes, coarse to fine, 0 for all points, got {options.voxels}")
    if options.iterations < 1 or not 0 <= options.color_share < 1:
        raise ArgumentError(f"icp: need iterations >= 1 and color_share in [0, 1), got {options.iterations}, {options.color_share}")
    if start is not None:
        check_shape(start, [4, 4], name="start", where="icp", finite=True)
        check_rigid(start.detach(), name="start", where="icp")
