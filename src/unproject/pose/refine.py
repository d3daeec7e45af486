"""Refinement of many poses at once: Levenberg-Marquardt on SE(3) over the terms of kernels/pose_terms.py and of a box."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..lie.so3 import so3_exp
from ..ops.pose_terms import pose_terms
from ..struct import TensorStruct
from .box_term import BoxSides, box_term
from .observation import Observation
from .views import Views, nearest_view

TERMS = ("region", "outline", "cover", "color", "depth", "edge", "box")
_BY_POINTS = 6  # of the terms, those of kernels/pose_terms.py
_TURN, _SHIFT = 0.35, 0.25  # radians and diameters: how far one step may go


@dataclass(frozen=True, kw_only=True)
class TermWeights:
    """How much each term counts in the cost, which is their weighted mean; a term without data counts nothing.

    Attributes:
        region: 1 minus the share of silhouette and mask that is common; what reaches beyond the mask counts half.
        outline: from the object's outline to the mask's. cover: from the mask's outline to the object's.
        color: surface colours under an estimated light and gain.
        depth: measured points to tangent planes.
        edge: from the object's outline to edges of the image.
        box: from where the object's outline ends to the sides of a box.
    """

    region: float = 1.0
    outline: float = 0.7
    cover: float = 0.7
    color: float = 1.0
    depth: float = 1.5
    edge: float = 0.0
    box: float = 0.7

    def tensor(self) -> Tensor:
        """[7] in the order of TERMS."""
        return torch.tensor([getattr(self, name) for name in TERMS], dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class Scored(TensorStruct):
    """Poses and how well they explain the image.

    Attributes:
        poses: [B, 4, 4] float64, working frame.
        cost: [B] weighted mean of the terms, 0 to 1.
        terms: [B, 7] each term's cost; shares: [B, 7] share of the points it is from.
        information: [B, 6, 6] Gauss-Newton matrix of the cost over (shift, turn about the middle).
    """

    poses: Tensor
    cost: Tensor
    terms: Tensor
    shares: Tensor
    information: Tensor

    def pick(self, index: Tensor) -> Scored:
        """Some of them."""
        return Scored(**{name: getattr(self, name)[index] for name in self.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How far off things may be: outline in shares of the object's size in the image, depth in diameters."""

    outline: float
    depth: float
    color: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Sight(TensorStruct):
    """One image of the object, as refinement takes it.

    Attributes:
        observation: its maps.
        weights: [7] of the terms (0 where the image has no data for one).
        sides: of the box that was given, or None.
        from_first: [4, 4] float64 camera_from_first: this camera's frame from that of the first image, working unit.
    """

    observation: Observation
    weights: Tensor
    from_first: Tensor
    sides: BoxSides | None = None


FindViews = Callable[[Tensor], tuple[Views, Tensor]]
"""Gives for poses [B, 4, 4] in a camera some views and which of them [B] each pose has."""


def evaluate(
    views: Views, view: Tensor, poses: Tensor, sight: Sight, scale: Scale, *, derive: bool = True, skip: tuple[str, ...] = ()
) -> tuple[Scored, Tensor]:
    """Cost of poses [B, 4, 4] in one image, each as the view [B] shows the object, and the slope [B, 6] of half the cost.

    Args:
        skip: terms to leave out.
    """
    observation, turn = sight.observation, sight.from_first[:3, :3]
    camera, pixels = observation.camera, max(scale.outline * observation.size, 1.2)
    weights = sight.weights * torch.tensor([float(name not in skip) for name in TERMS], dtype=torch.float64)
    k = camera.intrinsics.double()
    lens = torch.stack([k[0, 0], k[1, 1], k[0, 2], k[1, 2]])
    here = sight.from_first @ poses
    depth = math.hypot(scale.depth, observation.depth_sigma)
    sigmas = [pixels, pixels, observation.color_sigma * scale.color, depth, min(pixels, 4.0), observation.border]
    sigmas = torch.tensor(sigmas, dtype=torch.float64)
    costs, matrix, slope = pose_terms(
        views.points, views.rim, views.areas, view, here, observation.maps, observation.outline, lens, sigmas, weights[:_BY_POINTS],
        observation.mask_area, max(3 * scale.depth, 0.06), derive,
    )  # fmt: skip
    boxed, weight = costs.new_zeros(len(poses)), float(weights[_BY_POINTS])
    if weight > 0 and sight.sides is not None:
        boxed, more, push = box_term(views.rim[view], here, sight.sides, lens, observation.size, pixels)
        matrix, slope = matrix + weight * more, slope + weight * push
    total = max(float(weights.sum()), 1e-9)
    back = torch.block_diag(turn, turn)  # from motions in the first camera's frame to this one's
    information, slope = back.T @ matrix @ back / total, slope @ back / total
    terms = torch.cat([costs[:, :_BY_POINTS], boxed[:, None]], 1)
    shares = torch.cat([costs[:, _BY_POINTS:], torch.full_like(boxed, float(weight > 0))[:, None]], 1)
    return Scored(poses=poses, cost=(terms * weights).sum(1) / total, terms=terms, shares=shares, information=information), slope


def evaluate_all(
    seen: Sequence[tuple[Views, Tensor]], poses: Tensor, sights: Sequence[Sight], scale: Scale, *, derive: bool = True
) -> tuple[Scored, Tensor]:
    """The mean over several images; `seen` holds the views of each."""
    parts = [evaluate(*views, poses, sight, scale, derive=derive) for views, sight in zip(seen, sights)]
    if len(parts) == 1:
        return parts[0]
    mean = lambda name: torch.stack([getattr(scored, name) for scored, _ in parts]).mean(0)
    scored = Scored(poses=poses, **{name: mean(name) for name in ("cost", "terms", "shares", "information")})
    return scored, torch.stack([slope for _, slope in parts]).mean(0)


def see(find: FindViews, poses: Tensor, sights: Sequence[Sight]) -> list[tuple[Views, Tensor]]:
    """The views of poses in every image."""
    return [find(sight.from_first @ poses) for sight in sights]


def moved(poses: Tensor, step: Tensor) -> Tensor:
    """Poses [B, 4, 4] after a shift and a turn about the object's middle [B, 6], both in the camera's frame."""
    result = poses.clone()
    result[:, :3, :3] = so3_exp(step[:, 3:]) @ poses[:, :3, :3]
    result[:, :3, 3] = poses[:, :3, 3] + step[:, :3]
    return result


def refine(
    poses: Tensor,
    find_views: FindViews,
    sights: Sequence[Sight],
    scale: Scale,
    *,
    rounds: int = 3,
    steps: int = 3,
    orbit: Orbit | None = None,
) -> Scored:
    """Refine poses [B, 4, 4] of the first image's camera together.

    Args:
        find_views: asked once a round.
        steps: Levenberg-Marquardt steps a round.
        orbit: restricts the motions; all are free by default.
    """
    damping = torch.full((len(poses),), 1e-3, dtype=torch.float64)
    seen = see(find_views, poses, sights)
    current, slope = evaluate_all(seen, poses, sights, scale)
    for turn in range(rounds):
        if turn > 0:
            seen = see(find_views, current.poses, sights)
            current, slope = evaluate_all(seen, current.poses, sights, scale)
        for _ in range(steps):
            step = _solve(current.information, slope, damping, None if orbit is None else orbit.motions(current.poses))
            stepped = moved(current.poses, step)
            stepped = stepped if orbit is None else orbit.settle(stepped)
            trial, trial_slope = evaluate_all(seen, stepped, sights, scale)
            better = trial.cost < current.cost
            current = choose(better, trial, current)
            slope = torch.where(better[:, None], trial_slope, slope)
            damping = torch.where(better, damping * 0.3, damping * 8).clamp(1e-7, 1e3)
        damping = damping.clamp(max=1e-1)
    return current


@dataclass(frozen=True, kw_only=True)
class Orbit(TensorStruct):
    """Only the camera's position moves: it goes on looking at one point, upright.

    Attributes:
        up: [3] upwards in the object's frame.
        target: [3] what the camera looks at, working frame.
    """

    up: Tensor
    target: Tensor

    def motions(self, poses: Tensor) -> Tensor:
        """The free motions [B, 6, 3] at poses [B, 4, 4]: distance, and turns about the target, around `up` and the camera's x axis."""
        result = poses.new_zeros(len(poses), 6, 3)
        result[:, 2, 0] = 1.0
        result[:, 3:, 1] = poses[:, :3, :3] @ self.up.to(poses)
        result[:, 3, 2] = 1.0
        arm = -(poses[:, :3, :3] @ self.target.to(poses))  # from the target to the object's middle, which turns are about
        for column in (1, 2):
            result[:, :3, column] = torch.linalg.cross(result[:, 3:, column], arm)
        return result

    def settle(self, poses: Tensor) -> Tensor:
        """Poses upright, with the target on the optical axis: what finite steps lose."""
        upward = poses[:, :3, :3] @ self.up.to(poses)
        turn = poses.new_zeros(len(poses), 3)
        turn[:, 2] = -math.pi / 2 - torch.atan2(upward[:, 1], upward[:, 0])
        result = poses.clone()
        result[:, :3] = so3_exp(turn) @ poses[:, :3]
        result[:, :2, 3] -= (result[:, :3, :3] @ self.target.to(poses) + result[:, :3, 3])[:, :2]
        return result


def orbit_of(start: Tensor, up: Tensor, near: Tensor) -> Orbit:
    """The orbit about the point of a start's [4, 4] optical axis that is nearest to the point `near` [3], working frame."""
    ahead = torch.zeros(3, dtype=start.dtype)
    ahead[2] = start[2, :3] @ near + start[2, 3]
    return Orbit(up=up, target=start[:3, :3].T @ (ahead - start[:3, 3]))


def choose(condition: Tensor, one: Scored, other: Scored) -> Scored:
    """Row by row, `one` where the condition [B] holds."""
    pick = lambda a, b: torch.where(condition.view(-1, *[1] * (a.dim() - 1)), a, b)
    return Scored(**{name: pick(getattr(one, name), getattr(other, name)) for name in one.__dataclass_fields__})


def _solve(matrix: Tensor, slope: Tensor, damping: Tensor, basis: Tensor | None) -> Tensor:
    """Damped steps [B, 6], none longer than _SHIFT and _TURN."""
    if basis is not None:
        matrix, slope = basis.transpose(1, 2) @ matrix @ basis, (basis.transpose(1, 2) @ slope[..., None])[..., 0]
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    lift = damping[:, None] * (diagonal + 0.05 * diagonal.amax(1, keepdim=True)) + 1e-9 + 1e-7 * diagonal.amax(1, keepdim=True)
    step = -torch.linalg.solve(matrix + torch.diag_embed(lift), slope)
    step = step if basis is None else (basis @ step[..., None])[..., 0]
    step = step.nan_to_num(0.0, 0.0, 0.0)
    longest = torch.maximum(step[:, :3].norm(dim=1) / _SHIFT, step[:, 3:].norm(dim=1) / _TURN)
    return step / longest.clamp(min=1.0)[:, None]


def by_template(views: Views) -> FindViews:
    """Each pose is seen as the nearest of some views."""
    return lambda poses: (views, nearest_view(views, poses))


STARTING_WEIGHTS = TermWeights(color=0.0, depth=0.0, edge=0.0)
"""For outlines alone."""
