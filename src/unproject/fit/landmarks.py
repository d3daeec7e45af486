"""Points of a scan whose vertex of the model is known."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..errors import ArgumentError, check_indices, check_shape
from ..struct import TensorStruct

_SHARE = 0.01  # of the model's size: deviation of landmarks that have none given


@dataclass(frozen=True, kw_only=True)
class Landmarks(TensorStruct):
    """Points whose vertex is known.

    Attributes:
        vertices: [M] of the model.
        positions: [M, 3] in the scan's frame.
        deviation: how exact the positions are, scene units; by default 1 % of the model's size.
    """

    vertices: Tensor
    positions: Tensor
    deviation: float | None = None


def prepare_landmarks(
    landmarks: Landmarks | None, *, vertex_count: int, middle: Tensor, size: float, where: str
) -> tuple[Tensor, Tensor, float] | None:
    """Checked: vertices [M] int64, positions [M, 3] float64 about `middle`, and the deviation; None if there are none.

    Raises:
        ArgumentError: shapes, indices, values that are not finite, a deviation that is not above 0.
    """
    if landmarks is None or len(landmarks.vertices) == 0:
        return None
    check_shape(landmarks.vertices, ["M"], name="landmarks.vertices", where=where, integer=True)
    check_indices(landmarks.vertices, vertex_count, name="landmarks.vertices", where=where)
    check_shape(landmarks.positions, [len(landmarks.vertices), 3], name="landmarks.positions", where=where, finite=True)
    deviation = _SHARE * size if landmarks.deviation is None else landmarks.deviation
    if not deviation > 0:
        raise ArgumentError(f"{where}: `landmarks.deviation` must be above 0, got {deviation}")
    return landmarks.vertices.long(), landmarks.positions.double() - middle, deviation
