"""What registration works on: points in a frame of their own, thinned as asked, with normals, colours and a search tree."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import DataError
from ..geometry.mesh import Mesh
from ..geometry.neighbors import knn
from ..geometry.normals import face_areas
from ..geometry.pca import local_pca
from ..geometry.point_index import PointIndex, build_index
from ..geometry.points import PointCloud
from ..geometry.sample import sample_points

FEWEST_POINTS = 10


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A cloud prepared for registration; made by `make_shape` and `thin`.

    Attributes:
        points: [N, 3] float32, minus `origin`.
        origin: [3] float64, what was taken off so that large coordinates lose nothing.
        normals: [N, 3] unit vectors or None.
        oriented: whether the normals' signs mean something (out of the surface).
        colors: [N, 3] or None.
        index: search tree of the points.
        mesh: the surface that the points are samples of, minus `origin`, or None.
    """

    points: Tensor
    origin: Tensor
    normals: Tensor | None
    oriented: bool
    colors: Tensor | None
    index: PointIndex
    mesh: Mesh | None = None

    @property
    def point_count(self) -> int:
        return self.points.shape[0]

    @property
    def diameter(self) -> float:
        """Diagonal of the box around the points."""
        return float((self.points.amax(0) - self.points.amin(0)).norm())


def make_shape(value: PointCloud | Mesh, *, name: str, where: str, samples: int = 30_000, seed: int = 0) -> Shape:
    """Points of a cloud, those that are finite, or samples of a mesh.

    Raises:
        DataError: fewer than ten points, all of them in one place, or a mesh without area.
    """
    mesh = None
    oriented = True
    if isinstance(value, Mesh) and value.face_count > 0:
        if not float(face_areas(value.vertices, value.faces).sum()) > 0:
            raise DataError(f"{where}: `{name}` is a mesh without area")
        generator = torch.Generator().manual_seed(seed)
        mesh = replace(value, vertex_normals=None)  # a surface of thin parts has normals of its own only on its faces
        value = sample_points(mesh, samples, stratified=True, generator=generator)
    elif isinstance(value, Mesh):
        value = PointCloud(positions=value.vertices, normals=value.vertex_normals, colors=value.vertex_colors)
    finite = torch.isfinite(value.positions).all(1)
    if int(finite.sum()) < FEWEST_POINTS:
        raise DataError(f"{where}: `{name}` has {int(finite.sum())} finite points; at least {FEWEST_POINTS} are needed")
    positions = value.positions[finite].detach().to("cpu", torch.float64)
    origin = (positions.amin(0) + positions.amax(0)) / 2
    if not float((positions - origin).abs().max()) > 0:
        raise DataError(f"{where}: all points of `{name}` lie in one place")
    normals = _unit(value.normals, finite)
    points = (positions - origin).to(torch.float32)
    if mesh is not None:
        mesh = Mesh(vertices=(mesh.vertices.detach().double() - origin).float(), faces=mesh.faces)
    colors = None if value.colors is None else value.colors[finite, :3].detach().float()
    return Shape(
        points=points,
        origin=origin,
        normals=normals,
        oriented=oriented and normals is not None,
        colors=colors,
        index=build_index(points),
        mesh=mesh,
    )


def _unit(normals: Tensor | None, finite: Tensor) -> Tensor | None:
    """Normals of unit length; None where any is missing."""
    if normals is None:
        return None
    length = normals[finite].norm(dim=1, keepdim=True)
    good = torch.isfinite(length) & (length > 0)
    if float(good.float().mean()) < 0.99:
        return None
    unit = torch.where(good, normals[finite] / length.where(good, 1), normals.new_tensor([0.0, 0.0, 1.0]))
    return unit.detach().float()


def spacing(shape: Shape) -> float:
    """Median distance of a point to its nearest other in another place; sensors repeat points."""
    index = shape.index
    sample = shape.points[:: max(1, shape.point_count // 4000)]
    near = knn(sample, index, min(4, shape.point_count)).squared_distance
    if float((near[:, -1] > 0).float().mean()) < 0.9:
        index = build_index(torch.unique(shape.points, dim=0))
        near = knn(sample, index, min(2, index.point_count)).squared_distance
    apart = torch.where(near > 0, near, torch.inf).amin(1).sqrt()
    apart = apart[torch.isfinite(apart)]
    return float(apart.median()) if len(apart) else shape.diameter


def thin(shape: Shape, voxel: float) -> Shape:
    """One point a cube of side `voxel`: the mean of those in it, with mean normal and colour. Zero keeps all.

    Normals are averaged as directions where they are oriented; else the mean is along the first, so that signs do not cancel.
    """
    if not voxel > 0:
        return shape
    cell = ((shape.points - shape.points.amin(0)) / voxel).floor().to(torch.int64)
    size = cell.amax(0) + 1
    _, owner, count = torch.unique((cell[:, 0] * size[1] + cell[:, 1]) * size[2] + cell[:, 2], return_inverse=True, return_counts=True)
    mean = lambda values: values.new_zeros(len(count), values.shape[1]).index_add_(0, owner, values) / count[:, None]
    points = mean(shape.points)
    normals = shape.normals
    if normals is not None:
        if not shape.oriented:
            first = torch.empty(len(count), dtype=torch.int64).scatter_(0, owner, torch.arange(len(owner)))
            normals = normals * torch.where((normals * normals[first[owner]]).sum(1, keepdim=True) < 0, -1.0, 1.0)
        normals = torch.nn.functional.normalize(mean(normals), dim=1)
    colors = None if shape.colors is None else mean(shape.colors)
    return replace(shape, points=points, normals=normals, colors=colors, index=build_index(points))


def with_normals(shape: Shape, *, k: int = 20) -> Shape:
    """The same with normals; where there are none, from k neighbours, not oriented."""
    if shape.normals is not None:
        return shape
    near = knn(shape.index, shape.index, min(k, shape.point_count))
    axes = local_pca(shape.points, near).axes
    return replace(shape, normals=axes[:, 0].contiguous(), oriented=False)


def towards(shape: Shape, viewpoint: Tensor) -> Shape:
    """The same with normals turned to a viewpoint [3] in the frame of the input (the sensor's place)."""
    shape = with_normals(shape)
    assert shape.normals is not None
    ray = (viewpoint.to(torch.float64) - shape.origin).float() - shape.points
    sign = torch.where((ray * shape.normals).sum(1, keepdim=True) < 0, -1.0, 1.0)
    return replace(shape, normals=shape.normals * sign, oriented=True)


def voxel_for(shape: Shape, count: int) -> float:
    """A cube side that leaves about `count` points of a surface."""
    voxel = shape.diameter / math.sqrt(max(count, 1))
    for _ in range(8):
        left = thin(replace(shape, normals=None, colors=None), voxel).point_count
        if 0.85 * count <= left <= 1.15 * count or left == shape.point_count <= count:
            break
        voxel *= math.sqrt(left / count)
    return voxel
