"""Sphere tracing: where rays meet the surface of a signed distance function, differentiably."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ArgumentError, check_shape
from ..geometry.isosurface import apply_affine
from ..geometry.voxels import VoxelGrid, sample_grid
from ..struct import TensorStruct, broadcast_shapes

DistanceFunction = Callable[[Float[Tensor, "N 3"]], Float[Tensor, "N"]]


@dataclass(frozen=True, kw_only=True)
class SurfaceHit(TensorStruct):
    """Where rays meet a surface. Leading dimensions are those of the rays.

    Attributes:
        hit: [...] bool.
        distance: [...] from the origin in lengths of the direction; infinite for a miss.
        point: [..., 3]; the ray's origin for a miss.
        normal: [..., 3] unit, out of the surface; zero for a miss.
        clearance: [...] the least value of the function along the ray over the distance there, about the sine of the angle by which a
            ray misses; negative inside. Differentiable: a soft silhouette is sigmoid(-clearance / softness).
    """

    hit: Tensor
    distance: Tensor
    point: Tensor
    normal: Tensor
    clearance: Tensor


def sphere_trace(
    function: DistanceFunction,
    origins: Float[Tensor, "... 3"],
    directions: Float[Tensor, "... 3"],
    *,
    near: float | Tensor = 0.0,
    far: float | Tensor = 1e3,
    steps: int = 96,
    tolerance: float = 1e-4,
) -> SurfaceHit:
    """The first point of each ray where a signed distance function is zero.

    Args:
        function: world points [N, 3] to signed distances [N], positive outside, in torch. It may underestimate distances; where it
            overestimates them, thin parts are missed.
        origins, directions: [..., 3] each, broadcast; directions need not be unit vectors.
        near, far: where on the ray to look, in lengths of the direction; numbers or [...].
        steps: of sphere tracing at most.
        tolerance: how near to the surface a ray ends, world units.

    Returns:
        SurfaceHit. A ray that begins inside meets the surface where it begins.

    Gradient: what `function` depends on, and origins and directions, through distance, point, normal and clearance. The ray's parameter
    moves so that the point stays on the surface (implicit differentiation).
    Source: Hart 1996 (sphere tracing); Niemeyer et al. 2020 and Yariv et al. 2020 (gradients).
    """
    check_shape(origins, [..., 3], name="origins", where="sphere_trace")
    check_shape(directions, [..., 3], name="directions", where="sphere_trace")
    if not tolerance > 0 or steps < 1:
        raise ArgumentError("sphere_trace: `tolerance` and `steps` must be positive")
    origins, directions = torch.broadcast_tensors(origins, directions)
    shape = origins.shape[:-1]
    start, ray = origins.reshape(-1, 3), directions.reshape(-1, 3)
    first = torch.as_tensor(near, dtype=start.dtype, device=start.device).expand(shape).reshape(-1)
    last = torch.as_tensor(far, dtype=start.dtype, device=start.device).expand(shape).reshape(-1)
    with torch.no_grad():
        t, hit, closest = _trace(function, start.detach(), ray.detach(), first, last, steps, tolerance)
    return _differentiable(function, start, ray, t, hit, closest, shape)


def _trace(
    function: DistanceFunction, start: Tensor, ray: Tensor, near: Tensor, far: Tensor, steps: int, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Parameters of the hits, which rays hit, and where each ray comes closest by angle. Only rays under way are asked about."""
    length = torch.linalg.vector_norm(ray, dim=-1)
    t, hit = near.clone(), torch.zeros_like(near, dtype=torch.bool)
    closest, least = near.clone(), torch.full_like(near, torch.inf)
    active = ((length > 0) & (near < far)).nonzero()[:, 0]
    for _ in range(steps):
        if active.numel() == 0:
            break
        here = t[active]
        value = _ask(function, start[active] + here[:, None] * ray[active])
        angle = value / (here * length[active]).clamp_min(tolerance)
        better = angle < least[active]
        least[active] = torch.where(better, angle, least[active])
        closest[active] = torch.where(better, here, closest[active])
        arrived = value < tolerance
        hit[active[arrived]] = True
        onward = here + value / length[active]
        going = ~arrived & (onward < far[active]) & torch.isfinite(value)
        active, onward = active[going], onward[going]
        t[active] = onward
    return t, hit, closest


def _ask(function: DistanceFunction, points: Tensor) -> Tensor:
    value = function(points)
    if value.shape != points.shape[:1]:
        raise ArgumentError(f"sphere_trace: `function` must return {list(points.shape[:1])} for points [N, 3], got {list(value.shape)}")
    return value


def _slope(function: DistanceFunction, points: Tensor) -> Tensor:
    """Gradient of the function at points [N, 3]; itself differentiable, in them and in what the function depends on, if they have one."""
    recorded = points.requires_grad
    with torch.enable_grad():
        place = points if recorded else points.detach().requires_grad_()
        (slope,) = torch.autograd.grad(_ask(function, place).sum(), place, create_graph=recorded)
    return slope


def _differentiable(
    function: DistanceFunction, start: Tensor, ray: Tensor, t: Tensor, hit: Tensor, closest: Tensor, shape: torch.Size
) -> SurfaceHit:
    """Attach gradients: the point slides along its ray to stay where the function is zero."""
    rows = hit.nonzero()[:, 0]
    normal, distance, points = torch.zeros_like(start), torch.full_like(t, torch.inf), start
    if rows.numel() > 0:
        origin, direction = start[rows], ray[rows]
        place = origin + t[rows, None] * direction
        value = _ask(function, place)
        slope = _slope(function, place.detach())
        along = (slope * direction).sum(-1).detach()
        steep = along.abs() > 1e-3 * torch.linalg.vector_norm(direction, dim=-1).detach()
        moved = t[rows] - torch.where(steep, value / torch.where(steep, along, 1), 0)
        met = origin + moved[:, None] * direction
        slope = _slope(function, met) if met.requires_grad else slope
        distance = distance.index_put((rows,), moved)
        points = points.index_put((rows,), met)
        normal = normal.index_put((rows,), torch.nn.functional.normalize(slope, dim=-1, eps=torch.finfo(slope.dtype).tiny))
    near_by = closest.clamp_min(1e-6)
    length = torch.linalg.vector_norm(ray, dim=-1)
    clearance = _ask(function, start + closest[:, None] * ray) / (near_by * length).clamp_min(torch.finfo(t.dtype).tiny)
    return SurfaceHit(
        hit=hit.reshape(shape),
        distance=distance.reshape(shape),
        point=points.reshape(*shape, 3),
        normal=normal.reshape(*shape, 3),
        clearance=clearance.reshape(shape),
    )


def trace_grid(
    grid: VoxelGrid, origins: Float[Tensor, "... 3"], directions: Float[Tensor, "... 3"], *, steps: int = 128, tolerance: float = 1e-4
) -> SurfaceHit:
    """Sphere tracing of a dense grid of signed distances, within the grid's box. Outside of it there is no surface.

    Args:
        grid: [X, Y, Z] distances in world units (or an underestimate, such as a TSDF times its truncation).

    Gradient: the grid's values and transform, origins and directions.
    """
    check_shape(grid.values, ["X", "Y", "Z"], name="grid.values", where="trace_grid")
    shape = broadcast_shapes(origins.shape, directions.shape)
    near, far = box_range(grid, origins.expand(shape), directions.expand(shape))
    function = lambda points: sample_grid(grid, points)
    return sphere_trace(function, origins, directions, near=near, far=far, steps=steps, tolerance=tolerance)


def box_range(grid: VoxelGrid, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave a grid's box; an empty range for those that miss it."""
    inverse = torch.linalg.inv(grid.world_from_grid.detach().to(origins.dtype))
    start = apply_affine(inverse, origins.detach())
    ray = directions.detach() @ inverse[:3, :3].mT
    ray = torch.where(ray == 0, torch.finfo(ray.dtype).tiny ** 0.5, ray)
    high = start.new_tensor([n - 1.0 for n in grid.size])
    sides = torch.stack([-start / ray, (high - start) / ray])
    return sides.amin(0).amax(-1).clamp_min(0), sides.amax(0).amin(-1)
