"""What an image says about a pose near a given one: normal equations of the outline, of depth and of the texture.

A step is a tangent vector (rho, phi): X' = exp(phi) (X - o) + o + rho in the camera frame, with o the object's centre there, so that both
halves are nearly independent. Each term is weighted by its own variance, so terms add up. Source of the outline's: Stoiber et al. 2020,
A sparse Gaussian approach to region-based 6DoF object tracking; of the depth's: Stoiber et al. 2022, Iterative corresponding geometry.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..lie.so3 import hat, so3_exp
from ..ops import track_terms as ops
from ..reference import track_terms as reference
from ..struct import TensorStruct
from .color_model import ColorModel
from .view import Contour, View

_LENGTH, _OFFSETS = 14, 10  # samples of a line on each side of the outline, and candidates for it
_TUKEY = 4.7
_LINES_ALIKE = 3.0  # neighbouring lines see the same pixels: their number overstates what they know
_PIXELS_ALIKE = 4.0


@dataclass(frozen=True, kw_only=True)
class NormalEquations(TensorStruct):
    """Half of a quadratic energy of a step: 1/2 x^T H x - g^T x.

    Attributes:
        hessian: [6, 6] float64.
        gradient: [6] float64.
        support: share of the term's data that agrees with the pose, or None without data.
    """

    hessian: Tensor
    gradient: Tensor
    support: float | None = None

    def __add__(self, other: NormalEquations) -> NormalEquations:
        return NormalEquations(hessian=self.hessian + other.hessian, gradient=self.gradient + other.gradient)


def step_motion(step: Tensor, center: Tensor) -> Tensor:
    """The motion [4, 4] of a step [6] about the centre [3]; multiply it to a pose from the left."""
    rotation = so3_exp(step[3:])
    motion = torch.eye(4).to(step)
    motion[:3, :3] = rotation
    motion[:3, 3] = center - rotation @ center + step[:3]
    return motion


def point_jacobian(points: Tensor, center: Tensor) -> Tensor:
    """[N, 3, 6] of points [N, 3] with respect to a step."""
    turn = -hat(points - center)
    return torch.cat([torch.eye(3).to(points).expand(len(points), 3, 3), turn], -1)


def outline_term(
    image: Tensor, colors: ColorModel, contour: Contour, camera: Camera, pose: Tensor, center: Tensor, *, step: int
) -> NormalEquations:
    """Where the colours of the image [H, W, 3] say that the outline lies, along lines with a sample every `step` pixels.

    Lines that disagree with most others, as those on something in front do, weigh less.
    """
    run = ops.outline_equations if image.device.type == "cpu" else reference.outline_equations
    reach = (contour.reach / step).long().clamp(min=1)
    geometry = (contour.points, contour.normals, reach, camera.intrinsics, pose, center)
    trust = 1 / (1 + 1 / step)
    return unpack(run(image, colors.odds, *geometry, step, _LENGTH, _OFFSETS, trust, _LINES_ALIKE))


def unpack(values: Tensor) -> NormalEquations:
    """The equations that an operator returns as 43 numbers."""
    return NormalEquations(hessian=values[:36].view(6, 6), gradient=values[36:42], support=float(values[42]))


def depth_term(
    depth: Tensor, view: View, face_normals: Tensor, camera: Camera, pose: Tensor, center: Tensor, *, reach: float, count: int = 300
) -> NormalEquations:
    """Point-to-plane distances between the rendered surface and the measured one where both are seen.

    Args:
        depth: [H, W] measured camera z, 0 where nothing was measured.
        face_normals: [F, 3] in the object's frame.
        reach: distance beyond which a measurement belongs to something else.
    """
    rows, columns = view.mask.nonzero().unbind(1)
    if len(rows) > count:
        keep = torch.linspace(0, len(rows) - 1, count).round().long()
        rows, columns = rows[keep], columns[keep]
    z = view.depth[rows, columns]
    pixel = torch.stack([columns + 0.5, rows + 0.5, torch.ones_like(z)], 1).to(z)
    placed = (pixel @ torch.linalg.inv(view.camera.intrinsics).T) * z[:, None]
    back = view.camera_from_object
    points = (placed - back[:3, 3]) @ back[:3, :3] @ pose[:3, :3].T + pose[:3, 3]
    normals = face_normals[view.face[rows, columns]] @ pose[:3, :3].T
    image = points @ camera.intrinsics.T
    there = image[:, :2] / image[:, 2:]
    x, y = there.floor().long().unbind(1)
    inside = (x >= 0) & (x < depth.shape[1]) & (y >= 0) & (y < depth.shape[0])
    measured_z = torch.where(inside, depth[y.clamp(0, depth.shape[0] - 1), x.clamp(0, depth.shape[1] - 1)], torch.zeros_like(z))
    ray = torch.cat([there, torch.ones_like(there[:, :1])], 1) @ torch.linalg.inv(camera.intrinsics).T
    distance = ((ray * measured_z[:, None] - points) * normals).sum(1)
    known = measured_z > 0
    usable = known & ((measured_z - points[:, 2]).abs() < reach)
    if int(usable.sum()) < 10:
        return NormalEquations(hessian=torch.zeros(6, 6, dtype=torch.float64), gradient=torch.zeros(6, dtype=torch.float64), support=0.0)
    sigma = max(1.5 * float(distance[usable].abs().median()), 0.01 * reach)
    weight = usable * (1 - (distance / (_TUKEY * sigma)).square()).clamp(min=0).square() / (sigma**2 * _PIXELS_ALIKE)
    jacobian = (normals[:, None] @ point_jacobian(points, center))[:, 0]
    equations = _equations(jacobian, distance, weight)
    support = float(usable.sum()) / max(1, int(known.sum()))
    return NormalEquations(hessian=equations.hessian, gradient=equations.gradient, support=support)


def _equations(jacobian: Tensor, residual: Tensor, weight: Tensor) -> NormalEquations:
    jacobian, residual, weight = jacobian.double(), residual.double(), weight.double()
    weighted = jacobian * weight[:, None]
    return NormalEquations(hessian=weighted.T @ jacobian, gradient=weighted.T @ residual)
