"""What a user may ask of a surface reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import ArgumentError


@dataclass(frozen=True, kw_only=True)
class SurfaceOptions:
    """How to reconstruct a surface. The defaults take everything from the data."""

    holes: Literal["auto", "open", "closed"] | float = "auto"
    """closed: a watertight surface. open: no surface where no points are near. A number: closed where a hole is narrower than that, in
    scene units, else open. auto: closed, unless much of it would be made up (40 % without points near, or 5 % farther than a tenth of the
    longest side from all points)."""
    resolution: float | None = None
    """Cell size in scene units; by default the distance between neighbouring points."""
    smoothness: float = 1.0
    """Factor on the smoothing length that the data asks for."""
    use_normals: bool = True
    """Use the normals that the points come with, if any."""
    reject_outliers: bool = True
    """Leave out points without company."""


def check_options(options: SurfaceOptions, *, where: str) -> None:
    """Raise an ArgumentError that names `where` unless all is in range."""
    by_size = isinstance(options.holes, (int, float)) and options.holes >= 0
    if not by_size and options.holes not in ("auto", "open", "closed"):
        raise ArgumentError(f"{where}: `holes` must be auto, open, closed or the width of the widest to close, got {options.holes!r}")
    if options.resolution is not None and not options.resolution > 0:
        raise ArgumentError(f"{where}: `resolution` must be positive, got {options.resolution}")
    if not options.smoothness > 0:
        raise ArgumentError(f"{where}: `smoothness` must be positive, got {options.smoothness}")
