"""Farthest-point sampling in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def farthest_points(points: Tensor, offsets: Tensor, starts: Tensor, k: int) -> Tensor:
    """Twin of ops.farthest.farthest_points, for points of any dimension."""
    samples = starts.new_empty((starts.shape[0], k))
    for cloud, (begin, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist())):
        own = points[begin:end].detach()
        distance = own.new_full((end - begin,), float("inf"))
        sample = starts[cloud] - begin
        for i in range(k):
            samples[cloud, i] = sample + begin
            squares = (own - own[sample]).square().unbind(1)
            distance = torch.minimum(distance, sum(squares[1:], squares[0]))
            distance[sample] = -1
            sample = (distance == distance.max()).nonzero()[0, 0]
    return samples.reshape(-1)
