"""Decimation: fewer faces, the same surface and topology, flat parts for free, boundaries and features kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import trimesh

from unproject.errors import ArgumentError
from unproject.geometry.batch import batch_meshes
from unproject.geometry.decimate import decimate, decimate_batch
from unproject.geometry.manifold import boundary_loops, classify_surface
from unproject.geometry.mesh import Mesh, make_mesh
from unproject.geometry.normals import face_areas, face_normals
from unproject.geometry.primitives import box, icosphere, plane, torus
from unproject.geometry.query import closest_point
from unproject.geometry.subdivide import subdivide_midpoint
from unproject.geometry.topology import edge_face_counts, mesh_topology


def volume(mesh: Mesh) -> float:
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("mesh", [icosphere(4), torus(segments=(64, 32))], ids=["sphere", "torus"])
@pytest.mark.parametrize("count", [1000, 300])
def test_closed_surfaces(mesh: Mesh, count: int) -> None:
    result = decimate(mesh, count)
    kind, before = classify_surface(mesh_topology(result)), classify_surface(mesh_topology(mesh))
    assert count - 2 <= result.face_count <= count
    assert kind.watertight and kind.vertex_manifold and kind.genus == before.genus
    assert volume(result) == pytest.approx(volume(mesh), rel=0.03)
    length = (face_areas(mesh.vertices, mesh.faces).sum() / count).sqrt()
    assert closest_point(mesh.vertices, result).squared_distance.max().sqrt() < 0.2 * length
    centers = closest_point(result.vertices[result.faces].mean(1), mesh)
    assert (face_normals(result.vertices, result.faces) * face_normals(mesh.vertices, mesh.faces)[centers.face]).sum(1).min() > 0.5


def test_flat_parts_cost_nothing() -> None:
    cube = subdivide_midpoint(box((1.0, 2.0, 3.0), dtype=torch.float64), levels=4)
    result = decimate(cube, 12)
    assert result.face_count == 12 and volume(result) == pytest.approx(6, abs=1e-4)
    sheet = plane((2.0, 1.0), segments=(20, 10), dtype=torch.float64)
    result = decimate(sheet, 2)
    assert result.face_count == 2 and face_areas(result.vertices, result.faces).sum().item() == pytest.approx(2, abs=1e-9)


def test_features_cost_much() -> None:
    """A shallow crease is kept if its angle makes it a feature."""
    sheet = plane(segments=(20, 20), dtype=torch.float64)
    vertices = sheet.vertices.clone()
    vertices[:, 2] = 0.1 * vertices[:, 0].abs()
    roof = Mesh(vertices=vertices, faces=sheet.faces)
    result = decimate(roof, 12, feature_angle_deg=5)
    assert closest_point(vertices, result).squared_distance.max() < 1e-12


def test_never_breaks_the_topology() -> None:
    assert decimate(icosphere(3), 0).face_count == 4
    ring = decimate(torus(segments=(16, 8)), 0)
    assert classify_surface(mesh_topology(ring)).genus == 1 and ring.face_count < 60
    holed = plane(segments=(9, 9))
    middle = holed.vertices[holed.faces].mean(1)[:, :2].abs().amax(1) < 0.1
    holed = Mesh(vertices=holed.vertices, faces=holed.faces[~middle])
    result = decimate(holed, 0)
    assert len(boundary_loops(mesh_topology(result))) == 2 == len(boundary_loops(mesh_topology(holed)))


def test_kept_faces_and_attributes() -> None:
    mesh = icosphere(3)
    kept = mesh.vertices[mesh.faces].mean(1)[:, 2] > 0.5
    mesh = Mesh(vertices=mesh.vertices, faces=mesh.faces, vertex_attributes={"xyz": mesh.vertices}, face_attributes={"kept": kept})
    result = decimate(mesh, 500, keep_faces=kept)
    as_set = lambda m, faces: {tuple(sorted(map(tuple, m.vertices[face].tolist()))) for face in faces}
    assert as_set(mesh, mesh.faces[kept]) <= as_set(result, result.faces)
    torch.testing.assert_close(result.vertex_attributes["xyz"], result.vertices, atol=0.02, rtol=0)
    assert int(result.face_attributes["kept"].sum()) == int(kept.sum())


def test_places_that_are_not_manifold_stay() -> None:
    fins = Mesh(
        vertices=torch.tensor([[0.0, 0, 0], [0, 0, 1], [1, 0, 0.5], [-1, 0, 0.5], [0, 1, 0.5]]),
        faces=torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]]),
    )
    fine = subdivide_midpoint(fins, levels=3)
    result = decimate(fine, 20)
    counts = edge_face_counts(mesh_topology(result))
    assert int((counts == 3).sum()) == 8 and result.face_count < 60


def test_large_offsets_and_batches() -> None:
    sphere = icosphere(3, dtype=torch.float64)
    moved = decimate(Mesh(vertices=sphere.vertices + 1e6, faces=sphere.faces), 200)
    near = decimate(sphere, 200)
    assert volume(Mesh(vertices=moved.vertices - 1e6, faces=moved.faces)) == pytest.approx(volume(near), rel=1e-2)
    batch = decimate_batch(batch_meshes([icosphere(2), box(segments=4)]), 60)
    assert [mesh.face_count for mesh in (batch[0], batch[1])] == [60, 60]
    nothing = Mesh(vertices=torch.rand(3, 3), faces=torch.zeros(0, 3, dtype=torch.int64))
    assert decimate(nothing, 5).face_count == 0


def test_messages() -> None:
    with pytest.raises(ArgumentError, match="`face_count` must be at least 0"):
        decimate(icosphere(1), -1)
    with pytest.raises(ArgumentError, match=r"`keep_faces` must be \[80\] truth values"):
        decimate(icosphere(1), 10, keep_faces=torch.ones(80))


@pytest.mark.parametrize("name", ["bullet3/data/teddy.obj", "common3d/suzanne.obj", "common3d/teapot.obj"])
def test_real_meshes(data_folder: Path, name: str) -> None:
    loaded = trimesh.load(data_folder / "meshes" / name, process=True, force="mesh")
    mesh = make_mesh(torch.tensor(loaded.vertices, dtype=torch.float32), torch.tensor(loaded.faces))
    result = decimate(mesh, mesh.face_count // 2)
    before, after = classify_surface(mesh_topology(mesh)), classify_surface(mesh_topology(result))
    assert result.face_count <= mesh.face_count // 2
    assert (after.boundary_loop_count, after.component_count) == (before.boundary_loop_count, before.component_count)
    assert after.euler_number == before.euler_number
    size = (mesh.vertices.amax(0) - mesh.vertices.amin(0)).norm()
    assert closest_point(mesh.vertices, result).squared_distance.sqrt().mean() < 3e-3 * size
