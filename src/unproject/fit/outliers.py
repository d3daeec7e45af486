"""Points that belong to no surface: lonely ones, and small groups far from everything else."""

from __future__ import annotations

import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from ..geometry.neighbors import knn
from ..geometry.point_index import build_index

_NEIGHBORS = 16


def find_inliers(points: Tensor, *, rounds: int = 3, lonely: float = 2.5, smallest_group: float = 0.002) -> Tensor:
    """Indices int64 [M], ascending, of the points [N, 3] that have company.

    A point is lonely if its mean distance to its nearest others is `lonely` times what it is for those others (so that a region may be
    sparse as a whole), or very large for the cloud. What then hangs together only in groups of less than `smallest_group` of all points
    goes, too. At least half of the points stay: where more look lonely, the cloud has no such contrast, and all stay.

    Source: local contrast as in LOF (Breunig et al. 2000), on mean distances.
    """
    count = points.shape[0]
    kept = torch.arange(count)
    if count < 4 * _NEIGHBORS:
        return kept
    for _ in range(rounds):
        index = build_index(points[kept])
        found = knn(index, index, _NEIGHBORS + 1)
        distance = found.squared_distance[:, 1:].sqrt()
        mean = distance.mean(1)
        usual = mean[found.index[:, 1:]].median(1).values
        good = (mean <= lonely * usual) & (mean <= 8 * mean.median())
        good &= _in_large_groups(found.index[:, 1:], distance, 1.5 * lonely * usual, max(_NEIGHBORS, int(smallest_group * count)))
        if bool(good.all()):
            break
        if int(good.sum()) < count // 2:
            return torch.arange(count)
        kept = kept[good]
    return kept


def distinct_points(positions: Tensor) -> Tensor:
    """Indices int64 [M], ascending, of the first of each group of points [N, 3] with equal coordinates."""
    bits = (positions.double() + 0.0).contiguous().view(torch.int64)  # + 0: -0 is 0
    key = (bits[:, 0] * -7046029254386353131 + bits[:, 1]) * -4417276706812531889 + bits[:, 2]
    order = torch.sort(key ^ (key >> 29), stable=True).indices
    new = torch.ones_like(order, dtype=torch.bool)
    new[1:] = (positions[order[1:]] != positions[order[:-1]]).any(1)
    return torch.sort(order[new]).values


def bulk_local(positions: Tensor) -> Tensor:
    """Points [N, 3] of any dtype as float32, centred and scaled by where most of them are: a few strays far away cost no precision."""
    exact = positions.double()
    tenth = max(1, positions.shape[0] // 10)
    low = exact.kthvalue(tenth, dim=0).values
    high = exact.kthvalue(positions.shape[0] + 1 - tenth, dim=0).values
    scale = (high - low).max()
    if not bool(scale > 0):
        low, high = exact.amin(0), exact.amax(0)
        scale = (high - low).max()
    return ((exact - (low + high) / 2) / scale).float()


def _in_large_groups(neighbors: Tensor, distance: Tensor, reach: Tensor, smallest: int) -> Tensor:
    """bool [N], whether the points linked with this one by steps within `reach` [N] are at least `smallest`."""
    count, k = neighbors.shape
    close = (distance <= reach[:, None]).reshape(-1).numpy()
    first = torch.arange(count).repeat_interleave(k).numpy()[close]
    second = neighbors.reshape(-1).numpy()[close]
    links = coo_matrix((torch.ones(len(first), dtype=torch.int8).numpy(), (first, second)), shape=(count, count))
    group = torch.from_numpy(connected_components(links, directed=False)[1]).long()
    return torch.bincount(group)[group] >= smallest
