"""Operator: how well poses explain an image, and the normal equations of a better pose."""

from __future__ import annotations

import torch
from torch import Tensor

from .dispatch import parallel_for
from .examples import example
from .operator import operator


@operator("unproject::pose_terms")
def pose_terms(
    points: Tensor, rim: Tensor, areas: Tensor, views: Tensor, poses: Tensor, maps: Tensor, outline: Tensor, lens: Tensor,
    sigmas: Tensor, weights: Tensor, mask_area: float, near_gap: float, derive: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Costs [B, 12], matrices [B, 6, 6] and slopes [B, 6], float64; the last two are 0 unless `derive`. See kernels/pose_terms.py.

    points: [V, P, 9]; rim: [V, C, 3]; areas: [V]; views: int64 [B]; poses: [B, 4, 4]; maps: [H, W, 8]; outline: [M, 5]; lens: [4];
    sigmas: [6]; weights: [6].
    """
    from ..kernels.pose_terms import pose_terms_range

    count = poses.shape[0]
    floats = [t.contiguous().float().numpy() for t in (points, rim, areas)]
    image = [t.contiguous().float().numpy() for t in (maps, outline)]
    numbers = [t.contiguous().double().numpy() for t in (lens, sigmas, weights, torch.tensor([mask_area, near_gap]))]
    out = [torch.empty((count, *shape), dtype=torch.float64) for shape in ((12,), (6, 6), (6,))]
    arrays = (*floats, views.contiguous().numpy(), poses.contiguous().double().numpy(), *image, *numbers, derive)
    parallel_for(pose_terms_range, count, *arrays, *(t.numpy() for t in out), grain=4)
    return out[0], out[1], out[2]


@pose_terms.register_fake
def _(
    points: Tensor, rim: Tensor, areas: Tensor, views: Tensor, poses: Tensor, maps: Tensor, outline: Tensor, lens: Tensor,
    sigmas: Tensor, weights: Tensor, mask_area: float, near_gap: float, derive: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    count = poses.shape[0]
    make = lambda *shape: poses.new_empty((count, *shape), dtype=torch.float64)
    return make(12), make(6, 6), make(6)


@example(pose_terms)
def _(dtype: torch.dtype) -> tuple[object, ...]:
    return *example_scene(dtype), 60.0, 0.1, True


def example_scene(dtype: torch.dtype, *, poses: int = 3) -> tuple[Tensor, ...]:
    """A ball of unit diameter in two views, before maps of a disc: what the operator takes, up to the weights."""
    generator = torch.Generator().manual_seed(3)
    random = lambda *shape: torch.rand(shape, generator=generator, dtype=torch.float64)
    normal = torch.nn.functional.normalize(random(2, 40, 3) - torch.tensor([0.5, 0.5, 1.0]).double(), dim=2)
    points = torch.cat([normal / 2, normal, random(2, 40, 3)], 2)
    angle = torch.linspace(0, 6.2, 16).double()
    rim = torch.stack([angle.cos() / 2, angle.sin() / 2, 0 * angle], 1).expand(2, 16, 3)
    pose = torch.eye(4).double().repeat(poses, 1, 1)
    pose[:, :3, 3] = torch.tensor([0.0, 0.0, 4.0]) + 0.1 * random(poses, 3)
    y, x = torch.meshgrid(torch.arange(20) + 0.5, torch.arange(24) + 0.5, indexing="ij")
    distance = ((x - 12) ** 2 + (y - 10) ** 2).sqrt().double() - 5
    layers = [(distance < 0).double(), (x < 22).double(), distance, *random(3, 20, 24), 3.6 * (random(20, 24) > 0.2), distance.abs()]
    corner = torch.linspace(0, 6, 12).double()
    outline = torch.stack([12 + 5 * corner.cos(), 10 + 5 * corner.sin(), corner.cos(), corner.sin(), torch.ones(12).double()], 1)
    lens, sigmas, weights = (
        torch.tensor([40.0, 42, 12, 10]),
        torch.tensor([2.0, 2, 0.3, 0.1, 2, 1]),
        torch.tensor([1.0, 0.5, 0.5, 1, 1, 0.2]),
    )
    views = torch.arange(poses) % 2
    return (*(t.to(dtype) for t in (points, rim, random(2) + 0.5)), views, pose.to(dtype), torch.stack(layers, 2).to(dtype),
            *(t.to(dtype) for t in (outline, lens, sigmas, weights)))  # fmt: skip
