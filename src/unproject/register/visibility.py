"""Which points of a model a sensor can see: those inside of it never, the others from the directions that nothing blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..camera.viewpoints import fibonacci_directions
from ..geometry.bvh import Bvh, build_bvh
from ..geometry.point_index import build_index
from ..geometry.query import occluded
from .shape import Shape

_DIRECTIONS = 80
_GRAZING = 0.1  # cosine below which a sensor returns nothing


@dataclass(frozen=True, kw_only=True)
class Views:
    """What is seen of a model's points from far away.

    Attributes:
        shape: the model, thinned.
        directions: [K, 3] unit vectors from the model to the sensor.
        seen: [K, N] of each point.
    """

    shape: Shape
    directions: Tensor
    seen: Tensor

    def towards(self, direction: Tensor) -> Tensor:
        """What is seen [..., N] from directions [..., 3] in the model's frame."""
        return self.seen[(direction @ self.directions.T).argmax(-1)]


def make_views(shape: Shape, offset: float, *, oriented: bool) -> Views:
    """Views of a shape: of a mesh, with what it hides of itself; of an oriented cloud, the points that face the direction; else all.

    Args:
        oriented: whether the normals are known to point outwards; else everything counts as seen.
        offset: how far out of the surface rays begin, scene units; more than thinning moves a point inwards.
    """
    directions = fibonacci_directions(_DIRECTIONS)
    if shape.normals is None or not oriented:
        return Views(shape=shape, directions=directions, seen=torch.ones(_DIRECTIONS, shape.point_count, dtype=torch.bool))
    seen = directions @ shape.normals.T > _GRAZING
    if shape.mesh is not None:
        which, point = seen.nonzero().T
        seen[which, point] = ~_blocked(shape, build_bvh(shape.mesh.vertices, shape.mesh.faces), point, directions[which], offset)
    return Views(shape=shape, directions=directions, seen=seen)


def without_inside(shape: Shape, offset: float) -> Shape:
    """The samples of a mesh that can be seen from somewhere; parts that are pushed into each other have others. A cloud as it is."""
    if shape.mesh is None or shape.normals is None:
        return shape
    tree = build_bvh(shape.mesh.vertices, shape.mesh.faces)
    hidden = torch.arange(shape.point_count)
    for direction in fibonacci_directions(_DIRECTIONS):
        facing = shape.normals[hidden] @ direction > _GRAZING
        chosen = hidden[facing]
        facing[facing.clone()] = ~_blocked(shape, tree, chosen, direction.expand(len(chosen), 3), offset)
        hidden = hidden[~facing]
    outside = torch.ones(shape.point_count, dtype=torch.bool)
    outside[hidden] = False
    if int(outside.sum()) < 0.05 * shape.point_count:  # a mesh wound the wrong way, say
        return shape
    colors = None if shape.colors is None else shape.colors[outside]
    points = shape.points[outside].contiguous()
    return replace(shape, points=points, normals=shape.normals[outside], colors=colors, index=build_index(points))


def _blocked(shape: Shape, tree: Bvh, point: Tensor, direction: Tensor, offset: float) -> Tensor:
    assert shape.mesh is not None and shape.normals is not None
    origins = shape.points[point] + offset * shape.normals[point]
    return occluded(origins.contiguous(), direction.contiguous(), shape.mesh, bvh=tree)
