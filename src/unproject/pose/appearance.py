"""The colours of a mesh, of its vertices or its texture, from images at known poses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..camera.undistortion import undistort_image, undistorted_camera
from ..errors import ArgumentError, DataError
from ..geometry.laplacian import uniform_laplacian
from ..geometry.material import Material
from ..geometry.mesh import Mesh
from ..geometry.topology import mesh_topology
from ..lie.se3 import se3_apply
from ..render.rasterize import rasterize
from .prepare import PoseInput

_GRAZING = 0.15  # cosine below which a pixel tells little of the surface's colour


def fit_vertex_colors(
    mesh: Mesh, images: Sequence[PoseInput], poses: Sequence[Tensor], *, smoothness: float = 0.02, steps: int = 60
) -> Mesh:
    """The mesh with the vertex colours that explain images best, in the least-squares sense, under whatever light they were taken.

    Pixels that see the surface at a grazing angle, or lie outside of the mask, do not count. Vertices that no image sees take the colours
    of their neighbours.

    Args:
        images: with `color`, and where there is one, `mask`.
        poses: camera_from_object [4, 4] of each.
        smoothness: weight of differences between neighbours, beside one pixel a vertex.
        steps: of conjugate gradients.

    Raises:
        ArgumentError: as many poses as images are needed, and images with colours.
        DataError: no pixel shows the mesh.
    """
    faces, weights, colors = _all_pixels(mesh, images, poses, "fit_vertex_colors")
    laplacian = uniform_laplacian(mesh_topology(mesh), dtype=torch.float64)
    bend = lambda x: laplacian.T @ (laplacian @ x)
    values = _least_squares(mesh.faces[faces], weights, colors, mesh.vertex_count, bend, smoothness, steps)
    return replace(mesh, vertex_colors=values.to(mesh.vertices.dtype))


def fit_texture(
    mesh: Mesh,
    images: Sequence[PoseInput],
    poses: Sequence[Tensor],
    *,
    size: tuple[int, int] = (256, 256),
    smoothness: float = 0.02,
    steps: int = 100,
) -> Mesh:
    """The mesh with the texture that explains images best; as `fit_vertex_colors`, with texels for vertices.

    Args:
        mesh: with UVs that all its faces share one texture by.
        size: (height, width) of the texture, which takes the place of all materials and vertex colours.

    Raises:
        ArgumentError: a mesh without UVs or with several textures, and what `fit_vertex_colors` raises.
        DataError: no pixel shows the mesh.
    """
    if mesh.uvs is None:
        raise ArgumentError("fit_texture: `mesh` has no UVs; use fit_vertex_colors")
    if sum(material.diffuse_texture is not None for material in mesh.materials) > 1:
        raise ArgumentError("fit_texture: `mesh` has several textures; split it by materials")
    faces, weights, colors = _all_pixels(mesh, images, poses, "fit_texture")
    corners = (mesh.uvs if mesh.face_uvs is None else mesh.uvs[mesh.face_uvs]).double()
    corners = corners[mesh.faces] if mesh.face_uvs is None else corners
    texels, shares = _texels_at((corners[faces] * weights[..., None]).sum(1), size)
    bend = lambda x: _grid_laplacian(_grid_laplacian(x.view(*size, 3))).view(-1, 3)
    values = _least_squares(texels, shares, colors, size[0] * size[1], bend, smoothness, steps)
    texture = values.view(*size, 3).to(mesh.vertices.dtype)
    return replace(mesh, materials=(Material(diffuse_texture=texture),), face_materials=None, vertex_colors=None)


def _least_squares(
    corners: Tensor, weights: Tensor, colors: Tensor, count: int, bend: Callable[[Tensor], Tensor], smoothness: float, steps: int
) -> Tensor:
    """Values [count, 3] in [0, 1] whose means over `corners` [N, K] with `weights` come nearest to `colors` [N, 3]; conjugate gradients."""
    spread = lambda values: torch.zeros(count, 3, dtype=torch.float64).index_add_(0, corners.flatten(), values.flatten(0, 1))
    density = max(len(colors) / count, 1e-6)

    def normal(x: Tensor) -> Tensor:
        seen = (x[corners] * weights[..., None]).sum(1)
        return spread(weights[..., None] * seen[:, None]) + smoothness * density * bend(x) + 1e-9 * x

    right = spread(weights[..., None] * colors[:, None])
    x = colors.mean(0).expand(count, 3)
    residual = right - normal(x)
    direction, power = residual.clone(), residual.square().sum(0)
    for _ in range(steps):
        image = normal(direction)
        rate = power / (direction * image).sum(0).clamp(min=1e-30)
        x, residual = x + rate * direction, residual - rate * image
        fresh = residual.square().sum(0)
        direction, power = residual + fresh / power.clamp(min=1e-30) * direction, fresh
    return x.clamp(0, 1)


def _texels_at(uvs: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The four texels [N, 4] around UVs [N, 2], row by row from the top, and their bilinear shares; the texture repeats."""
    height, width = size
    place = torch.stack([(1 - uvs[:, 1]) * height, uvs[:, 0] * width], 1) - 0.5
    low = place.floor()
    part = place - low
    texels, shares = [], []
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = (low[:, 0].long() + down) % height, (low[:, 1].long() + right) % width
        texels.append(row * width + column)
        shares.append((part[:, 0] if down else 1 - part[:, 0]) * (part[:, 1] if right else 1 - part[:, 1]))
    return torch.stack(texels, 1), torch.stack(shares, 1)


def _grid_laplacian(grid: Tensor) -> Tensor:
    """Each value [H, W, 3] less the mean of its neighbours', with a symmetric matrix."""
    result = torch.zeros_like(grid)
    for axis in (0, 1):
        step = grid.diff(dim=axis) / 4
        result.narrow(axis, 0, grid.shape[axis] - 1).sub_(step)
        result.narrow(axis, 1, grid.shape[axis] - 1).add_(step)
    return result


def _all_pixels(mesh: Mesh, images: Sequence[PoseInput], poses: Sequence[Tensor], where: str) -> tuple[Tensor, Tensor, Tensor]:
    """What `_pixels` gives for all images."""
    if len(images) != len(poses) or not images:
        raise ArgumentError(f"{where}: {len(images)} images and {len(poses)} poses; each image needs one")
    faces, weights, colors = (torch.cat(parts) for parts in zip(*(_pixels(mesh, i, pose, where) for i, pose in zip(images, poses))))
    if len(colors) == 0:
        raise DataError(f"{where}: no pixel shows the mesh; check the poses")
    return faces, weights, colors


def _pixels(mesh: Mesh, given: PoseInput, pose: Tensor, where: str) -> tuple[Tensor, Tensor, Tensor]:
    """Faces [N], weights of their corners [N, 3] and colours [N, 3] of the pixels that show the mesh."""
    if given.color is None:
        raise ArgumentError(f"{where}: an image has no `color`")
    color, camera = given.color.double(), given.camera
    if camera.distortion is not None or camera.projection == "fisheye":
        color, camera = undistort_image(color, camera), undistorted_camera(camera)
    placed = se3_apply(pose.double(), mesh.vertices.double())
    depth = placed[:, 2][placed[:, 2] > 0]
    near, far = (0.2 * float(depth.min()), 2 * float(depth.max())) if len(depth) else (1e-2, 1.0)
    here = replace(camera.map(lambda t: t.double()), camera_from_world=torch.eye(4, dtype=torch.float64), near=near, far=far)
    with torch.no_grad():
        fragments = rasterize(placed, mesh.faces, here)
    triangle = placed[mesh.faces]
    normal = torch.nn.functional.normalize(torch.linalg.cross(triangle[:, 1] - triangle[:, 0], triangle[:, 2] - triangle[:, 0]), dim=1)
    facing = (normal * torch.nn.functional.normalize(triangle.mean(1), dim=1)).sum(1).abs()
    shown = fragments.mask & (facing[fragments.face.clamp(min=0)] > _GRAZING)
    if given.mask is not None:
        shown &= given.mask > 0.5
    return fragments.face[shown], fragments.barycentrics[shown], color[shown][:, :3]
