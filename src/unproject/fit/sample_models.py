"""Procedural shape models for samples and tests: a face-like and a body-like one. They resemble no person and need no data."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.normals import vertex_normals
from ..geometry.primitives import icosphere
from ..geometry.sdf import mesh_sdf, sdf_capsule, sdf_ellipsoid, sdf_smooth_union
from .linear_model import LinearModel, Skinning, check_model

# Where on the head (direction from its centre: x to its left, y up, z forward), how wide, and which way by how much of one deviation.
_FEATURES = (
    ((0.0, -0.05, 1.0), 0.2, (0.0, -0.06, 0.34)),  # nose
    ((0.0, 0.33, 0.95), 0.33, (0.0, 0.0, 0.1)),  # brow
    ((0.36, 0.16, 0.92), 0.17, (0.0, 0.0, -0.13)),  # eyes
    ((-0.36, 0.16, 0.92), 0.17, (0.0, 0.0, -0.13)),
    ((0.0, -0.42, 0.9), 0.2, (0.0, 0.0, 0.1)),  # mouth
    ((0.0, -0.8, 0.6), 0.25, (0.0, -0.1, 0.15)),  # chin
    ((1.0, 0.05, -0.05), 0.2, (0.16, 0.03, -0.05)),  # ears
    ((-1.0, 0.05, -0.05), 0.2, (-0.16, 0.03, -0.05)),
)
_IDENTITIES = (
    (((0.0, -0.05, 1.0), 0.22, (0.0, -0.01, 0.09)),),  # nose length
    (((0.22, -0.12, 0.97), 0.17, (0.07, 0.0, 0.02)), ((-0.22, -0.12, 0.97), 0.17, (-0.07, 0.0, 0.02))),  # nose width
    (((0.0, -0.8, 0.6), 0.4, (0.0, -0.09, 0.06)),),  # chin
    (((0.75, -0.5, 0.45), 0.4, (0.08, 0.0, 0.0)), ((-0.75, -0.5, 0.45), 0.4, (-0.08, 0.0, 0.0))),  # jaw width
    (((0.0, 0.4, 0.92), 0.35, (0.0, 0.02, 0.07)),),  # brow
    (((0.65, 0.0, 0.75), 0.3, (0.05, 0.0, 0.05)), ((-0.65, 0.0, 0.75), 0.3, (-0.05, 0.0, 0.05))),  # cheekbones
)
_EXPRESSIONS = (
    (((0.28, -0.4, 0.87), 0.2, (0.07, 0.07, -0.02)), ((-0.28, -0.4, 0.87), 0.2, (-0.07, 0.07, -0.02))),  # smile
    (((0.0, -0.62, 0.78), 0.28, (0.0, -0.12, -0.02)),),  # open mouth
    (((0.3, 0.35, 0.9), 0.2, (0.0, 0.08, 0.02)), ((-0.3, 0.35, 0.9), 0.2, (0.0, 0.08, 0.02))),  # raised brows
    (((0.5, -0.35, 0.8), 0.22, (0.05, 0.0, 0.08)), ((-0.5, -0.35, 0.8), 0.22, (-0.05, 0.0, 0.08))),  # puffed cheeks
)
_FACE_LANDMARKS = {
    "nose": (0.0, -0.05, 1.0), "chin": (0.0, -0.8, 0.6), "left eye": (0.36, 0.16, 0.92), "right eye": (-0.36, 0.16, 0.92),
    "left ear": (1.0, 0.05, -0.05), "right ear": (-1.0, 0.05, -0.05),
    "left mouth": (0.28, -0.42, 0.87), "right mouth": (-0.28, -0.42, 0.87),
}  # fmt: skip


def sample_face_model(*, level: int = 4, dtype: torch.dtype = torch.float32) -> LinearModel:
    """A head with a face: 8 identities (two are width and height), 4 expressions, landmarks. About 2 units tall, y up, looking along z.

    Args:
        level: of the icosphere that it is made of; 4 has 2,562 vertices.
        dtype: of its tensors.
    """
    sphere = icosphere(level, dtype=torch.float64)
    direction = sphere.vertices
    mean = direction * torch.tensor([0.76, 1.0, 0.88], dtype=torch.float64) + _bumps(direction, _FEATURES)
    wide = mean * torch.tensor([0.06, 0.0, 0.0], dtype=torch.float64)
    tall = mean * torch.tensor([0.0, 0.06, 0.0], dtype=torch.float64)
    identity = torch.stack([wide, tall, *(_bumps(direction, one) for one in _IDENTITIES)], 2)
    expression = torch.stack([_bumps(direction, one) for one in _EXPRESSIONS], 2)
    places = {name: int((direction @ _unit(place)).argmax()) for name, place in _FACE_LANDMARKS.items()}
    return check_model(
        LinearModel(
            mean=mean.to(dtype), faces=sphere.faces, identity_basis=identity.to(dtype), expression_basis=expression.to(dtype),
            identity_deviation=torch.ones(identity.shape[2], dtype=dtype),
            expression_deviation=torch.ones(expression.shape[2], dtype=dtype),
            landmarks=places,
        )
    )  # fmt: skip


_JOINTS = (  # name, parent, place: x to its left, y up, z forward
    ("pelvis", -1, (0.0, 0.0, 0.0)), ("chest", 0, (0.0, 0.3, 0.0)), ("head", 1, (0.0, 0.58, 0.0)),
    ("left shoulder", 1, (0.2, 0.48, 0.0)), ("left elbow", 3, (0.47, 0.48, 0.0)),
    ("right shoulder", 1, (-0.2, 0.48, 0.0)), ("right elbow", 5, (-0.47, 0.48, 0.0)),
    ("left hip", 0, (0.12, -0.07, 0.0)), ("left knee", 7, (0.14, -0.47, 0.0)),
    ("right hip", 0, (-0.12, -0.07, 0.0)), ("right knee", 9, (-0.14, -0.47, 0.0)),
)  # fmt: skip
_ENDS = {"pelvis": (0.0, 0.25, 0.0), "chest": (0.0, 0.5, 0.0), "head": (0.0, 0.78, 0.0), "left shoulder": (0.45, 0.48, 0.0),
         "left elbow": (0.8, 0.48, 0.0), "left hip": (0.14, -0.45, 0.0), "left knee": (0.15, -0.9, 0.0)}  # fmt: skip
_BODY_LANDMARKS = {
    "crown": (0.0, 0.85, 0.0), "nose": (0.0, 0.7, 0.16), "left hand": (0.86, 0.48, 0.0), "right hand": (-0.86, 0.48, 0.0),
    "left foot": (0.16, -0.95, 0.16), "right foot": (-0.16, -0.95, 0.16), "navel": (0.0, 0.08, 0.14),
}  # fmt: skip


def sample_body_model(*, resolution: int = 56, dtype: torch.dtype = torch.float32) -> LinearModel:
    """A figure with arms spread: 11 joints, 5 identities (height, girth, legs, shoulders, belly), 1 expression (breath), pose blend shapes.

    About 1.8 units tall; y up, looking along z, x to its left.

    Args:
        resolution: cells along its height; 56 has about 3,000 vertices.
        dtype: of its tensors.
    """
    parts = [sdf_ellipsoid((0, 0.42, 0), (0.22, 0.2, 0.13)), sdf_ellipsoid((0, 0.08, 0), (0.18, 0.24, 0.12))]
    parts += [
        sdf_capsule((0, 0.5, 0), (0, 0.62, 0), 0.065),
        sdf_ellipsoid((0, 0.73, 0.01), (0.1, 0.13, 0.12)),
        sdf_capsule((0, 0.7, 0.1), (0, 0.68, 0.15), 0.02),
    ]
    for s in (1.0, -1.0):
        parts += [
            sdf_capsule((0.18 * s, 0.48, 0), (0.47 * s, 0.48, 0), 0.075, 0.055),
            sdf_capsule((0.47 * s, 0.48, 0), (0.8 * s, 0.48, 0), 0.055, 0.04),
        ]
        parts += [
            sdf_capsule((0.12 * s, -0.07, 0), (0.14 * s, -0.47, 0), 0.105, 0.07),
            sdf_capsule((0.14 * s, -0.47, 0), (0.15 * s, -0.9, 0), 0.07, 0.045),
        ]
        parts += [sdf_capsule((0.15 * s, -0.92, 0), (0.16 * s, -0.93, 0.14), 0.045, 0.035)]
    mesh = mesh_sdf(
        sdf_smooth_union(*parts, radius=0.04), (-1.0, -1.05, -0.3), (1.0, 0.95, 0.3), resolution=resolution, dtype=torch.float64
    )
    mean = mesh.vertices
    joints = torch.tensor([place for _, _, place in _JOINTS], dtype=torch.float64)
    parents = torch.tensor([parent for _, parent, _ in _JOINTS])
    weights = _skin_weights(mean)
    identity = _body_identities(mean, vertex_normals(mean, mesh.faces), weights)
    breath = _bumps(mean, (((0.0, 0.42, 0.13), 0.15, (0.0, 0.0, 0.03)),))[:, :, None]
    places = {name: int((mean - mean.new_tensor(place)).square().sum(1).argmin()) for name, place in _BODY_LANDMARKS.items()}
    model = LinearModel(
        mean=mean, faces=mesh.faces, identity_basis=identity, expression_basis=breath,
        identity_deviation=mean.new_ones(identity.shape[2]), expression_deviation=mean.new_ones(1), landmarks=places,
        skinning=Skinning(joint_regressor=_regressor(mean, joints), parents=parents, weights=weights, pose_basis=_pose_basis(mean, joints)),
    )  # fmt: skip
    return check_model(model.to(dtype))


def _unit(place: tuple[float, float, float]) -> Tensor:
    return torch.nn.functional.normalize(torch.tensor(place, dtype=torch.float64), dim=0)


def _bumps(points: Tensor, bumps: tuple[tuple[tuple[float, ...], float, tuple[float, ...]], ...]) -> Tensor:
    """[V, 3] the sum of Gaussian displacements (place, width, by how much)."""
    total = torch.zeros_like(points)
    for place, width, move in bumps:
        squared = (points - points.new_tensor(place)).square().sum(1)
        total = total + torch.exp(-0.5 * squared / width**2)[:, None] * points.new_tensor(move)
    return total


def _bones() -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Start and end of the bone that each joint moves."""
    bones = []
    for name, _, place in _JOINTS:
        end = _ENDS[name.replace("right", "left")]
        bones.append((place, (-end[0], *end[1:]) if name.startswith("right") else end))
    return bones


def _skin_weights(points: Tensor) -> Tensor:
    """[V, J] by the distance to each bone, falling within a few hundredths."""
    distances = torch.stack([sdf_capsule(start, end, 0.0)(points) for start, end in _bones()], 1)
    return torch.softmax(-distances.square() / (2 * 0.045**2), 1)


def _body_identities(mean: Tensor, normals: Tensor, weights: Tensor) -> Tensor:
    """[V, 3, 5] height, girth, length of legs, width of shoulders, belly."""
    x, y, _ = mean.unbind(1)
    zero = torch.zeros_like(x)
    legs = torch.stack([zero, 0.08 * (y + 0.07).clamp(max=0), zero], 1)
    shoulders = torch.stack([0.025 * torch.tanh(x / 0.15) * torch.sigmoid((y - 0.38) / 0.03), zero, zero], 1)
    belly = _bumps(mean, (((0.0, 0.1, 0.13), 0.13, (0.0, 0.0, 0.05)),))
    return torch.stack([0.05 * mean, 0.012 * normals * (1 - 0.7 * weights[:, 2:3]), legs, shoulders, belly], 2)


def _regressor(points: Tensor, joints: Tensor) -> Tensor:
    """[J, V] the smallest weights, of vertices near each joint, that add up to 1 and give its place."""
    rows = []
    for joint in joints:
        squared = (points - joint).square().sum(1)
        near = squared < torch.clamp(2.5 * squared.min(), min=0.13**2)
        system = torch.cat([points[near] - joint, points.new_ones(int(near.sum()), 1)], 1).T
        share = torch.linalg.lstsq(system, system.new_tensor([0, 0, 0, 1.0])[:, None], driver="gelsd").solution[:, 0]
        rows.append(points.new_zeros(len(points)).index_put((near,), share))
    return torch.stack(rows)


def _pose_basis(points: Tensor, joints: Tensor) -> Tensor:
    """[V, 3, 9 (J - 1)] a joint that bends pushes out what lies about it: the diagonal of R - I is negative then."""
    basis = points.new_zeros(len(points), 3, 9 * (len(joints) - 1))
    for j, joint in enumerate(joints[1:]):
        offset = points - joint
        push = -0.15 * torch.exp(-0.5 * offset.square().sum(1) / 0.07**2)[:, None] * offset
        for entry in (0, 4, 8):
            basis[:, :, 9 * j + entry] = push
    return basis
