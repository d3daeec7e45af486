"""How far the object's outline ends from the sides of a given box, and the normal equations that this adds to a pose's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..struct import TensorStruct

_LEAST = 0.03  # of the box's longer side: how exact a box is at best
_BORDER_PX = 2.0  # of the image: a side nearer to the image's border may be cut off by it
_BEYOND = 0.1  # weight of ends beyond a side, which something may hide, against ends before it
_SIGNS = (-1.0, -1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class BoxSides(TensorStruct):
    """A box around the visible part of an object, in a crop.

    Attributes:
        places: [4] x0, y0, x1, y1, px of the crop.
        cut: [4] bool, whether the image's border may cut the object off there.
    """

    places: Tensor
    cut: Tensor


def box_sides(box: tuple[float, float, float, float], camera: Camera, crop: Camera) -> BoxSides:
    """The sides of a box in an image as sides in a crop of it."""
    x0, y0, x1, y1 = box
    k, c = camera.intrinsics.double(), crop.intrinsics.double()
    corner = torch.tensor([[x0, y0], [x1, y1]], dtype=torch.float64)
    placed = (corner - k[:2, 2]) / k[[0, 1], [0, 1]] * c[[0, 1], [0, 1]] + c[:2, 2]
    least = torch.tensor([x0, y0, camera.width - x1, camera.height - y1])
    return BoxSides(places=placed.flatten(), cut=least < _BORDER_PX)


def box_term(rim: Tensor, poses: Tensor, sides: BoxSides, lens: Tensor, size: float, sigma_px: float) -> tuple[Tensor, Tensor, Tensor]:
    """Costs [B] 0 to 1, matrices [B, 6, 6] and slopes [B, 6] of half the cost, the mean over the sides (see kernels/pose_terms.py).

    Args:
        rim: [B, C, 3] points of the outline, working frame.
        poses: [B, 4, 4] float64.
        lens: [4] fx, fy, cx, cy of the crop.
        size: longer side of the box, px of the crop.
    """
    placed = rim.double() @ poses[:, :3, :3].transpose(1, 2) + poses[:, None, :3, 3]
    depth = placed[..., 2].clamp(min=1e-2)
    pixel = placed[..., :2] / depth[..., None] * lens[:2] + lens[2:]
    signs = torch.tensor(_SIGNS, dtype=torch.float64)
    reach, chosen = (pixel[..., [0, 1, 0, 1]] * signs).max(1)
    beyond = reach - sides.places * signs
    beyond = torch.where(sides.cut & (beyond > 0), torch.zeros_like(beyond), beyond)
    scaled = beyond / max(sigma_px, _LEAST * size)
    share = 1 / (1 + scaled.square())
    weight = torch.where(beyond > 0, _BEYOND, 1.0) / 4
    at = placed.gather(1, chosen[..., None].expand(-1, -1, 3))
    axis = torch.tensor([0, 1, 0, 1])
    row = torch.arange(4)
    flat = signs * lens[axis] / at[..., 2].clamp(min=1e-2) / max(sigma_px, _LEAST * size)
    gradient = torch.zeros_like(at)
    gradient[:, row, axis] = flat
    gradient[..., 2] = -flat * at[:, row, axis] / at[..., 2].clamp(min=1e-2)
    jacobian = torch.cat([gradient, torch.linalg.cross(at - poses[:, None, :3, 3], gradient)], 2)
    weighted = jacobian * (weight * share.square())[..., None]
    return (weight * (1 - share)).sum(1), weighted.transpose(1, 2) @ jacobian, (weighted * scaled[..., None]).sum(1)
