"""Symmetries of a mesh: turns and mirrors that leave it as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..geometry.neighbors import nearest
from ..lie.so3 import so3_exp
from ..struct import TensorStruct
from .object_model import ObjectModel

_TOLERANCE, _WORST = 0.012, 0.035  # diameters: mean and 95th percentile of the distance from the turned surface to itself
_COLOR_TOLERANCE = 0.06
_ORDERS = (2, 3, 4, 5, 6, 8)
_CONTINUOUS_STEPS = 36
_MOST = 96


@dataclass(frozen=True, kw_only=True)
class Symmetries(TensorStruct):
    """What leaves an object as it is.

    Attributes:
        motions: [S, 4, 4] float64 object_from_object, mesh frame, the identity first. Turns about an axis of revolution are sampled.
        mirrors: [M, 3] unit normals of planes at which the shape (not its colours) is mirrored.
    """

    motions: Tensor
    mirrors: Tensor


def find_symmetries(model: ObjectModel, *, ignore_colors: bool = False) -> Symmetries:
    """Turns and mirrors of a mesh about its principal axes and those of its coordinates.

    Args:
        ignore_colors: whether colours may differ.
    """
    cloud = model.cloud.points.double()
    middle = cloud.mean(0)
    sample = torch.arange(0, len(cloud), max(1, len(cloud) // 700))
    colored = model.is_colored and not ignore_colors

    def holds(linear: Tensor, with_colors: bool) -> bool:
        moved = (cloud[sample] - middle) @ linear.T + middle
        found = nearest(moved.float(), model.cloud)
        distance = found.squared_distance.sqrt()
        if float(distance.mean()) > _TOLERANCE + 0.004 or float(distance.quantile(0.95)) > _WORST:
            return False
        return not with_colors or float((model.colors[1][found.index] - model.colors[1][sample]).abs().mean()) < _COLOR_TOLERANCE

    def of_frame(axes: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        mirrors = [a for a in axes if holds(eye - 2 * a[:, None] * a[None], False)]
        return mirrors, [turn for axis in axes for turn in _turns_about(axis, lambda turn: holds(turn, colored))]

    eye = torch.eye(3, dtype=torch.float64)
    _, principal = torch.linalg.eigh((cloud - middle).T @ (cloud - middle))
    # axes of both frames at once, if a few degrees apart, would make a group of small turns
    mirrors, turns = max((of_frame(eye), of_frame(principal.T)), key=lambda found: len(found[0]) + len(found[1]))
    group = _generated(turns)
    center = model.center + middle * model.diameter
    motions = torch.eye(4, dtype=torch.float64).repeat(len(group), 1, 1)
    motions[:, :3, :3] = group
    motions[:, :3, 3] = center - group @ center
    return Symmetries(motions=motions, mirrors=torch.stack(mirrors) if mirrors else torch.zeros(0, 3, dtype=torch.float64))


def symmetric_distance(pose: Tensor, others: Tensor, motions: Tensor) -> tuple[Tensor, Tensor]:
    """Angle [N] (radians) and shift [N] between a pose and others [N, 4, 4], the smallest over symmetries [S, 4, 4]."""
    same = pose @ motions
    cosine = (torch.einsum("sij,nij->ns", same[:, :3, :3], others[:, :3, :3]) - 1) / 2
    shift = torch.cdist(others[:, :3, 3], same[:, :3, 3])
    best = (cosine.clamp(-1, 1).acos() + shift / shift.mean().clamp(min=1e-9) * 1e-3).argmin(1)
    row = torch.arange(len(others))
    return cosine.clamp(-1, 1).acos()[row, best], shift[row, best]


def _turns_about(axis: Tensor, holds: Callable[[Tensor], bool]) -> list[Tensor]:
    """Generators [3, 3] of the turns about an axis that hold."""
    if all(holds(so3_exp(axis * math.radians(angle))) for angle in (37.0, 101.0, 158.0)):
        return [so3_exp(axis * (2 * math.pi / _CONTINUOUS_STEPS))]
    return [turn for turn in (so3_exp(axis * (2 * math.pi / n)) for n in _ORDERS) if holds(turn)]


def _generated(turns: list[Tensor]) -> Tensor:
    """The group [S, 3, 3] that turns generate, the identity first, cut off at some size."""
    group = torch.eye(3, dtype=torch.float64)[None]
    fresh = group
    while turns and len(fresh) > 0 and len(group) < _MOST:
        products = torch.cat([fresh @ turn for turn in turns])
        fresh_list: list[Tensor] = []
        for product in products:
            known = torch.cat([group, torch.stack(fresh_list)]) if fresh_list else group
            if float((known - product).abs().amax((1, 2)).min()) > 1e-3:
                fresh_list.append(product)
        fresh = torch.stack(fresh_list) if fresh_list else group[:0]
        group = torch.cat([group, fresh])
    return group[:_MOST]
