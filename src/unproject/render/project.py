"""From meshes and cameras to what the rasterizers draw: homogeneous image coordinates, and which faces each image shows.

The broadcast rule of all renderers, the same as for points and cameras: a camera has a batch shape C, vertices are [..., V, 3], and C
broadcasts with the vertices' leading dimensions [...]; the result has the broadcast shape [...] of images. So one camera and [V, 3]
give one image, B cameras and [V, 3] (the same mesh in all) or [B, V, 3] (one topology, own vertices) give B images, and C cameras of
shape [C, 1] see M meshes [M, V, 3] in C x M images. A ragged batch of M meshes is packed: vertices [V_total, 3] with `vertex_offsets`
[M + 1], faces [F_total, 3] that index all vertices with `face_offsets` [M + 1]; it stands for a batch shape [M].
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from ..camera.camera import Camera, check_camera
from ..errors import ArgumentError, ArgumentTypeError, check_indices, check_shape, describe
from ..ops.affine import map_affine
from ..reference import affine as reference
from ..reference.clip import Clipped, clip_near
from ..struct import TensorStruct, broadcast_shapes


@dataclass(frozen=True, kw_only=True)
class Projection(TensorStruct):
    """Meshes before cameras, flattened to a list of B images.

    Attributes:
        points: [N, 3] homogeneous image coordinates (X, Y, z), own ones for each image; the pixel is (X, Y) / z, or (X, Y) if orthographic.
        faces: [F, 3].
        images: [B, 3] first face, number of faces, and what to add to a vertex index for its row of `points`.
        shape: the batch shape [...] of the images, () for one image without a batch dimension.
        vertex_count: vertices of an image, before clipping; of all meshes, if they are packed.
        orthographic: which of the two it is.
    """

    points: Tensor
    faces: Tensor
    images: Tensor
    shape: tuple[int, ...]
    vertex_count: int
    orthographic: bool


def project(
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    *,
    vertex_offsets: Tensor | None = None,
    face_offsets: Tensor | None = None,
    where: str,
) -> Projection:
    """Check meshes and cameras and project them. Broadcast rule: see the module. Differentiable in vertices and camera.

    Raises:
        ArgumentError: shapes, NaN, indices out of range, batches that do not broadcast, a camera with lens distortion or a singular K.
    """
    faces = _check_mesh(vertices, faces, where)
    ragged = vertex_offsets is not None or face_offsets is not None
    matrix = image_from_world(camera, vertices.dtype, where=where)
    if ragged:
        points, images, shape = _ragged(vertices, faces, matrix, vertex_offsets, face_offsets, where)
    else:
        points, images, shape = _dense(vertices, faces, matrix, where)
    if points.numel() and not bool(torch.isfinite(torch.stack(torch.aminmax(points.detach()))).all()):
        check_shape(vertices, [..., "V", 3], name="vertices", where=where, finite=True)
        check_camera(camera, where=where)
        raise ArgumentError(f"{where}: projected vertices overflow {describe(points)}: move the scene near the origin")
    orthographic = camera.projection == "orthographic"
    return Projection(points=points, faces=faces, images=images, shape=shape, vertex_count=vertices.shape[-2], orthographic=orthographic)


def image_from_world(camera: Camera, dtype: torch.dtype, *, where: str) -> Tensor:
    """The affine map [..., 3, 4] from world points to homogeneous image coordinates (X, Y, z).

    Raises:
        ArgumentError: a projection that no such map describes, or a singular K.
    """
    if not isinstance(camera, Camera):
        raise ArgumentTypeError(f"{where}: `camera` must be a Camera, got {describe(camera)}")
    if camera.projection == "fisheye" or camera.distortion is not None:
        raise ArgumentError(f"{where}: triangles stay straight only without lens distortion: ray trace this camera, or undistort its image")
    intrinsics, pose = camera.intrinsics.to(dtype), camera.camera_from_world[..., :3, :].to(dtype)
    k = intrinsics.detach()
    if not bool((k[..., 0, 0] * k[..., 1, 1] - k[..., 0, 1] * k[..., 1, 0]).all()):
        raise ArgumentError(f"{where}: `camera.intrinsics` is singular")
    if camera.projection == "perspective":
        return intrinsics @ pose
    row, column = pose.new_tensor([0.0, 0.0, 1.0]), pose.new_tensor([[1.0], [1.0], [0.0]])
    linear = torch.cat([intrinsics[..., :2, :2], torch.zeros_like(intrinsics[..., :2, 2:])], -1)
    linear = torch.cat([linear, row.expand(*linear.shape[:-2], 1, 3)], -2)
    shift = torch.cat([torch.zeros_like(intrinsics), intrinsics[..., :, 2:] * column], -1)
    return linear @ pose + shift


def clip(scene: Projection, near: float) -> tuple[Projection, Clipped | None]:
    """The scene with its faces cut at the near plane, each image with own faces then; itself and None if all vertices lie in front."""
    if bool((scene.points.detach()[:, 2] >= near).all()):
        return scene, None
    rows = [scene.faces[first : first + count] + base for first, count, base in scene.images.tolist()]
    image_of_face = torch.arange(len(rows)).repeat_interleave(scene.images[:, 1]).to(scene.faces.device)
    clipped = clip_near(scene.points, torch.cat([scene.faces[:0], *rows]), near)
    counts = torch.bincount(image_of_face[clipped.parent], minlength=len(rows)).cpu()
    images = torch.stack([counts.cumsum(0) - counts, counts, torch.zeros_like(counts)], 1)
    return dataclasses.replace(scene, points=clipped.points, faces=clipped.triangles, images=images), clipped


def view_of(camera: Camera, scene: Projection, cull: bool) -> tuple[int, int, float, float, bool, bool]:
    """What operators want to know of the camera: height, width, near, far, orthographic, cull."""
    return camera.height, camera.width, float(camera.near), float(camera.far), scene.orthographic, cull


def vertex_rows(scene: Projection, values: Tensor, *, name: str, where: str) -> tuple[Tensor, Tensor]:
    """Values of vertices as rows [R, C], and what to add to a vertex index for its row in each image [B].

    Args:
        values: [V, C], the same in all images (packed, in a packed batch), or [..., V, C], broadcast with the images.
    """
    check_shape(values, [..., scene.vertex_count, "C"], name=name, where=where)
    count = scene.images.shape[0]
    if values.dim() == 2:
        return values.contiguous(), torch.zeros(count, dtype=torch.int64)
    try:
        each = values.expand(*scene.shape, *values.shape[-2:])
    except RuntimeError:
        raise ArgumentError(f"{where}: `{name}` {list(values.shape)} does not broadcast with images {list(scene.shape)}") from None
    return each.reshape(-1, values.shape[-1]).contiguous(), torch.arange(count) * scene.vertex_count


def clip_rows(rows: Tensor, bases: Tensor, scene: Projection, clipped: Clipped | None) -> tuple[Tensor, Tensor]:
    """What `vertex_rows` gave, for a scene that `clip` has changed since."""
    if clipped is None:
        return rows, bases
    given = clipped.points.shape[0] - clipped.front.shape[0]
    each = rows if rows.shape[0] == given else rows[torch.arange(given, device=rows.device) % scene.vertex_count]
    return clipped.extend(each), torch.zeros_like(bases)


def depth_ranges(scene: Projection, near: float) -> Tensor:
    """Least and greatest depth [B, 2] float64 of the vertices of each image, in front of the near plane. Before clipping; no gradient."""
    z = scene.points.detach()[:, 2]
    if scene.vertex_count == 0 or scene.images.shape[0] == 0:
        return torch.tensor([[near, near + 1]], dtype=torch.float64, device=z.device).expand(scene.images.shape[0], 2)
    if scene.images.shape[0] * scene.vertex_count == z.shape[0]:
        each = [torch.stack(image.aminmax()) for image in z.view(-1, scene.vertex_count)]
        return torch.stack(each).double().clamp_min(near)
    z = z.double().clamp_min(near)
    used = [z[scene.faces[first : first + count] + base].flatten() for first, count, base in scene.images.tolist()]
    return torch.stack([torch.stack([x.min(), x.max()]) if len(x) else z.new_tensor([near, near + 1]) for x in used])


def _check_mesh(vertices: Tensor, faces: Tensor, where: str) -> Tensor:
    check_shape(vertices, [..., "V", 3], name="vertices", where=where)
    check_shape(faces, ["F", 3], name="faces", where=where, integer=True)
    check_indices(faces, vertices.shape[-2], name="faces", where=where)
    return faces.to(torch.int64).contiguous()


def _dense(vertices: Tensor, faces: Tensor, matrix: Tensor, where: str) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    try:
        shape = tuple(broadcast_shapes(vertices.shape[:-2], matrix.shape[:-2]))
    except ValueError:
        got = f"{list(vertices.shape[:-2])} and {list(matrix.shape[:-2])}"
        raise ArgumentError(f"{where}: leading dimensions of `vertices` and `camera` do not broadcast: {got}") from None
    per_image = vertices.shape[-2]
    own = vertices[None] if vertices.dim() == 2 else vertices.expand(*shape, per_image, 3).reshape(-1, per_image, 3)
    points = _map_points(own, matrix.expand(*shape, 3, 4).reshape(-1, 3, 4)).view(-1, 3)
    count = 1
    for size in shape:
        count *= size
    images = torch.zeros((count, 3), dtype=torch.int64)
    images[:, 1] = faces.shape[0]
    images[:, 2] = torch.arange(count) * per_image
    return points.contiguous(), images, shape


def _map_points(points: Tensor, matrices: Tensor) -> Tensor:
    return map_affine(points, matrices) if points.device.type == "cpu" else reference.map_affine(points, matrices)


def _ragged(
    vertices: Tensor, faces: Tensor, matrix: Tensor, vertex_offsets: Tensor | None, face_offsets: Tensor | None, where: str
) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    check_shape(vertices, ["V", 3], name="vertices", where=where)
    vertex_ends = _check_offsets(vertex_offsets, vertices.shape[0], "vertex_offsets", where)
    face_ends = _check_offsets(face_offsets, faces.shape[0], "face_offsets", where)
    meshes = vertex_ends.shape[0] - 1
    if face_ends.shape[0] - 1 != meshes:
        lengths = f"{meshes + 1} and {face_ends.shape[0]}"
        raise ArgumentError(f"{where}: `vertex_offsets` and `face_offsets` must have the same length, got {lengths}")
    try:
        shape = tuple(broadcast_shapes((meshes,), matrix.shape[:-2]))
    except ValueError:
        raise ArgumentError(f"{where}: {meshes} meshes and cameras {list(matrix.shape[:-2])} do not broadcast") from None
    if meshes != shape[-1]:
        raise ArgumentError(f"{where}: a packed batch of one mesh before {shape[-1]} cameras: pass it without offsets")
    repeats = 1
    for size in shape[:-1]:
        repeats *= size
    each = matrix.expand(*shape, 3, 4).reshape(repeats, meshes, 3, 4)
    parts = [vertices.new_empty((repeats, 0, 3))]
    parts += [_map_points(own[None], each[:, mesh]) for mesh, own in enumerate(vertices.split(vertex_ends.diff().tolist()))]
    points = torch.cat(parts, 1)
    images = torch.stack([face_ends[:-1], face_ends.diff(), torch.zeros_like(face_ends[1:])], 1).repeat(repeats, 1)
    images[:, 2] = torch.arange(repeats).repeat_interleave(meshes) * vertices.shape[0]
    return points.reshape(-1, 3).contiguous(), images, shape


def _check_offsets(offsets: Tensor | None, count: int, name: str, where: str) -> Tensor:
    if offsets is None:
        raise ArgumentError(f"{where}: a packed batch needs `{name}`")
    check_shape(offsets, ["M + 1"], name=name, where=where, integer=True)
    ends = offsets.to("cpu", torch.int64)
    if ends.shape[0] < 1 or int(ends[0]) != 0 or int(ends[-1]) != count or bool((ends.diff() < 0).any()):
        raise ArgumentError(f"{where}: `{name}` must rise from 0 to {count}, got {ends.tolist()[:8]}")
    return ends
