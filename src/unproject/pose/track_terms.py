"""What a frame says about a pose near a given one: outline, texture and depth, in joint Gauss-Newton steps.

Each term is weighted by its own variance, so terms add up. Sources: of the outline's, Stoiber et al. 2020, A sparse Gaussian approach to
region-based 6DoF object tracking; of the depth's, Stoiber et al. 2022, Iterative corresponding geometry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..io.video import VideoFrame
from ..lie.so3 import so3_exp
from ..ops import track_terms as ops
from ..reference import track_terms as reference
from ..struct import TensorStruct
from .color_model import ColorModel
from .texture_term import Keyframe, Pyramid
from .view import Contour

_TERMS = ("outline", "texture", "paint", "depth")
_LENGTH, _OFFSETS = 14, 10  # samples of a line on each side of the outline, and candidates for it
_ALIKE = [3.0, 6.0, 4.0]  # neighbouring lines, points and pixels see nearly the same: their number overstates what they know
_GREY = 4.0  # grey levels: images are not truer than that
_SHIFT, _TURN = 0.12, 0.35  # diameters and radians: how far one step may go
_LIKELY_SHIFT, _LIKELY_TURN = 0.04, 0.12  # the same units: how far objects move between frames


@dataclass(frozen=True, kw_only=True)
class Evidence(TensorStruct):
    """What a frame is compared with.

    Attributes:
        contour: of the object as rendered nearby.
        surface: [S, 6] points and normals of the object that are seen, or None without depth.
        pyramid: the frame's brightness around the object, or None.
        texture: brightness of the object in an earlier frame, or None.
        paint: brightness of the mesh's own colours, or None.
        visible: share of the outline that nothing is in front of; `contour` has no other points.
        covered: [h', w'] cells of the view where something is in front.
    """

    contour: Contour
    surface: Tensor | None = None
    pyramid: Pyramid | None = None
    texture: Keyframe | None = None
    paint: Keyframe | None = None
    visible: float = 1.0
    covered: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class TermsFit(TensorStruct):
    """A pose after some steps.

    Attributes:
        pose: [4, 4] float64.
        moved: [6] float64 shift and turn since the frame's first pose.
        covariance: [6, 6] float64 of shift and turn about the object's centre, in the camera's axes.
        support: of each term that had data, the share of them that agrees with the pose.
    """

    pose: Tensor
    moved: Tensor
    covariance: Tensor
    support: Mapping[str, float]


def fit_terms(
    pose: Tensor, moved: Tensor, frame: VideoFrame, colors: ColorModel, evidence: Evidence, camera: Camera, *, diameter: float,
    stride: int, level: int, reach: float, steps: int, spread: float = 1.0, doubt: float = 2.0,
) -> TermsFit:  # fmt: skip
    """Some steps of a pose [4, 4] of an object whose centre is its origin, and what supports it then.

    Objects move little from one frame to the next, which decides where the data does not (about the axis of a bottle).

    Args:
        moved: [6] since the frame's first pose.
        stride: pixels between the samples across the outline.
        level: of the pyramid.
        reach: distance from the surface beyond which a measured depth belongs to something else.
        steps: 0 measures only.
        spread: how much farther off the first pose may be than objects move between frames.
        doubt: how fast lines that disagree with most lose their weight; up to 0.5 they keep some pull however far off they are.
    """
    run = ops.fit_pose if frame.color.device.type == "cpu" else reference.fit_pose
    contour, pyramid, nothing = evidence.contour.rows, evidence.pyramid, pose.new_empty((0, 0), dtype=torch.float32)
    picture, corner, scale, texture, paint = nothing.view(0, 0, 0), pose.new_zeros(2), 1.0, nothing, nothing
    if pyramid is not None:
        picture, corner, scale = pyramid.levels[level], pyramid.corner, pyramid.scale * 2.0**-level
        texture, paint = (nothing if key is None else key.samples(level) for key in (evidence.texture, evidence.paint))
    depth, surface = (nothing, nothing) if frame.depth is None or evidence.surface is None else (frame.depth, evidence.surface)
    prior = precision_of_motion(diameter) / spread**2
    line, limits = [stride, _LENGTH, _OFFSETS], [_SHIFT * diameter, _TURN]
    pose, moved, terms = run(
        frame.color, colors.odds, contour, line, 1 / (1 + 1 / stride), doubt, picture, corner, scale, texture, paint, _GREY, depth, surface,
        reach, camera.intrinsics, pose, moved, prior, limits, _ALIKE, steps,
    )  # fmt: skip
    covariance = torch.linalg.inv(terms[:, :36].sum(0).view(6, 6) + prior.diag())
    had = (contour, texture, paint, surface)
    support = {name: value for name, data, value in zip(_TERMS, had, terms[:, 42].tolist()) if len(data)}
    support["outline"] = support.get("outline", 0.0) * evidence.visible
    return TermsFit(pose=pose, moved=moved, covariance=covariance, support=support)


def precision_of_motion(diameter: float) -> Tensor:
    """[6] inverse variances of the shift and turn of an object from one frame to the next."""
    return torch.tensor([_LIKELY_SHIFT * diameter] * 3 + [_LIKELY_TURN] * 3, dtype=torch.float64) ** -2


def step_motion(step: Tensor, center: Tensor) -> Tensor:
    """The motion [4, 4] of a step [6] about the centre [3]; multiply it to a pose from the left."""
    rotation = so3_exp(step[3:])
    motion = torch.eye(4).to(step)
    motion[:3, :3] = rotation
    motion[:3, 3] = center - rotation @ center + step[:3]
    return motion
