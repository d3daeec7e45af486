"""What a place on a surface looks like in numbers that no motion changes, and which places look alike."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import check_shape
from ..geometry.neighbors import radius_search
from ..geometry.point_index import PointIndex, index_of
from ..ops.point_features import BINS, normal_histograms

_BLOCK = 1 << 24  # entries of a distance matrix at a time


def point_features(
    points: Float[Tensor, "N 3"] | PointIndex, normals: Float[Tensor, "N 3"], radius: float, *, oriented: bool = True
) -> Float[Tensor, "N 33"]:
    """Fast point feature histograms: three angles between a point's normal and those around it, in 11 bins each.

    Args:
        points: [N, 3] or an index of them, about evenly spaced.
        normals: [N, 3] unit vectors.
        radius: of the neighbourhood, scene units; about five spacings.
        oriented: whether the normals' signs mean something. If not, a feature is that of its point's normal as it is, and `flip_features`
            gives that of the opposite one.

    Returns:
        [N, 33], three parts that each add up to 2 (1 for a point without neighbours around it). A rigid motion does not change it.

    Raises:
        ArgumentError: shapes, NaN.

    Gradient: none. Source: Rusu, Blodow and Beetz 2009.
    """
    tree = index_of(points, None, name="points", where="point_features")
    check_shape(normals, [tree.point_count, 3], name="normals", where="point_features", finite=True)
    near = radius_search(tree, tree, radius)
    count, normals = tree.point_count, normals.detach().contiguous()
    own = normal_histograms(tree.points.detach().contiguous(), normals, torch.arange(count), near.offsets, near.index, oriented)
    # A neighbour counts by its nearness; in relative terms, so that the unit of length does not matter.
    weight = torch.where(near.index == near.query, 0, 1 / (near.squared_distance.detach().sqrt() / radius).clamp_min(0.05))
    total = weight.new_zeros(count).index_add_(0, near.query, weight)
    column = near.index
    if not oriented:
        own = torch.cat([own, flip_features(own)])
        column = column + count * ((normals[near.query] * normals[near.index]).sum(1) < 0)
    around = own.new_zeros(count, own.shape[1]).index_add_(0, near.query, weight[:, None] * own[column])
    return own[:count] + around / total.where(total > 0, 1)[:, None]


def flip_features(features: Float[Tensor, "N 33"]) -> Float[Tensor, "N 33"]:
    """The features of the same points with opposite normals: two of the three angles change their signs."""
    turned, around, swing = features.split(BINS, dim=1)
    return torch.cat([turned, around.flip(1), swing.flip(1)], 1)


def match_features(
    source: Float[Tensor, "N D"], target: Float[Tensor, "M D"], *, k: int = 1, mutual: bool = True
) -> tuple[Int[Tensor, "C 2"], Float[Tensor, "C"]]:
    """Pairs of rows that look alike.

    Args:
        source, target: features.
        k: nearest rows of each that are candidates.
        mutual: whether both must be among the other's k nearest; else, one is enough.

    Returns:
        [C, 2] indices (source, target), without repetition, and their distances [C].
    """
    k = min(k, len(source), len(target))
    if k == 0:
        return torch.empty(0, 2, dtype=torch.int64), source.new_empty(0)
    forward, backward = _nearest_rows(source, target, k), _nearest_rows(target, source, k)
    one = torch.stack([torch.arange(len(source)).repeat_interleave(k), forward.reshape(-1)], 1)
    two = torch.stack([backward.reshape(-1), torch.arange(len(target)).repeat_interleave(k)], 1)
    code, count = torch.unique(torch.cat([one, two]) @ torch.tensor([len(target), 1]), return_counts=True)
    code = code[count == 2] if mutual else code
    pairs = torch.stack([code // len(target), code % len(target)], 1)
    return pairs, (source[pairs[:, 0]] - target[pairs[:, 1]]).norm(dim=1)


def _nearest_rows(query: Tensor, rows: Tensor, k: int) -> Tensor:
    """[Q, k] indices of the nearest rows, block by block."""
    step = max(1, _BLOCK // max(len(rows), 1))
    half = 0.5 * rows.square().sum(1)
    return torch.cat([(block @ rows.T - half).topk(k, dim=1).indices for block in query.split(step)])
