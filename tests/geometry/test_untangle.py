from __future__ import annotations

import torch

from unproject.geometry.intersect import self_intersections
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
