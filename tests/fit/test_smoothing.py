from __future__ import annotations

import torch

from unproject.fit.implicit import make_lattice, node_positions
from unproject.fit.smoothing import _relief, make_problem


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
