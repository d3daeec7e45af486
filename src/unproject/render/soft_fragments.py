"""Soft shading: every face near a pixel gets a colour of its own there, from any function, before the colours are blended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..errors import ArgumentError, ArgumentTypeError, check_shape
from ..ops import fragment_terms as terms_ops
from ..ops import pixel_shares as shares_ops
from ..ops import soft_blend as blend_ops
from ..ops import soft_fragments as ops
from ..reference import soft as reference
from ..reference.clip import Clipped
from ..struct import TensorStruct
from .project import Projection, clip, project, view_of
from .soft import SoftImage, blend_exponents, blur_in_pixels, foreground_share


@dataclass(frozen=True, kw_only=True)
class SoftFragments(TensorStruct):
    """The P pairs of a pixel and a face near it that matter to a softly blended image.

    Attributes:
        pixel: [P] int64, row of the flattened images [... * H * W].
        face: [P] int64, a row of `faces`.
        barycentrics: [P, 3] perspective-correct weights of the face's corners, sum 1, clamped to the face.
        depth: [P] camera z.
        share: [P] part of the pixel's colour, sum 1 over the fragments of each pixel.
        alpha, foreground: [..., H, W] as those of SoftImage.
    """

    pixel: Tensor
    face: Tensor
    barycentrics: Tensor
    depth: Tensor
    share: Tensor
    alpha: Tensor
    foreground: Tensor

    def __getitem__(self, index: object) -> NoReturn:
        raise ArgumentTypeError("SoftFragments: fragments are not rows of images; render the images that you want")


def soft_fragments(
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    *,
    sigma: float = 1e-4,
    gamma: float = 1e-4,
    background_nearness: float = 1e-3,
    depth_range: tuple[float, float] | None = None,
    least_share: float = 1e-4,
    cull_backfaces: bool = False,
    vertex_offsets: Tensor | None = None,
    face_offsets: Tensor | None = None,
) -> SoftFragments:
    """What `soft_rasterize` blends, fragment by fragment: to shade or texture each face at each pixel before blending (soft Phong).

    ```python
    fragments = soft_fragments(vertices, faces, camera)
    normals = interpolate_vertices(vertex_normals, faces, fragments.face, fragments.barycentrics)  # [P, 3]
    image = blend_fragments(fragments, shade(normals, ...))  # any function of [P, ...], differentiable
    ```

    Memory and time grow with the number of fragments. Attributes that are linear on the faces (vertex colours) are cheaper by
    `soft_rasterize`.

    Args:
        vertices, faces, camera, sigma, gamma, background_nearness, depth_range, cull_backfaces, vertex_offsets, face_offsets:
            as `soft_rasterize`.
        least_share: fragments with less of their pixel's weight are left out (their weight goes to the others); above 0.

    Raises:
        ArgumentError: as `soft_rasterize`.

    Gradient: share, barycentrics, depth, alpha and foreground; to vertices and camera. Finite for every finite input.

    Source: Liu et al. 2019, Soft Rasterizer, eq. 1 to 3.
    """
    where = "soft_fragments"
    if not 0 < least_share < 1:
        raise ArgumentError(f"{where}: `least_share` must lie between 0 and 1, got {least_share!r}")
    scene = project(vertices, faces, camera, vertex_offsets=vertex_offsets, face_offsets=face_offsets, where=where)
    given, exponents = scene, blend_exponents(scene, camera, gamma, depth_range, where)
    scene, clipped = clip(scene, camera.near)
    height, width, near, far, orthographic, cull = view_of(camera, scene, cull_backfaces)
    view = (near, far, orthographic, cull, *blur_in_pixels(camera, sigma, where))
    cpu = scene.points.device.type == "cpu"
    nothing, bases = scene.points[:, :0].detach(), torch.zeros(scene.images.shape[0], dtype=torch.int64)
    blend = blend_ops.soft_blend if cpu else reference.soft_blend
    _, _, transmittance, weight = blend(scene.points, scene.faces, scene.images, nothing, bases, exponents, height, width, *view)
    find = ops.soft_fragments if cpu else reference.soft_fragments
    pixel, face = find(scene.points.detach(), scene.faces, scene.images, exponents, weight.detach(), *view, least_share)
    terms, sigma_pixels = terms_ops.fragment_terms if cpu else reference.fragment_terms, view[4]
    pairs = (scene.points, scene.faces, scene.images, pixel, face)
    barycentrics, depth, power = terms(*pairs, exponents, height, width, orthographic, sigma_pixels)
    divide = shares_ops.pixel_shares if cpu else reference.pixel_shares
    share = divide(power, pixel, scene.images.shape[0] * height * width)
    if clipped is not None:
        face, barycentrics = _unclip(given, scene, clipped, face, barycentrics)
    lead = (*scene.shape, height, width)
    alpha, foreground = 1 - transmittance.view(lead), foreground_share(weight, gamma, background_nearness, where).view(lead)
    fields = {"barycentrics": barycentrics, "depth": depth, "share": share, "alpha": alpha, "foreground": foreground}
    return SoftFragments(pixel=pixel, face=face, **fields)


def blend_fragments(fragments: SoftFragments, values: Tensor) -> SoftImage:
    """The image of values [P, C] of fragments. Gradient: values, and all that the fragments depend on.

    Raises:
        ArgumentError: another number of rows than of fragments.
    """
    check_shape(values, [fragments.pixel.shape[0], "C"], name="values", where="blend_fragments")
    lead, channels = fragments.alpha.shape, values.shape[1]
    rows = torch.cat([values, fragments.depth[:, None].to(values.dtype)], 1) * fragments.share[:, None].to(values.dtype)
    image = values.new_zeros((fragments.alpha.numel(), channels + 1)).index_add(0, fragments.pixel, rows).view(*lead, channels + 1)
    return SoftImage(values=image[..., :channels], depth=image[..., channels], alpha=fragments.alpha, foreground=fragments.foreground)


def _unclip(given: Projection, scene: Projection, clipped: Clipped, face: Tensor, barycentrics: Tensor) -> tuple[Tensor, Tensor]:
    """From parts of faces in front of the near plane to the faces, with the weights of their own corners."""
    jobs = [(torch.arange(first, first + count), torch.full((count,), base)) for first, count, base in given.images.tolist()]
    parents = torch.cat([face.new_empty((0, 2)), *(torch.stack(job, 1).to(face.device) for job in jobs)])[clipped.parent[face]]
    corner = scene.faces[face]  # [P, 3] rows of the clipped points
    whole = (given.faces[parents[:, 0]] + parents[:, 1:])[:, None]  # [P, 1, 3] rows of the given points
    count = given.points.shape[0]
    cut = (corner - count).clamp_min(0)
    pad = lambda t, fill: torch.cat([t, t.new_full((1, *t.shape[1:]), fill)]) if t.shape[0] == 0 else t
    front, back, share = pad(clipped.front, -1)[cut], pad(clipped.back, -1)[cut], pad(clipped.share, 0.0)[cut]
    hits = lambda index: (index[..., None] == whole).to(barycentrics.dtype)
    each = torch.where((corner >= count)[..., None], (1 - share) * hits(front) + share * hits(back), hits(corner))
    weights = (barycentrics[..., None] * each / each.sum(-1, keepdim=True)).sum(1)
    return parents[:, 0], weights
