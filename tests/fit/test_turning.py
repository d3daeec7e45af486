from __future__ import annotations

import torch
from torch import Tensor

from unproject.fit.turning import turn_faces
from unproject.geometry.intersect import self_intersections
from unproject.geometry.mesh import Mesh
from unproject.geometry.normals import face_normals
from unproject.geometry.primitives import icosphere


def rough_ball() -> Mesh:
    ball = icosphere(4)
    noise = 0.004 * torch.randn(ball.vertex_count, 1, generator=torch.Generator().manual_seed(0))  # a tenth of an edge
    return Mesh(vertices=ball.vertices * (1 + noise), faces=ball.faces)


def directions(count: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(1)), dim=1)


def tilt(mesh: Mesh) -> float:
    """Mean angle between the faces and the sphere, radians."""
    middle = torch.nn.functional.normalize(mesh.vertices[mesh.faces].mean(1), dim=1)
    return float((face_normals(mesh.vertices, mesh.faces) * middle).sum(1).clamp(max=1).arccos().mean())


def test_faces_turn_to_good_normals_and_stay_in_place() -> None:
    mesh, points = rough_ball(), directions(6000)
    turned = turn_faces(mesh, points, points, reach=0.2)
    assert tilt(turned) < 0.4 * tilt(mesh)
    assert float((turned.vertices.norm(dim=1) - 1).abs().mean()) < float((mesh.vertices.norm(dim=1) - 1).abs().mean())
    assert len(self_intersections(turned)) == 0


def test_noisy_normals_do_no_harm() -> None:
    ball, points = icosphere(4), directions(6000)
    noise = 0.5 * torch.randn(points.shape, generator=torch.Generator().manual_seed(2))
    normals = torch.nn.functional.normalize(points + noise, dim=1)
    assert tilt(turn_faces(ball, points, normals, reach=0.2)) < 0.06  # 0.01 before; the means of 8 normals are 0.2 off
    assert tilt(turn_faces(rough_ball(), points, normals, reach=0.2)) < 1.1 * tilt(rough_ball())


def test_faces_without_points_near_stay() -> None:
    mesh, points = rough_ball(), directions(6000)
    points = points[points[:, 2] > 0]
    turned = turn_faces(mesh, points, points, reach=0.1)
    below = mesh.vertices[:, 2] < -0.5
    torch.testing.assert_close(turned.vertices[below].norm(dim=1), mesh.vertices[below].norm(dim=1), atol=1e-4, rtol=0)
    assert tilt(turned) < tilt(mesh)
