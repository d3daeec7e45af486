"""How bright a surface looks by where it faces: the light of a scene in few numbers, learnt from images of a known surface.

Diffuse reflection keeps hardly more of any light than its first nine spherical harmonics. Source: Ramamoorthi and Hanrahan 2001, An
efficient representation for irradiance environment maps.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TERMS = 9
_ROUNDS = 3
_INERTIA, _EVENNESS = 0.3, 0.03  # weight of what was known before, or else of light from everywhere, as a share of the pixels
_LEAST = 0.05  # of the brightness of what faces no light
_FEWEST = 50  # pixels


def shading(normals: Tensor, light: Tensor) -> Tensor:
    """Factors [P, 1] on the grey values of a surface with normals [P, 3] in the camera frame; light: [9] of the harmonics."""
    return (_harmonics(normals) @ light.to(normals)[:, None]).clamp(min=_LEAST * abs(float(light[0])))


def learn_light(before: Tensor | None, albedo: Tensor, normals: Tensor, seen: Tensor) -> Tensor | None:
    """The light [9] by which grey values [P] of a surface with normals [P, 3] look as they are seen [P]; what is in front weighs less.

    Args:
        before: what was known, or None. It is also returned where there are too few pixels.
    """
    if len(albedo) < _FEWEST:
        return before
    rows, target = (albedo[:, None] * _harmonics(normals)).double(), seen.double()
    precision = torch.full((_TERMS,), len(rows) * float(albedo.double().square().mean()), dtype=torch.float64)
    if before is None:
        known, weight = torch.zeros(_TERMS, dtype=torch.float64), torch.ones_like(target)
        precision *= _EVENNESS
        precision[0] *= 1e-6
    else:
        known, weight = before.double(), _agreement(rows @ before.double() - target)
        precision *= _INERTIA
    light = known
    for _ in range(_ROUNDS):
        weighted = rows * weight[:, None]
        light = torch.linalg.solve(weighted.T @ rows + precision.diag(), weighted.T @ target + precision * known)
        weight = _agreement(rows @ light - target)
    return light


def _agreement(away: Tensor) -> Tensor:
    """Weights of grey values that are off by so much."""
    return 1 / (1 + (away / (2 * away.abs().median().clamp(min=1.0))).square())


def _harmonics(normals: Tensor) -> Tensor:
    """[P, 9] polynomials of the normals [P, 3], not normalized."""
    x, y, z = normals.unbind(1)
    return torch.stack([torch.ones_like(x), x, y, z, x * y, y * z, z * z - 1 / 3, x * z, x * x - y * y], 1)
