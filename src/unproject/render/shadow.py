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

_LIFT = 1e-4  # how far shadow rays start above the surface, of the mesh's size


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
            result.append(~meshes.occluded(position, normal, coming.toward.expand_as(position), distance, image))
        return result


class _Meshes:
    """The meshes of the images and their trees, each built once."""

    def __init__(self, surface: Surface, scene: Projection):
        self.surface, self.images = surface, scene.images.tolist()
        self.trees: dict[tuple[int, int], tuple[tuple[Tensor, Tensor], Bvh, float]] = {}

    def occluded(self, position: Tensor, normal: Tensor, direction: Tensor, distance: Tensor, image: Tensor) -> Tensor:
        hit = torch.zeros(position.shape[0], dtype=torch.bool, device=position.device)
        for number in range(len(self.images)):
            rows = slice(None) if len(self.images) == 1 else (image == number).nonzero()[:, 0]
            if position[rows].shape[0] == 0:
                continue
            mesh, tree, lift = self.tree(number)
            origin = position[rows] + lift * normal[rows]
            hit[rows] = occluded(origin, direction[rows], mesh, bvh=tree, max_distance=distance[rows])
        return hit

    def tree(self, number: int) -> tuple[tuple[Tensor, Tensor], Bvh, float]:
        first, count, _ = self.images[number]
        base = number * self.surface.stride
        if (first, base) not in self.trees:
            faces = self.surface.faces[first : first + count] + base
            mesh = (self.surface.vertices.detach(), faces)
            used = mesh[0][faces.reshape(-1)]
            self.trees[first, base] = (mesh, build_bvh(*mesh), _LIFT * float((used.amax(0) - used.amin(0)).norm()))
        return self.trees[first, base]
