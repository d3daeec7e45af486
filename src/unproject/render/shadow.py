"""Hard shadows: which points the lights reach."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..geometry.bvh import Bvh, build_bvh
from ..geometry.query import occluded
from .light import Light, arriving
from .project import Projection
from .surface import Surface, places_of

_LIFT = 1e-4  # how far shadow rays start above the surface, of the scene's size


def light_visibility(
    surface: Surface, scene: Projection, lights: Sequence[Light], position: Tensor, normal: Tensor, image: Tensor
) -> list[Tensor | None]:
    """For each light, which of the points [P] it reaches without a face in between; None for light without a direction. No gradient.

    Args:
        position: [P, 3] on the surface, world.
        normal: [P, 3] of the faces there, to the side that is seen.
        image: [P].
    """
    with torch.no_grad():
        position, places = position.detach(), places_of(surface, position.detach(), image)
        meshes = _Meshes(surface, scene)
        result: list[Tensor | None] = []
        for light in lights:
            coming = arriving(light, normal, places)
            if coming.toward is None or coming.distance is None:
                result.append(None)
                continue
            distance = torch.as_tensor(coming.distance, dtype=position.dtype).expand(position.shape[:1])
            result.append(~meshes.occluded(position + meshes.lift * normal, coming.toward, distance, image))
        return result


class _Meshes:
    """The meshes of the images and their trees, each built once."""

    def __init__(self, surface: Surface, scene: Projection):
        self.surface, self.images = surface, scene.images.tolist()
        self.trees: dict[tuple[int, int], tuple[tuple[Tensor, Tensor], Bvh]] = {}
        vertices = surface.vertices.detach()
        self.lift = _LIFT * float((vertices.amax(0) - vertices.amin(0)).norm()) if vertices.numel() else 0.0

    def occluded(self, origin: Tensor, direction: Tensor, distance: Tensor, image: Tensor) -> Tensor:
        hit = torch.zeros(origin.shape[0], dtype=torch.bool, device=origin.device)
        for number in range(len(self.images)):
            rows = slice(None) if len(self.images) == 1 else (image == number).nonzero()[:, 0]
            if origin[rows].shape[0] == 0:
                continue
            mesh, tree = self.tree(number)
            hit[rows] = occluded(origin[rows], direction[rows], mesh, bvh=tree, max_distance=distance[rows])
        return hit

    def tree(self, number: int) -> tuple[tuple[Tensor, Tensor], Bvh]:
        first, count, _ = self.images[number]
        base = number * self.surface.stride
        if (first, base) not in self.trees:
            faces = self.surface.faces[first : first + count] + base
            mesh = (self.surface.vertices.detach(), faces)
            self.trees[first, base] = (mesh, build_bvh(*mesh))
        return self.trees[first, base]
