"""render_points: a shaded picture of a point cloud, each point a disc with a soft edge."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..errors import ArgumentTypeError, describe
from ..geometry.neighbors import knn
from ..geometry.pca import estimate_normals
from ..geometry.points import PointCloud, measured_points
from .color import linear_from_srgb, srgb_from_linear
from .light import Light, Places, check_lights
from .render import RenderResult, background_image, default_lights
from .shade import Reflectance, Shading, combine, light_terms
from .soft import over
from .splat import splat
from .vectors import turned, unit_vectors


def render_points(
    cloud: PointCloud,
    camera: Camera,
    *,
    radius: float | Tensor | None = None,
    lights: Sequence[Light] | None = None,
    shading: Shading = Shading(),
    background: float | Tensor | tuple[float, float, float] = 1.0,
) -> RenderResult:
    """Render a point cloud: shade each point by its normal, then splat the points in depth order.

    Args:
        cloud: N points, with their colours or white; without normals as `prepare_points` estimates them. Points that are not finite are
            left out.
        camera: perspective or orthographic, without lens distortion; a batch [*C] gives as many images.
        radius: of the discs, scene units, one or [N]; None: `point_radii`, which close a surface.
        lights: as `render_mesh`, without shadows.
        shading: reflection (there are no highlights), `two_sided` and `color_space`; points are always shaded one by one.
        background: colour [3] (or a number) or image [*C, H, W, 3], encoded as the result.

    Returns:
        What `render_mesh` gives; points have no face (-1), barycentrics (0) or uv. Depth and position are 0 where less than
        half is covered.

    Raises:
        ArgumentError: shapes, a negative radius, a camera with lens distortion.

    Gradient: positions, normals, colours, radii, camera, lights, background.
    """
    where = "render_points"
    if not isinstance(cloud, PointCloud):
        raise ArgumentTypeError(f"{where}: `cloud` must be a PointCloud, got {describe(cloud)}")
    keep = torch.isfinite(cloud.positions).all(1)
    if isinstance(radius, Tensor) and radius.dim() == 1 and radius.shape[0] == keep.shape[0]:
        radius = radius[keep]
    whole = prepare_points(cloud)
    radius = point_radii(whole.positions) if radius is None else radius
    decode, encode = (linear_from_srgb, srgb_from_linear) if shading.color_space == "srgb" else (_same, _same)
    color, normal = _shaded(whole, camera, check_lights(default_lights() if lights is None else lights, where), shading, decode)
    position = whole.positions.expand(normal.shape)
    seen = splat(whole.positions, radius, torch.cat([color, normal, position], -1), camera)
    own, normals, position = seen.values.split(3, -1)
    behind = background_image(background, seen.values, f"{where}: `background`")
    color = torch.where(seen.alpha[..., None] > 0, encode(over(own, seen.alpha, decode(behind))), behind)
    covered = seen.alpha.detach() >= 0.5
    none = torch.full_like(covered, -1, dtype=torch.int64)
    return RenderResult(
        color=color, rgba=torch.cat([encode(own), seen.alpha[..., None]], -1),
        silhouette=seen.alpha, depth=torch.where(covered, seen.depth, 0), normals=unit_vectors(normals),
        position=torch.where(covered[..., None], position, 0), uv=None, face=none, barycentrics=torch.zeros_like(position),
    )  # fmt: skip


def prepare_points(cloud: PointCloud, *, neighbors: int = 16) -> PointCloud:
    """The finite points of a cloud, with normals: its own, or those of the planes through neighbours (either side may be outside)."""
    cloud = measured_points(cloud)
    if cloud.normals is not None:
        return dataclasses.replace(cloud, normals=cloud.normals.nan_to_num(0.0))
    positions, count = cloud.positions, cloud.point_count
    if count >= 4:
        return dataclasses.replace(cloud, normals=estimate_normals(positions.detach(), k=min(neighbors, count)).normals)
    return dataclasses.replace(cloud, normals=positions.new_tensor([0.0, 0.0, 1.0]).expand(count, 3))


def point_radii(positions: Tensor, *, neighbor: int = 4) -> Tensor:
    """[N] radii of 0.8 of the distance to a neighbour: discs by the fourth close an evenly sampled surface. No gradient."""
    count = positions.shape[0]
    if count < 2:
        return positions.new_ones(count)
    points = positions.detach()
    distance = knn(points, points, min(neighbor, count - 1), exclude_self=True).squared_distance[:, -1].sqrt()
    usual = distance.median()
    return (0.8 * distance).clamp(0.4 * usual, 2 * usual)


def _shaded(
    cloud: PointCloud, camera: Camera, lights: tuple[Light, ...], shading: Shading, decode: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Linear colours and unit normals [*C, N, 3] as each camera sees them."""
    positions, shape = cloud.positions, (*camera.batch_shape, cloud.point_count, 3)
    white = torch.ones_like(positions) if cloud.colors is None else decode(cloud.colors[:, :3].to(positions.dtype))
    assert cloud.normals is not None  # prepare_points
    pose = camera.camera_from_world.to(positions.dtype).expand(*camera.batch_shape, 4, 4).reshape(-1, 4, 4)
    inverse = torch.linalg.inv(pose)
    images = inverse.shape[0]
    center, axis = inverse[:, None, :3, 3], inverse[:, None, :3, 2]
    eye = unit_vectors(-axis.expand(images, *positions.shape) if camera.projection == "orthographic" else center - positions)
    normal = unit_vectors(cloud.normals.to(positions.dtype)).expand(eye.shape)
    normal = turned(normal, eye) if shading.two_sided else normal
    if shading.reflection == "unlit":
        return white.expand(shape), normal.reshape(shape)
    flat = [t.expand(eye.shape).reshape(-1, 3) for t in (positions, normal, eye, white)]
    image = torch.arange(images, device=positions.device).repeat_interleave(cloud.point_count)
    places = Places(position=flat[0], world_from_camera=inverse, image=image, batch=tuple(camera.batch_shape))
    surface = Reflectance(
        ambient=flat[3], diffuse=flat[3], specular=positions.new_zeros(3), emissive=positions.new_zeros(3), shininess=positions.new_ones(())
    )
    color = combine(light_terms(flat[1], flat[2], lights, places, surface.shininess, reflection="lambert"), surface)
    return color.reshape(shape), normal.reshape(shape)


def _same(color: Tensor) -> Tensor:
    return color
