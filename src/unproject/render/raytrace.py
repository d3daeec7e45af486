"""Ray tracing: the fragments of `rasterize` by rays through the pixel centres, which also sees through distorted and fisheye lenses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..camera.camera import Camera, check_camera
from ..camera.transform import camera_to_screen, has_image, pixel_centers, rays_through
from ..errors import ArgumentError
from ..geometry.bvh import Bvh, build_bvh
from ..geometry.query import RayHit, ray_cast
from .project import Projection, depth_ranges, project
from .rasterize import Fragments

_MISFIT_PX = 0.05  # how far a pixel may lie from the image of its own ray; further where a lens images nothing
_EDGE_ON = {torch.float32: 1e-6, torch.float64: 1e-13}  # sine of the angle to a face below which its derivatives are noise
_APART = 8  # rounding errors between two layers


def raytrace(
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    *,
    cull_backfaces: bool = False,
    bvh: Bvh | None = None,
    vertex_offsets: Tensor | None = None,
    face_offsets: Tensor | None = None,
) -> Fragments:
    """The nearest face at every pixel centre, with its barycentrics and depth, by ray tracing: what `rasterize` gives, for any camera.

    The images of both agree but for pixel centres within rounding of an edge. Of two faces at the same depth either may be seen.
    Rasterizing takes less time in most scenes; given a tree, rays cost little more with more faces, and nothing for those out of view.

    Args:
        vertices, faces, vertex_offsets, face_offsets: as `rasterize`.
        camera: perspective, with or without lens distortion, orthographic or fisheye. Pixels that the lens images nothing to show nothing.
        cull_backfaces: leave out faces that are clockwise in the image, that is, seen from inside.
        bvh: `build_bvh(vertices, faces)` of these very vertices, packed as they are, to be reused; None builds one. Not for vertices with
            leading dimensions, nor with `cull_backfaces`, which takes a tree of the faces that each camera sees from outside.

    Raises:
        ArgumentError: shapes, NaN, indices out of range, batches that do not broadcast, a singular K, a tree of another mesh.

    Gradient: barycentrics and depth, to vertices and camera (the coefficients of its lens included); which face a pixel sees is held fixed.
    Finite for every finite input; a face seen edge-on has none.

    Source: first hits by a bounding volume hierarchy, watertight between faces (Woop, Benthin and Wald 2013).
    """
    return next(
        raytrace_layers(
            vertices, faces, camera, cull_backfaces=cull_backfaces, bvh=bvh, vertex_offsets=vertex_offsets, face_offsets=face_offsets
        )
    )


def raytrace_layers(
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    *,
    cull_backfaces: bool = False,
    bvh: Bvh | None = None,
    vertex_offsets: Tensor | None = None,
    face_offsets: Tensor | None = None,
) -> Iterator[Fragments]:
    """One layer of fragments after the other, from front to back, as `peel` gives them; faces at the same depth count as one.

    Arguments, errors and gradients: as `raytrace`.

    Yields:
        The layers: the first one in any case, others as long as there are any.
    """
    where = "raytrace"
    check_camera(camera, where=where)
    scene = project(vertices, faces, without_lens(camera), vertex_offsets=vertex_offsets, face_offsets=face_offsets, where=where)
    triangles = _triangles(vertices, scene, face_offsets)
    if bvh is not None and (cull_backfaces or triangles.vertices.shape != vertices.shape):
        raise ArgumentError(f"{where}: `bvh` is of no use with `cull_backfaces` or with vertices {list(vertices.shape)}: leave it out")
    if cull_backfaces:
        triangles = _seen_from_outside(triangles, scene, camera)
    rays = _rays(scene, camera, vertices.dtype)
    nearest = rays.near
    while True:
        hit, bvh = _cast(rays, triangles, nearest, bvh)
        yield _fragments(hit, rays, triangles, camera, scene.shape)
        if not bool((hit.face >= 0).any()):
            return
        precision = torch.finfo(vertices.dtype)
        nearest = (hit.distance.detach() * (1 + _APART * precision.eps)).clamp_min(precision.tiny)


def without_lens(camera: Camera) -> Camera:
    """The perspective camera with the same K as one with lens distortion or a fisheye; others as they are."""
    kind = "perspective" if camera.projection == "fisheye" else camera.projection
    near = camera.near if kind == "orthographic" or camera.near > 0 else min(1e-6, 0.5 * camera.far)
    return dataclasses.replace(camera, distortion=None, projection=kind, near=near)


@dataclass(frozen=True)
class _Triangles:
    """The faces to be hit, as a packed batch of n sets.

    Attributes:
        vertices: [R, 3]. corners: [T, 3] rows of them. offsets: [n + 1] where the sets begin.
        face: [T] which row of the caller's faces each is.
        of_image: [B] which set each image shows.
    """

    vertices: Tensor
    corners: Tensor
    offsets: Tensor
    face: Tensor
    of_image: Tensor


@dataclass(frozen=True)
class _Rays:
    """Rays [B, H * W] of the images; a point's depth is `start` + distance * `slope`. `near` and `far` are distances."""

    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor
    start: Tensor
    slope: Tensor


def _triangles(vertices: Tensor, scene: Projection, face_offsets: Tensor | None) -> _Triangles:
    faces, device = scene.faces, scene.faces.device
    if face_offsets is not None:
        offsets, lead = face_offsets.to(device, torch.int64), (face_offsets.shape[0] - 1,)
        corners, face = faces, torch.arange(faces.shape[0], device=device)
    else:
        lead, (count, size) = tuple(vertices.shape[:-2]), (faces.shape[0], vertices.shape[-2])
        meshes = torch.Size(lead).numel()
        offsets = torch.arange(meshes + 1, device=device) * count
        corners = (faces + torch.arange(meshes, device=device)[:, None, None] * size).reshape(-1, 3) if meshes != 1 else faces
        face = torch.arange(count, device=device).repeat(meshes)
    of_image = torch.arange(offsets.shape[0] - 1, device=device).view(lead).expand(scene.shape).reshape(-1)
    return _Triangles(vertices.reshape(-1, 3), corners, offsets, face, of_image)


def _seen_from_outside(triangles: _Triangles, scene: Projection, camera: Camera) -> _Triangles:
    """For each image, the faces that turn their outer side to the camera: all of such a face is seen from there, or nothing."""
    pose = camera.camera_from_world.detach().double().expand(*scene.shape, 4, 4).reshape(-1, 4, 4)
    k = camera.intrinsics.detach().expand(*scene.shape, 3, 3).reshape(-1, 3, 3)
    mirrored = k[:, 0, 0] * k[:, 1, 1] < k[:, 0, 1] * k[:, 1, 0]
    bounds, kept = triangles.offsets.tolist(), []
    for image, mesh in enumerate(triangles.of_image.tolist()):
        rows = slice(bounds[mesh], bounds[mesh + 1])
        a, b, c = triangles.vertices.detach().double()[triangles.corners[rows]].unbind(1)
        rotation, shift = pose[image, :3, :3], pose[image, :3, 3]
        toward = -rotation[2] if scene.orthographic else -(rotation.T @ shift) - a
        facing = (torch.linalg.cross(b - a, c - a) * toward).sum(-1)
        kept.append((facing < 0 if mirrored[image] else facing > 0).nonzero()[:, 0] + bounds[mesh])
    rows = torch.cat([triangles.offsets[:0], *kept])
    ends = torch.tensor([0, *(len(each) for each in kept)], device=rows.device).cumsum(0)
    of_image = torch.arange(len(kept), device=rows.device)
    return _Triangles(triangles.vertices, triangles.corners[rows], ends, triangles.face[rows], of_image)


def _rays(scene: Projection, camera: Camera, dtype: torch.dtype) -> _Rays:
    """Perspective directions have depth 1, fisheye ones length 1; orthographic rays start close to the mesh, for the sake of rounding."""
    pixels = pixel_centers(camera).to(dtype).flatten(0, 1)
    origins, directions = rays_through(camera, pixels, unit=camera.projection == "fisheye")
    shape = (*scene.shape, pixels.shape[0], 3)
    origins, directions = (t.expand(shape).reshape(-1, *shape[-2:]) for t in (origins, directions))
    start, slope = origins.new_zeros(origins.shape[0], 1), torch.ones_like(origins[..., 0])
    if camera.projection == "orthographic":
        low, high = depth_ranges(scene, camera.near).to(dtype).split(1, 1)
        start = (low - 1e-3 * (high - low)).clamp_min(camera.near)
        origins = origins + start[..., None] * directions
    elif camera.projection == "fisheye":
        axis = camera.camera_from_world[..., 2:3, :3].to(dtype)
        slope = (directions * axis.expand(*scene.shape, 1, 3).reshape(-1, 1, 3)).sum(-1)
    ahead = slope.detach() > 0  # near and far are depths
    safe = torch.where(ahead, slope.detach(), 1)
    near, far = ((plane - start) / safe for plane in (camera.near, camera.far))
    ahead = ahead & _is_imaged(camera, pixels, scene.shape)
    return _Rays(origins, directions, near, torch.where(ahead, far, -1), start, slope)


def _is_imaged(camera: Camera, pixels: Tensor, shape: tuple[int, ...]) -> Tensor:
    """[B or 1, H * W] whether the lens images anything to a pixel: where its model folds back, nothing."""
    if camera.projection != "fisheye" and camera.distortion is None:
        return torch.ones(1, pixels.shape[0], dtype=torch.bool, device=pixels.device)
    with torch.no_grad():
        pose = torch.eye(4, dtype=pixels.dtype, device=pixels.device)
        local = dataclasses.replace(camera, camera_from_world=pose, near=min(camera.near, 1e-3))
        _, directions = rays_through(local, pixels)
        misfit = (camera_to_screen(local, directions)[..., :2] - pixels).abs().amax(-1)
        imaged = (misfit < _MISFIT_PX) & has_image(local, directions)
        return imaged.expand(*shape, -1).reshape(-1, pixels.shape[0])


def _cast(rays: _Rays, triangles: _Triangles, nearest: Tensor, bvh: Bvh | None) -> tuple[RayHit, Bvh]:
    """First hits [B, H * W] beyond `nearest`, and the tree."""
    meshes = triangles.offsets.shape[0] - 1
    order = triangles.of_image.argsort(stable=True)
    each = (rays.origins, rays.directions, nearest, rays.far)
    each = each if meshes <= 1 else tuple(t[order] for t in each)
    counts = torch.bincount(triangles.of_image, minlength=meshes) * rays.far.shape[1]
    ends = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    mesh = (triangles.vertices, triangles.corners)
    if bvh is None:
        bvh = build_bvh(*mesh, face_offsets=triangles.offsets)
    origins, directions, near, far = (t.flatten(0, 1) for t in each)
    hit = ray_cast(origins, directions, mesh, bvh=bvh, min_distance=near, max_distance=far, query_offsets=ends)
    hit = hit.map(lambda t: t.unflatten(0, rays.far.shape))
    return (hit if meshes <= 1 else hit.map(lambda t: t[order.argsort()])), bvh


def _fragments(hit: RayHit, rays: _Rays, triangles: _Triangles, camera: Camera, shape: tuple[int, ...]) -> Fragments:
    seen = hit.face >= 0
    distance, barycentrics = hit.distance, hit.barycentrics
    if barycentrics.requires_grad:
        noisy = _edge_on(hit.face, rays.directions, triangles)
        barycentrics = torch.where(noisy[..., None], barycentrics.detach(), barycentrics)
        distance = torch.where(noisy, distance.detach(), distance)
    depth = torch.where(seen, rays.start + torch.where(seen, distance, 0) * rays.slope, 0)
    face = triangles.face[hit.face.clamp_min(0)] if triangles.face.shape[0] else hit.face
    size = (*shape, camera.height, camera.width)
    face = torch.where(seen, face, -1).view(size)
    return Fragments(face=face, barycentrics=barycentrics.reshape(*size, 3), depth=depth.reshape(size))


def _edge_on(face: Tensor, directions: Tensor, triangles: _Triangles) -> Tensor:
    """Which hits [B, H * W] lie on a face that the ray all but touches along."""
    result = torch.zeros_like(face, dtype=torch.bool)
    with torch.no_grad():
        place = (face >= 0).nonzero(as_tuple=True)
        a, b, c = triangles.vertices[triangles.corners[face[place]]].double().unbind(1)
        along, u, v = directions[place].double(), b - a, c - a
        size = along.norm(dim=-1) * u.norm(dim=-1) * v.norm(dim=-1)
        volume = (along * torch.linalg.cross(u, v)).sum(-1).abs()
        result[place] = ~(volume > _EDGE_ON[directions.dtype] * size)
    return result
