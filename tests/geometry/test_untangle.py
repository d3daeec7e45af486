from __future__ import annotations

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
