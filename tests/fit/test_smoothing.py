from __future__ import annotations

from dataclasses import replace

import torch

from unproject.fit.implicit import make_lattice, node_positions
from unproject.fit.smoothing import _relief, _trust, make_problem


def test_a_fold_between_planes_keeps_some_stiffness() -> None:
    random = torch.Generator().manual_seed(0)
    u, v = 2 * torch.rand(2, 6000, generator=random) - 1
    roof = torch.stack([u.clamp(max=0), v, (-u).clamp(max=0)], dim=1)
    box = torch.tensor([-1.5] * 3), torch.tensor([1.5] * 3)
    lattice = make_lattice(roof, low=box[0], high=box[1], spacing=0.1)
    nodes = node_positions(lattice)
    distance = torch.maximum(nodes[:, 0], nodes[:, 2])  # flat but for the fold at x = z
    problem = make_problem(lattice, roof, distance, point_spacing=0.03, trust_normals=True)
    near = problem.data.data_nodes.long()
    relief = _relief(problem, distance)[near]
    assert 0.01 < float(relief.min()) < 0.2 and abs(float(relief.mean()) - 1) < 1e-5


def test_normals_count_as_far_as_those_around_agree() -> None:
    random = torch.Generator().manual_seed(1)
    flat = torch.cat([torch.rand(4000, 2, generator=random), torch.zeros(4000, 1)], dim=1)
    lattice = make_lattice(flat, low=torch.tensor([-0.5] * 3), high=torch.tensor([1.5] * 3), spacing=0.05)
    problem = make_problem(lattice, flat, node_positions(lattice)[:, 2], point_spacing=0.015, trust_normals=True, scatter=0.02)
    left, wrong = flat[:, 0] < 0.5, 3000
    turned = torch.where(left, 0.02, 0.6)  # on the right, normals belong elsewhere
    turned[wrong] = 1.9
    weight, reach = _trust(problem, turned, 0.01, slice(None))
    inner = (flat[:, 0] - 0.5).abs() > 0.1
    assert float(weight[left & inner].median()) > 100 * float(weight[~left & inner].median())
    far = (flat - flat[wrong]).norm(dim=1) < 0.02
    assert float(weight[wrong]) < 0.5 * float(weight[far].median())
    assert 0.5 * 0.015 <= reach <= 20 * 0.015
    alike, _ = _trust(replace(problem, scatter=0.007), turned, 0.01, slice(None))  # by no more than the lattice can tell
    assert float(alike[left].median()) < 3 * float(alike[~left].median())
