"""fit_mesh: a surface from a point cloud, by the method whose options are passed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from ..errors import ArgumentError
from ..geometry.mesh import Mesh
from ..geometry.points import PointCloud
from .deform import DeformOptions, deform_mesh
from .step import FitStep
from .surface import reconstruct_surface
from .surface_options import SurfaceOptions

FitOptions: TypeAlias = SurfaceOptions | DeformOptions


def fit_mesh(
    points: PointCloud, options: FitOptions = SurfaceOptions(), *, template: Mesh | None = None, resume: FitStep | None = None
) -> Iterator[FitStep]:
    """Fit a mesh to a point cloud. The mesh of the last step is the result.

    Args:
        points: the scan; any unit and place.
        options: SurfaceOptions (any topology) or DeformOptions (a template's topology) choose the method.
        template: mesh to deform; only with DeformOptions.
        resume: the step to go on behind, for example from a checkpoint.

    Raises:
        ArgumentError: NaN or infinite positions; a template without DeformOptions.
        DataError: the points do not span a surface.

    Example:
        >>> for step in fit_mesh(load_points("scan.ply")):
        ...     print(step.stage, step.losses)
        >>> save(step.mesh, "surface.ply")
    """
    if isinstance(options, DeformOptions):
        return deform_mesh(points, template, options, resume=resume)
    if template is not None:
        raise ArgumentError("fit_mesh: a `template` is deformed; pass DeformOptions() with it")
    return reconstruct_surface(points, options, resume=resume)
