"""Outward normals of a closed surface from its points alone, by the winding number that they must have.

Dipoles at the points make a winding number. It is 1/2 at the points themselves, between 1 inside and 0 outside, and falls along the
normals of the surface. Both conditions are taken in turn, from nothing on: a step of least squares towards 1/2 lets dipoles grow, and
each then points the way in which the winding number falls. Nothing is propagated from point to point, so that sides that lie closer to
each other than the points of one side come out right, too.
Source: Lin, Shi, Liu 2024, "Fast and globally consistent normal orientation based on the winding number normal consistency"; the step
towards 1/2: Lin et al. 2022, "Surface reconstruction from point clouds without normals by parametrizing the Gauss formula".
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.dipoles import DipoleTree, build_dipole_tree
from ..geometry.neighbors import RaggedNeighbors, knn
from ..geometry.pca import local_pca
from ..geometry.point_index import build_index
from .sides import scatter

_ROUNDS = 8  # more let single points of mixed sides turn
_LAST, _FIRST = (1.0, 1.5), 2.0  # spacings: limits of the softening of the last round, and how many times that the first has
_NARROW = 0.8  # deviations of the noise: softening of the last round between the limits
_SHARP, _WIDE = 0.5, 1.5  # spacings: softening where a result is judged; deviations of the noise: of the normals at the end
_NEAREST = 16  # whose directions of the field are averaged, as far as they are alike
_NEIGHBORS, _FEWEST = 48, 8  # that make a plane, as far as they are of the same side
_SAME, _OPPOSED = 0.3, -0.2  # cosines of normals of one side, and of two
_OTHERS = 0.1  # share of the neighbours that are another side's, where sides are mixed
_AGREEING = 0.7  # cosine beyond which a plane through neighbours is surer than the field
_TURN = 4 * torch.pi


def outward_normals(points: Tensor, estimated: Tensor, areas: Tensor) -> tuple[Tensor, float]:
    """Outward unit normals [N, 3] of points [N, 3], and their mean winding number at the points: 1/2 of a closed surface, 0 of a plane.

    Where sides lie so close to each other that neighbourhoods hold points of both, they are planes through those of the same side.

    Args:
        estimated: [N, 3] unit normals that are not oriented; elsewhere these, their signs as they should be.
        areas: [N] what each point stands for.
    """
    spacing = float(areas.median()) ** 0.5
    noise = scatter(points, estimated) / spacing
    tree = build_dipole_tree(points / spacing)
    dipoles = _consistent_dipoles(tree, min(max(_NARROW * noise, _LAST[0]), _LAST[1]))
    outward = torch.nn.functional.normalize(tree.field(dipoles, min(max(_WIDE * noise, _SHARP), _LAST[1])), dim=1)
    signed = torch.where((estimated * outward).sum(1, keepdim=True) < 0, -estimated, estimated)
    winding = float(tree.potential(signed * (areas / spacing**2)[:, None], _SHARP).mean()) / _TURN
    return _of_one_side(points, signed, outward), winding


def _of_one_side(points: Tensor, signed: Tensor, outward: Tensor) -> Tensor:
    """The signed normals [N, 3], but of points of the same side as their own where neighbourhoods hold those of two."""
    index = build_index(points)
    found = knn(index, index, min(_NEIGHBORS, index.point_count))
    nearest = outward[found.index[:, :_NEAREST]]
    alike = (outward[:, None] * nearest).sum(2, keepdim=True).clamp(min=0)
    outward = torch.nn.functional.normalize((alike * nearest).sum(1), dim=1)
    cosine = (outward[:, None] * outward[found.index]).sum(2)
    mixed = ((cosine < _OPPOSED).to(points.dtype).mean(1) > _OTHERS).nonzero()[:, 0]
    same = cosine[mixed] > _SAME
    near = RaggedNeighbors(
        squared_distance=found.squared_distance[mixed][same],
        index=found.index[mixed][same],
        query=same.nonzero()[:, 0],
        offsets=torch.nn.functional.pad(same.sum(1).cumsum(0), (1, 0)),
    )
    plane = local_pca(points, near).axes[:, 0]
    few = same.sum(1, keepdim=True) < _FEWEST
    normals = signed.index_copy(0, mixed, torch.where(few, outward[mixed], plane))
    along = (normals * outward).sum(1, keepdim=True)
    return torch.where(along.abs() > _AGREEING, normals * along.sign(), outward)


def _consistent_dipoles(tree: DipoleTree, last: float) -> Tensor:
    """Moments [N, 3] whose winding number is 1/2 at the points, about, and falls along them; with ever less softening."""
    moments = torch.zeros(tree.point_count, 3)
    for i in range(_ROUNDS):
        softening = last * _FIRST ** (1 - i / (_ROUNDS - 1))
        missing = 0.5 - tree.potential(moments, softening) / _TURN
        step = tree.charge_field(missing, softening) / _TURN
        change = tree.potential(step, softening) / _TURN
        moments = moments + float(step.square().sum() / change.square().sum().clamp(min=1e-30)) * step
        falling = torch.nn.functional.normalize(tree.field(moments, softening), dim=1)
        moments = falling * moments.norm(dim=1, keepdim=True)
    return moments
