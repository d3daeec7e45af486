"""Is a model really there? The depth that it would show from the sensor's place, beside the depth that the scene has."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..camera.camera import Camera, perspective_camera
from ..camera.viewpoints import look_at
from ..geometry.normals import face_normals
from ..render.rasterize import rasterize
from .shape import Shape

_SMALLEST, _LARGEST = 16, 112  # pixels of a picture's side
_OPEN = 0.2  # mean normal, zero for a closed surface, above which a model is a part of a surface


@dataclass(frozen=True, kw_only=True)
class DepthAgreement:
    """What the pixels say in which the model would be seen; shares of those pixels.

    Attributes:
        support: the scene has the model's surface there.
        violation: the scene has something behind it, which the model would hide.
        occluded: the scene has something before it.
        unknown: the scene has no point there.
        flush: not a share of pixels: share of the model's rim beyond which the scene goes on in the model's own plane, so that the model
            lies in a larger surface instead of being a thing of its own. 0 where the model is a part of a surface itself.
        pixels: how many pixels the model covers.
    """

    support: float
    violation: float
    occluded: float
    unknown: float
    flush: float
    pixels: int

    @property
    def agreement(self) -> float:
        """From 0 to 1: how much of what the scene shows there agrees. What lies behind something else says nothing."""
        return self.support / max(self.support + self.violation + 0.3 * self.unknown, 1e-9) * (1 - 0.8 * self.flush**2)


def seen_from(shape: Shape, viewpoint: Tensor, apart: float) -> bool:
    """Whether a sensor at a viewpoint [3] could have seen all points: hardly any lie behind others.

    Args:
        apart: spacing of the points.
    """
    ray = shape.points.double() - (viewpoint.double() - shape.origin)
    distance = ray.norm(dim=1)
    if float(distance.min()) <= 1e-3 * shape.diameter:
        return False
    pixel = 1.5 * apart / float(distance.median())
    if pixel > 0.3:
        return False
    unit = ray / distance[:, None]
    main = unit.abs().argmax(1)
    face = unit / unit.gather(1, main[:, None]).abs()
    cell = ((face + 1) / pixel).floor().long()
    side = int(2 / pixel) + 2
    sign = (unit.gather(1, main[:, None])[:, 0] > 0).long()
    _, owner = torch.unique(((main * 2 + sign) * side + cell[:, 0]) * side * side + cell[:, 1] * side + cell[:, 2], return_inverse=True)
    nearest = torch.full((int(owner.max()) + 1,), float("inf"), dtype=torch.float64).scatter_reduce(0, owner, distance, "amin")
    behind = distance > nearest[owner] * (1 + 4 * pixel) + 0.03 * shape.diameter
    return float(behind.double().mean()) < 0.02


class DepthCheck:
    """A scene as its sensor saw it, for checking where a model may lie."""

    def __init__(self, scene: Shape, model: Shape, viewpoint: Tensor, *, tolerance: float, spacing: float):
        """Args:
        scene, model: dense, with normals.
        viewpoint: [3] in the scene's inner frame (minus its origin).
        tolerance: distance within which surfaces are the same, scene units.
        spacing: of the scene's points.
        """
        self.scene, self.model, self.tolerance, self.spacing = scene, model, tolerance, spacing
        self.eye = viewpoint.double()
        self.radius = float((model.points).norm(dim=1).max())
        assert model.normals is not None
        self.closed = float(model.normals.mean(0).norm()) < _OPEN
        self.face_normals = None if model.mesh is None else face_normals(model.mesh.vertices, model.mesh.faces)

    def check(self, motion: Tensor) -> DepthAgreement | None:
        """Compare at a motion [4, 4] scene_from_model between inner frames; None where the sensor would be within the model."""
        camera = self._camera(motion)
        if camera is None:
            return None
        depth, normal = self._model_picture(motion, camera)
        scene, index = splat(self.scene.points, camera)
        rays = torch.nn.functional.normalize(_pixel_places(camera, torch.ones_like(depth)), dim=-1)
        mask = depth > 0
        count = int(mask.sum())
        if count == 0:
            return None
        cosine = (normal * rays).sum(-1).abs().clamp_min(0.1)
        gap = (scene - depth) / rays[..., 2] * cosine  # along the model's normal; positive where the scene lies behind
        known = mask & (scene > 0)
        support = known & (gap.abs() <= self.tolerance)
        behind = known & (gap > 2 * self.tolerance)
        before = known & (gap < -self.tolerance)
        return DepthAgreement(
            support=float(support.sum()) / count,
            violation=float(behind.sum()) / count,
            occluded=float(before.sum()) / count,
            unknown=float((mask & (scene <= 0)).sum()) / count,
            flush=self._flush(mask, support, depth, normal, rays, index, camera) if self.closed else 0.0,
            pixels=count,
        )

    def _camera(self, motion: Tensor) -> Camera | None:
        centre = motion[:3, 3]
        distance = float((centre - self.eye).norm())
        if distance <= 1.2 * self.radius:
            return None
        half = math.asin(self.radius / distance) * 1.15
        size = round(2 * self.radius * 1.15 / max(1.3 * self.spacing, 1e-12))
        size = min(max(size, _SMALLEST), _LARGEST)
        pose = look_at(self.eye.float(), centre.float(), torch.tensor([0.0, 1.0, 0.0]))
        near = max(1e-3 * distance, distance - 2 * self.radius)
        return perspective_camera(pose, image_size=(size, size), fov_y_deg=2 * math.degrees(half), near=near, far=1e4 * distance)

    def _model_picture(self, motion: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
        """Depth [H, W], 0 for none, and normals [H, W, 3] in the camera's frame."""
        turn = camera.camera_from_world[:3, :3] @ motion[:3, :3].float()
        mesh = self.model.mesh
        if mesh is not None:
            assert self.face_normals is not None
            vertices = mesh.vertices @ motion[:3, :3].float().T + motion[:3, 3].float()
            fragments = rasterize(vertices, mesh.faces, camera)
            normal = (self.face_normals @ turn.T)[fragments.face.clamp_min(0)]
            return fragments.depth, torch.where(fragments.mask[..., None], normal, 0)
        assert self.model.normals is not None
        points = self.model.points @ motion[:3, :3].float().T + motion[:3, 3].float()
        depth, index = splat(points, camera)
        normal = (self.model.normals @ turn.T)[index.clamp_min(0)]
        return depth, torch.where((index >= 0)[..., None], normal, 0)

    def _flush(self, mask: Tensor, support: Tensor, depth: Tensor, normal: Tensor, rays: Tensor, index: Tensor, camera: Camera) -> float:
        """Share of the rim, where it is seen steeply enough to tell, beyond which the scene goes on in the model's plane."""
        place = _pixel_places(camera, depth)
        pose = camera.camera_from_world
        points = self.scene.points[index.clamp_min(0)] @ pose[:3, :3].T + pose[:3, 3]
        pixel = float(depth[mask].median()) / float(camera.intrinsics[0, 0])
        reach = max(2, math.ceil(4 * self.tolerance / pixel))  # so far away that what is level there is no chance
        if 3 * reach > mask.shape[0]:
            return 0.0
        frontal = support & ((normal * rays).sum(-1).abs() > 0.3)
        rim = level = 0
        for row, column in ((0, reach), (0, -reach), (reach, 0), (-reach, 0)):
            shift = lambda t, row=row, column=column: torch.roll(t, (-row, -column), (0, 1))
            edge = frontal & ~shift(mask) & shift(index >= 0)
            offset = shift(points) - place
            close = (offset.norm(dim=-1) <= 3 * reach * pixel) & ((offset * normal).sum(-1).abs() <= self.tolerance)
            rim += int(edge.sum())
            level += int((edge & close).sum())
        return level / rim if rim >= 8 else 0.0


def splat(points: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Depth [H, W] of the nearest point in each pixel, 0 for none, and its index, -1 for none."""
    height, width = camera.image_size
    local = points @ camera.camera_from_world[:3, :3].T + camera.camera_from_world[:3, 3]
    front = local[:, 2] > camera.near
    image = local[:, :2] / local[:, 2:].where(front[:, None], 1) * camera.intrinsics[0, 0] + camera.intrinsics[:2, 2]
    column, row = image[:, 0].floor(), image[:, 1].floor()
    inside = (front & (column >= 0) & (column < width) & (row >= 0) & (row < height)).nonzero()[:, 0]
    pixel = (row[inside] * width + column[inside]).long()
    order = local[inside, 2].argsort(descending=True)
    index = torch.full((height * width,), -1, dtype=torch.int64)
    rank = torch.full((height * width,), -1, dtype=torch.int64).scatter_reduce(0, pixel[order], torch.arange(len(order)), "amax")
    hit = rank >= 0
    index[hit] = inside[order[rank[hit]]]
    depth = torch.where(index >= 0, local[index.clamp_min(0), 2], 0)
    return depth.view(height, width), index.view(height, width)


def _pixel_places(camera: Camera, depth: Tensor) -> Tensor:
    """Points [H, W, 3] in the camera's frame at pixel centres with a depth."""
    height, width = camera.image_size
    row, column = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    x = (column - camera.intrinsics[0, 2]) / camera.intrinsics[0, 0]
    y = (row - camera.intrinsics[1, 2]) / camera.intrinsics[1, 1]
    return torch.stack([x * depth, y * depth, depth], -1)
