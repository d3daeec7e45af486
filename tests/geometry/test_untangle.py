from __future__ import annotations

import torch

from unproject.geometry.intersect import folded_pairs, self_intersections
from unproject.geometry.mesh import Mesh
from unproject.geometry.primitives import icosphere
from unproject.geometry.untangle import untangle


def test_untangle_removes_self_intersections() -> None:
    ball = icosphere(3)
    vertices = ball.vertices.clone()
    vertices[0] *= -0.3  # one vertex pushed through the middle
    vertices[40] *= 1.8
    assert len(self_intersections(Mesh(vertices=vertices, faces=ball.faces))) > 0 or bool((vertices[0] @ ball.vertices[0]) < 0)
    smooth, left = untangle(vertices, ball.faces)
    assert left == 0 and len(self_intersections(Mesh(vertices=smooth, faces=ball.faces))) == 0


def test_parts_put_into_one_another_stay_where_that_is_allowed() -> None:
    ball = icosphere(3)
    vertices = torch.cat([ball.vertices, ball.vertices * 0.6 + torch.tensor([0.7, 0.0, 0.0])])
    faces = torch.cat([ball.faces, ball.faces + ball.vertex_count])
    own = self_intersections(Mesh(vertices=vertices, faces=faces))
    kept, left = untangle(vertices, faces, ignored=own)
    assert len(own) > 0 and left == 0 and torch.equal(kept, vertices)
    vertices[100] *= -0.3
    kept, left = untangle(vertices, faces, ignored=own)
    assert left == 0 and float((kept - vertices).norm(dim=1).gt(0).float().mean()) < 0.3


def test_faces_folded_onto_their_neighbours_are_found_and_unfolded() -> None:
    i, j = torch.meshgrid(torch.arange(7.0), torch.arange(7.0), indexing="ij")
    low = (torch.arange(6)[:, None] * 7 + torch.arange(6)).reshape(-1)
    faces = torch.cat([torch.stack([low, low + 7, low + 8], 1), torch.stack([low, low + 8, low + 1], 1)])
    flat = torch.stack([i, j, torch.zeros_like(i)], dim=2).reshape(-1, 3)
    assert len(folded_pairs(flat, faces)) == 0
    vertices = flat.clone()
    vertices[24] += torch.tensor([1.3, 0.1, 0.05])  # past its neighbour
    folded = folded_pairs(vertices, faces)
    assert len(folded) > 0 and bool((faces[folded] == 24).any(2).any(1).all())
    smooth, left = untangle(vertices, faces, unfold=True)
    assert left == 0 and len(folded_pairs(smooth, faces)) == 0
    roof = torch.tensor([[0.0, 0, 0], [0, 1, 0], [1, 0.5, 0.2], [1, 0.5, -0.2]])
    pair = torch.tensor([[0, 1, 2], [1, 0, 3]])
    assert len(folded_pairs(roof, pair)) == 1 and len(folded_pairs(roof, pair, angle_deg=165)) == 0
