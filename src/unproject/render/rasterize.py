"""Hard rasterization: the nearest face at every pixel centre, and the layers behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..camera.camera import Camera
from ..ops import rasterize as ops
from ..reference import rasterize as reference
from ..struct import TensorStruct
from .project import Projection, project, view_of


@dataclass(frozen=True, kw_only=True)
class Fragments(TensorStruct):
    """What each pixel's centre sees of the meshes. Leading dimensions are those of the images (render/project.py).

    Attributes:
        face: [..., H, W] int64 index of the face (a row of `faces`), -1 for none.
        barycentrics: [..., H, W, 3] perspective-correct weights of the face's corners, sum 1; 0 for none.
        depth: [..., H, W] camera z, scene units; 0 for none.
    """

    face: Tensor
    barycentrics: Tensor
    depth: Tensor

    @property
    def mask(self) -> Tensor:
        """[..., H, W] whether there is a face."""
        return self.face >= 0


def rasterize(
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    *,
    cull_backfaces: bool = False,
    vertex_offsets: Tensor | None = None,
    face_offsets: Tensor | None = None,
) -> Fragments:
    """The nearest face at every pixel centre, with its barycentrics and depth.

    Every face is drawn, however many there are. Faces are cut at the near plane, and hidden beyond the far plane. A pixel centre on an edge
    belongs to exactly one of the edge's two faces; of two faces at the same depth the lower index is seen. The result does
    not depend on the number of threads.

    Args:
        vertices: [..., V, 3] world coordinates, scene units; or packed [V, 3] with offsets. Broadcast rule: see render/project.py.
        faces: [F, 3] int64.
        camera: perspective or orthographic, without lens distortion.
        cull_backfaces: leave out faces that are clockwise in the image, that is, seen from inside.
        vertex_offsets, face_offsets: [M + 1] where the meshes of a packed batch begin.

    Raises:
        ArgumentError: shapes, NaN, indices out of range, batches that do not broadcast, lens distortion, a singular K.

    Gradient: barycentrics and depth, to vertices and camera; which face a pixel sees is held fixed (`antialias` and the soft
    rasterizer differentiate that). Finite for every finite input; a face seen edge-on has none.

    Source: coverage by edge functions (Pineda 1988), perspective by homogeneous coordinates (Olano and Greer 1997).
    """
    scene = project(vertices, faces, camera, vertex_offsets=vertex_offsets, face_offsets=face_offsets, where="rasterize")
    return rasterize_projection(scene, camera, cull_backfaces=cull_backfaces)


def rasterize_projection(scene: Projection, camera: Camera, *, cull_backfaces: bool = False) -> Fragments:
    """`rasterize` for a scene that is projected already."""
    view = (scene.points, scene.faces, scene.images, *view_of(camera, scene, cull_backfaces))
    run = ops.rasterize if scene.points.device.type == "cpu" else reference.rasterize
    return _fragments(scene, *run(*view))


def peel(
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    *,
    cull_backfaces: bool = False,
    vertex_offsets: Tensor | None = None,
    face_offsets: Tensor | None = None,
) -> Iterator[Fragments]:
    """Depth peeling: one layer of fragments after the other, from front to back, until no pixel has any left.

    Take as many as you need (`itertools.islice(peel(...), k)`); there is no upper limit, and each layer takes the memory and time of
    one image. Faces at the same depth come in the order of their index. Arguments, errors and gradients: as `rasterize`.

    Yields:
        The layers. A pixel without any face in a layer has none in those behind it.

    Source: Everitt 2001, Interactive order-independent transparency.
    """
    scene = project(vertices, faces, camera, vertex_offsets=vertex_offsets, face_offsets=face_offsets, where="peel")
    view = (scene.points, scene.faces, scene.images, *view_of(camera, scene, cull_backfaces))
    run: Any = ops.rasterize_behind if scene.points.device.type == "cpu" else reference.rasterize_behind
    face = scene.points.new_empty((0, 0, 0), dtype=torch.int64)
    nearness = scene.points.new_empty((0, 0, 0), dtype=torch.float64)
    while True:
        barycentrics, depth, face, nearness = run(*view, face, nearness)
        if not bool((face >= 0).any()):
            return
        yield _fragments(scene, barycentrics, depth, face)


def _fragments(scene: Projection, barycentrics: Tensor, depth: Tensor, face: Tensor) -> Fragments:
    lead = (*scene.shape, *face.shape[1:])
    return Fragments(face=face.view(lead), barycentrics=barycentrics.view(*lead, 3), depth=depth.view(lead))
