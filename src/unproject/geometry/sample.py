"""Points on surfaces: uniform by area, with everything the mesh carries interpolated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ArgumentError, DataError, check_indices, check_shape
from ..ops import interpolate as ops
from ..reference import interpolate as reference
from ..struct import TensorStruct
from .batch import MeshBatch
from .mesh import Mesh
from .normals import face_areas, face_normals
from .points import PointCloud


@dataclass(frozen=True, kw_only=True)
class SurfaceSamples(TensorStruct):
    """Points on a mesh.

    Attributes:
        positions: [N, 3], differentiable in the vertices.
        faces: [N] the face of each point.
        barycentrics: [N, 3] weights of the face's corners, nonnegative, summing to 1.
        offsets: [B + 1] where the points of each mesh of a batch begin; [0, N] for one mesh.
    """

    positions: Tensor
    faces: Tensor
    barycentrics: Tensor
    offsets: Tensor

    def __getitem__(self, index: object) -> SurfaceSamples:
        raise ArgumentError("SurfaceSamples is ragged; index its tensors, or use `offsets` to find the points of one mesh")


def sample_surface(
    mesh: Mesh | MeshBatch, count: int, *, stratified: bool = False, generator: torch.Generator | None = None
) -> SurfaceSamples:
    """Points on a mesh, uniform by area; of a batch of meshes, `count` points each.

    Args:
        mesh: a Mesh or a MeshBatch.
        count: points a mesh.
        stratified: whether the surface is cut (in the order of its faces) into `count` parts of equal area and each gets one point. The
            points are as uniform, but means over them vary less; and they come in the order of the faces.
        generator: of the random numbers; torch's global one without.

    Raises:
        DataError: a mesh without area.

    Gradient: vertices, through `positions` (the places on the faces are held fixed).
    """
    vertices, faces = mesh.vertices, mesh.faces
    if count < 0:
        raise ArgumentError(f"sample_surface: `count` must be at least 0, got {count}")
    face_offsets = mesh.face_offsets if isinstance(mesh, MeshBatch) else faces.new_tensor([0, faces.shape[0]])
    areas = face_areas(vertices.detach(), faces)
    device, batch = vertices.device, face_offsets.shape[0] - 1
    random = torch.rand(3, batch, count, dtype=torch.float64, generator=generator, device=device)
    chosen = _choose_faces(areas.to(torch.float64), face_offsets, random[0], stratified) if count else faces.new_zeros(0)
    root, second = random[1].reshape(-1).sqrt(), random[2].reshape(-1)
    barycentrics = torch.stack([1 - root, root * (1 - second), root * second], dim=1).to(vertices.dtype)
    return SurfaceSamples(
        positions=interpolate_vertices(vertices, faces, chosen, barycentrics),
        faces=chosen,
        barycentrics=barycentrics,
        offsets=torch.arange(batch + 1, device=device) * count,
    )


def interpolate_vertices(values: Tensor, faces: Tensor, face_index: Tensor, barycentrics: Tensor) -> Tensor:
    """Values at points on faces from values at the vertices.

    Args:
        values: [V, ...] floating point.
        faces: [F, 3].
        face_index: [N] the face of each point.
        barycentrics: [N, 3] weights of its corners.

    Returns:
        [N, ...].

    Raises:
        ArgumentError: shapes, or indices out of range.

    Gradient: values and barycentrics. Any order.
    """
    check_shape(faces, ["F", 3], name="faces", where="interpolate_vertices", integer=True)
    check_shape(face_index, ["N"], name="face_index", where="interpolate_vertices", integer=True)
    check_shape(barycentrics, [face_index.shape[0], 3], name="barycentrics", where="interpolate_vertices")
    check_indices(faces, values.shape[0], name="faces", where="interpolate_vertices")
    check_indices(face_index, faces.shape[0], name="face_index", where="interpolate_vertices")
    rows = values.reshape(values.shape[0], math.prod(values.shape[1:]))
    return interpolate_rows(rows, faces, face_index, barycentrics).view(face_index.shape[0], *values.shape[1:])


def interpolate_rows(values: Tensor, corners: Tensor, face: Tensor, weights: Tensor, *, base: Tensor | None = None) -> Tensor:
    """Rows [R, C] interpolated at a list of places, unchecked: [P, C].

    Args:
        corners: [F, 3] rows of `values`.
        face: [P], -1 for none.
        weights: [P, 3].
        base: [P] what to add to the rows of each place, or None.
    """
    run = ops.interpolate if values.device.type == "cpu" and values.dtype in (torch.float32, torch.float64) else reference.interpolate
    shift = face.new_empty(0, dtype=torch.int64) if base is None else base
    integers = (corners.to(torch.int64).contiguous(), face.to(torch.int64).contiguous(), shift)
    return run(values, *integers, weights.to(values.dtype).contiguous())


def samples_to_points(mesh: Mesh | MeshBatch, samples: SurfaceSamples) -> PointCloud:
    """The samples as a cloud with the mesh's vertex normals (else the faces'), vertex colours and vertex attributes.

    Attributes of an integer type or truth values are taken from the nearest corner; the others are interpolated.
    """

    def mix(values: Tensor) -> Tensor:
        if values.is_floating_point():
            return interpolate_vertices(values, mesh.faces, samples.faces, samples.barycentrics)
        corner = samples.barycentrics.argmax(dim=1, keepdim=True)
        return values[mesh.faces[samples.faces].gather(1, corner)[:, 0]]

    if mesh.vertex_normals is not None:
        normals = torch.nn.functional.normalize(mix(mesh.vertex_normals), dim=-1)
    else:
        normals = face_normals(mesh.vertices, mesh.faces).index_select(0, samples.faces)
    return PointCloud(
        positions=samples.positions,
        normals=normals,
        colors=None if mesh.vertex_colors is None else mix(mesh.vertex_colors)[:, :3],
        attributes={name: mix(value) for name, value in mesh.vertex_attributes.items()},
    )


def sample_points(mesh: Mesh | MeshBatch, count: int, *, stratified: bool = False, generator: torch.Generator | None = None) -> PointCloud:
    """A point cloud of `count` points on a mesh, uniform by area, with normals, colours and attributes (see `sample_surface`)."""
    return samples_to_points(mesh, sample_surface(mesh, count, stratified=stratified, generator=generator))


def _choose_faces(areas: Tensor, face_offsets: Tensor, random: Tensor, stratified: bool) -> Tensor:
    """[B * N] faces with probability by area within each mesh, from uniform numbers [B, N]."""
    cumulative = areas.cumsum(0)
    bounds = torch.cat([cumulative.new_zeros(1), cumulative])[face_offsets]
    start, end = bounds[:-1, None], bounds[1:, None]
    empty = (~(end > start)).nonzero()
    if empty.numel():
        place = "" if len(bounds) == 2 else f" {int(empty[0, 0])}"
        raise DataError(f"sample_surface: mesh{place} has no area (or a vertex that is not finite), so there is nowhere to put points")
    if stratified:
        random = (torch.arange(random.shape[1], device=random.device) + random) / random.shape[1]
    target = torch.minimum(start + random * (end - start), torch.nextafter(end, start))
    return torch.searchsorted(cumulative, target.reshape(-1), right=True)
