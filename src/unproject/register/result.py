"""What a registration says: where the source lies in the target, how well it fits and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..struct import TensorStruct


@dataclass(frozen=True, kw_only=True)
class Registration(TensorStruct):
    """A motion between two shapes.

    Attributes:
        target_from_source: [4, 4] float64.
        fitness: share of the source's points that have a target within `max_distance`.
        rmse: root mean square distance of these to their targets, scene units.
        max_distance: up to which a target counts.
        covariance: [6, 6] of the tangent (translation, rotation) on the left of target_from_source, for independent errors of the points;
            huge along directions that the data does not determine.
        determined: whether the data determines all six directions: False for a plane on a plane, a sphere in a sphere.
        iterations: Gauss-Newton steps taken.
        converged: whether the last step was small; False where the iterations ran out.
        alternatives: other motions [4, 4] that fit as well, as those of a symmetric shape do; from a search without a start.
    """

    target_from_source: Tensor
    fitness: float
    rmse: float
    max_distance: float
    covariance: Tensor
    determined: bool = True
    iterations: int = 0
    converged: bool = True
    alternatives: tuple[Tensor, ...] = ()

    def __getitem__(self, index: object) -> Registration:
        raise TypeError("Registration: one motion, nothing to index")


def frame_change(target_from_source: Tensor, source_origin: Tensor, target_origin: Tensor) -> Tensor:
    """The motion between shapes from that between the same shapes minus their origins."""
    moved = target_from_source.clone()
    moved[:3, 3] += target_origin - target_from_source[:3, :3] @ source_origin
    return moved


def inner_motion(target_from_source: Tensor, source_origin: Tensor, target_origin: Tensor) -> Tensor:
    """Inverse of `frame_change`."""
    return frame_change(target_from_source.to("cpu", torch.float64), -source_origin, -target_origin)


def about_origin(covariance: Tensor, centre: Tensor) -> Tensor:
    """Covariance of a left tangent about the origin from that of one about `centre` [3], where it turned."""
    x, y, z = centre.tolist()
    adjoint = torch.eye(6, dtype=torch.float64)
    adjoint[:3, 3:] = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    return adjoint @ covariance @ adjoint.T
