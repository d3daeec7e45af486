"""How far an estimated pose is from the true one: the errors of the BOP benchmark and of the papers before it.

Poses are camera_from_object [..., 4, 4], OpenCV camera axes; lengths are in the model's unit. Source of all but ADD: Hodan et al. 2020,
BOP Challenge 2020 on 6D object localization, section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..camera.transform import camera_to_screen, screen_to_camera
from ..errors import ArgumentError, check_shape
from ..geometry.mesh import Mesh
from ..geometry.neighbors import nearest
from ..geometry.point_index import build_index
from ..render.rasterize import rasterize

VSD_TOLERANCES = tuple(0.05 * k for k in range(1, 11))
"""Misalignment tolerances of BOP's VSD, as fractions of the diameter."""


def rotation_error_deg(estimate: Tensor, truth: Tensor, *, symmetries: Tensor | None = None) -> Tensor:
    """The angle [...] in degrees between two rotations, the smallest over the symmetries [S, 4, 4] of the object if there are any."""
    estimate, candidates = _candidates(estimate, truth, symmetries, where="rotation_error_deg")
    turn = candidates[..., :3, :3].transpose(-1, -2) @ estimate[..., None, :3, :3]
    skew = torch.stack([turn[..., 2, 1] - turn[..., 1, 2], turn[..., 0, 2] - turn[..., 2, 0], turn[..., 1, 0] - turn[..., 0, 1]], dim=-1)
    cosine = (turn.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    return torch.rad2deg(torch.atan2(skew.norm(dim=-1) / 2, cosine)).amin(-1)


def translation_error(estimate: Tensor, truth: Tensor) -> Tensor:
    """The distance [...] between the two places of the object's origin."""
    return (estimate[..., :3, 3] - truth[..., :3, 3]).norm(dim=-1)


def add_error(estimate: Tensor, truth: Tensor, points: Tensor) -> Tensor:
    """ADD [...]: the mean distance between the model's points [P, 3] in the two poses.

    Source: Hinterstoisser et al. 2012, Model based training, detection and pose estimation.
    """
    return (_place(estimate, points, "add_error") - _place(truth, points, "add_error")).norm(dim=-1).mean(-1)


def adds_error(estimate: Tensor, truth: Tensor, points: Tensor) -> Tensor:
    """ADD-S [...]: the mean distance from each point [P, 3] in the true pose to the nearest in the estimated one; for symmetric objects."""
    one, other = _place(estimate, points, "adds_error"), _place(truth, points, "adds_error")
    one, other = torch.broadcast_tensors(one, other)
    pairs = zip(one.reshape(-1, *points.shape), other.reshape(-1, *points.shape))
    errors = [nearest(there, build_index(here)).squared_distance.sqrt().mean() for here, there in pairs]
    return torch.stack(errors).reshape(one.shape[:-2]) if errors else one.new_zeros(one.shape[:-2])


def mssd_error(estimate: Tensor, truth: Tensor, points: Tensor, *, symmetries: Tensor | None = None) -> Tensor:
    """MSSD [...]: the largest distance between the model's points [P, 3] in the two poses, the smallest over the symmetries [S, 4, 4]."""
    estimate, candidates = _candidates(estimate, truth, symmetries, where="mssd_error")
    return _largest(lambda pose: _place(pose, points, "mssd_error"), estimate, candidates)


def mspd_error(estimate: Tensor, truth: Tensor, points: Tensor, camera: Camera, *, symmetries: Tensor | None = None) -> Tensor:
    """MSPD [...]: the largest distance in pixels between the projections of the points [P, 3], the smallest over the symmetries [S, 4, 4].

    Args:
        camera: one camera; its place in the world does not matter. Points behind it make the error infinite.
    """
    estimate, candidates = _candidates(estimate, truth, symmetries, where="mspd_error")

    def image(pose: Tensor) -> Tensor:
        placed = _place(pose, points, "mspd_error")
        pixels = camera_to_screen(camera, placed)[..., :2]
        return torch.where(placed[..., 2:] > 0, pixels, torch.full_like(pixels, torch.inf))

    return _largest(image, estimate, candidates)


def vsd_error(
    estimate: Tensor,
    truth: Tensor,
    mesh: Mesh,
    camera: Camera,
    depth: Tensor,
    *,
    diameter: float,
    visible_within: float,
    tolerances: Sequence[float] = VSD_TOLERANCES,
) -> Tensor:
    """VSD [T]: of the pixels where the object is visible in either pose, the share where the two surfaces differ, for each tolerance.

    Args:
        estimate, truth: [4, 4].
        camera: of the depth image; its place in the world does not matter.
        depth: [H, W] measured camera z in the mesh's unit, 0 where nothing was measured (there the object counts as visible).
        diameter: largest distance between two points of the object.
        visible_within: how far behind the measured surface the object may lie and still count as visible (BOP: 15 mm).
        tolerances: of the distance between the two surfaces, as fractions of the diameter.

    Returns:
        Errors in [0, 1]; 1 where the object is visible in neither pose.

    Raises:
        ArgumentError: shapes, a depth image of another size than the camera's, or a diameter that is not positive.
    """
    check_shape(depth, [*camera.image_size], name="depth", where="vsd_error")
    if not diameter > 0:
        raise ArgumentError(f"vsd_error: `diameter` must be positive, got {diameter}")
    ray = _ray_lengths(camera).to(depth)
    measured = depth * ray
    rendered = [_rendered_depth(mesh, camera, pose) * ray for pose in (estimate, truth)]
    unmeasured = measured == 0
    masks = [(d > 0) & (unmeasured | (d - measured <= visible_within)) for d in rendered]
    masks[0] = masks[0] | (masks[1] & (rendered[0] > 0))
    both, either = masks[0] & masks[1], masks[0] | masks[1]
    count = int(either.sum())
    if count == 0:
        return depth.new_ones(len(tolerances))
    distance = (rendered[0] - rendered[1]).abs()[both] / diameter
    agreeing = torch.stack([(distance < tolerance).sum() for tolerance in tolerances])
    return 1 - agreeing.to(depth.dtype) / count


def object_diameter(points: Tensor) -> float:
    """The largest distance between two of the points [P, 3]."""
    from scipy.spatial import ConvexHull, QhullError

    values = check_shape(points, ["P", 3], name="points", where="object_diameter", finite=True).detach().cpu().double()
    if len(values) == 0:
        raise ArgumentError("object_diameter: `points` is empty")
    try:
        values = values[torch.from_numpy(ConvexHull(values.numpy()).vertices.astype("int64"))]
    except (QhullError, ValueError):  # flat or too few: all points are candidates
        values = values.unique(dim=0)
    return max(float((values - point).norm(dim=1).max()) for point in values)


def _rendered_depth(mesh: Mesh, camera: Camera, pose: Tensor) -> Tensor:
    here = replace(camera, camera_from_world=pose.to(camera.camera_from_world))
    return rasterize(mesh.vertices.to(camera.camera_from_world), mesh.faces, here).depth


def _ray_lengths(camera: Camera) -> Tensor:
    """[H, W]: how much longer the way along a pixel's ray is than its camera z."""
    height, width = camera.image_size
    like = camera.camera_from_world
    rows, columns = torch.meshgrid(torch.arange(height).to(like) + 0.5, torch.arange(width).to(like) + 0.5, indexing="ij")
    return screen_to_camera(camera, torch.stack([columns, rows, torch.ones_like(rows)], dim=-1)).norm(dim=-1)


def _candidates(estimate: Tensor, truth: Tensor, symmetries: Tensor | None, *, where: str) -> tuple[Tensor, Tensor]:
    """The estimate, and the true poses [..., S, 4, 4] that look the same."""
    for name, value in (("estimate", estimate), ("truth", truth)):
        check_shape(value, [..., 4, 4], name=name, where=where)
    if symmetries is None:
        return estimate, truth[..., None, :, :]
    check_shape(symmetries, ["S", 4, 4], name="symmetries", where=where)
    return estimate, truth[..., None, :, :] @ symmetries.to(truth)


def _largest(place: Callable[[Tensor], Tensor], estimate: Tensor, candidates: Tensor) -> Tensor:
    """The smallest over candidates [..., S, 4, 4] of the largest distance to `place(estimate)`. One at a time bounds memory."""
    one = place(estimate)
    errors = [(one - place(pose)).norm(dim=-1).amax(-1) for pose in candidates.unbind(-3)]
    return torch.stack(errors, dim=-1).nan_to_num(nan=torch.inf, posinf=torch.inf).amin(-1)


def _place(pose: Tensor, points: Tensor, where: str) -> Tensor:
    check_shape(pose, [..., 4, 4], name="pose", where=where)
    check_shape(points, ["P", 3], name="points", where=where)
    return points.to(pose) @ pose[..., :3, :3].transpose(-1, -2) + pose[..., None, :3, 3]
