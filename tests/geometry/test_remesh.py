"""Remeshing: even triangles of the wanted size, the same surface, the same topology, features and kept faces, attributes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import trimesh
from torch import Tensor

from unproject.errors import ArgumentError
from unproject.geometry.batch import batch_meshes
from unproject.geometry.manifold import SurfaceKind, classify_surface
from unproject.geometry.material import Material
from unproject.geometry.mesh import Mesh, make_mesh
from unproject.geometry.normals import face_areas, face_normals
from unproject.geometry.primitives import box, icosphere, plane, torus
from unproject.geometry.query import closest_point
from unproject.geometry.remesh import remesh_batch, remesh_isotropic
from unproject.geometry.topology import edge_face_counts, mesh_topology


def lengths(mesh: Mesh) -> Tensor:
    ends = mesh.vertices[mesh_topology(mesh).edges]
    return (ends[:, 0] - ends[:, 1]).norm(dim=1)


def quality(mesh: Mesh) -> Tensor:
    sides = mesh.vertices[mesh.faces].diff(dim=1, append=mesh.vertices[mesh.faces][:, :1])
    return 4 * 3**0.5 * face_areas(mesh.vertices, mesh.faces) / sides.square().sum((1, 2))


def volume(mesh: Mesh) -> float:
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


def same_topology(a: SurfaceKind, b: SurfaceKind) -> bool:
    names = ("component_count", "boundary_loop_count", "euler_number", "genus", "edge_manifold", "vertex_manifold", "watertight")
    return all(getattr(a, name) == getattr(b, name) for name in names)


@pytest.mark.parametrize("length", [0.1, 0.25])
@pytest.mark.parametrize("mesh", [icosphere(3), torus(segments=(24, 12))], ids=["sphere", "torus"])
def test_closed_surfaces(mesh: Mesh, length: float) -> None:
    result = remesh_isotropic(mesh, length)
    assert same_topology(classify_surface(mesh_topology(result)), classify_surface(mesh_topology(mesh)))
    sizes = lengths(result)
    assert sizes.mean().item() == pytest.approx(length, rel=0.1)
    assert sizes.max() < 1.5 * length and sizes.min() > 0.5 * length
    assert quality(result).min() > 0.5 and quality(result).mean() > 0.95
    assert volume(result) == pytest.approx(volume(mesh), rel=0.1)
    found = closest_point(result.vertices, mesh)
    assert found.squared_distance.max().sqrt() < 0.02 * length
    centers = closest_point(result.vertices[result.faces].mean(1), mesh)
    turned = (face_normals(result.vertices, result.faces) * face_normals(mesh.vertices, mesh.faces)[centers.face]).sum(1)
    assert turned.min() > 0.8


def test_plane_keeps_its_outline() -> None:
    sheet = plane((2.0, 1.0), segments=(3, 5))
    result = remesh_isotropic(sheet, 0.1)
    topology = mesh_topology(result)
    assert classify_surface(topology).boundary_loop_count == 1
    rim = result.vertices[topology.edges[edge_face_counts(topology) == 1]]
    assert (rim[:, 0] - rim[:, 1]).norm(dim=1).sum().item() == pytest.approx(6, abs=1e-4)
    assert face_areas(result.vertices, result.faces).sum().item() == pytest.approx(2, abs=1e-4)
    assert result.vertices[:, 2].abs().max() < 1e-6 and bool((face_normals(result.vertices, result.faces)[:, 2] > 0.99).all())


def test_features_of_a_box_stay_sharp() -> None:
    cube = box((1.0, 2.0, 1.0), dtype=torch.float64)
    result = remesh_isotropic(cube, 0.15, feature_angle_deg=45)
    assert volume(result) == pytest.approx(2, abs=1e-9)
    assert face_areas(result.vertices, result.faces).sum().item() == pytest.approx(10, abs=1e-9)
    for corner in cube.vertices:
        assert (result.vertices - corner).norm(dim=1).min() == 0
    assert quality(result).min() > 0.3
    assert abs(volume(remesh_isotropic(cube, 0.15)) - 2) > 1e-4  # without features they are rounded a little


def test_length_may_vary() -> None:
    sphere = icosphere(3)
    wanted = 0.08 + 0.12 * (sphere.vertices[:, 2] + 1)
    result = remesh_isotropic(sphere, wanted)
    topology = mesh_topology(result)
    middle = result.vertices[topology.edges].mean(1)[:, 2]
    ratio = lengths(result) / (0.08 + 0.12 * (middle + 1))
    assert 0.8 < ratio.mean() < 1.1 and ratio.min() > 0.4 and ratio.max() < 1.7
    assert quality(result).min() > 0.4


def test_kept_faces_stay() -> None:
    sphere = icosphere(2)
    kept = sphere.vertices[sphere.faces].mean(1)[:, 2] > 0.3
    result = remesh_isotropic(sphere, 0.1, keep_faces=kept)
    assert classify_surface(mesh_topology(result)).watertight
    as_set = lambda mesh, faces: {tuple(sorted(map(tuple, mesh.vertices[face].tolist()))) for face in faces}
    assert as_set(sphere, sphere.faces[kept]) <= as_set(result, result.faces)
    below = result.vertices[result.faces].mean(1)[:, 2] < 0
    assert below.sum() > 4 * (~kept).sum() * 0.5


def test_carries_attributes() -> None:
    mesh = torus(segments=(24, 12))
    top = mesh.vertices[mesh.faces].mean(1)[:, 2] > 0
    mesh = dataclasses.replace(
        mesh,
        vertex_normals=torch.nn.functional.normalize(mesh.vertices, dim=1),
        vertex_colors=mesh.vertices * 0.3 + 0.5,
        uvs=mesh.vertices[:, :2],
        materials=(Material(name="bottom"), Material(name="top")),
        face_materials=top.to(torch.int64),
        vertex_attributes={"xyz": mesh.vertices, "label": (mesh.vertices[:, 0] > 0).to(torch.int64)},
        face_attributes={"top": top},
        metadata={"comment": "kept"},
    )
    result = remesh_isotropic(mesh, 0.15)
    assert result.vertex_colors is not None and result.uvs is not None and result.vertex_normals is not None
    torch.testing.assert_close(result.vertex_attributes["xyz"], result.vertices, atol=2e-3, rtol=0)
    torch.testing.assert_close(result.vertex_colors, result.vertices * 0.3 + 0.5, atol=2e-3, rtol=0)
    torch.testing.assert_close(result.uvs, result.vertices[:, :2], atol=2e-3, rtol=0)
    far = result.vertices[:, 0].abs() > 0.3
    assert torch.equal(result.vertex_attributes["label"][far], (result.vertices[far, 0] > 0).to(torch.int64))
    middle = result.vertices[result.faces].mean(1)[:, 2]
    clear = middle.abs() > 0.1
    assert result.face_materials is not None
    assert torch.equal(result.face_attributes["top"][clear], middle[clear] > 0)
    assert torch.equal(result.face_materials[clear], (middle[clear] > 0).to(torch.int64))
    assert result.materials == mesh.materials and result.metadata == mesh.metadata


def test_what_is_not_manifold_stays() -> None:
    """Three sheets at one edge, and two cones at one tip."""
    sheet = plane(segments=(4, 4))
    third = torch.stack([sheet.vertices[:, 2], sheet.vertices[:, 1], sheet.vertices[:, 0].abs() + 0], dim=1)
    fin = Mesh(vertices=third, faces=sheet.faces[(sheet.vertices[sheet.faces].mean(1)[:, 0] > 0)])
    both = trimesh.util.concatenate([trimesh.Trimesh(m.vertices.numpy(), m.faces.numpy(), process=False) for m in (sheet, fin)])
    both.merge_vertices()
    mesh = make_mesh(torch.tensor(both.vertices, dtype=torch.float32), torch.tensor(both.faces))
    assert int(edge_face_counts(mesh_topology(mesh)).max()) == 3
    result = remesh_isotropic(mesh, 0.1)
    counts = edge_face_counts(mesh_topology(result))
    assert int((counts == 3).sum()) == 4 and int(counts.max()) == 3
    assert face_areas(result.vertices, result.faces).sum().item() == pytest.approx(1.5, abs=1e-3)
    angle = torch.arange(8) * torch.pi / 4
    rim = torch.stack([angle.cos(), angle.sin(), torch.ones(8)], dim=1)
    turn = torch.arange(8)
    cone = torch.stack([torch.zeros(8, dtype=torch.int64), 1 + turn, 1 + (turn + 1) % 8], dim=1)
    other = torch.where(cone > 0, cone + 8, 0)
    cones = Mesh(vertices=torch.cat([torch.zeros(1, 3), rim, -rim]), faces=torch.cat([cone, other]))
    result = remesh_isotropic(cones, 0.3)
    before, after = classify_surface(mesh_topology(cones)), classify_surface(mesh_topology(result))
    assert same_topology(before, after) and not after.vertex_manifold
    assert (result.vertices.norm(dim=1) == 0).sum() == 1


def test_far_from_the_origin_and_tiny() -> None:
    sphere = icosphere(2, dtype=torch.float64)
    for scale, offset in ((1.0, 1e6), (1e-6, 0.0), (1e5, -1e7)):
        moved = remesh_isotropic(Mesh(vertices=scale * sphere.vertices + offset, faces=sphere.faces), 0.2 * scale)
        back = Mesh(vertices=(moved.vertices - offset) / scale, faces=moved.faces)
        assert lengths(back).mean().item() == pytest.approx(0.2, rel=0.1) and quality(back).min() > 0.5


def test_batch() -> None:
    batch = batch_meshes(
        [icosphere(2), plane(segments=(2, 2)), Mesh(vertices=torch.rand(2, 3), faces=torch.zeros(0, 3, dtype=torch.int64))]
    )
    result = remesh_batch(batch, 0.3)
    assert len(result) == 3 and result[2].face_count == 0
    alone = remesh_isotropic(icosphere(2), 0.3)
    assert torch.equal(result[0].vertices, alone.vertices) and torch.equal(result[0].faces, alone.faces)


def test_degenerate_input() -> None:
    mesh = icosphere(2)
    extra = torch.tensor([[0, 0, 1], [5, 5, 5]])
    result = remesh_isotropic(Mesh(vertices=torch.cat([mesh.vertices, torch.rand(3, 3)]), faces=torch.cat([mesh.faces, extra])), 0.3)
    assert classify_surface(mesh_topology(result)).watertight
    flat = Mesh(vertices=torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), faces=torch.tensor([[0, 1, 2]]))
    assert bool(torch.isfinite(remesh_isotropic(flat, 0.3).vertices).all())


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda m: remesh_isotropic(m, 0.0), "`target_length` must be positive"),
        (lambda m: remesh_isotropic(m, float("nan")), "`target_length` must be positive"),
        (lambda m: remesh_isotropic(m, 1e-6), "asks for about .*e[+]13 faces"),
        (lambda m: remesh_isotropic(m, torch.ones(3)), r"`target_length` must be \[42\] floats"),
        (lambda m: remesh_isotropic(m, 0.1, feature_angle_deg=200), "between 0 and 180"),
        (lambda m: remesh_isotropic(m, 0.1, keep_faces=torch.ones(3, dtype=torch.bool)), r"`keep_faces` must be \[80\] truth values"),
        (lambda m: remesh_isotropic(Mesh(vertices=m.vertices / 0, faces=m.faces), 0.1), "NaN or infinite"),
    ],
)
def test_messages(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ArgumentError, match=message):
        call(icosphere(1))


@pytest.mark.parametrize("name", ["bullet3/data/teddy.obj", "common3d/suzanne.obj", "open3d_models/knot.ply", "bullet3/data/bunny.obj"])
def test_real_meshes(data_folder: Path, name: str) -> None:
    loaded = trimesh.load(data_folder / "meshes" / name, process=True, force="mesh")
    mesh = make_mesh(torch.tensor(loaded.vertices, dtype=torch.float32), torch.tensor(loaded.faces))
    length = lengths(mesh).mean().item()
    result = remesh_isotropic(mesh, length)
    before, after = classify_surface(mesh_topology(mesh)), classify_surface(mesh_topology(result))
    assert (after.boundary_loop_count, after.component_count) == (before.boundary_loop_count, before.component_count)
    assert after.euler_number == before.euler_number and after.edge_manifold == before.edge_manifold
    assert quality(result).mean() > 0.9
    found = closest_point(result.vertices, mesh)
    assert found.squared_distance.max().sqrt() < 0.5 * length and found.squared_distance.mean().sqrt() < 0.05 * length
