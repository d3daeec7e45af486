"""Into voxels: meshes, point clouds and depth images to signed distance, TSDF and occupancy grids."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..camera.camera import Camera
from ..camera.transform import world_to_screen
from ..errors import ArgumentError, DataError, check_shape
from ..ops.sdf_grid import coarse_distance
from ..reference.closest_point import closest_on_triangle
from .bvh import Bvh, build_bvh
from .isosurface import apply_affine, block_keys
from .mesh import Mesh
from .neighbors import knn, nearest
from .point_index import build_index
from .points import PointCloud
from .query import closest_point
from .sparse_voxels import BLOCK, SparseGrid, make_sparse_grid, sparse_points
from .voxels import VoxelGrid, lattice_points, surrounding_grid
from .winding import WindingTree, is_inside, point_winding_tree, winding_number, winding_tree

_STEP = 4  # samples along the edge of a coarse cell, as in kernels/sdf_grid
_CLEAR = 0.4  # winding numbers further than this from 1/2 at all corners of a coarse cell leave no doubt within it


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """Where to sample: the size and place of a grid. Made by `lattice_around` or of a grid's own fields.

    Attributes:
        size: samples along x, y, z.
        world_from_grid: [4, 4] affine, of samples.
    """

    size: tuple[int, int, int]
    world_from_grid: Tensor


def lattice_around(points: Float[Tensor, "N 3"], *, resolution: int = 128, margin: float = 3.0) -> Lattice:
    """Cubic cells around points: `resolution` samples along the longest side, `margin` free cells on every side."""
    transform, size = surrounding_grid(points, resolution=resolution, margin=margin)
    return Lattice(size=size, world_from_grid=transform)


# ---- meshes ----------------------------------------------------------------------------------------------------------------------


def mesh_to_sdf(mesh: Mesh, lattice: Lattice, *, exact_voxels: float = 3.0, bvh: Bvh | None = None) -> VoxelGrid:
    """Signed distances to a mesh: positive outside. The sign is that of the winding number, so that holes do not flip it.

    Distances are exact within `exact_voxels` of the surface. Further out they are those of the faces closest to the corners of cells of
    four samples: never too small, on average some hundredths of a voxel too large, deep inside up to a voxel or two; `math.inf` makes
    all of them exact, in two to three times the time.

    Args:
        mesh: faces counter-clockwise seen from outside; need not be closed.
        lattice: where to sample.
        bvh: `build_bvh` of this mesh, to be reused.

    Returns:
        VoxelGrid of distances in world units, in the vertices' dtype.

    Raises:
        DataError: the mesh has no faces.

    Gradient: vertices, with the closest faces held fixed.
    Source: Jacobson et al. 2013, Barill et al. 2018 (winding numbers).
    """
    if mesh.face_count == 0:
        raise DataError("mesh_to_sdf: the mesh has no faces")
    vertices = mesh.vertices.detach()
    tree = bvh if bvh is not None else build_bvh(vertices, mesh.faces)
    matrix = lattice.world_from_grid.detach().to("cpu", torch.float64)
    frame = matrix.to(vertices)
    coarse_size = [math.ceil(n / _STEP) + 1 for n in lattice.size]
    coarse = lattice_points((coarse_size[0], coarse_size[1], coarse_size[2]), frame @ _scaling(_STEP, frame))
    found = closest_point(coarse, (vertices, mesh.faces), bvh=tree)
    triangles = (vertices.contiguous(), mesh.faces.contiguous())
    squared, bound, face = coarse_distance(found.face, found.squared_distance.sqrt(), matrix, *triangles, list(lattice.size))
    cell = float(torch.linalg.det(matrix[:3, :3]).abs()) ** (1 / 3)
    near = (bound <= exact_voxels * cell).nonzero()
    exact = closest_point(apply_affine(frame, near.to(frame.dtype)), (vertices, mesh.faces), bvh=tree)
    squared[tuple(near.T)], face[tuple(near.T)] = exact.squared_distance, exact.face
    inside = _inside(winding_tree((vertices, mesh.faces), bvh=tree), lattice, frame, squared, cell)
    if mesh.vertices.requires_grad and torch.is_grad_enabled():
        return VoxelGrid(values=_differentiable(mesh, lattice, frame, face, inside), world_from_grid=lattice.world_from_grid)
    distance = squared.sqrt()
    return VoxelGrid(values=torch.where(inside, -distance, distance), world_from_grid=lattice.world_from_grid)


def _scaling(factor: float, like: Tensor) -> Tensor:
    return torch.diag(like.new_tensor([factor, factor, factor, 1.0]))


def _differentiable(mesh: Mesh, lattice: Lattice, frame: Tensor, face: Tensor, inside: Tensor) -> Tensor:
    points = lattice_points(lattice.size, frame)
    corners = mesh.vertices[mesh.faces[face]]
    nearest_point = (closest_on_triangle(points, corners).unsqueeze(-2) @ corners).squeeze(-2)
    squared = (points - nearest_point).square().sum(-1)
    distance = torch.where(squared > 0, torch.where(squared > 0, squared, 1).sqrt(), 0)
    return torch.where(inside, -distance, distance)


def _inside(tree: WindingTree, lattice: Lattice, frame: Tensor, squared: Tensor, cell: float) -> Tensor:
    """Whether winding numbers exceed 1/2, for the samples of a dense lattice."""
    x, y, z = (math.ceil(n / _STEP) for n in lattice.size)
    padded = torch.nn.functional.pad(squared, [p for n in reversed(lattice.size) for p in (0, -n % _STEP)], value=torch.inf)
    cells = _STEP * torch.cartesian_prod(*[torch.arange(n, device=squared.device) for n in (x, y, z)]).reshape(-1, 3)
    inside = _cells_inside(tree, cells, frame, _in_cells(padded), cell)
    grid = inside.reshape(x, y, z, _STEP, _STEP, _STEP).permute(0, 3, 1, 4, 2, 5).reshape(padded.shape)
    return grid[tuple(slice(n) for n in lattice.size)]


def _in_cells(values: Tensor) -> Tensor:
    """[..., X, Y, Z] with sizes in fours as [cells, 64], cells with z fastest."""
    x, y, z = (n // _STEP for n in values.shape[-3:])
    parts = values.reshape(-1, x, _STEP, y, _STEP, z, _STEP)
    return parts.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, _STEP**3)


def _cells_inside(tree: WindingTree, cells: Tensor, frame: Tensor, squared: Tensor, cell: float) -> Tensor:
    """Whether winding numbers exceed 1/2 [C, 64], for coarse cells [C, 3] given by the lattice coordinates of their first samples.

    Away from the surface the winding number is harmonic. So a coarse cell that no surface passes through and whose corners leave no doubt
    has one answer for all of its samples; only the others are asked one by one.
    """
    corner = torch.arange(8, device=cells.device)
    corners = cells[:, None] + _STEP * torch.stack([corner & 1, corner >> 1 & 1, corner >> 2], dim=1)
    unique, place = torch.unique(block_keys(corners.reshape(-1, 3)), return_inverse=True)
    first = torch.empty_like(unique).scatter_(0, place, torch.arange(place.shape[0], device=cells.device))
    numbers = winding_number(apply_affine(frame, corners.reshape(-1, 3)[first].to(frame.dtype)), tree)[place].reshape(-1, 8)
    sure = ((numbers > 0.5 + _CLEAR).all(1) | (numbers < 0.5 - _CLEAR).all(1)) & (squared.amin(1) > cell**2)
    inside = (numbers[:, :1] > 0.5).repeat(1, _STEP**3)
    local = torch.cartesian_prod(*[torch.arange(_STEP, device=cells.device)] * 3)
    samples = (cells[~sure][:, None] + local).reshape(-1, 3).to(frame.dtype)
    inside[~sure] = is_inside(apply_affine(frame, samples), tree).reshape(-1, _STEP**3)
    return inside


def mesh_to_tsdf(mesh: Mesh, lattice: Lattice, *, truncation: float, bvh: Bvh | None = None) -> VoxelGrid:
    """The TSDF in [-1, 1] of a mesh: exact signed distances over `truncation` (world units), cut. Gradient: vertices."""
    cell = float(torch.linalg.det(lattice.world_from_grid[:3, :3].detach().double()).abs()) ** (1 / 3)
    distance = mesh_to_sdf(mesh, lattice, exact_voxels=truncation / cell + 1, bvh=bvh)
    return VoxelGrid(values=(distance.values / truncation).clamp(-1, 1), world_from_grid=distance.world_from_grid)


def mesh_to_occupancy(mesh: Mesh, lattice: Lattice, *, bvh: Bvh | None = None) -> VoxelGrid:
    """1 where a sample is inside of a mesh by its winding number, else 0. No gradient."""
    distance = mesh_to_sdf(Mesh(vertices=mesh.vertices.detach(), faces=mesh.faces), lattice, exact_voxels=1.0, bvh=bvh)
    return VoxelGrid(values=(distance.values < 0).to(distance.values.dtype), world_from_grid=distance.world_from_grid)


def mesh_to_sparse_sdf(mesh: Mesh, *, voxel: float, band: float) -> SparseGrid:
    """Exact signed distances in the blocks of 8^3 that reach within `band` (world units) of a mesh; the lattice's origin is the world's.

    Memory grows with the mesh's area over the voxel's. Gradient: vertices. Raises: DataError without faces; ArgumentError.
    """
    if mesh.face_count == 0:
        raise DataError("mesh_to_sparse_sdf: the mesh has no faces")
    if not (voxel > 0 and band >= 0):
        raise ArgumentError(f"mesh_to_sparse_sdf: `voxel` must be positive and `band` not negative, got {voxel} and {band}")
    vertices = mesh.vertices.detach()
    tree = build_bvh(vertices, mesh.faces)
    coordinates = _blocks_near(vertices, mesh.faces, tree, voxel * BLOCK, band)
    transform = torch.diag(mesh.vertices.new_tensor([voxel, voxel, voxel, 1.0]))
    values = vertices.new_zeros((coordinates.shape[0], BLOCK, BLOCK, BLOCK))
    grid = make_sparse_grid(values, coordinates, world_from_grid=transform)
    distance = closest_point(sparse_points(grid), (mesh.vertices, mesh.faces), bvh=tree).squared_distance
    cells = (BLOCK * coordinates[:, None] + _STEP * torch.cartesian_prod(*[torch.arange(2, device=coordinates.device)] * 3)).reshape(-1, 3)
    inside = _cells_inside(winding_tree((vertices, mesh.faces), bvh=tree), cells, transform.detach(), _in_cells(distance.detach()), voxel)
    inside = inside.reshape(-1, 2, 2, 2, _STEP, _STEP, _STEP).permute(0, 1, 4, 2, 5, 3, 6).reshape(distance.shape)
    distance = torch.where(distance > 0, torch.where(distance > 0, distance, 1).sqrt(), 0)
    return SparseGrid(values=torch.where(inside, -distance, distance), coordinates=coordinates, index=grid.index, world_from_grid=transform)


def _blocks_near(vertices: Tensor, faces: Tensor, tree: Bvh, side: float, band: float) -> Tensor:
    """Positions of the blocks that come within `band` of the mesh: an octree from one root cell down, by distances of centres."""
    low, high = vertices.amin(0).double() - band, vertices.amax(0).double() + band
    first, last = (low / side).floor().long(), (high / side).floor().long()
    levels = max(1, int((last - first + 1).max()) - 1).bit_length()
    cells = first[None]
    for level in range(levels, -1, -1):
        width = 1 << level
        center = ((cells + width / 2) * side).to(vertices.dtype)
        reach = math.sqrt(3) / 2 * side * width + band
        distance = closest_point(center, (vertices, faces), bvh=tree).squared_distance
        cells = cells[(distance <= (reach * (1 + 1e-5)) ** 2) & (cells <= last).all(1)]
        if level > 0:
            corner = torch.arange(8, device=cells.device)
            offset = torch.stack([corner & 1, corner >> 1 & 1, corner >> 2], dim=1) * (width // 2)
            cells = (cells[:, None] + offset).reshape(-1, 3)
    return cells


# ---- points ----------------------------------------------------------------------------------------------------------------------


def points_to_occupancy(points: PointCloud, lattice: Lattice) -> VoxelGrid:
    """1 in each voxel (the cube of one cell around its sample) that holds a point, else 0. Points outside do not count. No gradient."""
    index = _voxel_of(points.positions.detach(), lattice)
    values = points.positions.new_zeros(math.prod(lattice.size))
    values[index[index >= 0]] = 1
    return VoxelGrid(values=values.reshape(lattice.size), world_from_grid=lattice.world_from_grid)


def points_to_features(points: PointCloud, features: Float[Tensor, "N D"], lattice: Lattice) -> VoxelGrid:
    """[X, Y, Z, 1 + D]: how many points are in each voxel, and the mean of their features (0 without points). Gradient: features."""
    check_shape(features, [points.point_count, "D"], name="features", where="points_to_features")
    index = _voxel_of(points.positions.detach(), lattice)
    keep = index >= 0
    rows = torch.cat([features.new_ones(features.shape[0], 1), features], dim=1)[keep]
    sums = rows.new_zeros((math.prod(lattice.size), rows.shape[1])).index_add(0, index[keep], rows)
    values = torch.cat([sums[:, :1], sums[:, 1:] / sums[:, :1].clamp_min(1)], dim=1)
    return VoxelGrid(values=values.reshape(*lattice.size, -1), world_from_grid=lattice.world_from_grid)


def _voxel_of(positions: Tensor, lattice: Lattice) -> Int[Tensor, "N"]:
    """Flat sample index of each point's voxel, -1 outside."""
    check_shape(positions, ["N", 3], name="positions", where="points_to_occupancy")
    local = apply_affine(torch.linalg.inv(lattice.world_from_grid.double()), positions.double())
    place = (local + 0.5).floor()
    size = torch.tensor(lattice.size, device=positions.device)
    inside = (place >= 0).all(1) & (place < size).all(1)  # false for NaN
    cell = torch.where(inside[:, None], place, 0).long()
    return torch.where(inside, (cell[:, 0] * size[1] + cell[:, 1]) * size[2] + cell[:, 2], -1)


def points_to_tsdf(points: PointCloud, lattice: Lattice, *, truncation: float, neighbors: int = 8) -> VoxelGrid:
    """The TSDF in [-1, 1] of oriented points: within the truncation, the weighted mean distance to the tangent planes of the nearest ones
    (implicit moving least squares); beyond, +1 or -1 by the winding number of the cloud.

    Args:
        points: with unit normals out of the surface.
        truncation: world units; at least the distance between neighbouring points, or the surface has holes.
        neighbors: planes that are averaged, with Gaussian weights of the distance of the farthest of them.

    Raises:
        DataError: no points, or no normals.

    Gradient: positions and normals.
    Source: Kolluri 2005 (IMLS); Barill et al. 2018 (winding numbers of clouds).
    """
    if points.point_count == 0 or points.normals is None:
        raise DataError("points_to_tsdf: needs points with normals; estimate them first")
    if not truncation > 0:
        raise ArgumentError(f"points_to_tsdf: `truncation` must be positive, got {truncation}")
    samples = lattice_points(lattice.size, lattice.world_from_grid.detach().to(points.positions)).reshape(-1, 3)
    index = build_index(points.positions.detach())
    near = nearest(samples, index).squared_distance < truncation**2
    tree = point_winding_tree(points.positions.detach(), points.normals.detach())
    sign = 1 - 2 * (winding_number(samples, tree) > 0.5).to(samples.dtype)
    close = samples[near]
    found = knn(close, index, min(neighbors, points.point_count)).index
    offset = close[:, None] - points.positions[found]
    squared = offset.square().sum(-1)
    width = squared.amax(1, keepdim=True).clamp_min(torch.finfo(samples.dtype).tiny) / 4
    weight = torch.softmax(-squared / width, dim=1)
    distance = (weight * (offset * points.normals[found]).sum(-1)).sum(1)
    values = sign.index_put((near.nonzero()[:, 0],), (distance / truncation).clamp(-1, 1))
    return VoxelGrid(values=values.reshape(lattice.size), world_from_grid=lattice.world_from_grid)


# ---- depth images ----------------------------------------------------------------------------------------------------------------


def depth_to_tsdf(depth: Float[Tensor, "H W"], camera: Camera, lattice: Lattice, *, truncation: float) -> VoxelGrid:
    """The projective TSDF in [-1, 1] of one depth image: (depth - z) / truncation of the pixel that sees a sample.

    NaN where nothing is known: outside of the image, behind the surface by more than the truncation, and at pixels without depth.

    Args:
        depth: along the camera's z axis; 0, negative or not finite: no measurement.
        camera: one camera with that image size.
        truncation: world units.

    Gradient: depth and camera (its pose through z; which pixel a sample falls into is held fixed).
    Source: Curless and Levoy 1996.
    """
    check_shape(depth, list(camera.image_size), name="depth", where="depth_to_tsdf")
    if not truncation > 0:
        raise ArgumentError(f"depth_to_tsdf: `truncation` must be positive, got {truncation}")
    samples = lattice_points(lattice.size, lattice.world_from_grid.to(depth.dtype)).reshape(-1, 3)
    u, v, z = world_to_screen(camera, samples).unbind(-1)
    height, width = depth.shape
    seen = (z > camera.near) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    row, column = torch.where(seen, v.detach(), 0).long(), torch.where(seen, u.detach(), 0).long()
    measured = depth[row, column]
    seen = seen & torch.isfinite(measured) & (measured > 0)
    distance = (torch.where(seen, measured, 0) - z) / truncation
    values = torch.where(seen & (distance > -1), distance.clamp_max(1), torch.nan)
    return VoxelGrid(values=values.reshape(lattice.size), world_from_grid=lattice.world_from_grid)
