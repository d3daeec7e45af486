"""Point-to-mesh and mesh-to-point distances: against the plain formula, weights, penalties, batches, derivatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from unproject.errors import ArgumentError
from unproject.geometry.batch import batch_meshes
from unproject.geometry.bvh import build_bvh, refit
from unproject.geometry.mesh import make_mesh
from unproject.geometry.point_index import build_index
from unproject.geometry.primitives import box, icosphere
from unproject.losses.point_mesh import mesh_to_point_distance, point_to_mesh_distance
from unproject.losses.robust import huber, unsquared
from unproject.reference.closest_point import closest_on_triangle, closest_to_face
from unproject.testing import check_against_reference, check_gradients

FACES = torch.arange(120).reshape(40, 3)


def corners(seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(40, 1, 3, generator=g, dtype=torch.float64)
    return (centres + 0.3 * torch.randn(40, 3, 3, generator=g, dtype=torch.float64)).reshape(-1, 3)


def all_distances(points: Tensor, vertices: Tensor, faces: Tensor) -> Tensor:
    """Squared distances [N, F] of all pairs."""
    relative = vertices[faces] - points[:, None, None]
    return (closest_on_triangle(torch.zeros_like(relative[:, :, 0]), relative).unsqueeze(-2) @ relative).squeeze(-2).square().sum(-1)


def test_both_directions_are_the_plain_formula() -> None:
    points, weights, face_weights = torch.randn(70, 3), torch.rand(70), torch.rand(40)

    def ours(points: Tensor, vertices: Tensor, weights: Tensor, face_weights: Tensor) -> tuple[Tensor, ...]:
        mesh = (vertices, FACES)
        return (
            point_to_mesh_distance(points, mesh),
            point_to_mesh_distance(points, mesh, penalty=unsquared, weights=weights),
            mesh_to_point_distance(mesh, points),
            mesh_to_point_distance(mesh, points, penalty=huber(0.3), weights=face_weights),
        )

    def plain(points: Tensor, vertices: Tensor, weights: Tensor, face_weights: Tensor) -> tuple[Tensor, ...]:
        to_face = all_distances(points, vertices, FACES)
        forward, backward = to_face.amin(1), to_face.amin(0)
        return (
            forward.mean(),
            (forward.sqrt() * weights).sum() / weights.sum(),
            backward.mean(),
            (huber(0.3)(backward) * face_weights).sum() / face_weights.sum(),
        )

    check_against_reference(ours, plain, [points, corners(), weights, face_weights])


def test_gradients() -> None:
    points = torch.randn(12, 3)
    vertices = corners(1)[:45]
    check_gradients(lambda p, v: point_to_mesh_distance(p, (v, FACES[:15])), [points, vertices], second=True)
    check_gradients(lambda p, v: mesh_to_point_distance((v, FACES[:15]), p), [points, vertices], second=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_distance_and_faces_without_area(dtype: torch.dtype) -> None:
    mesh = icosphere(1, dtype=dtype)
    faces = torch.cat([mesh.faces, torch.tensor([[0, 0, 0], [0, 1, 1]])])
    vertices = mesh.vertices.clone().requires_grad_()
    points = torch.cat([mesh.vertices, mesh.vertices[mesh.faces].mean(1)]).requires_grad_()
    for penalty in (unsquared, huber(0.1)):
        total = point_to_mesh_distance(points, (vertices, faces), penalty=penalty) + mesh_to_point_distance(
            (vertices, faces), points, penalty=penalty
        )
        torch.testing.assert_close(total, torch.zeros((), dtype=dtype), rtol=0, atol=1e-6)
        for gradient in torch.autograd.grad(total, (points, vertices)):
            assert bool(gradient.isfinite().all())


def test_batches_are_means_of_items() -> None:
    meshes = [icosphere(1), box(), icosphere(2)]
    points, offsets = torch.randn(50, 3), torch.tensor([0, 20, 22, 50])
    items = [(mesh, points[offsets[i] : offsets[i + 1]]) for i, mesh in enumerate(meshes)]
    batch = batch_meshes(meshes)
    forward = point_to_mesh_distance(points, batch, query_offsets=offsets)
    torch.testing.assert_close(forward, torch.stack([point_to_mesh_distance(p, m) for m, p in items]).mean())
    backward = mesh_to_point_distance(batch, points, target_offsets=offsets)
    torch.testing.assert_close(backward, torch.stack([mesh_to_point_distance(m, p) for m, p in items]).mean())
    index = build_index(points, offsets)
    torch.testing.assert_close(mesh_to_point_distance(batch, index), backward)


def test_structures_are_reused() -> None:
    mesh, points = icosphere(2), torch.randn(100, 3)
    tree, index = build_bvh(mesh.vertices, mesh.faces), build_index(points)
    moved = (1.1 * mesh.vertices, mesh.faces)
    expected = point_to_mesh_distance(points, moved)
    torch.testing.assert_close(point_to_mesh_distance(points, moved, bvh=refit(tree, moved[0])), expected)
    torch.testing.assert_close(mesh_to_point_distance(moved, index), mesh_to_point_distance(moved, points))


@pytest.mark.parametrize("count", [1, 15, 16, 17, 200])
def test_closest_to_face_at_all_sizes(count: int) -> None:
    """Leaves that are padded never answer with the padding."""
    points = torch.randn(count, 3, dtype=torch.float64)
    vertices = corners(2)
    nearest = closest_to_face(vertices, FACES, points, torch.tensor([0, 40]), torch.tensor([0, count]))
    expected = all_distances(points, vertices, FACES)[nearest, torch.arange(40)].mean()
    torch.testing.assert_close(mesh_to_point_distance((vertices, FACES), points), expected)
    gradient = torch.autograd.grad(mesh_to_point_distance((vertices, FACES), points.requires_grad_()), points)[0]
    assert torch.equal(gradient.abs().sum(1) > 0, torch.bincount(nearest, minlength=count) > 0)


def test_empty() -> None:
    none = make_mesh(torch.zeros(0, 3), [])
    assert point_to_mesh_distance(torch.zeros(0, 3), icosphere(1)) == 0
    assert mesh_to_point_distance(none, torch.zeros(2, 3)) == 0
    assert mesh_to_point_distance(none, torch.zeros(0, 3)) == 0


def test_errors() -> None:
    mesh, points, none = icosphere(1), torch.zeros(2, 3), make_mesh(torch.zeros(0, 3), [])
    index = build_index(points)
    cases: list[tuple[str, Any]] = [
        ("point 0 has no face", lambda: point_to_mesh_distance(points, none)),
        (r"`weights` must be \[2\]", lambda: point_to_mesh_distance(points, mesh, weights=torch.ones(3))),
        ("point_to_mesh_distance: `points` must be", lambda: point_to_mesh_distance(points[:, :2], mesh)),
        ("1 meshes need as many sets of points", lambda: mesh_to_point_distance(mesh, points[:0])),
        ("the index has offsets of its own", lambda: mesh_to_point_distance(mesh, index, target_offsets=torch.tensor([0, 2]))),
        ("the points are torch.float32", lambda: mesh_to_point_distance(mesh.to(torch.float64), points)),
        ("NaN or infinite", lambda: mesh_to_point_distance(mesh, points / 0)),
    ]
    for message, call in cases:
        with pytest.raises(ArgumentError, match=message):
            call()
