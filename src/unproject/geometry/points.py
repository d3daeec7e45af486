"""PointCloud: one point cloud as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..errors import check_shape
from ..struct import TensorStruct


@dataclass(frozen=True, kw_only=True)
class PointCloud(TensorStruct):
    """A point cloud.

    Attributes:
        positions: [N, 3].
        normals: [N, 3] unit vectors out of the surface, or None.
        colors: [N, 3] RGB in [0, 1], or None.
        attributes: further values a point, [N, ...].
        metadata: what a file says besides.
    """

    positions: Tensor
    normals: Tensor | None = None
    colors: Tensor | None = None
    attributes: Mapping[str, Tensor] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def point_count(self) -> int:
        return self.positions.shape[0]

    def __getitem__(self, index: Any) -> PointCloud:
        """Select points: by slice, indices or mask. Metadata is kept."""
        if isinstance(index, int):
            index = slice(index, index + 1 or None)
        pick = lambda t: None if t is None else t[index]
        return PointCloud(
            positions=self.positions[index],
            normals=pick(self.normals),
            colors=pick(self.colors),
            attributes={name: value[index] for name, value in self.attributes.items()},
            metadata=self.metadata,
        )


def make_points(positions: Any, **fields: Any) -> PointCloud:
    """A point cloud from arrays, lists or tensors, checked: [N, 3], finite.

    Raises:
        ArgumentError: shape, NaN or infinity (the message names the first bad point).
    """
    points = torch.as_tensor(positions)
    points = points if points.is_floating_point() else points.to(torch.float32)
    check_shape(points, ["N", 3], name="positions", where="make_points", finite=True)
    return PointCloud(positions=points, **fields)


def measured_points(cloud: PointCloud) -> PointCloud:
    """The points whose coordinates are finite. Organized clouds of depth cameras have a row of NaN for each pixel without a measurement."""
    finite = torch.isfinite(cloud.positions).all(1)
    return cloud if bool(finite.all()) else cloud[finite]
