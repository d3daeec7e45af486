"""Motions that map a model onto itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud
from .globally import normal_weights
from .icp import IcpOptions, align_shapes, nearest_points
from .orientation import orient_outward
from .point_pairs import gather, make_pair_table, vote
from .result import frame_change
from .shape import Shape, make_shape, thin

_REFERENCES = 150
_MOST = 60  # symmetries: as many as a dodecahedron's
_ALIKE = 0.3  # radians between symmetries that are not the same; a turned shape has one for each such step


def find_symmetries(model: PointCloud | Mesh, *, tolerance: float = 0.02) -> Float[Tensor, "K 4 4"]:
    """Rotations (with the shifts that belong to them) that map a model onto itself, the identity left out.

    A shape that may be turned by any angle about an axis has an evenly spread choice of turns.

    Args:
        model: a mesh, or a cloud of all sides.
        tolerance: how far the model may be from itself, in its diameters.

    Returns:
        [K, 4, 4] float64 model_from_model, the best first.

    Raises:
        DataError: too few points, or a mesh without area.
    """
    shape = make_shape(model, name="model", where="find_symmetries")
    motions = shape_symmetries(shape, tolerance=tolerance)
    return torch.stack([frame_change(m, shape.origin, shape.origin) for m in motions]) if motions else torch.empty(0, 4, 4).double()


def shape_symmetries(shape: Shape, *, tolerance: float = 0.02, sampling: float = 0.06) -> list[Tensor]:
    """`find_symmetries` of a prepared shape, in its inner frame."""
    step = sampling * shape.diameter
    fine = orient_outward(thin(shape, 0.5 * step))
    coarse = thin(fine, step)
    assert coarse.normals is not None and fine.normals is not None
    table = make_pair_table(coarse.points, coarse.normals, step)
    motions, votes = vote(table, coarse, references=_REFERENCES)
    centre = coarse.points.double().mean(0)
    # A motion that maps a shape onto itself leaves its middle where it is.
    kept = ((motions[:, :3, :3] @ centre + motions[:, :3, 3]) - centre).norm(dim=1) < 0.1 * shape.diameter
    motions, _ = gather(motions[kept], votes[kept], centre, distance=0.1 * shape.diameter, angle=_ALIKE, most=60)
    found: list[tuple[float, Tensor]] = []
    distance = tolerance * shape.diameter + 0.3 * step

    def consider(motion: Tensor) -> bool:
        others = [torch.eye(4, dtype=torch.float64), *(m for _, m in found)]
        cosine = max(float(((motion[:3, :3] * m[:3, :3]).sum() - 1) / 2) for m in others)
        if cosine >= math.cos(_ALIKE) or len(found) >= _MOST:
            return False
        quality = self_overlap(fine, motion, distance)
        if quality > 0.95:
            found.append((quality, motion))
        return quality > 0.95

    for motion in motions:
        consider(_refined(fine, motion, step))
    _close(found, consider)
    return [motion for _, motion in sorted(found, key=lambda item: -item[0])]


def _close(found: list[tuple[float, Tensor]], consider: Callable[[Tensor], bool]) -> None:
    """What two symmetries give one after the other is a symmetry too."""
    done = 0
    while done < len(found) < _MOST:
        newest = found[done][1]
        for _, other in list(found):
            consider(newest @ other)
            consider(other @ newest)
        done += 1


def self_overlap(shape: Shape, motion: Tensor, distance: float) -> float:
    """Share of the points, the smaller of both ways, that lie on the unmoved shape with their normals along; normals count evenly."""
    assert shape.normals is not None
    weight = normal_weights(shape.normals)
    shares = []
    for pose in (motion, torch.linalg.inv(motion)):
        squared, index = nearest_points(shape.index, shape.index, pose)
        along = ((shape.normals @ pose[:3, :3].T.float()) * shape.normals[index]).sum(1) > 0.5
        shares.append(float((weight * (along & (squared <= distance**2))).sum() / weight.sum()))
    return min(shares)


def _refined(shape: Shape, motion: Tensor, reach: float) -> Tensor:
    start = frame_change(motion, shape.origin, shape.origin)
    options = IcpOptions(voxels=(0.0,), max_distance=reach, iterations=10, tolerance=1e-4)
    last = start
    try:
        for step in align_shapes(shape, shape, start, options):
            last = step.target_from_source
    except DataError:
        return motion
    return frame_change(last, -shape.origin, -shape.origin)
