"""Normals that point out of a shape."""

from __future__ import annotations

from dataclasses import replace

from ..fit.orient import orient_normals
from ..geometry.neighbors import knn
from .shape import Shape, with_normals


def orient_outward(shape: Shape) -> Shape:
    """The same with normals; those that were not oriented are made to agree and to point to the convex side."""
    if shape.oriented:
        return shape
    shape = with_normals(shape)
    assert shape.normals is not None
    near = knn(shape.index, shape.index, min(12, shape.point_count - 1), exclude_self=True)
    areas = near.squared_distance[:, : min(6, near.squared_distance.shape[1])].mean(1)
    normals = orient_normals(shape.points, shape.normals, near.index, areas)
    return replace(shape, normals=normals, oriented=True)
