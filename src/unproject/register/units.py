"""Sizes that differ as metres and millimetres do."""

from __future__ import annotations

from ..errors import DataError

_UNITS = (1000.0, 100.0, 39.37)


def suspected_factor(ratio: float, *, least: float, most: float) -> float | None:
    """By which unit one shape should be multiplied so that `ratio`, its size over the other's, becomes plausible; None if it is already.

    Args:
        least, most: plausible ratios.
    """
    if least <= ratio <= most:
        return None
    fitting = [f for unit in _UNITS for f in (unit, 1 / unit) if least <= ratio * f <= most]
    return fitting[0] if fitting else None


def check_units(source: float, target: float, *, where: str) -> None:
    """Refuse two overlapping shapes whose sizes (diagonals) cannot belong to one unit.

    Raises:
        DataError: the sizes differ more than 30 times; the message has the unit that is suspected.
    """
    ratio = source / target
    if 1 / 30 <= ratio <= 30:
        return
    factor = suspected_factor(ratio, least=1 / 10, most=10)
    hint = "" if factor is None else f"; the units differ, it seems: multiply the source by {factor:g}"
    raise DataError(f"{where}: the source measures {source:.4g} and the target {target:.4g}, so they cannot be the same thing{hint}")


def check_part_units(part: float, scene: float, spacing: float, *, where: str) -> None:
    """Refuse a part that cannot lie in a scene for its size.

    Args:
        part, scene: diagonals.
        spacing: of the scene's points.

    Raises:
        DataError: the part is larger than the scene or not larger than the gaps between its points.
    """
    if 5 * spacing <= part <= 2.5 * scene:
        return
    factor = suspected_factor(part / scene, least=max(0.005, 5 * spacing / scene), most=1.5)
    hint = "" if factor is None else f"; the units differ, it seems: multiply the model by {factor:g}"
    if part > scene:
        raise DataError(f"{where}: the model measures {part:.4g}, more than the scene with {scene:.4g}, so it cannot lie in it{hint}")
    raise DataError(
        f"{where}: the model measures {part:.4g}, but the scene's points are {spacing:.4g} apart, too coarse to show it (the scene "
        f"measures {scene:.4g}){hint}"
    )
