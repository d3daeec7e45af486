"""Planes in a depth image: the one that most points lie on, and what rises from the one around a box."""

from __future__ import annotations

import torch
from torch import Tensor

from ..camera.camera import Camera

BAND = 0.04  # diameters: half the thickness of a plane while it is sought
_TRIES, _SAMPLE = 200, 4000
_LEAST_AROUND, _FEWEST = 0.4, 30  # share of what surrounds a box, and points, below which nothing says that the object stands on a plane
_LEAST_SIGMA, _RANGE = 0.004, 1.0  # diameters: by how much a plane is off at best; how far from it anything may be
_MOST_FLAT, _LOW = 0.9, 0.5  # most of the surroundings that counts as the plane; share of objects that lie flat on it
_MOST_ODDS = 2.5


def points_at(rows: Tensor, columns: Tensor, depth: Tensor, camera: Camera) -> Tensor:
    """Points [N, 3] float64 of the camera's frame that pixels [N] show at depths [N]."""
    k, z = camera.intrinsics.double(), depth.double()
    return torch.stack([(columns + 0.5 - k[0, 2]) / k[0, 0] * z, (rows + 0.5 - k[1, 2]) / k[1, 1] * z, z], 1)


def some_of(points: Tensor, generator: torch.Generator) -> Tensor:
    """As many of the points [N, 3] as tell where a plane is, in random order."""
    return points[torch.randperm(len(points), generator=generator)[:_SAMPLE]]


def main_plane(points: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Normal [3] and offset of the plane that most of three points [N, 3] or more lie on, found by random triples."""
    a, b, c = (points[torch.randint(len(points), (_TRIES,), generator=generator)] for _ in range(3))
    normals = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=1)
    offsets = (normals * a).sum(1)
    most = ((points @ normals.T - offsets).abs() < BAND).sum(0).argmax()
    normal, offset = normals[most], offsets[most]
    for _ in range(3):
        on = points[(points @ normal - offset).abs() < BAND]
        if len(on) < 3:
            break
        normal = torch.linalg.eigh((on - on.mean(0)).T @ (on - on.mean(0))).eigenvectors[:, 0]
        offset = on.mean(0) @ normal
    return normal, offset


def rising_odds(depth: Tensor, in_box: Tensor, camera: Camera, corner: tuple[int, int], *, thinnest: float) -> Tensor:
    """Log odds [h, w] that pixels show an object that stands on the plane around it; 0 where nothing was measured or there is no plane.

    What lies on the plane is the plane, unless the object is about as thin as what was measured is rough; what rises from it is the object.

    Args:
        depth: [h, w] of a window, diameters, 0 unknown. in_box: [h, w] bool.
        camera: of the whole image; corner: (row, column) of the window in it.
        thinnest: length of the object along its shortest axis, diameters.
    """
    generator = torch.Generator().manual_seed(0)
    rows, columns = (depth > 0).nonzero().unbind(1)
    points = points_at(rows + corner[0], columns + corner[1], depth[rows, columns], camera)
    around = some_of(points[~in_box[rows, columns]], generator)
    odds = torch.zeros_like(depth)
    if len(around) < _FEWEST:
        return odds
    normal, offset = main_plane(around, generator)
    away = around @ normal - offset
    flat = away[away.abs() < BAND]
    if len(flat) < max(_LEAST_AROUND * len(around), _FEWEST):
        return odds
    sigma = max(1.48 * float(flat.abs().median()), _LEAST_SIGMA)
    height = (points @ normal - offset) * (1.0 if float(offset) < 0 else -1.0)  # towards the camera
    on_plane = torch.exp(-(height / sigma).square() / 2) / (2.5 * sigma)
    low = (torch.sigmoid(3 * height / sigma) - torch.sigmoid(3 * (height - thinnest) / sigma)) / thinnest
    own = _LOW * low + (1 - _LOW) / _RANGE * torch.sigmoid(3 * height / sigma)
    share = min(len(flat) / len(around), _MOST_FLAT)
    other = share * on_plane + (1 - share) / _RANGE
    odds[rows, columns] = ((own + 0.02) / other).log().clamp(-_MOST_ODDS, _MOST_ODDS).float()
    return odds
