"""Whether measured depth contradicts poses, pixel by pixel: to choose between poses that explain an image about as well.

The depth term of a fit (kernels/pose_terms.py) looks at points of what a pose shows and measures along their normals, so that it pulls
well; what hides the object and surfaces seen edge-on dilute it. Here every pixel that shows the object and was measured answers.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..render.rasterize import rasterize
from .object_model import ObjectModel
from .refine import Sight

_SIGMA = 0.03  # diameters
_FEWEST = 20  # measured pixels that say something
_NEAR, _FAR = 1e-2, 1e4


def contradiction(model: ObjectModel, sight: Sight, poses: Tensor) -> Tensor:
    """[N] how far depth measured on the object is from what poses [N, 4, 4] show there or a pixel beside, 0 to 1.

    Pixels at which a pose shows nothing count as far off. 0 where hardly any pixel is measured.
    """
    maps, camera = sight.observation.maps, replace(sight.observation.camera, near=_NEAR, far=_FAR)
    measured = (maps[..., 6] > 0) & (maps[..., 1] > 0.5) & (maps[..., 0] > 0.5)
    result = poses.new_zeros(len(poses))
    if int(measured.sum()) < _FEWEST:
        return result
    depth, sigma = maps[..., 6][measured], math.hypot(_SIGMA, sight.observation.depth_sigma)
    for i, pose in enumerate(sight.from_first @ poses):
        with torch.no_grad():
            shown = rasterize(model.mesh.vertices, model.mesh.faces, replace(camera, camera_from_world=pose.float()))
        farthest, nearest = _most(shown.depth, shown.mask)[measured], -_most(-shown.depth, shown.mask)[measured]
        gap = torch.maximum(nearest - depth, depth - farthest).clamp(min=0)
        result[i] = (1 - 1 / (1 + (gap / sigma).square())).mean()
    return result


def _most(values: Tensor, where: Tensor) -> Tensor:
    """[h, w] greatest of the values of a pixel and its neighbours, of those `where`; minus infinity for none."""
    filled = values.masked_fill(~where, -torch.inf)
    return torch.nn.functional.max_pool2d(filled[None], 3, stride=1, padding=1)[0]
